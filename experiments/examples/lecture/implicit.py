# %% [markdown]
# # Implicit models: GAN, DCGAN, InfoGAN
#
# An implicit model is a generator: it maps noise to an image, and has no p(x). It cannot classify
# by Bayes' rule, complete images or say how likely an image is; it only draws samples. In return
# the generator may be any network. Samples are compared with real images by their statistics in the
# features of a classifier of digits, the Frechet distance.

# %%
"""Lessons 5 to 7 of the lecture: models that only sample, without conditions."""

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression

from experiments.examples.lecture.lessons import Notes, lesson
from experiments.examples.lecture.training import (
    KEY,
    RUNS,
    digit_classifier,
    examples,
    labels,
    metric,
    sample,
    train,
    trained,
)
from genjax import evals, families
from genjax.evals.classifier import Classifier, accuracy, logits
from genjax.evals.feature_extractor import to_unit
from genjax.families import dcgan, infogan
from genjax.train import Run

DRAWN = 700  # samples that a distance is computed from


def frechet(out: Notes, run: Run, drawn: np.ndarray) -> tuple[float, dict[str, float]]:
    """Returns the Frechet distance of samples `[N, 8, 8, 1]` to digits, a floor and a baseline."""
    features = digit_classifier(out.few(600)).extractor
    low, high = families.get(run.family).traits(run.model).sample_range
    real, drawn = examples(RUNS["gan"], "train"), to_unit(drawn, low, high)
    half, other = real[: len(drawn)], real[len(drawn) : 2 * len(drawn)]
    mixed = np.random.default_rng(0).permuted(half.reshape(len(half), -1), axis=0)
    distances = [
        evals.frechet(half, x, features).distance for x in (drawn, other, mixed.reshape(half.shape))
    ]
    return distances[0], {"real images": distances[1], "independent pixels": distances[2]}


# %% [markdown]
# ## 5. GAN
#
# The generator G makes images of noise, the discriminator D tells them from real images, and each
# is trained against the other:
#
# $$\min_G \max_D \quad \text{E}_x[\log D(x)] + \text{E}_z[\log(1 - D(G(z)))]$$
#
# Unlike a VAE, it needs no encoder and no likelihood of pixels. What is lost is p(x), and the
# guarantee that all of the data is covered: both are measured on samples alone.


# %%
@lesson(5, "gan", "GAN")
def gan_lesson(out: Notes) -> None:
    """Trains a GAN of dense layers; measures quality, coverage and novelty of its samples."""
    run = out.runs["gan"]
    # The networks follow each other in circles, and an average of the weights is in the middle.
    state = train(run, out.few(4000), ema=0.99)
    drawn = sample(run, state.eval_variables(), DRAWN)
    distance, beside = frechet(out, run, drawn)
    beside["last weights"] = frechet(out, run, sample(run, state.variables, DRAWN))[0]
    out.measure("Frechet distance of samples of averaged weights", distance, beside)

    classifier, test = digit_classifier(out.few(600)), examples(run, "test")
    right = accuracy(classifier, test, labels(run, "test"))
    out.measure("accuracy of the classifier on test digits", right, {"chance": 0.1}, ".1%")
    rarest = [np.bincount(read(classifier, x), minlength=10).min() / len(x) for x in (drawn, test)]
    beside = {"in test": rarest[1], "a missing digit": 0.0}
    out.measure("share of the rarest digit in samples", rarest[0], beside, ".1%")
    real = examples(run, "train")
    index, far = evals.nearest_neighbors(drawn[: len(test)], real)
    beside = {"test images": evals.nearest_neighbors(test, real)[1].mean(), "copies": 0.0}
    out.measure("distance of samples to the nearest training image", far.mean(), beside)
    out.draw({"samples": drawn[:20], "training images nearest to the first ten": real[index[:10]]})


def read(classifier: Classifier, x: np.ndarray) -> np.ndarray:
    """Returns the digits that a classifier reads in images in [0, 1], `[N]`."""
    return logits(classifier, x).argmax(axis=1)


