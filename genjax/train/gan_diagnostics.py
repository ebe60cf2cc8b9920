"""Is it training, has it collapsed: what the metrics of two players say, in words.

`missing_modes` looks at what an instrument counted of a finished run. The others are looked at whenever
metrics are logged, on the means since the last time, where that was after the first `EARLY` steps:
networks begin with samples that are all alike. A finding must hold `LOOKS` times in a row and is
said once, until it has been untrue for one. What was seen so far lies in the run's `meta`, so a run
that goes on counts on.
"""

from collections.abc import Mapping
from typing import Any

from genjax.evals.mode_coverage import expected_modes_found

EARLY = 300
LOOKS = 3  # in a row
ALIKE = 0.2  # diversity: samples lie so much closer to each other than data does
FEW = 0.1  # nearest: each lies so much closer to its nearest other than data does
SURE = 0.99  # D(x), and 1 - D(G(z))


def collapsed(means: Mapping[str, float], smoothing: float) -> str:
    """Samples that are nearly one image."""
    del smoothing
    diversity = means.get("generator_diversity")
    if diversity is None or not diversity < ALIKE:
        return ""
    return (
        f"the generator has collapsed: its samples lie {diversity:.2f} times as far apart as the"
        f" data does (diversity); lower its learning rate, or take another loss or penalty"
    )


def repeated(means: Mapping[str, float], smoothing: float) -> str:
    """Samples that are a few images, each again and again, however far those lie apart."""
    nearest = means.get("generator_nearest")
    if nearest is None or not nearest < FEW or collapsed(means, smoothing):
        return ""
    return (
        f"the generator has collapsed to a few samples: each lies {nearest:.2f} times as far from"
        f" its nearest other as data does (nearest); lower its learning rate, or take another loss"
        f" or penalty"
    )


def beaten(means: Mapping[str, float], smoothing: float) -> str:
    """A discriminator that is never wrong; one that learns from smoothed labels says 1 - smoothing
    of data at best."""
    real, fake = (means.get(f"discriminator_{x}_probability") for x in ("real", "fake"))
    if real is None or fake is None or not (real > SURE * (1 - smoothing) and fake < 1 - SURE):
        return ""
    return (
        f"the discriminator is never wrong (D(x) {real:.3f}, D(G(z)) {fake:.3f}): the generator is"
        f" left behind; slow the discriminator down, or penalise its slope (r1)"
    )


def missing_modes(measured: Mapping[str, Any]) -> str:
    """Modes that no sample is of, where an instrument counted them: each image may be good, and all
    of them different."""
    found, modes = measured.get("found"), measured.get("modes")
    if found is None or modes is None or found >= modes:
        return ""
    if expected_modes_found(measured["n_fake"], modes) < modes - 0.5:  # too few to meet every mode
        return ""
    return (
        f"the generator makes {found:,} of {modes:,} modes: it has dropped the others; draw more"
        f" samples to see whether they are only rare, or take another loss or penalty"
    )


FINDINGS = {"collapsed": collapsed, "repeated": repeated, "beaten": beaten}


def look(
    step: int, means: Mapping[str, float], meta: dict[str, Any], smoothing: float = 0.0
) -> list[str]:
    """What is to be said now; `meta["watch"]` and `meta["warnings"]` are brought up to date.

    Args:
      step: steps done.
      means: of the metrics since the last look.
      meta: of the run; plain JSON values.
      smoothing: of the labels that the discriminator learns from.
    """
    seen = dict(meta.get("watch", {}))
    began, seen["step"] = seen.get("step", 0), step
    if began < EARLY:  # some of the steps that the means are of
        meta["watch"] = seen
        return []
    said = []
    for name, finding in FINDINGS.items():
        words = finding(means, smoothing)
        seen[name] = seen.get(name, 0) + 1 if words else 0
        if seen[name] == LOOKS:
            said.append(words)
    meta["watch"] = seen
    # A new list: what a checkpoint being written holds must not change under it.
    meta["warnings"] = [*meta.get("warnings", []), *({"step": step, "words": w} for w in said)]
    return said
