"""Annealed importance sampling: stochastic bounds on log p(x) of a latent-variable model.

Chains move from z ~ N(0, I) to the posterior p(z | x) through

    f_b(z) = N(z; 0, I)^(1 - b) [p(z) p(x | z)]^b,    0 = b_0 < b_1 < ... < b_T = 1,

with weights w = prod_t f_{b_t}(z_t) / f_{b_{t-1}}(z_t). E[w] = p(x) for every T, however slowly the
chains mix, if each transition leaves its f_b invariant (Neal 2001, "Annealed Importance Sampling",
eq. 11). For p(z) = N(0, I) this is the path p(z) p(x | z)^b of Wu et al. 2017, "On the Quantitative
Analysis of Decoder-Based Generative Models", section 2.2. Unlike the importance-weighted bound it
does not depend on an encoder.

The log of the mean weight of a few chains is a stochastic LOWER bound: below log p(x) on average
(Jensen), and above it by more than s nats with probability at most exp(-s) (Markov). The same
chains reversed, from an exact posterior sample, have E[w] = 1 / p(x) and give a stochastic UPPER
bound; data simulated from the model come with such a sample (Grosse et al. 2015, "Sandwiching the
marginal likelihood using bidirectional Monte Carlo", section 3.1).

Transitions are Hamiltonian, with a step size per example that adapts from one temperature to the
next. A step size that depends on the chain it moves would break invariance, and with it
E[w] = p(x). So the step sizes follow the acceptance of a few pilot chains per example, which have
independent noise and no weight. For reversed chains the pilots run forward in a separate pass:
started at the same sample, they would depend on it.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core.protocols import LatentVariable, NoncentredPrior, family_name
from genjax.evals.batching import evaluate_split

JITTER = 0.2  # relative, of the step size: paths of one length can be periodic
GAIN = 0.1  # lowest change of the log step size per unit of excess acceptance


class Annealed(NamedTuple):
    """Results per example, `[B]` each.

    Attributes:
      log_prob: log of the mean weight, nats; a lower bound of forward chains, an upper one of
        reversed chains.
      std_error: of `log_prob`, from the variance of the weights over the chains (delta method);
        unreliable where `effective` is near 1.
      effective: effective sample size of the weights, (sum w)^2 / sum w^2, from 1 to `chains`.
      acceptance: share of transitions accepted.
    """

    log_prob: jax.Array
    std_error: jax.Array
    effective: jax.Array
    acceptance: jax.Array


class _Point(NamedTuple):
    """Positions of the chains, with the log density and its gradient there."""

    z: jax.Array  # [R, *latent]
    joint: jax.Array  # log p(z) + log p(x | z), [R]
    slope: jax.Array  # its gradient, [R, *latent]


def temperatures(count: int, schedule: Literal["sigmoidal", "linear"] = "sigmoidal") -> np.ndarray:
    """Returns inverse temperatures from 0 to 1, `[count + 1]` float64, strictly increasing.

    Args:
      count: number of steps.
      schedule: linear, or sigmoidal with smaller steps near both ends, where f_b changes most.

    Source: Wu et al. 2017, appendix; Grosse et al. 2015, section 5.1: logits from -4 to 4.

    >>> temperatures(4, "linear").tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    checks.positive(count=count)
    checks.one_of(("sigmoidal", "linear"), schedule=schedule)
    even = np.linspace(0.0, 1.0, count + 1)
    if schedule == "linear":
        return even
    s = 1 / (1 + np.exp(-4.0 * (2 * even - 1)))
    return (s - s[0]) / (s[-1] - s[0])


def annealed_log_prob(
    family: Any,
    config: Any,
    variables: Any,
    x: jax.Array,
    key: jax.Array,
    *,
    betas: np.ndarray,
    chains: int = 16,
    leapfrog: int = 10,
    step_size: float = 0.5,
    acceptance: float = 0.65,
    pilots: int = 4,
    **condition: jax.Array,
) -> Annealed:
    """Computes a stochastic lower bound on log p(x) by annealed importance sampling.

    A pure function for `jax.jit`. Memory is that of one temperature, which costs `leapfrog`
    gradients of B times (chains + pilots) rows.

    Args:
      family, config, variables: a model that implements `LatentVariable`.
      x: `[B, *shape]`.
      key: of all chains.
      betas: from `temperatures`.
      chains: number of chains per example.
      leapfrog: steps of a transition.
      step_size: initial step size.
      acceptance: acceptance that the step sizes are adapted to (Wu et al. 2017: 0.65).
      pilots: number of pilot chains per example.
      **condition: other entries of a batch, `[B]` each.

    Raises:
      ValueError: the family has no latents, or a number is out of range.
    """
    tuning = _Tuning(step_size, acceptance, pilots)
    betas = _check(family, betas, chains, leapfrog, tuning)
    run = functools.partial(_run, family, config, variables, x, condition, leapfrog)
    weights, accepted, _ = run(None, key, betas, chains=chains, tuning=tuning)
    return _summary(weights, accepted)


