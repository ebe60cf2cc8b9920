"""Pool of past generated images, from which a discriminator is trained.

Shrivastava et al. 2017, "Learning from Simulated and Unsupervised Images through Adversarial
Training" (arXiv:1612.07828), section 2.3; one image at a time as in the code of Zhu et al. 2017,
"Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks"
(arXiv:1703.10593), section 4.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

ImagePool = dict[str, jax.Array]  # `images` [P, H, W, C] and their number `count` []


def init_pool(size: int, shape: Sequence[int]) -> ImagePool:
    """Returns an empty pool of `size` images, for the collection `buffers`."""
    return {"images": jnp.zeros((size, *shape)), "count": jnp.zeros((), jnp.int32)}


def query_pool(pool: ImagePool, images: jax.Array, key: jax.Array) -> tuple[jax.Array, ImagePool]:
    """Exchanges images with a pool, one after another: `[B, H, W, C] -> [B, H, W, C]`.

    While the pool is not full, an image is stored and returned. Then, with probability 1/2, a
    random image of the pool is returned and replaced by the new one; else the new one is returned
    and not stored.

    Args:
      pool: of `init_pool` or an earlier call.
      images: new images, which a later one of the batch can receive.
      key: of the random choices.

    Returns:
      The images, and the new pool.
    """
    size, number = pool["images"].shape[0], images.shape[0]
    swap_key, slot_key = jax.random.split(key)
    position = pool["count"] + jnp.arange(number)
    fills = position < size
    slot = jnp.where(fills, position, jax.random.randint(slot_key, (number,), 0, size))
    swaps = jax.random.bernoulli(swap_key, 0.5, (number,)) & ~fills
    # All images at once: a loop over them would be slow on a GPU. `same[i, j]` is whether the
    # images i and j have one slot, and j is stored there.
    same = (slot[:, None] == slot[None]) & (fills | swaps)[None]
    index = jnp.arange(number)
    before = jnp.where(same & (index[None] < index[:, None]), index[None], -1).max(1)
    replaced = (same & (index[None] > index[:, None])).any(1)  # by a later image

    def select(condition: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(condition[:, None, None, None], a, b)

    old = select(before >= 0, images[before], pool["images"][slot])
    stored = jnp.where((fills | swaps) & ~replaced, slot, size)  # the index `size` is dropped
    new = {
        "images": pool["images"].at[stored].set(images, mode="drop"),
        "count": jnp.minimum(pool["count"] + number, size),
    }
    return select(swaps, old, images), new
