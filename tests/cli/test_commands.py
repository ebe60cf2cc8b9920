"""`genjax sample` and `genjax.cli.evaluate` of what is no run, and the tour's stops."""

import json
import re

import jax
import pytest
from support.helpers import NAMES
from support.small import small_run, write_data

from experiments.examples import tour
from genjax.cli import evaluate, sample
from genjax.train import fit


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("command", [sample, evaluate])
def test_what_is_no_run_is_a_sentence(command, tmp_path, data, capsys):
    assert command.main([str(tmp_path / "nothing")]) == 2
    assert "holds no run: there is no" in capsys.readouterr().err
    fit(small_run("nade", data), tmp_path / "run", quiet=True)
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text()[:50])
    assert command.main([str(tmp_path / "run")]) == 2
    assert "is not the settings of a run" in capsys.readouterr().err


def test_a_run_without_a_checkpoint_is_a_sentence(tmp_path, data, capsys):
    workdir = tmp_path / "run"
    fit(small_run("nade", data), workdir, quiet=True)
    for folder in (workdir / "checkpoints").iterdir():
        folder.rename(tmp_path / folder.name)
    assert sample.main([str(workdir)]) == 2
    assert "has no whole checkpoint yet" in capsys.readouterr().err


def test_memory_that_runs_out_is_a_sentence(tmp_path, data, capsys, monkeypatch):
    workdir = tmp_path / "run"
    fit(small_run("nade", data), workdir, quiet=True)
    for command, name, fewer in ((sample, "save_grid", "--n"), (evaluate, "split_of", "--batch")):
        for error in (MemoryError(), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 bytes")):

            def no_room(*args, error=error, **settings):
                raise error

            monkeypatch.setattr(command, name, no_room)
            assert command.main([str(workdir)]) == 2
            said = capsys.readouterr().err
            assert f"error: memory ran out; take fewer at a time ({fewer}" in said

    # Any other error of a device's is not explained away.
    def broken(*args):
        raise jax.errors.JaxRuntimeError("INTERNAL")

    monkeypatch.setattr(sample, "save_grid", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        sample.main([str(workdir)])
    assert evaluate.main([str(workdir), "--samples", "3"]) == 2
    assert "--samples is of a bound, and this run's figure is none" in capsys.readouterr().err


def test_the_tour_stops_at_every_family():
    assert sorted({run.family for run in tour.STOPS.values()}) == NAMES
    assert set(tour.DEFAULT) <= set(tour.STOPS)
    assert all(run.data.data.startswith("digits") for run in tour.STOPS.values())
    assert all(run.experiment.startswith("tour_") for run in tour.STOPS.values())  # see clear()


def test_the_tour_ends_with_a_page_and_begins_anew(tmp_path, capsys):
    out = tmp_path / "tour"
    assert tour.main(["--smoke", "--only", "joint", "nade", "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Curves and samples: {out}/report.html"
    assert sorted(p.name for p in out.iterdir()) == ["joint", "nade", "report.html"]
    assert sorted(p.name for p in (out / "nade").iterdir()) == [
        *("config.json", "data.json", "metrics.jsonl", "record.json", "samples")
    ]
    page = (out / "report.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert data["runs"] == ["tour_joint", "tour_nade"]
    assert [[step for step, *_ in frames] for frames in data["frames"]] == [[1], [10, 20]]
    (out / "nade" / "samples" / "step_00000030.png").touch()  # of a longer tour
    assert tour.main(["--smoke", "--only", "nade", "--out", str(out)]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["nade", "report.html"]
    assert not (out / "nade" / "samples" / "step_00000030.png").exists()
    assert "tour_joint" not in (out / "report.html").read_text()


@pytest.mark.parametrize("config", [None, "{", '{"experiment": "mine"}', "[]", "link"])
def test_the_tour_removes_only_what_a_tour_left(tmp_path, capsys, config):
    out = tmp_path / "out"
    (out / "vae").mkdir(parents=True)
    (out / "vae" / "config.json").write_text('{"experiment": "tour_vae"}')
    mine = out / "nade"
    if config == "link":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "config.json").write_text('{"experiment": "tour_nade"}')
        mine.symlink_to(tmp_path / "elsewhere")
    else:
        mine.mkdir()
        (mine / "notes.txt").touch()
        if config is not None:
            (mine / "config.json").write_text(config)
    assert tour.main(["--smoke", "--only", "joint", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said == f"error: {mine} is not of a tour; move it, or take another --out.\n"
    # Nothing was touched, of the tour's own neither.
    assert sorted(p.name for p in out.iterdir()) == ["nade", "vae"]
    assert list(mine.iterdir())
