"""The result of a metric: its value, and what makes two values comparable."""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricResult:
    """Base class of results. Only results that agree in all of these fields are comparable.

    `FIGURE` names the field that represents the result in a table, the field of its standard error
    (or ""), and the unit; fractions are in percent there. `real_X` is quantity X of real images.

    Attributes:
      n_real: number of real examples; 0 if none are used.
      n_fake: number of samples.
      extractor: name of the features compared; `pixels` if none are extracted.
      seed: seed of the subsets, directions or pairs drawn, and of `accuracy_score`'s classifiers.
        The classifier of an `EvalContext` has seed 0.
    """

    FIGURE: ClassVar[tuple[str, str, str]]

    n_real: int
    n_fake: int
    extractor: str
    seed: int

    def figure(self) -> tuple[float, float | None, str]:
        """Returns the value that represents the result, its standard error and its unit."""
        field, error, unit = self.FIGURE
        scale = 100 if unit == "%" else 1
        value = scale * float(getattr(self, field))
        return value, scale * float(getattr(self, error)) if error else None, unit

    def real_figure(self) -> float | None:
        """Returns the figure of real images, in the same unit; None if it is not known."""
        field, _, unit = self.FIGURE
        value = getattr(self, f"real_{field}", None)
        return None if value is None else (100 if unit == "%" else 1) * float(value)

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON values; a non-finite number is None."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}


Estimate = tuple[float, float]
"""A mean over images and its standard error."""
Table = dict[str, dict[str, Estimate]]
"""Estimates by row, such as `model` and `identity`, and by quantity."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableResult(MetricResult):
    """A result with tables of a model beside its floors and ceilings.

    `as_dict` has every cell as an entry of its own: `b_top1` is quantity `top1` of the row `model`
    in the table `b`, `b_top1_std_error` its standard error, and `identity_b_top1` is that of the
    row `identity`.

    `FRACTIONS` names the quantities that are fractions.

    Attributes:
      tables: by title, such as a direction of translation.
    """

    FRACTIONS: ClassVar[frozenset[str]] = frozenset()

    tables: dict[str, Table]

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields and all cells of the tables as JSON values."""
        out = {k: v for k, v in super().as_dict().items() if k != "tables"}
        for title, table in self.tables.items():
            for row, cells in table.items():
                name = title if row == "model" else f"{row}_{title}"
                for quantity, (value, error) in cells.items():
                    out[f"{name}_{quantity}"] = plain(value)
                    out[f"{name}_{quantity}_std_error"] = plain(error)
        return out


def binomial_error(rate: float, n: int) -> float:
    """Returns the standard error of a rate of n examples, such as an accuracy."""
    return math.sqrt(rate * (1 - rate) / n)


def plain(value: Any) -> Any:
    """Converts to JSON values: arrays to lists, non-finite numbers to None."""
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
