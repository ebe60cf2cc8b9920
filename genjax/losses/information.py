"""Lower bounds on the mutual information of a sample and the code it was generated from.

    I(c; G(z, c)) >= E[log q(c | G(z, c))] + H(c),

with equality if q is the true posterior. Each function computes log q(c | x) + H(c) for one kind of
code; its mean is the bound, in nats. The bound of a categorical code is at most H(c); that of a
continuous code is unbounded.

Chen et al. 2016, "InfoGAN: Interpretable Representation Learning by Information Maximizing
Generative Adversarial Nets" (arXiv:1606.03657), eqs. 4 and 5.
"""

import math

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses.likelihood import categorical_nll, gaussian_nll


def categorical_information(logits: jax.Array, codes: jax.Array) -> jax.Array:
    """Computes log q(c | x) + log K, for codes drawn uniformly from K categories.

    Args:
      logits: `[B, ..., K]` of q(c | x), any real number.
      codes: integers `[B, ...]` in 0 .. K - 1, the codes that x was generated from.

    Returns:
      `[B]` nats, summed over the codes of an example; at most log K each.

    Raises:
      ValueError: the shapes do not match, or there is no batch axis.

    Source: Chen et al. 2016, eq. 5 with H(c) = log K.

    >>> categorical_information(jnp.zeros((1, 10)), jnp.array([3])).tolist()  # q is uniform
    [0.0]
    """
    each = -categorical_nll(logits, codes)
    count = math.prod(jnp.shape(codes)[1:])
    return each + count * math.log(jnp.shape(logits)[-1])


def gaussian_information(mean: jax.Array, *, log_std: jax.Array, codes: jax.Array) -> jax.Array:
    """Computes log q(c | x) + log(2 pi e) / 2, for codes from N(0, 1) and a Gaussian q.

    Args:
      mean: `[B, ...]` of q(c | x).
      log_std: `[B, ...]`, log of its standard deviation.
      codes: `[B, ...]`, the codes that x was generated from.

    Returns:
      `[B]` nats, summed over the codes of an example.

    Raises:
      ValueError: the shapes differ, or there is no batch axis.

    Source: Chen et al. 2016, eq. 5 and section 6 (a factored Gaussian q).

    >>> none = jnp.zeros((1, 1))
    >>> gaussian_information(none, log_std=none, codes=none).round(4).tolist()
    [0.5]
    """
    count = math.prod(jnp.shape(codes)[1:])
    return -gaussian_nll(codes, mean, log_std=log_std) + count * 0.5 * (1 + math.log(2 * math.pi))


def uniform_information(
    mean: jax.Array,
    *,
    log_std: jax.Array,
    codes: jax.Array,
    low: float = -1.0,
    high: float = 1.0,
) -> jax.Array:
    """Computes log q(c | x) + log(high - low), for codes uniform on [low, high) and a Gaussian q.

    Args:
      mean: `[B, ...]` of q(c | x).
      log_std: `[B, ...]`, log of its standard deviation; zeros for unit variance.
      codes: `[B, ...]`, the codes that x was generated from.
      low: lowest code.
      high: highest code, above low.

    Returns:
      `[B]` nats, summed over the codes of an example.

    Raises:
      ValueError: the shapes differ, there is no batch axis, or the interval is empty.

    Source: Chen et al. 2016, eq. 5 and section 7.2 (codes from Unif(-1, 1)).

    >>> none = jnp.zeros((1, 1))
    >>> nats = uniform_information(none, log_std=none, codes=none)
    >>> nats.round(4).tolist()  # log 2 - log(2 pi) / 2
    [-0.22579999268054962]
    """
    checks.positive(high_minus_low=high - low)
    count = math.prod(jnp.shape(codes)[1:])
    return -gaussian_nll(codes, mean, log_std=log_std) + count * math.log(high - low)


def code_information(
    kind: str, posterior: jax.Array | tuple[jax.Array, jax.Array], codes: jax.Array
) -> jax.Array:
    """Computes log q(c | x) + H(c) for a code of some kind.

    Args:
      kind: `categorical`; `uniform`, on (-1, 1); or `gaussian`, from N(0, 1).
      posterior: parameters of q: logits `[B, K]`, or mean and log standard deviation, `[B, size]`.
      codes: `[B, size]` codes that x was generated from, one-hot where categorical.

    Returns:
      `[B]` nats.

    Raises:
      ValueError: there is no such kind.

    >>> code_information("categorical", jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]])).tolist()
    [0.0]
    """
    checks.one_of(("categorical", "uniform", "gaussian"), kind=kind)
    if kind == "categorical":
        return categorical_information(jnp.asarray(posterior), jnp.argmax(codes, axis=1))
    mean, log_std = posterior
    if kind == "gaussian":
        return gaussian_information(mean, log_std=log_std, codes=codes)
    return uniform_information(mean, log_std=log_std, codes=codes)
