"""How two networks play: loss, penalties and rhythm as settings, and the turn of each player.

What papers leave open, and what holds for every family that takes its turns from here:

* Data and samples go through D in two passes, data first. A layer that mixes examples (batch
  normalisation) normalises each kind by its own statistics, in a penalty too.
* In D's turn G normalises by the batch it makes, and keeps its running statistics as they are; D's
  take in both passes. In G's turn it is the other way round: D normalises by the batch of samples.
* A turn changes its own network, statistics, buffers and optimizer, and nothing of the other's.
* Noise is drawn again in every turn; so is dropout, for every pass.
* Several critic steps see a batch each; G's turn comes last, against the newest D.
* `sample` uses running statistics and the weights it is given. A run that keeps averages keeps them
  of G, with statistics of their own (`genjax.core.batch_norm`); D is the newest.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from genjax import checks, losses

# judge(x, key, statistics) -> (logits [B, ...], new statistics, whatever else it says of x): D as
# it is while training.
DiscriminatorFn = Callable[[jax.Array, jax.Array, Any], tuple[jax.Array, Any, Any]]

LOSSES = ("non_saturating", "minimax", "least_squares", "wasserstein", "hinge", "relativistic")
NATS = ("non_saturating", "minimax", "relativistic")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GanObjective:
    """How a game is trained, whatever the networks are."""

    loss: Literal[
        "non_saturating", "minimax", "least_squares", "wasserstein", "hinge", "relativistic"
    ] = "non_saturating"
    """What both players minimise; see `genjax.losses`."""
    smoothing: float = 0.0
    """One-sided label smoothing of non_saturating and minimax (0.1 in Salimans et al. 2016)."""
    gradient_penalty: float = 0.0
    """Weight of WGAN-GP's penalty between data and samples (10 in Gulrajani et al. 2017)."""
    one_sided: bool = False
    """Leave slopes below the target free."""
    slope: float = 1.0
    """Target of that penalty (750 for CIFAR-10 in Karras et al. 2018)."""
    r1: float = 0.0
    """Gamma of the penalty on the slope at data (Mescheder et al. 2018)."""
    r2: float = 0.0
    """Gamma of the penalty on the slope at samples; R3GAN takes both."""
    drift: float = 0.0
    """Weight of D(x)^2 (0.001 in Karras et al. 2018)."""
    penalty_every: int = 1
    """Discriminator updates between those with slope penalties, whose weight is then as many times
    larger (lazy regularisation, Karras et al. 2020, section 3.1)."""
    critic_steps: int = 1
    """Discriminator updates a generator update."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.one_of(LOSSES, loss=self.loss)
        checks.fraction(smoothing=self.smoothing)
        checks.positive(
            slope=self.slope, penalty_every=self.penalty_every, critic_steps=self.critic_steps
        )
        checks.not_negative(
            gradient_penalty=self.gradient_penalty, r1=self.r1, r2=self.r2, drift=self.drift
        )
        if not self.gradient_penalty and (self.one_sided or self.slope != 1):
            raise ValueError(
                "one_sided and slope are of the penalty between data and samples; set"
                " gradient_penalty above 0, or leave them out."
            )
        if self.smoothing and self.loss not in ("non_saturating", "minimax"):
            raise ValueError(f"smoothing is of labels, which {self.loss} has none of; set it to 0.")
        if self.penalty_every > 1 and not self.penalises():
            raise ValueError("penalty_every needs gradient_penalty, r1 or r2 above 0.")

    def penalises(self) -> bool:
        """Whether slopes are penalised."""
        return bool(self.gradient_penalty or self.r1 or self.r2)


def check_gradient_penalties(method: GanObjective, norm: str) -> None:
    """A slope under batch statistics is also what an example does to the others' outputs.

    Raises:
      ValueError: the method penalises slopes and the discriminator's norm is `batch`.
    """
    if method.penalises() and norm == "batch":
        raise ValueError(
            "slopes under batch normalisation mix examples, and gradient_penalty, r1 or r2 would"
            " penalise something else; take a discriminator without batch statistics, or set them"
            " to 0."
        )


def single_critic_step(config: Any) -> Any:
    """The Config whose batch is that of one critic step: `[B, ...]`, no axis of several before."""
    return dataclasses.replace(config, method=dataclasses.replace(config.method, critic_steps=1))


def network_variables(variables: dict[str, Any], name: str) -> dict[str, Any]:
    """A player's own collections, as its module takes them."""
    kept = ("params", "batch_stats")
    return {c: variables[c][name] for c in kept if name in variables.get(c, {})}


