"""Requirements of metrics on the model and the data, checked before training or sampling."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genjax import checks
from genjax.core.protocols import (
    AttributeTranslator,
    CaptionScores,
    Features,
    ImageTokenizer,
    Implicit,
    LatentCodes,
    PuzzleSolver,
    Sampler,
    TextConditional,
    TextToImage,
    TokenDensity,
    Translator,
    family_name,
)
from genjax.data import Dataset
from genjax.evals.latent_codes import categorical_code
from genjax.evals.msssim import windows_of
from genjax.evals.swd import sides


def image_range(family: Any, config: Any) -> tuple[float, float]:
    """Returns the lowest and highest value of a family's samples, which must be images."""
    traits = family.traits(config)
    low, high = traits.sample_range
    if traits.data not in ("images", "binary", "levels") or not np.isfinite(high - low):
        raise ValueError(
            f"{family_name(family)} generates {traits.data} data, not images; only gaussian_modes"
            f" applies to it."
        )
    return low, high


def conditions(family: Any, config: Any) -> set[str]:
    """Returns the names of what a family's samples are conditioned on, such as `label`."""
    return set(family.batch_spec(config, 1)) - {"x"}


def check_conditional(family: Any, config: Any) -> None:
    """Raises ValueError if a family does not sample by label."""
    if isinstance(family, Translator) or "label" not in conditions(family, config):
        raise ValueError(
            f"{family_name(family)} does not sample by label; use a class-conditional family, and a"
            f" Config with classes."
        )


def check_label_free(family: Any, config: Any) -> None:
    """Raises ValueError if a family computes features from the label."""
    if "label" in conditions(family, config) and not family.traits(config).semi_supervised:
        raise ValueError(
            f"svm would classify features computed from the label: encode of"
            f" {family_name(family)} takes the label; set --classes 0, or use another metric."
        )


def check_points(family: Any, config: Any) -> None:
    """Raises ValueError if a family does not generate points `[D]`."""
    if len(config.shape) != 1:
        raise ValueError(
            f"{family_name(family)} generates images; gaussian_modes applies to points [D]."
        )


def check_images(family: Any, config: Any) -> None:
    """Raises ValueError if a family does not generate images `[H, W, C]` from noise."""
    if not isinstance(family, Implicit):
        raise ValueError(
            f"{family_name(family)} has no generator of noise; part_changes applies to families"
            f" that implement Implicit, so use another metric."
        )
    if len(config.shape) != 3:
        raise ValueError(
            f"{family_name(family)} generates points of shape {list(config.shape)}; part_changes"
            f" applies to images [H, W, C]."
        )


def check_stacked(family: Any, config: Any) -> None:
    """Raises ValueError if a family does not generate images of three channels."""
    if len(config.shape) != 3 or config.shape[-1] != 3 or isinstance(family, Translator):
        raise ValueError(
            f"{family_name(family)} does not generate stacked images; stacked_modes applies to"
            f" three channels with one label from 0 to 999 for all three."
        )


def check_domains(family: Any, config: Any) -> None:
    """Raises ValueError if a family does not translate between two domains."""
    if not isinstance(family, Translator) or not family.targets(config):
        raise ValueError(
            f"{family_name(family)} does not translate between two domains; translation applies to"
            f" families with `translate` and `targets`, so use another metric."
        )


def check_attributes(family: Any, config: Any) -> None:
    """Raises ValueError if a family does not translate by attributes."""
    if not isinstance(family, AttributeTranslator):
        raise ValueError(
            f"{family_name(family)} does not translate by attributes; attribute_translation applies"
            f" to families with named attributes (`AttributeTranslator`), so use another metric."
        )


def check_pairs(name: str, dataset: Dataset, split: str) -> None:
    """Raises ValueError if the images of a split have no true partners."""
    if split not in dataset.paired:
        paired = [s for s in dataset.counts() if s in dataset.paired]
        fix = f"evaluate on {' or '.join(paired)}" if paired else "use paired data"
        raise ValueError(
            f"{name} compares translations with true partners, and {split} of {dataset.name} is"
            f" not paired; {fix}, or use another metric."
        )


