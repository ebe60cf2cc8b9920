"""Batch-norm statistics for averaged weights, which no training batch has passed through."""

from typing import Any

import jax
import jax.numpy as jnp


def batch_norm_statistics(
    family: Any,
    config: Any,
    variables: dict[str, Any],
    key: jax.Array,
    size: int,
    passes: int = 16,
) -> dict[str, Any]:
    """Recomputes the running statistics of the networks in `traits(config).ema`.

    Running statistics belong to the newest weights. Those of averaged weights are the mean of the
    batch statistics over `passes` batches of `size` generated images, as in training, with labels
    drawn uniformly, and of the texts that a family with texts keeps in `buffers`, as `captions`.

    Args:
      family: with `LOSSES`; an averaged network's loss returns its new statistics in
        `aux["updates"]`, and they do not depend on the data.
      config: its Config.
      variables: params and statistics.
      key: typed key of noise and labels.
      size: batch size.
      passes: number of batches.

    Returns:
      The variables with the new statistics; the same ones for a family without any.

    Source: Brock et al. 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis"
    (arXiv:1809.11096), appendix C, with 100 batches.
    """
    running = variables.get("batch_stats", {})
    losses = getattr(family, "LOSSES", {})
    networks = [n for n in family.traits(config).ema if n in running and n in losses]
    if not networks:
        return variables
    spec = family.batch_spec(config, size)

    def after(network: str, initial: jax.Array, key: jax.Array) -> Any:
        """Returns a network's statistics after a batch, where all were `initial` before."""
        label_key, loss_key = jax.random.split(key)
        batch = {name: jnp.zeros(s.shape, s.dtype) for name, s in spec.items()}
        if "label" in batch:
            batch["label"] = jax.random.randint(label_key, (size,), 0, config.classes)
        if "text" in batch:
            batch["text"] = jnp.resize(variables["buffers"]["captions"], batch["text"].shape)
        filled = jax.tree.map(lambda s: jnp.full_like(s, initial), running[network])
        statistics = {**running, network: filled}
        _, aux = losses[network](config, {**variables, "batch_stats": statistics}, batch, loss_key)
        return aux["updates"]["batch_stats"][network]

    # One batch moves the statistics by a share 1 - momentum. The last pass repeats the first from
    # 1 instead of 0, and the difference is the momentum.
    keys = jax.random.split(key, passes)[jnp.arange(passes + 1) % passes]
    initial = jnp.zeros(passes + 1).at[-1].set(1)
    new = dict(running)
    for network in networks:
        each = jax.lax.map(lambda item, n=network: after(n, *item), (initial, keys))
        new[network] = jax.tree.map(
            lambda s: s[:-1].mean(axis=0) / (1 - (s[-1] - s[0])).mean(), each
        )
    return {**variables, "batch_stats": new}
