"""M2: a variational autoencoder of images and their classes, trained with few labels.

p(x, y, z) = p(y) p(z) p(x | y, z), with q(y | x) as classifier and q(z | x, y) as encoder:

    label known      log p(x, y) >= -L(x, y) = E_q(z|x,y)[log p(x | y, z)] + log p(y)
                                               - KL(q(z | x, y) || p(z))
    label unknown    log p(x) >= -U(x) = sum_y q(y | x) (-L(x, y) - log q(y | x))
    minimised        sum_known L(x, y) + sum_unknown U(x) + alpha mean_known[-log q(y | x)]

The sum over the classes is exact: every image is encoded and decoded once per class. L does not
depend on q(y | x), so the last term trains it on the labels. The gradient of encoder and decoder is
a mean over q(y | x); `gradient_classes` estimates it by a few classes drawn from q(y | x). The loss
and the gradient of q(y | x) stay exact.

Kingma, Rezende, Mohamed and Welling 2014, "Semi-supervised Learning with Deep Generative Models",
eqs. 6 to 9. The bound from several samples: Burda et al. 2015, "Importance Weighted Autoencoders",
eq. 8.
"""

import dataclasses
import math
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.checks import NonNegativeFloat, NonNegativeInt, PositiveInt, PositiveInts
from genjax.core import (
    Batch,
    LossOutput,
    Traits,
    Variables,
    check_batch,
    compiled_init,
    named_key,
    resample_noise,
)
from genjax.core.batches import batch_spec as batch_spec
from genjax.losses import bernoulli_nll, categorical_nll, gradient_only
from genjax.nn import (
    MLP,
    Bernoulli,
    Gaussian,
    Posterior,
    StandardNormal,
    one_hot,
    one_hot_condition,
    random_label,
    standard_log_prob,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and objective; the defaults are the paper's for MNIST with 100 labels."""

    shape: PositiveInts = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    classes: PositiveInt = 10
    """Number of classes; p(y) is uniform."""
    latent: PositiveInt = 50
    """Dimensions of z (section 4.4)."""
    hidden: PositiveInts = (500,)
    """Hidden units of classifier, encoder and, reversed, of decoder (section 4.4)."""
    activation: Literal["softplus", "tanh", "relu"] = "softplus"
    """Hidden activation (section 4.4)."""
    weights: Literal["small", "lecun"] = "small"
    """Initial parameters. small: normal with standard deviation 0.001, nearly as in the authors'
    code, so that the labels determine the classes first. lecun: by fan-in, with biases 0; the bound
    then forms arbitrary classes before the labels have an effect."""
    alpha: NonNegativeFloat = 0.1
    """Weight of the mean classification loss, in nats per example. The paper's objective is a sum
    over N examples, with weight 0.1 N (section 3.1.2)."""
    labelled: Annotated[float, checks.Bounds(0, 1, "(")] = 100 / 50_000
    """Share of the training examples that have a label. The loss of a labelled example contains
    alpha / labelled times -log q(y | x), which is alpha times the mean over labelled examples."""
    weight_prior: NonNegativeFloat = 1 / 50_000
    """Precision of a normal prior of all parameters, over N examples: the paper's is 1
    (section 4.4)."""
    gradient_classes: NonNegativeInt = 0
    """Number of classes per image, drawn from q(y | x) or the known one, at which encoder and
    decoder are differentiated: unbiased, at little more than the cost of the loss. 0 uses all."""
    dtype: checks.Dtype = "float32"
    """Dtype of the hidden layers and of the factors of the output layer's product. The sums of that
    product, the likelihood and the parameters are float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if self.gradient_classes > self.classes:
            raise ValueError(
                f"m2: `gradient_classes` {self.gradient_classes} exceeds the {self.classes}"
                f" classes; 0 uses all of them."
            )


def traits(config: Config) -> Traits:
    return Traits(
        data="binary",
        density="bound",
        semi_supervised=True,
        labelled=config.labelled,
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


class LabelledMLP(nn.Module):
    """An MLP of a vector and a class: `[B, 1 or P, F]`, one-hot `[1 or B, P, C] -> [B, P, out]`.

    The first layer adds a product with the vector and one with the class, so that the vector's
    product, the largest of the encoder, is computed once for all classes.
    """

    hidden: tuple[int, ...]
    out: int
    activation: Any
    dtype: Any

    @nn.compact
    def __call__(self, a: jax.Array, y: jax.Array) -> jax.Array:
        first, *rest = self.hidden
        h = nn.Dense(first, dtype=self.dtype, name="vector")(a)
        h = h + nn.Dense(first, use_bias=False, dtype=self.dtype, name="label")(y)
        return MLP(rest, self.out, self.activation, self.dtype)(self.activation(h))


def _networks(config: Config) -> tuple[MLP, LabelledMLP, LabelledMLP]:
    """Classifier `x -> [B, C]`, encoder `(x, y) -> [B, P, 2 Z]`, decoder `(z, y) -> [B, P, D]`."""
    dims, act = math.prod(config.shape), getattr(nn, config.activation)
    dtype = jnp.dtype(config.dtype)
    return (
        MLP(config.hidden, config.classes, act, dtype),
        LabelledMLP(config.hidden, 2 * config.latent, act, dtype),
        LabelledMLP(config.hidden[::-1], dims, act, dtype),
    )


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
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
        keys = jax.random.split(named_key(key, 0, "weights"), len(leaves))
        small = [0.001 * jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
        params = jax.tree.unflatten(tree, small)
    return {"params": params}


def classify(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Returns log q(y | x), `[B, C]` nats."""
    checks.events("m2", x, config.shape)
    params = {"params": variables["params"]["classifier"]}
    logits = _networks(config)[0].apply(params, x.reshape(x.shape[0], -1))
    return jax.nn.log_softmax(logits)


def _encode(config: Config, variables: Variables, x: jax.Array, y: jax.Array) -> Gaussian:
    """q(z | x, y) of one-hot `y` `[1 or B, P, C]`, with parameters `[B, P, Z]`."""
    checks.events("m2", x, config.shape)
    params = {"params": variables["params"]["encoder"]}
    out = _networks(config)[1].apply(params, x.reshape(x.shape[0], 1, -1), y)
    return Gaussian.from_outputs(out, config.latent)


def _decode(config: Config, variables: Variables, z: jax.Array, y: jax.Array) -> jax.Array:
    """Logits of p(x | y, z): `z [B, P, Z]`, one-hot `y [1 or B, P, C] -> [B, P, D]`."""
    return _networks(config)[2].apply({"params": variables["params"]["decoder"]}, z, y)


class ClassMixture(Posterior):
    """A mixture over the classes: `shares` `[B, C]`, and a distribution of each class."""

    shares: jax.Array  # probabilities of the classes
    # Gaussians with parameters `[B, C, Z]`, or Bernoullis with logits `[B, C, *shape]`
    components: Any

    def mean(self) -> jax.Array:
        return self._average(self.components.mean())

    def _average(self, of_each: jax.Array) -> jax.Array:
        flat = of_each.reshape(*self.shares.shape, -1)
        highest = jax.lax.Precision.HIGHEST
        mean = jnp.einsum("bc,bcf->bf", self.shares, flat, precision=highest)
        return mean.reshape(-1, *of_each.shape[2:])

    def sample(self, key: jax.Array) -> jax.Array:
        class_key, key = jax.random.split(key)
        label = jax.random.categorical(class_key, jnp.log(self.shares))
        index = jnp.arange(label.shape[0])
        return jax.tree.map(lambda a: a[index, label], self.components).sample(key)

    def sample_and_log_prob(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = self.sample(key)
        return value, self.log_prob(value)

    def log_prob(self, value: jax.Array) -> jax.Array:
        log_prob = jax.vmap(lambda p: p.log_prob(value), in_axes=1, out_axes=1)(self.components)
        return jax.nn.logsumexp(log_prob, b=self.shares, axis=1)

    def kl_units(self, prior: Any) -> jax.Array:
        """Returns the divergence of each unit within a class, averaged over the classes."""
        return self._average(self.components.kl_units(prior))


def _mixture(config: Config, shares: jax.Array, label: Any, components: Any) -> ClassMixture:
    """A mixture in which a known label `[B]` has share 1; labels of -1 are unknown."""
    if label is not None:
        known = (jnp.asarray(label) >= 0)[:, None]
        shares = jnp.where(known, one_hot(label, config.classes), shares)
    return ClassMixture(shares, components)


def posterior(
    config: Config, variables: Variables, x: jax.Array, label: Any = None
) -> ClassMixture:
    """Returns q(z | x), or q(z | x, y) where a `label` `[B]` is given and not -1."""
    q = _encode(config, variables, x, jnp.eye(config.classes)[None])
    return _mixture(config, jnp.exp(classify(config, variables, x)), label, q)


def prior(config: Config, variables: Variables) -> StandardNormal:
    return StandardNormal((config.latent,))


def likelihood(
    config: Config, variables: Variables, z: jax.Array, label: Any = None
) -> ClassMixture:
    """Returns p(x | z), or p(x | y, z) where a `label` `[B]` is given and not -1; z `[B, Z]`."""
    logits = _decode(config, variables, z[:, None], jnp.eye(config.classes)[None])
    shares = jnp.full((z.shape[0], config.classes), 1 / config.classes)
    return _mixture(config, shares, label, Bernoulli(logits.reshape(*shares.shape, *config.shape)))


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes L or U, the weighted classification loss and the parameters' prior, `[B]` nats.

    A label of C or above gives NaN.
    """
    check_batch("m2", config, batch)
    x, label = batch["x"], batch["label"]
    known = label >= 0
    log_q = classify(config, variables, x)
    own = jax.nn.one_hot(label, config.classes)  # zeros where the label is unknown
    noise = jax.random.normal(key, (x.shape[0], config.classes, config.latent))
    if config.gradient_classes:
        bounds = jax.lax.stop_gradient(_bounds(config, variables, x, noise))  # [B, C]
        log_shares = jnp.where(known[:, None], jnp.log(own), log_q)
        drawn = _drawn_bounds(config, variables, x, log_shares, noise, key)
        correction = gradient_only(drawn)  # [B]
    else:
        bounds = _bounds(config, variables, x, noise)
        correction = jnp.zeros(())
    bound = jnp.where(known, jnp.sum(own * bounds, axis=1), _marginal(bounds, log_q)) + correction
    cross_entropy = categorical_nll(log_q, jnp.where(known, label, 0))
    classification = config.alpha / config.labelled * jnp.where(known, cross_entropy, 0)
    squares = sum(jnp.sum(p**2) for p in jax.tree.leaves(variables["params"]))
    nats = classification - bound + 0.5 * config.weight_prior * squares
    labelled = known.astype(jnp.float32)
    return nats, {"bound": bound, "classification": classification, "labelled": labelled}


def elbo(
    config: Config, variables: Variables, x: jax.Array, key: jax.Array, label: Any = None
) -> jax.Array:
    """Computes -U(x), a bound on log p(x), with one sample of z per class: `[B]` nats (eq. 7).

    log p(x) sums over the classes, so `label` is not used.
    """
    del label
    noise = jax.random.normal(key, (x.shape[0], config.classes, config.latent))
    return _marginal(_bounds(config, variables, x, noise), classify(config, variables, x))


def log_class_weights(
    config: Config, variables: Variables, x: jax.Array, key: jax.Array
) -> jax.Array:
    """Returns log p(x, y, z) - log q(z | x, y) of one z per class y, `[B, C]` nats."""
    y = jnp.eye(config.classes)[None]
    z, log_q = _encode(config, variables, x, y).sample_and_log_prob(key)
    log_p = _log_likelihood(config, variables, x, z, y) + standard_log_prob(z) - log_q
    return log_p - math.log(config.classes)


def log_weight(
    config: Config, variables: Variables, x: jax.Array, key: jax.Array, label: Any = None
) -> jax.Array:
    """Returns an importance weight of log p(x), `[B]` nats: `log_class_weights`, summed over y."""
    del label
    return jax.nn.logsumexp(log_class_weights(config, variables, x, key), axis=1)


def report(config: Config, variables: Variables, batch: Batch) -> jax.Array:
    """Returns the classification error, `[B]` percent: 100 where the predicted class is wrong."""
    predicted = jnp.argmax(classify(config, variables, batch["x"]), axis=1)
    return 100.0 * (predicted != batch["label"])


def encode(config: Config, variables: Variables, x: jax.Array, label: Any = None) -> jax.Array:
    """Returns the mean of `posterior`, `[B, Z]`."""
    return posterior(config, variables, x, label).mean()


def sample(
    config: Config,
    variables: Variables,
    key: jax.Array,
    n: int | None = None,
    label: jax.Array | int | None = None,
) -> jax.Array:
    """Draws from p(x), or from p(x | y) with `label`: float32 `[n, *shape]`; one without `n`.

    `label` is one class or `[n]` of them. Under `jit` a label outside 0 .. C - 1 gives NaN.
    """
    checks.sampling(Config, config, variables, key)
    count = checks.sample_count(n)
    label_key, latent_key, pixel_key = jax.random.split(key, 3)
    label = jnp.asarray(random_label("m2", config.classes, label, label_key, count))
    label = label if label.ndim else jnp.broadcast_to(label, (count,))
    y: Any = one_hot_condition("m2", config.classes, label, count)
    z = jax.random.normal(latent_key, (count, 1, config.latent))
    logits = _decode(config, variables, z, y[:, None])[:, 0]
    x = Bernoulli(logits).sample(pixel_key).reshape(-1, *config.shape)
    return x if n else x[0]


def _log_likelihood(
    config: Config, variables: Variables, x: jax.Array, z: jax.Array, y: jax.Array
) -> jax.Array:
    """log p(x | y, z): `[B, P]` nats."""
    logits = _decode(config, variables, z, y)  # [B, P, D]
    rows = (-1, logits.shape[-1])
    targets = jnp.broadcast_to(x.reshape(x.shape[0], 1, -1), logits.shape)
    nats = bernoulli_nll(logits.reshape(rows), targets.reshape(rows))
    return -nats.reshape(logits.shape[:2])


def _bounds(
    config: Config, variables: Variables, x: jax.Array, noise: jax.Array, y: Any = None
) -> jax.Array:
    """-L(x, y) of one-hot `y [1 or B, P, C]`, by default all classes, at z from `noise [B, P, Z]`.

    Returns `[B, P]` nats, the KL in closed form.
    """
    y = jnp.eye(config.classes)[None] if y is None else y
    q = _encode(config, variables, x, y)  # [B, P, Z]
    prior = StandardNormal((config.latent,))
    kl = jax.vmap(lambda q: q.kl(prior), in_axes=1, out_axes=1)(q)
    log_p = _log_likelihood(config, variables, x, q.transform(noise), y)
    return log_p - kl - math.log(config.classes)


def _drawn_bounds(
    config: Config,
    variables: Variables,
    x: jax.Array,
    log_shares: jax.Array,
    noise: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Mean of -L(x, y), `[B]` nats, over `gradient_classes` classes drawn by `log_shares [B, C]`.

    Each class uses its own noise, of `[B, C, Z]`.
    """
    log_shares = jax.lax.stop_gradient(log_shares).T
    by_class = (jnp.swapaxes(noise, 0, 1), jnp.eye(config.classes)[:, None].repeat(len(x), axis=1))
    drawn = resample_noise(key, log_shares, by_class, config.gradient_classes)  # [P, B, ...]
    noise, y = (jnp.swapaxes(a, 0, 1) for a in drawn)
    return jnp.mean(_bounds(config, variables, x, noise, y), axis=1)


def _marginal(bounds: jax.Array, log_q: jax.Array) -> jax.Array:
    """-U(x) from -L(x, y) and log q(y | x): `[B, C] -> [B]`."""
    return jnp.sum(jnp.exp(log_q) * (bounds - log_q), axis=1)
