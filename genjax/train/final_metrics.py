"""What is measured of a finished run for its record, beside its likelihood."""

from typing import Any

import jax
import numpy as np

from genjax import data as data_room
from genjax import evals
from genjax.core import named_key
from genjax.train.run_config import Run


def final_metrics(
    run: Run, family: Any, dataset: data_room.Dataset, variables: Any
) -> tuple[dict[str, Any], str, tuple[float, float | None, str]]:
    """What the run's instrument says: all of it, the name of its figure, and the figure.

    Args:
      run: the settings; `train.metric` is set.
      family: its module.
      dataset: its data.
      variables: those that samples are drawn with, on this process.
    """
    t = run.train
    asked: dict[str, Any] = {}
    if t.metric_samples and "samples" in evals.metric_settings(t.metric):
        asked["samples"] = t.metric_samples
    found = evals.compute_metric(
        t.metric,
        family,
        run.model,
        variables,
        dataset,
        named_key(jax.random.key(run.seed), 0, "instrument"),
        transform=run.data.transform,
        binarize_seed=run.data.binarize_seed,
        weights=t.fid_weights or None,
        classifier_steps=t.classifier_steps,
        **asked,
    )
    said = {"metric": t.metric, **found.as_dict()}
    return said, f"{t.metric} {found.FIGURE[0]}", found.figure()


def active_units(
    run: Run, family: Any, variables: Any, x: np.ndarray, condition: dict[str, Any]
) -> list[int] | None:
    """How many latents of each layer tell anything about x; None where a mean is not finite.

    Args:
      run: the settings.
      family: its module, with `active_unit_means`.
      variables: fitted, on this process.
      x: a split, `[N, *shape]`.
      condition: what the family is given beside it, `[N]` each.
    """
    key = named_key(jax.random.key(run.seed), 0, "active units")
    size = run.train.eval_batch
    try:
        found = evals.active_units(
            family, run.model, variables, x, key, batch_size=size, **condition
        )
    except ValueError:  # a draw ran off to infinity: the figure stands without it
        return None
    return list(found.counts)
