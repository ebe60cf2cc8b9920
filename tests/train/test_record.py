"""Records of runs: summaries over seeds, files, commits."""

import json
import math
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from genjax.data import Data
from genjax.families import joint, nade
from genjax.train import Figure, Run
from genjax.train import record as records


def record(seed=0, obtained=88.0, std_error=0.3, **changes):
    values = {"experiment": "nade_mnist:sgd", "family": "nade", "dataset": "mnist", "seed": seed}
    values |= {"metric": "test NLL", "unit": "nats", "paper": 88.33, "paper_tag": "seen"}
    values |= {"obtained": obtained, "std_error": std_error, "minutes": 2.0, "device": "cpu x1"}
    return values | {"commit": "abc", "config": {}} | changes


def test_one_seed_is_its_own_summary():
    row = records.summarize([record(seed=3)])
    assert (row["obtained"], row["std_error"], row["seeds"]) == (88.0, 0.3, [3])
    assert (row["paper"], row["paper_tag"], row["minutes"]) == (88.33, "seen", 2.0)


def test_several_seeds_mean_and_quadrature():
    # Seeds 87, 88, 90: mean 88.33, sample variance 7/3, of the mean 7/9. The test images are the
    # same for all seeds, so their error does not shrink: sqrt(0.3^2 + 7/9).
    values = [(0, 87.0, 0.2), (1, 88.0, 0.3), (2, 90.0, 0.4)]
    row = records.summarize([record(*v, minutes=float(v[0])) for v in values])
    assert row["obtained"] == pytest.approx(265 / 3)
    assert row["std_error"] == pytest.approx(math.sqrt(0.09 + 7 / 9))
    assert row["seeds"] == [0, 1, 2]
    assert row["minutes"] == 1.0


def test_median_of_seeds_and_the_seed_to_show():
    """Chosen by what was measured without labels, not by the figure."""
    figure = Figure(aggregate="median", show_seed_by="information")
    seeds = [(0, 6.0, 2.1), (1, 40.0, 1.2), (2, 5.0, 2.25), (3, 7.0, 2.29), (4, 4.0, 2.2)]
    made = [
        {
            **record(seed, error, config={"train": {"metric": "codes,neighbours"}}),
            "final_metrics": {"codes": {"information": nats}, "neighbours": {"information": -nats}},
        }
        for seed, error, nats in seeds
    ]
    row = records.summarize(made, figure)
    assert (row["obtained"], row["std_error"]) == (6.0, None)
    assert (row["lowest"], row["highest"], row["shown_seed"]) == (4.0, 40.0, 3)
    row = records.summarize(made[:1], figure)
    assert (row["obtained"], row["std_error"]) == (6.0, 0.3)
    assert (row["lowest"], row["highest"], row["shown_seed"]) == (None, None, None)
    row = records.summarize([*made, record(5, None, None)], figure)  # one diverged
    assert (row["obtained"], row["lowest"], row["shown_seed"]) == (None, None, None)
    del made[1]["final_metrics"]["codes"]["information"]
    assert records.summarize(made, figure)["shown_seed"] is None


def test_folds_share_no_test_examples():
    values = [(0, 87.0), (1, 88.0), (2, 90.0)]
    folds = [{"data": {"fold": fold}} for fold in range(3)]
    row = records.summarize([record(*v, config=c) for v, c in zip(values, folds, strict=True)])
    assert row["std_error"] == pytest.approx(math.sqrt(7 / 9))
    # Seeds of one and the same fold do share them.
    row = records.summarize([record(*v, config=folds[0]) for v in values])
    assert row["std_error"] == pytest.approx(math.sqrt(0.09 + 7 / 9))


def test_seeds_without_a_figure():
    # A family that only samples has a row, and no figure.
    none = {"obtained": None, "std_error": None, "metric": "none"}
    row = records.summarize([record(seed=0, **none), record(seed=1, **none)])
    assert (row["obtained"], row["std_error"], row["seeds"]) == (None, None, [0, 1])
    # One that diverged is not left out of the mean in silence.
    row = records.summarize([record(0, 80.0), record(1, None, None), record(2, 82.0)])
    assert (row["obtained"], row["std_error"], row["seeds"]) == (None, None, [0, 1, 2])


def test_seeds_without_errors_use_their_spread():
    row = records.summarize([record(0, 80.0, None), record(1, 90.0, None)])
    assert (row["obtained"], row["std_error"]) == (85.0, pytest.approx(5.0))
    assert records.summarize([record(0, 80.0, None)])["std_error"] is None


def test_other_devices_and_commits_are_listed_once():
    seeds = [record(0, device="b x1", commit="2"), record(1, device="a x8", commit="1")]
    row = records.summarize([*seeds, record(2, device="b x1", commit="2")])
    assert (row["device"], row["commit"]) == ("a x8, b x1", "1, 2")


def test_names_hold_experiment_recipe_and_seed(tmp_path):
    assert records.record_name(record(seed=7)) == "nade_mnist-sgd-seed7.json"
    path = records.write_record(tmp_path / "records", record(seed=7))
    assert path == tmp_path / "records" / "nade_mnist-sgd-seed7.json"
    assert list(path.parent.iterdir()) == [path]


