"""A small convolutional classifier, for features of data unlike Inception's training images.

Its distances are named after it (`classifier_frechet`, `classifier_kernel`) and are comparable only
between results of the same trained classifier, as stated by the extractor's identity.
"""

import dataclasses
import functools
import json
import math
import os
import pathlib
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import checks
from genjax.data.file_io import error_reason, safe
from genjax.data.json_files import parse_json
from genjax.data.npz import read_npz
from genjax.evals.feature_extractor import Extractor, batches, check_images, checksum
from genjax.evals.metric_result import MetricResult, binomial_error
from genjax.nn.convolution import Conv

FEATURES = 128
EXACT = jax.lax.Precision.HIGHEST  # the same features on every device


class Network(nn.Module):
    """Maps `[B, H, W, C]` in [0, 1] to features `[B, 128]` and logits `[B, classes]`."""

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = x - 0.5
        for units in (32, 64):
            # Strides instead of pooling: five times as fast on a CPU.
            conv = Conv(units, (3, 3), (2, 2), name=f"conv_{units}", precision=EXACT)
            x = nn.relu(conv(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(FEATURES, name="features", precision=EXACT)(x))
        return x, nn.Dense(self.classes, name="logits", precision=EXACT)(x)


@jax.jit
def _run(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return Network(params["logits"]["bias"].shape[0]).apply({"params": params}, x)


def _features(params: Any, x: jax.Array) -> jax.Array:
    return _run(params, x)[0]


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A network trained on images `(H, W, C)`; `about` has the settings of its training."""

    params: Any
    shape: tuple[int, ...]
    classes: int
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def extractor(self) -> Extractor:
        """Extractor of the 128 features before the logits."""
        return Extractor("classifier", _features, self.params, checksum(self.params))


def logits(classifier: Classifier, x: np.ndarray, *, batch_size: int = 200) -> np.ndarray:
    """Computes the logits of images in [0, 1], `[N, H, W, C] -> [N, classes]`."""
    return np.concatenate([out for _, out in batches(_run, classifier.params, x, batch_size)])


def accuracy(classifier: Classifier, x: np.ndarray, labels: np.ndarray) -> float:
    """Returns the fraction of images in [0, 1] that are classified correctly."""
    return float((logits(classifier, x).argmax(axis=1) == labels).mean())


def train_classifier(
    x: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int | None = None,
    steps: int = 2000,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Classifier:
    """Trains the network by Adam with a cosine decay of the learning rate to 0.

    Args:
      x: images in [0, 1], `[N, H, W, C]`.
      labels: integers from 0, `[N]`.
      classes: number of classes; None is the highest label plus 1.
      batch_size: images per step, drawn with replacement.
      seed: seed of the parameters and of the batches.

    Raises:
      ValueError: the images or labels have the wrong shape, or a label is out of range.
    """
    checks.positive(steps=steps, batch_size=batch_size, learning_rate=learning_rate)
    labels = np.asarray(labels)
    if np.ndim(x) != 4 or labels.shape != (len(x),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"a classifier takes images [N, H, W, C] and integer labels [N], got"
            f" {list(np.shape(x))} and {labels.dtype}{list(labels.shape)}."
        )
    classes = int(labels.max()) + 1 if classes is None else classes
    if labels.min() < 0 or labels.max() >= classes or classes < 2:
        raise ValueError(
            f"labels must be in 0 .. {classes - 1} and have two classes or more, got"
            f" {labels.min()} .. {labels.max()}."
        )
    return _train(x, labels.astype(np.int32), classes, steps, batch_size, learning_rate, seed)


def train_attribute_classifier(
    x: np.ndarray,
    attributes: np.ndarray,
    known: np.ndarray | None = None,
    *,
    steps: int = 2000,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Classifier:
    """Trains the network on several labels per image, by the sum of their cross-entropies.

    Logit k is that of attribute k being 1. Other arguments are as of `train_classifier`.

    Args:
      x: images in [0, 1], `[N, H, W, C]`.
      attributes: `[N, A]` in {0, 1}.
      known: whether each attribute is known, `[N, A]`; None if all are.

    Raises:
      ValueError: the images or attributes have the wrong shape or values.
    """
    checks.positive(steps=steps, batch_size=batch_size, learning_rate=learning_rate)
    targets = np.asarray(attributes)
    known = np.ones(targets.shape, bool) if known is None else np.asarray(known)
    if np.ndim(x) != 4 or targets.shape[:1] != (len(x),) or targets.ndim != 2:
        raise ValueError(
            f"a classifier of attributes takes images [N, H, W, C] and attributes [N, A], got"
            f" {list(np.shape(x))} and {list(targets.shape)}."
        )
    if known.shape != targets.shape or not np.isin(targets, (0, 1)).all():
        raise ValueError(
            f"attributes must be 0 or 1, and `known` {list(targets.shape)}, got"
            f" {targets.min():g} to {targets.max():g} and {list(known.shape)}."
        )
    masked = np.where(known, targets.astype(np.int32), -1)
    return _train(x, masked, targets.shape[1], steps, batch_size, learning_rate, seed)


def _train(
    x: np.ndarray,
    targets: np.ndarray,
    outputs: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> Classifier:
    """Trains on classes `[N]`, or on attributes `[N, A]`, of which -1 is unknown."""
    rng = np.random.default_rng(seed)
    params = _initial(tuple(x.shape[1:]), outputs, rng)
    state = _optimizer(steps, learning_rate).init(params)
    for _ in range(steps):
        picks = rng.integers(0, len(x), batch_size)
        images = x[picks].astype(np.float32)
        params, state = _step(params, state, images, targets[picks], steps, learning_rate)
    about = {"steps": steps, "batch_size": batch_size, "seed": seed, "images": len(x)}
    return Classifier(jax.device_get(params), tuple(x.shape[1:]), outputs, about)


def _initial(shape: tuple[int, ...], classes: int, rng: np.random.Generator) -> Any:
    """Draws kernels of variance 2 / inputs (He et al. 2015); biases are 0."""

    def draw(leaf: Any) -> np.ndarray:
        if len(leaf.shape) == 1:
            return np.zeros(leaf.shape, np.float32)
        scale = math.sqrt(2 / math.prod(leaf.shape[:-1]))
        return (scale * rng.standard_normal(leaf.shape)).astype(np.float32)

    return jax.tree.map(draw, _shapes(shape, classes))


def _shapes(shape: tuple[int, ...], classes: int) -> Any:
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return jax.eval_shape(Network(classes).init, jax.random.key(0), image)["params"]


def _optimizer(steps: int, learning_rate: float) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps))


@functools.partial(jax.jit, static_argnames=("steps", "learning_rate"))
def _step(
    params: Any, state: Any, x: jax.Array, targets: jax.Array, steps: int, learning_rate: float
) -> tuple[Any, Any]:
    def loss(params: Any) -> jax.Array:
        scores = Network(params["logits"]["bias"].shape[0]).apply({"params": params}, x)[1]
        if targets.ndim == 2:
            nats = optax.sigmoid_binary_cross_entropy(scores, jnp.maximum(targets, 0))
            return (nats * (targets >= 0)).sum(axis=1).mean()
        return optax.softmax_cross_entropy_with_integer_labels(scores, targets).mean()

    updates, state = _optimizer(steps, learning_rate).update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state


def save_classifier(classifier: Classifier, path: str | os.PathLike) -> None:
    """Writes a classifier as `.npz`: the parameters by path, and its description as JSON."""
    flat = jax.tree_util.tree_flatten_with_path(classifier.params)[0]
    arrays = {"/".join(p.key for p in path): np.asarray(leaf) for path, leaf in flat}
    about = {"shape": classifier.shape, "classes": classifier.classes, "about": classifier.about}
    with pathlib.Path(path).open("wb") as file:
        np.savez(file, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)


def load_classifier(path: str | os.PathLike) -> Classifier:
    """Reads a classifier that `save_classifier` wrote, without unpickling.

    Raises:
      ValueError: the file is missing, damaged, or has other parameters.
    """
    path = pathlib.Path(path)
    try:
        arrays = read_npz(path)
        about = parse_json(str(arrays.pop("about")))
        shape, classes = tuple(int(n) for n in about["shape"]), int(about["classes"])
        checks.positive(shape=shape, classes=classes)
        flat, tree = jax.tree_util.tree_flatten_with_path(_shapes(shape, classes))
        names = ["/".join(p.key for p in keys) for keys, _ in flat]
        if set(names) != set(arrays):
            raise ValueError(f"it has the parameters {sorted(arrays)}")
        for name, (_, leaf) in zip(names, flat, strict=True):
            if arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
                raise ValueError(f"{name} is {arrays[name].dtype}{list(arrays[name].shape)}")
        params = jax.tree.unflatten(tree, [arrays[name] for name in names])
    except Exception as error:  # numpy, zipfile and json raise many types
        raise ValueError(
            f"{safe(path)} is not a classifier file ({error_reason(error)}); write one with"
            f" save_classifier."
        ) from None
    return Classifier(params, shape, classes, dict(about["about"]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreResult(MetricResult):
    """Classification accuracy score: trained on labelled samples, tested on real images.

    Attributes:
      accuracy: accuracy on real test images, in [0, 1]; higher is better.
      std_error: standard error of the accuracy.
      real_accuracy: accuracy of the same network trained on real images for as many steps.
      n_test: number of test images.
    """

    FIGURE: ClassVar = ("accuracy", "std_error", "%")

    accuracy: float
    std_error: float
    real_accuracy: float
    n_test: int


def accuracy_score(
    fake: tuple[np.ndarray, np.ndarray],
    real: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    steps: int = 2000,
    seed: int = 0,
) -> ScoreResult:
    """Computes the classification accuracy score, with `Network` in place of a ResNet.

    Args:
      fake: samples in [0, 1], `[N, H, W, C]`, and the labels that condition them, `[N]`.
      real: training images and labels.
      test: real images and labels of neither training set.
      seed: seed of both classifiers.

    Raises:
      ValueError: the images differ in shape, or are not in [0, 1].

    Source: Ravuri and Vinyals 2019, "Classification Accuracy Score for Conditional Generative
    Models", section 3.
    """
    check_images("accuracy_score", fake=fake[0], real=real[0], test=test[0])
    classes = int(real[1].max()) + 1
    accuracies = [
        accuracy(train_classifier(*data, classes=classes, steps=steps, seed=seed), *test)
        for data in (fake, real)
    ]
    return ScoreResult(
        accuracy=accuracies[0],
        std_error=binomial_error(accuracies[0], len(test[0])),
        real_accuracy=accuracies[1],
        n_test=len(test[0]),
        n_real=len(real[0]),
        n_fake=len(fake[0]),
        extractor="classifier",
        seed=seed,
    )
