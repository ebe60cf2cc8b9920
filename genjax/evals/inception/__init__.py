"""The standard Inception network, and the three figures that are named after it."""

from genjax.evals.inception.network import InceptionV3, prepare
from genjax.evals.inception.scores import (
    InceptionScoreResult,
    extractor,
    fid,
    inception_score,
    kid,
)
from genjax.evals.inception.weights import Inception, load_inception, save_inception

__all__ = [
    "Inception",
    "InceptionScoreResult",
    "InceptionV3",
    "extractor",
    "fid",
    "inception_score",
    "kid",
    "load_inception",
    "prepare",
    "save_inception",
]
