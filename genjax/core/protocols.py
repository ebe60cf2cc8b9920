"""What kind of thing a family is. The common suite chooses its tests by it."""

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traits:
    """One family's kind.

    data: what an event is made of; `binary` is {0, 1}, `levels` integers, `real` any number,
      `tokens` integers of a vocabulary, `images` real pixels within `sample_range`.
    density: `exact` exports `log_prob`; `bound` exports `elbo` and `log_prob_bound`; `none` only
      samples.
    fit: by `gradient`, with an optimizer; or without one by `counting` (each example is seen
      exactly once) or by `em` (expectation maximisation: a step is one iteration over its batch).
    sample_range: lowest and highest value a sample can take; infinite for real numbers without
      bounds, whose pictures run from the lowest to the highest percent of what is drawn.
    semi_supervised: learns from examples whose label is unknown, -1, too.
    """

    data: Literal["binary", "levels", "real", "tokens", "images"]
    density: Literal["exact", "bound", "none"]
    fit: Literal["gradient", "counting", "em"] = "gradient"
    sample_range: tuple[float, float] = (0.0, 1.0)
    semi_supervised: bool = False


def traits_of(family: Any, config: Any) -> Traits:
    """Those of a family under one Config.

    A family whose settings choose what its events are made of exports `traits(config)`; for all
    others `TRAITS` holds, which is also what the former gives for the default Config.
    """
    return family.traits(config) if hasattr(family, "traits") else family.TRAITS
