"""Transformer blocks: self-attention with any boolean mask, feed-forward network, cache."""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

Kernel = Literal["xla", "cudnn"]


class KeyValues(NamedTuple):
    """Keys and values of a layer, `[B, heads, S, D / heads]` each, of S positions of a sequence."""

    keys: jax.Array
    values: jax.Array


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: Any, kernel: Kernel = "xla"
) -> jax.Array:
    """Computes the mean of values weighted by softmax(query key / sqrt(H)), `[B, T, heads, H]`.

    Args:
      query: `[B, T, heads, H]`.
      key: `[B, S, heads, H]`.
      value: `[B, S, heads, H]`.
      mask: bool `[B or 1, heads or 1, T or 1, S]`, or None.
      kernel: implementation; cudnn is for NVIDIA GPUs and 16 bit only.
    """
    dtype = query.dtype
    if dtype == jnp.float16 and kernel == "xla":  # not all platforms have its products
        query, key, value = (a.astype(jnp.float32) for a in (query, key, value))
    y = jax.nn.dot_product_attention(query, key, value, mask=mask, implementation=kernel)
    return y.astype(dtype)


def attend_cached(query: jax.Array, cache: KeyValues, mask: Any) -> jax.Array:
    """Computes `attend` with the keys and values of a cache: `[B, T, heads, H]`.

    On a CPU, `jax.nn.dot_product_attention` makes a transposed copy of all keys and values, which
    takes longer than the products of a single query.
    """
    dtype, keys, values = query.dtype, cache.keys, cache.values
    if dtype == jnp.float16:  # as in `attend`
        query, keys, values = (a.astype(jnp.float32) for a in (query, keys, values))
    query = jnp.swapaxes(query, 1, 2) * query.shape[-1] ** -0.5
    logits = jnp.einsum("bhtd,bhsd->bhts", query, keys, preferred_element_type=jnp.float32)
    logits = jnp.where(mask, logits, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(logits, axis=-1).astype(query.dtype)
    return jnp.swapaxes(jnp.einsum("bhts,bhsd->bhtd", weights, values), 1, 2).astype(dtype)


def dense(module: nn.Module, x: jax.Array) -> jax.Array:
    """Applies a layer of `[N, D]` to `[..., D]`.

    The gradient of a product of matrices is 2 to 4 times faster on a CPU than that of more axes.
    """
    y = module(x.reshape(-1, x.shape[-1]))
    return y.reshape(*x.shape[:-1], y.shape[-1])


class HeadsDense(nn.Module):
    """Computes queries, keys and values of all heads: three arrays `[..., heads, D / heads]`.

    The kernel is `[D, 3, heads, D / heads]`, which tensor parallelism divides by heads.
    """

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        width = x.shape[-1]
        shape = (3, self.heads, width // self.heads)
        init = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2, 3))
        kernel = self.param("kernel", init, (width, *shape)).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, shape).astype(self.dtype)
        flat = x.reshape(-1, width).astype(self.dtype)
        found = (flat @ kernel[:, i].reshape(width, -1) + bias[i].reshape(1, -1) for i in range(3))
        return tuple(y.reshape(*x.shape[:-1], *shape[1:]) for y in found)


