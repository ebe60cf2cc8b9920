"""Saved rows of the density uses depend on data and options."""

import argparse
import json

import numpy as np
import pytest

from experiments.examples import density_uses
from genjax.data import Dataset, save_npz


def options_for(tmp_path, **changed):
    defaults = dict(seed=0, evaluate=20, limit=0, steps=3, validation=10, data=["a.npz", "b.npz"])
    return argparse.Namespace(**(defaults | {"checksums": ("1", "2"), "out": tmp_path} | changed))


def test_a_saved_row_is_used_for_the_same_data_and_options_only(tmp_path):
    path, settings, row = density_uses.saved_row("nade", "a.npz", options_for(tmp_path))
    assert row is None
    path.write_text(json.dumps({"settings": settings, "row": {"nats": 1.0}}))
    assert density_uses.saved_row("nade", "a.npz", options_for(tmp_path))[2] == {"nats": 1.0}
    for changed in ({"checksums": ("1", "3")}, {"steps": 4}, {"evaluate": 19}):
        assert density_uses.saved_row("nade", "a.npz", options_for(tmp_path, **changed))[2] is None


def test_reads_splits_and_the_checksum_of_a_file(tmp_path):
    def written(seed):
        rng = np.random.default_rng(seed)
        rows = {"x": rng.integers(0, 2, (40, 3, 3, 1), np.uint8)}
        rows["label"] = np.arange(40, dtype=np.int32) % 2
        save_npz(Dataset("set", {"train": rows, "test": rows}, 2), tmp_path / "set.npz")
        return density_uses.read(str(tmp_path / "set.npz"), options_for(tmp_path, limit=15))

    data, checksum = written(0)
    assert [len(data[s].x) for s in ("train", "validation", "test")] == [15, 10, 20]
    assert written(0)[1] == checksum
    assert written(1)[1] != checksum


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--evaluate", "0"], "`evaluate` must be positive, got 0"),
        (["--evaluate", "-5"], "`evaluate` must be positive, got -5"),
        (["--limit", "-1"], "`limit` must be non-negative, got -1"),
        (["--validation", "0"], "`validation` must be positive"),
        (["--steps", "0"], "`steps` must be positive"),
    ],
)
def test_rejects_invalid_counts(tmp_path, capsys, arguments, message):
    assert density_uses.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rejects_a_file_as_out(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert density_uses.main(["--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
