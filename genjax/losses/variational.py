"""Bounds on log p(x) from samples of an approximate posterior, and their gradients.

Throughout, `log_weights` are log p(x, z_k) - log q(z_k | x) of K samples z_k ~ q(z | x), `[K, B]`
nats.
"""

import math

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses.likelihood import at_least_float32, sum_event


def importance_weighted_bound(log_weights: jax.Array) -> jax.Array:
    """Computes log 1/K sum_k p(x, z_k) / q(z_k | x), a lower bound on log p(x).

    Its expectation increases with K from the ELBO at K = 1 to log p(x). Its gradient is the mean of
    the log weights' gradients, weighted by `normalized_weights`.

    Args:
      log_weights: `[K, B]` nats.

    Returns:
      `[B]` nats.

    Raises:
      ValueError: `log_weights` does not have two axes.

    Source: Burda et al. 2015, "Importance Weighted Autoencoders", eq. 8.

    >>> importance_weighted_bound(jnp.log(jnp.array([[0.1], [0.3]]))).round(4).tolist()  # log 0.2
    [-1.6093999147415161]
    """
    _two_axes("importance_weighted_bound", log_weights)
    log_weights = at_least_float32(log_weights)
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(log_weights.shape[0])


def normalized_weights(log_weights: jax.Array) -> jax.Array:
    """Normalises the weights of each example.

    Args:
      log_weights: `[K, B]` nats.

    Returns:
      `[K, B]` in [0, 1], with sum 1 over K.

    Raises:
      ValueError: `log_weights` does not have two axes.

    Source: Burda et al. 2015, "Importance Weighted Autoencoders", eq. 13.

    >>> normalized_weights(jnp.log(jnp.array([[0.1], [0.3]]))).round(4).tolist()
    [[0.25], [0.75]]
    """
    _two_axes("normalized_weights", log_weights)
    return jax.nn.softmax(at_least_float32(log_weights), axis=0)


def iwae_loss(log_weights: jax.Array) -> jax.Array:
    """Computes minus the importance-weighted bound.

    Through reparameterised samples, the gradient is -sum_k normalized_weight_k
    grad log_weight_k.

    Args:
      log_weights: `[K, B]` nats.

    Returns:
      `[B]` nats.

    Raises:
      ValueError: `log_weights` does not have two axes.

    Source: Burda et al. 2015, "Importance Weighted Autoencoders", eqs. 8 and 14.

    >>> jax.grad(lambda w: iwae_loss(w)[0])(jnp.log(jnp.array([[0.1], [0.3]]))).round(4).tolist()
    [[-0.25], [-0.75]]
    """
    return -importance_weighted_bound(log_weights)


def resampled(log_weights: jax.Array, uniform: jax.Array, count: int) -> jax.Array:
    """Draws samples in proportion to their weights, by systematic resampling.

    One uniform number places `count` points at equal distances on the cumulative weights, so a
    sample of normalised weight w is drawn `floor(count w)` times or once more.

    Args:
      log_weights: `[K, B]` nats.
      uniform: `[B]` in [0, 1).
      count: number of draws, 1 or more.

    Returns:
      int32 `[count, B]`, 0 .. K - 1.

    Raises:
      ValueError: `log_weights` does not have two axes, `uniform` is not one number per example, or
        `count` is below 1.

    Source: Kitagawa 1996, "Monte Carlo Filter and Smoother for Non-Gaussian Nonlinear State Space
    Models", appendix.

    >>> resampled(jnp.log(jnp.array([[0.1], [0.9]])), jnp.array([0.5]), 2).ravel().tolist()
    [1, 1]
    """
    checks.positive(count=count)
    # Parallel sums may decrease by rounding; a point in such a gap would have no weight.
    total = jax.lax.cummax(jnp.cumsum(normalized_weights(log_weights), axis=0), axis=0)
    if jnp.shape(uniform) != total.shape[1:]:
        raise ValueError(
            f"resampled: uniform must be [{total.shape[1]}], one number per example, got"
            f" {checks.describe(uniform)}."
        )
    total /= total[-1:]  # closes the gap that rounding may leave
    points = (uniform[None] + jnp.arange(count)[:, None]) / count  # [count, B]
    points = jnp.minimum(points, 1 - 2**-24)  # a point rounded to 1 would exceed all weights
    return jnp.sum(points[:, None] >= total[None], axis=1, dtype=jnp.int32)


