"""What is measured. Knows families by what they export, never by name."""

from genjax.evals.classify import Classified, classified, log_posterior, log_prior_of, reliability
from genjax.evals.complete import allowed, complete, heat_map
from genjax.evals.detect import auroc, mutate, ratio
from genjax.evals.features import Probe, linear_probe, pca
from genjax.evals.likelihood import make_nll, mean_and_error, metric, nll, unit

__all__ = [
    "Classified",
    "Probe",
    "allowed",
    "auroc",
    "classified",
    "complete",
    "heat_map",
    "linear_probe",
    "log_posterior",
    "log_prior_of",
    "make_nll",
    "mean_and_error",
    "metric",
    "mutate",
    "nll",
    "pca",
    "ratio",
    "reliability",
    "unit",
]