class SelfAttention(nn.Module):
    """Multi-head self-attention, `[B, T, D] -> [B, T, D]` in `dtype`.

    Softmax is computed in float32. A position whose mask allows nothing has the mean of all values.

    Vaswani et al. 2017, "Attention Is All You Need" (arXiv:1706.03762), section 3.2. Normalised
    queries and keys: Dehghani et al. 2023, "Scaling Vision Transformers to 22 Billion Parameters"
    (arXiv:2302.05442), section 2.

    Attributes:
      heads: their number, a divisor of D.
      dtype: of the products; parameters are float32.
      split_heads: whether the first kernel is `[D, 3, heads, D / heads]`, which tensor parallelism
        can divide by heads, instead of `[D, 3 D]`.
      qk_norm: whether queries and keys of each head are normalised.
      kernel: of `attend`, without a cache.
    """

    heads: int
    dtype: Any = jnp.float32
    split_heads: bool = False
    qk_norm: bool = False
    kernel: Kernel = "xla"

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
        return self._attend(x, mask, None, 0)[0]

    def extend(
        self, x: jax.Array, mask: jax.Array, cache: KeyValues, start: jax.Array | int
    ) -> tuple[jax.Array, KeyValues]:
        """Applies the layer to positions start .. start + T - 1 of a sequence of S positions.

        Args:
          x: their values `[B, T, D]`.
          mask: bool `[B or 1, heads or 1, T or 1, S]`, as that of `__call__`.
          cache: keys and values of the positions before `start`.
          start: number of positions before.

        Returns:
          `[B, T, D]`, and the cache with these positions.
        """
        y, extended = self._attend(x, mask, cache, start)
        assert extended is not None
        return y, extended

    @nn.compact
    def _attend(
        self,
        x: jax.Array,
        mask: jax.Array | None,
        cache: KeyValues | None,
        start: jax.Array | int,
    ) -> tuple[jax.Array, KeyValues | None]:
        batch, length, width = x.shape
        if width % self.heads:
            raise ValueError(
                f"{width} features are not divisible by {self.heads} heads; use a multiple."
            )
        if self.split_heads:
            layer = HeadsDense(self.heads, self.dtype, name="query_key_value")
            query, key, value = layer(x)
        else:
            joint = dense(nn.Dense(3 * width, dtype=self.dtype, name="query_key_value"), x)
            parts = joint.reshape(batch, length, 3, self.heads, width // self.heads)
            query, key, value = parts[:, :, 0], parts[:, :, 1], parts[:, :, 2]
        if self.qk_norm:
            query = nn.LayerNorm(use_bias=False, dtype=self.dtype, name="query_norm")(query)
            key = nn.LayerNorm(use_bias=False, dtype=self.dtype, name="key_norm")(key)
        if cache is None:
            y = attend(query, key, value, mask, self.kernel)
        else:
            keys, values = (
                jax.lax.dynamic_update_slice_in_dim(
                    old, jnp.swapaxes(new, 1, 2).astype(old.dtype), start, axis=2
                )
                for old, new in zip(cache, (key, value), strict=True)
            )
            cache = KeyValues(keys, values)
            y = attend_cached(query, cache, mask)
        return dense(nn.Dense(width, dtype=self.dtype, name="out"), y.reshape(x.shape)), cache


class TransformerBlock(nn.Module):
    """Pre-norm transformer block, `[B, T, D] -> [B, T, D]` in the dtype of the input.

    x + attention(norm(x)), then x + dense(gelu(dense(norm(x)))).

    Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture" (arXiv:2002.04745),
    table 1.

    Attributes:
      heads: of the attention, a divisor of D.
      expansion: hidden units of the feed-forward network, divided by D.
      dropout: rate of both residual branches in training, on the stream `dropout`.
      dtype: of the products; parameters, statistics and softmax are float32.
      split_heads, qk_norm, kernel: of `SelfAttention`.
    """

    heads: int
    expansion: int = 4
    dropout: float = 0.0
    dtype: Any = jnp.float32
    split_heads: bool = False
    qk_norm: bool = False
    kernel: Kernel = "xla"

    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Applies the block; `mask` is that of `SelfAttention`."""
        return self._apply(x, mask, train, None, 0)[0]

    def extend(
        self, x: jax.Array, mask: jax.Array, cache: KeyValues, start: jax.Array | int
    ) -> tuple[jax.Array, KeyValues]:
        """Applies the block to some positions of a sequence; see `SelfAttention.extend`."""
        y, extended = self._apply(x, mask, False, cache, start)
        assert extended is not None
        return y, extended

    @nn.compact
    def _apply(
        self,
        x: jax.Array,
        mask: jax.Array | None,
        train: bool,
        cache: KeyValues | None,
        start: jax.Array | int,
    ) -> tuple[jax.Array, KeyValues | None]:
        def dropped(y: jax.Array) -> jax.Array:
            return nn.Dropout(self.dropout, deterministic=not train)(y).astype(x.dtype)

        def norm(name: str, x: jax.Array) -> jax.Array:
            return nn.LayerNorm(dtype=self.dtype, name=name)(x)

        attention = SelfAttention(
            self.heads,
            self.dtype,
            self.split_heads,
            self.qk_norm,
            self.kernel,
            name="attention",
        )
        attended, y = None, norm("attention_norm", x)
        if cache is None:
            y = attention(y, mask)
        else:
            assert mask is not None
            y, attended = attention.extend(y, mask, cache, start)
        x = x + dropped(y)
        width = x.shape[-1]
        hidden = nn.Dense(self.expansion * width, dtype=self.dtype, name="hidden")
        y = nn.gelu(dense(hidden, norm("norm", x)))
        return x + dropped(dense(nn.Dense(width, dtype=self.dtype, name="out"), y)), attended
