"""Quantities computed of a finished run for its record, besides its likelihood."""

from collections.abc import Collection
from typing import Any

import jax
import numpy as np

from genjax import data as genjax_data
from genjax import evals
from genjax.core import named_key
from genjax.train.run_config import Run


def final_metrics(
    run: Run,
    family: Any,
    dataset: genjax_data.Dataset,
    variables: Any,
    required: Collection[str] = (),
    ranker: Any = None,
) -> dict[str, evals.MetricResult | str]:
    """Computes the metrics of `Train.metric` from the same samples.

    Args:
      run: the settings.
      family: its module.
      dataset: its data.
      variables: variables to sample with, on this process.
      required: names of metrics whose failure is raised.
      ranker: of `load_ranker`, or None.

    Returns:
      The result by metric; of one that failed the error message.

    Raises:
      ValueError, MemoryError, jax.errors.JaxRuntimeError: a required metric fails.
    """
    t = run.train
    context = evals.EvalContext(
        family,
        run.model,
        variables,
        dataset,
        named_key(jax.random.key(run.seed), 0, "instrument"),
        transform=run.data.transform,
        binarize_seed=run.data.binarize_seed,
        weights=t.fid_weights or None,
        classifier_steps=t.classifier_steps,
        ranker=ranker,
    )
    results: dict[str, evals.MetricResult | str] = {}
    for metric in t.metrics:
        options = evals.split_setting(metric, family, dataset)
        if t.metric_samples and "samples" in evals.metric_settings(metric):
            options["samples"] = t.metric_samples
        try:
            results[metric] = evals.METRICS[metric](context, **options)
        except (ValueError, MemoryError, jax.errors.JaxRuntimeError) as failure:
            if metric in required:
                raise
            results[metric] = str(failure) or type(failure).__name__
    return results


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