def test_a_newer_record_replaces_only_its_own_seed(tmp_path):
    for seed, obtained in ((0, 88.0), (1, 89.0), (0, 87.0)):
        records.write_record(tmp_path, record(seed, obtained))
    found = records.read_records(tmp_path)
    assert [(r["seed"], r["obtained"]) for r in found] == [(0, 87.0), (1, 89.0)]


def test_records_round_trip(tmp_path):
    written = record(std_error=None)
    records.write_record(tmp_path, written)
    assert records.read_records(tmp_path) == [written]
    assert records.read_records(tmp_path / "nothing here") == []


BAD = ["", "{", "[]", "3", '"text"', "{}", '{"experiment": "a", "seed": 0}']


@pytest.mark.parametrize("text", BAD)
def test_rejects_a_file_that_is_no_record(tmp_path, text):
    records.write_record(tmp_path, record())
    (tmp_path / "z.json").write_text(text)
    with pytest.raises(ValueError, match=r"z\.json is not a record of a run") as error:
        records.read_records(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "missing", ["obtained", "std_error", "minutes", "device", "commit", "experiment", "config"]
)
def test_rejects_a_record_that_lacks_an_entry(tmp_path, missing):
    # Else the table stops later, with a KeyError and no file's name.
    values = record()
    del values[missing]
    (tmp_path / "part.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"part\.json is not a record"):
        records.summarize(records.read_records(tmp_path))


def test_rejects_binary_files(tmp_path):
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"b\.json is not a record"):
        records.read_records(tmp_path)


def test_make_record_has_run_and_figure():
    run = Run(
        experiment="nade_mnist:sgd",
        family="nade",
        model=nade.tiny(),
        data=Data(data="some/folder/binarized_mnist.npz"),
        seed=5,
        figure=Figure(paper=88.33, tag="seen", source="table 2"),
    )
    made = records.make_record(
        run,
        metric="test NLL",
        obtained=90.0,
        std_error=0.5,
        details={"steps": 7},
        seconds=90.0,
        sessions=[
            {"commit": "abc", "device": "H100 x1", "from_step": 0},
            {"commit": "abc", "device": "cpu x1", "from_step": 3},
        ],
    )
    # A carried file is named as the data set it holds.
    assert made["dataset"] == "binarized_mnist"
    assert (made["paper"], made["paper_tag"], made["paper_source"]) == (88.33, "seen", "table 2")
    assert (made["minutes"], made["seed"], made["steps"]) == (1.5, 5, 7)
    assert (made["unit"], made["commit"]) == ("nats", "abc")
    # Steps were made on two machines: both are named.
    assert made["device"] == "H100 x1, cpu x1"
    assert made["config"]["model"]["hidden"] == 8
    assert {"python", "jax", "flax", "optax", "numpy"} <= set(made["versions"])
    # All of it is JSON, and enough for a row.
    back = json.loads(json.dumps(made, allow_nan=False))
    assert records.summarize([back])["obtained"] == 90.0


def test_parameters_are_counted():
    # Statistics are not trained, so they do not count.
    params = {"a": np.zeros((3, 4)), "c": {"d": np.zeros(5)}}
    variables = {"params": params, "batch_stats": {"b": np.zeros(100)}}
    assert records.count_parameters(nade, nade.tiny(), variables) == 17
    # The table of D bits has 2^D - 1 free parameters, whatever its arrays are.
    config = joint.Config(shape=(2, 2, 1))
    assert records.count_parameters(joint, config, variables) == 15


# The commit.


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The record module as if it lay in a folder outside every repository."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(records, "__file__", str(tmp_path / "record.py"))
    return tmp_path


def test_commit_without_a_repository_is_unknown(elsewhere):
    assert records.commit() == "unknown"


def test_commit_without_git_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert records.commit() == "unknown"


def test_commit_of_a_hanging_git_is_unknown(monkeypatch):
    def hang(*args, **kwargs):
        raise subprocess.TimeoutExpired("git", kwargs["timeout"])

    monkeypatch.setattr(records.subprocess, "run", hang)
    assert records.commit() == "unknown"


def test_commit_is_dirty_if_files_are_changed(elsewhere):
    if not shutil.which("git"):
        pytest.skip("git is not installed")

    def git(*words):
        name = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(
            ["git", *name, "-C", str(elsewhere), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    file = pathlib.Path(elsewhere, "code.py")
    file.write_text("a = 1\n")
    git("add", "code.py")
    git("commit", "--quiet", "--message", "first", "--no-gpg-sign")
    clean = git("rev-parse", "HEAD")[:12]
    assert records.commit() == clean
    # What is not in the repository does not make numbers; what is changed in it may.
    pathlib.Path(elsewhere, "notes.txt").write_text("beside it")
    assert records.commit() == clean
    file.write_text("a = 2\n")
    assert records.commit() == f"{clean}-dirty"
