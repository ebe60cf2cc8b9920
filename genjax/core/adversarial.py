"""Objectives of generators and discriminators, and the losses of a GAN of two networks.

Papers leave the following open. Every family that uses these losses follows these conventions:

* Real and generated images pass through the discriminator in two batches, real ones first. Batch
  normalisation, in penalties too, uses the statistics of each batch by itself.
* In every update both networks normalise by the statistics of the current batch. Running statistics
  change for the updated network only; those of the discriminator change in both of its passes.
* An update changes parameters, statistics, buffers and optimizer state of its own network only.
* Noise is drawn again for every update, and dropout for every pass.
* Updates are sequential by default: critic steps, each on its own batch, and then the generator
  against the newest discriminator. `GanObjective.update` selects simultaneous updates.
* `sample` uses running statistics and the given weights. The EMA tracks the generator alone; its
  batch-norm statistics are computed separately (`genjax.core.batch_norm`).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from genjax import checks, losses
from genjax.checks import NonNegativeFloat, PositiveFloat, PositiveInt, UnitInterval
from genjax.core.batches import batch_spec
from genjax.core.protocols import LossFn
from genjax.core.sample_diversity import diversity, nearest_distance

# (x, key, statistics) -> (logits [B, ...], new statistics, further outputs), while training.
DiscriminatorFn = Callable[[jax.Array, jax.Array, Any], tuple[jax.Array, Any, Any]]

LOG_ODDS = ("non_saturating", "minimax", "relativistic")  # losses whose logits are log-odds


@dataclasses.dataclass(frozen=True, kw_only=True)
class GanObjective:
    """Loss, penalties and update schedule of a GAN, independent of its networks."""

    loss: Literal[
        "non_saturating", "minimax", "least_squares", "wasserstein", "hinge", "relativistic"
    ] = "non_saturating"
    """Loss of both networks; see `genjax.losses`."""
    label_smoothing: UnitInterval = 0.0
    """One-sided label smoothing of non_saturating and minimax (0.1 in Salimans et al. 2016)."""
    gradient_penalty: NonNegativeFloat = 0.0
    """Weight of WGAN-GP's penalty on interpolated images (10 in Gulrajani et al. 2017)."""
    one_sided_penalty: bool = False
    """Whether gradient_penalty applies only to gradient norms above penalty_target."""
    penalty_target: PositiveFloat = 1.0
    """Target gradient norm of gradient_penalty (750 for CIFAR-10 in Karras et al. 2018)."""
    r1: NonNegativeFloat = 0.0
    """Gamma of the gradient penalty on real images (Mescheder et al. 2018)."""
    r2: NonNegativeFloat = 0.0
    """Gamma of the gradient penalty on generated images; R3GAN uses both."""
    drift: NonNegativeFloat = 0.0
    """Weight of D(x)^2 (0.001 in Karras et al. 2018)."""
    penalty_interval: PositiveInt = 1
    """Gradient penalties apply to one in this many discriminator updates, with their weight
    multiplied by this number (lazy regularisation, Karras et al. 2020, section 3.1)."""
    critic_steps: PositiveInt = 1
    """Discriminator updates per generator update."""
    update: Literal["sequential", "simultaneous"] = "sequential"
    """sequential updates the generator against the new discriminator, simultaneous the old one."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if not self.gradient_penalty and (self.one_sided_penalty or self.penalty_target != 1):
            raise ValueError(
                "one_sided_penalty and penalty_target need gradient_penalty above 0; set it, or"
                " leave them at their defaults."
            )
        if self.label_smoothing and self.loss not in ("non_saturating", "minimax"):
            raise ValueError(
                f"label_smoothing needs a loss with labels, and {self.loss} has none; set it to 0."
            )
        if self.penalty_interval > 1 and not self.has_gradient_penalty:
            raise ValueError("penalty_interval needs gradient_penalty, r1 or r2 above 0.")
        if self.update == "simultaneous" and self.critic_steps > 1:
            raise ValueError("simultaneous updates have one critic step; set critic_steps to 1.")

    @property
    def has_gradient_penalty(self) -> bool:
        """Whether gradients of the discriminator are penalised."""
        return bool(self.gradient_penalty or self.r1 or self.r2)

    def discriminator_loss(self, real: jax.Array, fake: jax.Array) -> jax.Array:
        """Computes the discriminator's loss `[B]` from logits `[B, ...]`, without penalties."""
        if self.loss == "least_squares":
            return losses.least_squares_discriminator(real, fake)
        if self.loss == "wasserstein":
            return losses.wasserstein_critic(real, fake)
        if self.loss == "hinge":
            return losses.hinge_discriminator(real, fake)
        if self.loss == "relativistic":
            return losses.relativistic_discriminator(real, fake)
        return losses.minimax_discriminator(real, fake, smoothing=self.label_smoothing)

    def generator_loss(self, fake: jax.Array, real: jax.Array | None = None) -> jax.Array:
        """Computes the generator's loss `[B]` from logits; relativistic needs those of `real`."""
        if self.loss == "relativistic":
            if real is None:
                raise ValueError("the relativistic loss needs logits of real examples; pass real.")
            return losses.relativistic_generator(real, fake)
        if self.loss == "minimax":
            return losses.minimax_generator(fake)
        if self.loss == "least_squares":
            return losses.least_squares_generator(fake)
        if self.loss in ("wasserstein", "hinge"):
            return losses.wasserstein_generator(fake)
        return losses.non_saturating_generator(fake)


