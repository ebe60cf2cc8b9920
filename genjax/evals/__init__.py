"""Metrics and other evaluations; families are known by protocol only."""

from genjax.evals.annealed_importance import (
    Annealed,
    annealed_log_prob,
    make_annealed,
    reverse_annealed_log_prob,
    temperatures,
)
from genjax.evals.batching import map_batches, map_split
from genjax.evals.classification import (
    classify,
    log_posterior,
    log_prior_of,
    make_class_likelihood,
    reliability,
)
from genjax.evals.classifier import (
    Classifier,
    accuracy,
    accuracy_score,
    load_classifier,
    save_classifier,
    train_attribute_classifier,
    train_classifier,
)
from genjax.evals.completion import completable, complete, heat_map
from genjax.evals.context import EvalContext
from genjax.evals.feature_extractor import PIXELS, Extractor, to_unit
from genjax.evals.frechet import Moments, frechet, frechet_distance, moments
from genjax.evals.inception import (
    Inception,
    fid,
    inception_score,
    kid,
    load_inception,
    save_inception,
)
from genjax.evals.latent_codes import codes, information
from genjax.evals.latent_statistics import (
    Activity,
    active_units,
    aggregate_posterior,
    encode_split,
    kl_by_layer,
    kl_by_unit,
    unit_activity,
)
from genjax.evals.metric_result import MetricResult, TableResult
from genjax.evals.mmd import kernel_distance, mmd2
from genjax.evals.mode_coverage import (
    gaussian_modes,
    stacked_modes,
)
from genjax.evals.msssim import ms_ssim, ms_ssim_pairs
from genjax.evals.negative_log_likelihood import (
    evaluated_quantity,
    is_bound,
    make_nll,
    mean_and_error,
    nll,
)
from genjax.evals.ood import auroc, likelihood_ratio, mutate
from genjax.evals.parzen import parzen
from genjax.evals.precision_recall import (
    nearest_neighbors,
    neighbor_distances,
    precision_recall,
)
from genjax.evals.probes import linear_probe, linear_svm, pca
from genjax.evals.receptive_field import receptive_field, unseen_pixels
from genjax.evals.registry import METRICS, compute_metric, metric_settings, split_setting
from genjax.evals.requirements import check_metric_requirements
from genjax.evals.swd import sliced, swd
from genjax.evals.traversals import interpolation, manifold, traversal

__all__ = [
    "METRICS",
    "PIXELS",
    "Activity",
    "Annealed",
    "Classifier",
    "EvalContext",
    "Extractor",
    "Inception",
    "MetricResult",
    "Moments",
    "TableResult",
    "accuracy",
    "accuracy_score",
    "active_units",
    "aggregate_posterior",
    "annealed_log_prob",
    "auroc",
    "check_metric_requirements",
    "classify",
    "codes",
    "completable",
    "complete",
    "compute_metric",
    "encode_split",
    "evaluated_quantity",
    "fid",
    "frechet",
    "frechet_distance",
    "gaussian_modes",
    "heat_map",
    "inception_score",
    "information",
    "interpolation",
    "is_bound",
    "kernel_distance",
    "kid",
    "kl_by_layer",
    "kl_by_unit",
    "likelihood_ratio",
    "linear_probe",
    "linear_svm",
    "load_classifier",
    "load_inception",
    "log_posterior",
    "log_prior_of",
    "make_annealed",
    "make_class_likelihood",
    "make_nll",
    "manifold",
    "map_batches",
    "map_split",
    "mean_and_error",
    "metric_settings",
    "mmd2",
    "moments",
    "ms_ssim",
    "ms_ssim_pairs",
    "mutate",
    "nearest_neighbors",
    "neighbor_distances",
    "nll",
    "parzen",
    "pca",
    "precision_recall",
    "receptive_field",
    "reliability",
    "reverse_annealed_log_prob",
    "save_classifier",
    "save_inception",
    "sliced",
    "split_setting",
    "stacked_modes",
    "swd",
    "temperatures",
    "to_unit",
    "train_attribute_classifier",
    "train_classifier",
    "traversal",
    "unit_activity",
    "unseen_pixels",
]
