"""Encoders of texts, by characters or by tokens, and of images."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.attention import TransformerBlock
from genjax.nn.convolution import Conv
from genjax.nn.mlp import OutputDense
from genjax.nn.strided import DownStack


class CharCnnRnn(nn.Module):
    """Convolutions over one-hot characters, then a recurrent network, `[B, T] -> [B, E]`.

    A ReLU follows each convolution, and max-pooling all but the last. The recurrent states
    h_t = relu(W x_t + U h_{t-1} + b) are averaged over all steps, those of padding included, and
    mapped linearly. Padding is encoded as a vector of zeros.

    Reed et al. 2016 (arXiv:1605.05395), section 4; the authors' network for GAN-INT-CLS, which has
    18 recurrent steps for 201 characters.

    Attributes:
      out: size of the embedding, E.
      vocabulary: number of characters, padding included.
      widths: channels of the convolutions; the last is also the width of the recurrent network.
      kernel: width of the convolutions' kernels.
      pool: window and stride of the max-poolings.
      dtype: of the products; parameters and the embedding are float32.
    """

    out: int
    vocabulary: int
    widths: Sequence[int]
    kernel: int = 4
    pool: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, text: jax.Array) -> jax.Array:
        x = jax.nn.one_hot(text - 1, self.vocabulary - 1, dtype=self.dtype)[:, None]  # [B, 1, T, V]
        for i, width in enumerate(self.widths):
            convolution = Conv(width, (1, self.kernel), padding="VALID", dtype=self.dtype)
            x = nn.relu(convolution(x))
            if i + 1 < len(self.widths):
                x = nn.max_pool(x, (1, self.pool), (1, self.pool))
        inputs = nn.Dense(self.widths[-1], dtype=self.dtype, name="input")(x[:, 0])  # [B, S, width]
        square = (self.widths[-1], self.widths[-1])
        weights = self.param("recurrent", nn.initializers.orthogonal(), square)
        weights = weights.astype(self.dtype)

        def step(state: jax.Array, new: jax.Array) -> tuple[jax.Array, jax.Array]:
            state = nn.relu(new + state @ weights)
            return state, state

        first, others = nn.relu(inputs[:, 0]), inputs[:, 1:].swapaxes(0, 1)
        _, states = jax.lax.scan(step, first, others)
        mean = (first + states.sum(axis=0)) / inputs.shape[1]
        return OutputDense(self.out, self.dtype, name="out")(mean)


def char_cnn_steps(length: int, layers: int, kernel: int, pool: int) -> int:
    """Returns the number of recurrent steps of `CharCnnRnn`; below 1 if the texts are too short.

    >>> char_cnn_steps(201, 3, 4, 3)
    18
    """
    for i in range(layers):
        length = length - kernel + 1
        length = length // pool if i + 1 < layers else length
    return length


class TransformerEncoder(nn.Module):
    """A transformer over tokens, averaged over all but padding, `[B, T] -> [B, E]`.

    Attributes:
      out: size of the embedding, E.
      vocabulary: number of tokens, padding included.
      width: features of a token.
      layers: number of transformer blocks.
      heads: attention heads of a block, a divisor of `width`.
      dtype: of the products; parameters and the embedding are float32.
    """

    out: int
    vocabulary: int
    width: int
    layers: int
    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, text: jax.Array) -> jax.Array:
        initial = nn.initializers.normal(0.02)
        present = text > 0
        x = nn.Embed(self.vocabulary, self.width, embedding_init=initial, name="tokens")(text)
        x = x + self.param("positions", initial, (text.shape[1], self.width))[None]
        for _ in range(self.layers):
            x = TransformerBlock(self.heads, dtype=self.dtype)(x, present[:, None, None])
        x = jnp.where(present[..., None], nn.LayerNorm(name="norm")(x), 0.0)
        mean = x.sum(axis=1) / jnp.maximum(present.sum(axis=1, keepdims=True), 1)
        return OutputDense(self.out, self.dtype, name="out")(mean)


class ImageEncoder(nn.Module):
    """Strided convolutions with layer normalisation, `[B, H, W, C] -> [B, E]`.

    The last map is flattened instead of averaged, since captions describe positions.

    Attributes:
      out: size of the embedding, E.
      widths: channels of the convolutions, each with stride 2.
      dtype: of the products; parameters and the embedding are float32.
    """

    out: int
    widths: Sequence[int]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        he = nn.initializers.he_normal()
        stack = DownStack(self.widths, (), 4, "layer", kernel_init=he, dtype=self.dtype)
        x = stack(2 * x - 1)[-1]
        return OutputDense(self.out, self.dtype, name="out")(x.reshape(x.shape[0], -1))
