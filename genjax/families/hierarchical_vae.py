"""Hierarchical VAE: Gaussian layers above each other and Bernoulli pixels, inferred either way.

    p(x, h_1 .. h_L) = p(h_L) p(h_L-1 | h_L) ... p(h_1 | h_2) p(x | h_1)

p(h_L) is a standard normal, every other conditional a diagonal Gaussian from an MLP, and so is q:

    bottom_up   q(h | x) = q(h_1 | x) q(h_2 | h_1) ... q(h_L | h_L-1)
    top_down    q(h | x) = q(h_L | x) q(h_L-1 | h_L, x) ... q(h_1 | h_2, x)

Bottom up, each layer sees a sample of the one below, and an upper layer that carries nothing is
easily lost. Top down (the ladder), a deterministic pass d_1 = f_1(x), d_l = f_l(d_l-1) first says
what x tells of every layer, N(m_l, s_l^2); on the way down it corrects the generative model:

    q(h_l | h_l+1, x) is proportional to N(h_l; m_l, s_l^2) p(h_l | h_l+1)

Bottom up: Burda et al. 2015, "Importance Weighted Autoencoders", eq. 8 and section 5. Top down:
Sønderby et al. 2016, "Ladder Variational Autoencoders", section 2.2 (without their batch
normalisation); Kingma et al. 2016, "Improved Variational Inference with Inverse Autoregressive
Flow", call it bidirectional.
"""

