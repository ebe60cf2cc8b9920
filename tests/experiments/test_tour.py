"""The tour: its families, its page and what it overwrites."""

import json
import re

import pytest
from support.helpers import NAMES

from experiments.examples import tour


def test_every_family_is_on_the_tour():
    assert sorted({run.family for run in tour.RUNS.values()}) == NAMES
    assert set(tour.DEFAULT) <= set(tour.RUNS)
    assert all("digits" in run.data.data for run in tour.RUNS.values())
    assert all(
        run.experiment.startswith("tour_") for run in tour.RUNS.values()
    )  # see remove_earlier_runs()


def test_writes_a_page_and_replaces_earlier_runs(tmp_path, capsys):
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
    (out / "nade" / "samples" / "step_00000030.png").touch()  # from a longer tour
    assert tour.main(["--smoke", "--only", "nade", "--out", str(out)]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["nade", "report.html"]
    assert not (out / "nade" / "samples" / "step_00000030.png").exists()
    assert "tour_joint" not in (out / "report.html").read_text()


@pytest.mark.parametrize("config", [None, "{", '{"experiment": "other"}', "[]", "link"])
def test_removes_only_runs_of_a_tour(tmp_path, capsys, config):
    out = tmp_path / "out"
    (out / "vae").mkdir(parents=True)
    (out / "vae" / "config.json").write_text('{"experiment": "tour_vae"}')
    other = out / "nade"
    if config == "link":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "config.json").write_text('{"experiment": "tour_nade"}')
        other.symlink_to(tmp_path / "elsewhere")
    else:
        other.mkdir()
        (other / "notes.txt").touch()
        if config is not None:
            (other / "config.json").write_text(config)
    assert tour.main(["--smoke", "--only", "joint", "--out", str(out)]) == 2
    assert (
        capsys.readouterr().err
        == f"error: {other} is not from a tour; move it, or choose another --out.\n"
    )
    # Nothing is removed, not even the tour's own folder.
    assert sorted(p.name for p in out.iterdir()) == ["nade", "vae"]
    assert list(other.iterdir())