def resampled_loss(log_weights: jax.Array, chosen: jax.Array) -> jax.Array:
    """Computes minus the importance-weighted bound, with a gradient through resampled samples.

    The gradient is an unbiased estimate of that of `iwae_loss`, at the cost of differentiating
    `count` samples instead of K.

    Args:
      log_weights: `[K, B]` nats, of all samples; no gradient flows through it.
      chosen: `[count, B]` nats, the log weights of the resampled ones, differentiable.

    Returns:
      `[B]` nats.

    Raises:
      ValueError: an array does not have two axes, or the batches differ.

    Source: Burda et al. 2015, "Importance Weighted Autoencoders", eq. 14, with a resampled sum.

    >>> w = jnp.log(jnp.array([[0.1], [0.3]]))
    >>> resampled_loss(w, w[:1]).tolist() == iwae_loss(w).tolist()
    True
    """
    _two_axes("resampled_loss", chosen)
    if jnp.shape(chosen)[1:] != jnp.shape(log_weights)[1:]:
        raise ValueError(
            f"resampled_loss: chosen must be [count, {jnp.shape(log_weights)[-1]}], from the"
            f" same batch, got {checks.describe(chosen)}."
        )
    value = importance_weighted_bound(jax.lax.stop_gradient(log_weights))
    return -value - gradient_only(jnp.mean(at_least_float32(chosen), axis=0))


def gradient_only(x: jax.Array) -> jax.Array:
    """Returns zeros with the gradient of `x`: x - stop_gradient(x).

    >>> jax.value_and_grad(lambda x: gradient_only(x**2))(3.0)[1].tolist()
    6.0
    """
    return x - jax.lax.stop_gradient(x)


def dreg_loss(log_weights: jax.Array, z: jax.Array, slopes: jax.Array) -> jax.Array:
    """Computes minus the importance-weighted bound, with the doubly reparameterised gradient.

    The gradient of `iwae_loss` in the parameters of q contains score terms whose noise dominates
    for large K. A second reparameterisation removes them:

        sum_k normalized_weight_k^2 (d log_weight_k / d z_k) (d z_k / d parameters of q).

    Usage, for an encoder output `q`:

        z = draw(q, noise)
        def log_weight(z):  # q only as a fixed density
            return log_p(x, z) - log_density(jax.lax.stop_gradient(q), z)
        fixed = jax.lax.stop_gradient(z)
        slopes = jax.grad(lambda z: log_weight(z).sum())(fixed)
        loss = dreg_loss(log_weight(fixed), z, slopes)

    Args:
      log_weights: `[K, B]` nats, differentiable in the parameters of p(x, z) only, whose
        gradient is that of `iwae_loss`.
      z: `[K, B, ...]`, reparameterised samples; their gradient reaches the parameters of q.
      slopes: gradient of each log weight in its own z, the shape of `z`; no gradient flows
        through it.

    Returns:
      `[B]` nats; the value is that of `iwae_loss`.

    Raises:
      ValueError: the shapes do not fit.

    Source: Tucker et al. 2018, "Doubly Reparameterized Gradient Estimators for Monte Carlo
    Objectives", eq. 9.

    >>> log_weights = jnp.log(jnp.array([[0.1], [0.3]]))
    >>> ones = jnp.ones((2, 1, 1))
    >>> dreg_loss(log_weights, ones, ones).round(4).tolist()
    [1.6093999147415161]
    >>> jax.grad(lambda z: dreg_loss(log_weights, z, ones)[0])(ones).ravel().round(4).tolist()
    [-0.0625, -0.5625]
    """
    _two_axes("dreg_loss", log_weights)
    checks.same_shape("dreg_loss", z=z, slopes=slopes)
    if jnp.ndim(z) < 3 or jnp.shape(z)[:2] != jnp.shape(log_weights):
        raise ValueError(
            f"dreg_loss: z must be [K, B, ...] with the K and B of log_weights, got z"
            f" {checks.describe(z)} and log_weights {checks.describe(log_weights)}."
        )
    squared = jax.lax.stop_gradient(normalized_weights(log_weights)) ** 2  # [K, B]
    displaced = jax.lax.stop_gradient(slopes) * gradient_only(at_least_float32(z))
    path = jnp.sum(displaced, axis=tuple(range(2, z.ndim)))
    return iwae_loss(log_weights) - jnp.sum(squared * path, axis=0)


