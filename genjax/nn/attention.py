"""Transformer blocks: self-attention under any boolean mask, and a network of two layers."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class SelfAttention(nn.Module):
    """Multi-head self-attention, `[B, T, D] -> [B, T, D]` in `dtype`.

    Softmax is computed in float32. A position whose mask allows nothing has the mean of all values.

    Vaswani et al. 2017, "Attention Is All You Need" (arXiv:1706.03762), section 3.2.

    Attributes:
      heads: their number, a divisor of D.
      dtype: of the products; parameters are float32.
    """

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Applies the layer.

        Args:
          x: values `[B, T, D]`.
          mask: bool `[B or 1, heads or 1, T or 1, T]`, True where the position of the third axis
            may attend to that of the last; None allows everything. `jnp.tril(jnp.ones((1, 1, T, T),
            bool))` is causal.

        Raises:
          ValueError: D is no multiple of `heads`.
        """
        batch, length, width = x.shape
        if width % self.heads:
            raise ValueError(
                f"{width} features are not divisible by {self.heads} heads; use a multiple."
            )
        joint = nn.Dense(3 * width, dtype=self.dtype, name="query_key_value")(x)
        parts = joint.reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts[:, :, 0], parts[:, :, 1], parts[:, :, 2]
        y = jax.nn.dot_product_attention(query, key, value, mask=mask)
        return nn.Dense(width, dtype=self.dtype, name="out")(y.reshape(x.shape))


class TransformerBlock(nn.Module):
    """Pre-norm transformer block, `[B, T, D] -> [B, T, D]` in the dtype of the input.

    x + attention(norm(x)), then x + dense(gelu(dense(norm(x)))).

    Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture" (arXiv:2002.04745),
    table 1.

    Attributes:
      heads: of the attention, a divisor of D.
      expansion: hidden units of the second part, times D.
      dropout: rate of both parts in training, on the stream `dropout`.
      dtype: of the products; parameters, statistics and softmax are float32.
    """

    heads: int
    expansion: int = 4
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Applies the block; `mask` is that of `SelfAttention`."""

        def dropped(y: jax.Array) -> jax.Array:
            return nn.Dropout(self.dropout, deterministic=not train)(y).astype(x.dtype)

        def norm(name: str, x: jax.Array) -> jax.Array:
            return nn.LayerNorm(dtype=self.dtype, name=name)(x)

        attention = SelfAttention(self.heads, self.dtype, name="attention")
        x = x + dropped(attention(norm("attention_norm", x), mask))
        width = x.shape[-1]
        y = nn.Dense(self.expansion * width, dtype=self.dtype, name="hidden")(norm("norm", x))
        return x + dropped(nn.Dense(width, dtype=self.dtype, name="out")(nn.gelu(y)))
