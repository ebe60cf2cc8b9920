"""Quantizers of the discrete VAE: by hand, and against vector-quantize-pytorch."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.families.dvae import quantizers

LEVELS = (8, 5, 3, 2)


def vectors(n=500, d=4, seed=0, scale=2.0):
    return (scale * np.random.default_rng(seed).normal(size=(n, d))).astype(np.float32)


def test_cosine_schedule_is_half_a_wave():
    at = [float(quantizers.cosine_schedule(jnp.array(s), 1.0, 1 / 16, 100)) for s in (0, 50, 100)]
    np.testing.assert_allclose(at, [1, (1 + 1 / 16) / 2, 1 / 16], rtol=1e-6)
    quarter = float(quantizers.cosine_schedule(jnp.array(25), 0.0, 6.6, 100))
    np.testing.assert_allclose(quarter, 6.6 * (1 - math.cos(math.pi / 4)) / 2, rtol=1e-6)
    assert float(quantizers.cosine_schedule(jnp.array(10**6), 0.0, 6.6, 100)) == pytest.approx(6.6)
    assert float(quantizers.cosine_schedule(jnp.array(0), 0.0, 6.6, 0)) == pytest.approx(6.6)


def test_gumbel_softmax_tends_to_a_draw_from_the_softmax():
    logits = jnp.asarray([[0.0, 1.0, 2.0, -1.0]])
    many = jnp.broadcast_to(logits, (20_000, 4))
    key = jax.random.key(0)
    draws = {t: np.asarray(quantizers.gumbel_softmax(key, many, t)) for t in (1.0, 0.1, 1e-3)}
    largest = [d.max(axis=1).mean() for d in draws.values()]
    assert largest[0] < 0.8 < largest[1] < largest[2]
    assert largest[2] > 0.999
    hard = draws[1e-3].argmax(axis=1)
    np.testing.assert_array_equal(hard, draws[1.0].argmax(axis=1))  # of the same noise
    share = np.bincount(hard, minlength=4) / len(hard)
    np.testing.assert_allclose(share, np.asarray(jax.nn.softmax(logits))[0], atol=0.012)
    np.testing.assert_allclose(draws[1.0].sum(axis=1), 1, rtol=1e-5)


def test_kl_to_the_uniform_distribution():
    logits = vectors(6, 5)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        quantizers.uniform_kl(jnp.asarray(logits)), (p * np.log(5 * p)).sum(-1), rtol=1e-5
    )
    certain = jnp.array([[200.0, 0.0, 0.0]])
    np.testing.assert_allclose(quantizers.uniform_kl(certain), math.log(3), rtol=1e-6)
    assert np.isfinite(jax.grad(lambda a: quantizers.uniform_kl(a).sum())(certain)).all()


def test_perplexity_of_tokens():
    tokens = jnp.array([[0, 0, 1], [1, 4, 4]])
    assert float(quantizers.perplexity(tokens, 8)) == pytest.approx(3)
    assert float(quantizers.perplexity(jnp.zeros(9, jnp.int32), 8)) == pytest.approx(1)


def fsq_by_hand(z, levels):
    """Returns code and token of one vector, written out for single numbers."""
    code, token, place = [], 0, 1
    for value, count in zip(z, levels, strict=True):
        half = (count - 1) * (1 - 1e-3) / 2
        offset = 0.5 if count % 2 == 0 else 0.0
        rounded = round(math.tanh(value + math.tan(offset / half)) * half - offset)
        code.append(rounded / (count // 2))
        token += (rounded + count // 2) * place
        place *= count
    return code, token


def test_fsq_by_hand():
    z = vectors()
    code = quantizers.fsq_code(jnp.asarray(z), LEVELS)
    tokens = quantizers.fsq_tokens(code, LEVELS)
    want = [fsq_by_hand(row.tolist(), LEVELS) for row in z]
    np.testing.assert_allclose(code, [c for c, _ in want], atol=1e-6)
    np.testing.assert_array_equal(tokens, [t for _, t in want])
    assert tokens.dtype == jnp.int32


def test_fsq_tokens_number_every_code_once():
    size = math.prod(LEVELS)
    codes = quantizers.fsq_from_tokens(jnp.arange(size), LEVELS)
    assert len(np.unique(np.asarray(codes), axis=0)) == size
    for dimension, count in enumerate(LEVELS):
        values = np.unique(np.asarray(codes)[:, dimension])
        low = -(count // 2)
        np.testing.assert_allclose(values * (count // 2), range(low, low + count), atol=1e-6)
    np.testing.assert_array_equal(quantizers.fsq_tokens(codes, LEVELS), np.arange(size))
    beyond = quantizers.fsq_from_tokens(jnp.array([-1, 0, size]), LEVELS)
    assert np.isnan(np.asarray(beyond)).all(axis=1).tolist() == [True, False, True]


def test_fsq_reaches_every_level():
    grid = np.linspace(-6, 6, 241, dtype=np.float32)
    for count in (2, 3, 4, 5, 8):
        tokens = quantizers.fsq_tokens(
            quantizers.fsq_code(jnp.asarray(grid)[:, None], (count,)), (count,)
        )
        assert np.unique(np.asarray(tokens)).tolist() == list(range(count))
        assert (np.diff(np.asarray(tokens)) >= 0).all()


def test_fsq_gradient_is_that_of_the_bounded_value():
    z, weights = jnp.asarray(vectors(7)), jnp.asarray(vectors(7, seed=1))
    slope = jax.grad(lambda z: (weights * quantizers.fsq_code(z, LEVELS)).sum())(z)
    number = np.array(LEVELS)
    half = (number - 1) * (1 - 1e-3) / 2
    shift = np.tan(np.where(number % 2, 0, 0.5) / half)
    want = np.asarray(weights) * half * (1 - np.tanh(z + shift[None]) ** 2) / (number // 2)
    np.testing.assert_allclose(slope, want, rtol=1e-3, atol=1e-5)


def test_straight_through_has_one_value_and_the_other_gradient():
    z = jnp.asarray(vectors(5))
    value = jnp.round(z)

    def objective(z):
        return (quantizers.straight_through(value, z) ** 2).sum()

    np.testing.assert_allclose(objective(z), (value**2).sum(), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(objective)(z), 2 * value, rtol=1e-6)


def test_fsq_equals_vector_quantize_pytorch():
    pytest.importorskip(
        "vector_quantize_pytorch", reason="it is not installed (pip install -e '.[torch]')"
    )
    import torch
    from vector_quantize_pytorch import FSQ

    for levels in ((8, 5, 5, 5), (7, 5, 3), (4, 6)):
        peer = FSQ(list(levels))
        z = vectors(2000, len(levels), scale=1.0)
        z = z[np.all(distance_to_a_threshold(z, levels) > 5e-3, axis=1)]
        assert len(z) > 1000
        tensor = torch.from_numpy(z).requires_grad_()
        want, indices = peer(tensor[None])
        code = quantizers.fsq_code(jnp.asarray(z), levels)
        np.testing.assert_allclose(code, want[0].detach().numpy(), atol=1e-6)
        np.testing.assert_array_equal(
            quantizers.fsq_tokens(code, levels), indices[0].detach().numpy()
        )
        size = math.prod(levels)
        np.testing.assert_allclose(
            quantizers.fsq_from_tokens(jnp.arange(size), levels),
            peer.indices_to_codes(torch.arange(size)[None])[0].numpy(),
            atol=1e-6,
        )
        # Its bound is wider by 0.2 %, and its shift atanh instead of tan.
        want[0].square().sum().backward()
        slope = jax.grad(lambda z, levels=levels: (quantizers.fsq_code(z, levels) ** 2).sum())(
            jnp.asarray(z)
        )
        np.testing.assert_allclose(slope, tensor.grad.numpy(), rtol=2e-2, atol=2e-2)


def distance_to_a_threshold(z, levels):
    number = np.array(levels)
    half, offset = (number - 1) / 2, np.where(number % 2, 0, 0.5)
    bounded = np.tanh(z + np.arctanh(offset / half)) * half - offset
    return abs(bounded - np.floor(bounded) - 0.5)


def test_fsq_by_hand_at_known_points():
    # Three levels: thresholds where tanh is 1/2; two levels round to -1 and 0.
    points = jnp.array([[-2.0], [-0.5], [0.5], [0.6]])
    assert quantizers.fsq_code(points, (3,))[:, 0].tolist() == [-1.0, 0.0, 0.0, 1.0]
    for a, b in itertools.product((-9.0, 9.0), repeat=2):
        code = quantizers.fsq_code(jnp.array([[a, b]]), (2, 4))
        assert code[0].tolist() == [-1.0 if a < 0 else 0.0, -1.0 if b < 0 else 0.5]
