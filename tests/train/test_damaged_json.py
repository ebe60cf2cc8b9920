"""Every JSON file of a run, damaged: one error message that names the file, no traceback."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from support.folders import make_record, make_run, write_run

from genjax.data import Dataset, train_tokenizer
from genjax.train import sample_grids
from genjax.train.archive import extract_archive
from genjax.train.metric_log import Metrics
from genjax.train.metric_writers import add_writers, write_csv, write_missing_outputs
from genjax.train.phases import first_status
from genjax.train.record import read_records, summarize
from genjax.train.resume import finished_record
from genjax.train.run_config import Phase, to_json
from genjax.train.workdir import check_same_data, read_run, resolve_workdir

RUN = make_run("bars")
RECORD = make_record(RUN)
DATA = Dataset("bars", {"train": {"x": np.zeros((4, 3, 3, 1), np.uint8)}}, 2)
CAPTIONED = dataclasses.replace(DATA, tokenizer=train_tokenizer("words", ["a bar"]))
TEXTS = [
    *("null", "[]", "3", '"a"', "{}", "", "[" * 100_000, '{"a": ' * 100_000),
    *('{"a": 1' + "0" * 400 + "}", '{"a": Infinity}', '{"a": "\\ud800"}', "\x00"),
]
IDS = [text[:20] for text in TEXTS]


def read_record_of_phase(folder):
    (folder / "phase1").mkdir()
    (folder / "record.json").rename(folder / "phase1" / "record.json")
    phase = Phase(optimizer=RUN.optimizer, train=RUN.train)
    return first_status(dataclasses.replace(RUN, phases=(phase,)), folder)


def read_table(folder):
    (folder / "config.json").unlink()
    return summarize(read_records(folder))


READERS = {
    "config.json": read_run,
    "record.json": lambda folder: finished_record(RUN, RUN, folder),
    "phase1/record.json": read_record_of_phase,
    "table": read_table,
    "data.json": lambda folder: check_same_data(DATA, folder),
    "tokenizer.json": lambda folder: check_same_data(CAPTIONED, folder),
    "pack.json": lambda folder: extract_archive(folder, folder / "out"),
}


@pytest.mark.parametrize("text", TEXTS, ids=IDS)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_one_error_message(tmp_path, name, text):
    folder = write_run(tmp_path / "run", RUN)
    file = {"phase1/record.json": "record.json", "table": "record.json"}.get(name, name)
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=re.escape(file)) as error:
        READERS[name](folder)
    message = str(error.value)
    assert type(error.value) is ValueError
    assert message.isprintable()
    assert message.endswith(".")
    assert len(message) < 500


def changed(values, place, value):
    """A copy with one entry replaced, or removed if the value is `...`."""
    copy = json.loads(json.dumps(values))
    *path, last = place.split(".")
    inner = copy
    for name in path:
        inner = inner[name]
    inner[last] = value
    if value is ...:
        del inner[last]
    return copy


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *[("experiment", 3), ("experiment", None), ("experiment", ...), ("seed", "0")],
        *[("seed", 2**40), ("seed", 0.5), ("data", None), ("data", [1]), ("train.steps", "many")],
        *[("optimizer", 3), ("optimizer.clip", {}), ("phases", 7), ("phases", [3])],
        *[("phases", [{"train": {}}]), ("phases", [{"optimizer": None, "train": {}}])],
        *[("figure.paper", "88"), ("figure.aggregate", "mode"), ("family", ["nade"])],
        *[("model", "nade"), ("model.shape", 3), ("model.shape", [[3], 3, 1])],
        ("train.ema", 2**62),
    ],
    ids=str,
)
def test_settings_must_have_their_types(tmp_path, place, value):
    folder = write_run(tmp_path / "run", RUN)
    assert read_run(folder) == RUN
    (folder / "config.json").write_text(json.dumps(changed(to_json(RUN), place, value)))
    with pytest.raises(ValueError, match=re.escape(str(folder))) as error:
        read_run(folder)
    assert type(error.value) is ValueError
    assert f"`{place.split('.')[-1]}`" in str(error.value) or "settings" in str(error.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *[("experiment", ["bars"]), ("experiment", "../../other"), ("seed", None), ("seed", 1)],
        *[("config", None), ("config.train", 3), ("obtained", "5"), ("minutes", None)],
        *[("steps", "40"), ("ended", 0), ("steps", ...), ("device", {}), ("final_metrics", [])],
    ],
    ids=str,
)
def test_a_record_must_have_its_types(tmp_path, place, value):
    folder = write_run(tmp_path / "run", RUN, record=RECORD)
    assert finished_record(RUN, RUN, folder) == RECORD
    (folder / "record.json").write_text(json.dumps(changed(RECORD, place, value)))
    with pytest.raises(ValueError, match=r"record\.json is damaged \(.*\); remove it"):
        finished_record(RUN, RUN, folder)


def test_a_row_of_records_with_odd_details():
    """Details that only some rows use: a fold and the metric that selects a seed."""
    odd = [
        changed(RECORD | {"final_metrics": {"": "high"}}, "config.data", [1]),
        changed(RECORD, "config.data.fold", [1]),
    ]
    row = summarize(odd)
    assert (row["obtained"], row["shown_seed"]) == (5.25, None)


LINES = [
    *('{"step": 1, "loss": 2.5}', "[" * 100_000, "null", '{"step": 1' + "0" * 400 + "}"),
    *('{"step": 2, "loss": 1' + "0" * 400 + "}", '{"step": 3, "\\ud800": 1}', '{"step": null}'),
    *('{"step": 3, "loss": "\\ud800"}', '{"step": 4, "loss": {"a": 1}}', '{"step": 5, "loss": 1}'),
    '{"step": 6, "lo',
]


def test_metrics_are_read_without_their_damaged_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(LINES) + "\n")
    assert write_csv(path).read_text() == "step,loss\n1,2.5\n2,\n4,\n5,1\n"
    write_missing_outputs(tmp_path, ["csv"])
    metrics = Metrics(tmp_path, after=4)
    add_writers(metrics, ["csv"])
    metrics.write(9, {"loss": 0.5})
    metrics.close()
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == [1, 2, 4, 9]
    assert (tmp_path / "metrics.csv").read_text() == "step,loss\n1,2.5\n2,\n4,\n9,0.5\n"


LAYOUT = {"height": 4, "width": 4, "columns": 2, "count": 4, "scale": 1, "gap": 2}


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (json.dumps(LAYOUT), True),
        (json.dumps(LAYOUT | {"columns": 2.0}), False),
        (json.dumps(LAYOUT | {"count": float("inf")}), False),
        (json.dumps(LAYOUT | {"columns": 0}), False),
        (json.dumps(LAYOUT | {"count": True}), False),
        (json.dumps(LAYOUT | {"height": 10, "gap": -1, "count": 3}), False),
        ("[" * 100_000, False),
        ("[4, 4, 2, 4]", False),
        ('{"height": 1' + "0" * 400 + "}", False),
    ],
    ids=range(9),
)
def test_geometry_in_a_png_must_be_whole(tmp_path, text, whole):
    info = PngImagePlugin.PngInfo()
    info.add_text(sample_grids.TEXT, text)
    path = tmp_path / "step_00000001.png"
    Image.fromarray(np.zeros((14, 14, 3), np.uint8)).save(path, pnginfo=info)
    page, tiles = sample_grids.read_grid(path)
    assert page.shape == (14, 14, 3)
    assert (tiles is not None) == whole
    assert (sample_grids.strip({1: path}) is not None) == whole


def test_other_settings_are_listed_as_printable_text(tmp_path):
    folder = write_run(tmp_path / "run", dataclasses.replace(RUN, experiment="a\x7f" + "b" * 3000))
    (folder / "checkpoints" / "latest" / "1").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"experiment was a\\x7fbbb.* and is bars; use") as error:
        resolve_workdir(RUN, folder, True)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 2000


def test_the_name_of_a_missing_part_is_printable(tmp_path):
    part = {"name": "a\x7f" + "b" * 3000, "sha256": "0" * 64}
    (tmp_path / "pack.json").write_text(json.dumps({"parts": [part]}))
    with pytest.raises(ValueError, match=r"lacks the part a\\x7fbbb.*\.\.\.; copy all") as error:
        extract_archive(tmp_path, tmp_path / "out")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500