def check_gradient_penalties(objective: GanObjective, norm: str) -> None:
    """Checks that gradient penalties are not combined with batch normalisation.

    Raises:
      ValueError: the objective penalises gradients and the discriminator's norm is `batch`.
    """
    if objective.has_gradient_penalty and norm == "batch":
        raise ValueError(
            "a discriminator with batch normalisation mixes examples, so gradient_penalty, r1 and"
            " r2 would not penalise the gradient of one example; use a discriminator without batch"
            " normalisation, or set them to 0."
        )


def merge_networks(
    networks: Mapping[str, Mapping[str, Any]],
    objective: GanObjective | None = None,
    *,
    discriminator: str = "discriminator",
) -> dict[str, Any]:
    """Merges variables of networks into collections `{collection: {network: ...}}`.

    Args:
      networks: Flax variables of each network.
      objective: adds its buffers, see `objective_buffers`.
      discriminator: name of the network that these buffers belong to.
    """
    collections = sorted({c for variables in networks.values() for c in variables})
    merged = {c: {n: v[c] for n, v in networks.items() if c in v} for c in collections}
    extra = objective_buffers(objective, discriminator) if objective else {}
    for collection, entries in extra.items():
        own = merged.setdefault(collection, {})
        own |= {name: {**own.get(name, {}), **values} for name, values in entries.items()}
    return merged


def objective_buffers(objective: GanObjective, network: str = "discriminator") -> dict[str, Any]:
    """Returns the count of discriminator updates if `penalty_interval` is above 1, else {}."""
    if objective.penalty_interval == 1:
        return {}
    return {"buffers": {network: {"updates": jnp.zeros((), jnp.int32)}}}


def apply_network(
    network: Any, variables: dict[str, Any], name: str, *inputs: Any, method: str | None = None
) -> Any:
    """Applies a Flax module with the variables of a network, using running statistics.

    `method` is one of the module's, by default its call.
    """
    return network.apply(_own_variables(variables, name), *inputs, method=method)


def train_network(
    network: Any,
    variables: dict[str, Any],
    name: str,
    *inputs: Any,
    key: jax.Array | None = None,
    statistics: Any = None,
) -> tuple[Any, Any]:
    """Applies a Flax module in training mode.

    Args:
      network: module whose `__call__` has an argument `train`.
      variables: all collections.
      name: of the network in them.
      *inputs: of the module.
      key: of dropout.
      statistics: running statistics before this batch; None uses those in `variables`.

    Returns:
      The outputs, and the new running statistics (`{}` without batch normalisation).
    """
    own = _own_variables(variables, name)
    if statistics:
        own["batch_stats"] = statistics
    rngs = None if key is None else {"dropout": key}
    outputs, new = network.apply(own, *inputs, train=True, mutable=["batch_stats"], rngs=rngs)
    return outputs, new.get("batch_stats", {})


