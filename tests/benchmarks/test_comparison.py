"""The table of all networks beside PyTorch: its rows, batches, time limits and cells."""

import json

import pytest

from experiments import table
from experiments.benchmarks import comparison, peers, reporting, speed


def test_every_network_of_the_peers_is_a_row():
    rows = table.rows()
    assert comparison.EVERY.keys() >= set(reporting.DEFAULT)
    expected = {*peers.FAMILIES, *peers.FITTED, "pix2pix"}
    assert {rows[name].family for name in comparison.EVERY} == expected
    kinds = {(run.family, getattr(run.model, "network", "")) for run in map(rows.get, rows)}
    here = {
        (rows[name].family, getattr(rows[name].model, "network", "")) for name in comparison.EVERY
    }
    # PixelRNN's two networks have the same layers around their recurrences.
    assert kinds - here == {("pixelrnn", "row")}
    for name, sizes in comparison.EVERY.items():
        assert all(size is None or size < rows[name].train.batch_size for size in sizes), name


def chosen_options(monkeypatch, *words):
    """The options with which the rows would be timed."""
    kept = []
    monkeypatch.setattr(speed, "time_rows", lambda options: kept.append(options) or 0)
    monkeypatch.setattr(speed.peers, "check_installed", lambda: None)
    assert speed.main([*words]) == 0
    return kept[0]


def test_all_rows_are_timed_within_half_an_hour(monkeypatch):
    options = chosen_options(monkeypatch, "--rows", "all", "--peer", "torch")
    assert options.rows == list(comparison.EVERY)
    assert (options.skip, options.peer_compile) == (["sample"], "yes")
    assert options.row_seconds * len(options.rows) <= 25 * 60
    small = speed.options_of_row(options, "eonade_binarized_mnist:2x500_128orders_cpu")
    assert (small.batch_size, small.evaluate_batch_size) == (None, 1)
    assert speed.options_of_row(options, "dcgan_celeba64:kid").batch_size == 32
    assert options.batch_size is None  # one row does not change the next
    given = chosen_options(monkeypatch, "--rows", "all", "--batch-size", "3")
    assert speed.options_of_row(given, "dcgan_celeba64:kid").batch_size == 3
    named = chosen_options(monkeypatch, "--rows", "dcgan_celeba64:kid")
    assert speed.options_of_row(named, "dcgan_celeba64:kid").batch_size is None
    monkeypatch.setattr(speed.jax, "default_backend", lambda: "gpu")
    assert speed.options_of_row(options, "dcgan_celeba64:kid").batch_size is None


def test_a_peer_has_the_rest_of_its_rows_time(monkeypatch, tmp_path):
    limits, now = [], [0.0]
    taken = {"fvsbn_binarized_mnist:cpu": 10.0, "nade_binarized_mnist:cpu": 70.0}

    def measure(run, options, peaks):
        now[0] += taken[run.experiment]
        return {"family": run.family, "batch_size": 2, "evaluate_batch_size": 2}

    def compare(row, options):
        limits.append(options.peer_seconds)
        assert (tmp_path / "t.md").read_text().count("\n") == 2 + len(limits)
        return {"peer": {}, "ratio": {}, "notes": {}}

    monkeypatch.setattr(speed, "measure", measure)
    monkeypatch.setattr(speed, "compare", compare)
    monkeypatch.setattr(speed.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(speed.peers, "check_installed", lambda: None)
    words = ["--rows", *taken, "--peer", "torch", "--row-seconds", "80", "--peak-side", "16"]
    words += ["--repeats", "1", "--table", str(tmp_path / "t.md")]
    assert speed.main(words) == 0
    assert limits == [70.0, 40.0]  # half of the row's at least


def test_the_evaluation_may_have_fewer_examples(tmp_path):
    out = tmp_path / "count.json"
    words = ["--rows", "fvsbn_binarized_mnist:cpu", "--count", "--batch-size", "6"]
    words += ["--evaluate-batch-size", "2", "--skip", "sample", "--out", str(out)]
    assert speed.main(words) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["evaluate"]["operations"] == 2 * 2 * 784**2
    assert row["step"]["operations"] >= 6 * 2 * 784**2


def test_cells_of_the_table():
    peer = {
        "step": {
            "tried": {
                "blocks eager": {"seconds": 0.5},
                "loop eager": {"seconds": 0.25},
                "blocks compiled": {"error": "no"},
            },
            "untried": ["loop compiled"],
        },
        "evaluate": {"tried": {"eager": {"seconds": 0.002}}, "untried": ["compiled"]},
    }
    row = {
        "row": "nade_binarized_mnist:cpu",
        "batch_size": 10,
        "evaluate_batch_size": 1,
        "step": {"seconds": 0.1234},
        "evaluate": {"seconds": 0.001},
        "peer": peer,
        "ratio": {"step": 2.026, "evaluate": 2.0},
    }
    implicit = {"row": "gan_mnist:paper", "batch_size": 100, "evaluate_batch_size": 100}
    implicit |= {"step": {"seconds": 1.0}}
    broken = {"row": "fvsbn_binarized_mnist:cpu", "error": "RuntimeError: no memory"}
    header, rule, *lines = comparison.markdown([row, implicit, broken]).splitlines()
    assert {line.count("|") for line in (header, rule, *lines)} == {11}
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == [
        "`nade_binarized_mnist:cpu`",
        "10 of 100; 1",
        *("123", "250", "failed", "2.03"),
        *("1", "2", "too slow", "2.00"),
    ]
    assert [cell.strip() for cell in lines[1].split("|")[2:5]] == ["100", "1,000", ""]
    assert "no memory" in lines[2]
    assert comparison.milliseconds({"seconds": 0.00123456}) == "1.23"


def test_eager_modes_are_timed_before_compilers_run(monkeypatch, capsys):
    pytest.importorskip("torch", reason="torch is not installed (pip install -e '.[torch]')")
    from experiments.benchmarks.peers import time_peer

    made, sizes = [], []
    monkeypatch.setattr(
        time_peer,
        "make_call",
        lambda peer, run, dtype, kind, form, way, batch, n: (
            made.append(f"{kind} {form} {way}") or sizes.append((len(batch["x"]), n)) or (lambda: 0)
        ),
    )
    words = ["--row", "nade_binarized_mnist:cpu", "--skip", "sample", "--compile", "yes"]
    words += ["--batch-size", "4", "--evaluate-batch-size", "3", "--repeats", "1"]
    assert time_peer.main([*words, "--device", "cpu"]) == 0
    assert [name.split()[-1] for name in made] == ["eager"] * 4 + ["compiled"] * 4
    assert {name.split()[0]: size for name, size in zip(made, sizes, strict=True)} == {
        "step": (4, 4),
        "evaluate": (3, 3),
    }
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "blocks compiled" in lines[1]["step"]["untried"]
    assert lines[-1]["evaluate"]["untried"] == []