def objective_buffers(method: GanObjective) -> dict[str, Any]:
    """What a method carries beside the networks: `init` merges it into the variables."""
    if method.penalty_every == 1:
        return {}
    return {"buffers": {"discriminator": {"updates": jnp.zeros((), jnp.int32)}}}


def discriminator_objective(
    method: GanObjective,
    judge: DiscriminatorFn,
    variables: dict[str, Any],
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, dict[str, Any], Any]:
    """What the discriminator minimises, `[B]`, penalties included; aux; what else it says.

    Entries of aux: `real_logit` and `fake_logit`; `real_probability` and `fake_probability` where
    the loss reads logits as such (of a pair: that the data, or the sample, is taken for the data);
    `penalty`, weighted, where there is one. What else it says is of `fake`.

    Args:
      method: the settings.
      judge: the discriminator.
      variables: all collections; statistics are `batch_stats["discriminator"]`.
      real: `[B, ...]` data.
      fake: `[B, ...]` samples, a constant here.
      key: of this turn.
    """
    real_key, fake_key, penalty_key = jax.random.split(key, 3)
    fake = jax.lax.stop_gradient(fake)
    stats = variables.get("batch_stats", {}).get("discriminator", {})
    real_logits, new, _ = judge(real, real_key, stats)
    fake_logits, new, said = judge(fake, fake_key, new)
    total = _discriminator_loss(method, real_logits, fake_logits)
    aux = _outcome(method, real_logits, fake_logits)
    updates: dict[str, Any] = {"batch_stats": {"discriminator": new}} if new else {}
    penalty = jnp.zeros_like(total)
    if method.drift:
        penalty = penalty + method.drift * losses.drift_penalty(real_logits)
    if method.penalises():

        def slopes() -> jax.Array:
            return _slopes(method, lambda x, k: judge(x, k, stats)[0], real, fake, penalty_key)

        every = method.penalty_every
        if every == 1:
            penalty = penalty + slopes()
        else:
            done = variables["buffers"]["discriminator"]["updates"]
            updates["buffers"] = {"discriminator": {"updates": done + 1}}
            # 0 * total: in a user's shard_map both branches must vary over devices alike.
            free = 0 * jax.lax.stop_gradient(total)
            penalty = penalty + jax.lax.cond(
                done % every == 0, lambda: every * slopes() + free, lambda: free
            )
    if method.drift or method.penalises():
        aux["penalty"] = penalty
    if updates:
        aux["updates"] = updates
    return total + penalty, aux, said


def generator_objective(
    method: GanObjective,
    judge: DiscriminatorFn,
    variables: dict[str, Any],
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
    statistics: Any = None,
) -> tuple[jax.Array, dict[str, Any], Any]:
    """What the generator minimises, `[B]`; aux; what else the discriminator said of `fake`.

    Entries of aux: `diversity` and `nearest_distance`, see there.

    Args:
      method: the settings.
      judge: the discriminator.
      variables: all collections.
      real: `[B, ...]` data; judged by the relativistic loss only.
      fake: `[B, ...]` samples, which the gradient flows through.
      key: of this turn.
      statistics: the generator's new ones, from making `fake`.
    """
    fake_key, real_key = jax.random.split(key)
    stats = variables.get("batch_stats", {}).get("discriminator", {})
    fake_logits, _, said = judge(fake, fake_key, stats)
    aux: dict[str, Any] = {
        "diversity": diversity(real, fake),
        "nearest": nearest_distance(real, fake),
    }
    if statistics:
        aux["updates"] = {"batch_stats": {"generator": statistics}}
    if method.loss == "relativistic":
        real_logits, _, _ = judge(real, real_key, stats)
        return losses.relativistic_generator(real_logits, fake_logits), aux, said
    return _generator_loss(method, fake_logits), aux, said


