# %% [markdown]
# # Explicit models: tables, NADE, PixelCNN and PixelRNN, VAE
#
# A generative model is a distribution p(x) of images, learned from examples. Explicit models
# compute p(x) or a bound on it, so besides drawing samples they classify, complete images, detect
# outliers and give features. Run the cells in order; start the kernel in the repository's folder.

# %%
"""Lessons 1 to 4 of the lecture: models that evaluate p(x), or a bound on it."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import numpy as np
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

import genjax
from experiments.examples.lecture.lessons import Notes, lesson
from experiments.examples.lecture.training import (
    KEY,
    RUNS,
    batches,
    count,
    dataset,
    examples,
    labels,
    nats,
    optimizer_of,
    sample,
    trained,
)
from genjax import evals
from genjax.core import init_state, log_conditionals
from genjax.families import joint, markov, nade, pixelcnn, vae
from genjax.train import Run
from genjax.train.splits import batch_transform

DIGITS = RUNS["nade"]  # settings of binary 8x8 digits
UPPER = np.broadcast_to(np.arange(8)[:, None, None] < 4, (8, 8, 1))  # known in completions


def all_images(*shape: int) -> np.ndarray:
    """Returns every binary image, `[2^D, *shape]`."""
    bits = itertools.product([0.0, 1.0], repeat=int(np.prod(shape)))
    return np.array(list(bits), np.float32).reshape(-1, *shape)


def markov_run(k: int, shape: tuple[int, ...] = (8, 8, 1)) -> Run:
    """Returns settings of a Markov model of order k."""
    data = RUNS["markov" if shape == (8, 8, 1) else "joint"].data
    return dataclasses.replace(
        RUNS["markov"], model=markov.Config(shape=shape, k=k, alpha=0.5), data=data
    )


@functools.cache
def markov_nats(k: int) -> np.ndarray:
    """Returns -log p(x) of test digits under a Markov model of order k, `[N]` nats."""
    return nats(markov_run(k), count(markov_run(k)))


def read_digits(x: np.ndarray) -> np.ndarray:
    """Returns the digits that logistic regression on all pixels of training digits reads, `[N]`."""
    return _reader().predict(x.reshape(len(x), -1))


@functools.cache
def _reader() -> LogisticRegression:
    x, label = examples(DIGITS, "train"), labels(DIGITS, "train")
    return LogisticRegression(max_iter=300).fit(x.reshape(len(x), -1), label)


def most_frequent(label: np.ndarray) -> float:
    """Returns the accuracy of always predicting the most frequent class."""
    return float(np.bincount(label).max() / len(label))


# %% [markdown]
# ## 1. Joint table, chain rule and Markov models
#
# The joint table has a probability for every image. It can represent any distribution, but of D
# binary pixels it has `2^D - 1` parameters, so it is possible for 16 pixels and not for 64. The
# chain rule writes the same distribution as a product of conditionals:
#
# $$p(x) = \prod_d p(x_d \mid x_{<d})$$
#
# A Markov model of order k keeps only the k nearest pixels before each one. Its tables have at most
# `D 2^k` parameters. Order 0 is independent pixels. Both are fitted by counting, in one step.


# %%
@lesson(1, "markov", "Joint table, chain rule and Markov models")
def markov_lesson(out: Notes) -> None:
    """Counts tables of 4x4 and 8x8 digits; sums p(x) over all images; classifies."""
    small, everything = RUNS["joint"], all_images(4, 4, 1)  # digits of 4x4 pixels
    table = count(small)
    log_p = -nats(small, table, everything)
    out.measure("joint table, sum of p(x) over 65,536 images", np.exp(log_p).sum(), form=".6f")
    conditionals = jax.jit(lambda v, x: log_conditionals(joint, small.model, v, x))
    chain = conditionals(table, everything).sum(axis=(1, 2, 3))
    gap = np.abs(chain - log_p).max()
    out.measure("largest difference of log p(x) by the chain rule, nats", gap, form=".1e")
    runs = {f"Markov model of order {k}": markov_run(k, (4, 4, 1)) for k in (0, 4)}
    beside = {name: nats(run, count(run)).mean() for name, run in runs.items()}
    own = nats(small, table).mean()
    out.measure("joint table, nats per 4x4 test image", own, beside | {"uniform": 16 * np.log(2)})
    beside = {f"order {k}": markov_nats(k).mean() for k in (0, 2, 12)}
    out.measure("Markov model of order 6, nats per 8x8 test image", markov_nats(6).mean(), beside)

    # p(x | class) of ten tables and Bayes' rule give p(class | x).
    run = markov_run(2)
    x, label = examples(run, "train"), labels(run, "train")
    tables = [count(run, x[label == digit]) for digit in range(10)]
    out.measure("classification by ten Markov models", *bayes(run, tables), ".1%")
    out.draw(
        {
            "digits": examples(run, "test")[:10],
            **{
                f"samples of order {k}": sample(markov_run(k), count(markov_run(k)), 10)
                for k in (0, 2, 6)
            },
        }
    )


def bayes(run: Run, of_class: list[Any]) -> tuple[float, dict[str, float]]:
    """Returns the test accuracy of Bayes' rule with a density per class, and baselines."""
    x, label = examples(DIGITS, "test"), labels(DIGITS, "test")
    likelihood = np.stack([-nats(run, variables, x) for variables in of_class], axis=1)
    posterior = evals.log_posterior(likelihood)
    pixels = float((read_digits(x) == label).mean())
    beside = {"most frequent class": most_frequent(label), "logistic regression": pixels}
    return evals.classify(posterior, label).accuracy, beside


