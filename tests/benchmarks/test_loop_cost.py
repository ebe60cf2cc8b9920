"""What the loop costs: every figure is measured, and rows that cannot be are refused."""

import json
import sys

import jax
import pytest

from experiments import table
from experiments.benchmarks import input_rate, loop_cost

FAST = ["--steps", "6", "--saves", "2", "--batch-size", "2"]


def test_a_row_is_measured_and_written(tmp_path, capsys):
    out = tmp_path / "loop.json"
    row = "fvsbn_binarized_mnist:cpu"
    assert loop_cost.main(["--rows", row, *FAST, "--out", str(out)]) == 0
    (found,) = json.loads(out.read_text())["rows"]
    assert (found["row"], found["batch_size"], found["steps_per_call"]) == (row, 2, 1)
    assert found["overhead"] == pytest.approx(found["loop_seconds"] / found["by_hand_seconds"] - 1)
    # Weights and biases and the average of each, and a few numbers: plain descent keeps no moments.
    assert found["state_megabytes"] == pytest.approx(2 * 4 * (784**2 + 784) / 1e6, rel=1e-3)
    assert 0 < found["stall_seconds"] <= found["written_seconds"]
    # A process takes longer to start than a step takes.
    assert min(found["cold_seconds"], found["warm_seconds"]) > found["by_hand_seconds"] > 0
    assert row[:4] in capsys.readouterr().out


def test_a_row_that_fails_leaves_the_others(tmp_path, monkeypatch, capsys):
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
            raise MemoryError("no room")
        return {"family": run.family, "batch_size": 2}

    monkeypatch.setattr(loop_cost, "measure", measure)
    assert loop_cost.main(["--rows", *rows, *FAST, "--out", str(out)]) == 1
    one, two, fine = json.loads(out.read_text())["rows"]
    assert one["error"].endswith("RESOURCE_EXHAUSTED: Out of memory")
    assert two["error"] == "MemoryError: no room"
    assert seen == [True, [one], [one, two]]  # a folder first, and what there is after each row
    assert (fine["row"], fine["family"]) == (rows[2], "fvsbn")
    said = capsys.readouterr()
    assert "made_binarized_mnist:1x8000_1mask_cpu: MemoryError: no room" in said.err
    assert "fvsbn" in said.out
    assert "made" not in said.out


@pytest.mark.parametrize(
    ("row", "levels"),
    [("nade_binarized_mnist:cpu", 2), ("iwae_mnist:k1", 256), ("dcgan_celeba64:swd", 256)],
)
def test_images_are_what_the_row_transforms(row, levels):
    run = table.rows()[row]
    found = loop_cost.random_images(run)
    x = found.splits["train"]["x"]
    assert x.shape == (4096, *run.model.shape)
    assert (found.levels, x.min(), x.max()) == (levels, 0, levels - 1)


def test_bad_options_are_a_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loop_cost, "measure", None)  # nothing is measured before
    monkeypatch.setattr(input_rate, "consumption", None)
    good = ["--rows", "nade_binarized_mnist:cpu"]
    for command, words in ((loop_cost, good), (input_rate, ["--only", "nade"])):
        assert command.main([*words, "--out", str(tmp_path)]) == 2
        assert "is a folder; name a file in it" in capsys.readouterr().err
    assert loop_cost.main([*good, "rnade_red_wine:cpu"]) == 2
    assert "has no images; name a row that has" in capsys.readouterr().err
    assert loop_cost.main(["--rows", "nade"]) == 2
    assert "rows must be one of" in capsys.readouterr().err
    assert loop_cost.main(["--steps", "0"]) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--steps 2", "steps must be 3 or more, a third is timed; got 2"),
        ("--batch-size 0", "batch_size must be above 0"),
        ("--workers -1", "workers must be 0 or above"),
        ("--data no_such_data", "no_such_data"),
    ],
    ids=str,
)
def test_bad_options_of_the_input_rate_are_a_sentence(capsys, words, sentence):
    assert input_rate.main(words.split()) == 2
    assert sentence in capsys.readouterr().err


def test_tables_are_shown_without_rich_too(monkeypatch, capsys):
    rows = [{"row": "nade", "batch": 100.0, "step": 1.25}]
    input_rate.show("title", rows)
    assert "nade" in capsys.readouterr().out
    input_rate.show("title", rows, sys.stderr)
    said = capsys.readouterr()
    assert (said.out, "nade" in said.err) == ("", True)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    input_rate.show("title", rows)
    assert capsys.readouterr().out == "title\n  row nade, batch 100, step 1.25\n"
    input_rate.show("title", rows, sys.stderr)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "title\n  row nade, batch 100, step 1.25\n")
