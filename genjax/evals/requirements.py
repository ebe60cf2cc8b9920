"""What instruments ask of a model and its data, before anything is trained or drawn."""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from genjax.data import Dataset
from genjax.evals.context import check_conditional, check_label_free, picture_range
from genjax.evals.latent_codes import categorical_slice
from genjax.evals.msssim import windows_for
from genjax.evals.registry import check_points, check_stacked, metric_settings
from genjax.evals.swd import check_sides

# Splits, labels, the standard network's file, and exports of the family.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "parzen": ("validation", "test"),
    "fid": ("weights",),
    "kid": ("weights",),
    "inception_score": ("weights",),
    "classifier_frechet": ("label", "test"),
    "classifier_kernel": ("label", "test"),
    "ms_ssim": ("test",),
    "precision_recall": ("test",),
    "neighbours": ("test",),
    "accuracy_score": ("label", "test"),
    "svm": ("label", "validation", "test", "encode"),
    "gaussian_modes": ("label",),
    "stacked_modes": ("label",),
    "information": ("code_information",),
    "codes": ("label", "test", "code_information"),
}
# Which look at the labels of every split they use, and not of train alone.
LABELLED = ("accuracy_score", "svm", "codes")
# Samples without which there is no figure: those that have five neighbours, or make ten splits.
LEAST = {"precision_recall": 6, "inception_score": 10}
# All others look at pixels.
NO_PICTURES = ("svm", "information", "codes", "gaussian_modes")
# What shapes and settings must be, in the instrument's own sentence.
FITS: Mapping[str, Callable[[Any, Any], Any]] = {
    "swd": lambda family, config: check_sides(config.shape),
    "ms_ssim": lambda family, config: windows_for(config.shape),
    "accuracy_score": check_conditional,
    "svm": check_label_free,
    "codes": categorical_slice,
    "gaussian_modes": check_points,
    "stacked_modes": check_stacked,
}


def check_metric_requirements(
    name: str, family: Any, config: Any, dataset: Dataset, weights: Any = None, samples: int = 0
) -> None:
    """Hold an instrument against model and data before anything is trained.

    Args:
      name: of the instrument.
      family: module that follows the family contract.
      config: its Config.
      dataset: that it is trained on.
      weights: of the standard network, or the file of them.
      samples: that the instrument is to draw; 0 is its own number.

    Raises:
      ValueError: no instrument has this name, or something it needs is not there; one sentence.
    """
    metric_settings(name)
    needs = NEEDS.get(name, ())
    if name not in NO_PICTURES:
        picture_range(family, config)
    for split in ("validation", "test"):
        if split in needs and split not in dataset.counts():
            raise ValueError(
                f"{name} needs a {split} split and {dataset.name} has"
                f" {', '.join(dataset.counts())}; hold some out (--validation), or take another"
                f" --instrument."
            )
    rows = dataset.streams.get("train")
    has = dataset.splits["train"] if rows is None else rows.read([0])
    if "label" in needs and "label" not in has:
        raise ValueError(f"{name} needs labels and {dataset.name} has none; bring some.")
    for split in ("validation", "test") if name in LABELLED else ():
        if split in needs and "label" not in dataset.splits[split]:
            raise ValueError(
                f"{name} needs labels of {split} too, and {dataset.name} has them of train alone;"
                f" bring those."
            )
    least = LEAST.get(name, 0)
    drawn = {"samples to draw": samples} if samples else {}
    if name == "precision_recall":
        drawn["test examples"] = dataset.counts()["test"]
    for what, count in drawn.items():
        if count < least:
            raise ValueError(f"{name} needs {least} {what} or more, and there are {count}.")
    if "weights" in needs and not weights:
        raise ValueError(f"{name} needs the standard Inception network: name it, --fid-weights.")
    if (
        "weights" in needs
        and isinstance(weights, (str, os.PathLike))
        and not pathlib.Path(weights).exists()
    ):
        raise ValueError(f"there is no file {weights}, which --fid-weights names; bring it.")
    for export in ("encode", "code_information"):
        if export in needs and not hasattr(family, export):
            raise ValueError(
                f"{name} measures families that export {export}, and"
                f" {family.__name__.rsplit('.', 1)[-1]} does not; take another --instrument."
            )
    if name in FITS:
        FITS[name](family, config)