# %% [markdown]
# ## 2. NADE
#
# Tables do not share what they learn: a context that was never counted has no information. NADE
# computes every conditional of the chain rule by a small network, whose weights all pixels share:
#
# $$p(x_d = 1 \mid x_{<d}) = \sigma(b_d + V_d h_d), \quad h_d = \sigma(c + \sum_{j<d} W_j x_j)$$
#
# Each pixel sees all earlier ones, at the cost of D H multiplications. p(x) stays exact at any
# weights: the sum over all images is 1. RNADE has mixtures of Gaussians as conditionals, for real
# numbers.


# %%
@lesson(2, "nade", "NADE, and RNADE for real numbers")
def nade_lesson(out: Notes) -> None:
    """Trains NADE and RNADE; classifies by ten NADEs and detects outliers."""
    # A step is one call: the state has weights, optimizer and random key.
    steps = out.few(1500)
    variables = trained(out.runs["nade"], steps)
    tiny = dataclasses.replace(DIGITS, model=nade.Config(shape=(3, 3, 1), hidden=20))
    log_p = -nats(tiny, nade.init(tiny.model, KEY), all_images(3, 3, 1))
    out.measure("sum of p(x) over 512 images, random weights", np.exp(log_p).sum(), form=".6f")
    own = nats(DIGITS, variables)
    beside = {f"Markov model of order {k}": markov_nats(k).mean() for k in (0, 6)}
    out.measure("NADE, nats per test image", own.mean(), beside)

    # One compiled step trains a NADE for each digit, on the images of this digit.
    steps = out.few(300)
    optimizer = optimizer_of(DIGITS, steps)
    step = genjax.jitted_step(
        "nade", DIGITS.model, optimizer, transform=batch_transform(DIGITS, dataset(DIGITS.data))
    )
    begin = jax.jit(lambda key: init_state(nade, DIGITS.model, optimizer, key))
    of_class, label = [], labels(DIGITS, "train")
    for digit in range(10):
        state = begin(jax.random.key(digit))
        for batch in itertools.islice(batches(DIGITS, np.flatnonzero(label == digit)), steps):
            state, _ = step(state, batch)
        of_class.append(state.variables)
    out.measure("classification by ten NADEs", *bayes(DIGITS, of_class), ".1%")

    # Images of low probability are outliers: here digits mirrored left to right.
    mirrored = examples(DIGITS, "test")[:, :, ::-1]
    first, table = markov_run(0), count(markov_run(0))
    beside = {"chance": 0.5, "independent pixels": auroc(first, table, mirrored)}
    found = auroc(DIGITS, variables, mirrored)
    out.measure("detection of mirrored digits, AUROC", found, beside, ".3f")

    real = out.runs["rnade"]
    own = nats(real, trained(real, out.few(600)))
    x, test = (examples(real, s).reshape(-1, 64) for s in ("train", "test"))
    full = stats.multivariate_normal(x.mean(axis=0), np.cov(x.T)).logpdf(test)
    diagonal = stats.norm(x.mean(axis=0), x.std(axis=0)).logpdf(test).sum(axis=1)
    beside = {"Gaussian": -full.mean(), "independent Gaussians": -diagonal.mean()}
    out.measure("RNADE of grey levels, nats per test image", own.mean(), beside)
    out.draw(
        {
            "digits": examples(DIGITS, "test")[:10],
            "samples of NADE": sample(DIGITS, variables),
            "samples of RNADE": sample(real, trained(real, out.few(600)), 10),
        }
    )


def auroc(run: Run, variables: Any, outliers: np.ndarray) -> float:
    """Returns the AUROC of test images against outliers by p(x)."""
    return evals.auroc(-nats(run, variables), -nats(run, variables, outliers))


# %% [markdown]
# ## 3. PixelRNN and PixelCNN
#
# NADE ignores that pixels are neighbours. PixelRNN and PixelCNN use the same chain rule with
# layers for images. PixelCNN masks the kernels of its convolutions, so that a pixel depends on
# those above it and to its left only; PixelRNN has recurrent layers, which see all of them.
#
# $$p(x) = \prod_i p(x_i \mid x_1, \ldots, x_{i-1})$$
#
# All conditionals are computed at once in training. Sampling takes a step per pixel, and may begin
# with known pixels: it completes images. A stack of masked convolutions has a blind spot, that the
# gated network removes. At 8x8 pixels NADE is as good; at 28x28 it is not (`RESULTS.md`).


