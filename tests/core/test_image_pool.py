"""The pool of past images against a plain Python reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.image_pool import init_pool, query_pool

SIZE = 7


class PlainPool:
    """Takes one image at a time, as the code of Zhu et al. 2017."""

    def __init__(self, size):
        self.size, self.images = size, []

    def query(self, images, swaps, slots):
        returned = []
        for image, swap, slot in zip(images, swaps, slots, strict=True):
            if len(self.images) < self.size:
                self.images.append(image)
                returned.append(image)
            elif swap:
                returned.append(self.images[slot])
                self.images[slot] = image
            else:
                returned.append(image)
        return returned


def pool_choices(key, n, size):
    """Returns the random choices of `query_pool`: whether to exchange, and the slots."""
    swap_key, slot_key = jax.random.split(key)
    swaps = jax.random.bernoulli(swap_key, 0.5, (n,))
    return np.asarray(swaps).tolist(), jax.random.randint(slot_key, (n,), 0, size).tolist()


@pytest.mark.parametrize("batch", [1, 5, 20])
def test_500_images_equal_a_reference_that_takes_them_one_by_one(batch):
    """A batch of 5 fills the pool in its middle; one of 20 replaces images of its own."""
    pool, reference = init_pool(SIZE, (1, 2, 1)), PlainPool(SIZE)
    query = jax.jit(query_pool, donate_argnums=0)
    keys = jax.random.split(jax.random.key(batch), 500 // batch)
    for step, key in enumerate(keys):
        values = np.arange(step * batch, (step + 1) * batch, dtype=np.float32) + 1
        images = np.tile(values[:, None, None, None], (1, 1, 2, 1))
        got, pool = query(pool, images, key)
        want = reference.query(values.tolist(), *pool_choices(key, batch, SIZE))
        assert np.asarray(got)[:, 0, 0, 0].tolist() == want
        assert np.asarray(got)[:, 0, 1, 0].tolist() == want
        n = int(pool["count"])
        assert np.asarray(pool["images"])[:n, 0, 0, 0].tolist() == reference.images
    assert n == SIZE
    # Half of the images are exchanged: some returned images are old.
    assert min(want) < values.min()


def test_half_of_the_images_are_exchanged_with_every_slot():
    pool = init_pool(4, (1, 1, 1))
    first, pool = query_pool(pool, jnp.zeros((4, 1, 1, 1)), jax.random.key(0))
    assert not first.any()
    # Against a full pool of old images, each alone.
    new = jnp.ones((2000, 1, 1, 1, 1))
    keys = jax.random.split(jax.random.key(1), 2000)
    got, pools = jax.vmap(query_pool, (None, 0, 0))(pool, new, keys)
    assert abs(float(got.mean()) - 0.5) < 0.04  # 3.5 standard deviations
    stored = np.asarray(pools["images"])[:, :, 0, 0, 0]  # [2000, 4]
    np.testing.assert_array_equal(stored.sum(1), 1 - np.asarray(got)[:, 0, 0, 0, 0])
    assert (abs(stored.mean(0) - 1 / 8) < 0.03).all()
