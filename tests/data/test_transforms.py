"""Transforms: values by hand, ranges by hypothesis, frequencies within five standard errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.data import (
    TRANSFORMS,
    binarize_stochastic,
    binarize_threshold,
    dequantize,
    make_transform,
    scale_symmetric,
    scale_unit,
)

KEY = jax.random.key(0)
ROW = np.array([0, 1, 2, 3, 4], np.uint8)
# Shapes stay fixed: every new shape would compile again. What varies is values and levels.
integers = st.tuples(
    st.sampled_from([2, 3, 17, 256, 65_536]), st.lists(st.floats(0, 1), min_size=8, max_size=8)
).map(lambda drawn: (drawn[0], np.round(np.array(drawn[1]) * (drawn[0] - 1)).astype(np.int32)))


def test_values_by_hand():
    # levels=5: the divisor is 4; a divisor of 5 or of 255 fails here.
    np.testing.assert_array_equal(scale_unit(ROW, 5), np.float32([0, 0.25, 0.5, 0.75, 1]))
    np.testing.assert_array_equal(scale_symmetric(ROW, 5), np.float32([-1, -0.5, 0, 0.5, 1]))
    # The middle level itself is not above the middle.
    np.testing.assert_array_equal(binarize_threshold(ROW, 5), np.float32([0, 0, 0, 1, 1]))


def test_unsigned_bytes_do_not_wrap():
    # 2 * 255 in uint8 is 254: the cast to float must come first.
    x = np.array([0, 128, 255], np.uint8)
    np.testing.assert_allclose(scale_symmetric(x, 256), [-1, 1 / 255, 1], atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(drawn=integers)
def test_ranges_and_order(drawn):
    levels, x = drawn
    unit, symmetric = scale_unit(x, levels), scale_symmetric(x, levels)
    assert unit.min() >= 0
    assert unit.max() <= 1
    assert symmetric.min() >= -1
    assert symmetric.max() <= 1
    # Nothing is lost: rounding leads back to the integers, from both.
    np.testing.assert_array_equal(np.round(np.float64(unit) * (levels - 1)), x)
    np.testing.assert_array_equal(np.round((np.float64(symmetric) + 1) / 2 * (levels - 1)), x)
    # The threshold is that of the integers, without rounding: 2 x > levels - 1.
    np.testing.assert_array_equal(binarize_threshold(x, levels), 2 * x > levels - 1)


@settings(max_examples=50, deadline=None)
@given(drawn=integers, seed=st.integers(0, 2**32 - 1))
def test_random_transforms_stay_in_range(drawn, seed):
    levels, x = drawn
    key = jax.random.key(seed)
    bits = np.asarray(binarize_stochastic(x, key, levels))
    assert set(np.unique(bits)) <= {0.0, 1.0}
    # Probabilities 0 and 1 are exact: not one draw goes the other way.
    assert not bits[x == 0].any()
    assert bits[x == levels - 1].all()
    noisy = np.asarray(dequantize(x, key, levels), np.float64)
    assert noisy.min() >= 0
    assert noisy.max() < 1
    # The noise is one level wide, give or take float32's rounding at this height.
    assert np.all(noisy * levels >= x - 1e-2)
    assert np.all(noisy * levels <= x + 1 + 1e-2)


def test_every_function_is_float32():
    for name in TRANSFORMS:
        out = make_transform(name, 5)({"x": ROW}, KEY)["x"]
        assert out.dtype == jnp.float32, name
        assert out.shape == ROW.shape, name


def test_stochastic_binarisation_has_the_stated_frequencies():
    n = 40_000
    x = np.tile(ROW, (n, 1))
    bits = np.asarray(binarize_stochastic(x, KEY, 5), np.float64)  # [N, 5]
    p = ROW / 4
    error = np.sqrt(p * (1 - p) / n)
    # At the edges the error is 0, and the frequency must be exact.
    assert np.all(np.abs(bits.mean(0) - p) <= 5 * error)
    # Draws of neighbouring pixels are independent: their correlation is 1 / sqrt(N).
    correlation = np.corrcoef(bits[:, 1], bits[:, 2])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(n)


def test_binarisation_at_the_edges_is_exact_in_millions_of_draws():
    # uniform <= p instead of uniform < p turns on a pixel of 0 once in 2^23 draws or so.
    n = 2**21
    assert not binarize_stochastic(np.zeros(n, np.uint8), KEY, 256).any()
    assert binarize_stochastic(np.full(n, 255, np.uint8), KEY, 256).all()


@pytest.mark.parametrize("level", [0, 7, 16])
def test_dequantised_moments(level):
    n = 100_000
    out = np.asarray(dequantize(np.full(n, level, np.uint8), KEY, 17), np.float64)
    # Uniform on [x / levels, (x + 1) / levels).
    sd = 1 / 17 / np.sqrt(12)
    assert abs(out.mean() - (level + 0.5) / 17) < 5 * sd / np.sqrt(n)
    # The variance of a uniform's sample variance: (mu4 - sigma^4) / N with mu4 = 9/5 sigma^4.
    assert abs(out.var() - sd**2) < 5 * sd**2 * np.sqrt(0.8 / n)
    assert abs(out.min() - level / 17) < 1e-3
    assert abs(out.max() - (level + 1) / 17) < 1e-3


@pytest.mark.parametrize("levels", [2, 17, 256, 65_536])
def test_dequantised_top_level_stays_below_one(levels):
    # In float32, 255 + u rounds up to 256 once in 2^17 draws; of 2^21, sixteen would reach 1.
    out = dequantize(np.full(2**21, levels - 1, np.int32), KEY, levels)
    assert out.max() < 1
    assert out.min() >= (levels - 1) / levels - 1e-6


def test_noise_depends_on_the_key_alone():
    x = np.full((64,), 8, np.uint8)
    for function in (binarize_stochastic, dequantize):
        again = function(x, jax.random.key(0), 17)
        np.testing.assert_array_equal(function(x, KEY, 17), again)
        assert (function(x, jax.random.key(1), 17) != again).any()


def test_make_transform_is_the_named_function_and_leaves_the_rest():
    label = np.array([3, 1, 4, 1, 5], np.int32)
    expected = {
        "none": ROW.astype(np.float32),
        "static": ROW.astype(np.float32),
        "unit": scale_unit(ROW, 5),
        "symmetric": scale_symmetric(ROW, 5),
        "threshold": binarize_threshold(ROW, 5),
        "dynamic": binarize_stochastic(ROW, KEY, 5),
        "dequantize": dequantize(ROW, KEY, 5),
    }
    assert set(expected) == set(TRANSFORMS)
    for name, want in expected.items():
        batch = {"x": ROW, "label": label}
        out = make_transform(name, 5)(batch, KEY)
        np.testing.assert_array_equal(out["x"], want, err_msg=name)
        assert out["label"] is label
        assert batch["x"] is ROW  # the batch given is not changed


def test_transforms_run_inside_jit():
    for name in TRANSFORMS:
        transform = make_transform(name, 5)
        inside = jax.jit(transform)({"x": jnp.asarray(ROW)}, KEY)["x"]
        outside = transform({"x": ROW}, KEY)["x"]
        np.testing.assert_allclose(inside, outside, rtol=1e-6, err_msg=name)


def test_bad_names_and_levels_are_refused():
    with pytest.raises(ValueError, match=r"transform must be one of .*dequantize.*'gray'"):
        make_transform("gray", 5)
    with pytest.raises(ValueError, match="levels"):
        scale_unit(ROW, 1)
    with pytest.raises(ValueError, match="levels must be above 0"):
        dequantize(ROW, KEY, 0)