# %% [markdown]
# ## 6. DCGAN
#
# The GAN above has dense layers. DCGAN has convolutions in both networks, batch normalisation, and
# no pooling: the generator doubles the side of its maps layer by layer. The loss is the same:
#
# $$\min_G \max_D \quad \text{E}_x[\log D(x)] + \text{E}_z[\log(1 - D(G(z)))]$$
#
# New: it scales to larger images, and the discriminator learns features of images without labels.
# Nearby noise gives similar images, so samples can be interpolated.


# %%
@lesson(6, "dcgan", "DCGAN")
def dcgan_lesson(out: Notes) -> None:
    """Trains a DCGAN; probes its discriminator's features and interpolates its noise."""
    run = out.runs["dcgan"]
    variables = trained(run, out.few(1500))
    drawn = sample(run, variables, DRAWN)
    out.measure("Frechet distance of samples", *frechet(out, run, drawn))

    encode = jax.jit(lambda v, x: dcgan.encode(run.model, v, x))
    count = out.few(1437, 200)
    (x, label), test = ((examples(run, s), labels(run, s)) for s in ("train", "test"))
    features = [np.asarray(encode(variables, part)) for part in (x[:count], test[0])]
    probe = LogisticRegression(max_iter=300, C=0.1).fit(features[0], label[:count])
    right, chance = probe.score(features[1], test[1]), np.bincount(test[1]).max() / len(test[1])
    beside = {"most frequent class": chance}
    out.measure("logistic regression on the discriminator's features", right, beside, ".1%")

    z = np.random.default_rng(0).uniform(-1, 1, (4, run.model.latent))
    path = evals.interpolation(z[:2], z[2:], 10, spherical=False).astype(np.float32)
    between = jax.jit(lambda v, z: dcgan.generate(run.model, v, z))(variables, path)
    out.draw(
        {"samples": drawn[:20], "interpolations from the first to the last": between}, low=-1.0
    )


# %% [markdown]
# ## 7. InfoGAN
#
# The noise of a GAN has no meaning of its own. InfoGAN divides it into noise z and codes c, and
# adds a lower bound on the information that images have about the codes. A network Q reads the
# codes in images:
#
# $$L_I = \text{E}[\log q(c \mid G(z, c))] + \text{H}(c)$$
#
# New: codes that can be set. No label is used, but categories follow what differs most between
# images, which in part is the digit, so that Q is a classifier.


# %%
@lesson(7, "infogan", "InfoGAN")
def infogan_lesson(out: Notes) -> None:
    """Trains an InfoGAN; measures the information in its codes, and its code as a classifier."""
    run, label = out.runs["infogan"], labels(RUNS["infogan"], "test")
    variables = trained(run, out.few(2000))
    codes = metric("codes", run, variables, samples=out.few(2000, 200))
    beside = {"entropy of the code": np.log(10), "no information": 0.0}
    what = "information of samples about the code of ten categories, nats"
    out.measure(what, codes.information, beside)
    beside = {"most frequent class": np.bincount(label).max() / len(label)}
    out.measure("digits classified by the code, without labels", 1 - codes.error, beside, ".1%")
    out.measure("Frechet distance", *frechet(out, run, sample(run, variables, DRAWN)))

    # Ten columns set the category to 0 .. 9; rows have the same other noise.
    noise = jax.jit(lambda key: infogan.noise(run.model, key, 3))
    z, start = np.repeat(np.asarray(noise(KEY)), 10, axis=0), run.model.latent
    z[:, start : start + 10] = np.tile(np.eye(10, dtype=np.float32), (3, 1))
    drawn = jax.jit(lambda v, z: infogan.generate(run.model, v, z))(variables, z)
    low, high = infogan.traits(run.model).sample_range
    digits = examples(run, "test")[:10]
    out.draw({"digits": digits, "three noises, category set to 0 to 9": drawn}, low, high)
