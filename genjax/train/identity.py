"""The settings and the data that the checkpoints of a run belong to."""

import dataclasses
from typing import Any

from genjax.train.run_config import MAY_CHANGE, Run, changes, run_from_json, to_json


@dataclasses.dataclass(frozen=True)
class RunIdentity:
    """The settings that make the numbers of a run, and the checksum of its data.

    They are saved whole, not as a hash: a message can then name the setting that differs, and a
    setting that a later version adds has its default in older checkpoints.

    Attributes:
      run: settings, resolved.
      data: checksum of the data; None if it is unknown.
    """

    run: Run
    data: str | None

    def to_json(self) -> dict[str, Any]:
        """Returns the checksum, and all settings but those that may change in a resumed run."""
        values = to_json(self.run)
        del values["figure"]
        for path in MAY_CHANGE:
            section, name = path.split(".")
            del values[section][name]
        return {"settings": values, "data": self.data}

    def differences(self, saved: dict[str, Any]) -> list[str]:
        """Returns in what the values of a checkpoint differ, one phrase each."""
        try:
            found = changes(run_from_json(saved["settings"]), self.run, MAY_CHANGE)
        except ValueError as error:
            return [f"its settings cannot be read ({error})"]
        words = [f"its {name} is {old} and not {new}" for name, (old, new) in found.items()]
        if None not in (self.data, saved["data"]) and self.data != saved["data"]:
            words.append(f"its data have checksum {saved['data']} and not {self.data}")
        return words
