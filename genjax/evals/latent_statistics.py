"""What the latents of a model are used for: active units, nats a unit, the aggregate posterior.

Everything goes through a split batch by batch, and sums are kept on the host in float64.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax import checks
from genjax.evals.batching import map_batches

THRESHOLD = 1e-2  # above it a unit is active: Burda et al. 2015, section 5.1


class Moments:
    """Means and variances of columns, over batches, in float64.

    Batches are merged by the differences of their means, so that a large mean costs no digits
    (Chan et al. 1983, "Algorithms for computing the sample variance", eq. 2.1).
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, rows: np.ndarray) -> None:
        """Take in `[B, Z]`."""
        rows = np.asarray(rows, np.float64)
        n, mean = len(rows), rows.mean(axis=0)
        total = self.count + n
        apart = mean - self.mean
        self.squares = self.squares + ((rows - mean) ** 2).sum(axis=0)
        self.squares = self.squares + apart**2 * (self.count * n / total)
        self.mean = self.mean + apart * (n / total)
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        """Over the rows, divided by their number: `[Z]`."""
        return np.asarray(self.squares / self.count)


class Activity(NamedTuple):
    """Which units of each stochastic layer tell anything about x; a tuple entry a layer.

    variance: of the posterior mean over the examples, A_u = Var_x(E_q[u | x]), `[Z_l]`.
    active: where it is above the threshold, bool `[Z_l]`.
    """

    variance: tuple[np.ndarray, ...]
    active: tuple[np.ndarray, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Active units of each layer, as papers print them: 16+5."""
        return tuple(int(a.sum()) for a in self.active)


def unit_activity(means: Iterable[Any], threshold: float = THRESHOLD) -> Activity:
    """Active units from batches of posterior means.

    Args:
      means: batches, each `[B, Z]`, or a tuple of `[B, Z_l]`, one a stochastic layer.
      threshold: variance above which a unit counts as active.

    Raises:
      ValueError: there is no batch, or a mean is not finite.

    Source: Burda et al. 2015, "Importance Weighted Autoencoders", section 5.1: A_u > 1e-2.
    """
    checks.positive(threshold=threshold)
    layers: list[Moments] = []
    for batch in means:
        parts = batch if isinstance(batch, (tuple, list)) else (batch,)
        layers = layers or [Moments() for _ in parts]
        for moments, part in zip(layers, parts, strict=True):
            moments.add(np.asarray(part).reshape(len(part), -1))
    if not layers:
        raise ValueError("active units need at least one batch of posterior means.")
    variance = tuple(moments.variance for moments in layers)
    if not all(np.isfinite(v).all() for v in variance):
        raise ValueError("a posterior mean is not finite: the run has diverged.")
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
    """Active units of a family over a split; see `unit_activity`.

    A family that exports `active_unit_means` says what the means of its layers are; of another they
    are `encode`.

    Args:
      family: module with `active_unit_means`, or `encode`.
      config: its Config.
      variables: fitted.
      x: `[N, *shape]`.
      key: of the draws that deeper layers are given.
      batch_size: examples at a time.
      threshold: of the variance.
      **condition: what the family conditions on, `[N]` each.
    """
    if hasattr(family, "active_unit_means"):
        # One key for all batches: draws that differ between examples would be taken for x's.
        drawn = functools.partial(_drawn_means, family, key)
        means = _batches(drawn, config, variables, x, condition, batch_size)
    else:
        means = _batches(family.encode, config, variables, x, condition, batch_size)
    return unit_activity(means, threshold)


def _drawn_means(
    family: Any, key: jax.Array, config: Any, variables: Any, x: jax.Array, **given: jax.Array
) -> Any:
    return family.active_unit_means(config, variables, x, key, **given)


def kl_by_unit(
    family: Any,
    config: Any,
    variables: Any,
    x: Any,
    *,
    batch_size: int = 500,
    **condition: Any,
) -> np.ndarray:
    """KL(q(z_u | x) || p(z_u)) of every unit, averaged over a split: `[Z]` nats, float64.

    Sorted, `np.sort(...)[::-1]`, it shows how many units carry how much.

    Args:
      family: module with `kl_units`.
      config: its Config.
      variables: fitted.
      x: `[N, *shape]`.
      batch_size: examples at a time.
      **condition: what the family conditions on, `[N]` each.
    """

    return _mean(_batches(family.kl_units, config, variables, x, condition, batch_size))


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
    """What each stochastic layer costs in the bound, averaged over a split: `[L]` nats, float64.

    Args:
      family: module with `kl_layers`.
      config: its Config.
      variables: fitted.
      x: `[N, *shape]`.
      key: of the draws that layers are given.
      batch_size: examples at a time.
      **condition: what the family conditions on, `[N]` each.
    """

    return _mean(_batches(family.kl_layers, config, variables, x, condition, batch_size, key))


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
    """Mean and standard deviation of each unit under the aggregate posterior, `[Z]` each.

    That is q(z) = mean over x of q(z | x), from one draw an example. Where it is far from the
    prior's 0 and 1, samples from the prior come from where the decoder was hardly trained
    (Hoffman and Johnson 2016, "ELBO surgery").

    Args:
      family: module with `posterior_sample`.
      config: its Config.
      variables: fitted.
      x: `[N, *shape]`.
      key: of the draws.
      batch_size: examples at a time.
      **condition: what the family conditions on, `[N]` each.
    """

    moments = Moments()
    draw = family.posterior_sample
    for z, _ in _batches(draw, config, variables, x, condition, batch_size, key):
        moments.add(z.reshape(len(z), -1))
    return np.asarray(moments.mean), np.sqrt(moments.variance)


def encode_split(
    family: Any, config: Any, variables: Any, x: Any, *, batch_size: int = 500, **condition: Any
) -> np.ndarray:
    """`encode` of a split, `[N, F]` float32 on the host: features for `linear_probe`."""

    found = _batches(family.encode, config, variables, x, condition, batch_size)
    return np.concatenate(list(found)).astype(np.float32)


def _batches(
    function: Callable[..., Any],
    config: Any,
    variables: Any,
    x: Any,
    condition: dict[str, Any],
    batch_size: int,
    key: jax.Array | None = None,
) -> Iterator[Any]:
    """A family's function of every batch, on the host; with a key where it draws."""

    @jax.jit
    def one(variables: Any, x: jax.Array, key: jax.Array, **given: jax.Array) -> Any:
        drawn = (key,) if draws else ()
        return function(config, variables, x, *drawn, **given)

    draws = key is not None
    key = jax.random.key(0) if key is None else key  # which nobody asks for
    return map_batches(functools.partial(one, variables), {"x": x, **condition}, key, batch_size)


def _mean(batches: Iterable[np.ndarray]) -> np.ndarray:
    """Mean over the rows of all batches, in float64."""
    moments = Moments()
    for batch in batches:
        moments.add(batch)
    return np.asarray(moments.mean)
