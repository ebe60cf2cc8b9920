"""Negative log-likelihood of a whole split, exact or by a bound; or the figure a paper prints."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from genjax.evals.batching import ProgressCallback, map_split


def metric(family: Any, config: Any) -> str:
    """What `make_nll` measures when it is asked for the figure of a run."""
    return family.traits(config).metric


def is_bound(family: Any, config: Any) -> bool:
    """Whether that figure is a bound of samples, of which more may be taken."""
    return family.traits(config).density == "bound" and not hasattr(family, "reported")


def validation_config(family: Any, config: Any) -> Any:
    """The Config whose figure picks the best weights, where a family exports another for that."""
    return family.traits(config).validation or config


def unit(family: Any, config: Any) -> str:
    """Of that figure: nats, where a family does not export another."""
    return family.traits(config).unit


def make_nll(
    family: Any,
    config: Any,
    *,
    num_samples: int = 1,
    sharding: Any = None,
    reported: bool = False,
) -> Callable:
    """`nll(variables, x, key, batch_size, condition, told) -> [N]` nats on the host, compiled once.

    Exact where the family exports `log_prob`; an upper bound, the negative of
    `log_prob_bound(num_samples)`, where it exports a bound (with one sample, of the ELBO). What a
    density is given with each example is `condition`: `{"label": [N]}`, or nothing; `told` hears
    how many examples are done, and of how many. Memory is that of two batches.

    Args:
      family: module that follows the family contract.
      config: its Config.
      num_samples: of the bound; exact families have no use for it.
      sharding: of a batch of `x`, for several devices.
      reported: the figure of a run, where a family exports another (`reported`) than -log p; its
        unit is `unit(family, config)`.

    Raises:
      ValueError: the family has no density.
    """
    density = family.traits(config).density
    if density == "none":
        raise ValueError(f"{family.__name__} only samples: it has no likelihood to evaluate.")

    def batch_nll(variables: Any, batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        if reported and hasattr(family, "reported"):
            return family.reported(config, variables, batch)
        x, condition = batch["x"], {k: v for k, v in batch.items() if k != "x"}
        if density == "exact":
            return -family.log_prob(config, variables, x, **condition)
        if num_samples == 1:
            return -family.elbo(config, variables, x, key, **condition)
        return -family.log_prob_bound(config, variables, x, key, num_samples, **condition)

    # One copy of the numbers on every process: each of them reads all of it.
    everywhere = None if sharding is None else NamedSharding(sharding.mesh, PartitionSpec())
    devices = 1 if sharding is None else sharding.mesh.size
    compiled = jax.jit(batch_nll, out_shardings=everywhere)

    def split_nll(
        variables: Any,
        x: Any,
        key: jax.Array,
        batch_size: int,
        condition: Any = None,
        told: ProgressCallback | None = None,
    ) -> np.ndarray:
        def one(key: jax.Array, **part: Any) -> jax.Array:
            part = part if sharding is None else jax.device_put(part, sharding)
            return compiled(variables, part, key)

        arrays = {"x": x, **(condition or {})}
        return map_split(one, arrays, key, batch_size, multiple=devices, name="nll", progress=told)

    return split_nll


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
    """-log p(x), or its bound, of every example: `[N]` nats. See `make_nll`."""
    evaluate = make_nll(family, config, num_samples=num_samples)
    return evaluate(variables, x, key, batch_size, condition)


def mean_and_error(nats: np.ndarray) -> tuple[float, float]:
    """Mean over examples and its standard error, both summed in float64.

    >>> mean_and_error(np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    nats = np.asarray(nats, np.float64)
    if len(nats) < 2 or not np.isfinite(nats).all():
        return float(nats.mean()), float("nan")
    return float(nats.mean()), float(nats.std(ddof=1) / np.sqrt(len(nats)))
