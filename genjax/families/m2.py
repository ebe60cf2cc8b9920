"""M2: a variational autoencoder of images and their classes, trained with few labels.

A class and a code make an image, p(x, y, z) = p(y) p(z) p(x | y, z), and the class is one more
latent variable where nobody tells it. q(y | x) classifies, q(z | x, y) encodes:

    label known      log p(x, y) >= -L(x, y) = E_q(z|x,y)[log p(x | y, z)] + log p(y)
                                               - KL(q(z | x, y) || p(z))
    label unknown    log p(x) >= -U(x) = sum_y q(y | x) (-L(x, y) - log q(y | x))
    minimised        sum_known L(x, y) + sum_unknown U(x) + alpha mean_known[-log q(y | x)]

The sum over the classes is exact: every image is encoded and decoded once a class. The last term
is there because L alone teaches q(y | x) nothing. With `gradient_classes` the sum stays exact, in
the value and in the gradient of q(y | x), and the gradient of the other networks, which is a mean
over q(y | x), goes through a few classes drawn from there.

Kingma, Rezende, Mohamed and Welling 2014, "Semi-supervised Learning with Deep Generative Models",
eqs. 6 to 9. The bound from several samples: Burda et al. 2015, "Importance Weighted Autoencoders",
eq. 8.
"""

