"""Codebook of vector quantisation: running averages of the vectors assigned to each code.

Vectors z are replaced by the nearest code. Codes are not trained by gradient: with n_k and s_k the
number and the sum of the batch's vectors nearest to code k,

    N_k <- d N_k + (1 - d) n_k,   S_k <- d S_k + (1 - d) s_k,   e_k = S_k / N'_k,
    N'_k = (N_k + eps) / (sum N + K eps) sum N.

Codes with a small N_k are replaced by vectors of the batch. A codebook is a dict of the arrays
`codes` (e) and `sums` (S), `[K, D]`, and `counts` (N), `[K]`.

van den Oord et al. 2017, "Neural Discrete Representation Learning" (arXiv:1711.00937), appendix
A.1; Razavi et al. 2019, "VQ-VAE-2" (arXiv:1906.00446). k-means initialisation and replacement:
Lancucki et al. 2020 (arXiv:2005.08520), Dhariwal et al. 2020, "Jukebox" (arXiv:2005.00341).
"""

import jax
import jax.numpy as jnp

Codebook = dict[str, jax.Array]
EPSILON = 1e-5  # of the smoothed counts
ROWS = 4096  # vectors that are compared with all codes at once
ITERATIONS = 10  # of k-means


def nearest_code(z: jax.Array, codes: jax.Array) -> jax.Array:
    """Returns the index of the nearest code of each vector, int32 `[M]`.

    Args:
      z: vectors `[M, D]`.
      codes: `[K, D]`.
    """

    def one(z: jax.Array) -> jax.Array:
        products = jnp.matmul(codes, z, precision=jax.lax.Precision.HIGHEST)
        distance = jnp.sum(codes**2, axis=1) - 2 * products  # less |z|^2
        return jnp.argmin(distance).astype(jnp.int32)

    return jax.lax.map(one, z, batch_size=ROWS) if z.shape[0] > ROWS else jax.vmap(one)(z)


def codebook_of(codes: jax.Array) -> Codebook:
    """Returns a codebook with these codes `[K, D]`, each with a count of 1."""
    counts = jnp.ones(codes.shape[0], codes.dtype)
    return {"codes": codes, "sums": jnp.copy(codes), "counts": counts}


def update_codebook(
    book: Codebook,
    z: jax.Array,
    tokens: jax.Array,
    key: jax.Array,
    *,
    decay: float = 0.99,
    restart: float = 1.0,
) -> Codebook:
    """Returns the codebook after a batch of vectors that were quantised with the old codes.

    Codes with a running count below `restart` are replaced by vectors of the batch. These are drawn
    without replacement, in proportion to their squared distance to their old code, since positions
    of an equal background have equal vectors.

    Args:
      book: the codebook.
      z: vectors `[M, D]`.
      tokens: their nearest codes, `[M]`.
      key: key of the replacements.
      decay: d, in [0, 1).
      restart: lowest count, in vectors per batch, times M / (2 K) if that is below 1; 0 replaces
        none.
    """
    count = book["codes"].shape[0]
    number = jnp.zeros(count, z.dtype).at[tokens].add(1.0)
    total = jnp.zeros_like(book["sums"]).at[tokens].add(z)
    counts = decay * book["counts"] + (1 - decay) * number
    sums = decay * book["sums"] + (1 - decay) * total
    everything = jnp.sum(counts)
    smoothed = (counts + EPSILON) / (everything + count * EPSILON) * everything
    codes = sums / smoothed[:, None]
    if restart:
        distance = jnp.sum((z - book["codes"][tokens]) ** 2, axis=-1)
        scores = jnp.log(distance) + jax.random.gumbel(key, distance.shape)
        chosen = jax.lax.top_k(scores, min(count, z.shape[0]))[1]
        # With few vectors per code, most codes have less than one vector per batch.
        dead = counts < restart * min(1.0, z.shape[0] / (2 * count))
        # The i-th dead code takes the i-th vector; of fewer vectors than codes, some twice.
        rank = (jnp.cumsum(dead) - 1) % chosen.shape[0]
        fresh = z[chosen[rank]]
        codes = jnp.where(dead[:, None], fresh, codes)
        sums = jnp.where(dead[:, None], restart * fresh, sums)
        counts = jnp.where(dead, restart, counts)
    return {"codes": codes, "sums": sums, "counts": counts}


def k_means(key: jax.Array, z: jax.Array, count: int) -> jax.Array:
    """Computes `count` means of vectors by k-means++ and Lloyd's iterations, `[count, D]`.

    Args:
      key: key of the initial means.
      z: `[M, D]`; means are equal where fewer than `count` vectors are distinct.
      count: number of means, K.

    Source: Arthur and Vassilvitskii 2007, "k-means++: The Advantages of Careful Seeding".
    """

    def add(distance: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean = z[jax.random.categorical(key, jnp.log(distance))]
        return jnp.minimum(distance, jnp.sum((z - mean[None]) ** 2, axis=-1)), mean

    def lloyd(means: jax.Array, _: None) -> tuple[jax.Array, None]:
        tokens = nearest_code(z, means)
        number = jnp.zeros(count, z.dtype).at[tokens].add(1.0)[:, None]
        total = jnp.zeros_like(means).at[tokens].add(z)
        return jnp.where(number > 0, total / jnp.maximum(number, 1), means), None

    far = jnp.full(z.shape[0], 1e30, z.dtype)  # the first mean is any vector
    _, means = jax.lax.scan(add, far, jax.random.split(key, count))
    return jax.lax.scan(lloyd, means, None, length=ITERATIONS)[0]
