"""Hierarchical VAE: several layers of Gaussian latents and Bernoulli pixels.

    p(x, h_1 .. h_L) = p(h_L) p(h_L-1 | h_L) ... p(h_1 | h_2) p(x | h_1)

p(h_L) is standard normal; every other conditional of p and of q is a diagonal Gaussian from an MLP:

    bottom_up   q(h | x) = q(h_1 | x) q(h_2 | h_1) ... q(h_L | h_L-1)
    top_down    q(h | x) = q(h_L | x) q(h_L-1 | h_L, x) ... q(h_1 | h_2, x)

Top-down inference (the ladder) first computes N(m_l, s_l^2) for each layer in a deterministic pass
d_1 = f_1(x), d_l = f_l(d_l-1), and combines it with the generative model on the way down:

    q(h_l | h_l+1, x) is proportional to N(h_l; m_l, s_l^2) p(h_l | h_l+1)

Bottom up: Burda et al. 2015, "Importance Weighted Autoencoders", eq. 8 and section 5. Top down:
Sønderby et al. 2016, "Ladder Variational Autoencoders", section 2.2 (here without batch
normalisation); called bidirectional by Kingma et al. 2016, "Improved Variational Inference with
Inverse Autoregressive Flow".
"""

import dataclasses
import functools
import itertools
import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from genjax import checks
from genjax.checks import NonNegativeFloat, NonNegativeInt, PositiveInt, PositiveInts
from genjax.core import (
    Batch,
    LossOutput,
    Traits,
    Variables,
    check_batch,
    compiled_init,
    resample_noise,
)
from genjax.core.batches import batch_spec as batch_spec
from genjax.losses import free_bits, gaussian_kl, gaussian_nll, iwae_loss, kl_warmup, resampled_loss
from genjax.nn import Bernoulli, Gaussian, OutputDense, Posterior

