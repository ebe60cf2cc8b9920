"""Metrics of codes, on a generator whose codes and classes are known by construction."""

import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import evals
from genjax.families import infogan, nade

KINDS = (infogan.Code("uniform", 1, 1.0, 1), infogan.Code("categorical", 4, 1.0, 4))


def known(sharpness):
    """Images are one number, the category shifted by one; q has a known confidence in it.

    The first code is drawn from N(0, 1), and its posterior is N(0, 1) whatever the image.
    """

    def code_posterior(config, variables, x):
        logits = sharpness * jax.nn.one_hot((x[:, 0].astype(int) + 1) % 4, 4) + 0 * x[:, :1]
        return (0 * x[:, :1], 0 * x[:, :1]), logits

    def noise(config, key, n):
        category = jax.random.randint(key, (n,), 0, 4)
        return jnp.concatenate(
            [jax.random.normal(key, (n, 1)), jax.nn.one_hot(category, 4)], axis=1
        )

    def generate(config, variables, z):
        shifted = (jnp.argmax(z[:, 1:], axis=1) + 3) % 4
        return shifted[:, None].astype(jnp.float32)

    return as_family("known", codes=lambda config: KINDS, code_posterior=code_posterior,
                     noise=noise, generate=generate)  # fmt: skip


def as_family(name, **functions):
    """A module-like object with every name of `LatentCodes`."""
    names = ("Config", "traits", "tiny", "batch_spec", "init", "sample", "noise", "generate")
    empty = dict.fromkeys((*names, "codes", "code_posterior"), lambda *args: None)
    return types.SimpleNamespace(__name__=name, **{**empty, **functions})


def images(labels):
    return np.asarray(labels, np.float32)[:, None]


def test_classes_are_assigned_by_training_images_and_scored_on_test():
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, 4, 200), rng.integers(0, 4, 100)
    seen = test.copy()
    seen[:60] = (seen[:60] + 1) % 4  # most test images look like another class
    found = evals.codes(
        known(5.0), None, {}, (images(train), train), (images(seen), test), jax.random.key(0)
    )
    assert found.names == [3, 0, 1, 2]  # inverts the shift
    assert found.error == found.one_to_one == pytest.approx(0.6)
    assert found.figure() == (pytest.approx(60.0), pytest.approx(24**0.5), "%")
    sure = 5.0 - math.log(math.exp(5.0) + 3) + math.log(4)
    assert found.information == pytest.approx(sure, rel=1e-5)


def test_two_categories_may_have_one_class():
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    seen = np.array([0, 0, 0, 1, 1, 2, 2, 2])  # two categories of the second class
    pair = (images(seen), labels)
    found = evals.codes(known(5.0), None, {}, pair, pair, jax.random.key(0), samples=10)
    assert found.names == [-1, 0, 1, 1]
    assert found.error == 0
    assert found.one_to_one is None  # four categories, two classes


def test_rejects_non_finite_posteriors():
    labels = np.array([0, 1, 2, 3])
    broken = images(np.array([0, 1, np.nan, 3]))
    pair = (images(labels), labels)
    with pytest.raises(ValueError, match="not finite; the run has diverged"):
        evals.codes(known(5.0), None, {}, pair, (broken, labels), jax.random.key(0), samples=10)


def test_results_have_the_seed():
    labels = np.array([0, 1, 2, 3])
    pair = (images(labels), labels)
    options = {"samples": 10, "seed": 7}
    assert evals.codes(known(5.0), None, {}, pair, pair, jax.random.key(7), **options).seed == 7
    assert evals.information(known(5.0), None, {}, jax.random.key(7), **options).seed == 7


def test_information_is_the_mean_of_the_bound():
    found = evals.information(known(2.0), None, {}, jax.random.key(1), samples=1200)
    sure = 2.0 - math.log(math.exp(2.0) + 3) + math.log(4)
    assert found.each["categorical_1"] == pytest.approx(sure, rel=1e-5)
    # The bound of the first code is log 2 - log(2 pi) / 2 - c^2 / 2, with c from N(0, 1).
    mean, std = math.log(2) - 0.5 * math.log(2 * math.pi) - 0.5, math.sqrt(0.5)
    assert abs(found.nats - mean) < 5 * std / math.sqrt(1200)
    assert found.std_error == pytest.approx(std / math.sqrt(1200), rel=0.2)
    assert (found.entropy, found.n_fake, found.extractor) == (None, 1200, "known")


def test_information_of_an_untrained_infogan_is_near_zero():
    config = infogan.tiny()
    variables = infogan.init(config, jax.random.key(0))
    found = evals.information(infogan, config, variables, jax.random.key(1), samples=600)
    assert list(found.each) == ["categorical_0", "uniform_1", "gaussian_2"]
    # q is near the prior, so that the bound is near 0.
    assert abs(found.nats) < 0.2
    assert found.entropy == pytest.approx(math.log(3))


def test_rejects_other_families_and_unknown_labels():
    with pytest.raises(ValueError, match="nade has no latent codes"):
        evals.information(nade, nade.tiny(), {}, jax.random.key(0))
    numbers = as_family("numbers", codes=lambda config: KINDS[:1])
    unknown = (images([0, 1]), np.array([0, -1]))
    with pytest.raises(ValueError, match="leave out images with label -1"):
        evals.codes(known(5.0), None, {}, unknown, unknown, jax.random.key(0))
    one = (images([0]), np.array([0]))
    with pytest.raises(ValueError, match="no code is categorical"):
        evals.codes(numbers, None, {}, one, one, jax.random.key(0))
