"""Gradients that are accumulated over several batches."""

import dataclasses

import chex
import jax
import numpy as np
from support.helpers import make_batch

from genjax.core import Optimizer, init_state, make_step
from genjax.families import dalle


def test_two_batches_of_dalle_are_one_of_twice_the_size():
    """Texts of different lengths weigh the same; nothing moves before the second batch."""
    model = dataclasses.replace(dalle.tiny(), layers=1, remat=False, dropout=0.0, null_captions=0.0)
    batch = make_batch(dalle, model, 8)
    assert len(np.unique((batch["text"] != 0).sum(1))) > 1
    parts = [jax.tree.map(lambda a: a[i::2], batch) for i in range(2)]  # noqa: B023
    found = {}
    for count in (1, 2):
        settings = Optimizer(optimizer="sgd", learning_rate=1.0, clip=0.5, accumulate=count)
        optimizer = settings.build()
        state = init_state(dalle, model, optimizer, jax.random.key(0))
        before = state.variables["params"]
        step = jax.jit(make_step(dalle, model, optimizer))
        for part in [batch] if count == 1 else parts:
            if part is parts[1]:
                chex.assert_trees_all_equal(state.variables["params"], before)
            state, _ = step(state, part)
        found[count] = jax.tree.map(lambda a, b: a - b, state.variables["params"], before)
    largest = max(float(abs(leaf).max()) for leaf in jax.tree.leaves(found[1]))
    assert largest > 0.01
    chex.assert_trees_all_close(found[2], found[1], rtol=1e-4, atol=1e-6)