import dataclasses
import functools
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core import Traits, gradient_step, log_mean_weight, named_key, resample_noise
from genjax.losses import bernoulli_nll, categorical_nll, gaussian_kl, gradient_only
from genjax.nn import (
    MLP,
    Gaussian,
    MeanAndScale,
    draw_gaussian,
    draw_observation,
    gaussian_log_density,
    kl_units_from_standard,
    one_hot,
    standard_log_density,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and objective; the defaults are the paper's for MNIST with 100 labels."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    classes: int = 10
    """Classes; p(y) is the same for all."""
    latent: int = 50
    """Dimensions of z (section 4.4)."""
    hidden: tuple[int, ...] = (500,)
    """Hidden units of classifier, encoder and, reversed, of decoder (section 4.4)."""
    activation: Literal["softplus", "tanh", "relu"] = "softplus"
    """Hidden activation (section 4.4)."""
    weights: Literal["small", "lecun"] = "small"
    """First parameters. small: all normal of standard deviation 0.001, so that labels are the first
    to tell the classes apart (so the authors' code, with some biases and the layer of log variances
    at 0); lecun: by fan-in, biases 0, where the bound does so as chance has it before labels are
    heard."""
    alpha: float = 0.1
    """Weight of the classification loss, nats an example: over N examples the paper's alpha is
    0.1 N, times the mean of -log q(y | x) over those with a label (section 3.1.2)."""
    labelled: float = 100 / 50_000
    """Share of the examples that have a label. The loss of an example cannot see how many others
    have one: alpha / labelled times its own -log q(y | x) makes alpha times their mean of it."""
    weight_prior: float = 1 / 50_000
    """Precision of a normal prior of all parameters, over N examples: the paper's has 1
    (section 4.4)."""
    gradient_classes: int = 0
    """Classes of an image that encoder and decoder are differentiated at, drawn as q(y | x) has
    them (the known one, where it is): the same gradient on average, for little more than computing
    the loss. 0 is all of them, exactly."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the hidden layers and of the output's factors; parameters, sums and likelihood stay
    float32."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(
            shape=self.shape, classes=self.classes, latent=self.latent, hidden=self.hidden
        )
        checks.choices(self)
        checks.not_negative(
            alpha=self.alpha,
            weight_prior=self.weight_prior,
            gradient_classes=self.gradient_classes,
        )
        checks.positive(labelled=self.labelled)
        if self.labelled > 1:
            raise ValueError(f"labelled must be a share of at most 1, got {self.labelled}.")
        if self.gradient_classes > self.classes:
            raise ValueError(
                f"m2: gradient_classes are of {self.classes} classes, so not"
                f" {self.gradient_classes}; set that many or fewer, or 0 for all of them exactly."
            )


def traits(config: Config) -> Traits:
    del config
    return Traits(
        data="binary",
        density="bound",
        semi_supervised=True,
        metric="classification error",
        unit="%",
    )


def tiny() -> Config:
    return Config(
        shape=(3, 3, 1),
        classes=3,
        latent=1,
        hidden=(8,),
        weights="lecun",
        labelled=1.0,
        weight_prior=0,
    )


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 `[B, *shape]` in [0, 1], between them grey levels. `label`: int32 `[B]`, -1
    where nobody tells it."""
    return {
        "x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
    }


def check_data(config: Config, train: dict[str, Any]) -> None:
    """Hold `labelled` against the training split, a tenth up or down: alpha is weighed by it.

    Raises:
      ValueError: another share of the examples has a label.
    """
    share = float((train["label"] >= 0).mean())
    if not share:
        raise ValueError("m2 learns classes from labels, and no training example has one.")
    if abs(config.labelled / share - 1) > 0.1:
        raise ValueError(
            f"labelled is {config.labelled:g}, and {share:g} of the training examples have a"
            f" label: set --labelled {share:g}, or alpha weighs {share / config.labelled:.3g} times"
            f" what it says."
        )


def _networks(config: Config) -> tuple[MLP, MeanAndScale, MeanAndScale]:
    """Classifier `x -> [B, C]`, encoder `(x, y) -> [B, P, 2 Z]`, decoder `(z, y) -> [B, P, D]`."""
    dims, act, dtype = math.prod(config.shape), getattr(nn, config.activation), config.dtype
    return (
        MLP(config.hidden, config.classes, act, jnp.dtype(dtype)),
        MeanAndScale(config.hidden, 2 * config.latent, act, jnp.dtype(dtype)),
        MeanAndScale(config.hidden[::-1], dims, act, jnp.dtype(dtype)),
    )


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    classifier, encoder, decoder = _networks(config)
    keys = jax.random.split(key, 3)
    x = jnp.zeros((1, math.prod(config.shape)))
    y, z = jnp.zeros((1, 1, config.classes)), jnp.zeros((1, 1, config.latent))
    params = {
        "classifier": classifier.init(keys[0], x)["params"],
        "encoder": encoder.init(keys[1], x[:, None], y)["params"],
        "decoder": decoder.init(keys[2], z, y)["params"],
    }
    if config.weights == "small":
        leaves, tree = jax.tree.flatten(params)
        each = jax.random.split(named_key(key, 0, "weights"), len(leaves))
        drawn = [0.001 * jax.random.normal(k, p.shape) for k, p in zip(each, leaves, strict=True)]
        params = jax.tree.unflatten(tree, drawn)
    return {"params": params}


def classify(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """log q(y | x): `[B, C]` nats, each row sums to 1 in probability."""
    checks.events("m2", x, config.shape)
    params = {"params": variables["params"]["classifier"]}
    logits = _networks(config)[0].apply(params, x.reshape(x.shape[0], -1))
    return jax.nn.log_softmax(logits)


def posterior(config: Config, variables: dict[str, Any], x: jax.Array, y: jax.Array) -> Gaussian:
    """q(z | x, y) of one-hot `y` `[1 or B, P, C]`: mean and log standard deviation `[B, P, Z]`."""
    checks.events("m2", x, config.shape)
    params = {"params": variables["params"]["encoder"]}
    out = _networks(config)[1].apply(params, x.reshape(x.shape[0], 1, -1), y)
    mean, log_variance = jnp.split(out, 2, axis=-1)
    return Gaussian(mean, 0.5 * log_variance)


def decode(config: Config, variables: dict[str, Any], z: jax.Array, y: jax.Array) -> jax.Array:
    """Bernoulli logits of p(x | y, z): `z [B, P, Z]`, one-hot `y [1 or B, P, C] -> [B, P, D]`."""
    return _networks(config)[2].apply({"params": variables["params"]["decoder"]}, z, y)


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """L or U, the weighted classification loss and the prior of the parameters: `[B]` nats.

    A label of C or above gives NaN.
    """
    checks.batch("m2", batch, functools.partial(batch_spec, config))
    x, label = batch["x"], batch["label"]
    known = label >= 0
    log_q = classify(config, variables, x)
    own = jax.nn.one_hot(label, config.classes)  # all 0 where it is unknown
    noise = _noise(config, key, x.shape[0])
    every = jnp.eye(config.classes)[None]
    if config.gradient_classes:
        bounds = jax.lax.stop_gradient(_bounds(config, variables, x, every, noise))  # [B, C]
        log_shares = jnp.where(known[:, None], jnp.log(own), log_q)
        moved = gradient_only(_drawn_bounds(config, variables, x, log_shares, noise, key))  # [B]
    else:
        bounds = _bounds(config, variables, x, every, noise)
        moved = jnp.zeros(())
    bound = jnp.where(known, jnp.sum(own * bounds, axis=1), _marginal(bounds, log_q)) + moved
    surprise = categorical_nll(log_q, jnp.where(known, label, 0))
    classification = config.alpha / config.labelled * jnp.where(known, surprise, 0)
    squares = sum(jnp.sum(p**2) for p in jax.tree.leaves(variables["params"]))
    nats = classification - bound + 0.5 * config.weight_prior * squares
    labelled = known.astype(jnp.float32)
    return nats, {"bound": bound, "classification": classification, "labelled": labelled}


def make_step(config: Config, optimizer: Any) -> Any:
    return gradient_step(functools.partial(loss, config), optimizer)


def elbo(config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array) -> jax.Array:
    """-U(x), a bound on log p(x) with one sample of z a class: `[B]` nats (eq. 7)."""
    noise = _noise(config, key, x.shape[0])
    bounds = _bounds(config, variables, x, jnp.eye(config.classes)[None], noise)
    return _marginal(bounds, classify(config, variables, x))


def log_joint_bound(
    config: Config,
    variables: dict[str, Any],
    x: jax.Array,
    key: jax.Array,
    num_samples: int,
    label: jax.Array | None = None,
) -> jax.Array:
    """Importance-weighted bound on log p(x, y), from samples of q(z | x, y).

    What classification by density asks for: argmax over y of log p(x, y). In memory that does not
    grow with `num_samples`.

    Args:
      x: float32 `[B, *shape]`.
      num_samples: above 0.
      label: int32 `[B]`, of which a label outside 0 .. C - 1 gives NaN; None is every class.

    Returns:
      `[B]` nats; without `label` `[B, C]`.
    """
    every = jnp.eye(config.classes)[None]
    y = every if label is None else one_hot(label, config.classes)[:, None]
    q = posterior(config, variables, x, y)  # [B, P, Z]

    def draw(key: jax.Array) -> jax.Array:
        z = draw_gaussian(q, jax.random.normal(key, (1, *q.mean.shape)))[0]
        log_likelihood = _log_likelihood(config, variables, x, z, y)
        log_q = gaussian_log_density(q, z[None])[0]
        return log_likelihood + standard_log_density(z) - log_q

    total = log_mean_weight(draw, key, num_samples, q.mean[..., 0]) - math.log(config.classes)
    return total if label is None else total[:, 0]


def log_prob_bound(
    config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array, num_samples: int
) -> jax.Array:
    """Bound on log p(x), `[B]` nats: the sum over y of the importance-weighted p(x, y)."""
    joint = log_joint_bound(config, variables, x, key, num_samples)
    return jax.nn.logsumexp(joint, axis=1)


def latent_shape(config: Config) -> tuple[int, ...]:
    """Shape of one z."""
    return (config.latent,)


def log_prior(
    config: Config, variables: dict[str, Any], z: jax.Array, label: Any = None
) -> jax.Array:
    """log p(z), the same whatever the label: `[B, Z] -> [B]` nats."""
    del config, variables, label
    return standard_log_density(z)


def log_likelihood(
    config: Config, variables: dict[str, Any], x: jax.Array, z: jax.Array, label: Any = None
) -> jax.Array:
    """log p(x | z), summed over the class, which is drawn apart from z: `[B]` nats.

    So annealing gives log p(x). A label is not looked at: it may be unknown.

    Args:
      x: float32 `[B, *shape]`.
      z: float32 `[B, Z]`.
    """
    del label
    checks.events("m2", x, config.shape)
    each = _log_likelihood(config, variables, x, z[:, None], jnp.eye(config.classes)[None])
    return jax.nn.logsumexp(each, axis=1) - math.log(config.classes)


def reported(config: Config, variables: dict[str, Any], batch: dict[str, jax.Array]) -> jax.Array:
    """The figure of a run, `[B]` percent: 100 where the most probable class is not the label's."""
    said = jnp.argmax(classify(config, variables, batch["x"]), axis=1)
    return 100.0 * (said != batch["label"])


def encode(config: Config, variables: dict[str, Any], x: jax.Array, label: Any = None) -> jax.Array:
    """Mean of z under q(y | x) q(z | x, y): `[B, Z]`. What is left of x beside its class.

    Where a `label` `[B]` is told, and is not -1, of q(z | x, y) for that class.
    """
    q = posterior(config, variables, x, jnp.eye(config.classes)[None])  # [B, C, Z]
    return _over_classes(config, jnp.exp(classify(config, variables, x)), label, q.mean)


def kl_units(
    config: Config, variables: dict[str, Any], x: jax.Array, label: Any = None
) -> jax.Array:
    """KL(q(z_j | x, y) || p(z_j)) of each latent, `[B, Z]` nats; of which class, as in `encode`."""
    q = posterior(config, variables, x, jnp.eye(config.classes)[None])
    shares = jnp.exp(classify(config, variables, x))
    return _over_classes(config, shares, label, kl_units_from_standard(q))


def decode_mean(
    config: Config, variables: dict[str, Any], z: jax.Array, label: Any = None
) -> jax.Array:
    """Mean of p(x | y, z), `[B, Z] -> [B, *shape]` in (0, 1): of the `label` `[B]`, and where none
    is told, or -1, over all classes."""
    p = jax.nn.sigmoid(decode(config, variables, z[:, None], jnp.eye(config.classes)[None]))
    shares = jnp.full((z.shape[0], config.classes), 1 / config.classes)
    return _over_classes(config, shares, label, p).reshape(-1, *config.shape)


def sample(
    config: Config,
    variables: dict[str, Any],
    key: jax.Array,
    n: int | None = None,
    label: jax.Array | int | None = None,
) -> jax.Array:
    """Samples of p(x), or of p(x | y) with `label`: float32 `[n, *shape]` in {0, 1}.

    One image without `n`. `label` is one class or `[n]` of them; under `jit`, where nobody can
    refuse it, one outside 0 .. C - 1 gives NaN.

    Raises:
      ValueError: a label is no class, or there are not n.
    """
    many = checks.sample_count(n)
    label_key, latent_key, pixel_key = jax.random.split(key, 3)
    if label is None:
        label = jax.random.randint(label_key, (many,), 0, config.classes)
    label = jnp.asarray(label)
    fits = label.shape in ((), (many,)) and jnp.issubdtype(label.dtype, jnp.integer)
    if not fits:
        raise ValueError(f"m2: label must be int32[{many}] or one, got {checks.describe(label)}.")
    checks.labels("m2", config.classes, label)
    y = one_hot(jnp.broadcast_to(label, (many,)), config.classes)[:, None]
    z = jax.random.normal(latent_key, (many, 1, config.latent))
    logits = decode(config, variables, z, y)[:, 0]
    x = draw_observation("bernoulli", (logits,), pixel_key, 2).reshape(-1, *config.shape)
    return x if n else x[0]


def _over_classes(config: Config, shares: jax.Array, label: Any, of_each: jax.Array) -> jax.Array:
    """Mean of `[B, C, F]` over the classes by their shares `[B, C]`; of the label where known."""
    if label is not None:
        known = (jnp.asarray(label) >= 0)[:, None]
        shares = jnp.where(known, one_hot(label, config.classes), shares)
    return jnp.einsum("bc,bcf->bf", shares, of_each, precision=jax.lax.Precision.HIGHEST)


def _log_likelihood(
    config: Config, variables: dict[str, Any], x: jax.Array, z: jax.Array, y: jax.Array
) -> jax.Array:
    """log p(x | y, z): `[B, P]` nats."""
    logits = decode(config, variables, z, y)  # [B, P, D]
    rows = (-1, logits.shape[-1])  # of every example and class
    targets = jnp.broadcast_to(x.reshape(x.shape[0], 1, -1), logits.shape)
    nats = bernoulli_nll(logits.reshape(rows), targets.reshape(rows))
    return -nats.reshape(logits.shape[:2])


def _each_class(function: Any) -> Any:
    """A loss of `[B, F]` as one of `[B, P, F]`, which gives `[B, P]`."""
    return jax.vmap(function, in_axes=1, out_axes=1)


def _noise(config: Config, key: jax.Array, size: int) -> jax.Array:
    """What z of every class is made of: `[B, C, Z]`."""
    return jax.random.normal(key, (size, config.classes, config.latent))


def _bounds(
    config: Config, variables: dict[str, Any], x: jax.Array, y: jax.Array, noise: jax.Array
) -> jax.Array:
    """-L(x, y) of one-hot `y [1 or B, P, C]`, one sample of z each, of `noise [B, P, Z]`, the KL in
    closed form: `[B, P]` nats."""
    q = posterior(config, variables, x, y)  # [B, P, Z]
    kl = _each_class(gaussian_kl)(q.mean, q.log_std)
    z = draw_gaussian(q, noise[None])[0]
    return _log_likelihood(config, variables, x, z, y) - kl - math.log(config.classes)


def _drawn_bounds(
    config: Config,
    variables: dict[str, Any],
    x: jax.Array,
    log_shares: jax.Array,
    noise: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Mean of -L(x, y) over `gradient_classes` of the classes, each drawn as often as its share
    has it (`log_shares [B, C]`), with that class's own `noise [B, C, Z]`: `[B]` nats."""
    log_shares = jax.lax.stop_gradient(log_shares).T
    by_class = (jnp.swapaxes(noise, 0, 1), jnp.eye(config.classes)[:, None].repeat(len(x), axis=1))
    chosen = resample_noise(key, log_shares, by_class, config.gradient_classes)  # [P, B, ...]
    noise, y = (jnp.swapaxes(a, 0, 1) for a in chosen)
    return jnp.mean(_bounds(config, variables, x, y, noise), axis=1)


def _marginal(bounds: jax.Array, log_q: jax.Array) -> jax.Array:
    """-U(x) from -L(x, y) and log q(y | x): `[B, C] -> [B]`."""
    return jnp.sum(jnp.exp(log_q) * (bounds - log_q), axis=1)
