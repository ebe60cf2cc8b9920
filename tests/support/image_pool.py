"""The pool of past images in plain Python, one image at a time as in Zhu et al.'s code."""

import jax
import numpy as np


class PlainPool:
    """Exchanges images, given as `[B, ...]`, with up to `size` past ones."""

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
