"""Weights of the package: recipes, records, figures, table; and the command that writes them."""

import dataclasses
import re

import jax
import numpy as np
import pytest
from support.small import small_run, write_data

from experiments import weights
from experiments.table import RECORDS, rows
from experiments.weights import WANTED, Wanted, table_rows, with_table
from genjax.cli.experiment import recipe_differences
from genjax.train import fit, load, weights_names
from genjax.train.named_weights import FOLDER
from genjax.train.record import read_records
from genjax.train.weights_file import WeightsFile, write_weights


def files_of(name):
    return WeightsFile(weights.weights_path(name))


def test_every_file_is_of_a_recipe_with_its_record_in_the_results():
    recipes = rows()
    assert {wanted.row for wanted in WANTED.values()} <= recipes.keys()
    assert {"nade_digits", "made_digits"} <= set(weights_names()) <= WANTED.keys()
    records = {(r["experiment"], r["seed"]): r for r in read_records(RECORDS)}
    for name in weights_names():
        files, wanted = files_of(name), WANTED[name]
        found, known = files.record(), records[wanted.row, wanted.seed]
        assert recipe_differences(recipes[wanted.row], files.settings(), found) == [], name
        same = ("obtained", "std_error", "metric", "commit", "chosen_step", "data_checksum")
        assert [key for key in same if found[key] != known[key]] == [], name
        figure = files.metadata["rounded_figure"]
        assert figure["recorded"] == found["obtained"], name
        assert abs(figure["obtained"] - figure["recorded"]) <= figure["recorded_error"], name
        assert files.metadata["rounding"] == wanted.rounding, name


def test_the_table_of_the_docs_is_that_of_the_files():
    """After a change, `python -m experiments.weights` writes it."""
    text = weights.DOCS.read_text()
    assert with_table(text, table_rows()) == text
    rows = re.findall(r"^\| `(\w+)` \| `\w+` \| `\w+:\w+` \| .* \| [\d,]+ kB \|$", text, re.M)
    assert sorted(rows) == weights_names()
    assert "NLL 16.76 ± 0.30 nats | 135 kB" in text


def test_figures_of_files_that_take_seconds_are_those_of_their_records(capsys):
    """Of the others, `python -m experiments.weights --check` computes the figures."""
    assert weights.main(["--check", "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    quick = [name for name, wanted in WANTED.items() if wanted.quick and name in weights_names()]
    assert [line.split()[0] for line in lines] == quick
    for line in lines:  # data of rules are always there
        if "digits" in line.split()[0]:
            assert re.search(r"in the record, \+- .* \d+ s$", line), line


def test_weights_that_differ_from_their_record_are_found(tmp_path, capsys):
    files = files_of("made_digits")
    run, variables = load(files)
    rng = np.random.default_rng(0)
    noisy = jax.tree.map(lambda v: v + rng.normal(0, 0.1, v.shape).astype(v.dtype), variables)
    path = tmp_path / "made_digits.safetensors"
    write_weights(path, run, noisy, files.record(), files.data(), rounding="float16")
    (tmp_path / "nade_digits.safetensors").write_bytes(
        weights.weights_path("nade_digits").read_bytes()
    )
    assert weights.main(["--check", "--folder", str(tmp_path)]) == 1
    nade, made = capsys.readouterr().out.splitlines()
    assert nade.startswith("nade_digits  test NLL 16.75")
    assert made.startswith("made_digits  differs: test NLL ")
    assert weights.main(["--check", "--folder", str(tmp_path / "none")]) == 2
    assert "no weights in" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of runs with a finished NADE."""
    root = tmp_path_factory.mktemp("runs")
    run = small_run("nade", write_data(root), steps=4, sample_every=0)
    run = dataclasses.replace(run, experiment="small:cpu")
    fit(run, root / "small-cpu-seed0", quiet=True)
    return root, run


def test_finished_runs_are_exported_with_their_figures(trained, tmp_path, monkeypatch, capsys):
    root, run = trained
    wanted = {"small": Wanted("small:cpu"), "other": Wanted("other:paper", seed=2)}
    monkeypatch.setattr(weights, "WANTED", wanted)
    monkeypatch.setattr(weights, "rows", lambda: {"small:cpu": run})
    out = tmp_path / "weights"
    options = ["--runs", str(root), "--folder", str(out)]
    assert weights.main(options) == 0
    small, other = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"small  test NLL .*, and .* in the record, \+- .*  [\d,]+ bytes", small)
    assert other.endswith(": python -m experiments.other --recipe paper --seed 2")
    found = WeightsFile(out / "small.safetensors")
    assert found.metadata["rounding"] == "float16"
    assert found.metadata["rounded_figure"]["recorded"] == found.record()["obtained"]
    assert [path.name for path in out.iterdir()] == ["small.safetensors"]
    # A run that is missing, one of another recipe, and files that are too large.
    assert weights.main([*options, "other"]) == 2
    assert "other-paper-seed2 holds no run" in capsys.readouterr().err
    changed = dataclasses.replace(run, train=dataclasses.replace(run.train, batch_size=17))
    monkeypatch.setattr(weights, "rows", lambda: {"small:cpu": changed})
    assert weights.main(options) == 2
    assert "differs from the recipe small:cpu in train.batch_size" in capsys.readouterr().err
    monkeypatch.setattr(weights, "rows", lambda: {"small:cpu": run})
    size = (out / "small.safetensors").stat().st_size
    monkeypatch.setattr(weights, "LIMIT", size)  # the file that is replaced does not count
    assert weights.main(options) == 0
    (out / "large.safetensors").write_bytes(b"0")
    assert weights.main(options) == 2
    assert "all weights together have" in capsys.readouterr().err


def test_the_package_has_no_more_than_its_limit():
    assert 0 < weights.total(FOLDER) <= weights.LIMIT == 12 * 2**20