Layers = tuple[jax.Array, ...]  # one array `[B, Z_l]` per layer, from the bottom up


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and objective; the defaults are those of IWAE with two layers for MNIST.

    Settings per layer are in order from the bottom up. The ladder paper uses latent (64, 32, 16, 8,
    4), hidden (512, 256, 128, 64, 32), top_down, and warm-up.
    """

    shape: PositiveInts = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    latent: PositiveInts = (100, 50)
    """Units of each stochastic layer (IWAE, section 5)."""
    hidden: PositiveInts = (200, 100)
    """Units of the hidden layers between a stochastic layer and the one below, in both
    directions."""
    depth: PositiveInt = 2
    """Number of hidden layers there."""
    activation: Literal["tanh", "relu", "elu"] = "tanh"
    """Hidden activation."""
    data_bias: bool = False
    """Initialises the output biases at the mean of each pixel (IWAE, released code)."""
    inference: Literal["bottom_up", "top_down"] = "bottom_up"
    """Direction of q."""
    objective: Literal["elbo", "iwae"] = "elbo"
    """elbo: the mean of the samples' bounds; iwae: the importance-weighted bound."""
    latent_samples: PositiveInt = 1
    """Samples of the latents per example in training (IWAE: 1, 5, 50)."""
    gradient_samples: NonNegativeInt = 0
    """iwae: number of `latent_samples` that the gradient is computed at, resampled by their
    weights: unbiased, at little more than the cost of the bound. 0 uses all."""
    free_bits: NonNegativeFloat = 0.0
    """elbo: nats of KL per layer that are not penalised, averaged over the batch."""
    kl_warmup: NonNegativeInt = 0
    """elbo: steps over which the weight of the KL rises from 0 to 1 (ladder, section 2.3)."""
    dtype: checks.Dtype = "float32"
    """Dtype of the hidden layers and of the factors of the output layer's product. The sums of that
    product, the likelihood and the parameters are float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if len(self.latent) != len(self.hidden):
            raise ValueError(
                f"`latent` and `hidden` need one entry per stochastic layer, got {self.latent} and"
                f" {self.hidden}."
            )
        if self.objective == "iwae" and (self.free_bits or self.kl_warmup):
            raise ValueError("free_bits and kl_warmup apply to objective elbo; iwae has no KL.")
        if self.gradient_samples and self.objective != "iwae":
            raise ValueError("gradient_samples applies to objective iwae; leave it at 0.")
        if self.gradient_samples > self.latent_samples:
            raise ValueError(
                f"`gradient_samples` {self.gradient_samples} exceeds `latent_samples`"
                f" {self.latent_samples}."
            )


def traits(config: Config) -> Traits:
    init_examples = 10_000 if config.data_bias else 0
    return Traits(data="binary", density="bound", init_examples=init_examples)


def tiny() -> Config:
    return Config(shape=(3, 3, 1), latent=(2, 1), hidden=(6, 5), depth=1, inference="top_down")


class Net(nn.Module):
    """Hidden layers and a linear output: `[B, F] -> hidden [B, units], out [B, out]`."""

    config: Config
    units: int
    out: int

    @nn.compact
    def __call__(self, a: jax.Array) -> tuple[jax.Array, jax.Array]:
        c, init = self.config, nn.initializers.glorot_uniform()  # IWAE, section 5
        for i in range(c.depth):
            dense = nn.Dense(
                self.units, dtype=jnp.dtype(c.dtype), kernel_init=init, name=f"hidden_{i}"
            )
            a = getattr(nn, c.activation)(dense(a))
        return a, OutputDense(self.out, jnp.dtype(c.dtype), init, name="out")(a)


def _up(config: Config, layer: int) -> Net:
    """Network from the layer below to the Gaussian of this one."""
    return Net(config, config.hidden[layer], 2 * config.latent[layer])


def _down(config: Config, layer: int) -> Net:
    """Network from this layer to the Gaussian of the one below, or to the pixels."""
    below = 2 * config.latent[layer - 1] if layer else math.prod(config.shape)
    return Net(config, config.hidden[layer], below)


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    layers = range(len(config.latent))
    up_keys, down_keys = jax.random.split(key, (2, len(layers)))
    between = config.hidden if config.inference == "top_down" else config.latent
    below = (math.prod(config.shape), *between[:-1])
    up = {f"up_{i}": _up(config, i).init(up_keys[i], jnp.zeros((1, below[i]))) for i in layers}
    down = {
        f"down_{i}": _down(config, i).init(down_keys[i], jnp.zeros((1, config.latent[i])))
        for i in layers
    }
    params = {name: variables["params"] for name, variables in (up | down).items()}
    if config.data_bias and batch is not None:
        params["down_0"]["out"]["bias"] = Bernoulli.initial_outputs(batch["x"]).reshape(-1)
    if not config.kl_warmup:
        return {"params": params}
    return {"params": params, "buffers": {"steps": jnp.zeros((), jnp.int32)}}


class Inferred(NamedTuple):
    """Samples of all layers, and the densities q and p of each given the layers it depends on."""

    h: Layers
    q: tuple[Gaussian, ...]
    p: tuple[Gaussian, ...]

    def sampled_kl(self) -> jax.Array:
        """Returns log q - log p of each layer's sample, `[B, L]`."""
        kl = [
            gaussian_nll(h, p.loc, log_std=p.log_std) - gaussian_nll(h, q.loc, log_std=q.log_std)
            for h, q, p in zip(self.h, self.q, self.p, strict=True)
        ]
        return jnp.stack(kl, axis=1)

    def closed_kl(self) -> jax.Array:
        """Returns KL(q || p) of each layer given the sample above, `[B, L]`."""
        kl = [
            gaussian_kl(q.loc, log_std=q.log_std, prior_mean=p.loc, prior_log_std=p.log_std)
            for q, p in zip(self.q, self.p, strict=True)
        ]
        return jnp.stack(kl, axis=1)


def _conditional(config: Config, variables: Variables, above: jax.Array, i: int) -> Gaussian:
    """p(h_i | h_i+1), layers counted from 0."""
    params = {"params": variables["params"][f"down_{i + 1}"]}
    return Gaussian.from_outputs(_down(config, i + 1).apply(params, above)[1], config.latent[i])


