"""Statistics of batch normalisation for weights that no batch has been seen with: averages."""

from typing import Any

import jax
import jax.numpy as jnp

from genjax.core.adversarial import single_critic_step


def batch_norm_statistics(
    family: Any,
    config: Any,
    variables: dict[str, Any],
    key: jax.Array,
    size: int,
    passes: int = 16,
) -> dict[str, Any]:
    """The variables with the generator's statistics as its weights have them.

    Running statistics follow the newest weights. Those of averaged ones are found by making samples
    as in training: the mean of each batch's statistics over `passes` of `size` samples of fresh
    noise, and of labels drawn uniformly where there are classes.

    Source: Brock et al. 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis"
    (arXiv:1809.11096), appendix C, where 100 passes are made.

    Args:
      family: of two players, whose `generator_loss` gives new statistics as `aux["updates"]`; one
        without any gets its variables back.
      config: its Config.
      variables: params and statistics, those of the generator to be replaced.
      key: typed key of noise and labels.
      size: samples a pass; normalisation while training is over so many.
      passes: how often.
    """
    running = variables.get("batch_stats", {})
    if "generator" not in running or not hasattr(family, "generator_loss"):
        return variables
    one = single_critic_step(config) if getattr(config, "critic_steps", 1) > 1 else config
    spec = family.batch_spec(one, size)

    def after(start: jax.Array, key: jax.Array) -> Any:
        """The generator's statistics after a pass, all of them `initial_image` before."""
        label_key, turn_key = jax.random.split(key)
        # Nothing of the generator depends on data; the discriminator's part is not computed.
        batch = {name: jnp.zeros(s.shape, s.dtype) for name, s in spec.items()}
        if "label" in batch:
            batch["label"] = jax.random.randint(label_key, (size,), 0, config.classes)
        filled = jax.tree.map(lambda s: jnp.full_like(s, start), running["generator"])
        statistics = {**running, "generator": filled}
        told = {**variables, "batch_stats": statistics}
        _, aux = family.generator_loss(config, told, batch, turn_key)
        return aux["updates"]["batch_stats"]["generator"]

    # A pass goes a share of the way to the batch's own. The last is the first one from 1: what is
    # left of that tells the share.
    keys = jax.random.split(key, passes)[jnp.arange(passes + 1) % passes]
    starts = jnp.zeros(passes + 1).at[-1].set(1)
    each = jax.lax.map(lambda given: after(*given), (starts, keys))  # [passes + 1, ...]
    found = jax.tree.map(lambda s: s[:-1].mean(axis=0) / (1 - (s[-1] - s[0])).mean(), each)
    return {**variables, "batch_stats": {**running, "generator": found}}
