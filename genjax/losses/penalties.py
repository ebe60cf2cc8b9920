"""Penalties on a discriminator's slope and height. A function in, one number an example out.

The slope of an example is the gradient of its own output with respect to its own pixels. It is had
for a whole batch at once as the gradient of the sum of all outputs, which is the same as long as no
layer mixes examples. Under batch normalisation, or anything else that does, the slope also holds
what an example does to the others' outputs.
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
    """(||slope at a point between data and sample|| / c - 1)^2: holds a critic to slope c.

    One-sided, slopes below the target are free. At a slope of exactly 0 the gradient is 0.

    Args:
      discriminator: `[B, ...] -> [B, ...]`.
      real: `[B, ...]` data.
      fake: `[B, ...]` samples, same shape.
      mix: `[B]` in [0, 1], drawn uniformly: 1 is the data's end of the line, 0 the sample's.
      target: c, above 0; 1, but for Karras et al. 2018, who take 750 on CIFAR-10.
      one_sided: penalise slopes above the target only.

    Returns:
      `[B]`, 0 or above, to be weighted; 10 in the source.

    Raises:
      ValueError: the shapes do not fit, or target is not above 0.

    Source: Gulrajani et al. 2017, "Improved Training of Wasserstein GANs" (arXiv:1704.00028),
    eq. 3 and section 4 (one-sided); the target: Karras et al. 2018 (arXiv:1710.10196), on
    CIFAR-10.

    >>> x = jnp.ones((2, 3))
    >>> slope_two = lambda x: 2 * x[:, 0]
    >>> gradient_penalty(slope_two, x, 0 * x, jnp.array([0.1, 0.9])).tolist()
    [1.0, 1.0]
    """
    checks.positive(target=target)
    checks.batched("gradient_penalty", real=real)
    checks.same_shape("gradient_penalty", real=real, fake=fake)
    if jnp.shape(mix) != jnp.shape(real)[:1]:
        raise ValueError(
            f"gradient_penalty: mix must be one number an example, [{jnp.shape(real)[0]}], got"
            f" {checks.describe(mix)}; draw it with jax.random.uniform(key, (len(real),))."
        )
    real, fake, mix = jnp.asarray(real), jnp.asarray(fake), jnp.asarray(mix)
    share = mix.reshape(mix.shape + (1,) * (real.ndim - 1))  # [B, 1, ...]
    norm = _norm(_slope(discriminator, share * real + (1 - share) * fake))
    excess = norm / target - 1
    return jax.nn.relu(excess) ** 2 if one_sided else excess**2


def r1_penalty(discriminator: Discriminator, real: jax.Array) -> jax.Array:
    """||slope on data||^2 / 2: no reward for moving away from the data once it is met.

    Args:
      discriminator: `[B, ...] -> [B, ...]`.
      real: `[B, ...]` data.

    Returns:
      `[B]`, 0 or above, to be weighted with the papers' gamma: the half is in.

    Raises:
      ValueError: there is no batch axis.

    Source: Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?"
    (arXiv:1801.04406), eq. 9.

    >>> r1_penalty(lambda x: 2 * x[:, 0], jnp.ones((2, 3))).tolist()
    [2.0, 2.0]
    """
    checks.batched("r1_penalty", real=real)
    return 0.5 * sum_event(_slope(discriminator, real) ** 2)


def r2_penalty(discriminator: Discriminator, fake: jax.Array) -> jax.Array:
    """||slope on samples||^2 / 2: the same on the generator's side.

    Args:
      discriminator: `[B, ...] -> [B, ...]`.
      fake: `[B, ...]` samples; a constant of the penalty, as it is of the discriminator's loss.

    Returns:
      `[B]`, 0 or above, to be weighted with the papers' gamma: the half is in.

    Raises:
      ValueError: there is no batch axis.

    Source: Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?", eq. 10.

    >>> r2_penalty(lambda x: 2 * x[:, 0], jnp.ones((2, 3))).tolist()
    [2.0, 2.0]
    """
    checks.batched("r2_penalty", fake=fake)
    return 0.5 * sum_event(_slope(discriminator, jax.lax.stop_gradient(fake)) ** 2)


def drift_penalty(real_logits: jax.Array) -> jax.Array:
    """D(x)^2: keeps a critic, which knows only differences, from wandering off.

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
    return sum_event(at_least_float32(real_logits) ** 2)


def _slope(discriminator: Discriminator, x: jax.Array) -> jax.Array:
    """Gradient of the outputs, `[B, ...]`, in float32 or better: squares of halves overflow."""
    return at_least_float32(jax.grad(lambda x: jnp.sum(discriminator(x)))(x))


def _norm(slope: jax.Array) -> jax.Array:
    """2-norm of each row, with a gradient of 0, not NaN, where the row is 0."""
    square = sum_event(slope**2)
    # Both branches are differentiated: the root must not see the 0 at all.
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
