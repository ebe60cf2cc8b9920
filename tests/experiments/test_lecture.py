"""The lecture: all lessons in order, their figures, pictures and page."""

import contextlib
import io
import re

import numpy as np
import pytest
from PIL import Image

from experiments.examples.lecture import lessons
from experiments.examples.lecture.__main__ import main
from experiments.examples.lecture.lessons import LESSONS, Notes, in_order, markdown

FIGURE = re.compile(r"^  (.+?): (-?[\d.e+-]+)(%?)(?: \((.*)\))?$", re.MULTILINE)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Runs the whole lecture once; returns its printed text and its folder."""
    folder, printed = tmp_path_factory.mktemp("lecture"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["--smoke", "--out", str(folder)]) == 0
    return printed.getvalue(), folder


def figures(printed):
    """Returns the printed figures and what is beside them, by name; shares are in [0, 1]."""
    found = {}
    for what, value, percent, beside in FIGURE.findall(printed):
        scale = 100 if percent else 1
        others = re.findall(r"([^,]+?) (-?[\d.e+-]+)%?(?:, |$)", beside)
        found[what] = float(value) / scale, {name: float(x) / scale for name, x in others}
    return found


def test_runs_the_twelve_lessons_in_order(smoke):
    printed, _ = smoke
    assert re.findall(r"^(\d+)\. ", printed, re.MULTILINE) == [str(n) for n in range(1, 13)]
    assert len(re.findall(r"^  [\d.]+ seconds$", printed, re.MULTILINE)) == 12


def test_figures_agree_with_theory(smoke):
    """Those that few steps of training do not make meaningless."""
    found = figures(smoke[0])
    assert len(found) > 25
    assert found["joint table, sum of p(x) over 65,536 images"][0] == pytest.approx(1, abs=1e-5)
    assert found["sum of p(x) over 512 images, random weights"][0] == pytest.approx(1, abs=1e-5)
    assert found["largest difference of log p(x) by the chain rule, nats"][0] < 1e-4
    nats, others = found["Markov model of order 6, nats per 8x8 test image"]
    assert nats < others["order 2"] < others["order 0"] < 64 * np.log(2)
    accuracy, others = found["classification by ten Markov models"]
    assert accuracy > 0.9 > 0.2 > others["most frequent class"]
    many, others = found["VAE, bound by 3 samples"]
    assert many < others["by 1 sample"]
    unseen, others = found["of 42 earlier pixels, those that a masked network does not see"]
    assert unseen > others["gated network"]
    information, others = found["information of samples about the code of ten categories, nats"]
    assert information < others["entropy of the code"] == pytest.approx(np.log(10), abs=0.01)
    assert found["images that show the two digits of a new caption"][1]["chance"] == 0.005


def test_every_share_is_compared_with_a_baseline(smoke):
    found = figures(smoke[0])
    shares = {what for what, _, percent, _ in FIGURE.findall(smoke[0]) if percent}
    assert len(shares) > 10
    for what in shares:
        value, beside = found[what]
        assert beside, what
        assert all(0 <= x <= 1 for x in (value, *beside.values())), what


def test_pictures_show_something(smoke):
    paths = sorted(smoke[1].glob("*.png"))
    names = [f"{lesson.number:02d}_{lesson.name}.png" for lesson in in_order()]
    assert [path.name for path in paths] == names
    for path in paths:
        levels = np.unique(np.asarray(Image.open(path))[..., 0])
        assert len(levels) > 2, path.name  # more than the page and one level


def test_the_page_has_text_equations_figures_and_pictures(smoke):
    printed, folder = smoke
    page = (folder / "index.html").read_text()
    for lesson in in_order():
        assert f"<h2>{lesson.number}. {lesson.title}</h2>" in page
    # An equation is a line of its own; parts after a comma and a space are further elements of it.
    assert page.count("data:image/png;base64,") == page.count("<div><math") == 12
    assert page.count("<td>") == 3 * len(FIGURE.findall(printed))
    assert "The joint table has a probability for every image." in page


@pytest.mark.parametrize("name", LESSONS)
def test_text_of_a_lesson_has_one_equation(name):
    paragraphs = markdown(LESSONS[name])
    assert sum(p.startswith("$$") and p.endswith("$$") for p in paragraphs) == 1
    assert len(paragraphs) > 2
    assert not any("#" in p for p in paragraphs)  # no heading, nor code of another cell


def test_runs_the_named_lessons_alone(monkeypatch, tmp_path, capsys):
    def cell(out):
        out.measure("chance", 1 / 8, {"all": 1}, ".1%")
        out.draw({"levels": np.linspace(0, 1, 40).reshape(10, 2, 2, 1)})

    for name in ("nade", "vae"):
        monkeypatch.setitem(LESSONS, name, lessons.dataclasses.replace(LESSONS[name], cell=cell))
    monkeypatch.setattr(lessons, "markdown", lambda chosen: [])
    assert main(["--only", "vae", "nade", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if re.match(r"\d", line)] == [
        *("2. NADE, and RNADE for real numbers", "4. VAE")
    ]
    assert lines[1] == "  chance: 12.5% (all 100.0%)"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["02_nade.png", "04_vae.png", "index.html"]


def test_rejects_a_file_as_out(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file")]) != 0
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_a_cell_of_an_editor_runs_at_once(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(lessons, "FOLDER", tmp_path / "new")
    monkeypatch.setattr(lessons, "LESSONS", {})

    def cell(out: Notes):
        out.measure("one", 1)

    lessons.lesson(1, "imported", "Imported")(cell)
    assert capsys.readouterr().out == ""
    cell.__module__ = "__main__"
    lessons.lesson(2, "own", "Own")(cell)
    assert capsys.readouterr().out.startswith("2. Own\n  one: 1.00\n")
    assert list(lessons.LESSONS) == ["imported", "own"]
