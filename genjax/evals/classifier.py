"""A small convolutional classifier trained here: features where the standard network does not fit.

Digits are nothing like the photographs Inception was trained on. Distances by this network are
called after it (`classifier_frechet`, `classifier_kernel`) and mean something only between runs
that used the same one, which its identity tells.
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
from genjax.data.file_io import reason, show
from genjax.data.npz import read_npz
from genjax.evals.feature_extractor import Extractor, batches, check_images, checksum
from genjax.evals.metric_result import MetricResult

FEATURES = 128
EXACT = jax.lax.Precision.HIGHEST  # the same features on every device


class Network(nn.Module):
    """`[B, H, W, C]` in [0, 1] to features `[B, 128]` and logits `[B, classes]`."""

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = x - 0.5
        for units in (32, 64):
            # Strides instead of pooling: on CPUs a step is five times as fast.
            conv = nn.Conv(units, (3, 3), (2, 2), name=f"conv_{units}", precision=EXACT)
            x = nn.relu(conv(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(FEATURES, name="features", precision=EXACT)(x))
        return x, nn.Dense(self.classes, name="logits", precision=EXACT)(x)


@jax.jit
def _run(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return Network(params["logits"]["bias"].shape[0]).apply({"params": params}, x)


def _features(params: Any, x: jax.Array) -> jax.Array:
    return _run(params, x)[0]


def _logits(params: Any, x: jax.Array) -> jax.Array:
    return _run(params, x)[1]


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained network.

    params: of `Network`.
    shape: of an image, `(H, W, C)`.
    classes: how many.
    about: how it was trained, and how well.
    """

    params: Any
    shape: tuple[int, ...]
    classes: int
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def extractor(self) -> Extractor:
        """The 128 features before the logits."""
        return Extractor("classifier", _features, self.params, checksum(self.params))


def logits(classifier: Classifier, x: np.ndarray, *, batch_size: int = 200) -> np.ndarray:
    """Of images in [0, 1], `[N, H, W, C] -> [N, classes]`."""
    return np.concatenate(list(batches(_logits, classifier.params, x, batch_size)))


def accuracy(
    classifier: Classifier, x: np.ndarray, labels: np.ndarray, *, batch_size: int = 200
) -> float:
    """Share of images in [0, 1] that are named rightly."""
    return float((logits(classifier, x, batch_size=batch_size).argmax(axis=1) == labels).mean())


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
    """Train the network on labelled images by Adam with a rate that falls to 0 along a cosine.

    Args:
      x: images in [0, 1], `[N, H, W, C]`.
      labels: integers from 0, `[N]`.
      classes: how many; None is one more than the highest label.
      steps: of training.
      batch_size: images a step, drawn anew from all.
      learning_rate: of the first step.
      seed: of the parameters and of the batches.

    Raises:
      ValueError: the images are no pictures, or the labels do not fit them.
    """
    checks.positive(steps=steps, batch_size=batch_size, learning_rate=learning_rate)
    labels = np.asarray(labels)
    if np.ndim(x) != 4 or labels.shape != (len(x),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"a classifier takes pictures [N, H, W, C] and one integer each, got"
            f" {list(np.shape(x))} and {labels.dtype}{list(labels.shape)}."
        )
    classes = int(labels.max()) + 1 if classes is None else classes
    if labels.min() < 0 or labels.max() >= classes or classes < 2:
        raise ValueError(f"labels must be from 0 to {classes - 1}, of two classes or more.")
    rng = np.random.default_rng(seed)
    params = _initial(tuple(x.shape[1:]), classes, rng)
    state = _optimizer(steps, learning_rate).init(params)
    for _ in range(steps):
        picks = rng.integers(0, len(x), batch_size)
        images, names = x[picks].astype(np.float32), labels[picks].astype(np.int32)
        params, state = _step(params, state, images, names, steps, learning_rate)
    about = {"steps": steps, "batch_size": batch_size, "seed": seed, "images": len(x)}
    return Classifier(jax.device_get(params), tuple(x.shape[1:]), classes, about)