def diversity(real: jax.Array, fake: jax.Array) -> jax.Array:
    """How far samples lie from each other, relative to data: near 1, and 0 when all are one image.

    The root mean squared distance of two samples over that of two examples, `[]`. It is had from
    the variances, without looking at pairs. A batch of a single image has no distance, and gives 1.
    """

    def spread(x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        return jnp.sum(jnp.mean((x - jnp.mean(x, axis=0, keepdims=True)) ** 2, axis=0))

    whole = spread(real)
    return jnp.where(whole > 0, jnp.sqrt(spread(fake) / jnp.where(whole > 0, whole, 1)), 1.0)


def nearest_distance(real: jax.Array, fake: jax.Array) -> jax.Array:
    """How far a sample lies from its nearest other, relative to data: 0 when they are few images.

    The mean over a batch of the distance to the nearest other one, samples' over data's, `[]`. A
    generator that gives one of five images whatever its noise has a `diversity` near 1, and this is
    near 0, in batches of several times five. A batch of a single image, or data all of which lie on
    others, give 1.
    """

    def apart(x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        x = x - jnp.mean(x, axis=0, keepdims=True)
        squares = jnp.sum(x**2, axis=1)
        products = jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)
        between = jnp.where(jnp.eye(len(x), dtype=bool), jnp.inf, squares[None] - 2 * products)
        # Which one is found by products; how far it is by the difference, which loses nothing.
        other = x[jnp.argmin(between, axis=1)]
        return jnp.mean(jnp.sqrt(jnp.sum((x - other) ** 2, axis=1)))

    if real.shape[0] < 2 or fake.shape[0] < 2:
        return jnp.ones(())
    whole = apart(real)
    return jnp.where(whole > 0, apart(fake) / jnp.where(whole > 0, whole, 1), 1.0)


def _discriminator_loss(method: GanObjective, real: jax.Array, fake: jax.Array) -> jax.Array:
    if method.loss == "least_squares":
        return losses.least_squares_discriminator(real, fake)
    if method.loss == "wasserstein":
        return losses.wasserstein_critic(real, fake)
    if method.loss == "hinge":
        return losses.hinge_discriminator(real, fake)
    if method.loss == "relativistic":
        return losses.relativistic_discriminator(real, fake)
    return losses.minimax_discriminator(real, fake, smoothing=method.smoothing)


def _generator_loss(method: GanObjective, fake: jax.Array) -> jax.Array:
    if method.loss == "minimax":
        return losses.minimax_generator(fake)
    if method.loss == "least_squares":
        return losses.least_squares_generator(fake)
    if method.loss in ("wasserstein", "hinge"):
        return losses.wasserstein_generator(fake)
    return losses.non_saturating_generator(fake)


def _outcome(method: GanObjective, real: jax.Array, fake: jax.Array) -> dict[str, Any]:
    out = {"real_logit": real, "fake_logit": fake}
    if method.loss in NATS:
        ahead = method.loss == "relativistic"
        out["real_probability"] = jax.nn.sigmoid(real - fake if ahead else real)
        out["fake_probability"] = jax.nn.sigmoid(fake - real if ahead else fake)
    return out


def _slopes(
    method: GanObjective,
    logits: Callable[[jax.Array, jax.Array], jax.Array],
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Weighted penalties on the slope, `[B]`; each sees dropout of its own."""
    mix_key, between_key, real_key, fake_key = jax.random.split(key, 4)
    total = jnp.zeros(real.shape[:1], jnp.float32)
    if method.gradient_penalty:
        mix = jax.random.uniform(mix_key, real.shape[:1])
        total = total + method.gradient_penalty * losses.gradient_penalty(
            lambda x: logits(x, between_key),
            real,
            fake,
            mix,
            target=method.slope,
            one_sided=method.one_sided,
        )
    if method.r1:
        total = total + method.r1 * losses.r1_penalty(lambda x: logits(x, real_key), real)
    if method.r2:
        total = total + method.r2 * losses.r2_penalty(lambda x: logits(x, fake_key), fake)
    return total
