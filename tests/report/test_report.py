"""The page of runs in every state: what it holds, and that no text of a run becomes markup."""

import base64
import dataclasses
import html.parser
import importlib.resources
import io
import json
import os
import re
import tomllib
import tracemalloc

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from support.folders import make_record, make_run, write_run
from support.helpers import ROOT
from support.reading import time_limit
from support.small import small_run

from genjax import report
from genjax.cli import report as command
from genjax.data.image_grid import grid_with_layout
from genjax.report import run_reader
from genjax.train import sample_grids
from genjax.train.caption_grids import save_caption_grid
from genjax.train.sample_grids import save_grid

LINES = [
    {"step": 10, "loss": 6.5, "learning_rate": 0.01},
    {"step": 20, "loss": 6.0, "learning_rate": 0.005},
    {"step": 20, "validation_nll": 5.75},
]


class Page(html.parser.HTMLParser):
    """A page taken apart: elements with attributes, and the text of each."""

    def __init__(self, path):
        super().__init__()
        self.found, self.open = [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        node = (tag, dict(attrs), [])
        self.found.append(node)
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(node)

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        for node in self.open:
            node[2].append(data)

    def all(self, tag, **attrs):
        return [
            (a, "".join(text))
            for t, a, text in self.found
            if t == tag
            and all(a.get(k.rstrip("_").replace("_", "-")) == v for k, v in attrs.items())
        ]

    def rows(self, table):
        """Cells of a table by the text of its rows' heads."""
        out, inside = {}, False
        for tag, attrs, text in self.found:
            if tag == "table":
                inside = attrs.get("id") == table
            elif inside and tag == "th" and attrs.get("scope") == "row":
                cells = out.setdefault("".join(text), [])
            elif inside and tag == "td":
                cells.append("".join(text))
        return out

    def data(self):
        return json.loads(self.all("script", id="data")[0][1])

    def notes(self):
        return [text for _, text in self.all("li") if text.endswith(".")]


def page_of(tmp_path, *folders, **options):
    return Page(report.write(folders, tmp_path / "out" / "page.html", **options))


def picture(uri):
    kind, data = re.fullmatch(r"data:image/(png|gif);base64,(.*)", uri).groups()
    return kind, base64.b64decode(data)


# What it holds.


def test_a_finished_run(tmp_path):
    run = make_run("bars")
    folder = write_run(
        tmp_path / "bars-seed0", run, metrics=LINES, record=make_record(run), grids=(10, 20, 30)
    )
    page = page_of(tmp_path, folder)
    assert page.all("title")[0][1] == "bars"
    cells = page.rows("comparison")["bars"]
    assert cells == [
        *(
            "finished",
            "nade",
            "exact",
            "9",
            "1,234",
            "test NLL",
            "\u2013",
            "5.250 \u00b1 0.125 nats",
        ),
        *("0", "40", "0.50", "cpu x1", "abc123"),
    ]
    assert page.notes() == []
    settings = page.rows("settings-table")
    assert settings["model.hidden"] == [str(run.model.hidden)]
    assert settings["train.writers"] == ["none"]
    assert settings["optimizer.learning_rate"] == ["0.01"]
    data = page.data()
    assert data["metrics"] == [
        ["validation_nll", [[0, [20], [5.75]]]],
        ["loss", [[0, [10, 20], [6.5, 6.0]]]],
    ]
    assert data["aside"] == [["learning_rate", [[0, [10, 20], [0.01, 0.005]]]]]
    # The last grid is in the page itself, those before it wait for the slider.
    last = (folder / "samples" / "step_00000030.png").read_bytes()
    assert picture(page.all("img", class_="grid")[0][0]["src"]) == ("png", last)
    frames = data["frames"][0]
    assert [frame[0] for frame in frames] == [10, 20, 30]
    first = (folder / "samples" / "step_00000010.png").read_bytes()
    assert picture(frames[0][1]) == ("png", first)
    kind, film = picture(page.all("img", class_="film")[0][0]["src"])
    with Image.open(io.BytesIO(film)) as image:
        assert (kind, image.n_frames) == ("gif", 3)
    strip = picture(page.all("img", class_="strip")[0][0]["src"])[1]
    assert strip == sample_grids.strip(sample_grids.grids(folder / "samples"))[0]
    # A run written by an older version, or cut before its end, gets its strip and film now.
    assert (folder / "samples" / "strip.png").read_bytes() == strip
    assert (folder / "samples" / "film.gif").exists()


def test_settings_that_differ_from_the_defaults_come_first(tmp_path):
    folder = write_run(tmp_path / "run", make_run("bars", 3, batch_size=7))
    page = page_of(tmp_path, folder)
    names = list(page.rows("settings-table"))
    marked = [a.get("class") == "differs" for a, _ in page.all("tr") if "class" in a]
    first = set(names[: len(marked)])
    assert {"seed", "train.batch_size", "data.data", "optimizer.learning_rate"} <= first
    assert not {"train.mixed_precision", "optimizer.b1", "experiment"} & first
    assert f"Only the {len(marked)} of {len(names)} settings" in page.source


def test_samples_are_above_curves_and_beside_real_images(tmp_path):
    folder = write_run(tmp_path / "run", make_run("bars"), metrics=LINES, grids=(10,))
    save_grid(folder / "samples" / "real.png", np.ones((9, 4, 4)))
    page = page_of(tmp_path, folder)
    assert [text for _, text in page.all("h2")] == ["Comparison", "Samples", "Curves", "Settings"]
    real = (folder / "samples" / "real.png").read_bytes()
    assert picture(page.all("img", class_="real")[0][0]["src"]) == ("png", real)
    (folder / "samples" / "real.png").write_bytes(b"no PNG")
    damaged = page_of(tmp_path, folder)
    assert not damaged.all("img", class_="real")
    assert "real.png cannot be read." in damaged.notes()


def test_metrics_are_beside_those_of_real_images(tmp_path):
    values = {
        "swd": {
            "average": 12.5,
            "real_average": 1.25,
            "levels": {"128": 10.0, "16": 15.0},
            "seed": 3,
        }
        | {"real_levels": {"128": 1.0, "16": 1.5}},
        "ms_ssim": {"mean": 0.5, "std_error": 0.1, "real_mean": 0.25, "real_std_error": 0.1},
        "parzen": {"nats": 200.0},
        "classifier_frechet": {"distance": 4.0, "real_distance": None},
        "codes": {"error": "a number is not finite."},
        "odd": 3,
    }
    run = make_run("metrics")
    record = make_record(run, final_metrics=values)
    folder = write_run(tmp_path / "run", run, record=record, metrics=LINES, grids=(10,))
    page = page_of(tmp_path, folder)
    before, table = page.source.split('class="metrics"')
    assert 'class="figures"' in before  # samples are above
    table = table.split("</table>")[0]
    found = [re.sub("<[^>]+>", " ", row).split() for row in table.split("<tr>")[1:]]
    assert found == [
        ["Samples", "Real", "images"],
        ["swd", "average", "12.5", "1.25"],
        ["swd", "levels", "128", "10", "1"],
        ["swd", "levels", "16", "15", "1.5"],
        ["ms", "ssim", "mean", "0.5", "0.25"],  # words, which may be on several lines
    ]
    plain = make_record(run, final_metrics=3)
    page = page_of(tmp_path, write_run(tmp_path / "plain", run, record=plain))
    assert 'class="metrics"' not in page.source


def test_growth_has_a_heading_and_names_the_stages(tmp_path):
    folder = write_run(tmp_path / "run", make_run("grown"))
    for step, stage, alpha in [(10, "4x4", 1.0), (20, "8x8", 0.5), (30, "8x8", 1.0)]:
        path = folder / "samples" / f"step_{step:08d}.png"
        save_grid(path, np.full((2, 8, 8), step / 30), stage=stage, alpha=alpha)
    page = page_of(tmp_path, folder)
    assert [text for _, text in page.all("h4")] == ["Growth"]
    assert [text for _, text in page.all("li")] == [
        *(page.notes()),
        *("4x4, step 10", "8x8, alpha 0.50, step 20", "8x8, step 30"),
    ]
    assert len(page.all("img", class_="strip")) == len(page.all("img", class_="film")) == 1
    grids = write_run(tmp_path / "other", make_run("plain"), grids=(10, 20))
    assert page_of(tmp_path, grids).all("h4") == []


def test_any_stage_in_a_picture_is_one_short_line(tmp_path):
    folder = write_run(tmp_path / "run", make_run("odd"))
    for step, stage in [(10, EVIL + "\n" * 9 + "x" * 10_000), (20, "8x8")]:
        path = folder / "samples" / f"step_{step:08d}.png"
        save_grid(path, np.zeros((2, 8, 8)), stage=stage)
    page = page_of(tmp_path, folder)
    assert [text for _, text in page.all("li")][-2:] == [f"{EVIL[:20]}, step 10", "8x8, step 20"]
    with Image.open(folder / "samples" / "strip.png") as image:
        assert image.width < 400


def test_a_sheet_is_compared_by_columns(tmp_path):
    titles = ("a", "<b>", "b, true")
    run = make_run("sheets")
    page = page_of(tmp_path, write_run(tmp_path / "run", run, grids=(10, 20), titles=titles))
    figure, _ = page.all("figure", class_="compare")[0]
    assert json.loads(figure["data-layout"]) == [14 * 4, 14 * 4, 2]
    options = [text for _, text in page.all("option")]
    assert options == [*titles, *titles, "1", "2", "3"]
    assert [text for _, text in page.all("p") if text.startswith("Columns")] == [
        "Columns: a; <b>; b, true"
    ]


@pytest.mark.parametrize("last", [("a", "a to b"), ("a", "b", "other")])
def test_sheets_of_several_layouts_are_not_compared(tmp_path, last):
    run = make_run("sheets")
    folder = write_run(tmp_path / "run", run, grids=(10,), titles=("a", "a to b", "b"))
    save_grid(folder / "samples" / "step_00000020.png", np.zeros((9, 4, 4)), titles=last)
    page = page_of(tmp_path, folder)
    assert page.all("img", class_="grid")
    assert not page.all("figure", class_="compare")


def test_titles_that_are_not_one_per_column_are_not_shown(tmp_path):
    folder = write_run(tmp_path / "run", make_run("sheets"))
    page, tiles = grid_with_layout(np.zeros((4, 4, 4)), titles=("a", "b"))
    info = PngImagePlugin.PngInfo()
    info.add_text("genjax", json.dumps(dataclasses.asdict(tiles) | {"titles": ["a"] * 3}))
    path = folder / "samples" / "step_00000010.png"
    path.parent.mkdir()
    Image.fromarray(page).save(path, pnginfo=info)
    found = page_of(tmp_path, folder)
    assert found.all("img", class_="grid")
    assert not found.all("figure", class_="compare")


def write_captions(folder, captions, wrong, step=10, per_caption=2):
    images = np.zeros((per_caption * len(captions), 4, 4, 3))
    path = folder / "samples" / f"step_{step:08d}.png"
    save_caption_grid(path, images, captions, wrong=wrong)
    return path


def test_samples_are_beside_their_captions(tmp_path):
    folder = write_run(tmp_path / "run", make_run("drawings"))
    captions = ("a <b>", "\u05d0\u05d1 & \N{GRINNING FACE}", "x" * 1000)
    write_captions(folder, captions, (0, 5))
    path = write_captions(folder, captions, None, step=20)
    page = page_of(tmp_path, folder)
    box = page.all("div", class_="captioned")[0][0]
    values = json.loads(box["data-captions"])
    assert values["wrong"] == [[0, 5], None]
    layout = sample_grids.read_grid(path)[1]
    assert values["corners"] == [list(layout.corner(i)) for i in range(6)]
    assert (values["height"], values["width"], values["perCaption"]) == (64, 64, 2)
    shown = [text for _, text in page.all("p", dir="auto")]
    assert shown == [*captions[:2], "x" * 299 + "\u2026"]
    assert not page.all("figure", class_="compare")


@pytest.mark.parametrize("other", ["captions", "count", "none"])
def test_captions_of_several_layouts_are_not_listed(tmp_path, other):
    folder = write_run(tmp_path / "run", make_run("drawings"))
    write_captions(folder, ("a", "b"), ())
    if other == "none":
        save_grid(folder / "samples" / "step_00000020.png", np.zeros((4, 4, 4)))
    else:
        last, count = ("b", 3) if other == "count" else ("c", 2)
        write_captions(folder, ("a", last), (), 20, count)
    page = page_of(tmp_path, folder)
    assert page.all("img", class_="grid")
    assert not page.all("div", class_="captioned")


def test_many_captions_are_cut(tmp_path):
    folder = write_run(tmp_path / "run", make_run("drawings"))
    write_captions(folder, [f"caption {i}" for i in range(120)], range(240))
    page = page_of(tmp_path, folder)
    assert len(page.all("p", dir="auto")) == 100
    values = json.loads(page.all("div", class_="captioned")[0][0]["data-captions"])
    assert len(values["corners"]) == 200


def test_shows_source_of_the_papers_figure_and_differences(tmp_path):
    run = make_run("bars")
    folder = write_run(tmp_path / "run", run, record=make_record(run))
    config = json.loads((folder / "config.json").read_text())
    config["figure"] |= {"paper": 88.33, "source": "Table 2", "difference": "Adam"}
    (folder / "config.json").write_text(json.dumps(config))
    page = page_of(tmp_path, folder)
    assert page.rows("comparison")["bars"][6] == "88.33 nats"
    assert dict(zip(*([t for _, t in page.all(tag)] for tag in ("dt", "dd")), strict=True)) == {
        "Folder": "run",
        "Data": "bars",
        "Ended": "at step 40, end of schedule",
        "Weights": "of step 36, chosen by validation",
        "Paper": "Table 2",
        "Differs from the paper": "Adam",
    }


def test_finds_runs_below_a_folder_and_labels_them(tmp_path):
    runs = tmp_path / "runs"
    write_run(runs / "a" / "x", make_run("bars", 0), record=make_record(make_run("bars", 0)))
    write_run(runs / "b", make_run("bars", 1, steps=20))
    write_run(runs / "c", make_run("other"))
    write_run(runs / ".hidden", make_run("hidden"))
    write_run(runs / "c" / "checkpoints" / "inside", make_run("inside"))
    write_run(runs / "1" / "2" / "3" / "4" / "5", make_run("deep"))
    page = page_of(tmp_path, runs, runs / "b")  # one is named twice
    assert list(page.rows("comparison")) == ["bars, seed 0", "bars, seed 1", "other"]
    assert page.data()["runs"] == ["bars, seed 0", "bars, seed 1", "other"]
    assert "3 runs, 1 finished." in page.source
    # Settings that differ are marked, and no others.
    marked = [a for a, _ in page.all("tr", class_="differs")]
    differing = {n for n, cells in page.rows("settings-table").items() if len(set(cells)) > 1}
    assert differing == {"experiment", "seed", "train.steps"}
    assert len(marked) == 3


def test_identical_runs_are_labelled_by_folder(tmp_path):
    for name in ("first", "second"):
        write_run(tmp_path / "runs" / name, make_run("bars"))
    assert page_of(tmp_path, tmp_path / "runs").data()["runs"] == ["first", "second"]
    write_run(tmp_path / "more" / "first", make_run("bars"))
    found = page_of(tmp_path, tmp_path / "runs", tmp_path / "more").data()["runs"]
    assert len(set(found)) == 3


def test_settings_of_another_family_are_missing_not_empty(tmp_path):
    write_run(tmp_path / "runs" / "nade", make_run("one"))
    write_run(tmp_path / "runs" / "joint", small_run("joint", "bars.npz"))
    page = page_of(tmp_path, tmp_path / "runs")
    rows = page.rows("settings-table")
    assert rows["model.alpha"][1] == "\u2013"
    assert rows["model.hidden"][0] == "\u2013"
    densities = {name: cells[2] for name, cells in page.rows("comparison").items()}
    assert densities == {"small_joint": "exact", "one": "exact"}


def test_many_grids_and_many_values_are_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr(run_reader, "POINTS", 50)
    metrics = [{"step": i, "loss": i / 7} for i in range(1, 201)]
    folder = write_run(tmp_path / "run", make_run("long"), metrics=metrics, grids=range(1, 81))
    page = page_of(tmp_path, folder)
    steps, values = page.data()["metrics"][0][1][0][1:]
    assert (len(steps), steps[0], steps[-1]) == (50, 1, 200)
    assert values == [step / 7 for step in steps]
    assert "loss: 50 of 200 values are shown." in page.notes()
    frames = [frame[0] for frame in page.data()["frames"][0]]
    assert (len(frames), frames[0], frames[-1]) == (60, 1, 80)
    monkeypatch.setattr(run_reader, "FRAME_BYTES", 20_000)
    frames = page_of(tmp_path, folder).data()["frames"][0]
    assert 2 <= len(frames) < 60
    assert (frames[0][0], frames[-1][0]) == (1, 80)


# Runs in every state.


def test_a_run_without_metrics(tmp_path):
    page = page_of(tmp_path, write_run(tmp_path / "run", make_run("begun")))
    assert page.rows("comparison")["begun"][0] == "unfinished"
    assert page.notes() == [
        "Not finished: no record and no figure yet.",
        "No metrics.jsonl, so no curves.",
        "No samples yet.",
    ]
    assert page.all("img", class_="grid") == []


def test_shows_warnings_of_a_run(tmp_path):
    run = make_run("bars")
    warnings = [{"step": 600, "words": "it has <b>collapsed</b>"}, {"step": "x"}, 7, None]
    folder = write_run(tmp_path / "run", run, record=make_record(run, warnings=warnings))
    notes = page_of(tmp_path, folder).notes()
    assert "At step 600: it has <b>collapsed</b>." in notes  # as text: no markup came of it
    assert sum(note.startswith("At step") for note in notes) == 1
    record = make_record(run, warnings="all well")
    folder = write_run(tmp_path / "other", run, record=record)
    assert not any("all well" in note for note in page_of(tmp_path, folder).notes())


def test_damaged_lines_and_non_finite_values(tmp_path):
    lines = [
        *('{"step": 1, "loss": 2.5, "note": "text", "on": true}', '{"step": 2, "loss": null}'),
        *('{"step": 3, "loss": NaN}', '{"step": 4, "loss": -Infinity}', '{"step": 5, "loss": 1}'),
        *('{"step": 6, "lo', "[1]", "7", '{"loss": 1}', '{"step": "8", "loss": 1}', "\x00\xff"),
        *('{"step": 1e400, "loss": 1}', '{"step": 9, "loss": 1' + "0" * 400 + "}", ""),
    ]
    folder = write_run(tmp_path / "run", make_run("bars"), metrics=lines)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\n" + b"[" * 100_000)
    page = page_of(tmp_path, folder)
    assert page.data()["metrics"] == [
        ["loss", [[0, [1, 2, 3, 4, 5, 9], [2.5, None, None, None, 1, None]]]]
    ]
    assert "metrics.jsonl: 9 lines are damaged and omitted." in page.notes()
    assert page.rows("comparison")["bars"][9] == "9 of 10"


@pytest.mark.parametrize("text", ["{", "[]", "\x00", "5", '{"a": ' * 5000, ""])
def test_settings_and_record_that_cannot_be_read(tmp_path, text):
    folder = write_run(tmp_path / "run", make_run("bars"), metrics=LINES)
    (folder / "config.json").write_text(text)
    (folder / "record.json").write_text(text)
    page = page_of(tmp_path, folder)
    assert page.rows("comparison")["run"][0] == "unfinished"
    assert sum("cannot be read" in note for note in page.notes()) == 2
    assert page.data()["metrics"]


def test_a_run_without_settings_does_not_make_all_others_differ(tmp_path):
    for name in ("a", "b", "c"):
        write_run(tmp_path / "runs" / name, make_run(name))
    (tmp_path / "runs" / "a" / "config.json").write_text("{")
    page = page_of(tmp_path, tmp_path / "runs")
    assert page.rows("settings-table")["experiment"] == ["b", "c"]
    assert len(page.all("tr", class_="differs")) == 1
    # Columns keep the runs' own numbers, by which the legend hides them.
    assert {a["data-run"] for a, _ in page.all("td") if "data-run" in a} == {"1", "2"}


def test_settings_of_a_damaged_file_come_from_the_record(tmp_path):
    run = make_run("bars")
    folder = write_run(tmp_path / "run", run, record=make_record(run))
    (folder / "config.json").write_text("{")
    page = page_of(tmp_path, folder)
    assert page.rows("settings-table")["model.hidden"] == [str(run.model.hidden)]


def test_a_record_with_values_of_wrong_types(tmp_path):
    run = make_run("bars")
    wrong = {name: ["x"] for name in make_record(run)} | {"obtained": float("nan"), "minutes": "2"}
    folder = write_run(tmp_path / "run", run, record=wrong)
    page = page_of(tmp_path, folder)
    assert page.rows("comparison")["bars"][7] == "\u2013"


def test_damaged_images_are_left_out(tmp_path):
    folder = write_run(tmp_path / "run", make_run("bars"), grids=(10, 20))
    for step, data in ((15, b""), (30, b"\x89PNG\r\n\x1a\nnothing"), (40, b"<script>")):
        (folder / "samples" / f"step_{step:08d}.png").write_bytes(data)
    page = page_of(tmp_path, folder)
    assert [frame[0] for frame in page.data()["frames"][0]] == [10, 20]
    assert any(
        note.startswith("step_00000015.png, step_00000030.png, step_00000040.png cannot be read")
        for note in page.notes()
    )


def test_pictures_are_read_with_bounds(tmp_path):
    """A PNG of 10 kB may decode to a gigabyte, and a pipe has no end."""
    folder = write_run(tmp_path / "run", make_run("bars"), grids=(10, 20))
    samples = folder / "samples"
    for step in (30, 40, 50):
        Image.new("1", (9000, 9000)).save(samples / f"step_{step:08d}.png", optimize=True)
        assert (samples / f"step_{step:08d}.png").stat().st_size < 20_000
    whole = (samples / "step_00000010.png").read_bytes()
    (samples / "step_00000060.png").write_bytes(whole + bytes(2**27))
    os.mkfifo(samples / "step_00000070.png")
    tracemalloc.start()
    with time_limit(60):
        page = page_of(tmp_path, folder)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert [frame[0] for frame in page.data()["frames"][0]] == [10, 20]
    (note,) = (note for note in page.notes() if note.endswith("cannot be read."))
    assert note.count(".png") == 5


@pytest.mark.parametrize("name", ["metrics.jsonl", "record.json"])
def test_a_pipe_in_a_run_does_not_block(tmp_path, name):
    folder = write_run(tmp_path / "run", make_run("bars"))
    os.mkfifo(folder / name)
    with time_limit(60):
        notes = page_of(tmp_path, folder).notes()
    expected = "No metrics.jsonl" if name == "metrics.jsonl" else "record.json cannot be read"
    assert any(note.startswith(expected) for note in notes)


def test_a_folder_that_cannot_be_written_is_still_shown(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "run", make_run("bars"), grids=(10, 20))

    def fail(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(sample_grids, "write_overview", fail)
    page = page_of(tmp_path, folder)
    assert len(page.all("img", class_="strip")) == 1
    assert not (folder / "samples" / "strip.png").exists()


# No text of a run becomes markup.

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{data}}"


def test_every_text_of_a_run_is_inert(tmp_path):
    run = make_run("placeholder")
    folder = write_run(tmp_path / "<b>run&", run, grids=(10, 20))
    config = json.loads((folder / "config.json").read_text())

    def poison(values):
        """Every text and every name of a nested dict."""
        if isinstance(values, dict):
            return {name: poison(v) for name, v in values.items()} | {EVIL: EVIL}
        return EVIL if isinstance(values, str) or values is None else values

    (folder / "config.json").write_text(json.dumps(poison(config)))
    (folder / "record.json").write_text(json.dumps(poison(make_record(run))))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, EVIL: 2.0, "__proto__": 1}) + "\n")
    page = page_of(tmp_path, folder, title=f"{EVIL}\ud800")
    kinds = {tag for tag, _, _ in page.found}
    assert "b" not in kinds
    assert len(page.all("script")) == 3
    assert all(
        re.match("data:image/(png|gif);base64,", a["src"]) for a, _ in page.all("img") if "src" in a
    )
    assert not any(name.startswith("on") for _, attrs, _ in page.found for name in attrs)
    assert page.all("h1")[0][1] == page.all("title")[0][1] == f"{EVIL}?"
    assert page.data()["runs"] == [EVIL]
    assert [name for name, _ in page.data()["metrics"]] == [EVIL, "__proto__"]
    assert page.rows("settings-table")["train." + EVIL] == [EVIL]


