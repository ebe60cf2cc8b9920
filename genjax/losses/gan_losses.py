"""Losses of generators and discriminators, from logits to one number per example.

The discriminator's outputs are called logits throughout. For the minimax, non-saturating and
relativistic losses they are log-odds, and the loss is in nats; for least squares, Wasserstein and
hinge they are scores, and the loss has no unit. Several outputs per example, as of patches, are
summed.
"""

import jax

from genjax import checks
from genjax.losses.likelihood import at_least_float32, sum_event

LOGITS = "pass the outputs of the discriminator, not images or labels"


def minimax_discriminator(
    real_logits: jax.Array, fake_logits: jax.Array, *, smoothing: float = 0.0
) -> jax.Array:
    """Computes -log D(x) - log(1 - D(G(z))) with D = sigmoid(logits), the discriminator's loss.

    Its mean is minus the value function V(D, G); at the optimal discriminator it equals
    log 4 - 2 JSD(data || model). With smoothing s the target is 1 - s on data and 0 on generated
    examples: the optimal D is (1 - s) p / (p + q). Smoothing generated examples too would add a
    term of q to its numerator, which reinforces the generator's errors.

    Args:
      real_logits: `[B, ...]` on data.
      fake_logits: `[B, ...]` on generated examples, same shape.
      smoothing: s, in [0, 1); 0.1 in the source.

    Returns:
      `[B]` nats, 0 or above.

    Raises:
      ValueError: the shapes differ, there is no batch axis, or smoothing is out of range.

    Source: Goodfellow et al. 2014, "Generative Adversarial Nets", eq. 1 and theorem 1; one-sided
    label smoothing: Salimans et al. 2016, "Improved Techniques for Training GANs", section 3.4.

    >>> import jax.numpy as jnp
    >>> minimax_discriminator(jnp.zeros((1,)), jnp.zeros((1,))).round(4).tolist()  # log 4
    [1.386299967765808]
    """
    checks.fraction(smoothing=smoothing)
    real, fake = _pair("minimax_discriminator", real_logits, fake_logits)
    # -(1 - s) log D - s log(1 - D) = softplus(-l) + s l, without the log of a rounded probability.
    real_loss = jax.nn.softplus(-real) + smoothing * real if smoothing else jax.nn.softplus(-real)
    return sum_event(real_loss + jax.nn.softplus(fake))


def minimax_generator(fake_logits: jax.Array) -> jax.Array:
    """Computes log(1 - D(G(z))), the generator's minimax loss.

    Its gradient vanishes for logits far below 0; the paper trains with
    `non_saturating_generator` instead.

    Args:
      fake_logits: `[B, ...]` on generated examples.

    Returns:
      `[B]` nats, 0 or below.

    Raises:
      ValueError: there is no batch axis.

    Source: Goodfellow et al. 2014, "Generative Adversarial Nets", eq. 1.

    >>> import jax.numpy as jnp
    >>> minimax_generator(jnp.zeros((1,))).round(4).tolist()
    [-0.6930999755859375]
    """
    return sum_event(-jax.nn.softplus(_single("minimax_generator", fake_logits)))


def non_saturating_generator(fake_logits: jax.Array) -> jax.Array:
    """Computes -log D(G(z)), the non-saturating generator loss.

    It has the fixed point of the minimax loss, and its gradient tends to -1 instead of 0 for logits
    far below 0.

    Args:
      fake_logits: `[B, ...]` on generated examples.

    Returns:
      `[B]` nats, 0 or above.

    Raises:
      ValueError: there is no batch axis.

    Source: Goodfellow et al. 2014, "Generative Adversarial Nets", section 3.

    >>> import jax.numpy as jnp
    >>> non_saturating_generator(jnp.array([-1e4])).tolist()
    [10000.0]
    """
    return sum_event(jax.nn.softplus(-_single("non_saturating_generator", fake_logits)))


def least_squares_discriminator(
    real_logits: jax.Array,
    fake_logits: jax.Array,
    *,
    real_target: float = 1.0,
    fake_target: float = 0.0,
) -> jax.Array:
    """Computes (D(x) - b)^2 / 2 + (D(G(z)) - a)^2 / 2, the discriminator's least-squares loss.

    Over all D its minimum is (b - a)^2 (2 - X) / 8, where X is the Pearson chi-squared of data +
    model against twice the model, sum of (p - q)^2 / (p + q) (theorem 1).

    Args:
      real_logits: `[B, ...]` on data.
      fake_logits: `[B, ...]` on generated examples, same shape.
      real_target: b; the authors take 1 with a = 0 and c = 1 (eq. 9), or with -1 and 0 (eq. 8).
      fake_target: a.

    Returns:
      `[B]`, 0 or above, no unit.

    Raises:
      ValueError: the shapes differ, or there is no batch axis.

    Source: Mao et al. 2017, "Least Squares Generative Adversarial Networks" (arXiv:1611.04076),
    eq. 2.

    >>> import jax.numpy as jnp
    >>> least_squares_discriminator(jnp.array([3.0]), jnp.array([1.0])).tolist()
    [2.5]
    """
    real, fake = _pair("least_squares_discriminator", real_logits, fake_logits)
    return sum_event(0.5 * (real - real_target) ** 2 + 0.5 * (fake - fake_target) ** 2)


def least_squares_generator(fake_logits: jax.Array, *, target: float = 1.0) -> jax.Array:
    """Computes (D(G(z)) - c)^2 / 2, the generator's least-squares loss.

    Args:
      fake_logits: `[B, ...]` on generated examples.
      target: c.

    Returns:
      `[B]`, 0 or above, no unit.

    Raises:
      ValueError: there is no batch axis.

    Source: Mao et al. 2017, "Least Squares Generative Adversarial Networks", eq. 2.

    >>> import jax.numpy as jnp
    >>> least_squares_generator(jnp.array([-1.0])).tolist()
    [2.0]
    """
    return sum_event(0.5 * (_single("least_squares_generator", fake_logits) - target) ** 2)


