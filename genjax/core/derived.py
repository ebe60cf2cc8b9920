"""Quantities and train steps that follow from what a family implements."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core.adversarial import GanObjective
from genjax.core.autoregressive import conditional_nats
from genjax.core.importance import log_mean_weight
from genjax.core.protocols import (
    BoundDensity,
    ClosedFormBound,
    Conditionals,
    LatentVariable,
    family_name,
)
from genjax.core.state import State
from genjax.core.step import Optimizers, Step, adversarial_step, gradient_step


def network_names(family: Any) -> tuple[str, ...]:
    """Returns the networks that train against each other, in order of update; () without any."""
    return tuple(getattr(family, "LOSSES", ()))


def gan_objective(config: Any) -> GanObjective:
    """Returns `config.objective` of a family of several networks; the default one without it."""
    objective = getattr(config, "objective", None)
    return objective if isinstance(objective, GanObjective) else GanObjective()


def critic_steps(config: Any) -> int:
    """Returns the number of updates of the first network per step; each has its own batch."""
    return gan_objective(config).critic_steps


def step_batch_spec(family: Any, config: Any, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns `family.batch_spec`, with a leading axis of K if there are K > 1 critic steps."""
    lead = () if critic_steps(config) == 1 else (critic_steps(config),)
    spec = family.batch_spec(config, batch_size)
    return {k: jax.ShapeDtypeStruct((*lead, *s.shape), s.dtype) for k, s in spec.items()}


def check_optimizer(
    family: Any, config: Any, optimizer: Any, example: str = "optax.adam(1e-3)"
) -> None:
    """Raises ValueError unless there is one optimizer for each network, or None where none is used.

    Optimizers have an attribute `update` or `build`; the error message suggests `example`.
    """
    name, networks = family_name(family), network_names(family)
    if family.traits(config).fit != "gradient":
        if optimizer is not None:
            raise ValueError(f"{name} is fitted without a gradient; pass optimizer=None.")
        return
    each = optimizer if isinstance(optimizer, Mapping) else {"": optimizer}
    if set(each) != set(networks or {""}):
        wanted = ", ".join(f'"{network}": {example}' for network in networks)
        fix = f"{{{wanted}}}" if networks else example
        got = f"a dict of {', '.join(each)}" if isinstance(optimizer, Mapping) else repr(optimizer)
        kind = f"networks {', '.join(networks)}" if networks else "one network"
        raise ValueError(f"{name} has {kind}; pass an optimizer such as {fix}, got {got}.")
    for value in each.values():
        if not (hasattr(value, "update") or hasattr(value, "build")):
            raise ValueError(f"{name} needs an optimizer such as {example}, got {value!r}.")


def make_step(family: Any, config: Any, optimizer: Optimizers | None = None) -> Step:
    """Builds a family's pure train step, `step(state, batch) -> (state, metrics)`.

    The optimizer is one of Optax, a dict of them by network for `Adversarial`, None for `Fitted`.

    Raises:
      ValueError: the optimizer does not fit the family.
    """
    check_optimizer(family, config, optimizer)
    optimizers: Any = optimizer
    if network_names(family):
        losses = {name: functools.partial(f, config) for name, f in family.LOSSES.items()}
        return adversarial_step(
            losses,
            optimizers,
            critic_steps=critic_steps(config),
            simultaneous=gan_objective(config).update == "simultaneous",
        )
    if family.traits(config).fit == "gradient":
        return gradient_step(functools.partial(family.loss, config), optimizers)

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        variables, metrics = family.update(config, state.variables, batch)
        metrics = {k: jnp.mean(v) for k, v in metrics.items()}
        return state.replace(step=state.step + 1, variables=variables), metrics

    return step


def log_conditionals(
    family: Any, config: Any, variables: dict[str, Any], x: jax.Array, **conditions: Any
) -> jax.Array:
    """Computes log p(x_d | dimensions before d in `family.order(config)`), `[B, *shape]` nats.

    `family` implements `Autoregressive` or `Conditionals`. The sum over dimensions is log p(x),
    unless log p(x) averages over several orders.
    """
    if isinstance(family, Conditionals):
        return family.log_conditionals(config, variables, x, **conditions)
    return -conditional_nats(family.logits(config, variables, x, **conditions), x)


