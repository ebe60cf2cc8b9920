"""What is measured. Knows families by what they export, never by name."""

from genjax.evals.annealed import (
    Annealed,
    annealed_log_prob,
    make_annealed,
    reverse_annealed_log_prob,
    temperatures,
)
from genjax.evals.batches import by_batches, over_split
from genjax.evals.classifier import (
    Classifier,
    accuracy,
    accuracy_score,
    load_classifier,
    save_classifier,
    train_classifier,
)
from genjax.evals.classify import (
    Classified,
    classified,
    log_posterior,
    log_prior_of,
    make_class_likelihood,
    reliability,
)
from genjax.evals.codes import CodesResult, InformationResult, codes, information
from genjax.evals.complete import allowed, complete, heat_map
from genjax.evals.coverage import CoverageResult, coverage, nearest, neighbours
from genjax.evals.detect import auroc, mutate, ratio
from genjax.evals.extract import PIXELS, Extractor, to_unit
from genjax.evals.features import Probe, linear_probe, linear_svm, pca
from genjax.evals.field import receptive_field, unseen
from genjax.evals.frechet import FrechetResult, Moments, frechet, frechet_distance, moments
from genjax.evals.inception import (
    Inception,
    fid,
    inception_score,
    kid,
    load_inception,
    save_inception,
)
from genjax.evals.kernel import KernelResult, kernel_distance, mmd2
from genjax.evals.latents import (
    Activity,
    active_units,
    activity,
    aggregate,
    encoded,
    kl_by_layer,
    kl_by_unit,
)
from genjax.evals.likelihood import (
    is_bound,
    make_nll,
    mean_and_error,
    metric,
    nll,
    unit,
    validation_config,
)
from genjax.evals.measure import INSTRUMENTS, measure, result_of, settings_of
from genjax.evals.modes import (
    ModesResult,
    draw_modes,
    gaussian_modes,
    grid_centres,
    ring_centres,
    stack_digits,
    stacked_modes,
)
from genjax.evals.msssim import MsSsimResult, ms_ssim, ms_ssim_pairs
from genjax.evals.needs import check_instrument
from genjax.evals.parzen import ParzenResult, parzen
from genjax.evals.result import Measured
from genjax.evals.subject import Subject
from genjax.evals.swd import SwdResult, sliced, swd
from genjax.evals.walks import interpolation, manifold, traversal

__all__ = [
    "INSTRUMENTS",
    "PIXELS",
    "Activity",
    "Annealed",
    "Classified",
    "Classifier",
    "CodesResult",
    "CoverageResult",
    "Extractor",
    "FrechetResult",
    "Inception",
    "InformationResult",
    "KernelResult",
    "Measured",
    "ModesResult",
    "Moments",
    "MsSsimResult",
    "ParzenResult",
    "Probe",
    "Subject",
    "SwdResult",
    "accuracy",
    "accuracy_score",
    "active_units",
    "activity",
    "aggregate",
    "allowed",
    "annealed_log_prob",
    "auroc",
    "by_batches",
    "check_instrument",
    "classified",
    "codes",
    "complete",
    "coverage",
    "draw_modes",
    "encoded",
    "fid",
    "frechet",
    "frechet_distance",
    "gaussian_modes",
    "grid_centres",
    "heat_map",
    "inception_score",
    "information",
    "interpolation",
    "is_bound",
    "kernel_distance",
    "kid",
    "kl_by_layer",
    "kl_by_unit",
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
    "mean_and_error",
    "measure",
    "metric",
    "mmd2",
    "moments",
    "ms_ssim",
    "ms_ssim_pairs",
    "mutate",
    "nearest",
    "neighbours",
    "nll",
    "over_split",
    "parzen",
    "pca",
    "ratio",
    "receptive_field",
    "reliability",
    "result_of",
    "reverse_annealed_log_prob",
    "ring_centres",
    "save_classifier",
    "save_inception",
    "settings_of",
    "sliced",
    "stack_digits",
    "stacked_modes",
    "swd",
    "temperatures",
    "to_unit",
    "train_classifier",
    "traversal",
    "unit",
    "unseen",
    "validation_config",
]
