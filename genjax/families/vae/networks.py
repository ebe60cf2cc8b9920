"""Encoder and decoder networks of the VAE, and their initial parameters."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.families.vae.flow import Flow
from genjax.families.vae.resnet import ResNetDecoder, ResNetEncoder
from genjax.nn import MLP, Bernoulli, DiscretizedLogistic, Gaussian, Normal

HEADS = {"bernoulli": 1, "gaussian": 2, "discretized_logistic": 1}  # output arrays of a decoder


class ToVector(nn.Module):
    """Maps `x [B, *shape]` and a condition `[B, K]` or None to `[B, out]` in float32."""

    kind: str  # `mlp`, or `resnet` for images (H, W, C)
    out: int
    # units of the hidden layers; of a resnet, of the dense layers after the convolutions
    hidden: Sequence[int]
    # hidden activation of an mlp; a resnet uses ELU
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    channels: Sequence[int] = ()  # feature maps of a resnet's levels
    blocks: int = 0  # residual blocks per level of a resnet
    # computation of the hidden layers and of the output's factors; parameters stay float32
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        dense = (self.hidden, self.out)
        if self.kind == "resnet":
            return ResNetEncoder(self.channels, self.blocks, *dense, self.dtype, self.kernel_init)(
                x, condition
            )
        x = _concatenate(x.reshape(x.shape[0], -1), condition)
        return MLP(*dense, self.activation, self.dtype, self.kernel_init)(x)


class ToEvent(nn.Module):
    """Maps `z [B, Z]` and a condition `[B, K]` or None to `heads` arrays `[B, *shape]`, float32.

    Attributes as in `ToVector`, with hidden layers and levels in its order: they are reversed here.
    """

    kind: str
    shape: tuple[int, ...]
    heads: int
    hidden: Sequence[int]
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    channels: Sequence[int] = ()
    blocks: int = 0
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, z: jax.Array, condition: jax.Array | None = None) -> tuple[jax.Array, ...]:
        z = _concatenate(z, condition)
        if self.kind == "resnet":
            height, width, channels = self.shape
            levels = (self.channels, self.blocks, self.hidden, self.heads * channels)
            out = ResNetDecoder((height, width), *levels, self.dtype, self.kernel_init)(z)
        else:
            dense = (self.hidden[::-1], self.heads * math.prod(self.shape))
            out = MLP(*dense, self.activation, self.dtype, self.kernel_init)(z)
        parts = jnp.split(out, self.heads, axis=-1)
        return tuple(part.reshape(-1, *self.shape) for part in parts)


def _concatenate(x: jax.Array, condition: jax.Array | None) -> jax.Array:
    return x if condition is None else jnp.concatenate([x, condition], axis=-1)


def encoder(config: Any) -> ToVector:
    """Returns the network from x to the Gaussian's parameters and the flow's context."""
    size = Gaussian.num_outputs(config.latent, config.posterior == "full")
    return ToVector(config.encoder, size + context_size(config), **_settings(config))


def decoder(config: Any) -> ToEvent:
    """Returns the network from z to the arrays that parameterise p(x | z)."""
    return ToEvent(config.decoder, config.shape, HEADS[config.likelihood], **_settings(config))


def flow(config: Any) -> Flow:
    """Returns the flow of an iaf posterior, or of a flow prior, which maps z to noise."""
    return Flow(config.flow_steps, config.flow_hidden, jnp.dtype(config.dtype))


def context_size(config: Any) -> int:
    """Returns the size of the context of an iaf posterior: that of the last hidden layer."""
    return (config.hidden or config.flow_hidden)[-1] if config.posterior == "iaf" else 0


def _settings(config: Any) -> dict[str, Any]:
    glorot, lecun = nn.initializers.glorot_uniform(), nn.initializers.lecun_normal()
    return {
        "hidden": config.hidden,
        "activation": getattr(nn, config.activation),
        "channels": config.channels,
        "blocks": config.blocks,
        "dtype": jnp.dtype(config.dtype),
        "kernel_init": glorot if config.weights == "glorot" else lecun,
    }


def init_params(config: Any, key: jax.Array, x: jax.Array | None = None) -> dict[str, Any]:
    """Returns initial parameters.

    Args:
      config: a VAE's Config.
      key: typed key.
      x: examples `[N, *shape]` that output biases and pseudo-inputs are initialised from; without
        them biases are 0 and pseudo-inputs are noise.
    """
    c = config
    encoder_key, decoder_key, flow_key, prior_key = jax.random.split(key, 4)
    event, z = jnp.zeros((1, *c.shape)), jnp.zeros((1, c.latent))
    condition = jnp.zeros((1, c.classes)) if c.classes else None
    params = {
        "encoder": encoder(c).init(encoder_key, event, condition)["params"],
        "decoder": decoder(c).init(decoder_key, z, condition)["params"],
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
