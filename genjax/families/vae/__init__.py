"""VAE: a variational autoencoder with one layer of Gaussian latents.

p(x) = integral of p(x | z) p(z) dz has no closed form; the encoder q(z | x) gives a bound,

    ELBO = E_q[log p(x | z)] - KL(q(z | x) || p(z)) <= log p(x),

whose gradient flows through z = mean + std * noise. The Config selects the networks, p(x | z),
q(z | x), p(z) and the objective independently.

Kingma and Welling 2013, "Auto-Encoding Variational Bayes", eqs. 3 and 7, appendices B and C, and
2019, "An Introduction to Variational Autoencoders". Several samples: Burda et al. 2015, "Importance
Weighted Autoencoders"; Tucker et al. 2018 (dreg). Posterior and free bits: Kingma et al. 2016,
"Improved Variational Inference with Inverse Autoregressive Flow". Priors: Tomczak and Welling 2018,
"VAE with a VampPrior"; Chen et al. 2017, "Variational Lossy Autoencoder" (flow).
"""

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.checks import NonNegativeFloat, NonNegativeInt, PositiveInt, PositiveInts
from genjax.core import Batch, LossOutput, Traits, Variables, check_batch, compiled_init
from genjax.core.batches import batch_spec as batch_spec
from genjax.families.vae import densities, networks, objectives
from genjax.losses import kl_warmup
from genjax.nn import one_hot_condition


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and objective; the defaults are those of Kingma and Welling 2013 for MNIST."""

    shape: PositiveInts = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    latent: PositiveInt = 20
    """Latent dimensions (2013, figure 2: 3, 5, 10, 20, 200)."""
    hidden: tuple[PositiveInt, ...] = (500,)
    """Units of the dense hidden layers of the encoder (2013, section 5); the decoder has them in
    reverse. Empty is linear."""
    activation: Literal["tanh", "relu", "elu"] = "tanh"
    """Hidden activation of an mlp (2013, appendix C); a resnet uses ELU."""
    dtype: checks.Dtype = "float32"
    """Dtype of the hidden layers and of the factors of the output layer's product. The sums of that
    product, the likelihood and the parameters are float32."""
    encoder: Literal["mlp", "resnet"] = "mlp"
    """Network of q(z | x)."""
    decoder: Literal["mlp", "resnet"] = "mlp"
    """Network of p(x | z)."""
    channels: PositiveInts = (16, 32, 32)
    """resnet: feature maps of each level; every level halves the image."""
    blocks: PositiveInt = 2
    """resnet: residual blocks per level."""
    weights: Literal["lecun", "glorot"] = "lecun"
    """Initializer of dense layers; Burda et al. use glorot."""
    data_bias: bool = False
    """Initialises the output biases at the mean of each pixel (Burda et al., released code)."""
    likelihood: Literal["bernoulli", "gaussian", "discretized_logistic"] = "bernoulli"
    """p(x | z): bernoulli for {0, 1} and grey levels; gaussian for real numbers, with learned mean
    and variance; discretized_logistic for integers, with a learned scale per channel (2016)."""
    levels: Annotated[int, checks.Bounds(2)] = 256
    """discretized_logistic: x is 0 .. levels - 1."""
    min_log_scale: float = -7.0
    """gaussian and discretized_logistic: lower bound of the log scales."""
    posterior: Literal["diagonal", "full", "iaf"] = "diagonal"
    """q(z | x): a Gaussian of diagonal or full covariance; iaf transforms a diagonal one by an
    inverse autoregressive flow (2016)."""
    prior: Literal["normal", "vamp", "flow"] = "normal"
    """p(z): N(0, I); the mixture of the posteriors of learned pseudo-inputs; an autoregressive
    flow."""
    flow_steps: PositiveInt = 2
    """iaf and flow: steps, with the order of the latents reversed between them."""
    flow_hidden: PositiveInts = (320, 320)
    """iaf and flow: hidden units of the masked network of each step."""
    pseudo_inputs: PositiveInt = 500
    """vamp: number of pseudo-inputs (Tomczak and Welling 2018, section 4.2)."""
    objective: Literal["elbo", "sampled", "iwae", "dreg", "score"] = "elbo"
    """elbo: KL in closed form where there is one; sampled: KL by samples; iwae: bound of
    `latent_samples`; dreg: the same bound with doubly reparameterised gradients; score: gradients
    by the score function, for comparison."""
    latent_samples: PositiveInt = 1
    """Samples of z per example: averaged, or those of the bound (Burda et al.: 1, 5, 50)."""
    gradient_samples: NonNegativeInt = 0
    """iwae and dreg: number of `latent_samples` that the gradient is computed at, resampled by
    their weights: unbiased, at little more than the cost of the bound. 0 uses all."""
    beta: NonNegativeFloat = 1.0
    """Weight of the KL."""
    kl_warmup: NonNegativeInt = 0
    """Steps over which that weight rises from 0; `buffers` counts them."""
    free_bits: NonNegativeFloat = 0.0
    """Nats of KL per latent that are not penalised, averaged over the batch (2016, eq. 15). A KL
    that is sampled, or of full covariance, is one group of all latents."""
    classes: NonNegativeInt = 0
    """Classes of a label that encoder and decoder are conditioned on; 0 is none."""

    def __post_init__(self) -> None:
        checks.validate(self)
        multi_sample = self.objective in ("iwae", "dreg")
        for invalid, message in (
            (
                "resnet" in (self.encoder, self.decoder) and len(self.shape) != 3,
                f"a resnet needs images of shape (H, W, C), got {self.shape}; use an mlp",
            ),
            (
                self.data_bias and self.decoder == "resnet",
                "`data_bias` needs an output bias per pixel, which a resnet lacks; use an mlp"
                " decoder",
            ),
            (
                self.posterior == "iaf"
                and (self.objective in ("dreg", "score") or self.prior == "vamp"),
                "objectives dreg and score and prior vamp need the density of any z, and an iaf"
                " posterior evaluates its own samples only; use posterior diagonal or full",
            ),
            (
                self.classes > 0 and self.prior == "vamp",
                "the pseudo-inputs of prior vamp have no label; set classes=0, or use another"
                " prior",
            ),
            (
                multi_sample and (self.beta != 1 or self.kl_warmup > 0),
                f"objective {self.objective} has no KL term to weight; leave beta at 1 and"
                " kl_warmup at 0, or use objective elbo",
            ),
            (
                self.free_bits > 0 and (multi_sample or self.objective == "score"),
                f"`free_bits` applies to objectives elbo and sampled, not to {self.objective}",
            ),
            (
                self.gradient_samples > 0 and not multi_sample,
                f"`gradient_samples` applies to objectives iwae and dreg, not to"
                f" {self.objective}; leave it at 0",
            ),
            (
                self.gradient_samples > self.latent_samples,
                f"`gradient_samples` {self.gradient_samples} exceeds `latent_samples`"
                f" {self.latent_samples}",
            ),
        ):
            if invalid:
                raise ValueError(f"vae: {message}.")


def tiny() -> Config:
    return Config(shape=(3, 3, 1), latent=1, hidden=(8,))


def traits(config: Config) -> Traits:
    data = {"bernoulli": "binary", "gaussian": "real", "discretized_logistic": "levels"}
    inputs = config.pseudo_inputs if config.prior == "vamp" else 0
    return Traits(
        data=data[config.likelihood],  # type: ignore[arg-type]
        density="bound",
        init_examples=max(inputs, 10_000) if config.data_bias else inputs,
        sample_range=networks.value_range(config),
    )


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    params = networks.init_params(config, key, None if batch is None else batch["x"])
    buffers = {"buffers": {"steps": jnp.zeros((), jnp.int32)}} if config.kl_warmup else {}
    return {"params": params, **buffers}


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes the objective, `[B]` nats: minus a bound on log p(x) where the KL has weight 1."""
    check_batch("vae", config, batch)
    x = batch["x"]
    condition = one_hot_condition("vae", config.classes, batch.get("label"), x.shape[0])
    weight: Any = config.beta
    aux: dict[str, Any] = {}
    if config.kl_warmup:
        steps = variables["buffers"]["steps"]
        weight = weight * kl_warmup(steps, config.kl_warmup)
        aux = {"kl_weight": weight, "updates": {"buffers": {"steps": steps + 1}}}
    params = variables["params"]
    nats, terms = objectives.objective_loss(config, params, x, condition, key, weight)
    return nats, terms | aux


