"""What a run has reached besides its `State`; saved as JSON with every checkpoint."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """Validation, time, sessions and warnings of a run.

    Attributes:
      best: lowest validation figure so far; None before the first evaluation.
      best_step: its step.
      first_step: step of the first evaluation; 0 before it.
      latest: validation figure of the last evaluation; None before the first.
      not_better: evaluations since the best one.
      ended: why training ended before its last step; empty otherwise.
      seconds: of all sessions.
      sessions: `{"commit", "device", "from_step"}` of every call that made steps; of the first,
        also `parts`, the runs and checksums of the parts that were loaded.
      pending: operations of this step that an error interrupted: "evaluate", "sample".
      warnings: `{"step", "words"}` of everything reported while training.
      diagnostics: counts of `gan_diagnostics`.
    """

    best: float | None = None
    best_step: int = 0
    first_step: int = 0
    latest: float | None = None
    not_better: int = 0
    ended: str = ""
    seconds: float = 0.0
    sessions: tuple[dict[str, Any], ...] = ()
    pending: tuple[str, ...] = ()
    warnings: tuple[dict[str, Any], ...] = ()
    diagnostics: dict[str, int] = dataclasses.field(default_factory=dict)

    def replace(self, **changes: Any) -> "RunStatus":
        """Returns the status with some fields changed."""
        return dataclasses.replace(self, **changes)

    def warn(self, step: int, words: str) -> "RunStatus":
        """Returns the status with one more warning."""
        return self.replace(warnings=(*self.warnings, {"step": step, "words": words}))

    def evaluated(self, step: int, value: float) -> "RunStatus":
        """Returns the status after an evaluation."""
        status = self.replace(first_step=self.first_step or step, latest=value)
        if self.best is None or value < self.best:
            return status.replace(best=value, best_step=step, not_better=0)
        return status.replace(not_better=self.not_better + 1)

    def overfits(self) -> bool:
        """Returns whether the first of several evaluations is the best, and the last is worse."""
        first = self.not_better > 0 and self.best_step == self.first_step
        return first and self.latest != self.best

    def without_best(self) -> "RunStatus":
        """Returns the status before the first evaluation."""
        return self.replace(best=None, best_step=0, not_better=0)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunStatus":
        """Returns the status that `to_json` wrote.

        Raises:
          ValueError: an entry is unknown.
        """
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(
                f"the checkpoint's status has an unknown entry {unknown[0]}: it is from another"
                f" version of genjax; use that version, or another --workdir."
            )
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**fields)
