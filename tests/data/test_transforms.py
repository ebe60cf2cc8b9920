"""Transforms: values by hand, ranges by hypothesis, frequencies within five standard errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.data import Data, Dataset, OutputSpec, load, make_transform, output_spec, with_fit
from genjax.data.transforms import binarization, canonical, dequantized_levels, parse_transform

KEY = jax.random.key(0)
ROW = np.array([0, 1, 2, 3, 4], np.uint8)
# Shapes stay fixed: every new shape would compile again. What varies is values and levels.
integers = st.tuples(
    st.sampled_from([2, 3, 17, 256, 65_536]), st.lists(st.floats(0, 1), min_size=8, max_size=8)
).map(lambda drawn: (drawn[0], np.round(np.array(drawn[1]) * (drawn[0] - 1)).astype(np.int32)))

TRANSFORMS = (
    *("", "scale(0, 1)", "scale(-1, 1)", "binarize('threshold')", "binarize('static')"),
    *("binarize('dynamic')", "dequantize()", "dequantize()|scale(-1, 1)|binarize('dynamic')"),
)


def apply(transform, x, levels, key=KEY):
    return make_transform(transform, levels)({"x": x}, key)["x"]


def scale_unit(x, levels):
    return apply("scale(0, 1)", x, levels)


def scale_symmetric(x, levels):
    return apply("scale(-1, 1)", x, levels)


def binarize_threshold(x, levels):
    return apply("binarize('threshold')", x, levels)


def binarize_stochastic(x, key, levels):
    return apply("binarize('dynamic')", x, levels, key)


def dequantize(x, key, levels):
    return apply("dequantize()", x, levels, key)


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


def test_transforms_are_those_of_the_formulas():
    """Draws use the key itself, so that figures of published records stay."""
    label = np.array([3, 1, 4, 1, 5], np.int32)
    x = ROW.astype(np.float32)
    noisy = jnp.minimum((x + jax.random.uniform(KEY, (5,))) / 5, jnp.float32(1 - 2**-24))
    expected = {
        "": x,
        "binarize('static')": x,
        "scale(0, 1)": x / 4,
        "scale(-1, 1)": x / 4 * 2 - 1,
        "scale(-3, 7)": x / 4 * 10 - 3,
        "binarize('threshold')": x / 4 > 0.5,
        "binarize('dynamic')": jax.random.bernoulli(KEY, x / 4),
        "dequantize()": noisy,
        "dequantize()|scale(-1, 1)": noisy * 2 - 1,
    }
    for name, want in expected.items():
        batch = {"x": ROW, "label": label}
        out = make_transform(name, 5)(batch, KEY)
        np.testing.assert_array_equal(out["x"], np.asarray(want, np.float32), err_msg=name)
        assert out["label"] is label
        assert batch["x"] is ROW  # the batch given is not changed


def test_transforms_run_inside_jit():
    for name in TRANSFORMS:
        transform = make_transform(name, 5)
        inside = jax.jit(transform)({"x": jnp.asarray(ROW)}, KEY)["x"]
        outside = transform({"x": ROW}, KEY)["x"]
        np.testing.assert_allclose(inside, outside, rtol=1e-6, err_msg=name)


IMAGES = np.arange(2 * 6 * 6 * 5 * 3).reshape(2, 6, 6, 5, 3).astype(np.int32)  # [2, B, H, W, C]


def test_random_flip_mirrors_whole_images_half_of_the_time():
    x = np.tile(IMAGES[0, :1], (400, 1, 1, 1))
    out = np.asarray(make_transform("random_flip()", 2**16)({"x": x}, KEY)["x"])
    flipped = (out == x[:, :, ::-1]).all((1, 2, 3))
    assert (flipped | (out == x).all((1, 2, 3))).all()
    assert abs(flipped.mean() - 0.5) < 5 * 0.5 / np.sqrt(400)
    evaluated = make_transform("random_flip()", 2**16, training=False)({"x": x}, KEY)["x"]
    np.testing.assert_array_equal(evaluated, x)


def test_random_crop_cuts_every_window_equally_often():
    x = np.tile(IMAGES[0, 0], (2, 300, 1, 1, 1))  # two leading axes, as with critic steps
    out = np.asarray(make_transform("random_crop(4, 3)", 2**16)({"x": x}, KEY)["x"])
    assert out.shape == (2, 300, 4, 3, 3)
    windows = {x[0, 0, i : i + 4, j : j + 3].tobytes(): 0 for i in range(3) for j in range(3)}
    for image in out.reshape(600, 4, 3, 3).astype(np.int32):
        windows[image.tobytes()] += 1  # KeyError: not a window
    p = 1 / 9
    assert max(abs(n / 600 - p) for n in windows.values()) < 5 * np.sqrt(p * (1 - p) / 600)
    middle = make_transform("random_crop(4, 3)", 2**16, training=False)({"x": x}, KEY)["x"]
    np.testing.assert_array_equal(middle, x[..., 1:5, 1:4, :])
    np.testing.assert_array_equal(apply("center_crop(4, 3)", x, 2**16), middle)


def test_resize_is_linear_within_the_range():
    x = np.array([0, 100, 200, 255], np.uint8).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(apply("resize(1)", x, 256).ravel(), [x.mean()], rtol=1e-6)
    assert set(np.unique(apply("resize(4, method='nearest')", x, 256))) == {0, 100, 200, 255}
    large = apply("resize(5, 7)", x, 256)
    assert large.shape == (1, 5, 7, 1)
    assert (large.min(), large.max()) == (0, 255)


def test_cubic_resize_is_pillows():
    """Pillow resizes channel by channel with the same antialiased kernel, but rounds to integers.

    The kernels differ in one number: a is -0.5 in both.
    """
    from PIL import Image

    x = np.random.default_rng(0).integers(0, 256, (1, 20, 24, 1), np.uint8)
    for size in ((13, 9), (31, 40)):
        got = apply(f"resize({size[0]}, {size[1]}, method='cubic')", x, 256)[0, ..., 0]
        image = Image.fromarray(x[0, ..., 0].astype(np.float32))
        want = np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC)).clip(0, 255)
        np.testing.assert_allclose(got, want, atol=1e-3)
        assert (got.min(), got.max()) == (0, 255) or size[0] == 13  # overshoots are clipped


def test_padding_is_exact_and_of_the_lowest_value():
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 28, 27, 3), np.uint8)  # two leading axes
    found = np.asarray(apply("pad(32)", x, 256))
    inner = (slice(2, 30), slice(2, 29))  # of 5 columns, 2 before and 3 after
    np.testing.assert_array_equal(found[..., inner[0], inner[1], :], x)
    assert found.sum() == x.sum()
    scaled = np.asarray(apply("scale(-1, 1)|pad(32)", x, 256))
    np.testing.assert_allclose(scaled, found / 127.5 - 1, atol=1e-6)
    white = np.asarray(apply("pad(32, value=255)", x, 256))
    assert (white[..., :2, :, :] == 255).all()
    np.testing.assert_array_equal(white[..., inner[0], inner[1], :], x)
    np.testing.assert_array_equal(apply("fit(32, mode='pad')", x, 256), found)


@pytest.mark.parametrize(
    ("shape", "size", "window"),
    [
        ((20, 13), (13, 13), (slice(3, 16), slice(None))),  # no resizing: exact
        ((21, 30), (7, 7), (slice(None), slice(4, 25))),
        ((20, 24), (5, 12), (slice(5, 15), slice(None))),
        ((5, 6), (8, 8), (slice(None), slice(0, 5))),
    ],
)
def test_fit_by_a_crop_resizes_the_largest_middle_window(shape, size, window):
    """Pillow resizes the window with the same antialiased triangle."""
    from PIL import Image

    x = np.random.default_rng(0).integers(0, 256, (1, *shape, 1), np.uint8)
    found = apply(f"fit({size[0]}, {size[1]}, mode='crop')", x, 256)[0, ..., 0]
    cut = x[0, window[0], window[1], 0]
    image = Image.fromarray(cut.astype(np.float32))
    want = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_allclose(found, want, atol=0 if cut.shape == size else 1e-3)


def test_fit_by_padding_shrinks_until_the_longer_side_fits():
    from PIL import Image

    x = np.random.default_rng(0).integers(0, 256, (1, 21, 30, 1), np.uint8)
    found = np.asarray(apply("fit(10, mode='pad', value=255)", x, 256))[0, ..., 0]
    image = Image.fromarray(x[0, ..., 0].astype(np.float32))
    want = np.asarray(image.resize((10, 7), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(found[1:8], want, atol=1e-3)
    assert (found[:1] == 255).all()
    assert (found[8:] == 255).all()
    thin = np.asarray(apply("fit(4, mode='pad')", np.full((1, 1, 40, 1), 9, np.uint8), 256))
    np.testing.assert_allclose(thin[0, :, 0, 0], [0, 9, 0, 0], atol=1e-5)  # at least one pixel


def test_padding_of_real_numbers_needs_a_value():
    x = np.ones((1, 3, 3, 1), np.float32)
    for transform in ("pad(4)", "fit(4, mode='pad')"):
        with pytest.raises(ValueError, match="pads with the lowest of real numbers, which is un"):
            apply(transform, x, 0)
    assert np.asarray(apply("pad(4, value=-0.5)", x, 0)).sum() == 9 - 7 * 0.5
    np.testing.assert_array_equal(apply("pad(3)", x, 0), x)  # nothing to pad


def test_fitting_comes_before_all_but_static_binarization():
    shape = (8, 6, 1)
    assert with_fit("", "pad", shape) == "fit(8, 6, mode='pad')"
    assert with_fit("random_flip()|scale(0, 1)", "crop", (8, 8, 1)) == (
        "fit(8, mode='crop')|random_flip()|scale(0, 1)"
    )
    assert with_fit("binarize('static')|random_flip()", "pad", shape) == (
        "binarize('static')|fit(8, 6, mode='pad')|random_flip()"
    )
    assert with_fit("binarize('dynamic')", "pad", shape).startswith("fit(")
    with pytest.raises(ValueError, match=r"--fit crop needs a model of images .* shape is \[2\]"):
        with_fit("", "crop", (2,))


def test_unpaired_domains_have_crops_and_flips_of_their_own():
    x = IMAGES[0].repeat(20, 0)
    transform = "random_flip()|random_crop(3)"
    out = make_transform(transform, 2**16, unpaired=True)({"x": x, "y": x}, KEY)
    separate = "random_flip(separate=True)|random_crop(3, separate=True)"
    want = make_transform(separate, 2**16)({"x": x, "y": x}, KEY)
    assert (out["x"] != out["y"]).any()
    for name in "xy":
        np.testing.assert_array_equal(out[name], want[name])
    augmented = make_transform(transform, 2**16, unpaired=True, training=False)
    even = augmented({"x": x, "y": x}, KEY)
    np.testing.assert_array_equal(even["x"], even["y"])


def test_paired_images_share_crops_and_flips_unless_separate():
    x = IMAGES[0].repeat(20, 0)
    for options, equal in (("", True), ("separate=True", False), ("keys='x'", False)):
        comma = ", " if options else ""
        transform = f"random_flip({options})|random_crop(3{comma}{options})"
        out = make_transform(transform, 2**16)({"x": x, "y": x}, KEY)
        same = out["x"].shape == out["y"].shape and bool((out["x"] == out["y"]).all())
        assert same == equal
        alone = make_transform(transform, 2**16)({"x": x}, KEY)
        np.testing.assert_array_equal(out["x"], alone["x"])
    flips = make_transform("random_flip()|random_crop(3)|random_flip()", 2**16)({"x": x}, KEY)
    once = make_transform("random_flip()|random_crop(3)", 2**16)({"x": x}, KEY)
    assert (flips["x"] != once["x"]).any()  # the second flip has draws of its own


def test_second_images_have_noise_of_their_own():
    x = np.full((1, 64), 2, np.uint8)
    for transform in ("binarize('dynamic')", "dequantize()"):
        out = make_transform(transform, 5)({"x": x, "y": x}, KEY)
        assert (out["x"] != out["y"]).any()
        np.testing.assert_array_equal(out["x"], apply(transform, x, 5))
    out = make_transform("scale(-1, 1)", 5)({"x": x, "y": x, "attributes": x > 0}, KEY)
    np.testing.assert_array_equal(out["x"], out["y"])
    assert out["attributes"].dtype == bool
    out = make_transform("scale(-1, 1, keys=('attributes',))", 5)({"attributes": x > 0}, KEY)
    np.testing.assert_array_equal(out["attributes"], np.ones((1, 64), np.float32))


def test_output_spec_is_what_comes_out():
    x = np.random.default_rng(0).integers(0, 5, (64, 6, 5, 1), np.uint8)
    data = Dataset("small", {"train": {"x": x, "y": x[:, :4]}}, 5)
    cases = {
        "": ((6, 5, 1), 0, 4, 5),
        "scale(-1, 1)": ((6, 5, 1), -1, 1, 5),
        "binarize('dynamic')": ((6, 5, 1), 0, 1, 2),
        "dequantize()": ((6, 5, 1), 0, 1, 0),
        "dequantize()|scale(-0.5, 0.5)": ((6, 5, 1), -0.5, 0.5, 0),
        "random_crop(3)|scale(0, 1)": ((3, 3, 1), 0, 1, 5),
        "resize(4)|random_flip()": ((4, 4, 1), 0, 4, 0),
        "center_crop(2, 4)|resize(8, method='nearest')": ((8, 8, 1), 0, 4, 5),
        "scale(-1, 1)|pad(8)": ((8, 8, 1), -1, 1, 5),
        "pad(8, value=2)": ((8, 8, 1), 0, 4, 5),
        "pad(8, 5, value=2.5)": ((8, 5, 1), 0, 4, 0),
        "pad(6, 5, value=2.5)": ((6, 5, 1), 0, 4, 5),
        "fit(5, mode='crop')": ((5, 5, 1), 0, 4, 5),
        "fit(4, mode='crop')": ((4, 4, 1), 0, 4, 0),
        "fit(4, mode='crop', method='nearest')": ((4, 4, 1), 0, 4, 5),
        "fit(16, 7, mode='pad')": ((16, 7, 1), 0, 4, 5),
        "fit(4, mode='pad')": ((4, 4, 1), 0, 4, 0),
    }
    for transform, want in cases.items():
        spec = output_spec(transform, data)
        assert spec == OutputSpec(*want), transform
        out = apply(transform, x, 5)
        assert out.shape[1:] == spec.shape
        assert out.min() >= spec.low
        assert out.max() <= spec.high
        if spec.discrete:
            places = (out - spec.low) / (spec.high - spec.low) * (spec.levels - 1)
            np.testing.assert_allclose(places, np.round(places), atol=1e-5)
    assert output_spec("", data).integers
    assert not output_spec("scale(0, 1)", data).integers
    assert output_spec("scale(0, 1)", data, "y").shape == (4, 5, 1)
    real = Dataset("real", {"train": {"x": np.zeros((3, 2), np.float32)}}, 0)
    assert output_spec("", real) == OutputSpec((2,), -np.inf, np.inf, 0)


def test_binarization_of_different_entries():
    assert binarization("binarize('static')|binarize('dynamic', keys='attributes')") == "static"
    assert binarization("binarize('dynamic', keys='x')|binarize('threshold', keys='y')") == (
        "dynamic"
    )
    assert binarization("scale(0, 1)") == ""


def test_levels_of_dequantized_values():
    data = Dataset("small", {"train": {"x": np.zeros((4, 6, 6, 1), np.uint8)}}, 5)
    cases = {
        "": 0,
        "resize(4)": 0,
        "dequantize()": 5,
        "dequantize(keys=('x',))|scale(-1, 1)|center_crop(4)": 5,
        "dequantize(keys=('y',))": 0,
        "binarize('threshold')|dequantize()": 2,
        "dequantize()|binarize('dynamic')": 0,
        "dequantize()|resize(4)": 0,
        "dequantize()|resize(4, method='nearest')": 5,
        "pad(8)|dequantize()": 5,
        "dequantize()|pad(8)": 0,  # padding has no noise
        "dequantize()|fit(3, 6, mode='crop')|fit(5, mode='crop', method='nearest')": 5,
        "dequantize()|fit(3, 6, mode='crop')|fit(6, mode='pad')": 0,
        "dequantize()|fit(4, mode='crop')": 0,
    }
    assert {transform: dequantized_levels(transform, data) for transform in cases} == cases


def test_transforms_are_stored_in_one_form():
    assert canonical(" scale( -1,1.0 )| random_flip( ) ") == "scale(-1, 1)|random_flip()"
    assert canonical("random_crop(3, 3, keys=('x',), separate=True)") == (
        "random_crop(3, keys=('x',), separate=True)"
    )
    assert Data(transform=" scale(low=0.5,high=1)").transform == "scale(0.5, 1)"
    assert canonical("fit(8, 8, value=2.0, mode='pad')") == "fit(8, mode='pad', value=2)"
    assert canonical("  ") == ""
    for transform in TRANSFORMS:
        assert canonical(transform) == transform


@pytest.mark.parametrize(
    ("transform", "match"),
    [
        ("gray", r"'gray': gray is not an operation with arguments .* use one of scale"),
        ("gray()", "there is no operation gray; use one of scale"),
        ("scale(0, 1) random_flip()", r"operations joined by \|, got .* it is not an expression"),
        ("scale(0, 1) & random_flip()", "is not an operation"),
        ("scale(0, 1)|", "it is not an expression"),
        ("scale", "is not an operation"),
        ("data.scale(0, 1)", "is not an operation"),
        ("scale(1)", r"scale\(1\): wrong arguments; use scale\(low, high\)"),
        ("scale(0, 1, 2)", "wrong arguments"),
        ("scale(0, 1, hue=2)", "wrong arguments"),
        ("scale(1, 0)", "low must be below high, got 1 and 0"),
        ("scale('a', 1)", "low must be below high"),
        ("scale(0, print(1))", "arguments must be literals"),
        ("scale(*[0, 1])", "arguments must be literals"),
        ("scale(0, 1, **{})", "wrong arguments|arguments must be literals"),
        ("binarize()", "wrong arguments; use binarize"),
        ("binarize('hard')", "the mode must be one of threshold, static, dynamic, got 'hard'"),
        ("random_crop(0)", "a size must be an integer above 0, got 0"),
        ("random_crop(2.5)", "a size must be an integer"),
        ("resize(3, method='area')", "method must be 'linear', 'cubic' or 'nearest'"),
        ("pad(8, value='x')", r"value must be a number, got 'x'; use pad\(height"),
        ("fit(8)", r"wrong arguments; use fit\(height\[, width\], mode='crop' | 'pad'\)"),
        ("fit(8, mode='stretch')", "mode must be 'crop' or 'pad', got 'stretch'"),
        ("fit(8, mode='crop', value=0)", "value is of padding; leave it out, or use mode='pad'"),
        ("fit(8, mode='pad', value=None, method='box')", "method must be"),
        ("random_flip(keys=('label',))", "keys must be a tuple of x, y, attributes"),
        ("random_flip(separate=1)", "separate must be True or False"),
        ("scale(0, 1, separate=True)", "wrong arguments; use scale"),
        ("center_crop(3, separate=True)", "wrong arguments; use center_crop"),
        (
            "binarize('static')|resize(4)|binarize('dynamic')",
            "binarized values need no second binarize; use one of them and remove the other",
        ),
        ("binarize('threshold')|binarize('dynamic', keys=('y',))", "need no second binarize"),
        (
            "random_flip()|binarize('static')",
            "is drawn when the data is loaded and must come first",
        ),
        ("binarize('static', keys=('x',))", "binarizes all images; leave out keys"),
        (3, "`transform` must be a string"),
    ],
)
def test_rejects_what_is_not_a_transform(transform, match):
    with pytest.raises(ValueError, match=match) as error:
        parse_transform(transform)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("transform", "match"),
    [
        ("scale(0, 1)|dequantize()", r"dequantize\(\) needs integers from 0; put it before scale"),
        ("resize(3)|dequantize()", "put it before scale, resize and fit"),
        ("random_crop(7)", r"cuts \[7, 7\] from images of \[6, 5\]; crop less"),
        ("resize(6)|center_crop(7, 6)", "cuts"),
        ("pad(7, 4)", r"pads images of \[6, 5\] to \[7, 4\], .* use fit\(7, 4, mode='pad'\)"),
        ("pad(8, value=5)", "pads with 5 values from 0 to 4; set value to one of them"),
        ("fit(8, mode='pad', value=-1)", "pads with -1 values from 0 to 4"),
        ("fit(3, mode='crop')|dequantize()", "put it before scale, resize and fit"),
    ],
)
def test_rejects_operations_in_the_wrong_order_or_size(transform, match):
    x = np.zeros((4, 6, 5, 1), np.uint8)
    with pytest.raises(ValueError, match=match):
        output_spec(transform, Dataset("small", {"train": {"x": x}}, 5))
    with pytest.raises(ValueError, match=match):
        apply(transform, x, 5)


def test_rejects_bad_levels_and_images():
    with pytest.raises(ValueError, match="levels must be above 1"):
        scale_unit(ROW, 1)
    with pytest.raises(ValueError, match="needs integers from 0"):
        dequantize(ROW, KEY, 0)
    with pytest.raises(ValueError, match="needs integers, and the data holds real numbers"):
        scale_unit(ROW, 0)
    with pytest.raises(ValueError, match=r"needs images \[H, W, C\]"):
        apply("random_flip()", ROW[None], 5)
    with pytest.raises(ValueError, match=r"': digits has no y, it has label, x; leave it out"):
        load(Data(transform="random_crop(4, keys=('y',))"))
    with pytest.raises(ValueError, match=r"of digits: random_crop\(9\) cuts"):
        load(Data(transform="random_crop(9)"))
