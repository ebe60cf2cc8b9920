"""VAE: a variational autoencoder with one layer of Gaussian latents.

p(x) = integral of p(x | z) p(z) dz has no closed form; the encoder q(z | x) gives a bound,

    ELBO = E_q[log p(x | z)] - KL(q(z | x) || p(z)) <= log p(x),

whose gradient flows through z = mean + std * noise. The Config chooses each part by itself: the
networks, p(x | z), q(z | x), p(z) and the objective.

Kingma and Welling 2013, "Auto-Encoding Variational Bayes", eqs. 3 and 7, appendices B and C, and
2019, "An Introduction to Variational Autoencoders". Several samples: Burda et al. 2015, "Importance
Weighted Autoencoders"; Tucker et al. 2018 (dreg). Posterior and free bits: Kingma et al. 2016,
"Improved Variational Inference with Inverse Autoregressive Flow". Priors: Tomczak and Welling 2018,
"VAE with a VampPrior"; Chen et al. 2017, "Variational Lossy Autoencoder" (flow).
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core import Traits, gradient_step, log_mean_weight
from genjax.losses import kl_warmup
from genjax.nn import (
    Gaussian,
    draw_observation,
    kl_from_standard,
    kl_units_from_standard,
    latent,
    objectives,
    observation_mean,
    observation_range,
    one_hot_condition,
)

Variables = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and objective; the defaults are Kingma and Welling's for MNIST."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    latent: int = 20
    """Latent dimensions (2013, figure 2: 3, 5, 10, 20, 200)."""
    hidden: tuple[int, ...] = (500,)
    """Hidden units of encoder and, reversed, of decoder (2013, section 5); of a resnet, those of
    the dense layers beside the latents. None is linear."""
    activation: Literal["tanh", "relu", "elu"] = "tanh"
    """Hidden activation of an mlp (2013, appendix C); a resnet has elu."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the hidden layers and of the output's factors; parameters, sums and likelihood stay
    float32."""
    encoder: Literal["mlp", "resnet"] = "mlp"
    """Network of q(z | x)."""
    decoder: Literal["mlp", "resnet"] = "mlp"
    """Network of p(x | z)."""
    channels: tuple[int, ...] = (16, 32, 32)
    """resnet: feature maps of each level, each half as wide as the one before."""
    blocks: int = 2
    """resnet: residual blocks a level."""
    weights: Literal["lecun", "glorot"] = "lecun"
    """First weights of dense layers; Burda et al. have glorot."""
    data_bias: bool = False
    """Output biases begin where they reproduce each pixel's mean (as Burda et al. released it)."""
    likelihood: Literal["bernoulli", "gaussian", "discretized_logistic"] = "bernoulli"
    """p(x | z): of {0, 1} and grey levels; of real numbers, mean and variance both learned; of
    integers, with one learned scale a channel (2016)."""
    levels: int = 256
    """discretized_logistic: x is 0 .. levels - 1."""
    min_log_scale: float = -7.0
    """gaussian and discretized_logistic: no log scale is below."""
    posterior: Literal["diagonal", "full", "iaf"] = "diagonal"
    """q(z | x): Gaussian, diagonal or of full covariance; a diagonal one through a flow (2016)."""
    prior: Literal["normal", "vamp", "flow"] = "normal"
    """p(z): N(0, I); the posteriors of learned pseudo-inputs, mixed; an autoregressive flow."""
    flow_steps: int = 2
    """iaf and flow: steps, the order reversed between them."""
    flow_hidden: tuple[int, ...] = (320, 320)
    """iaf and flow: hidden units of each step's masked network."""
    pseudo_inputs: int = 500
    """vamp: how many (Tomczak and Welling 2018, section 4.2)."""
    objective: Literal["elbo", "sampled", "iwae", "dreg", "score"] = "elbo"
    """elbo: KL in closed form where there is one; sampled: all of it by samples; iwae: the bound of
    `latent_samples`; dreg: that bound, its gradient doubly reparameterised; score: the gradient of
    the score function, to compare with."""
    latent_samples: int = 1
    """Samples of z an example: averaged over, or those of the bound (Burda et al.: 1, 5, 50)."""
    gradient_samples: int = 0
    """iwae and dreg: how many of `latent_samples` the gradient goes through, drawn as their weights
    have it. The gradient's mean stays, and a step costs little more than computing the bound; 0 is
    all."""
    beta: float = 1.0
    """Weight of the KL."""
    kl_warmup: int = 0
    """Steps in which that weight rises from 0; counted in `buffers`, so they go on with a run."""
    free_bits: float = 0.0
    """Nats that each latent has for free in the batch's mean (2016, eq. 15); all latents together
    where the KL is sampled or the covariance full."""
    classes: int = 0
    """Of a label that encoder and decoder are given; 0 is none."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(
            shape=self.shape,
            latent=self.latent,
            channels=self.channels,
            blocks=self.blocks,
            flow_steps=self.flow_steps,
            flow_hidden=self.flow_hidden,
            pseudo_inputs=self.pseudo_inputs,
            latent_samples=self.latent_samples,
            levels_minus_1=self.levels - 1,
        )
        if self.hidden:
            checks.positive(hidden=self.hidden)
        checks.not_negative(
            beta=self.beta,
            kl_warmup=self.kl_warmup,
            free_bits=self.free_bits,
            classes=self.classes,
            gradient_samples=self.gradient_samples,
        )
        checks.choices(self)
        many = self.objective in ("iwae", "dreg")
        for wrong, sentence in (
            (
                "resnet" in (self.encoder, self.decoder) and len(self.shape) != 3,
                f"a resnet needs images, shape (H, W, C), not {self.shape}; take an mlp",
            ),
            (
                self.data_bias and self.decoder == "resnet",
                "a resnet has no bias a pixel that data_bias could set; take an mlp decoder",
            ),
            (
                self.posterior == "iaf"
                and (self.objective in ("dreg", "score") or self.prior == "vamp"),
                "objectives dreg and score and prior vamp need the density of any z, and an iaf"
                " posterior has that of its own samples; take posterior diagonal or full",
            ),
            (
                self.classes > 0 and self.prior == "vamp",
                "pseudo-inputs of a vamp prior have no label; set classes=0, or take another prior",
            ),
            (
                many and (self.beta != 1 or self.kl_warmup > 0),
                f"the bound of {self.objective} has no KL to weigh; leave beta at 1 and"
                " kl_warmup at 0, or take objective elbo",
            ),
            (
                self.free_bits > 0 and (many or self.objective == "score"),
                f"free_bits are for the KL of objective elbo or sampled, not for {self.objective}",
            ),
            (
                self.gradient_samples > 0 and not many,
                f"gradient_samples are drawn by the weights of objective iwae or dreg, not of"
                f" {self.objective}; leave it at 0",
            ),
            (
                self.gradient_samples > self.latent_samples,
                f"gradient_samples are of {self.latent_samples} latent_samples, so not"
                f" {self.gradient_samples}; set that many or fewer",
            ),
        ):
            if wrong:
                raise ValueError(f"vae: {sentence}.")


def tiny() -> Config:
    return Config(shape=(3, 3, 1), latent=1, hidden=(8,))


def traits(config: Config) -> Traits:
    """The likelihood says what x is made of."""
    data = {"bernoulli": "binary", "gaussian": "real", "discretized_logistic": "levels"}
    return Traits(
        data=data[config.likelihood],  # type: ignore[arg-type]
        density="bound",
        init_examples=_init_examples(config),
        sample_range=observation_range(config.likelihood, config.levels),
    )


def latent_shape(config: Config) -> tuple[int, ...]:
    """Shape of one z."""
    return (config.latent,)


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 `[B, *shape]`; as the likelihood has it in [0, 1] (between are grey levels),
    real, or whole numbers 0 .. levels - 1. With classes also `label`: int32 `[B]`."""
    spec = {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}
    if config.classes:
        spec["label"] = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    return spec