def _log_weight_fn(
    family: Any, config: Any, variables: Any, x: jax.Array, conditions: dict[str, Any]
) -> Callable[[jax.Array], jax.Array]:
    """Importance weights as a function of the key; a `LatentVariable` encodes x once."""
    if isinstance(family, BoundDensity):
        return lambda key: family.log_weight(config, variables, x, key, **conditions)
    if not isinstance(family, LatentVariable):
        raise ValueError(f"{family_name(family)} has no bound on log p(x).")
    q, p = family.posterior(config, variables, x, **conditions), family.prior(config, variables)

    def log_weight(key: jax.Array) -> jax.Array:
        z, log_q = q.sample_and_log_prob(key)
        log_p = family.likelihood(config, variables, z, **conditions).log_prob(x)
        return log_p + p.log_prob(z) - log_q

    return log_weight


def log_weight(
    family: Any, config: Any, variables: Any, x: jax.Array, key: jax.Array, **conditions: Any
) -> jax.Array:
    """Computes log p(x, z) - log q(z | x) of one z ~ q(z | x), `[B]` nats.

    `family` implements `BoundDensity` or `LatentVariable`; `conditions` are entries of a batch that
    it conditions on, such as `label` `[B]`.
    """
    return _log_weight_fn(family, config, variables, x, conditions)(key)


def elbo(
    family: Any, config: Any, variables: Any, x: jax.Array, key: jax.Array, **conditions: Any
) -> jax.Array:
    """Estimates the evidence lower bound by one sample, with the KL in closed form if it has one.

    Arguments and result are those of `log_weight`.
    """
    if isinstance(family, ClosedFormBound):
        return family.elbo(config, variables, x, key, **conditions)
    if isinstance(family, LatentVariable):
        q = family.posterior(config, variables, x, **conditions)
        kl = q.kl(family.prior(config, variables))
        if kl is not None:
            p = family.likelihood(config, variables, q.sample(key), **conditions)
            return p.log_prob(x) - kl
    return log_weight(family, config, variables, x, key, **conditions)


def log_prob_bound(
    family: Any,
    config: Any,
    variables: Any,
    x: jax.Array,
    key: jax.Array,
    num_samples: int,
    **conditions: Any,
) -> jax.Array:
    """Computes the importance-weighted bound, log of the mean of p(x, z) / q(z | x), `[B]` nats.

    Memory does not grow with `num_samples`; the other arguments are those of `log_weight`.
    Source: Burda et al. 2015, "Importance Weighted Autoencoders", eq. 8.
    """
    checks.check_key("log_prob_bound", key)
    draw = _log_weight_fn(family, config, variables, x, conditions)
    return log_mean_weight(draw, key, num_samples, x.reshape(x.shape[0], -1)[:, 0])


def kl_units(
    family: Any, config: Any, variables: Any, x: jax.Array, **conditions: Any
) -> jax.Array:
    """Computes KL(q(z_j | x) || p(z_j)) of each latent in closed form, `[B, Z]` nats.

    Raises:
      ValueError: it has no closed form.
    """
    q = family.posterior(config, variables, x, **conditions)
    units = q.kl_units(family.prior(config, variables))
    if units is None:
        raise ValueError(
            "the KL of each latent has a closed form for a diagonal Gaussian posterior and a"
            " standard normal prior only; use log_weight."
        )
    return units


def sample_mean(
    family: Any, config: Any, variables: Any, key: jax.Array, n: int, **conditions: Any
) -> jax.Array:
    """Samples z ~ p(z) and returns the means of p(x | z), `[n, *shape]`.

    With classes and no label, the samples cycle through the classes.
    """
    if "label" in family.batch_spec(config, 1):
        label = conditions.get("label")
        label = jnp.arange(n) % config.classes if label is None else label
        conditions["label"] = jnp.broadcast_to(jnp.asarray(label), (n,))
    z = family.prior(config, variables).sample(jax.random.split(key)[0], n)
    return family.likelihood(config, variables, z, **conditions).mean()


def sample_images(
    family: Any,
    config: Any,
    variables: Any,
    key: jax.Array,
    n: int,
    *,
    draw: bool = False,
    **conditions: Any,
) -> jax.Array:
    """Samples examples to show: `sample_mean` of a `LatentVariable`, `family.sample` of others.

    With `draw`, the examples are those of `family.sample` for every family.
    """
    if isinstance(family, LatentVariable) and not draw:
        return sample_mean(family, config, variables, key, n, **conditions)
    return family.sample(config, variables, key, n, **conditions)
