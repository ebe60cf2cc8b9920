"""Folders as runs leave them, written at once instead of trained."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from genjax.train.run_config import Run, to_json
from genjax.train.sample_grids import save_grid
from support.small import small_run


def make_run(experiment: str, seed: int = 0, **train: Any) -> Run:
    """Settings of a small NADE."""
    return dataclasses.replace(
        small_run("nade", "bars.npz", **train), experiment=experiment, seed=seed
    )


def make_record(run: Run, **fields: Any) -> dict[str, Any]:
    """What `fit` would write of it."""
    found = {
        "experiment": run.experiment,
        "family": run.family,
        "dataset": "bars",
        "metric": "test NLL",
        "unit": "nats",
        "obtained": 5.25,
        "std_error": 0.125,
        "steps": 40,
        "chosen_step": 36,
        "chosen_by": "validation",
        "ended": "end of schedule",
        "parameters": 1234,
        "minutes": 0.5,
        "device": "cpu x1",
        "commit": "abc123",
        "seed": run.seed,
        "config": to_json(run),
    }
    return found | fields


def write_run(
    folder: pathlib.Path,
    run: Run,
    *,
    metrics: Any = (),
    record: dict[str, Any] | None = None,
    grids: Any = (),
    titles: tuple[str, ...] = (),
) -> pathlib.Path:
    """A workdir: `metrics` are lines as dicts or text, `grids` steps, `titles` those of columns."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(to_json(run)))
    if record is not None:
        (folder / "record.json").write_text(json.dumps(record))
    lines = [line if isinstance(line, str) else json.dumps(line) for line in metrics]
    if lines:
        (folder / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
    for step in grids:
        x = np.random.default_rng(step).uniform(size=(9, 4, 4))
        save_grid(folder / "samples" / f"step_{step:08d}.png", x, titles=titles)
    return folder
