"""Layers with an equalised learning rate: weights of unit variance, scaled at run time.

An optimizer such as Adam changes every weight by about its learning rate. If all weights have unit
variance, that is the same relative change in every layer, whatever its number of inputs.

Source: Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and
Variation" (arXiv:1710.10196), section 4.1, with the constant of He et al. 2015 (arXiv:1502.01852).
"""

import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.convolution import conv
from genjax.nn.resampling import conv_downsample, upsample_conv

Resample = Literal["up", "down"]

LAYERS = {None: conv, "up": upsample_conv, "down": conv_downsample}


class EqualizedDense(nn.Module):
    """Dense layer with an equalised learning rate: `[B, I] -> [B, features]`.

    Parameters `kernel` `[I, features]` and `bias`, float32.

    Attributes:
      features: number of outputs.
      gain: of the nonlinearity that follows; outputs have a variance of gain^2 times the mean
        square of the inputs.
      equalized: whether weights are initialised from N(0, 1) and multiplied by gain / sqrt(I) in
        every call. Otherwise they are initialised from N(0, gain^2 / I).
      use_bias: whether to add biases, initialised with 0.
      dtype: of the computation and the outputs.
    """

    features: int
    gain: float = math.sqrt(2)
    equalized: bool = True
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = _kernel(self, (x.shape[-1], self.features))
        return _add_bias(self, x.astype(self.dtype) @ kernel)


class EqualizedConv(nn.Module):
    """Convolution with an equalised learning rate: `[B, H, W, I] -> [B, H', W', features]`.

    Parameters `kernel` `[kernel, kernel, I, features]` and `bias`, float32. Zeros pad the maps, so
    the convolution keeps their sides.

    Attributes:
      features: channels of the output.
      kernel: side of the kernel.
      gain: as of `EqualizedDense`, with kernel^2 I inputs.
      resample: `"up"` repeats every pixel twice in each direction before the convolution, `"down"`
        averages 2x2 pixels after it.
      equalized: as of `EqualizedDense`, with kernel^2 I inputs.
      use_bias: whether to add biases, initialised with 0.
      dtype: of the computation and the outputs.
    """

    features: int
    kernel: int = 3
    gain: float = math.sqrt(2)
    resample: Resample | None = None
    equalized: bool = True
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = _kernel(self, (self.kernel, self.kernel, x.shape[-1], self.features))
        return _add_bias(self, LAYERS[self.resample](x.astype(self.dtype), kernel))


def _kernel(layer: EqualizedDense | EqualizedConv, shape: tuple[int, ...]) -> jax.Array:
    """Returns the weights of a layer, multiplied by the run-time scale."""
    scale = layer.gain / math.sqrt(math.prod(shape[:-1]))
    initial = nn.initializers.normal(1.0 if layer.equalized else scale)
    kernel = layer.param("kernel", initial, shape)
    return (kernel * scale if layer.equalized else kernel).astype(layer.dtype)


def _add_bias(layer: EqualizedDense | EqualizedConv, y: jax.Array) -> jax.Array:
    if not layer.use_bias:
        return y
    bias = layer.param("bias", nn.initializers.zeros, (layer.features,))
    return y + bias.astype(layer.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