def reverse_annealed_log_prob(
    family: Any,
    config: Any,
    variables: Any,
    x: jax.Array,
    z: jax.Array,
    key: jax.Array,
    *,
    betas: np.ndarray,
    chains: int = 16,
    leapfrog: int = 10,
    step_size: float = 0.5,
    acceptance: float = 0.65,
    pilots: int = 4,
    **condition: jax.Array,
) -> Annealed:
    """Computes a stochastic upper bound on log p(x) of data simulated from the model.

    log p(x) is between this and `annealed_log_prob` of the same data, so their difference bounds
    the error of either; the conclusion extends to real data as far as they resemble the simulated
    ones (Wu et al. 2017, section 4.1). All chains of an example start at the same sample.
    `std_error` does not include the variance of that sample, so average over examples.

    Args:
      z: `[B, *latent]`, the latents that `x` were drawn from: z ~ p(z), x ~ p(x | z).
      x: `[B, *shape]`.
      betas: increasing; they are reversed here. All else is as in `annealed_log_prob`.
    """
    tuning = _Tuning(step_size, acceptance, pilots)
    betas = _check(family, betas, chains, leapfrog, tuning)
    tune_key, key = jax.random.split(key)
    run = functools.partial(_run, family, config, variables, x, condition, leapfrog)
    sizes: Any = run(None, tune_key, betas, chains=0, tuning=tuning)[2]  # [T, B], of betas[1:]
    # No weight is computed at the last beta, 0.
    back = jnp.concatenate([sizes[:-1][::-1], sizes[:1]])
    weights, accepted, _ = run(z, key, betas[::-1], chains=chains, sizes=back)
    result = _summary(weights, accepted)
    return result._replace(log_prob=-result.log_prob)


def make_annealed(family: Any, config: Any, *, betas: np.ndarray, **settings: Any) -> Callable:
    """Returns `annealed_log_prob` of a split, batch by batch and compiled once.

    The result is called like that of `evaluate_split`, and returns `Annealed` with `[N]` each on
    the host. `settings` are those of `annealed_log_prob`.

    Raises:
      ValueError: the family has no latents.
    """
    _check_latents(family)
    function = functools.partial(annealed_log_prob, family, config, betas=betas, **settings)
    return evaluate_split(jax.jit(function))


def _check_latents(family: Any) -> None:
    if not isinstance(family, LatentVariable):
        raise ValueError(
            f"{family_name(family)} has no latents and likelihood, which annealed"
            f" importance sampling needs."
        )


class _Tuning(NamedTuple):
    """Adaptation of the step size by pilot chains."""

    step_size: float
    acceptance: float
    pilots: int


def _check(
    family: Any, betas: np.ndarray, chains: int, leapfrog: int, tuning: _Tuning
) -> np.ndarray:
    _check_latents(family)
    checks.fraction(acceptance=tuning.acceptance)
    checks.positive(chains=chains, leapfrog=leapfrog, **tuning._asdict())
    betas = np.asarray(betas, np.float64)
    ends = betas.ndim == 1 and len(betas) > 1 and betas[0] == 0 and betas[-1] == 1
    if not ends or not (np.diff(betas) > 0).all():
        raise ValueError("betas must increase from 0 to 1; use temperatures(1000), for instance.")
    return betas


