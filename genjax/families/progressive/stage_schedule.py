"""Schedule of the stages: a function of the number of images shown to the discriminator."""

import dataclasses

from genjax.core.growing import Stage
from genjax.families.progressive.growing_networks import group_size
from genjax.families.progressive.settings import Config, entry, sides


def stages(config: Config, batch_size: int, steps: int) -> tuple[Stage, ...]:
    """Returns the stages that begin before `steps`.

    The first stage lasts `stable_images`, every other one `fade_images + stable_images`. A part
    ends after the step with which its last image has been shown, and images in excess count for the
    next one, so rounding to steps does not accumulate.

    Args:
      config: the Config.
      batch_size: of stages, if the Config has no `batch_sizes`.
      steps: of the run; the last stage ends there.

    Raises:
      ValueError: the minibatch standard deviation needs another batch size.
    """
    found: list[Stage] = []
    first = examples = 0
    planned = 0  # images at which a stage begins
    for i, side in enumerate(sides(config)):
        if first >= steps and found:
            break
        size = entry(config.batch_sizes, i, batch_size)
        _check_groups(config, size, side)
        critic_steps = entry(config.stage_critic_steps, i, config.objective.critic_steps)
        objective = dataclasses.replace(config.objective, critic_steps=critic_steps)
        each = size * critic_steps  # images per step
        fade, faded = 0, planned
        if found and config.fade_images:
            faded += config.fade_images
            fade = max(1, -(-(faded - examples) // each))
        planned = faded + config.stable_images
        length = max(1, fade, -(-(planned - examples) // each))
        last = i + 1 == len(sides(config)) or first + length >= steps
        found.append(
            Stage(
                name=f"{side}x{side}" if len(sides(config)) > 1 else "",
                config=dataclasses.replace(config, objective=objective),
                first=first,
                steps=steps - first if last else length,
                fade=fade,
                batch_size=size,
                examples=examples,
                rate=entry(config.rates, i, 1.0),
                reset=config.reset_optimizer,
                refresh=config.refresh,
            )
        )
        first += length
        examples += length * each
    return tuple(found)


def _check_groups(config: Config, size: int, side: int) -> None:
    if config.minibatch != "stddev" or min(size, config.group) == 1:
        return
    if group_size(size, config.group) == 1:
        raise ValueError(
            f"a batch of {size} at {side}x{side} cannot be divided into groups of 2 to"
            f" {config.group} for the minibatch standard deviation; use a batch size that is a"
            f" multiple of {config.group}, or set minibatch to none."
        )
