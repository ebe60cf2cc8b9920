"""Penalties on a discriminator's gradients and outputs, one number per example.

The gradient is that of an example's output with respect to the example. For a batch it is computed
as the gradient of the sum of all outputs, which is the same if no layer mixes examples; under batch
normalisation it also contains an example's effect on the outputs of the others.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses.likelihood import at_least_float32, sum_event

Discriminator = Callable[[jax.Array], jax.Array]


def gradient_penalty(
    discriminator: Discriminator,
    real: jax.Array,
    fake: jax.Array,
    mix: jax.Array,
    *,
    target: float = 1.0,
    one_sided: bool = False,
) -> jax.Array:
    """Computes (||gradient|| / c - 1)^2 at points between real and generated examples.

    The penalty's own gradient is 0 where the norm is exactly 0.

    Args:
      discriminator: `[B, ...] -> [B, ...]`.
      real: `[B, ...]` data.
      fake: `[B, ...]` generated examples, same shape.
      mix: `[B]` in [0, 1], drawn uniformly: weight of the real example.
      target: c, above 0; 1 in the source, 750 on CIFAR-10 in Karras et al. 2018.
      one_sided: whether to penalise only norms above the target.

    Returns:
      `[B]`, 0 or above, to be weighted; 10 in the source.

    Raises:
      ValueError: the shapes do not match, or target is not above 0.

    Source: Gulrajani et al. 2017, "Improved Training of Wasserstein GANs" (arXiv:1704.00028),
    eq. 3 and section 4 (one-sided); the target: Karras et al. 2018 (arXiv:1710.10196), on
    CIFAR-10.

    >>> x = jnp.ones((2, 3))
    >>> linear = lambda x: 2 * x[:, 0]
    >>> gradient_penalty(linear, x, 0 * x, jnp.array([0.1, 0.9])).tolist()
    [1.0, 1.0]
    """
    checks.positive(target=target)
    checks.batched("gradient_penalty", real=real)
    checks.same_shape("gradient_penalty", real=real, fake=fake)
    checks.floating("gradient_penalty", real=real, fake=fake, mix=mix)
    if jnp.shape(mix) != jnp.shape(real)[:1]:
        raise ValueError(
            f"gradient_penalty: mix must be one number per example, [{jnp.shape(real)[0]}], got"
            f" {checks.describe(mix)}; draw it with jax.random.uniform(key, (len(real),))."
        )
    real, fake, mix = jnp.asarray(real), jnp.asarray(fake), jnp.asarray(mix)
    share = mix.reshape(mix.shape + (1,) * (real.ndim - 1))  # [B, 1, ...]
    norm = _norm(_gradient(discriminator, share * real + (1 - share) * fake))
    excess = norm / target - 1
    return jax.nn.relu(excess) ** 2 if one_sided else excess**2


def r1_penalty(discriminator: Discriminator, real: jax.Array) -> jax.Array:
    """Computes ||gradient at real examples||^2 / 2, the R1 penalty.

    Args:
      discriminator: `[B, ...] -> [B, ...]`.
      real: `[B, ...]` data.

    Returns:
      `[B]`, 0 or above, to be weighted with the papers' gamma; the factor 1/2 is included.

    Raises:
      ValueError: there is no batch axis.

    Source: Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?"
    (arXiv:1801.04406), eq. 9.

    >>> r1_penalty(lambda x: 2 * x[:, 0], jnp.ones((2, 3))).tolist()
    [2.0, 2.0]
    """
    checks.batched("r1_penalty", real=real)
    checks.floating("r1_penalty", real=real)
    return 0.5 * sum_event(_gradient(discriminator, real) ** 2)


def r2_penalty(discriminator: Discriminator, fake: jax.Array) -> jax.Array:
    """Computes ||gradient at generated examples||^2 / 2, the R2 penalty.

    Args:
      discriminator: `[B, ...] -> [B, ...]`.
      fake: `[B, ...]` generated examples; no gradient flows into them.

    Returns:
      `[B]`, 0 or above, to be weighted with the papers' gamma; the factor 1/2 is included.

    Raises:
      ValueError: there is no batch axis.

    Source: Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?", eq. 10.

    >>> r2_penalty(lambda x: 2 * x[:, 0], jnp.ones((2, 3))).tolist()
    [2.0, 2.0]
    """
    checks.batched("r2_penalty", fake=fake)
    checks.floating("r2_penalty", fake=fake)
    return 0.5 * sum_event(_gradient(discriminator, jax.lax.stop_gradient(fake)) ** 2)


def drift_penalty(real_logits: jax.Array) -> jax.Array:
    """Computes D(x)^2, which keeps a critic's outputs near 0; its loss depends on differences only.

    Args:
      real_logits: `[B, ...]` on data.

    Returns:
      `[B]`, 0 or above, to be weighted; 0.001 in the source.

    Raises:
      ValueError: there is no batch axis.

    Source: Karras et al. 2018, "Progressive Growing of GANs" (arXiv:1710.10196), section A.1.

    >>> drift_penalty(jnp.array([-3.0])).tolist()
    [9.0]
    """
    checks.batched("drift_penalty", real_logits=real_logits)
    checks.floating("drift_penalty", real_logits=real_logits)
    return sum_event(at_least_float32(real_logits) ** 2)


def _gradient(discriminator: Discriminator, x: jax.Array) -> jax.Array:
    """Returns the gradient `[B, ...]` in float32 or wider: squares in half precision overflow."""
    return at_least_float32(jax.grad(lambda x: jnp.sum(discriminator(x)))(x))


def _norm(gradient: jax.Array) -> jax.Array:
    """Computes the 2-norm of each row, with gradient 0 instead of NaN where the row is 0."""
    square = sum_event(gradient**2)
    # Both branches are differentiated, so the square root must not receive a 0.
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
