"""Negative log-likelihoods in nats, per entry (`*_nats`) or per example (`*_nll`)."""

import math

import jax
import jax.numpy as jnp

from genjax import checks


def at_least_float32(x: jax.typing.ArrayLike) -> jax.Array:
    """Converts to float32 or wider, which sums of log-probabilities need."""
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))


def sum_event(nats: jax.Array) -> jax.Array:
    """Sums over all axes but the first: `[B, ...] -> [B]`."""
    return jnp.sum(nats, axis=tuple(range(1, nats.ndim)))


def bernoulli_nats(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Computes -log p(target) of independent Bernoulli variables, elementwise.

    The form softplus(logit) - target * logit has a finite value and gradient at any logit;
    log(sigmoid(logit)) underflows beyond about 90.

    Args:
      logits: `[B, ...]`, any real number.
      targets: `[B, ...]` in [0, 1]; values between are the cross-entropy of a grey level.

    Returns:
      `[B, ...]` nats, 0 or above.

    Raises:
      ValueError: the shapes differ, an argument is integers, or, outside `jax.jit`, targets are not
        in [0, 1].

    Source: Kingma and Welling 2013, "Auto-Encoding Variational Bayes", eq. 11.

    >>> float(bernoulli_nats(jnp.zeros((1,)), jnp.ones((1,)))[0])  # log 2
    0.6931471824645996
    """
    _check_targets("bernoulli", logits, targets)
    return _cross_entropy(at_least_float32(logits), at_least_float32(targets))


def _check_targets(where: str, logits: jax.Array, targets: jax.Array) -> None:
    """Checks shapes, and that targets are in [0, 1]: grey levels give a loss without a bound."""
    fix = "divide grey levels 0 .. 255 by 255, or binarize them"
    checks.floating(where, logits=logits)
    if not jnp.issubdtype(jnp.result_type(targets), jnp.bool_):
        checks.floating(where, f"{fix}, as .astype('float32')", targets=targets)
    checks.same_shape(where, logits=logits, targets=targets)
    checks.values(f"{where}: targets", targets, 0, 1, f"{fix}; logits are the first argument")


@jax.custom_jvp
def _cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    softplus = jnp.maximum(logits, 0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return softplus - targets * logits


@_cross_entropy.defjvp
def _cross_entropy_jvp(
    at: tuple[jax.Array, jax.Array], along: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Stores one array for the gradient, sigmoid(logit) - target."""
    (logits, targets), (d_logits, d_targets) = at, along
    slope = jax.nn.sigmoid(logits) - targets
    return _cross_entropy(logits, targets), slope * d_logits - logits * d_targets


def bernoulli_nll(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Computes the Bernoulli negative log-likelihood per example.

    Args:
      logits: `[B, ...]`, any real number.
      targets: `[B, ...]` in [0, 1].

    Returns:
      `[B]` nats.

    Raises:
      ValueError: as `bernoulli_nats`, or there is no batch axis.

    Source: Kingma and Welling 2013, "Auto-Encoding Variational Bayes", eq. 11.

    >>> bernoulli_nll(jnp.zeros((2, 784)), jnp.ones((2, 784))).round(2).tolist()
    [543.4299926757812, 543.4299926757812]
    """
    checks.floating("bernoulli", logits=logits)
    checks.batched("bernoulli_nll", logits=logits)
    _check_targets("bernoulli", logits, targets)
    # Flattened: on a CPU a sum over one of two axes is much faster than over three of four.
    rows = (jnp.shape(logits)[0], math.prod(jnp.shape(logits)[1:]))
    logits, targets = jnp.reshape(logits, rows), jnp.reshape(targets, rows)
    return sum_event(_cross_entropy(at_least_float32(logits), at_least_float32(targets)))


def categorical_nats(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Computes -log p(label) under softmax(logits), elementwise.

    Args:
      logits: `[B, ..., K]`, any real number.
      labels: `[B, ...]`, integers in [0, K); the result is NaN for labels outside.

    Returns:
      `[B, ...]` nats, 0 or above.

    Raises:
      ValueError: labels are not integers, or the shapes do not match.

    Source: van den Oord et al. 2016, "Pixel Recurrent Neural Networks", section 3.

    >>> round(float(categorical_nats(jnp.zeros((1, 256)), jnp.array([3]))[0]) / math.log(2), 4)
    8.0
    """
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise ValueError(
            f"categorical_nll: labels must be integers, got {checks.describe(labels)};"
            f" cast them with .astype('int32')."
        )
    if logits.ndim < 2 or logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"categorical_nll: logits must have the shape of labels and an axis of classes, got"
            f" logits {checks.describe(logits)} and labels {checks.describe(labels)}."
        )
    logits = at_least_float32(logits)
    picked = jnp.take_along_axis(  # [B, ..., 1]
        logits, labels[..., None], axis=-1, mode="fill", fill_value=jnp.nan
    )
    # take_along_axis counts negative labels from the end.
    picked = jnp.where(labels[..., None] < 0, jnp.nan, picked)
    return jax.nn.logsumexp(logits, axis=-1) - picked[..., 0]


def categorical_nll(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Computes the negative log-likelihood of class labels under softmax(logits).

    Args:
      logits: `[B, ..., K]`, any real number.
      labels: `[B, ...]`, integers in [0, K); the result is NaN for labels outside.

    Returns:
      `[B]` nats, summed over the axes between the first and K.

    Raises:
      ValueError: labels are not integers, or the shapes do not match.

    Source: van den Oord et al. 2016, "Pixel Recurrent Neural Networks", section 3.

    >>> round(float(categorical_nll(jnp.zeros((1, 256)), jnp.array([3]))[0]) / math.log(2), 4)
    8.0
    """
    return sum_event(categorical_nats(logits, labels))


def gaussian_nll(x: jax.Array, mean: jax.Array, *, log_std: jax.Array) -> jax.Array:
    """Computes the negative log-density of a Gaussian with diagonal covariance.

    Args:
      x: `[B, ...]`, any real number.
      mean: `[B, ...]`.
      log_std: `[B, ...]`, log of the standard deviation; half of the log of the variance.

    Returns:
      `[B]` nats, of any sign.

    Raises:
      ValueError: the shapes differ, there is no batch axis, or x is integers, such as uint8 images.

    Source: Kingma and Welling 2013, "Auto-Encoding Variational Bayes", eq. 12.

    >>> zero = jnp.zeros((1, 1))
    >>> round(float(gaussian_nll(zero, zero, log_std=zero)[0]), 4)
    0.9189
    """
    checks.batched("gaussian_nll", x=x)
    checks.floating("gaussian_nll", x=x, mean=mean, log_std=log_std)
    checks.same_shape("gaussian_nll", x=x, mean=mean, log_std=log_std)
    x, mean, log_std = map(at_least_float32, (x, mean, log_std))
    # The inverse of a smaller scale would be infinite, and the result NaN at the mean.
    most = math.log(float(jnp.finfo(log_std.dtype).max)) - 1
    scaled = (x - mean) * jnp.exp(jnp.minimum(-log_std, most))
    return sum_event(0.5 * scaled**2 + log_std + 0.5 * math.log(2 * math.pi))


def gaussian_cholesky_nll(x: jax.Array, mean: jax.Array, cholesky: jax.Array) -> jax.Array:
    """Computes the negative log-density of a Gaussian with covariance L L^T.

    x = mean + L noise, and log |det L| is the sum of the logs of its diagonal.

    Args:
      x: `[B, Z]`, any real number.
      mean: `[B, Z]`.
      cholesky: L, `[B, Z, Z]`, lower triangular with a positive diagonal; entries above the
        diagonal are ignored.

    Returns:
      `[B]` nats, of any sign.

    Raises:
      ValueError: the shapes do not match.

    Source: Kingma and Welling 2019, "An Introduction to Variational Autoencoders", section 2.5.1.

    >>> zero = jnp.zeros((1, 2))
    >>> round(float(gaussian_cholesky_nll(zero, zero, 2 * jnp.eye(2)[None])[0]), 4)
    3.2242
    """
    check_cholesky("gaussian_cholesky_nll", mean, cholesky)
    checks.floating("gaussian_cholesky_nll", x=x)
    checks.same_shape("gaussian_cholesky_nll", x=x, mean=mean)
    x, mean, cholesky = map(at_least_float32, (x, mean, cholesky))
    noise = jax.lax.linalg.triangular_solve(
        cholesky, (x - mean)[..., None], left_side=True, lower=True
    )[..., 0]
    zeros = jnp.zeros_like(noise)
    log_det = jnp.sum(jnp.log(jnp.diagonal(cholesky, axis1=-2, axis2=-1)), axis=-1)
    return gaussian_nll(noise, zeros, log_std=zeros) + log_det


def check_cholesky(where: str, mean: jax.Array, cholesky: jax.Array) -> None:
    """Raises ValueError unless the shapes are `[B, Z]` and `[B, Z, Z]`."""
    shape = jnp.shape(mean)
    if len(shape) != 2 or jnp.shape(cholesky) != (*shape, shape[-1]):
        raise ValueError(
            f"{where}: mean must be [B, Z] and cholesky [B, Z, Z], got {checks.describe(mean)} and"
            f" {checks.describe(cholesky)}."
        )
    checks.floating(where, mean=mean, cholesky=cholesky)


def bits_per_dim(nats: jax.typing.ArrayLike, num_dims: int, *, levels: int = 1) -> jax.Array:
    """Converts nats per example to bits per dimension: nats / (D log 2), with D = H * W * C.

    Args:
      nats: any shape, -log of a probability of integers or of a density of
        (integers + noise) / levels.
      num_dims: number of dimensions of an example, above 0.
      levels: number of levels, for such a density, to which it adds log2(levels).

    Returns:
      the shape of `nats`, in bits per dimension.

    Raises:
      ValueError: `num_dims` or `levels` is not above 0.

    Source: van den Oord et al. 2016, "Pixel Recurrent Neural Networks", section 5.1; Theis et al.
    2016, "A Note on the Evaluation of Generative Models", section 3.1.

    >>> round(float(bits_per_dim(jnp.array(8 * math.log(2) * 3072), 3072)), 4)
    8.0
    >>> float(bits_per_dim(jnp.array(0.0), 3072, levels=256))  # uniform on [0, 1)
    8.0
    """
    checks.positive(num_dims=num_dims, levels=levels)
    return at_least_float32(nats) / (num_dims * math.log(2)) + math.log2(levels)