def posterior(config: Config, variables: Variables, x: jax.Array, label: Any = None) -> Any:
    """Returns q(z | x), z `[B, Z]`."""
    checks.events("vae", x, config.shape)
    condition = one_hot_condition("vae", config.classes, label, x.shape[0])
    return densities.posterior(config, variables["params"], x, condition)


def prior(config: Config, variables: Variables) -> Any:
    """Returns p(z), which is the same for all labels."""
    return densities.prior(config, variables["params"])


def likelihood(config: Config, variables: Variables, z: jax.Array, label: Any = None) -> Any:
    """Returns p(x | z) for z `[B, Z]`."""
    if jnp.ndim(z) != 2 or jnp.shape(z)[1] != config.latent:
        raise ValueError(f"vae: z must be float32[B, {config.latent}], got {checks.describe(z)}.")
    condition = one_hot_condition("vae", config.classes, label, z.shape[0])
    return densities.likelihood(config, variables["params"], z, condition)


def encode(config: Config, variables: Variables, x: jax.Array, label: Any = None) -> jax.Array:
    """Returns the mean of q(z | x), `[B, Z]`; for an iaf posterior, the flow at the base mean."""
    return posterior(config, variables, x, label).mean()


def sample(
    config: Config, variables: Variables, key: jax.Array, n: int | None = None, label: Any = None
) -> jax.Array:
    """Draws from p(x), or p(x | label): float32 `[n, *shape]`, or one example without `n`.

    With classes and no label, the samples cycle through the classes.
    """
    checks.sampling(Config, config, variables, key)
    count = checks.sample_count(n)
    latent_key, pixel_key = jax.random.split(key)
    if config.classes and label is None:
        label = jnp.arange(count) % config.classes
    if config.classes:
        checks.labels("vae", config.classes, label)
    z = prior(config, variables).sample(latent_key, count)
    x = likelihood(config, variables, z, label).sample(pixel_key)
    return x if n else x[0]