def _initial(shape: tuple[int, ...], classes: int, rng: np.random.Generator) -> Any:
    """Kernels normal with variance 2 / inputs (He et al. 2015), biases 0."""

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
    params: Any, state: Any, x: jax.Array, labels: jax.Array, steps: int, learning_rate: float
) -> tuple[Any, Any]:
    def loss(params: Any) -> jax.Array:
        scores = Network(params["logits"]["bias"].shape[0]).apply({"params": params}, x)[1]
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

    updates, state = _optimizer(steps, learning_rate).update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state


def save_classifier(classifier: Classifier, path: str | os.PathLike) -> None:
    """Write it as `.npz`: every parameter under its path, and what it is as JSON."""
    flat = jax.tree_util.tree_flatten_with_path(classifier.params)[0]
    arrays = {"/".join(p.key for p in path): np.asarray(leaf) for path, leaf in flat}
    about = {"shape": classifier.shape, "classes": classifier.classes, "about": classifier.about}
    with pathlib.Path(path).open("wb") as file:
        np.savez(file, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)


def load_classifier(path: str | os.PathLike) -> Classifier:
    """Read what `save_classifier` wrote; nothing is unpickled.

    Raises:
      ValueError: it is no such file, or holds other parameters; one sentence.
    """
    path = pathlib.Path(path)
    try:
        arrays = read_npz(path)
        about = json.loads(str(arrays.pop("about")))
        shape, classes = tuple(int(n) for n in about["shape"]), int(about["classes"])
        checks.positive(shape=shape, classes=classes)
        flat, tree = jax.tree_util.tree_flatten_with_path(_shapes(shape, classes))
        names = ["/".join(p.key for p in keys) for keys, _ in flat]
        if set(names) != set(arrays):
            raise ValueError(f"it has parameters {sorted(arrays)}")
        for name, (_, leaf) in zip(names, flat, strict=True):
            if arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
                raise ValueError(f"{name} is {arrays[name].dtype}{list(arrays[name].shape)}")
        params = jax.tree.unflatten(tree, [arrays[name] for name in names])
    except Exception as error:  # numpy, zipfile, json and dict raise a dozen kinds on damage
        raise ValueError(
            f"{show(path)} is no classifier that save_classifier wrote ({reason(error)})."
        ) from None
    return Classifier(params, shape, classes, dict(about["about"]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreResult(MetricResult):
    """Classification accuracy score: trained on samples with their labels, tested on real images.

    accuracy: on real test images; higher is better.
    std_error: of the accuracy.
    real_accuracy: of the same network trained on as many steps of real images.
    n_test: real images that both were tested on.
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
    classes: int | None = None,
    steps: int = 2000,
    seed: int = 0,
) -> ScoreResult:
    """How well what is learnt from samples holds for real images.

    Ravuri and Vinyals 2019, "Classification Accuracy Score for Conditional Generative Models",
    section 3, with this room's small network in place of a ResNet.

    Args:
      fake: samples in [0, 1], `[N, H, W, C]`, and the labels they were drawn for, `[N]`.
      real: training images and labels.
      test: real images and labels that neither is trained on.
      classes: how many; None is one more than the highest real label.
      steps: of training, for each.
      seed: of both.

    Raises:
      ValueError: the images differ in shape, or are not all in [0, 1].
    """
    check_images("accuracy_score", fake=fake[0], real=real[0], test=test[0])
    classes = int(real[1].max()) + 1 if classes is None else classes
    found = [
        accuracy(train_classifier(*data, classes=classes, steps=steps, seed=seed), *test)
        for data in (fake, real)
    ]
    return ScoreResult(
        accuracy=found[0],
        std_error=float(np.sqrt(found[0] * (1 - found[0]) / len(test[0]))),
        real_accuracy=found[1],
        n_test=len(test[0]),
        n_real=len(real[0]),
        n_fake=len(fake[0]),
        extractor="classifier",
        seed=seed,
    )
