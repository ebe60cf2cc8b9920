"""Codebook of running averages: by hand, and against vector-quantize-pytorch; k-means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.cluster.vq import kmeans2

from genjax.families.dvae import ema_codebook
from genjax.families.dvae.ema_codebook import codebook_of, k_means, nearest_code, update_codebook

KEY = jax.random.key(0)


def vectors(n, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_nearest_code(monkeypatch):
    z, codes = vectors(50), vectors(7, seed=1)
    want = ((z[:, None] - codes[None]) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(nearest_code(jnp.asarray(z), jnp.asarray(codes)), want)
    monkeypatch.setattr(ema_codebook, "ROWS", 8)  # in parts, the last one smaller
    found = nearest_code(jnp.asarray(z), jnp.asarray(codes))
    np.testing.assert_array_equal(found, want)
    assert found.dtype == jnp.int32


def test_running_averages_by_hand():
    codes = vectors(4, seed=1)
    book = codebook_of(jnp.asarray(codes))
    counts, sums = np.ones(4), codes.astype(np.float64)
    for step in range(3):
        z = vectors(20, seed=step + 2)
        tokens = ((z[:, None] - codes[None]) ** 2).sum(-1).argmin(1)  # of the old codes
        assert len(set(tokens)) > 1
        found = nearest_code(jnp.asarray(z), book["codes"])
        np.testing.assert_array_equal(found, tokens)
        book = update_codebook(book, jnp.asarray(z), found, KEY, decay=0.9, restart=0.0)
        for k in range(4):
            counts[k] = 0.9 * counts[k] + 0.1 * (tokens == k).sum()
            sums[k] = 0.9 * sums[k] + 0.1 * z[tokens == k].sum(0)
        smoothed = (counts + 1e-5) / (counts.sum() + 4e-5) * counts.sum()
        codes = sums / smoothed[:, None]
        for name, want in {"codes": codes, "counts": counts, "sums": sums}.items():
            np.testing.assert_allclose(book[name], want, rtol=1e-5, atol=1e-6)


def test_unused_codes_keep_their_place_without_replacement():
    codes = jnp.asarray([[0.0, 0.0], [9.0, 9.0]])
    book, z = codebook_of(codes), jnp.asarray(vectors(8, 2))
    for _ in range(5):
        tokens = nearest_code(z, book["codes"])
        assert not tokens.any()
        book = update_codebook(book, z, tokens, KEY, decay=0.9, restart=0.0)
    np.testing.assert_allclose(book["codes"][1], [9, 9], rtol=1e-3)
    np.testing.assert_allclose(book["counts"][1], 0.9**5, rtol=1e-5)


def test_dead_codes_become_vectors_of_the_batch():
    # Most vectors are equal, as those of an empty background, and already have a code.
    z = np.concatenate([np.zeros((90, 2)), vectors(10, 2, seed=3) + 4]).astype(np.float32)
    codes = jnp.asarray(np.concatenate([np.zeros((1, 2)), np.full((5, 2), -50)]), jnp.float32)
    book = {**codebook_of(codes), "counts": jnp.array([5.0, 5.0, 0.2, 0.3, 0.2, 5.0])}
    tokens = nearest_code(jnp.asarray(z), codes)
    new = update_codebook(book, jnp.asarray(z), tokens, KEY, decay=0.99, restart=0.5)
    replaced = np.asarray(new["codes"])[2:5]
    rows = {tuple(row) for row in z[90:].tolist()}
    assert len({tuple(row) for row in replaced.tolist()} & rows) == 3  # different, not background
    np.testing.assert_allclose(new["counts"][2:5], 0.5)
    np.testing.assert_allclose(new["sums"][2:5], 0.5 * replaced)
    kept = update_codebook(book, jnp.asarray(z), tokens, KEY, decay=0.99, restart=0.0)
    for name in book:
        others = np.array([0, 1, 5])
        np.testing.assert_array_equal(new[name][others], kept[name][others])


def test_codes_settle_where_a_batch_has_fewer_vectors_than_codes():
    """64 clusters and batches of 32 vectors: each code gets half a vector per batch."""
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(64, 2)).astype(np.float32)
    book = codebook_of(jnp.asarray(centres))
    for step in range(60):
        z = jnp.asarray(centres[rng.permutation(64)[:32]])
        before = book
        tokens = nearest_code(z, book["codes"])
        book = update_codebook(book, z, tokens, jax.random.key(step), decay=0.9, restart=1.0)
    kept = np.isclose(before["codes"], book["codes"], atol=1e-3).all(axis=1).mean()
    assert kept > 0.9


def test_more_dead_codes_than_vectors():
    book = codebook_of(jnp.full((6, 2), 50.0))
    z = jnp.asarray(vectors(4, 2))
    new = update_codebook(book, z, nearest_code(z, book["codes"]), KEY, restart=5.0)
    rows = {tuple(row) for row in np.asarray(new["codes"]).tolist()}
    assert rows == {tuple(row) for row in np.asarray(z).tolist()}


def test_k_means_finds_separate_clusters():
    centres = 20 * np.array([[0, 0], [1, 0], [0, 1], [1, 1], [2, 3]], np.float32)
    z = (centres[:, None] + 0.1 * vectors(200, 2).reshape(5, 40, 2)).reshape(-1, 2)
    for seed in range(3):
        means = np.asarray(k_means(jax.random.key(seed), jnp.asarray(z), 5))
        order = np.abs(means[:, None] - centres[None]).sum(-1).argmin(0)
        want = z.reshape(5, 40, 2).mean(1)
        np.testing.assert_allclose(means[order], want, atol=1e-4)


def test_k_means_is_as_good_as_scipy():
    z = vectors(400, 4)

    def distance(means):
        return ((z[:, None] - np.asarray(means)[None]) ** 2).sum(-1).min(1).mean()

    peer = distance(kmeans2(z, 16, minit="++", rng=0)[0])
    assert distance(k_means(KEY, jnp.asarray(z), 16)) < 1.1 * peer


def test_k_means_of_fewer_vectors_than_means():
    z = jnp.asarray([[0.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
    means = np.asarray(k_means(KEY, z, 5))
    assert {tuple(row) for row in means.tolist()} == {(0.0, 0.0), (3.0, 0.0)}


def test_equals_vector_quantize_pytorch():
    pytest.importorskip(
        "vector_quantize_pytorch", reason="it is not installed (pip install -e '.[torch]')"
    )
    import torch
    from vector_quantize_pytorch import VectorQuantize

    from genjax.families.dvae.quantizers import straight_through

    torch.manual_seed(0)
    peer = VectorQuantize(
        dim=3,
        codebook_size=6,
        decay=0.99,
        commitment_weight=0.25,
        threshold_ema_dead_code=0,
        kmeans_init=False,
        rotation_trick=False,
    )
    book = codebook_of(jnp.asarray(peer.codebook.detach().numpy()))
    for step in range(4):
        z = vectors(40, seed=step)
        tensor = torch.from_numpy(z)[None].requires_grad_()
        want, indices, penalty = peer(tensor)
        (want.square().sum() + penalty.sum()).backward()

        def objective(z, book=book):
            tokens = nearest_code(z, book["codes"])
            codes = book["codes"][tokens]
            out = straight_through(codes, z)
            return (out**2).sum() + 0.25 * jnp.mean((z - codes) ** 2), (out, tokens)

        slope, (out, tokens) = jax.grad(objective, has_aux=True)(jnp.asarray(z))
        np.testing.assert_array_equal(tokens, indices[0].numpy())
        np.testing.assert_allclose(out, want[0].detach().numpy(), atol=1e-6)
        np.testing.assert_allclose(slope, tensor.grad[0].numpy(), rtol=1e-4, atol=1e-5)
        book = update_codebook(book, jnp.asarray(z), tokens, KEY, decay=0.99, restart=0.0)
        np.testing.assert_allclose(book["codes"], peer.codebook.numpy(), rtol=1e-4, atol=1e-5)
