"""Encoder and decoder networks of the VAE, and their initial parameters."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.families.vae.flow import Flow
from genjax.families.vae.resnet import ResNetDecoder, ResNetEncoder
from genjax.nn import MLP, Bernoulli, DiscretizedLogistic, Gaussian, Normal

HEADS = {"bernoulli": 1, "gaussian": 2, "discretized_logistic": 1}  # output arrays of a decoder


class Encoder(nn.Module):
    """Maps `x [B, *shape]` and a condition `[B, K]` or None to `[B, out]` in float32."""

    config: Any
    out: int

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        c, options = self.config, _dense_options(self.config)
        if c.encoder == "resnet":
            network = ResNetEncoder(c.channels, c.blocks, c.hidden, self.out, **options)
            return network(x, condition)
        x = _concatenate(x.reshape(x.shape[0], -1), condition)
        return MLP(c.hidden, self.out, getattr(nn, c.activation), **options)(x)


class Decoder(nn.Module):
    """Maps `z [B, Z]` and a condition `[B, K]` or None to arrays `[B, *shape]` in float32.

    Their number is in `HEADS`. Hidden layers and levels are those of the encoder in reverse order.
    """

    config: Any

    @nn.compact
    def __call__(self, z: jax.Array, condition: jax.Array | None = None) -> tuple[jax.Array, ...]:
        c, heads, options = self.config, HEADS[self.config.likelihood], _dense_options(self.config)
        z = _concatenate(z, condition)
        if c.decoder == "resnet":
            height, width, channels = c.shape
            levels = (c.channels, c.blocks, c.hidden, heads * channels)
            out = ResNetDecoder((height, width), *levels, **options)(z)
        else:
            dims = heads * math.prod(c.shape)
            out = MLP(c.hidden[::-1], dims, getattr(nn, c.activation), **options)(z)
        return tuple(part.reshape(-1, *c.shape) for part in jnp.split(out, heads, axis=-1))


def _concatenate(x: jax.Array, condition: jax.Array | None) -> jax.Array:
    return x if condition is None else jnp.concatenate([x, condition], axis=-1)


def encoder(config: Any) -> Encoder:
    """Returns the network from x to the Gaussian's parameters and the flow's context."""
    size = Gaussian.num_outputs(config.latent, config.posterior == "full")
    return Encoder(config, size + context_size(config))


def flow(config: Any) -> Flow:
    """Returns the flow of an iaf posterior, or of a flow prior, which maps z to noise."""
    return Flow(config.flow_steps, config.flow_hidden, jnp.dtype(config.dtype))


def context_size(config: Any) -> int:
    """Returns the size of the context of an iaf posterior: that of the last hidden layer."""
    return (config.hidden or config.flow_hidden)[-1] if config.posterior == "iaf" else 0


def _dense_options(config: Any) -> dict[str, Any]:
    glorot, lecun = nn.initializers.glorot_uniform(), nn.initializers.lecun_normal()
    init = glorot if config.weights == "glorot" else lecun
    return {"dtype": jnp.dtype(config.dtype), "kernel_init": init}


def init_params(config: Any, key: jax.Array, x: jax.Array | None = None) -> dict[str, Any]:
    """Returns initial parameters.

    Output biases and pseudo-inputs are computed from examples `x [N, *shape]`; without them biases
    are 0 and pseudo-inputs are noise.
    """
    c = config
    encoder_key, decoder_key, flow_key, prior_key = jax.random.split(key, 4)
    event, z = jnp.zeros((1, *c.shape)), jnp.zeros((1, c.latent))
    condition = jnp.zeros((1, c.classes)) if c.classes else None
    params = {
        "encoder": encoder(c).init(encoder_key, event, condition)["params"],
        "decoder": Decoder(c).init(decoder_key, z, condition)["params"],
    }
    if c.likelihood == "discretized_logistic":
        params["log_scale"] = jnp.full((c.shape[-1],), -1.0)
    if c.posterior == "iaf":
        context = jnp.zeros((1, context_size(c)))
        params["flow"] = flow(c).init(flow_key, z, context)["params"]
    if c.prior == "flow":
        params["prior"] = flow(c).init(prior_key, z)["params"]
    if c.prior == "vamp":
        inputs = jax.random.normal(prior_key, (c.pseudo_inputs, *c.shape))
        if x is not None:
            inputs = _to_unbounded(c, x[jnp.arange(c.pseudo_inputs) % x.shape[0]])
        params["prior"] = {"pseudo_inputs": inputs}
    if c.data_bias and x is not None:
        bias = _initial_outputs(c, x).ravel()
        params["decoder"]["MLP_0"]["out"]["bias"] = bias
    return params


def _initial_outputs(config: Any, x: jax.Array) -> jax.Array:
    """Decoder outputs `[HEADS, *shape]` that reproduce the mean of each entry of `x`."""
    if config.likelihood == "discretized_logistic":
        return DiscretizedLogistic.initial_outputs(x, config.levels)
    return (Bernoulli if config.likelihood == "bernoulli" else Normal).initial_outputs(x)


def value_range(config: Any) -> tuple[float, float]:
    """Returns the lowest and highest value of x."""
    if config.likelihood == "gaussian":
        return -math.inf, math.inf
    return 0.0, config.levels - 1.0 if config.likelihood == "discretized_logistic" else 1.0


def _to_unbounded(config: Any, x: jax.Array) -> jax.Array:
    """Inverse of the map in `pseudo_inputs`."""
    low, high = value_range(config)
    if math.isinf(high):
        return x
    share = jnp.clip((x - low) / (high - low), 0.05, 0.95)  # keeps gradients of the sigmoid large
    return jnp.log(share) - jnp.log1p(-share)


def pseudo_inputs(config: Any, params: Any) -> jax.Array:
    """Returns the pseudo-inputs of a vamp prior within the range of x, `[P, *shape]`."""
    low, high = value_range(config)
    unbounded = params["prior"]["pseudo_inputs"]
    return unbounded if math.isinf(high) else low + (high - low) * jax.nn.sigmoid(unbounded)
