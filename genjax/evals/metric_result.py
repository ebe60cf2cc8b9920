"""What every measurement says beside its number: how many images, which features, which seed."""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricResult:
    """What two results must have in common before their numbers can be compared.

    n_real: real examples; 0 where none are needed.
    n_fake: samples of the model.
    extractor: what turned images into the numbers that were compared, `pixels` where nothing did.
    seed: of everything the instrument drew itself: subsets, directions, pairs. A classifier that
      it trained on the way is always of seed 0.

    FIGURE: the entry that stands for the whole in a table, that of its standard error (or ""), and
    its unit; shares are in percent there.
    """

    FIGURE: ClassVar[tuple[str, str, str]]

    n_real: int
    n_fake: int
    extractor: str
    seed: int

    def figure(self) -> tuple[float, float | None, str]:
        """What stands for the result in a table: the number, its standard error, its unit."""
        entry, error, unit = self.FIGURE
        scale = 100 if unit == "%" else 1
        value = scale * float(getattr(self, entry))
        return value, scale * float(getattr(self, error)) if error else None, unit

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; a number that is none (no standard error of one split) is None."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}


def plain(value: Any) -> Any:
    """JSON values: arrays as lists, and None for numbers that are none, as JSON has no such."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
