"""Statistics of latents over a split: active units, KL per unit, the aggregate posterior.

Functions of a split take a family's module, its Config and variables, examples `x` `[N, *shape]`,
and the other entries of a batch (`condition`), `[N]` each. They process `batch_size` examples at a
time; means and variances are computed on the host in float64.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax import checks
from genjax.core import kl_units
from genjax.core.protocols import LayerMeans
from genjax.evals.batching import map_batches
from genjax.evals.frechet import Moments

THRESHOLD = 1e-2  # above it a unit is active: Burda et al. 2015, section 5.1


class Activity(NamedTuple):
    """Active units of each stochastic layer, one entry per layer.

    Attributes:
      variance: of the posterior mean over the examples, A_u = Var_x(E_q[u | x]), `[Z_l]`.
      active: whether it is above the threshold, bool `[Z_l]`.
    """

    variance: tuple[np.ndarray, ...]
    active: tuple[np.ndarray, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of active units of each layer."""
        return tuple(int(a.sum()) for a in self.active)


def unit_activity(means: Iterable[Any], threshold: float = THRESHOLD) -> Activity:
    """Finds active units from batches of posterior means.

    Args:
      means: batches, each `[B, Z]`, or a tuple of `[B, Z_l]`, one per stochastic layer.
      threshold: variance above which a unit counts as active.

    Raises:
      ValueError: there is no batch, or a mean is not finite.

    Source: Burda et al. 2015, "Importance Weighted Autoencoders", section 5.1: A_u > 1e-2.
    """
    checks.positive(threshold=threshold)
    layers: list[Moments] = []
    for batch in means:
        parts = batch if isinstance(batch, (tuple, list)) else (batch,)
        new = [_moments([part]) for part in parts]
        layers = [a.merged(b) for a, b in zip(layers, new, strict=True)] if layers else new
    if not layers:
        raise ValueError("active units need at least one batch of posterior means, got none.")
    variance = tuple(moments.scatter / moments.n for moments in layers)
    if not all(np.isfinite(v).all() for v in variance):
        raise ValueError("a posterior mean is not finite; the run has diverged.")
    return Activity(variance, tuple(v > threshold for v in variance))


def active_units(
    family: Any,
    config: Any,
    variables: Any,
    x: Any,
    key: jax.Array,
    *,
    batch_size: int = 500,
    threshold: float = THRESHOLD,
    **condition: Any,
) -> Activity:
    """Finds the active units of a family over a split; see `unit_activity`."""

    noise_key = key  # of all batches: noise that differs between examples would count as variance

    def means(variables: Any, x: Any, key: jax.Array, **condition: Any) -> Any:
        q = family.posterior(config, variables, x, **condition)
        return q.layer_means(noise_key) if isinstance(q, LayerMeans) else q.mean()

    return unit_activity(_batches(means, variables, x, condition, batch_size), threshold)


def kl_by_unit(
    family: Any, config: Any, variables: Any, x: Any, *, batch_size: int = 500, **condition: Any
) -> np.ndarray:
    """Computes KL(q(z_u | x) || p(z_u)) of every unit, averaged over a split: `[Z]` nats, float64.

    Raises:
      ValueError: the divergence has no closed form per unit.
    """

    def units(variables: Any, x: Any, key: jax.Array, **condition: Any) -> jax.Array:
        return kl_units(family, config, variables, x, **condition)

    return _moments(_batches(units, variables, x, condition, batch_size)).mean


def kl_by_layer(
    family: Any,
    config: Any,
    variables: Any,
    x: Any,
    key: jax.Array,
    *,
    batch_size: int = 500,
    **condition: Any,
) -> np.ndarray:
    """Computes the ELBO's term of each stochastic layer over a split: `[L]` nats, float64.

    The posterior must be a `LayeredPosterior`.
    """

    def layers(variables: Any, x: Any, key: jax.Array, **condition: Any) -> jax.Array:
        return family.posterior(config, variables, x, **condition).kl_layers(key)

    return _moments(_batches(layers, variables, x, condition, batch_size, key)).mean


def aggregate_posterior(
    family: Any,
    config: Any,
    variables: Any,
    x: Any,
    key: jax.Array,
    *,
    batch_size: int = 500,
    **condition: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates mean and standard deviation of each unit under the aggregate posterior, `[Z]` each.

    That is q(z) = mean over x of q(z | x), from one draw per example; of several layers, the bottom
    one. Where it is far from the prior, samples of the prior fall where the decoder was hardly
    trained (Hoffman and Johnson 2016, "ELBO surgery").
    """

    def draw(variables: Any, x: Any, key: jax.Array, **condition: Any) -> jax.Array:
        z = family.posterior(config, variables, x, **condition).sample(key)
        return z[0] if isinstance(z, tuple) else z

    moments = _moments(_batches(draw, variables, x, condition, batch_size, key))
    return moments.mean, np.sqrt(moments.scatter / moments.n)


def encode_split(
    family: Any, config: Any, variables: Any, x: Any, *, batch_size: int = 500, **condition: Any
) -> np.ndarray:
    """Extracts features of a split by `encode`, `[N, F]` float32 on the host."""

    def features(variables: Any, x: Any, key: jax.Array, **condition: Any) -> jax.Array:
        return family.encode(config, variables, x, **condition)

    parts = _batches(features, variables, x, condition, batch_size)
    return np.concatenate(list(parts)).astype(np.float32)


def _batches(
    function: Callable[..., Any],
    variables: Any,
    x: Any,
    condition: dict[str, Any],
    batch_size: int,
    key: jax.Array | None = None,
) -> Iterator[Any]:
    """Iterates over `function(variables, x, key, **condition)` of all batches, on the host."""
    batch = functools.partial(jax.jit(function), variables)
    key = jax.random.key(0) if key is None else key
    return map_batches(batch, {"x": x, **condition}, key, batch_size)


def _moments(batches: Iterable[Any]) -> Moments:
    """Computes mean and variance of every column over the rows of all batches."""
    parts = (np.reshape(batch, (len(batch), -1)) for batch in batches)
    return functools.reduce(Moments.merged, (Moments.of(rows, diagonal=True) for rows in parts))