# %%
@lesson(3, "pixelcnn", "PixelRNN and PixelCNN")
def pixel_lesson(out: Notes) -> None:
    """Trains both; completes the lower half of digits; computes the blind spot."""
    digits, label = examples(DIGITS, "test"), labels(DIGITS, "test")
    run, steps = out.runs["pixelcnn"], out.few(700)
    variables = trained(run, steps)
    beside = {
        "PixelRNN": nats(out.runs["pixelrnn"], trained(out.runs["pixelrnn"], out.few(400))).mean(),
        "NADE": nats(DIGITS, trained(out.runs["nade"], out.few(1500))).mean(),
        "independent pixels": markov_nats(0).mean(),
    }
    out.measure("PixelCNN, nats per test image", nats(run, variables).mean(), beside)

    complete = jax.jit(lambda v, x: evals.complete(pixelcnn, run.model, v, KEY, x, UPPER))
    completed = np.asarray(complete(variables, digits))
    blank = np.where(UPPER, digits, 0)
    beside = {
        "lower half blank": (read_digits(blank) == label).mean(),
        "true lower half": (read_digits(digits) == label).mean(),
    }
    right = (read_digits(completed) == label).mean()
    out.measure("completed digits that are read correctly", right, beside, ".1%")

    masked = dataclasses.replace(run.model, network="masked")
    weights = pixelcnn.init(masked, KEY)
    unseen = {}
    for name, config, params in (
        ("masked", masked, weights),
        ("gated", run.model, variables),
    ):
        field = evals.receptive_field(pixelcnn, config, params, 5, 2)
        unseen[name] = evals.unseen_pixels(field, 5, 2).sum()
    what = "of 42 earlier pixels, those that a masked network does not see"
    out.measure(what, unseen["masked"], {"gated network": unseen["gated"]}, ".0f")
    out.draw(
        {
            "digits": digits[:10],
            "the same with the lower half drawn by PixelCNN": completed[:10],
            "further digits": digits[10:20],
            "with the lower half drawn": completed[10:20],
        }
    )


# %% [markdown]
# ## 4. VAE
#
# Autoregressive models draw pixel by pixel, and have no compact description of an image. A VAE
# draws a latent vector z first, and all pixels given z at once. p(x) is an integral over z, of
# which the encoder `q(z | x)` gives a lower bound:
#
# $$\log p(x) \ge \text{E}_{q(z \mid x)}[\log p(x \mid z)] - \text{KL}(q(z \mid x) \norm p(z))$$
#
# The bound becomes tighter with more samples of z. New: features, reconstructions from 8 numbers,
# and interpolation between images.


# %%
@lesson(4, "vae", "VAE")
def vae_lesson(out: Notes) -> None:
    """Trains a VAE; tightens its bound, probes its latents, reconstructs and interpolates."""
    run = out.runs["vae"]
    variables, digits = trained(run, out.few(2000)), examples(run, "test")
    count = out.few(200)
    one, many = (nats(run, variables, samples=k).mean() for k in (1, count))
    exact = nats(DIGITS, trained(out.runs["nade"], out.few(1500))).mean()
    beside = {"NADE, exact": exact, "independent pixels": markov_nats(0).mean()}
    out.measure("VAE, bound by 1 sample, nats per test image", one, beside)
    out.measure(f"VAE, bound by {count} samples", many, {"by 1 sample": one})

    encode = jax.jit(lambda v, x: vae.encode(run.model, v, x))
    x, label = ([f(run, s) for s in ("train", "test")] for f in (examples, labels))
    flat = [part.reshape(len(part), -1) for part in x]
    components = PCA(run.model.latent, random_state=0).fit(flat[0])
    features = {"pixels": flat, "PCA": [components.transform(part) for part in flat]}
    features["latents"] = [np.asarray(encode(variables, part)) for part in x]
    accuracy, rows = {}, out.few(len(label[0]), 200)
    for name, (train, test) in features.items():
        probe = LogisticRegression(max_iter=500).fit(train[:rows], label[0][:rows])
        accuracy[name] = probe.score(test, label[1])
    beside = {
        "8 principal components": accuracy["PCA"],
        "64 pixels": accuracy["pixels"],
        "most frequent class": most_frequent(label[1]),
    }
    out.measure("logistic regression on 8 latents", accuracy["latents"], beside, ".1%")

    decode = jax.jit(lambda v, z: vae.likelihood(run.model, v, z).mean())
    latents = features["latents"][1]
    error = np.abs(decode(variables, latents) - digits).mean()
    mean_image = np.abs(x[0].mean(axis=0) - digits).mean()
    beside = {"mean image": mean_image}
    out.measure("reconstruction, mean absolute error", error, beside, ".3f")
    path = evals.interpolation(latents[:1], latents[1:2], 10).astype(np.float32)
    out.draw(
        {
            "digits": digits[:10],
            "their reconstructions from 8 numbers": decode(variables, latents[:10]),
            "interpolation from the first digit to the second": decode(variables, path),
            "samples": sample(run, variables),
        }
    )
