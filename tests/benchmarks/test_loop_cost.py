"""Overhead of the training loop: figures are measured, unsuitable rows are rejected."""

import itertools
import json
import sys

import jax
import pytest

from experiments import table
from experiments.benchmarks import input_rate, loop_cost, reporting

FAST = ["--steps", "6", "--saves", "2", "--batch-size", "2"]


def test_measures_and_writes_a_row(tmp_path, capsys):
    out = tmp_path / "loop.json"
    row = "fvsbn_binarized_mnist:cpu"
    assert loop_cost.main(["--rows", row, *FAST, "--out", str(out)]) == 0
    (found,) = json.loads(out.read_text())["rows"]
    assert (found["row"], found["batch_size"], found["steps_per_call"]) == (row, 2, 1)
    assert found["overhead"] == pytest.approx(found["loop_seconds"] / found["by_hand_seconds"] - 1)
    # Weights, biases and their EMA: SGD has no moments.
    assert found["state_megabytes"] == pytest.approx(2 * 4 * (784**2 + 784) / 1e6, rel=1e-3)
    assert 0 < found["blocked_seconds"] <= found["written_seconds"]
    # Starting a process takes longer than a step.
    assert min(found["cold_seconds"], found["warm_seconds"]) > found["by_hand_seconds"] > 0
    assert row[:4] in capsys.readouterr().out


def test_runs_in_one_program_count_the_images_of_all(tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(loop_cost.time, "perf_counter", lambda: float(next(ticks)))
    out, row = tmp_path / "loop.json", "fvsbn_binarized_mnist:cpu"
    words = ["--runs", "3", "--steps-per-call", "2", "--skip", "overhead", "checkpoint", "cold"]
    assert loop_cost.main(["--rows", row, *FAST, *words, "--out", str(out)]) == 0
    (found,) = json.loads(out.read_text())["rows"]
    # Every measurement takes one second: three calls of two steps of two images per run.
    assert (found["seconds_1_runs"], found["seconds_3_runs"]) == (1 / 6, 1 / 6)
    assert found["images_per_second_1_runs"] == pytest.approx(2 * 6)
    assert found["images_per_second_3_runs"] == pytest.approx(3 * 2 * 6)
    assert loop_cost.table_row(found)["3 runs, images/s"] == "36"
    # Runs differ in their keys.
    weights = loop_cost.make_parts(table.rows()["iwae_mnist:k1"], 2)[2].variables["params"]
    first, second = (jax.tree.leaves(jax.tree.map(lambda a, i=i: a[i], weights)) for i in (0, 1))
    assert any((a != b).any() for a, b in zip(first, second, strict=True))


def test_failed_row_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    rows = [
        "nade_binarized_mnist:cpu",
        "made_binarized_mnist:1x8000_1mask_cpu",
        "fvsbn_binarized_mnist:cpu",
    ]
    out, seen = tmp_path / "no" / "such" / "loop.json", []

    def measure(run, folder, options):
        seen.append(json.loads(out.read_text())["rows"] if seen else out.parent.is_dir())
        if run.family == "nade":
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nwhile allocating")
        if run.family == "made":
            raise MemoryError("too large")
        return {"family": run.family, "batch_size": 2}

    monkeypatch.setattr(loop_cost, "measure", measure)
    assert loop_cost.main(["--rows", *rows, *FAST, "--out", str(out)]) == 1
    one, two, fine = json.loads(out.read_text())["rows"]
    assert one["error"].endswith("RESOURCE_EXHAUSTED: Out of memory")
    assert two["error"] == "MemoryError: too large"
    assert seen == [True, [one], [one, two]]  # the folder first, then the file after each row
    assert (fine["row"], fine["family"]) == (rows[2], "fvsbn")
    output = capsys.readouterr()
    assert "made_binarized_mnist:1x8000_1mask_cpu: MemoryError: too large" in output.err
    assert "fvsbn" in output.out
    assert "made" not in output.out


@pytest.mark.parametrize(
    ("row", "levels"),
    [("nade_binarized_mnist:cpu", 2), ("iwae_mnist:k1", 256), ("dcgan_celeba64:swd", 256)],
)
def test_random_images_suit_the_transform(row, levels):
    run = table.rows()[row]
    found = loop_cost.random_images(run)
    x = found.splits["train"]["x"]
    assert x.shape == (4096, *run.model.shape)
    assert (found.levels, x.min(), x.max()) == (levels, 0, levels - 1)


def test_rejects_bad_options(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loop_cost, "measure", None)  # checks come first
    monkeypatch.setattr(input_rate, "consumption", None)
    good = ["--rows", "nade_binarized_mnist:cpu"]
    for command, words in ((loop_cost, good), (input_rate, ["--only", "nade"])):
        assert command.main([*words, "--out", str(tmp_path)]) == 2
        assert "is a folder; name a file in it" in capsys.readouterr().err
    assert loop_cost.main([*good, "rnade_red_wine:cpu"]) == 2
    assert "has no images; name a row that has" in capsys.readouterr().err
    assert loop_cost.main(["--rows", "nade"]) == 2
    assert "`rows` must be one of" in capsys.readouterr().err
    assert loop_cost.main(["--steps", "0"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--steps 2", "`steps` must be 3 or more, because the last third is timed; got 2"),
        ("--batch-size 0", "`batch_size` must be positive"),
        ("--workers -1", "`workers` must be non-negative"),
        ("--data no_such_data", "no_such_data"),
    ],
    ids=str,
)
def test_input_rate_rejects_bad_options(capsys, words, message):
    assert input_rate.main(words.split()) == 2
    assert message in capsys.readouterr().err


def test_tables_are_shown_without_rich(monkeypatch, capsys):
    rows = [{"row": "nade", "batch": 100.0, "step": 1.25}]
    reporting.show("title", rows)
    assert "nade" in capsys.readouterr().out
    reporting.show("title", rows, sys.stderr)
    output = capsys.readouterr()
    assert (output.out, "nade" in output.err) == ("", True)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    reporting.show("title", rows)
    assert capsys.readouterr().out == "title\n  row nade, batch 100, step 1.25\n"
    reporting.show("title", rows, sys.stderr)
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "title\n  row nade, batch 100, step 1.25\n")