def _run(
    family: Any,
    config: Any,
    variables: Any,
    x: jax.Array,
    condition: dict[str, jax.Array],
    leapfrog: int,
    start: jax.Array | None,
    key: jax.Array,
    betas: np.ndarray,
    *,
    chains: int,
    tuning: _Tuning | None = None,
    sizes: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Runs the chains along `betas`, increasing or decreasing.

    Step sizes are adapted by pilots (`tuning`), or are `sizes` `[T, B]`.

    Returns:
      Log weights `[B, chains]`, share of transitions accepted `[B]`, and, if `chains` is 0, the
      step sizes `[T, B]`.
    """
    # The chains of an example are adjacent rows, the pilots first.
    pilots = tuning.pilots if tuning else 0
    each, size = pilots + chains, x.shape[0]
    rows = {k: jnp.repeat(v, each, axis=0) for k, v in {"x": x, **condition}.items()}
    x_rows = rows.pop("x")

    prior = family.prior(config, variables)

    def log_joint(z: jax.Array) -> jax.Array:
        if isinstance(prior, NoncentredPrior):  # chains are in the space of its noise
            value, log_prior = prior.transform(z), _log_base(z)
        else:
            value, log_prior = z, prior.log_prob(z)
        return log_prior + family.likelihood(config, variables, value, **rows).log_prob(x_rows)

    def evaluate(z: jax.Array) -> _Point:
        joint, back = jax.vjp(log_joint, z)  # each row depends on its own z only
        return _Point(z, joint, back(jnp.ones_like(joint))[0])

    first_key, key = jax.random.split(key)
    if start is None:
        first = evaluate(jax.random.normal(first_key, (size * each, *prior.event_shape)))
    else:
        first = evaluate(jnp.repeat(start, each, axis=0))
    gain = min(1.0, max(GAIN, 20 / (len(betas) - 1)))  # faster for few temperatures

    def temperature(carry: Any, item: Any) -> Any:
        point, weight, accepted, log_size = carry
        before, beta, key, fixed = item
        # log f_beta - log f_before at the sample of f_before.
        weight = weight + (beta - before) * (point.joint - _log_base(point.z))
        used = jnp.exp(log_size) if fixed is None else fixed
        point, chance = _transition(evaluate, point, beta, jnp.repeat(used, each), key, leapfrog)
        chance = chance.reshape(size, each)
        if tuning:
            excess = chance[:, :pilots].mean(axis=1) - tuning.acceptance
            log_size = log_size + gain * excess
        accepted = accepted + chance[:, pilots:].sum(axis=1)
        return (point, weight, accepted, log_size), None if chains else used

    low, high = (jnp.asarray(b, jnp.float32) for b in (betas[:-1], betas[1:]))
    begin = (
        first,
        jnp.zeros_like(first.joint),
        jnp.zeros(size),
        jnp.full(size, math.log(tuning.step_size if tuning else 1.0)),
    )
    keys = jax.random.split(key, len(low))
    (_, weights, accepted, _), used = jax.lax.scan(temperature, begin, (low, high, keys, sizes))
    weights = weights.reshape(size, each)[:, pilots:]
    return weights, accepted / (max(chains, 1) * len(low)), used


def _summary(weights: jax.Array, accepted: jax.Array) -> Annealed:
    """Summarises log weights `[B, chains]`."""
    chains = weights.shape[1]
    total = jax.nn.logsumexp(weights, axis=1)
    effective = jnp.exp(2 * total - jax.nn.logsumexp(2 * weights, axis=1))
    # Squared relative standard error of the mean weight, unbiased.
    relative = (1 / effective - 1 / chains) * chains / max(chains - 1, 1)
    unknown = jnp.full_like(total, jnp.nan)
    return Annealed(
        log_prob=total - math.log(chains),
        std_error=jnp.sqrt(jnp.maximum(relative, 0)) if chains > 1 else unknown,
        effective=effective,
        acceptance=accepted,
    )


def _transition(
    evaluate: Callable[[jax.Array], _Point],
    point: _Point,
    beta: jax.Array,
    size: jax.Array,
    key: jax.Array,
    leapfrog: int,
) -> tuple[_Point, jax.Array]:
    """Hamiltonian Monte Carlo, which leaves f_beta invariant.

    Returns the chains and their acceptance probabilities `[R]`. Source: Neal 2011, "MCMC using
    Hamiltonian dynamics", section 3.2; section 4.2 for the jitter of the step size.
    """
    momentum_key, uniform_key = jax.random.split(key)
    momentum = jax.random.normal(momentum_key, point.z.shape)
    jitter, chance = jax.random.uniform(uniform_key, (2, *size.shape))
    step = _wide(size * (1 + JITTER * (2 * jitter - 1)), point.z)

    def force(p: _Point) -> jax.Array:
        return beta * p.slope - (1 - beta) * p.z

    def energy(p: _Point, momentum: jax.Array) -> jax.Array:
        kinetic = 0.5 * jnp.sum(momentum**2, axis=tuple(range(1, momentum.ndim)))
        return kinetic - beta * p.joint - (1 - beta) * _log_base(p.z)

    def leap(_: int, state: tuple[_Point, jax.Array]) -> tuple[_Point, jax.Array]:
        p, momentum = state
        momentum = momentum + 0.5 * step * force(p)
        p = evaluate(p.z + step * momentum)
        return p, momentum + 0.5 * step * force(p)

    proposal, end = jax.lax.fori_loop(0, leapfrog, leap, (point, momentum))
    gain = energy(point, momentum) - energy(proposal, end)
    gain = jnp.where(jnp.isnan(gain), -jnp.inf, gain)  # rejects divergent paths
    accept = jnp.log(chance) < gain
    point = jax.tree.map(lambda new, old: jnp.where(_wide(accept, new), new, old), proposal, point)
    return point, jnp.exp(jnp.minimum(gain, 0))


def _log_base(z: jax.Array) -> jax.Array:
    """log N(z; 0, I): `[R]` nats."""
    axes = tuple(range(1, z.ndim))
    dims = math.prod(z.shape[1:])
    return -0.5 * jnp.sum(z**2, axis=axes) - 0.5 * dims * math.log(2 * math.pi)


def _wide(a: jax.Array, like: jax.Array) -> jax.Array:
    """Reshapes `[R]` to `[R, 1, ...]` with as many axes as `like`."""
    return a.reshape(a.shape + (1,) * (like.ndim - a.ndim))
