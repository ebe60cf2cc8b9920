"""Warnings about GAN training, from the metrics of its networks.

`missing_modes` uses the final metric of a finished run. The other diagnoses use the means between
two logs, after the first `FIRST_STEPS` steps, since initial samples are all alike. A diagnosis is
reported once it holds for `CONSECUTIVE` logs, and again only after a log where it does not hold.
"""

from collections.abc import Mapping
from typing import Any

from genjax.evals.mode_coverage import expected_modes_found

FIRST_STEPS = 300
CONSECUTIVE = 3
LOW_DIVERSITY = 0.2  # spread of the samples relative to the data's
LOW_NEAREST = 0.1  # distance to the nearest other sample relative to the data's
HIGH_CONFIDENCE = 0.99  # D(x), and 1 - D(G(z))


def collapsed(means: Mapping[str, float], smoothing: float) -> str:
    """Returns a warning if samples are nearly one image, else ""."""
    del smoothing
    diversity = means.get("generator_diversity")
    if diversity is None or not diversity < LOW_DIVERSITY:
        return ""
    return (
        f"the generator has collapsed: the spread of its samples is {diversity:.2f} times the"
        f" data's (diversity); lower its learning rate, or use another loss or penalty"
    )


def few_samples(means: Mapping[str, float], smoothing: float) -> str:
    """Returns a warning if samples are a few images, repeated, else ""."""
    nearest = means.get("generator_nearest")
    if nearest is None or not nearest < LOW_NEAREST or collapsed(means, smoothing):
        return ""
    return (
        f"the generator has collapsed to a few samples: the distance to the nearest other one is"
        f" {nearest:.2f} times the data's (nearest); lower its learning rate, or use another loss"
        f" or penalty"
    )


def confident_discriminator(means: Mapping[str, float], smoothing: float) -> str:
    """Returns a warning if the discriminator is never wrong, else "".

    With label smoothing its optimal output on data is 1 - smoothing.
    """
    real, fake = (means.get(f"discriminator_{x}_probability") for x in ("real", "fake"))
    if real is None or fake is None:
        return ""
    if not (real > HIGH_CONFIDENCE * (1 - smoothing) and fake < 1 - HIGH_CONFIDENCE):
        return ""
    return (
        f"the discriminator is never wrong (D(x) {real:.3f}, D(G(z)) {fake:.3f}), so the generator"
        f" learns little; lower the discriminator's learning rate, or penalise its gradient (r1)"
    )


def missing_modes(values: Mapping[str, Any]) -> str:
    """Returns a warning if samples miss modes, by a metric's values `found`, `modes`, `n_fake`."""
    found, modes = values.get("found"), values.get("modes")
    if found is None or modes is None or found >= modes:
        return ""
    if expected_modes_found(values["n_fake"], modes) < modes - 0.5:  # too few samples for all modes
        return ""
    return (
        f"the generator has samples of only {found:,} of {modes:,} modes; draw more samples to find"
        f" rare modes, or use another loss or penalty"
    )


DIAGNOSES = {
    "collapsed": collapsed,
    "few_samples": few_samples,
    "confident_discriminator": confident_discriminator,
}


def diagnose(
    step: int, means: Mapping[str, float], counts: Mapping[str, int], smoothing: float = 0.0
) -> tuple[list[str], dict[str, int]]:
    """Returns new warnings, and updated counts.

    Args:
      step: number of completed steps.
      means: of the metrics since the last log.
      counts: from the last log: its step, and for how many logs each diagnosis has held; plain
        JSON values, kept in checkpoints. Initially empty.
      smoothing: label smoothing of the discriminator.
    """
    counts = dict(counts)
    last, counts["step"] = counts.get("step", 0), step
    if last < FIRST_STEPS:  # the means include some of the first steps
        return [], counts
    warnings = []
    for name, diagnosis in DIAGNOSES.items():
        words = diagnosis(means, smoothing)
        counts[name] = counts.get(name, 0) + 1 if words else 0
        if counts[name] == CONSECUTIVE:
            warnings.append(words)
    return warnings, counts