def check_texts(family: Any, dataset: Dataset) -> None:
    """Raises ValueError if the data has no captions or no tokenizer."""
    if "caption" not in dataset.entries("train"):
        raise ValueError(
            f"{family_name(family)} takes texts, and {dataset.name} has no captions; use data with"
            f" captions."
        )
    if dataset.tokenizer is None:
        raise ValueError(
            f"{family_name(family)} takes texts, and the captions of {dataset.name} are not"
            f" encoded; set --tokenizer words, bpe or characters, and --text-length."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Requirements:
    """What a metric needs.

    Attributes:
      splits: splits of real data beside train.
      labels: splits whose labels are used.
      pairs: splits in which the true partner of every image is used.
      attributes: splits whose attributes are used.
      text: whether the captions of the test split are used as the family's texts.
      caption_check: whether images are checked against captions.
      inception: whether the standard Inception network is used.
      images: whether samples must be images of finite range.
      protocol: protocol that the family must implement.
      min_samples: lowest number of samples, and of test examples where `splits` has test.
      check: raises ValueError if the family or its Config does not fit.
    """

    splits: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    text: bool = False
    caption_check: bool = False
    inception: bool = False
    images: bool = True
    protocol: Any = None
    min_samples: int = 0
    check: Callable[[Any, Any], Any] = lambda family, config: None


REQUIREMENTS: Mapping[str, Requirements] = {
    "parzen": Requirements(splits=("validation", "test")),
    "fid": Requirements(inception=True),
    "kid": Requirements(inception=True),
    "inception_score": Requirements(inception=True, min_samples=10),  # one per split
    "classifier_frechet": Requirements(splits=("test",), labels=("train",)),
    "classifier_kernel": Requirements(splits=("test",), labels=("train",)),
    "swd": Requirements(check=lambda family, config: sides(config.shape)),
    "ms_ssim": Requirements(
        splits=("test",), check=lambda family, config: windows_of(config.shape)
    ),
    "precision_recall": Requirements(splits=("test",), min_samples=6),  # five neighbours each
    "neighbours": Requirements(splits=("test",)),
    "accuracy_score": Requirements(
        splits=("test",), labels=("train", "test"), check=check_conditional
    ),
    "svm": Requirements(
        splits=("validation", "test"),
        labels=("train", "validation", "test"),
        images=False,
        protocol=Features,
        check=check_label_free,
    ),
    "gaussian_modes": Requirements(labels=("train",), images=False, check=check_points),
    "stacked_modes": Requirements(labels=("train",), check=check_stacked),
    "information": Requirements(images=False, protocol=LatentCodes),
    "codes": Requirements(
        splits=("test",),
        labels=("train", "test"),
        images=False,
        protocol=LatentCodes,
        check=categorical_code,
    ),
    "part_changes": Requirements(protocol=Implicit, check=check_images),
    "translation": Requirements(splits=("test",), pairs=("test",), check=check_domains),
    "attribute_translation": Requirements(
        splits=("test",), attributes=("train", "test"), check=check_attributes
    ),
    # Validation chooses the weight of the borders.
    "puzzle": Requirements(splits=("validation", "test"), images=False, protocol=PuzzleSolver),
    "caption_accuracy": Requirements(
        splits=("test",), text=True, caption_check=True, protocol=TextToImage
    ),
    "caption_retrieval": Requirements(splits=("test",), text=True, protocol=CaptionScores),
    "token_usage": Requirements(splits=("test",), protocol=ImageTokenizer),
    "token_nats": Requirements(splits=("test",), text=True, protocol=TokenDensity),
}


def check_samples(name: str, family: Any) -> None:
    """Raises ValueError if a metric of samples is requested of a family that has none."""
    if REQUIREMENTS[name].protocol is not None or isinstance(family, (Sampler, Translator)):
        return
    solves = isinstance(family, PuzzleSolver)
    does, use = ("solves puzzles", "puzzle") if solves else ("scores captions", "caption_retrieval")
    raise ValueError(
        f"{name} is computed of samples, and {family_name(family)} {does} and samples none; use"
        f" {use}."
    )


def hold_out(split: str) -> str:
    """Returns how a missing split is made."""
    if split == "validation":
        return "hold some examples out (--validation N)"
    return f"prepare the data with --{split} N"


def check_metric_requirements(
    name: str, family: Any, config: Any, dataset: Dataset, weights: Any = None, samples: int = 0
) -> None:
    """Checks that a metric applies to a model and its data.

    Args:
      name: key of `METRICS`.
      family, config: the model.
      dataset: data of the run.
      weights: the standard Inception network, or its file.
      samples: number of samples to draw; 0 is the metric's default.

    Raises:
      ValueError: the metric does not exist, or a requirement is not met.
    """
    checks.one_of(tuple(REQUIREMENTS), metric=name)
    needs, counts = REQUIREMENTS[name], dataset.counts()
    check_samples(name, family)
    if needs.images:
        image_range(family, config)
    for split in needs.splits:
        if split not in counts:
            raise ValueError(
                f"{name} needs a {split} split, and {dataset.name} has {', '.join(counts)};"
                f" {hold_out(split)}, or use another metric."
            )
    for split in needs.labels:
        if "label" not in dataset.entries(split):
            raise ValueError(
                f"{name} needs labels of {split}, and {dataset.name} has none; use labelled data,"
                f" or another metric."
            )
    drawn = {"samples": samples} if samples else {}
    if "test" in needs.splits:
        drawn["test examples"] = counts["test"]
    for what, count in drawn.items():
        if count < needs.min_samples:
            raise ValueError(f"{name} needs {needs.min_samples} {what} or more, got {count}.")
    if needs.inception and not weights:
        raise ValueError(f"{name} needs the standard Inception network; set --fid-weights FILE.")
    is_path = isinstance(weights, (str, os.PathLike))
    if needs.inception and is_path and not pathlib.Path(weights).exists():
        raise ValueError(f"there is no file {weights}; set --fid-weights to an existing one.")
    if needs.protocol is not None and not isinstance(family, needs.protocol):
        raise ValueError(
            f"{name} applies to families that implement {needs.protocol.__name__}, and"
            f" {family_name(family)} does not; use another metric."
        )
    needs.check(family, config)
    for split in needs.pairs:
        check_pairs(name, dataset, split)
    if needs.text or isinstance(family, TextConditional):
        check_texts(family, dataset)
    if needs.caption_check and dataset.caption_check is None:
        raise ValueError(
            f"{name} checks whether images show their captions, and {dataset.name} cannot tell; use"
            f" data made by rule, such as scenes, or another metric."
        )
    if needs.caption_check and tuple(config.shape) != tuple(dataset.shape):
        raise ValueError(
            f"{name} reads images of {dataset.name} in shape {tuple(dataset.shape)}, and the model"
            f" makes {tuple(config.shape)}; leave out what resizes the images, or use another"
            f" metric."
        )
    for split in needs.attributes:
        if "attributes" not in dataset.entries(split):
            raise ValueError(
                f"{name} needs attributes of {split}, and {dataset.name} has none; use data with"
                f" attributes, or another metric."
            )
