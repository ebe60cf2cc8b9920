"""Negative log-likelihood of a whole split, exact or by a bound; or the figure a paper prints."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from genjax.core import stream


def metric(family: Any, config: Any) -> str:
    """What `make_nll` measures when it is asked for the figure of a run."""
    if hasattr(family, "metric"):
        return family.metric(config)
    return "NLL" if family.TRAITS.density == "exact" else "NLL bound"


def unit(family: Any, config: Any) -> str:
    """Of that figure: nats, where a family does not export another."""
    return family.unit(config) if hasattr(family, "unit") else "nats"


def make_nll(
    family: Any,
    config: Any,
    *,
    num_samples: int = 1,
    sharding: Any = None,
    reported: bool = False,
) -> Callable:
    """`nll(variables, data, key, batch_size) -> [N]` nats on the host, compiled once.

    Exact where the family exports `log_prob`; an upper bound, the negative of
    `log_prob_bound(num_samples)`, where it exports a bound (with one sample, of the ELBO). `data`
    is `x` `[N, *shape]`, or a dict with `x` and what else the figure is made of, such as `label`.

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
    density = family.TRAITS.density
    if density == "none":
        raise ValueError(f"{family.__name__} only samples: it has no likelihood to evaluate.")

    def batch_nll(variables: Any, batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        if reported and hasattr(family, "reported"):
            return family.reported(config, variables, batch)
        x = batch["x"]
        if density == "exact":
            return -family.log_prob(config, variables, x)
        if num_samples == 1:
            return -family.elbo(config, variables, x, key)
        return -family.log_prob_bound(config, variables, x, key, num_samples)

    # One copy of the numbers on every process: each of them reads all of it.
    everywhere = None if sharding is None else NamedSharding(sharding.mesh, PartitionSpec())
    compiled = jax.jit(batch_nll, out_shardings=everywhere)

    def split_nll(variables: Any, data: Any, key: jax.Array, batch_size: int) -> np.ndarray:
        data = data if isinstance(data, Mapping) else {"x": data}
        count = len(data["x"])
        out, batch_size = [], min(batch_size, count)

        def padded(array: Any, start: int) -> Any:
            # The last batch is filled up, so that every batch has one shape and one program.
            part = array[start : start + batch_size]
            pad = batch_size - len(part)
            return jnp.concatenate([part, jnp.repeat(part[:1], pad, axis=0)]) if pad else part

        for i, start in enumerate(range(0, count, batch_size)):
            batch = {name: padded(array, start) for name, array in data.items()}
            if sharding is not None:
                batch = jax.device_put(batch, sharding)
            nats = compiled(variables, batch, stream(key, i, "nll"))
            out.append((nats, min(batch_size, count - start)))
        # Fetched after all are dispatched: the device never waits for the host.
        return np.concatenate([np.asarray(nats)[:n] for nats, n in out])

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
) -> np.ndarray:
    """-log p(x), or its bound, of every example: `[N]` nats. See `make_nll`."""
    return make_nll(family, config, num_samples=num_samples)(variables, x, key, batch_size)


def mean_and_error(nats: np.ndarray) -> tuple[float, float]:
    """Mean over examples and its standard error, both summed in float64.

    >>> mean_and_error(np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    nats = np.asarray(nats, np.float64)
    if len(nats) < 2 or not np.isfinite(nats).all():
        return float(nats.mean()), float("nan")
    return float(nats.mean()), float(nats.std(ddof=1) / np.sqrt(len(nats)))
