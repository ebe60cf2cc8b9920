"""RESULTS.md is that of the records and recipes, and its check names the rows that differ."""

import json
import shutil

import pytest
from support.helpers import ROOT

from experiments import results
from experiments.quantities import QUANTITIES, mean, values_of
from experiments.table import RECORDS, rows
from genjax.train.record import read_records


def test_results_are_those_of_the_records_and_recipes(capsys):
    status = results.main(["--check"])
    assert (status, capsys.readouterr().err) == (0, "")


def changed_figure(record):
    record["obtained"] += 1.0


def changed_quantity(record):
    record["final_metrics"]["translation"]["b_rmse"] += 1.0


def changed_floor(record):
    record["final_metrics"]["puzzle"]["chance_gap_0_solved"] += 0.1


def changed_commit(record):
    record["commit"] = "0123456789ab"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("nade_binarized_mnist:cpu", changed_figure),
        ("cyclegan_glyphs:pix2pix", changed_quantity),
        ("jigsaw_digits:mnist", changed_floor),
        ("vae_grey_mnist:z3_cpu", changed_commit),
        ("rnade_red_wine:cpu", None),
    ],
)
def test_a_changed_record_is_named(name, change, tmp_path, capsys):
    folder = shutil.copytree(RECORDS, tmp_path / "records")
    path = folder / f"{name.replace(':', '-')}-seed0.json"
    if change is None:
        path.unlink()
    else:
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))
    assert results.main(["--check", "--records", str(folder)]) == 1
    assert f"RESULTS.md does not match the records and recipes: {name}; run" in (
        capsys.readouterr().err
    )


def test_other_changes_are_found_and_undone(tmp_path, capsys):
    text = results.FILE.read_text()
    out = tmp_path / "RESULTS.md"
    for broken in (text.replace("## VAE", "## VAEs"), text + "\nmore\n", ""):
        out.write_text(broken)
        assert results.main(["--check", "--out", str(out)]) == 1
        assert "does not match" in capsys.readouterr().err
    assert results.main(["--out", str(out)]) == 0
    assert out.read_text() == text


def test_all_rows_are_in_the_results():
    text = results.FILE.read_text()
    assert sum(len(names) for names in results.by_system(rows()).values()) == len(rows())
    done = {record["experiment"] for record in read_records(RECORDS)}
    assert {name for name in rows() if f"\n| `{name}` | " in text} == done
    assert max(map(len, text.splitlines())) < 200


# Quantities that are newer than the records of their metrics.
NEW = {"{split}_r_precision"}


def test_quantities_are_in_the_records():
    """Of metrics that have a record."""
    records = read_records(RECORDS)
    for metric, quantities in QUANTITIES.items():
        values = [v for record in records if (v := values_of(record, metric))]
        for quantity in quantities if values else ():
            if quantity.key in NEW and all(mean([v], quantity.key) is None for v in values):
                continue
            keys = [quantity.key]
            for name in (*quantity.floors, *quantity.ceilings):
                own = f"{name}_{quantity.key}"
                keys.append(own if any(mean([v], own) is not None for v in values) else name)
            assert [k for k in keys if all(mean([v], k) is None for v in values)] == [], metric


def test_a_row_without_requirements_is_an_error(monkeypatch):
    run = rows()["nade_binarized_mnist:paper"]
    assert results.requirements(run.experiment, run).startswith("two minutes of an H100")
    monkeypatch.delattr("experiments.nade_binarized_mnist.REQUIRES")
    with pytest.raises(ValueError, match=r'REQUIRES\["paper"\]` of experiments/nade_binarized'):
        results.requirements(run.experiment, run)
    assert ROOT / "RESULTS.md" == results.FILE
