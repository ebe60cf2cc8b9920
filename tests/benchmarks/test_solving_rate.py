"""Solving rates: the timed solvers solve, and milliseconds are per puzzle."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments.benchmarks import solving_rate
from experiments.benchmarks.solving_rate import BORDERS, GRID, SOLVERS, border_solver
from genjax.core import puzzles
from genjax.families import jigsaw, jigsaw_assignment


@pytest.fixture
def small(monkeypatch):
    """Puzzles of 2x2 pieces of 4x4 pixels, and tiny networks."""
    head = dataclasses.replace(jigsaw_assignment.tiny(), shape=(8, 8, 1), grid=(2, 2))
    networks = {"head": (jigsaw_assignment, head, 0.0), "fused": (jigsaw_assignment, head, 1.0)}
    networks |= {"head_wide": networks["head"], "jigsaw": (jigsaw, jigsaw.tiny(), 0.0)}
    monkeypatch.setattr(solving_rate, "SHAPE", (8, 8, 1))
    monkeypatch.setattr(solving_rate, "GRID", (2, 2))
    monkeypatch.setattr(solving_rate, "NETWORKS", networks)


@pytest.mark.parametrize("name", BORDERS)
def test_timed_border_solvers_solve_smooth_images(name):
    images = solving_rate.smooth_images(4)
    pieces = solving_rate.pieces_of(images)
    orders = border_solver(name)[0](pieces)
    assert (orders[:, 0] == 8).all()  # not the order of the pieces
    restored = puzzles.join(puzzles.restore(pieces, jax.numpy.asarray(orders)), GRID)
    np.testing.assert_allclose(restored, images / 127.5 - 1, atol=1e-6)


def test_times_every_solver_by_batch_size(small, tmp_path, capsys):
    out = tmp_path / "rates.json"
    words = ["--batch-sizes", "1", "3", "--repeats", "1", "--seconds", "1", "--out", str(out)]
    assert solving_rate.main(words) == 0
    found = json.loads(out.read_text())
    assert found["paper_seconds"] == 0.293
    assert [row["row"] for row in found["rows"]] == list(SOLVERS)
    operations = {row["row"]: row["operations"] for row in found["rows"]}
    assert {name for name, count in operations.items() if not count} == set(BORDERS)
    assert operations["jigsaw_decoder"] > operations["jigsaw"]
    for row in found["rows"]:
        assert row["batches"].keys() == {"1", "3"}
        for part in row["batches"].values():
            assert min(part["pieces"]["seconds"], part["images"]["seconds"]) > 0
    assert "milliseconds per puzzle" in capsys.readouterr().err


def test_the_decoder_finds_the_orders_of_the_classifier(small):
    pieces = solving_rate.pieces_of(solving_rate.smooth_images(5))
    with_decoder, without = (
        solving_rate.network_solver(name)[0](pieces) for name in ("jigsaw_decoder", "jigsaw")
    )
    np.testing.assert_array_equal(with_decoder, without)


def test_rows_are_per_puzzle_beside_the_paper():
    seconds = {"pieces": {"seconds": 0.2}, "images": {"seconds": 0.4}}
    found = {"row": "head", "operations": 2_500_000_000, "batches": {"64": seconds}}
    row = solving_rate.table_row(found, "64")
    assert (row["without cutting"], row["with cutting"]) == ("3.12", "6.25")
    assert (row["puzzles/s"], row["paper"], row["ratio"]) == ("160", "293", "46.9")
    assert row["1e9 op"] == "2.5"


def test_rejects_batches_without_puzzles(capsys):
    assert solving_rate.main(["--batch-sizes", "0"]) == 2
    assert "batch_sizes" in capsys.readouterr().err
