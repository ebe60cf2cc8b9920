"""What is measured. Knows families by what they export, never by name."""

from genjax.evals.classifier import (
    Classifier,
    accuracy,
    accuracy_score,
    load_classifier,
    save_classifier,
    train_classifier,
)
from genjax.evals.classify import Classified, classified, log_posterior, log_prior_of, reliability
from genjax.evals.complete import allowed, complete, heat_map
from genjax.evals.detect import auroc, mutate, ratio
from genjax.evals.extract import PIXELS, Extractor, to_unit
from genjax.evals.features import Probe, linear_probe, linear_svm, pca
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
from genjax.evals.likelihood import make_nll, mean_and_error, metric, nll, unit
from genjax.evals.manifold import ManifoldResult, manifold, nearest, neighbours
from genjax.evals.measure import INSTRUMENTS, measure, settings_of
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
from genjax.evals.parzen import ParzenResult, parzen
from genjax.evals.result import Measured
from genjax.evals.subject import Subject
from genjax.evals.swd import SwdResult, sliced, swd

__all__ = [
    "INSTRUMENTS",
    "PIXELS",
    "Classified",
    "Classifier",
    "Extractor",
    "FrechetResult",
    "Inception",
    "KernelResult",
    "ManifoldResult",
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
    "allowed",
    "auroc",
    "classified",
    "complete",
    "draw_modes",
    "fid",
    "frechet",
    "frechet_distance",
    "gaussian_modes",
    "grid_centres",
    "heat_map",
    "inception_score",
    "kernel_distance",
    "kid",
    "linear_probe",
    "linear_svm",
    "load_classifier",
    "load_inception",
    "log_posterior",
    "log_prior_of",
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
    "parzen",
    "pca",
    "ratio",
    "reliability",
    "ring_centres",
    "save_classifier",
    "save_inception",
    "settings_of",
    "sliced",
    "stack_digits",
    "stacked_modes",
    "swd",
    "to_unit",
    "train_classifier",
    "unit",
]