import dataclasses
import functools
import itertools
import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core import Traits, gradient_step, log_mean_weight, resample_noise
from genjax.losses import (
    bernoulli_nll,
    free_bits,
    gaussian_kl,
    gaussian_nll,
    iwae_loss,
    kl_warmup,
    resampled_loss,
)
from genjax.nn import (
    Gaussian,
    OutputDense,
    draw_observation,
    observation_bias,
    precision_weighted,
    split_gaussian,
    standard_log_density,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and objective; the defaults are the IWAE paper's two layers for MNIST.

    Per-layer settings run from the bottom up. The ladder paper's are latent (64, 32, 16, 8, 4),
    hidden (512, 256, 128, 64, 32), top_down, and warm-up.
    """

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    latent: tuple[int, ...] = (100, 50)
    """Units of each stochastic layer (IWAE, section 5)."""
    hidden: tuple[int, ...] = (200, 100)
    """Units of each hidden layer between a stochastic layer and the one below, both ways."""
    depth: int = 2
    """Hidden layers there."""
    activation: Literal["tanh", "relu", "elu"] = "tanh"
    """Hidden activation."""
    data_bias: bool = False
    """Output biases begin where they reproduce each pixel's mean (as IWAE was released)."""
    inference: Literal["bottom_up", "top_down"] = "bottom_up"
    """Direction of q."""
    objective: Literal["elbo", "iwae"] = "elbo"
    """elbo: the mean of the samples' bounds; iwae: the importance-weighted bound from them."""
    latent_samples: int = 1
    """Samples of the latents an example in training (IWAE, k = 1, 5, 50)."""
    gradient_samples: int = 0
    """iwae: how many of `latent_samples` the gradient goes through, drawn as their weights have
    it. The gradient's mean stays, and a step costs little more than computing the bound; 0 is all.
    """
    free_bits: float = 0.0
    """elbo: nats that every layer has for free, on average over the batch; 0 is none."""
    kl_warmup: int = 0
    """elbo: steps in which the weight of the KL rises from 0 to 1; counted in `buffers`, so they go
    on with a run (ladder, section 2.3)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the hidden layers and of the output's factors; parameters, sums and likelihood stay
    float32."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(
            shape=self.shape,
            latent=self.latent,
            hidden=self.hidden,
            depth=self.depth,
            latent_samples=self.latent_samples,
        )
        checks.not_negative(
            free_bits=self.free_bits,
            kl_warmup=self.kl_warmup,
            gradient_samples=self.gradient_samples,
        )
        checks.choices(self)
        if len(self.latent) != len(self.hidden):
            raise ValueError(
                f"latent and hidden are one number a stochastic layer, got {self.latent} and"
                f" {self.hidden}."
            )
        if self.objective == "iwae" and (self.free_bits or self.kl_warmup):
            raise ValueError("free_bits and kl_warmup are for objective elbo; iwae has no KL.")
        if self.gradient_samples and self.objective != "iwae":
            raise ValueError("gradient_samples are for objective iwae; leave it at 0.")
        if self.gradient_samples > self.latent_samples:
            raise ValueError(
                f"gradient_samples are of {self.latent_samples} latent_samples, so not"
                f" {self.gradient_samples}; set that many or fewer."
            )


def traits(config: Config) -> Traits:
    return Traits(data="binary", density="bound", init_examples=_init_examples(config))


def tiny() -> Config:
    return Config(shape=(3, 3, 1), latent=(2, 1), hidden=(6, 5), depth=1, inference="top_down")


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 `[B, *shape]` in [0, 1]; values between 0 and 1 are grey levels."""
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


def latents(config: Config) -> tuple[int, ...]:
    """Units of each stochastic layer, from the bottom up."""
    return config.latent


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
    """From what is below a layer to its Gaussian."""
    return Net(config, config.hidden[layer], 2 * config.latent[layer])


def _down(config: Config, layer: int) -> Net:
    """From a layer to what is below: a Gaussian, or pixels."""
    below = 2 * config.latent[layer - 1] if layer else math.prod(config.shape)
    return Net(config, config.hidden[layer], below)


def _init_examples(config: Config) -> int:
    """Examples that `init` wants to see."""
    return 10_000 if config.data_bias else 0


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    """Without `batch`, biases of `data_bias` are 0."""
    layers = range(len(config.latent))
    up_keys, down_keys = jax.random.split(key, (2, len(layers)))
    # What a layer is inferred from.
    between = config.hidden if config.inference == "top_down" else config.latent
    below = (math.prod(config.shape), *between[:-1])
    up = {f"up_{i}": _up(config, i).init(up_keys[i], jnp.zeros((1, below[i]))) for i in layers}
    down = {
        f"down_{i}": _down(config, i).init(down_keys[i], jnp.zeros((1, config.latent[i])))
        for i in layers
    }
    params = {name: found["params"] for name, found in (up | down).items()}
    if config.data_bias and batch is not None:
        bias = observation_bias("bernoulli", batch["x"], levels=2)
        params["down_0"]["out"]["bias"] = bias.reshape(-1)
    if not config.kl_warmup:
        return {"params": params}
    return {"params": params, "buffers": {"steps": jnp.zeros((), jnp.int32)}}


class Inferred(NamedTuple):
    """A sample of all layers, and the two densities that each was drawn under, from the bottom up.

    h: samples `[B, Z_l]`.
    q: of each layer given x and what it was inferred from.
    p: of each layer given the one above.
    """

    h: tuple[jax.Array, ...]
    q: tuple[Gaussian, ...]
    p: tuple[Gaussian, ...]


def infer(
    config: Config, variables: dict[str, Any], x: jax.Array, noise: tuple[jax.Array, ...]
) -> Inferred:
    """h ~ q(h | x) from standard normal `noise`, `[B, Z_l]` a layer."""
    checks.events("hierarchical_vae", x, config.shape)
    ladder = config.inference == "top_down"
    below, h, q = x.reshape(x.shape[0], -1), [], []
    for i, e in enumerate(noise):
        params = {"params": variables["params"][f"up_{i}"]}
        hidden, out = _up(config, i).apply(params, below)
        q.append(split_gaussian(out, config.latent[i], full=False))
        h.append(_draw(q[i], e))
        below = hidden if ladder else h[i]
    zeros = jnp.zeros_like(noise[-1])
    p = [Gaussian(zeros, zeros)]
    for i in reversed(range(len(noise) - 1)):
        p.insert(0, generate(config, variables, h[i + 1], i))
        if ladder:  # what x told alone is corrected, and drawn again with the same noise
            q[i] = precision_weighted(q[i], p[0])
            h[i] = _draw(q[i], noise[i])
    return Inferred(tuple(h), tuple(q), tuple(p))


def generate(config: Config, variables: dict[str, Any], above: jax.Array, layer: int) -> Gaussian:
    """p(h_layer | h_layer+1), layers counted from 0: h_layer+1 `[B, Z_layer+1]`."""
    params = {"params": variables["params"][f"down_{layer + 1}"]}
    out = _down(config, layer + 1).apply(params, above)[1]
    return split_gaussian(out, config.latent[layer], full=False)


def decode(config: Config, variables: dict[str, Any], h: jax.Array) -> jax.Array:
    """Bernoulli logits of p(x | h_1): `[B, Z_1] -> [B, *shape]`."""
    logits = _down(config, 0).apply({"params": variables["params"]["down_0"]}, h)[1]
    return logits.reshape(h.shape[0], *config.shape)


def decode_mean(config: Config, variables: dict[str, Any], h: jax.Array) -> jax.Array:
    """Mean of p(x | h_1): `[B, Z_1] -> [B, *shape]` in (0, 1)."""
    return jax.nn.sigmoid(decode(config, variables, h))


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """Minus the bound that the Config names, from its samples: `[B]` nats."""
    checks.batch("hierarchical_vae", batch, functools.partial(batch_spec, config))
    x, keys = batch["x"], jax.random.split(key, config.latent_samples)
    if config.objective == "iwae":
        noise = jax.vmap(lambda key: _noise(config, key, x.shape[0]))(keys)  # [K, B, Z_l]
        if not config.gradient_samples:
            return iwae_loss(_weights(config, variables, x, noise)), {}
        every = _weights(config, jax.lax.stop_gradient(variables), x, noise)
        noise = resample_noise(key, every, noise, config.gradient_samples)
        return resampled_loss(every, _weights(config, variables, x, noise)), {}
    terms = jax.vmap(functools.partial(_terms, config, variables, x))(keys)
    nll, kl = (jnp.mean(part, axis=0) for part in terms)  # [B], [B, L]
    aux: dict[str, Any] = {"reconstruction": nll, "kl": jnp.sum(kl, axis=1)}
    aux |= {f"kl_{i + 1}": kl[:, i] for i in range(kl.shape[1])}
    paid = free_bits(kl, config.free_bits) if config.free_bits else aux["kl"]
    if config.kl_warmup:
        steps = variables["buffers"]["steps"]
        paid = kl_warmup(steps, config.kl_warmup) * paid
        aux["updates"] = {"buffers": {"steps": steps + 1}}
    return nll + paid, aux


def make_step(config: Config, optimizer: Any) -> Any:
    return gradient_step(functools.partial(loss, config), optimizer)


def log_weight(
    config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array
) -> jax.Array:
    """log p(x, h) - log q(h | x) at one sample h ~ q(h | x): `[B]` nats."""
    noise = jax.tree.map(lambda e: e[None], _noise(config, key, x.shape[0]))
    return _weights(config, variables, x, noise)[0]


def _weights(config: Config, variables: dict[str, Any], x: jax.Array, noise: Any) -> jax.Array:
    """`log_weight` of several samples made of noise `[K, B, Z_l]` a layer: `[K, B]` nats."""

    def one(noise: Any) -> jax.Array:
        found = infer(config, variables, x, noise)
        nll = bernoulli_nll(decode(config, variables, found.h[0]), x)
        return -nll - jnp.sum(_sampled_kl(found), axis=1)

    return jax.vmap(one)(noise)


def elbo(config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array) -> jax.Array:
    """A one-sample estimate of the lower bound on log p(x): `[B]` nats."""
    nll, kl = _terms(config, variables, x, key)
    return -nll - jnp.sum(kl, axis=1)


def log_prob_bound(
    config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array, num_samples: int
) -> jax.Array:
    """Importance-weighted bound, log of the mean of p(x, h) / q(h | x): `[B]` nats.

    In memory that does not grow with `num_samples`.
    """
    checks.events("hierarchical_vae", x, config.shape)
    draw = functools.partial(log_weight, config, variables, x)
    return log_mean_weight(draw, key, num_samples, x.reshape(x.shape[0], -1)[:, 0])


def kl_layers(config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array) -> jax.Array:
    """What each layer costs in the ELBO, at one sample of the others: `[B, L]` nats.

    top_down: KL(q(h_l | h_l+1, x) || p(h_l | h_l+1)) in closed form. bottom_up: log q(h_l | h_l-1)
    - log p(h_l | h_l+1), all from the sample as the IWAE paper has it; its sum over layers is a KL
    on average, and a layer's part of it may be negative.
    """
    return _terms(config, variables, x, key)[1]


def active_unit_means(
    config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array
) -> tuple[jax.Array, ...]:
    """Means of q of every layer's units, `[B, Z_l]`, whose variance over x says which are active.

    A layer that is inferred from another one is taken at one sample of that, as the authors' code
    has it: bottom_up all but h_1, top_down all but h_L (IWAE, section 5: A_u = Cov_x(E_q[u])). The
    sample is made of the same noise for every x, so that what varies is what x says.
    """
    noise = [jnp.broadcast_to(e, (x.shape[0], e.shape[1])) for e in _noise(config, key, 1)]
    found = infer(config, variables, x, tuple(noise))
    return tuple(q.mean for q in found.q)


def encode(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Mean of q of the bottom layer: `[B, Z_1]`; top_down, with the layers above at their means."""
    checks.events("hierarchical_vae", x, config.shape)
    still = tuple(jnp.zeros((x.shape[0], z)) for z in config.latent)
    return infer(config, variables, x, still).q[0].mean


def prior_sample(config: Config, variables: dict[str, Any], key: jax.Array, n: int) -> jax.Array:
    """Samples of p(h_1), the layer next to x, through all above it: `[n, Z_1]`."""
    return _descend(config, variables, _noise(config, key, n))


def latent_shape(config: Config) -> tuple[int, ...]:
    """Shape of one z as annealed importance sampling takes it: the noise of all layers in a row.

    h_L = z_L, and given the layer above h_l = mean + std * z_l: every z is N(0, 1), and p(x) is the
    integral over z as much as over h.
    """
    return (sum(config.latent),)


def log_prior(config: Config, variables: dict[str, Any], z: jax.Array) -> jax.Array:
    """log p(z) of the layers' noise: `[B, sum of Z_l] -> [B]` nats."""
    del variables
    _check_noise(config, z)
    return standard_log_density(z)


def log_likelihood(
    config: Config, variables: dict[str, Any], x: jax.Array, z: jax.Array
) -> jax.Array:
    """log p(x | h_1) of layers made of noise: `[B, *shape], [B, sum of Z_l] -> [B]` nats."""
    checks.events("hierarchical_vae", x, config.shape)
    _check_noise(config, z)
    ends = list(itertools.accumulate(config.latent))[:-1]
    h = _descend(config, variables, tuple(jnp.split(z, ends, axis=1)))
    return -bernoulli_nll(decode(config, variables, h), x)


def _check_noise(config: Config, z: Any) -> None:
    size = sum(config.latent)
    if jnp.ndim(z) != 2 or jnp.shape(z)[1] != size:
        raise ValueError(
            f"hierarchical_vae: z must be float32[B, {size}], got {checks.describe(z)}."
        )


def _descend(config: Config, variables: dict[str, Any], noise: tuple[jax.Array, ...]) -> jax.Array:
    """h_1 ~ p, from the noise of every layer: `[B, Z_1]`."""
    h = noise[-1]
    for i in reversed(range(len(config.latent) - 1)):
        h = _draw(generate(config, variables, h, i), noise[i])
    return h


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Samples of p(x): float32 `[n, *shape]` in {0, 1}; one image without `n`."""
    latent_key, pixel_key = jax.random.split(key)
    h = prior_sample(config, variables, latent_key, checks.sample_count(n))
    x = draw_observation("bernoulli", (decode(config, variables, h),), pixel_key, 2)
    return x if n else x[0]


def _terms(
    config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """-log p(x | h_1) `[B]` and `kl_layers` `[B, L]` at one sample."""
    found = infer(config, variables, x, _noise(config, key, x.shape[0]))
    nll = bernoulli_nll(decode(config, variables, found.h[0]), x)
    return nll, (_closed_kl if config.inference == "top_down" else _sampled_kl)(found)


def _closed_kl(found: Inferred) -> jax.Array:
    """`[B, L]`; q and p of a layer are given the same sample above."""
    pairs = zip(found.q, found.p, strict=True)
    kl = [
        gaussian_kl(q.mean, q.log_std, prior_mean=p.mean, prior_log_std=p.log_std) for q, p in pairs
    ]
    return jnp.stack(kl, axis=1)


def _sampled_kl(found: Inferred) -> jax.Array:
    """log q - log p of each layer's sample: `[B, L]`."""
    triples = zip(found.h, found.q, found.p, strict=True)
    kl = [
        gaussian_nll(h, p.mean, p.log_std) - gaussian_nll(h, q.mean, q.log_std)
        for h, q, p in triples
    ]
    return jnp.stack(kl, axis=1)


def _draw(gaussian: Gaussian, noise: jax.Array) -> jax.Array:
    return gaussian.mean + jnp.exp(gaussian.log_std) * noise


def _noise(config: Config, key: jax.Array, n: int) -> tuple[jax.Array, ...]:
    """Standard normal, `[n, Z_l]` a layer."""
    keys = jax.random.split(key, len(config.latent))
    return tuple(jax.random.normal(k, (n, z)) for k, z in zip(keys, config.latent, strict=True))