def _init_examples(config: Config) -> int:
    """Examples that `init` wants to see: for biases, and for pseudo-inputs that begin as images."""
    needed = config.pseudo_inputs if config.prior == "vamp" else 0
    return max(needed, 10_000) if config.data_bias else needed


def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    """Without `batch`, the biases of `data_bias` are 0 and pseudo-inputs are noise."""
    params = latent.init_latent(config, key, None if batch is None else batch["x"])
    counted = {"buffers": {"steps": jnp.zeros((), jnp.int32)}} if config.kl_warmup else {}
    return {"params": params, **counted}


def loss(
    config: Config, variables: Variables, batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """The objective, `[B]` nats; minus a bound on log p(x) where nothing weighs the KL.

    `elbo` and `sampled` average over the samples (2013, eq. 10 and 8), so does `score`. The values
    of `iwae` and `dreg` are minus the bound of all of them.
    """
    checks.batch("vae", batch, functools.partial(batch_spec, config))
    params, x = variables["params"], batch["x"]
    condition = _condition(config, batch.get("label"), x.shape[0])
    shared = latent.prepare(config, params, x, condition)
    weight: Any = config.beta
    aux: dict[str, Any] = {}
    if config.kl_warmup:
        steps = variables["buffers"]["steps"]
        weight = weight * kl_warmup(steps, config.kl_warmup)
        aux = {"kl_weight": weight, "updates": {"buffers": {"steps": steps + 1}}}
    nats, terms = objectives.objective_loss(config, params, shared, key, weight)
    return nats, terms | aux


def make_step(config: Config, optimizer: Any) -> Any:
    return gradient_step(functools.partial(loss, config), optimizer)


def _condition(config: Config, label: Any, size: int) -> jax.Array | None:
    """The label as the networks take it, `[B, classes]`; None without classes."""
    return one_hot_condition("vae", config.classes, label, size)


def _latents(config: Config, z: Any) -> jax.Array:
    """z `[B, Z]` as one sample of each example, `[1, B, Z]`."""
    if jnp.ndim(z) != 2 or jnp.shape(z)[1] != config.latent:
        raise ValueError(f"vae: z must be float32[B, {config.latent}], got {checks.describe(z)}.")
    return z[None]


def log_prior(config: Config, variables: Variables, z: jax.Array, label: Any = None) -> jax.Array:
    """log p(z), the same whatever the label: `[B, Z] -> [B]` nats."""
    del label
    params = variables["params"]
    components = latent.components_of(config, params)
    return latent.log_prior_of(config, params, _latents(config, z), components)[0]


def log_likelihood(
    config: Config, variables: Variables, x: jax.Array, z: jax.Array, label: Any = None
) -> jax.Array:
    """log p(x | z): `[B, *shape], [B, Z] -> [B]` nats."""
    checks.events("vae", x, config.shape)
    condition = _condition(config, label, x.shape[0])
    z = _latents(config, z)
    return latent.log_likelihood_of(config, variables["params"], x, z, condition)[0]


def _prepare(config: Config, variables: Variables, x: jax.Array, label: Any) -> latent.Shared:
    checks.events("vae", x, config.shape)
    condition = _condition(config, label, x.shape[0])
    return latent.prepare(config, variables["params"], x, condition)


def posterior(config: Config, variables: Variables, x: jax.Array, label: Any = None) -> Gaussian:
    """q(z | x), of an iaf posterior before its flow: mean and log standard deviation `[B, Z]`."""
    return _prepare(config, variables, x, label).q


def posterior_sample(
    config: Config, variables: Variables, x: jax.Array, key: jax.Array, label: Any = None
) -> tuple[jax.Array, jax.Array]:
    """z ~ q(z | x) `[B, Z]`, and log q(z | x) `[B]` nats."""
    shared = _prepare(config, variables, x, label)
    noise = jax.random.normal(key, (1, *shared.q.mean.shape))
    z, log_q = latent.draw_shared(config, variables["params"], shared, noise)
    return z[0], log_q[0]


def log_weight(
    config: Config, variables: Variables, x: jax.Array, key: jax.Array, label: Any = None
) -> jax.Array:
    """log p(x, z) - log q(z | x) of one z ~ q(z | x): `[B]` nats."""
    shared = _prepare(config, variables, x, label)
    noise = jax.random.normal(key, (1, *shared.q.mean.shape))
    return latent.draw_terms(config, variables["params"], shared, noise).log_weights[0]


def elbo(
    config: Config, variables: Variables, x: jax.Array, key: jax.Array, label: Any = None
) -> jax.Array:
    """A one-sample estimate of the lower bound on log p(x): `[B]` nats.

    With the KL in closed form where there is one, whatever the objective; nothing weighs it.
    """
    shared = _prepare(config, variables, x, label)
    noise = jax.random.normal(key, (1, *shared.q.mean.shape))
    found = latent.draw_terms(config, variables["params"], shared, noise)
    if not objectives.closed_form(config):
        return found.log_weights[0]
    return found.log_likelihood[0] - kl_from_standard(shared.q)


def log_prob_bound(
    config: Config,
    variables: Variables,
    x: jax.Array,
    key: jax.Array,
    num_samples: int,
    label: Any = None,
) -> jax.Array:
    """Importance-weighted bound, log of the mean of p(x, z) / q(z | x): `[B]` nats.

    In memory that does not grow with `num_samples`.
    """
    shared = _prepare(config, variables, x, label)

    def draw(key: jax.Array) -> jax.Array:
        noise = jax.random.normal(key, (1, *shared.q.mean.shape))
        return latent.draw_terms(config, variables["params"], shared, noise).log_weights[0]

    return log_mean_weight(draw, key, num_samples, shared.q.mean[:, 0])


def kl_units(config: Config, variables: Variables, x: jax.Array, label: Any = None) -> jax.Array:
    """KL(q(z_j | x) || p(z_j)) of each latent, in closed form: `[B, Z]` nats.

    Raises:
      ValueError: the posterior is not diagonal, or the prior not normal.
    """
    if config.posterior != "diagonal" or config.prior != "normal":
        raise ValueError(
            f"vae: the KL of each latent has a closed form for posterior diagonal and prior normal,"
            f" not for {config.posterior} and {config.prior}; use log_weight."
        )
    return kl_units_from_standard(_prepare(config, variables, x, label).q)


def _observation(config: Config, variables: Variables, z: jax.Array, label: Any) -> Any:
    z = _latents(config, z)[0]
    condition = _condition(config, label, z.shape[0])
    return latent.observation(config, variables["params"], z, condition)


def decode(config: Config, variables: Variables, z: jax.Array, label: Any = None) -> Any:
    """Parameters of p(x | z), for z `[B, Z]`: Bernoulli logits `[B, *shape]`; else a pair of means
    and log scales, those of discretized_logistic in units of [-1, 1]."""
    found = _observation(config, variables, z, label)
    return found if len(found) > 1 else found[0]


def decode_mean(config: Config, variables: Variables, z: jax.Array, label: Any = None) -> jax.Array:
    """Mean of p(x | z), in the units of x: `[B, Z] -> [B, *shape]`."""
    found = _observation(config, variables, z, label)
    return observation_mean(config.likelihood, found, config.levels)


def encode(config: Config, variables: Variables, x: jax.Array, label: Any = None) -> jax.Array:
    """Mean of q(z | x): `[B, Z]`; of an iaf posterior, where the flow takes the Gaussian's mean."""
    shared = _prepare(config, variables, x, label)
    return latent.draw_shared(config, variables["params"], shared, 0 * shared.q.mean[None])[0][0]


def active_unit_means(
    config: Config, variables: Variables, x: jax.Array, key: jax.Array, label: Any = None
) -> tuple[jax.Array]:
    """Mean of q(z | x), `[B, Z]`, whose variance over x says which latents are active.

    Of an iaf posterior, which has none in closed form, from 100 samples, made of the same noise for
    every x: what varies is what x says. Burda et al. 2015, section 5.1: A_u = Cov_x(E_q[u]).
    """
    shared = _prepare(config, variables, x, label)
    if config.posterior != "iaf":
        return (shared.q.mean,)

    def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        noise = jax.random.normal(key, (1, 1, config.latent))
        noise = jnp.broadcast_to(noise, (1, *shared.q.mean.shape))
        return total + latent.draw_shared(config, variables["params"], shared, noise)[0][0], None

    draws = jax.random.split(key, 100)
    return (jax.lax.scan(add, 0 * shared.q.mean, draws)[0] / len(draws),)


def prior_sample(config: Config, variables: Variables, key: jax.Array, n: int) -> jax.Array:
    """Samples of p(z): `[n, Z]`."""
    return latent.draw_prior(config, variables["params"], key, n)


def sample(
    config: Config, variables: Variables, key: jax.Array, n: int | None = None, label: Any = None
) -> jax.Array:
    """Samples of p(x): float32 `[n, *shape]`; one without `n`.

    With classes, of p(x | label); where no label is given, of each class in turn.
    """
    many = checks.sample_count(n)
    latent_key, pixel_key = jax.random.split(key)
    if config.classes and label is None:
        label = jnp.arange(many) % config.classes
    if config.classes:
        checks.labels("vae", config.classes, label)
    condition = _condition(config, label, many)
    z = prior_sample(config, variables, latent_key, many)
    found = latent.observation(config, variables["params"], z, condition)
    x = draw_observation(config.likelihood, found, pixel_key, config.levels)
    return x if n else x[0]
