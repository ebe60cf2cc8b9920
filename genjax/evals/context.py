"""Evaluation context: a model and real data, with what several metrics share computed once."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from genjax import checks
from genjax.core import captions_per_image, named_key
from genjax.core.protocols import TextToImage, Translator, family_name
from genjax.data import Dataset, make_transform, output_spec
from genjax.data.image_operations import RandomGeometric
from genjax.data.order import Order
from genjax.data.transforms import binarization, parse_transform
from genjax.evals.batching import map_split
from genjax.evals.caption_texts import encoded, image_captions
from genjax.evals.classifier import Classifier, load_classifier, train_classifier
from genjax.evals.feature_extractor import PIXELS, Extractor, to_unit
from genjax.evals.image_sets import Images, ImageSet
from genjax.evals.inception import Inception, extractor, load_inception
from genjax.evals.requirements import check_conditional, hold_out, image_range

DOMAINS = {"a": "x", "b": "y"}
"""Entry of the data by the name of a domain."""
SOURCES = {"a": "y", "b": "x"}
"""Entry that is translated, by the target."""
KEPT_BYTES = 2**32
"""Bytes of samples that are kept for the next metric. Those beyond are drawn each time."""


@dataclasses.dataclass
class EvalContext:
    """A model and its data. Real examples, classifiers and samples up to `KEPT_BYTES` are cached.

    The samples of a `Translator` are translations of test images, see `samples`. Those of a
    `TextToImage` family are of captions of a split, drawn at random: of `test` by default, and of
    `train` where the data lacks the split.

    Attributes:
      family: module of the family.
      config: its Config.
      variables: its variables, as `genjax.train.load_run` returns them.
      dataset: real data.
      key: key of the samples and, through `seed`, of all other draws of a metric.
      transform: string of operations on real data; None selects one that fits the family.
      binarize_seed: seed of the binarisation, as in training.
      batch_size: samples per call of the sampler; samples depend on it.
      weights: the standard Inception network, or its file; None if there is none.
      classifier: classifier of real images, or its file; None trains one where needed. For stacked
        images it may classify single channels.
      classifier_steps: training steps of the classifier.
      tokenizer: of the model's texts; None is the data's.
      ranker: family, Config, variables and tokenizer of a model that scores captions, as
        `genjax.train.load_ranker` returns them; None if samples are not re-ranked.
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
    tokenizer: Any = None
    ranker: Any = None

    def __post_init__(self) -> None:
        checks.positive(batch_size=self.batch_size, classifier_steps=self.classifier_steps)
        shape = output_spec(self.transform or "", self.dataset).shape
        if shape != tuple(self.config.shape):
            raise ValueError(
                f"{self.dataset.name} has examples of shape {shape}, and the model generates"
                f" {tuple(self.config.shape)}; use data of that shape."
            )
        self._batches: dict[str, list[np.ndarray]] = {}
        self._examples: dict[tuple[str, str, int | None], np.ndarray] = {}
        self._translate: dict[str, Callable[..., Any]] = {}
        self.trained_classifiers: dict[str, Classifier] = {}
        self._sample = jax.jit(
            lambda v, key, **text: self.family.sample(self.config, v, key, self.batch_size, **text)
        )

    @property
    def name(self) -> str:
        """Name of the family."""
        return family_name(self.family)

    @property
    def seed(self) -> int:
        """Seed of what a metric draws besides samples."""
        # Published records depend on this name.
        return int(jax.random.bits(named_key(self.key, 0, "instruments")))

    @property
    def sample_range(self) -> tuple[float, float]:
        """Lowest and highest value of a sample; raises ValueError if samples are not images."""
        return image_range(self.family, self.config)

    @property
    def main_entry(self) -> str:
        """Entry of the data that samples are compared with: `y` if the model translates to it."""
        translates = isinstance(self.family, Translator) and self.family.targets(self.config)
        return DOMAINS[translates[-1]] if translates else "x"

    def translate(self, images: np.ndarray, **conditions: Any) -> np.ndarray:
        """Translates images in the family's own range, `[N, H, W, C]` -> the same, float32.

        Args:
          images: as `examples` returns them.
          **conditions: `to`, or arrays `[N, ...]` such as `attributes`.
        """
        to = conditions.pop("to", "")
        fixed = {"to": to} if to else {}
        if to not in self._translate:
            self._translate[to] = jax.jit(
                lambda v, x, **arrays: self.family.translate(self.config, v, x, **fixed, **arrays)
            )
        call = self._translate[to]
        out = map_split(
            lambda key, x, **arrays: call(self.variables, x, **arrays),
            {"x": images, **conditions},
            self.key,
            self.batch_size,
            name="translate",
        )
        return np.asarray(out, np.float32)

    def _translations(self, n: int) -> np.ndarray:
        """Returns up to n translations: of test images of the other domain to the last target; or
        with the attributes of the next test image, which keeps their distribution."""
        targets = self.family.targets(self.config)
        if targets:
            source = SOURCES[targets[-1]]
            return self.translate(self.examples("test", n, source), to=targets[-1])
        attributes = np.asarray(self.rows("test", n)["attributes"])
        return self.translate(self.examples("test", n), attributes=np.roll(attributes, -1, axis=0))

    def samples(self, n: int, split: str = "test") -> np.ndarray:
        """Returns the first n samples in the family's own range, `[n, *shape]` float32.

        Those of a `Translator` are translations of test images, at most as many as there are.

        Args:
          n: number of samples.
          split: whose captions are drawn by a `TextToImage` family; of no effect for others.
        """
        if isinstance(self.family, Translator):
            return self._translations(n)
        return np.concatenate(list(self.sample_batches(n, split=split)))

    def sample_batches(self, n: int, start: int = 0, split: str = "test") -> Iterator[np.ndarray]:
        """Iterates over `samples(n, split)[start:]` in batches `[B, *shape]` of `batch_size`.

        One batch at a time is in memory, besides those that are kept. Not for a `Translator`.
        """
        size = self.batch_size
        captions = ""
        if isinstance(self.family, TextToImage):
            captions = split if split in self.dataset.counts() else "train"
        for first in range(start // size * size, n, size):
            yield self._sample_batch(first // size, captions)[max(start - first, 0) : n - first]

    def _sample_batch(self, index: int, captions: str) -> np.ndarray:
        """Returns a batch of samples, of the captions of a split if it is not ""."""
        batches = self._batches.setdefault(captions, [])
        if index < len(batches):
            return batches[index]
        key = named_key(self.key, index, "samples")
        text = self._texts(index, captions) if captions else {}
        batch = np.asarray(self._sample(self.variables, key, **text), np.float32)
        kept = sum(map(len, self._batches.values()))
        if index == len(batches) and (kept + 1) * batch.nbytes <= KEPT_BYTES:
            batches.append(batch)
        return batch

    def _texts(self, index: int, split: str) -> dict[str, np.ndarray]:
        """Returns the texts of a batch of samples: one caption each of random images of a split."""
        rng = np.random.default_rng((self.seed, index))
        rows = rng.integers(0, self.dataset.length(split), self.batch_size)
        captions = image_captions(self.dataset, split, rows)
        described = captions != ""
        if not described.any(axis=1).all():
            raise ValueError(f"{self.dataset.name} has images without a caption; leave them out.")
        chosen = np.where(described, rng.random(captions.shape), -1).argmax(axis=1)
        return {"text": self.tokens(captions[np.arange(len(rows)), chosen])}

    def tokens(self, captions: np.ndarray) -> np.ndarray:
        """Returns captions `[N]` as the family's texts, int32 `[N, T]`.

        Raises:
          ValueError: there is no tokenizer, or it has more tokens than the family.
        """
        tokenizer = self.dataset.tokenizer if self.tokenizer is None else self.tokenizer
        return encoded(self.family, self.config, tokenizer, captions)

    def fake(self, n: int, split: str = "test") -> np.ndarray:
        """Returns the first n samples in [0, 1], `[n, *shape]` float32; see `samples`."""
        low, high = self.sample_range
        return to_unit(self.samples(n, split), low, high)

    def fake_set(self, n: int, split: str = "test") -> ImageSet:
        """Returns `fake(n, split)` as a set whose batches are drawn when they are used.

        Of a `Translator` it is the array.
        """
        if isinstance(self.family, Translator):
            return self.fake(n)
        low, high = self.sample_range

        def read(start: int) -> Iterator[np.ndarray]:
            return (to_unit(x, low, high) for x in self.sample_batches(n, start, split))

        return Images((n, *self.config.shape), read, "fake")

    def labelled_fake(self, n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns n samples in [0, 1], equally many of each class, and their labels `[n]`.

        Raises:
          ValueError: the family does not sample by label.
        """
        low, high = self.sample_range
        check_conditional(self.family, self.config)
        size = self.batch_size
        label = (np.arange(-(-n // size) * size) % classes).astype(np.int32)
        sample = jax.jit(
            lambda v, key, label: self.family.sample(self.config, v, key, size, label=label)
        )
        batches = [
            np.asarray(sample(self.variables, named_key(self.key, i, "labelled"), part))
            for i, part in enumerate(label.reshape(-1, size))
        ]
        return to_unit(np.concatenate(batches)[:n], low, high), label[:n]

    def rows(self, split: str, n: int | None = None) -> dict[str, np.ndarray]:
        """Returns n untransformed rows of a split, chosen by `random_rows`; None returns all.

        Raises:
          ValueError: the split does not exist.
        """
        self._check_split(split)
        stream = self.dataset.streams.get(split)
        if stream is not None:
            return stream.read(random_rows(len(stream), n))
        arrays = self.dataset.splits[split]
        if n is None or n >= len(arrays["x"]):  # no copy
            return arrays
        return {k: v[random_rows(len(v), n)] for k, v in arrays.items()}

    def _check_split(self, split: str) -> None:
        if split not in self.dataset.counts():
            raise ValueError(
                f"{self.dataset.name} has no {split} split, it has"
                f" {', '.join(self.dataset.counts())}; {hold_out(split)}, or use another split."
            )

    def examples(self, split: str, n: int | None = None, entry: str = "") -> np.ndarray:
        """Returns n real examples of a split as the family's input, `[n, *shape]`.

        Args:
          split: name of the split.
          n: number of examples; None is all.
          entry: `x` or `y`; by default `main_entry`.

        Raises:
          ValueError: the split does not exist.
        """
        entry = entry or self.main_entry
        if (split, entry, n) not in self._examples:
            # The whole split is binarised, so that a pixel does not depend on n.
            whole = binarization(self._transform()) == "dynamic"
            self._check_split(split)
            chosen = random_rows(self.dataset.length(split, entry), None if whole else n)
            x = self._transformed(split, self.dataset.read(split, chosen, (entry,)))[entry]
            self._examples[split, entry, n] = x[random_rows(len(x), n)] if whole else x
        return self._examples[split, entry, n]

    def _transform(self) -> str:
        if self.transform is None:
            return _default_transform(self.family, self.config, self.dataset)
        return self.transform

    def _transformed(self, split: str, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        transform = make_transform(
            self._transform(),
            self.dataset.levels,
            training=False,
            captions=captions_per_image(self.family, self.config),
        )
        key = named_key(jax.random.key(self.binarize_seed), 0, f"binarize {split}")
        return {name: np.asarray(x) for name, x in transform(images, key).items()}

    def rendered(self, split: str, n: int | None, attributes: np.ndarray) -> np.ndarray:
        """Returns the true images in [0, 1] of n rows of a split with other attributes `[n, A]`.

        Raises:
          ValueError: the data cannot be rendered.
        """
        if self.dataset.render is None:
            raise ValueError(f"the true images of {self.dataset.name} are not known.")
        images = {"x": self.dataset.render(self.rows(split, n), attributes)}
        return to_unit(self._transformed(split, images)["x"], *self.sample_range)

    def real(self, split: str, n: int | None = None, entry: str = "") -> np.ndarray:
        """Returns n real examples of a split in [0, 1], see `examples`."""
        return to_unit(self.examples(split, n, entry), *self.sample_range)

    def real_set(self, split: str, n: int | None = None) -> ImageSet:
        """Returns `real(split, n)` as a set whose batches are read when they are used.

        Of a `Translator`, and where the transform draws noise, it is the array.

        Raises:
          ValueError: the split does not exist.
        """
        if self._whole():
            return self.real(split, n)
        self._check_split(split)
        return self._real_rows(split, random_rows(self.dataset.length(split), n))

    def _whole(self) -> bool:
        """Returns whether the values of real examples depend on how many are read together."""
        operations = parse_transform(self._transform())
        noise = any(op.random and not isinstance(op, RandomGeometric) for op in operations)
        return noise or isinstance(self.family, Translator)

    def _real_rows(self, split: str, rows: np.ndarray) -> Images:
        def read(start: int) -> Iterator[np.ndarray]:
            for first in range(start, len(rows), self.batch_size):
                batch = self.dataset.read(split, rows[first : first + self.batch_size], ("x",))
                yield to_unit(self._transformed(split, batch)["x"], *self.sample_range)

        return Images((len(rows), *self.config.shape), read, "real")

    def other_real(self, split: str, n: int) -> ImageSet:
        """Returns real examples in [0, 1] that are not in `real(split, n)`, at most as many.

        They are of the same split if it has 2 n examples, else of the largest other split; without
        another split they are what is left of it.
        """
        total = self.dataset.length(split, self.main_entry)
        n = min(n, total)
        others = {s: count for s, count in self.dataset.counts().items() if s != split}
        if others and total < 2 * n:
            return self.real_set(max(others, key=others.__getitem__), n)
        both = random_rows(total, 2 * n)
        other = ~np.isin(both, random_rows(total, n))  # larger subsets contain smaller ones
        if self._whole():
            return self.real(split, 2 * n)[other]
        return self._real_rows(split, both[other])

    def labels(self, split: str, n: int | None = None) -> np.ndarray:
        """Returns the labels of n examples, `[n]`; -1 is an unknown label.

        Raises:
          ValueError: the data has no labels.
        """
        rows = self.rows(split, n)
        if "label" not in rows:
            raise ValueError(f"{self.dataset.name} has no labels in {split}; use labelled data.")
        return np.asarray(rows["label"])

    def labelled_examples(self, split: str, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Returns n examples of known label, as the family's input, and their labels.

        Raises:
          ValueError: the data has no known labels.
        """
        labels = self.labels(split, n)
        if labels.min() >= 0:
            return self.examples(split, n), labels
        labels = self.labels(split)
        rows = np.flatnonzero(labels >= 0)
        if not len(rows):
            raise ValueError(f"all labels of {self.dataset.name} in {split} are -1 (unknown).")
        rows = rows[random_rows(len(rows), n)]
        return self.examples(split)[rows], labels[rows]

    def inception(self) -> Inception:
        """Returns the standard Inception network, read once.

        Raises:
          ValueError: `weights` is not set, or its file is not valid.
        """
        if self.weights is None:
            raise ValueError(
                "the weights of the standard Inception network are not set; pass their file"
                " (--fid-weights pt_inception-2015-12-05-6726825d.pth)."
            )
        if not isinstance(self.weights, Inception):
            self.weights = load_inception(self.weights)
        return self.weights

    def image_classifier(self) -> Classifier:
        """Returns the classifier passed, or one trained on the real training images."""

        def examples() -> tuple[np.ndarray, np.ndarray]:
            x, labels = self.labelled_examples("train")
            return to_unit(x, *self.sample_range), labels

        return self.classifier_of("images", tuple(self.config.shape), examples)

    def classifier_of(
        self,
        kind: str,
        shape: tuple[int, ...],
        examples: Callable[[], tuple[np.ndarray, np.ndarray]],
    ) -> Classifier:
        """Returns the classifier passed, or one trained once on the examples.

        Args:
          kind: name of the inputs, `images` or `channels`.
          shape: shape of an input.
          examples: returns inputs in [0, 1], `[N, *shape]`, and their labels.

        Raises:
          ValueError: the classifier passed has another input shape.
        """
        if self.classifier is not None and not isinstance(self.classifier, Classifier):
            self.classifier = load_classifier(self.classifier)
        if self.classifier is None and kind not in self.trained_classifiers:
            trained = train_classifier(*examples(), steps=self.classifier_steps)
            self.trained_classifiers[kind] = trained
        classifier = self.trained_classifiers[kind] if self.classifier is None else self.classifier
        if classifier.shape != shape:
            raise ValueError(
                f"the classifier takes {classifier.shape}, and the {kind} are {shape}; pass another"
                f" classifier, or none to train one."
            )
        return classifier

    def feature_extractor(self, name: str = "auto") -> Extractor:
        """Returns an extractor by name; `auto` is the first of inception, classifier and pixels
        that is available."""
        checks.one_of(("auto", "inception", "classifier", "pixels"), features=name)
        labelled = self.classifier is not None or "label" in self.rows("train", 1)
        images = len(self.config.shape) == 3
        if name == "inception" or (name == "auto" and self.weights is not None):
            return extractor(self.inception())
        if name == "classifier" or (name == "auto" and labelled and images):
            return self.image_classifier().extractor
        return PIXELS


def random_rows(total: int, n: int | None = None) -> np.ndarray:
    """Returns n of `total` row numbers in ascending order, the same ones on every call.

    They are a random subset, since a split may be sorted by class. Larger subsets contain smaller
    ones.
    """
    if n is None or n >= total:
        return np.arange(total)
    return np.sort(Order(total, 0).epoch(0)[:n])


def _default_transform(family: Any, config: Any, dataset: Dataset) -> str:
    """Returns the transform from integers to the family's input."""
    traits, levels = family.traits(config), dataset.levels
    if not levels or traits.data in ("real", "levels"):
        return ""
    if traits.data == "images":
        return "scale({:g}, {:g})".format(*traits.sample_range)
    if traits.data == "binary" and levels == 2:
        return ""
    raise ValueError(
        f"{dataset.name} has {levels} levels and the model generates {traits.data} data; pass the"
        f" transform that the model was trained with."
    )