def gan_losses(
    family: str,
    generator: Callable[[Any], Any],
    discriminator: Callable[[Any], Any],
    *,
    noise: Callable[[Any, jax.Array, int], jax.Array],
    batch_spec: Callable[[Any, int], Mapping[str, Any]] = batch_spec,
    condition: Callable[[Any, Mapping[str, Any]], tuple[Any, ...]] = lambda config, batch: (),
    regularizer: Callable[[Any, Any, jax.Array], tuple[jax.Array, dict[str, Any]]] | None = None,
) -> dict[str, LossFn]:
    """Returns the losses of a discriminator and a generator, for `Adversarial.LOSSES`.

    Both use `config.objective` and generate as many images as the batch holds.

    Args:
      family: name, for error messages.
      generator: `config -> module` of `(z, *condition, train) -> images`.
      discriminator: `config -> module` of `(x, *condition, train) -> (logits [B], *outputs)`.
      noise: `(config, key, n) -> z [n, ...]`.
      batch_spec: of the family.
      condition: `(config, batch) -> inputs`, the further inputs of both networks.
      regularizer: `(config, outputs of the discriminator on generated images, z) -> ([B], aux)`,
        added to both losses.
    """

    def prepare(
        config: Any, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[DiscriminatorFn, Any, jax.Array, Any]:
        checks.batch(family, batch, functools.partial(batch_spec, config))
        noise_key, objective_key = jax.random.split(key)
        z, inputs = noise(config, noise_key, batch["x"].shape[0]), condition(config, batch)
        dropout_key = jax.random.fold_in(noise_key, 1)
        fake, statistics = train_network(
            generator(config), variables, "generator", z, *inputs, key=dropout_key
        )

        def discriminate(x: jax.Array, key: jax.Array, stats: Any) -> tuple[jax.Array, Any, Any]:
            results, new = train_network(
                discriminator(config),
                variables,
                "discriminator",
                x,
                *inputs,
                key=key,
                statistics=stats,
            )
            if not isinstance(results, tuple):
                raise ValueError(
                    f"{family}: the discriminator must return (logits [B], *outputs), got"
                    f" {checks.describe(results)}; return (logits,)."
                )
            logits, *outputs = results
            return logits, new, outputs

        return discriminate, (variables, batch["x"], fake, objective_key), z, statistics

    def add(
        config: Any, loss: jax.Array, aux: dict[str, Any], outputs: Any, z: jax.Array
    ) -> tuple[jax.Array, dict[str, Any]]:
        if regularizer is None:
            return loss, aux
        extra, more = regularizer(config, outputs, z)
        return loss + extra, {**aux, **more}

    def discriminator_loss(
        config: Any, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, dict[str, Any]]:
        discriminate, inputs, z, _ = prepare(config, variables, batch, key)
        loss, aux, outputs = discriminator_objective(config.objective, discriminate, *inputs)
        return add(config, loss, aux, outputs[1], z)

    def generator_loss(
        config: Any, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, dict[str, Any]]:
        discriminate, inputs, z, statistics = prepare(config, variables, batch, key)
        result = generator_objective(config.objective, discriminate, *inputs, statistics=statistics)
        return add(config, *result, z)

    return {"discriminator": discriminator_loss, "generator": generator_loss}


def discriminator_objective(
    objective: GanObjective,
    discriminate: DiscriminatorFn,
    variables: dict[str, Any],
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
    *,
    network: str = "discriminator",
) -> tuple[jax.Array, dict[str, Any], Any]:
    """Computes the discriminator's loss with penalties.

    Args:
      objective: loss and penalties.
      discriminate: the discriminator in training mode.
      variables: all collections.
      real: `[B, ...]` data.
      fake: `[B, ...]` generated images; no gradient flows into them.
      key: of this update.
      network: the discriminator's name in `variables`.

    Returns:
      The loss `[B]`; aux; and further outputs of the discriminator on `real` and on `fake`. Of
      several logits per example, such as those of patches, loss and drift are means, and gradient
      penalties are of the gradient of their sum. aux has:
        `real_logit` and `fake_logit`;
        `real_probability` and `fake_probability` for losses whose logits are log-odds; for the
          relativistic loss, the probability of being the real image of the pair;
        `penalty`, the weighted sum of the penalties, if there are any.
    """
    real_key, fake_key, penalty_key = jax.random.split(key, 3)
    fake = jax.lax.stop_gradient(fake)
    stats = variables.get("batch_stats", {}).get(network, {})
    real_logits, new, real_outputs = discriminate(real, real_key, stats)
    fake_logits, new, fake_outputs = discriminate(fake, fake_key, new)
    each = _logits_each(real_logits)
    total = objective.discriminator_loss(real_logits, fake_logits) / each
    aux = _logit_metrics(objective, real_logits, fake_logits)
    updates: dict[str, Any] = {"batch_stats": {network: new}} if new else {}
    penalty = jnp.zeros_like(total)
    if objective.drift:
        penalty = penalty + objective.drift * losses.drift_penalty(real_logits) / each
    if objective.has_gradient_penalty:

        def gradient_penalties() -> jax.Array:
            logits_fn = lambda x, k: discriminate(x, k, stats)[0]  # noqa: E731
            return _gradient_penalties(objective, logits_fn, real, fake, penalty_key)

        interval = objective.penalty_interval
        if interval == 1:
            penalty = penalty + gradient_penalties()
        else:
            count = variables["buffers"][network]["updates"]
            updates["buffers"] = {network: {**variables["buffers"][network], "updates": count + 1}}
            # 0 * total: under shard_map both branches must vary over the same mesh axes.
            zero = 0 * jax.lax.stop_gradient(total)
            penalty = penalty + jax.lax.cond(
                count % interval == 0, lambda: interval * gradient_penalties() + zero, lambda: zero
            )
    if objective.drift or objective.has_gradient_penalty:
        aux["penalty"] = penalty
    if updates:
        aux["updates"] = updates
    return total + penalty, aux, (real_outputs, fake_outputs)


def generator_objective(
    objective: GanObjective,
    discriminate: DiscriminatorFn,
    variables: dict[str, Any],
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
    *,
    statistics: Any = None,
    network: str = "generator",
    discriminator: str = "discriminator",
) -> tuple[jax.Array, dict[str, Any], Any]:
    """Computes the generator's loss.

    Args:
      objective: the loss.
      discriminate: the discriminator in training mode.
      variables: all collections.
      real: `[B, ...]` data; only the relativistic loss passes it through the discriminator.
      fake: `[B, ...]` generated images, with gradient.
      key: of this update.
      statistics: running statistics of the generator after generating `fake`.
      network: the generator's name in `variables`.
      discriminator: the discriminator's name in `variables`.

    Returns:
      The loss `[B]`, its mean over several logits per example; aux with `diversity` and `nearest`,
      see `diversity` and `nearest_distance`; and further outputs of the discriminator on `fake`.
    """
    fake_key, real_key = jax.random.split(key)
    stats = variables.get("batch_stats", {}).get(discriminator, {})
    fake_logits, _, outputs = discriminate(fake, fake_key, stats)
    aux: dict[str, Any] = {
        "diversity": diversity(real, fake),
        "nearest": nearest_distance(real, fake),
    }
    if statistics:
        aux["updates"] = {"batch_stats": {network: statistics}}
    relativistic = objective.loss == "relativistic"
    real_logits = discriminate(real, real_key, stats)[0] if relativistic else None
    loss = objective.generator_loss(fake_logits, real_logits) / _logits_each(fake_logits)
    return loss, aux, outputs


def _logits_each(logits: jax.Array) -> int:
    """Returns the number of logits per example of `[B, ...]`."""
    return math.prod(logits.shape[1:])


def _own_variables(variables: dict[str, Any], name: str) -> dict[str, Any]:
    kept = ("params", "batch_stats", "buffers")
    return {c: variables[c][name] for c in kept if name in variables.get(c, {})}


def _logit_metrics(objective: GanObjective, real: jax.Array, fake: jax.Array) -> dict[str, Any]:
    metrics = {"real_logit": real, "fake_logit": fake}
    if objective.loss in LOG_ODDS:
        paired = objective.loss == "relativistic"
        metrics["real_probability"] = jax.nn.sigmoid(real - fake if paired else real)
        metrics["fake_probability"] = jax.nn.sigmoid(fake - real if paired else fake)
    return metrics


def _gradient_penalties(
    objective: GanObjective,
    logits_fn: Callable[[jax.Array, jax.Array], jax.Array],
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Computes the weighted gradient penalties, `[B]`, each with its own dropout key."""
    mix_key, between_key, real_key, fake_key = jax.random.split(key, 4)
    total = jnp.zeros(real.shape[:1], jnp.float32)
    if objective.gradient_penalty:
        mix = jax.random.uniform(mix_key, real.shape[:1])
        total = total + objective.gradient_penalty * losses.gradient_penalty(
            lambda x: logits_fn(x, between_key),
            real,
            fake,
            mix,
            target=objective.penalty_target,
            one_sided=objective.one_sided_penalty,
        )
    if objective.r1:
        total = total + objective.r1 * losses.r1_penalty(lambda x: logits_fn(x, real_key), real)
    if objective.r2:
        total = total + objective.r2 * losses.r2_penalty(lambda x: logits_fn(x, fake_key), fake)
    return total