def score_function_loss(
    objective: jax.Array, log_q: jax.Array, *, baseline: jax.Array | float = 0.0
) -> jax.Array:
    """Estimates minus an expectation over z ~ q, with the score-function (REINFORCE) gradient.

    grad E_q[f(z)] = E_q[grad f(z) + (f(z) - baseline) grad log q(z)] needs no gradient through the
    sample, but has more variance than reparameterisation. With f = log p(x, z) - log q(z | x)
    the value is minus a one-sample ELBO.

    Args:
      objective: `[B]` nats, f(z) at samples through which no gradient flows.
      log_q: `[B]` nats, log q(z) at the same samples, differentiable in the parameters of q.
      baseline: a number, or `[B]` that does not depend on z; reduces the variance only.

    Returns:
      `[B]` nats, with value -objective.

    Raises:
      ValueError: the shapes differ, or there is no batch axis.

    Source: Kingma and Welling 2013, "Auto-Encoding Variational Bayes", section 2.2; Mnih and Gregor
    2014, "Neural Variational Inference and Learning in Belief Networks", eqs. 5 and 8.

    >>> score_function_loss(jnp.array([2.0]), jnp.array([-1.0])).tolist()
    [-2.0]
    >>> jax.grad(lambda q: score_function_loss(jnp.array([2.0]), q)[0])(jnp.array([-1.0])).tolist()
    [-2.0]
    """
    checks.batched("score_function_loss", objective=objective)
    checks.same_shape("score_function_loss", objective=objective, log_q=log_q)
    if jnp.ndim(baseline):
        checks.same_shape("score_function_loss", objective=objective, baseline=baseline)
    objective, log_q = at_least_float32(objective), at_least_float32(log_q)
    signal = jax.lax.stop_gradient(objective - baseline)
    return -objective - signal * gradient_only(log_q)


def free_bits(kl: jax.Array, nats: float) -> jax.Array:
    """Computes the KL with free bits: sum_j max(nats, mean over the batch of KL_j).

    A group whose mean is below `nats` contributes `nats` per example without a gradient, so that
    it is not pushed towards the prior. Under `jax.jit` a sharded batch is one batch; in `pmap` and
    `shard_map` the mean is over the device's part.

    Args:
      kl: `[B, G]` nats, KL(q(z_j | x) || p(z_j)) of G groups.
      nats: 0 or above; 0 affects only groups with a negative mean, which sampled estimates can
        have.

    Returns:
      `[B]` nats, whose mean over the batch is the sum above.

    Raises:
      ValueError: `kl` does not have two axes, or `nats` is negative.

    Source: Kingma et al. 2016, "Improved Variational Inference with Inverse Autoregressive Flow",
    eq. 15.

    >>> free_bits(jnp.array([[0.1, 2.0], [0.3, 4.0]]), 0.5).tolist()
    [2.5, 4.5]
    """
    _two_axes("free_bits", kl)
    checks.not_negative(nats=nats)
    kl = at_least_float32(kl)
    above = jnp.mean(kl, axis=0, keepdims=True) > nats  # [1, G]
    return sum_event(jnp.where(above, kl, nats))


def kl_warmup(step: jax.Array | int, steps: int) -> jax.Array:
    """Returns the weight of the KL after `step` updates, which rises linearly from 0 to 1.

    Args:
      step: number of updates, any shape.
      steps: length of the warm-up; 0 returns 1.

    Returns:
      float32 in [0, 1], the shape of `step`.

    Raises:
      ValueError: `steps` is negative.

    Source: Sønderby et al. 2016, "Ladder Variational Autoencoders", section 2.3.

    >>> [float(kl_warmup(step, 4)) for step in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """
    checks.not_negative(steps=steps)
    share = jnp.asarray(step, jnp.float32) / max(steps, 1)
    return jnp.minimum(share, 1) if steps else jnp.ones_like(share)


def _two_axes(where: str, numbers: jax.Array) -> None:
    if jnp.ndim(numbers) != 2:
        raise ValueError(
            f"{where} needs two axes, got {checks.describe(numbers)}; one sample is [1, B], one"
            f" group is [B, 1]."
        )
