"""What is measured: a model that can be sampled beside real data, both as pixels from 0 to 1."""

import dataclasses
import inspect
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from genjax import checks
from genjax.core import named_key
from genjax.data import Dataset, make_transform
from genjax.data.order import Order
from genjax.evals.classifier import Classifier, load_classifier, train_classifier
from genjax.evals.feature_extractor import PIXELS, Extractor, to_unit
from genjax.evals.inception import Inception, extractor, load_inception


@dataclasses.dataclass
class EvalContext:
    """One model and its data; what several instruments need is drawn, read and trained once.

    family: module that follows the family contract.
    config: its Config.
    variables: its variables, as `genjax.train.load_run` gives them.
    dataset: real data.
    key: of the samples and, by way of `seed`, of the instruments.
    transform: of real data, by its name; None takes the one that fits the family.
    binarize_seed: of binarisation, as in training.
    batch_size: samples drawn together; the samples of a key depend on it.
    weights: the Inception network or its file; None where there is none.
    classifier: trained on real images, or its file; None trains one where it is needed. Of stacked
      images it may be one of single channels, for their modes alone.
    classifier_steps: of that training.
    """

    family: Any
    config: Any
    variables: Any
    dataset: Dataset
    key: jax.Array
    transform: str | None = None
    binarize_seed: int = 0
    batch_size: int = 100
    weights: Inception | str | os.PathLike | None = None
    classifier: Classifier | str | os.PathLike | None = None
    classifier_steps: int = 2000

    def __post_init__(self) -> None:
        checks.positive(batch_size=self.batch_size, classifier_steps=self.classifier_steps)
        shape = tuple(self.dataset.shape)
        if shape != tuple(self.config.shape):
            raise ValueError(
                f"{self.dataset.name} holds examples of shape {shape} and the model makes"
                f" {tuple(self.config.shape)}; bring data of that shape."
            )
        self._drawn: list[np.ndarray] = []
        self._real: dict[tuple[str, int | None], np.ndarray] = {}
        self.taught: dict[str, Classifier] = {}
        self._program = jax.jit(
            lambda v, key: self.family.sample(self.config, v, key, self.batch_size)
        )

    @property
    def name(self) -> str:
        """Of the family."""
        return self.family.__name__.rsplit(".", 1)[-1]

    @property
    def seed(self) -> int:
        """What the instruments' own draws are made of."""
        return int(jax.random.bits(named_key(self.key, 0, "instruments")))

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value of a sample.

        Raises:
          ValueError: samples are no pictures.
        """
        return picture_range(self.family, self.config)

    def raw(self, n: int) -> np.ndarray:
        """The first n samples as the family makes them: `[n, *shape]` float32."""
        while sum(map(len, self._drawn)) < n:
            key = named_key(self.key, len(self._drawn), "samples")
            self._drawn.append(np.asarray(self._program(self.variables, key), np.float32))
        return np.concatenate(self._drawn)[:n]

    def fake(self, n: int) -> np.ndarray:
        """The first n samples, in [0, 1]."""
        low, high = self.range
        return to_unit(self.raw(n), low, high)

    def labelled(self, n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """n samples in [0, 1] of known classes, as many of each, and their labels.

        Raises:
          ValueError: the family's samples cannot be asked for by label.
        """
        low, high = self.range
        check_conditional(self.family, self.config)
        label = (np.arange(-(-n // self.batch_size) * self.batch_size) % classes).astype(np.int32)
        draw = jax.jit(
            lambda v, key, label: self.family.sample(
                self.config, v, key, self.batch_size, label=label
            )
        )
        parts = []
        for i in range(len(label) // self.batch_size):
            asked = label[i * self.batch_size : (i + 1) * self.batch_size]
            parts.append(
                np.asarray(draw(self.variables, named_key(self.key, i, "labelled"), asked))
            )
        return to_unit(np.concatenate(parts)[:n], low, high), label[:n]

    def split(self, split: str, n: int | None = None) -> dict[str, np.ndarray]:
        """n rows of a split as they were read, all without `n`: see `random_rows`.

        Raises:
          ValueError: there is no such split.
        """
        rows = self.dataset.streams.get(split)
        if rows is not None:
            return rows.read(random_rows(len(rows), n))
        if split not in self.dataset.splits:
            raise ValueError(
                f"{self.dataset.name} has no {split} split, it has"
                f" {', '.join(self.dataset.counts())}; hold some out or take another."
            )
        held = self.dataset.splits[split]
        if n is None or n >= len(held["x"]):  # nothing to copy
            return held
        return {k: v[random_rows(len(v), n)] for k, v in held.items()}

    def given(self, split: str, n: int | None = None) -> np.ndarray:
        """n real examples of a split as the family takes them: `[n, *shape]`."""
        if (split, n) not in self._real:
            name = self.transform or _transform_for(self.family, self.config, self.dataset)
            # Binarised as a whole, so that a pixel does not depend on how many are looked at.
            whole = name == "dynamic"
            rows = self.split(split, None if whole else n)
            key = named_key(jax.random.key(self.binarize_seed), 0, f"binarize {split}")
            x = np.asarray(make_transform(name, self.dataset.levels)({"x": rows["x"]}, key)["x"])
            self._real[split, n] = x[random_rows(len(x), n)] if whole else x
        return self._real[split, n]

    def real(self, split: str, n: int | None = None) -> np.ndarray:
        """n real examples of a split, in [0, 1]."""
        return to_unit(self.given(split, n), *self.range)

    def labels(self, split: str, n: int | None = None) -> np.ndarray:
        """Their labels, `[n]`.

        Raises:
          ValueError: the data has none.
        """
        rows = self.split(split, n)
        if "label" not in rows:
            raise ValueError(f"{self.dataset.name} has no labels in {split}.")
        return np.asarray(rows["label"])

    def known(self, split: str, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """n examples whose label is known, 0 or above: as `given`, and their labels.

        Raises:
          ValueError: the data has none.
        """
        names = self.labels(split, n)
        if names.min() >= 0:
            return self.given(split, n), names
        names = self.labels(split)
        kept = np.flatnonzero(names >= 0)
        if not len(kept):
            raise ValueError(f"{self.dataset.name} knows no label in {split}.")
        kept = kept[random_rows(len(kept), n)]
        return self.given(split)[kept], names[kept]

    def inception(self) -> Inception:
        """The standard network.

        Raises:
          ValueError: its file was not named.
        """
        if self.weights is None:
            raise ValueError(
                "the standard Inception network is not here; name its file"
                " (--fid-weights pt_inception-2015-12-05-6726825d.pth)."
            )
        if not isinstance(self.weights, Inception):
            self.weights = load_inception(self.weights)
        return self.weights

    def trained(self) -> Classifier:
        """The classifier that was given, or one trained on the real training images."""
        return self.named("images", tuple(self.config.shape), self._labelled)

    def _labelled(self) -> tuple[np.ndarray, np.ndarray]:
        x, labels = self.known("train")
        return to_unit(x, *self.range), labels

    def named(
        self,
        what: str,
        shape: tuple[int, ...],
        examples: Callable[[], tuple[np.ndarray, np.ndarray]],
    ) -> Classifier:
        """The classifier that was given, or one trained once on these examples.

        Args:
          what: it names.
          shape: of one.
          examples: gives them in [0, 1], `[N, *shape]`, and their labels.

        Raises:
          ValueError: the one that was given takes another shape.
        """
        if self.classifier is not None and not isinstance(self.classifier, Classifier):
            self.classifier = load_classifier(self.classifier)
        if self.classifier is None and what not in self.taught:
            self.taught[what] = train_classifier(*examples(), steps=self.classifier_steps)
        found = self.taught[what] if self.classifier is None else self.classifier
        if found.shape != shape:
            raise ValueError(
                f"the classifier takes {found.shape}, and the {what} are {shape}; take another, or"
                f" none to train one."
            )
        return found

    def features(self, name: str = "auto") -> Extractor:
        """The extractor of a name; `auto` is the best there is: inception, classifier, pixels."""
        checks.one_of(("auto", "inception", "classifier", "pixels"), features=name)
        labelled = self.classifier is not None or "label" in self.split("train", 1)
        picture = len(self.config.shape) == 3
        if name == "inception" or (name == "auto" and self.weights is not None):
            return extractor(self.inception())
        if name == "classifier" or (name == "auto" and labelled and picture):
            return self.trained().extractor
        return PIXELS


def random_rows(total: int, n: int | None = None) -> np.ndarray:
    """Which n of `total` rows stand for all, in order: the same ones every time.

    Drawn at random, since a split may be sorted by class, or by who wrote the digits. Fewer are
    among more.
    """
    if n is None or n >= total:
        return np.arange(total)
    return np.sort(Order(total, 0).epoch(0)[:n])


def check_conditional(family: Any, config: Any) -> None:
    """Hold a family against being asked for samples of a class.

    Raises:
      ValueError: it cannot be.
    """
    takes = "label" in inspect.signature(family.sample).parameters
    if not takes or getattr(config, "classes", 1) == 0:
        why = "its Config has no classes" if takes else "its sample takes no label"
        name = family.__name__.rsplit(".", 1)[-1]
        raise ValueError(f"{name} cannot be asked for samples of a class: {why}.")


def check_label_free(family: Any, config: Any) -> None:
    """Hold a family against features that are told the label they are to tell.

    Raises:
      ValueError: they are.
    """
    told, classes = inspect.signature(family.encode).parameters, getattr(config, "classes", 0)
    if "label" in told and classes and not family.traits(config).semi_supervised:
        raise ValueError(
            f"svm would learn from features that are told the label: encode of this Config is of"
            f" its {classes} classes; set --classes 0, or take another --instrument."
        )


def picture_range(family: Any, config: Any) -> tuple[float, float]:
    """Lowest and highest value of a family's samples.

    Raises:
      ValueError: samples are no pictures.
    """
    traits = family.traits(config)
    low, high = traits.sample_range
    if traits.data not in ("images", "binary", "levels") or not np.isfinite(high - low):
        raise ValueError(
            f"{family.__name__.rsplit('.', 1)[-1]} makes {traits.data} data and no pictures; only"
            f" its modes can be counted."
        )
    return low, high


def _transform_for(family: Any, config: Any, dataset: Dataset) -> str:
    """How integers become what the family takes."""
    traits, levels = family.traits(config), dataset.levels
    if not levels or traits.data in ("real", "levels"):
        return "none"
    if traits.data == "images":
        return "symmetric" if traits.sample_range == (-1, 1) else "unit"
    if traits.data == "binary" and levels == 2:
        return "none"
    raise ValueError(
        f"{dataset.name} has {levels} levels and the model makes {traits.data} data; say which"
        f" transform the model was trained with."
    )
