"""What codes hold: on a generator whose codes and classes are known by construction."""

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
    """Images are one number, 0 .. 3, the category up to a turn; q believes it so firmly."""

    def infer(config, variables, x):
        logits = sharpness * jax.nn.one_hot((x[:, 0].astype(int) + 1) % 4, 4) + 0 * x[:, :1]
        return (x, jnp.zeros_like(x)), logits

    def code_information(config, variables, key, n):
        c = jax.random.randint(key, (n,), 0, 4)
        logits = infer(config, variables, ((c + 3) % 4)[:, None].astype(jnp.float32))[1]
        told = jnp.take_along_axis(jax.nn.log_softmax(logits), c[:, None], 1)[:, 0] + math.log(4)
        return [jax.random.normal(key, (n,)), told]

    return types.SimpleNamespace(
        __name__="known",
        parts=lambda config: KINDS,
        infer=infer,
        code_information=code_information,
    )


def images(labels):
    return np.asarray(labels, np.float32)[:, None]


def test_categories_are_named_by_training_images_and_scored_on_test():
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, 4, 200), rng.integers(0, 4, 100)
    seen = test.copy()
    seen[:10] = (seen[:10] + 1) % 4  # these look like another class
    found = evals.latent_codes(
        known(5.0), None, {}, (images(train), train), (images(seen), test), jax.random.key(0)
    )
    assert found.names == [3, 0, 1, 2]  # the turn, undone
    assert found.error == found.one_to_one == pytest.approx(0.1)
    assert found.figure() == (pytest.approx(10.0), pytest.approx(3.0), "%")
    sure = 5.0 - math.log(math.exp(5.0) + 3) + math.log(4)
    assert found.information == pytest.approx(sure, rel=1e-5)


def test_two_categories_may_hold_one_class():
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    seen = np.array([0, 0, 0, 1, 1, 2, 2, 2])  # the second class has two looks
    pair = (images(seen), labels)
    found = evals.latent_codes(known(5.0), None, {}, pair, pair, jax.random.key(0), samples=10)
    assert found.names == [-1, 0, 1, 1]
    assert found.error == 0
    assert found.one_to_one is None  # four categories, two classes


def test_what_is_no_number_names_no_class():
    labels = np.array([0, 1, 2, 3])
    broken = images(np.array([0, 1, np.nan, 3]))
    pair = (images(labels), labels)
    with pytest.raises(ValueError, match="not finite; the run has diverged"):
        evals.latent_codes(
            known(5.0), None, {}, pair, (broken, labels), jax.random.key(0), samples=10
        )


def test_a_result_says_its_seed():
    labels = np.array([0, 1, 2, 3])
    pair = (images(labels), labels)
    asked = {"samples": 10, "seed": 7}
    assert (
        evals.latent_codes(known(5.0), None, {}, pair, pair, jax.random.key(7), **asked).seed == 7
    )
    assert evals.information(known(5.0), None, {}, jax.random.key(7), **asked).seed == 7


def test_information_is_the_mean_of_the_bound():
    found = evals.information(known(2.0), None, {}, jax.random.key(1), samples=1200)
    sure = 2.0 - math.log(math.exp(2.0) + 3) + math.log(4)
    assert found.each["categorical_1"] == pytest.approx(sure, rel=1e-5)
    # The first part is normal numbers: the standard error is that of 1200 of them.
    assert abs(found.nats) < 5 / math.sqrt(1200)
    assert found.std_error == pytest.approx(1 / math.sqrt(1200), rel=0.1)
    assert (found.entropy, found.n_fake, found.extractor) == (None, 1200, "known")


def test_of_the_family_itself():
    config = infogan.tiny()
    variables = infogan.init(config, jax.random.key(0))
    found = evals.information(infogan, config, variables, jax.random.key(1), samples=600)
    assert list(found.each) == ["categorical_0", "uniform_1", "gaussian_2"]
    # Nothing is known yet: a q near the prior says nearly nothing of the category.
    assert abs(found.nats) < 0.2
    assert found.entropy == pytest.approx(math.log(3))


def test_others_have_none():
    with pytest.raises(ValueError, match="nade has no codes"):
        evals.information(nade, nade.tiny(), {}, jax.random.key(0))
    numbers = types.SimpleNamespace(
        __name__="numbers", parts=lambda config: KINDS[:1], code_information=None
    )
    unknown = (images([0, 1]), np.array([0, -1]))
    with pytest.raises(ValueError, match="leave out images whose label is -1"):
        evals.latent_codes(known(5.0), None, {}, unknown, unknown, jax.random.key(0))
    one = (images([0]), np.array([0]))
    with pytest.raises(ValueError, match="no part of the code is categorical"):
        evals.latent_codes(numbers, None, {}, one, one, jax.random.key(0))