def wasserstein_critic(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Computes f(G(z)) - f(x), the critic's loss of the Wasserstein GAN.

    Over all K-Lipschitz critics its minimum is -K W(data, model), W the earth mover's distance. The
    Lipschitz constant must be bounded, by `gradient_penalty` or spectral normalisation.

    Args:
      real_logits: `[B, ...]`, f on data.
      fake_logits: `[B, ...]`, f on generated examples, same shape.

    Returns:
      `[B]`, any sign, in the unit of f.

    Raises:
      ValueError: the shapes differ, or there is no batch axis.

    Source: Arjovsky et al. 2017, "Wasserstein GAN" (arXiv:1701.07875), eqs. 2 and 3, algorithm 1.

    >>> import jax.numpy as jnp
    >>> wasserstein_critic(jnp.array([3.0]), jnp.array([1.0])).tolist()
    [-2.0]
    """
    real, fake = _pair("wasserstein_critic", real_logits, fake_logits)
    return sum_event(fake - real)


def wasserstein_generator(fake_logits: jax.Array) -> jax.Array:
    """Computes -f(G(z)), the generator's loss of the Wasserstein GAN and of the hinge loss.

    Args:
      fake_logits: `[B, ...]`, f on generated examples.

    Returns:
      `[B]`, any sign, in the unit of f.

    Raises:
      ValueError: there is no batch axis.

    Source: Arjovsky et al. 2017, "Wasserstein GAN", algorithm 1; Miyato et al. 2018, "Spectral
    Normalization for Generative Adversarial Networks" (arXiv:1802.05957), eq. 17.

    >>> import jax.numpy as jnp
    >>> wasserstein_generator(jnp.array([-1e4])).tolist()
    [10000.0]
    """
    return sum_event(-_single("wasserstein_generator", fake_logits))


def hinge_discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Computes max(0, 1 - D(x)) + max(0, 1 + D(G(z))), the discriminator's hinge loss.

    Over all D its minimum is 2 - 2 TV(data, model), the total variation distance.

    Args:
      real_logits: `[B, ...]` on data.
      fake_logits: `[B, ...]` on generated examples, same shape.

    Returns:
      `[B]`, 0 or above, no unit.

    Raises:
      ValueError: the shapes differ, or there is no batch axis.

    Source: Lim and Ye 2017, "Geometric GAN" (arXiv:1705.02894), section 3; Miyato et al. 2018,
    "Spectral Normalization for Generative Adversarial Networks" (arXiv:1802.05957), eq. 16.

    >>> import jax.numpy as jnp
    >>> hinge_discriminator(jnp.array([0.5]), jnp.array([-2.0])).tolist()
    [0.5]
    """
    real, fake = _pair("hinge_discriminator", real_logits, fake_logits)
    return sum_event(jax.nn.relu(1 - real) + jax.nn.relu(1 + fake))


def relativistic_discriminator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Computes -log sigmoid(D(x) - D(G(z))), the discriminator's relativistic loss.

    Every generated example is compared with a real one, that of the same row. The loss has no local
    minima in which the generator misses modes.

    Args:
      real_logits: `[B, ...]` on data.
      fake_logits: `[B, ...]` on generated examples, same shape.

    Returns:
      `[B]` nats, 0 or above.

    Raises:
      ValueError: the shapes differ, or there is no batch axis.

    Source: Jolicoeur-Martineau 2018, "The relativistic discriminator" (arXiv:1807.00734), section
    4.1 (RSGAN); Huang et al. 2024, "The GAN is dead; long live the GAN!" (arXiv:2501.05441), eq. 2
    with f(t) = -log(1 + exp(-t)).

    >>> import jax.numpy as jnp
    >>> relativistic_discriminator(jnp.array([-5e3]), jnp.array([5e3])).tolist()
    [10000.0]
    """
    real, fake = _pair("relativistic_discriminator", real_logits, fake_logits)
    return sum_event(jax.nn.softplus(fake - real))


def relativistic_generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Computes -log sigmoid(D(G(z)) - D(x)), the generator's relativistic loss.

    Args:
      real_logits: `[B, ...]` on data.
      fake_logits: `[B, ...]` on generated examples, same shape.

    Returns:
      `[B]` nats, 0 or above.

    Raises:
      ValueError: the shapes differ, or there is no batch axis.

    Source: as `relativistic_discriminator`.

    >>> import jax.numpy as jnp
    >>> relativistic_generator(jnp.array([5e3]), jnp.array([-5e3])).tolist()
    [10000.0]
    """
    real, fake = _pair("relativistic_generator", real_logits, fake_logits)
    return sum_event(jax.nn.softplus(real - fake))


def _single(where: str, fake_logits: jax.Array) -> jax.Array:
    """Returns logits in float32 or wider; checks for a batch axis."""
    checks.batched(where, fake_logits=fake_logits)
    checks.floating(where, LOGITS, fake_logits=fake_logits)
    return at_least_float32(fake_logits)


def _pair(
    where: str, real_logits: jax.Array, fake_logits: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns both logits in float32 or wider; checks that their shapes are equal."""
    checks.batched(where, real_logits=real_logits)
    checks.floating(where, LOGITS, real_logits=real_logits, fake_logits=fake_logits)
    checks.same_shape(where, real_logits=real_logits, fake_logits=fake_logits)
    return at_least_float32(real_logits), at_least_float32(fake_logits)
