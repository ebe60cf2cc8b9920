"""The standard Inception network, and the metrics defined by it: FID, KID, Inception score."""

from genjax.evals.inception.inception_v3 import InceptionV3, prepare
from genjax.evals.inception.pretrained import Inception, load_inception, save_inception
from genjax.evals.inception.scores import (
    InceptionScoreResult,
    extractor,
    fid,
    inception_score,
    kid,
)

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
