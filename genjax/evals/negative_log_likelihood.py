"""Negative log-likelihood of a split, exact or by a bound, or another reported quantity."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from genjax.core import elbo, log_prob_bound
from genjax.core.protocols import PuzzleSolver, Reported, Translator, family_name
from genjax.core.puzzle_orders import wrong_pieces
from genjax.evals.batching import evaluate_split


class Quantity(NamedTuple):
    """What a run evaluates on its splits, per example; lower is better."""

    name: str
    unit: str


def evaluated_quantity(family: Any, config: Any) -> Quantity | None:
    """Returns the quantity that a run evaluates, or None for a family that only samples.

    It is minus the log density or its bound, what a `Reported` family reports, or the share of
    pieces that a `PuzzleSolver` puts in wrong positions.
    """
    traits = family.traits(config)
    if isinstance(family, PuzzleSolver):
        return Quantity("wrong pieces", "")
    none = traits.density == "none" and not isinstance(family, Reported)
    return None if none else Quantity(traits.metric, traits.unit)


def is_bound(family: Any, config: Any) -> bool:
    """Returns whether the quantity that a run reports is a bound from samples."""
    return family.traits(config).density == "bound" and not isinstance(family, Reported)


def make_nll(
    family: Any,
    config: Any,
    *,
    num_samples: int = 1,
    sharding: Any = None,
    reported: bool = False,
) -> Callable:
    """Returns a function that evaluates -log p(x) of a split, compiled once.

    The function is called like that of `evaluate_split`, and returns `[N]` nats on the host.

    The result is exact for an exact density. For others it is an upper bound: minus the ELBO with
    one sample, minus the importance-weighted bound with more. Memory is that of two batches.

    Args:
      family, config: a family that implements a density.
      num_samples: samples of the bound; exact densities ignore it.
      sharding: of a batch of `x`, for several devices.
      reported: evaluate the `evaluated_quantity`.

    Raises:
      ValueError: the family has no density.
    """
    density = family.traits(config).density
    solves = reported and isinstance(family, PuzzleSolver)
    if density == "none" and not solves and not (reported and isinstance(family, Reported)):
        does = "translates" if isinstance(family, Translator) else "samples"
        raise ValueError(f"{family_name(family)} has no density to evaluate; it only {does}.")

    def batch_nll(variables: Any, batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        if solves:
            return wrong_pieces(family, config, variables, batch["x"], key)
        if reported and isinstance(family, Reported):
            return family.report(config, variables, batch)
        x, condition = batch["x"], {k: v for k, v in batch.items() if k != "x"}
        if density == "exact":
            return -family.log_prob(config, variables, x, **condition)
        if num_samples == 1:
            return -elbo(family, config, variables, x, key, **condition)
        return -log_prob_bound(family, config, variables, x, key, num_samples, **condition)

    # Every process reads all values.
    everywhere = None if sharding is None else NamedSharding(sharding.mesh, PartitionSpec())
    devices = 1 if sharding is None else sharding.mesh.size
    compiled = jax.jit(batch_nll, out_shardings=everywhere)

    def one(variables: Any, key: jax.Array, **batch: Any) -> jax.Array:
        batch = batch if sharding is None else jax.device_put(batch, sharding)
        return compiled(variables, batch, key)

    return evaluate_split(one, multiple=devices, name="nll")


def nll(
    family: Any,
    config: Any,
    variables: Any,
    x: Any,
    key: jax.Array,
    *,
    batch_size: int = 500,
    num_samples: int = 1,
    condition: Any = None,
) -> np.ndarray:
    """Evaluates -log p(x) or its bound per example, `[N]` nats; see `make_nll`."""
    evaluate = make_nll(family, config, num_samples=num_samples)
    return evaluate(variables, x, key, batch_size, condition)


def mean_and_error(nats: np.ndarray) -> tuple[float, float]:
    """Returns the mean over examples and its standard error, both summed in float64.

    >>> mean_and_error(np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    nats = np.asarray(nats, np.float64)
    if len(nats) < 2 or not np.isfinite(nats).all():
        return float(nats.mean()), float("nan")
    return float(nats.mean()), float(nats.std(ddof=1) / np.sqrt(len(nats)))
