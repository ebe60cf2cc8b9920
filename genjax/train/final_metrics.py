"""Quantities computed of a finished run for its record, besides its likelihood."""

from typing import Any

import jax
import numpy as np

from genjax import data as genjax_data
from genjax import evals
from genjax.core import named_key
from genjax.core.protocols import Translator
from genjax.train.run_config import Run


def final_metrics(
    run: Run, family: Any, dataset: genjax_data.Dataset, variables: Any
) -> tuple[dict[str, Any], str, tuple[float, float | None, str]]:
    """Computes the metric of `Train.metric`.

    Args:
      run: the settings; `train.metric` is set.
      family: its module.
      dataset: its data.
      variables: variables to sample with, on this process.

    Returns:
      All values, the name of the main one, and its value, standard error and unit.
    """
    t = run.train
    options: dict[str, Any] = {}
    settings = evals.metric_settings(t.metric)
    if t.metric_samples and "samples" in settings:
        options["samples"] = t.metric_samples
    if "split" in settings and isinstance(family, Translator):
        options["split"] = "test"  # as the images that are translated
    result = evals.compute_metric(
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
        **options,
    )
    values = {"metric": t.metric, **result.as_dict()}
    return values, f"{t.metric} {result.FIGURE[0]}", result.figure()


def active_units(
    run: Run, family: Any, variables: Any, x: np.ndarray, condition: dict[str, Any]
) -> list[int] | None:
    """Counts the active units of each layer of latents; None if a mean is not finite.

    Args:
      run: the settings.
      family: module that implements `LatentVariable`.
      variables: its variables, on this process.
      x: a split, `[N, *shape]`.
      condition: other entries of the split, `[N]` each.
    """
    key = named_key(jax.random.key(run.seed), 0, "active units")
    size = run.train.eval_batch
    try:
        activity = evals.active_units(
            family, run.model, variables, x, key, batch_size=size, **condition
        )
    except ValueError:
        return None
    return list(activity.counts)
