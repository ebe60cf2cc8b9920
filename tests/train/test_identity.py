"""Checkpoints, settings and data of another run are rejected."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from support.small import small_run, write_data

from genjax import data as genjax_data
from genjax.cli import evaluate
from genjax.core import Optimizer
from genjax.train import fit, load
from genjax.train.checkpoint import _sealed
from genjax.train.identity import RunIdentity
from genjax.train.load_run import check_trained_on
from genjax.train.workdir import check_same_data, saved_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def two(tmp_path_factory, data):
    """Settings and folders of two finished runs that differ in their seeds."""
    root = tmp_path_factory.mktemp("two")
    runs = [dataclasses.replace(small_run("nade", data, steps=4), seed=seed) for seed in (0, 1)]
    for run in runs:
        fit(run, root / str(run.seed), quiet=True)
    return runs, [root / "0", root / "1"]


def copy_with(two, tmp_path, *names):
    """Copies the first run, with some of its files from the second."""
    (own, other), workdir = two[1], tmp_path / "run"
    shutil.copytree(own, workdir)
    for name in names:
        if (workdir / name).is_dir():
            shutil.rmtree(workdir / name)
            shutil.copytree(other / name, workdir / name)
        else:
            shutil.copy(other / name, workdir / name)
    return workdir


def longer(run):
    return dataclasses.replace(run, train=dataclasses.replace(run.train, steps=8, log_every=1))


def test_rejects_a_latest_checkpoint_of_another_run(two, tmp_path):
    workdir = copy_with(two, tmp_path, "checkpoints/latest")
    with pytest.raises(ValueError, match=r"latest/4 is not of this run: its seed is 1 and not 0"):
        fit(longer(two[0][0]), workdir, quiet=True)
    assert not list((workdir / "checkpoints").glob("corrupt-*"))


def test_rejects_a_best_checkpoint_of_another_run_for_the_record_and_evaluation(two, tmp_path):
    workdir = copy_with(two, tmp_path, "checkpoints/best")
    (workdir / "record.json").unlink()
    words = r"best/4 is not of this run: its seed is 1 and not 0"
    with pytest.raises(ValueError, match=words):
        fit(two[0][0], workdir, quiet=True)
    assert not (workdir / "record.json").exists()
    with pytest.raises(ValueError, match=words):
        load(workdir)


def test_rejects_settings_of_another_run(two, tmp_path):
    workdir = copy_with(two, tmp_path, "config.json")
    words = r"is not of this run: its seed is 0 and not 1"
    with pytest.raises(ValueError, match=words):
        fit(longer(two[0][1]), workdir, quiet=True)
    with pytest.raises(ValueError, match=words):
        load(workdir)


def test_rejects_a_data_checksum_of_another_run(two, tmp_path):
    workdir = copy_with(two, tmp_path)
    description = json.loads((workdir / "data.json").read_text())
    (workdir / "data.json").write_text(json.dumps(description | {"checksum": "01234567"}))
    with pytest.raises(ValueError, match=r"its data have checksum \w{8} and not 01234567"):
        load(workdir)


def without_identity(workdir):
    """Removes the settings from the checkpoints, as in an older format."""
    for path in workdir.glob("checkpoints/*/*/status/metadata"):
        status = json.loads(json.loads(path.read_text())["body"])
        path.write_text(json.dumps(_sealed(status | {"run": {}})))


def test_a_checkpoint_without_settings_is_of_an_older_format(two, tmp_path):
    workdir = copy_with(two, tmp_path)
    without_identity(workdir)
    words = (
        r"latest/4 is of an older format, without the settings of its run; train again in another"
        r" --workdir, or use the version of genjax that wrote it\.$"
    )
    with pytest.raises(ValueError, match=words):
        fit(longer(two[0][0]), workdir, quiet=True)
    with pytest.raises(ValueError, match=words.replace("latest", "best")):
        load(workdir)


def test_data_are_compared_with_the_checkpoint_where_data_json_is_missing(two, data, tmp_path):
    workdir = copy_with(two, tmp_path)
    checksum = json.loads((workdir / "data.json").read_text())["checksum"]
    (workdir / "data.json").unlink()
    assert saved_data(workdir) == {"checksum": checksum}
    own = genjax_data.load(two[0][0].data)
    check_same_data(own, workdir)
    check_trained_on(own, workdir)
    with np.load(data) as file:
        np.savez(tmp_path / "other.npz", **dict(file) | {"test": 1 - file["test"]})
    moved = dataclasses.replace(two[0][0].data, data=str(tmp_path / "other.npz"))
    other = genjax_data.load(moved)
    with pytest.raises(ValueError, match=f"was trained on data with checksum {checksum}"):
        check_trained_on(other, workdir)
    # Also for the record of a finished run, which restores no checkpoint.
    with pytest.raises(ValueError, match=rf"started with \(checksum \w+, not {checksum}\)"):
        fit(dataclasses.replace(two[0][0], data=moved), workdir, quiet=True)
    without_identity(workdir)
    assert saved_data(workdir) is None


def test_identity_depends_on_settings_that_make_numbers():
    run = small_run("nade", "digits")
    identity = RunIdentity(run, "a")
    assert identity.differences(RunIdentity(longer(run), "a").to_json()) == []
    elsewhere = dataclasses.replace(run, data=dataclasses.replace(run.data, data="moved.npz"))
    assert identity.differences(RunIdentity(elsewhere, None).to_json()) == []
    assert identity.differences(RunIdentity(run, "b").to_json()) == [
        "its data have checksum b and not a"
    ]
    batch = dataclasses.replace(run, train=dataclasses.replace(run.train, batch_size=3))
    for other, name in (
        (dataclasses.replace(run, optimizer=Optimizer(learning_rate=0.5)), "learning_rate"),
        (dataclasses.replace(run, model=dataclasses.replace(run.model, hidden=9)), "hidden"),
        (batch, "batch_size"),
    ):
        assert name in str(identity.differences(RunIdentity(other, "a").to_json()))
    saved = identity.to_json()  # by a version without these settings
    del saved["settings"]["data"]["binarize_seed"], saved["settings"]["optimizer"]["restarts"]
    assert identity.differences(saved) == []


def test_evaluates_data_changed_since_training_on_request_only(tmp_path, data, capsys):
    moved = tmp_path / "bars.npz"
    shutil.copy(data, moved)
    fit(small_run("nade", str(moved), steps=4), tmp_path / "run", quiet=True)
    known = json.loads((tmp_path / "run" / "data.json").read_text())["checksum"]
    assert evaluate.main([str(tmp_path / "run")]) == 0
    before = json.loads(capsys.readouterr().out)
    with np.load(moved) as file:
        arrays = {name: file[name] for name in file}
    arrays["test"] = 1 - arrays["test"]
    np.savez(moved, **arrays)
    assert evaluate.main([str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err
    assert f"trained on data with checksum {known}" in message
    assert evaluate.main([str(tmp_path / "run"), "--other-data"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["data_checksum"] in message
    assert after["data_checksum"] != known
    assert after["obtained"] != before["obtained"]
