"""What is measured. Knows families by what they export, never by name."""

from genjax.evals.annealed import (
    Annealed,
    annealed_log_prob,
    make_annealed,
    reverse_annealed_log_prob,
    temperatures,
)
from genjax.evals.batches import by_batches, over_split
from genjax.evals.classify import (
    Classified,
    classified,
    log_posterior,
    log_prior_of,
    make_class_likelihood,
    reliability,
)
from genjax.evals.complete import allowed, complete, heat_map
from genjax.evals.detect import auroc, mutate, ratio
from genjax.evals.features import Probe, linear_probe, pca
from genjax.evals.latents import (
    Activity,
    active_units,
    activity,
    aggregate,
    encoded,
    kl_by_layer,
    kl_by_unit,
)
from genjax.evals.likelihood import make_nll, mean_and_error, metric, nll, unit
from genjax.evals.walks import interpolation, manifold, traversal

__all__ = [
    "Activity",
    "Annealed",
    "Classified",
    "Probe",
    "active_units",
    "activity",
    "aggregate",
    "allowed",
    "annealed_log_prob",
    "auroc",
    "by_batches",
    "classified",
    "complete",
    "encoded",
    "heat_map",
    "interpolation",
    "kl_by_layer",
    "kl_by_unit",
    "linear_probe",
    "log_posterior",
    "log_prior_of",
    "make_annealed",
    "make_class_likelihood",
    "make_nll",
    "manifold",
    "mean_and_error",
    "metric",
    "mutate",
    "nll",
    "over_split",
    "pca",
    "ratio",
    "reliability",
    "reverse_annealed_log_prob",
    "temperatures",
    "traversal",
    "unit",
]
