"""Statistics of batch normalisation for weights that no batch has been seen with: averages."""

from typing import Any

import jax
import jax.numpy as jnp

from genjax.core.adversarial import one_turn

# What a running statistic keeps of itself when it takes a batch's; every batch normalisation here.
DECAY = 0.9


def standing_statistics(
    family: Any,
    config: Any,
    variables: dict[str, Any],
    key: jax.Array,
    size: int,
    passes: int = 32,
) -> dict[str, Any]:
    """The variables with the generator's statistics as its weights have them.

    Running statistics follow the newest weights. Those of averaged ones are found by making samples
    as in training: the mean of each batch's statistics over `passes` of `size` samples of fresh
    noise, and of labels drawn uniformly where there are classes. The discriminator's stay as they
    are: they are of data too.

    Source: Brock et al. 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis"
    (arXiv:1809.11096), appendix C, where 100 passes are made.

    Args:
      family: of two players; one without statistics gets its variables back.
      config: its Config.
      variables: params and statistics, those of the generator to be replaced.
      key: typed key of noise and labels.
      size: samples a pass; normalisation while training is over so many.
      passes: how often.
    """
    running = variables.get("batch_stats", {})
    if "generator" not in running:
        return variables
    # From zeros a pass leaves 1 - DECAY of the batch's own, whatever was there before.
    forgotten = jax.tree.map(jnp.zeros_like, running["generator"])
    empty = {**variables, "batch_stats": {**running, "generator": forgotten}}
    spec = family.batch_spec(one_turn(config), size)

    def once(key: jax.Array) -> Any:
        label_key, turn_key = jax.random.split(key)
        # Nothing of the generator depends on data; the discriminator's part is not computed.
        batch = {name: jnp.zeros(s.shape, s.dtype) for name, s in spec.items()}
        if "label" in batch:
            batch["label"] = jax.random.randint(label_key, (size,), 0, config.classes)
        _, aux = family.generator_loss(config, empty, batch, turn_key)
        return aux["updates"]["batch_stats"]["generator"]

    each = jax.lax.map(once, jax.random.split(key, passes))  # [passes, ...]
    found = jax.tree.map(lambda s: s.mean(axis=0) / (1 - DECAY), each)
    return {**variables, "batch_stats": {**running, "generator": found}}
