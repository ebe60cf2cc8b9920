"""Losses of the two-player game. Discriminator logits in, nats out, one number an example."""

import jax

from genjax import checks
from genjax.losses.likelihood import at_least_float32, sum_event


def minimax_discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-log D(x) - log(1 - D(G(z))) with D = sigmoid(logits): what the discriminator minimises.

    Its mean is minus the value function V(D, G); at the optimal discriminator it equals
    log 4 - 2 JSD(data || model).

    Args:
      real_logits: `[B, ...]` on data.
      fake_logits: `[B, ...]` on samples, same shape.

    Returns:
      `[B]` nats, 0 or above.

    Raises:
      ValueError: the shapes differ, or there is no batch axis.

    Source: Goodfellow et al. 2014, "Generative Adversarial Nets", eq. 1 and theorem 1.

    >>> import jax.numpy as jnp
    >>> minimax_discriminator(jnp.zeros((1,)), jnp.zeros((1,))).round(4).tolist()  # log 4
    [1.386299967765808]
    """
    checks.batched("minimax_discriminator", real_logits=real_logits)
    checks.same_shape("minimax_discriminator", real_logits=real_logits, fake_logits=fake_logits)
    real_logits, fake_logits = at_least_float32(real_logits), at_least_float32(fake_logits)
    return sum_event(jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits))


def minimax_generator(fake_logits: jax.Array) -> jax.Array:
    """log(1 - D(G(z))): what the generator minimises in the minimax game.

    Its gradient vanishes where the discriminator wins (logits far below 0), which is why
    `non_saturating_generator` is what the paper trains with.

    Args:
      fake_logits: `[B, ...]` on samples.

    Returns:
      `[B]` nats, 0 or below.

    Raises:
      ValueError: there is no batch axis.

    Source: Goodfellow et al. 2014, "Generative Adversarial Nets", eq. 1.

    >>> import jax.numpy as jnp
    >>> minimax_generator(jnp.zeros((1,))).round(4).tolist()
    [-0.6930999755859375]
    """
    checks.batched("minimax_generator", fake_logits=fake_logits)
    return sum_event(-jax.nn.softplus(at_least_float32(fake_logits)))


def non_saturating_generator(fake_logits: jax.Array) -> jax.Array:
    """-log D(G(z)): the generator's loss in practice.

    The same fixed point as the minimax game, with a gradient that goes to -1, not to 0, where
    the discriminator wins.

    Args:
      fake_logits: `[B, ...]` on samples.

    Returns:
      `[B]` nats, 0 or above.

    Raises:
      ValueError: there is no batch axis.

    Source: Goodfellow et al. 2014, "Generative Adversarial Nets", section 3.

    >>> import jax.numpy as jnp
    >>> non_saturating_generator(jnp.array([-1e4])).tolist()
    [10000.0]
    """
    checks.batched("non_saturating_generator", fake_logits=fake_logits)
    return sum_event(jax.nn.softplus(-at_least_float32(fake_logits)))
