"""Nothing is written or removed through links in a run's folder."""

import os

import pytest
from support.small import small_run, write_data

from genjax.cli import measure, sample
from genjax.train import fit, workdir
from genjax.train.sample_grids import refresh, save_grid

NAMES = [
    ".lock",
    "config.json",
    "data.json",
    "tokenizer.json",
    "record.json",
    "record.json.part",
    "metrics.jsonl",
    "metrics.jsonl.part",
    "metrics.csv",
    "samples",
    "samples/step_00000001.png",
    "samples/strip.png",
    "checkpoints",
    "checkpoints/latest",
    "checkpoints/best/4/state",
    "tensorboard",
    "profile",
    "phase1",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def make_target(path):
    """Makes a folder of files, as of another run; returns what is in it."""
    path.mkdir()
    for name in ("a.part", "step_00000099.png", "record.json"):
        (path / name).write_bytes(b"kept")
    return path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["file", "folder", "missing", "pipe"])
def test_fit_rejects_links_and_special_files_among_its_own(tmp_path, data, name, kind):
    other = make_target(tmp_path / "other")
    before = contents(other)
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        target = {"file": "record.json", "folder": ".", "missing": "none"}[kind]
        path.symlink_to(other / target)
    with pytest.raises(ValueError, match="is a link or a special file, and a run writes") as error:
        fit(small_run("nade", data), tmp_path / "run", quiet=True)
    assert str(path) in str(error.value)
    assert contents(other) == before
    assert [p for p in (tmp_path / "run").rglob("*") if not p.is_dir()] == (
        [] if path.is_dir() else [path]
    )


def test_other_files_in_the_folder_may_be_links(tmp_path):
    (tmp_path / "notes").symlink_to(tmp_path)
    (tmp_path / "samples").mkdir()
    workdir.check_no_links(tmp_path)


def test_the_lock_does_not_follow_or_truncate(tmp_path):
    (tmp_path / "other").write_bytes(b"kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic link"), workdir.lock_workdir(tmp_path):
        pass
    assert (tmp_path / "other").read_bytes() == b"kept"
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").write_bytes(b"kept")
    with workdir.lock_workdir(tmp_path):
        pass
    assert (tmp_path / ".lock").read_bytes() == b"kept"


def test_a_linked_workdir_is_resolved_once_and_stale_parts_are_removed(tmp_path, data, monkeypatch):
    """The link is changed during the run, which continues in the folder where it began."""
    first, other = tmp_path / "disk" / "first", make_target(tmp_path / "other")
    (first / "samples").mkdir(parents=True)
    stale = ["record.json.part", "metrics.jsonl.77.part", "samples/step_1.png.77.part"]
    for name in stale:
        (first / name).write_bytes(b"of a killed process")
    link, before = tmp_path / "runs" / "linked", contents(other)
    link.parent.mkdir()
    link.symlink_to(first)
    write = workdir.write_json

    def change_link(path, values):
        link.unlink(missing_ok=True)
        link.symlink_to(other)
        write(path, values)

    monkeypatch.setattr(workdir, "write_json", change_link)
    result = fit(small_run("joint", data, steps=4, save_every=0), link, quiet=True)
    assert result.finished
    assert (first / "record.json").is_file()
    assert list(first.rglob("*.part")) == []
    assert contents(other) == before


def test_the_overview_is_not_written_through_a_link(tmp_path):
    save_grid(tmp_path / "other" / "step_00000001.png", [[[0.0]]])
    (tmp_path / "samples").symlink_to(tmp_path / "other")
    refresh(tmp_path / "samples")
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["step_00000001.png"]
    refresh(tmp_path / "other")
    assert (tmp_path / "other" / "strip.png").exists()


@pytest.mark.parametrize(
    ("main", "folder"), [(sample.main, "samples"), (measure.main, "sample_metrics")]
)
def test_commands_do_not_write_to_a_linked_folder_unless_it_is_given(
    tmp_path, main, folder, capsys
):
    (tmp_path / "other").mkdir()
    (tmp_path / folder).symlink_to(tmp_path / "other")
    (tmp_path / "config.json").touch()
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / folder} is a link, which may lead out of the run;")
    (tmp_path / "config.json").unlink()
    assert main([str(tmp_path), "--out", str(tmp_path / "other" / "a")]) == 2
    assert "holds no run" in capsys.readouterr().err