class HierarchicalPosterior(Posterior):
    """q(h | x); samples are `Layers`."""

    variables: Variables
    x: jax.Array
    config: Config = struct.field(pytree_node=False)

    def infer(self, noise: Layers) -> Inferred:
        """Returns the samples made of standard normal noise, and the densities of the layers."""
        config, ladder = self.config, self.config.inference == "top_down"
        below, h, q = self.x.reshape(self.x.shape[0], -1), [], []
        for i, e in enumerate(noise):
            params = {"params": self.variables["params"][f"up_{i}"]}
            hidden, out = _up(config, i).apply(params, below)
            q.append(Gaussian.from_outputs(out, config.latent[i]))
            h.append(q[i].transform(e))
            below = hidden if ladder else h[i]
        zeros = jnp.zeros_like(noise[-1])
        p = [Gaussian(loc=zeros, log_std=zeros)]
        for i in reversed(range(len(noise) - 1)):
            p.insert(0, _conditional(config, self.variables, h[i + 1], i))
            if ladder:
                q[i] = q[i].product(p[0])
                h[i] = q[i].transform(noise[i])
        return Inferred(tuple(h), tuple(q), tuple(p))

    def sample(self, key: jax.Array) -> Layers:
        return self.infer(_noise(self.config, key, self.x.shape[0])).h

    def mean(self) -> Layers:
        """Returns the mean of each layer given the means of the layers it depends on."""
        return self.infer(tuple(jnp.zeros((self.x.shape[0], z)) for z in self.config.latent)).h

    def layer_means(self, key: jax.Array) -> Layers:
        """Returns the means of the layers given one sample of the layers they depend on.

        The sample uses the same noise for every example, so that the means vary with x alone.
        Source: Burda et al. 2015, section 5 and released code.
        """
        size = self.x.shape[0]
        noise = [jnp.broadcast_to(e, (size, e.shape[1])) for e in _noise(self.config, key, 1)]
        return tuple(q.loc for q in self.infer(tuple(noise)).q)

    def kl_layers(self, key: jax.Array) -> jax.Array:
        """Returns the KL term of each layer at one sample of the others, `[B, L]` nats.

        top_down: in closed form. bottom_up: log q(h_l | h_l-1) - log p(h_l | h_l+1) of the sample,
        as in IWAE. The expected sum over layers is the KL; the term of one layer may be negative.
        """
        return self.kl_of(self.infer(_noise(self.config, key, self.x.shape[0])))

    def kl_of(self, result: Inferred) -> jax.Array:
        return result.closed_kl() if self.config.inference == "top_down" else result.sampled_kl()


class HierarchicalPrior(struct.PyTreeNode):
    """p(h); samples are `Layers`.

    `transform` maps noise e ~ N(0, I) to samples, h_l = mean + std * e_l, where mean and std depend
    on the layer above. The noise of all layers is concatenated from the bottom up.
    """

    variables: Variables
    config: Config = struct.field(pytree_node=False)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (sum(self.config.latent),)

    def transform(self, noise: jax.Array) -> Layers:
        """Maps noise `[B, sum of Z_l]` to the layers."""
        if jnp.ndim(noise) != 2 or jnp.shape(noise)[1:] != self.event_shape:
            raise ValueError(
                f"hierarchical_vae: the noise must be float32[B, {self.event_shape[0]}], got"
                f" {checks.describe(noise)}."
            )
        ends = list(itertools.accumulate(self.config.latent))[:-1]
        return self._descend(tuple(jnp.split(noise, ends, axis=1)))

    def sample(self, key: jax.Array, n: int) -> Layers:
        return self._descend(_noise(self.config, key, n))

    def _descend(self, noise: Layers) -> Layers:
        h = [noise[-1]]
        for i in reversed(range(len(noise) - 1)):
            h.insert(0, _conditional(self.config, self.variables, h[0], i).transform(noise[i]))
        return tuple(h)


def posterior(config: Config, variables: Variables, x: jax.Array) -> HierarchicalPosterior:
    checks.events("hierarchical_vae", x, config.shape)
    return HierarchicalPosterior(variables, x, config)


def prior(config: Config, variables: Variables) -> HierarchicalPrior:
    return HierarchicalPrior(variables, config)