def test_the_policy_allows_only_the_pages_scripts(tmp_path):
    page = page_of(tmp_path, write_run(tmp_path / "run", make_run("bars"), metrics=LINES))
    (meta,) = (a for a, _ in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    policy = dict(part.split(" ", 1) for part in meta["content"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    assert all("unsafe" not in value for value in policy.values())
    assert len(re.findall(r"'sha256-[^']+'", policy["script-src"])) == 2
    # Nothing that would be loaded is named at all.
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:|//)""", page.source)
    assert all(a["href"].startswith("#") for a, _ in page.all("a"))


# The command.


def test_rejects_a_folder_without_runs(tmp_path, capsys):
    write_run(tmp_path / "runs" / "a", make_run("bars"))
    (tmp_path / "empty").mkdir()
    out = tmp_path / "page.html"
    status = command.main([str(tmp_path / "runs"), str(tmp_path / "empty"), "--out", str(out)])
    output = capsys.readouterr()
    assert status == 2
    assert output.err.startswith(f"error: {tmp_path / 'empty'} holds no run")
    assert output.err.count("\n") == 1
    assert not out.exists()
    assert command.main([str(tmp_path / "nowhere")]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_the_command_writes_the_page_and_names_it(tmp_path, capsys):
    write_run(tmp_path / "runs" / "a", make_run("bars"))
    out = tmp_path / "new" / "page.html"
    assert command.main([str(tmp_path / "runs"), "--out", str(out), "--title", "A < B"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert Page(out).all("h1")[0][1] == "A < B"
    assert [p.name for p in out.parent.iterdir()] == ["page.html"]


def test_rejects_an_empty_list_of_folders(tmp_path):
    with pytest.raises(ValueError, match="`workdirs` is empty"):
        report.write([], tmp_path / "page.html")


def test_accepts_a_single_folder(tmp_path):
    write_run(tmp_path / "runs" / "a", make_run("bars"))
    assert report.write(str(tmp_path / "runs"), tmp_path / "page.html") == tmp_path / "page.html"


def test_the_pages_files_are_in_the_wheel():
    static = importlib.resources.files("genjax.report") / "static"
    names = {f"static/{file.name}" for file in static.iterdir()}
    assert {f"static/{name}" for name in ("page.html", "page.css", "page.js", "chart.js")} <= names
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    package = ROOT / "genjax" / "report"
    patterns = settings["package-data"]["genjax.report"]
    packed = {p.relative_to(package).as_posix() for glob in patterns for p in package.glob(glob)}
    assert packed == names