def likelihood(config: Config, variables: Variables, h: Layers | jax.Array) -> Bernoulli:
    """Returns p(x | h) for `Layers`, or for the bottom layer `[B, Z_1]`, on which x depends."""
    bottom = h[0] if isinstance(h, tuple) else h
    logits = _down(config, 0).apply({"params": variables["params"]["down_0"]}, bottom)[1]
    return Bernoulli(logits.reshape(bottom.shape[0], *config.shape))


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes minus the bound of the Config's objective, `[B]` nats."""
    check_batch("hierarchical_vae", config, batch)
    x, keys = batch["x"], jax.random.split(key, config.latent_samples)
    if config.objective == "iwae":
        noise = jax.vmap(lambda key: _noise(config, key, x.shape[0]))(keys)  # [K, B, Z_l]
        if not config.gradient_samples:
            return iwae_loss(_log_weights(config, variables, x, noise)), {}
        log_weights = _log_weights(config, jax.lax.stop_gradient(variables), x, noise)
        noise = resample_noise(key, log_weights, noise, config.gradient_samples)
        return resampled_loss(log_weights, _log_weights(config, variables, x, noise)), {}
    terms = jax.vmap(functools.partial(_terms, config, variables, x))(keys)
    nll, kl = (jnp.mean(part, axis=0) for part in terms)  # [B], [B, L]
    aux: dict[str, Any] = {"reconstruction": nll, "kl": jnp.sum(kl, axis=1)}
    aux |= {f"kl_{i + 1}": kl[:, i] for i in range(kl.shape[1])}
    penalty = free_bits(kl, config.free_bits) if config.free_bits else aux["kl"]
    if config.kl_warmup:
        steps = variables["buffers"]["steps"]
        penalty = kl_warmup(steps, config.kl_warmup) * penalty
        aux["updates"] = {"buffers": {"steps": steps + 1}}
    return nll + penalty, aux


def log_weight(config: Config, variables: Variables, x: jax.Array, key: jax.Array) -> jax.Array:
    """Returns log p(x, h) - log q(h | x) of one h ~ q(h | x), `[B]` nats."""
    checks.events("hierarchical_vae", x, config.shape)
    noise = jax.tree.map(lambda e: e[None], _noise(config, key, x.shape[0]))
    return _log_weights(config, variables, x, noise)[0]


def elbo(config: Config, variables: Variables, x: jax.Array, key: jax.Array) -> jax.Array:
    """Estimates the lower bound on log p(x) by one sample, `[B]` nats."""
    nll, kl = _terms(config, variables, x, key)
    return -nll - jnp.sum(kl, axis=1)


def encode(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Returns the mean of q of the bottom layer, `[B, Z_1]`."""
    return posterior(config, variables, x).mean()[0]


def sample(config: Config, variables: Variables, key: jax.Array, n: int | None = None) -> jax.Array:
    """Draws from p(x): float32 `[n, *shape]` in {0, 1}, or one image without `n`."""
    checks.sampling(Config, config, variables, key)
    latent_key, pixel_key = jax.random.split(key)
    h = prior(config, variables).sample(latent_key, checks.sample_count(n))
    x = likelihood(config, variables, h).sample(pixel_key)
    return x if n else x[0]


def _log_weights(config: Config, variables: Variables, x: jax.Array, noise: Layers) -> jax.Array:
    """`log_weight` of the samples from noise `[K, B, Z_l]`: `[K, B]` nats."""
    q = HierarchicalPosterior(variables, x, config)

    def one(noise: Layers) -> jax.Array:
        result = q.infer(noise)
        log_p = likelihood(config, variables, result.h).log_prob(x)
        return log_p - jnp.sum(result.sampled_kl(), axis=1)

    return jax.vmap(one)(noise)


def _terms(
    config: Config, variables: Variables, x: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """-log p(x | h_1) `[B]` and `kl_layers` `[B, L]` at one sample."""
    q = posterior(config, variables, x)
    result = q.infer(_noise(config, key, x.shape[0]))
    return -likelihood(config, variables, result.h).log_prob(x), q.kl_of(result)


def _noise(config: Config, key: jax.Array, n: int) -> Layers:
    keys = jax.random.split(key, len(config.latent))
    return tuple(jax.random.normal(k, (n, z)) for k, z in zip(keys, config.latent, strict=True))
