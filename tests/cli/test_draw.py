"""`genjax draw`: images of captions, their order, files and scores, and what it rejects."""

import csv
import dataclasses
import re
import types

import jax
import numpy as np
import pytest
from PIL import Image
from support import fake_drawers
from support.fake_drawers import COLOURS, DRAWERS, Painter, drawer_run
from support.small import small_run, write_data

from genjax.cli import caption_scorers, draw, sample
from genjax.cli.drawn_captions import read_captions
from genjax.core import named_key
from genjax.data.tokenizers import train_tokenizer
from genjax.train import fit
from genjax.train.sample_grids import cut, read_grid

WORDS = train_tokenizer("words", ["red red red", "green green", "blue"])  # tokens 1, 2, 3


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    fake_drawers.register(monkeypatch)


@pytest.fixture
def use(monkeypatch, tmp_path):
    """Makes `load` return a run of a fake family, and `load_ranker` one of DarkRanker."""

    def with_family(name="scoring_painter", tokenizer=WORDS, **config):
        run = drawer_run(name, tmp_path)
        object.__setattr__(run, "model", dataclasses.replace(run.model, **config))
        variables = DRAWERS[name].init(run.model, jax.random.key(0))
        ranker = DRAWERS["dark_ranker"], run.model, {"params": {}}, WORDS
        monkeypatch.setattr(draw, "load", lambda workdir: (run, variables))
        files = types.SimpleNamespace(tokenizer=lambda: tokenizer)
        monkeypatch.setattr(draw, "run_files", lambda workdir: files)
        monkeypatch.setattr(caption_scorers, "load_ranker", lambda *_: ranker)
        return run

    with_family()
    return with_family


def run(tmp_path, *options, out="out"):
    return draw.main(["run", *map(str, options), "--out", str(tmp_path / out)])


def failed(capsys, tmp_path, *options, **named):
    """Message of a call that fails before it writes anything."""
    before = sorted(tmp_path.rglob("*"))
    assert run(tmp_path, *options, **named) == 2
    assert sorted(tmp_path.rglob("*")) == before
    return capsys.readouterr().err


def opened(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def by_number(folder):
    """Images of a folder by caption and number."""
    rows = table(folder / "scores.csv")
    return {(r["caption"], int(r["image"])): opened(folder / r["file"]) for r in rows if r["file"]}


def colours(images):
    return [list(COLOURS)[i] for i in np.mean(images, axis=(1, 2)).argmax(-1)]


def test_a_grid_has_the_images_below_their_captions(use, tmp_path, capsys):
    assert run(tmp_path, "blue", "red", "--n", 3, out="new/grid.png") == 0
    page, layout = read_grid(tmp_path / "new" / "grid.png")
    assert (layout.captions, layout.per_group, layout.wrong) == (("blue", "red"), 3, None)
    images = cut(page, layout)
    assert colours(images) == ["blue"] * 3 + ["red"] * 3
    assert len({image.tobytes() for image in images}) == 6
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["grid.png"]
    printed = capsys.readouterr()
    text = f"6 of 6 images of 2 captions drawn, 6 in {tmp_path}/new/grid.png\n"
    assert (printed.out, printed.err) == (text, "")


def test_a_folder_has_single_images_a_grid_and_a_table(use, tmp_path, capsys):
    options = ("Red, green", "blue", "--n", 2, "--seed", 7)
    assert run(tmp_path, *options) == 2
    assert "the vocabulary of 3 words has no ','" in capsys.readouterr().err
    assert run(tmp_path, "Red  green", "blue", "--n", 2, "--seed", 7) == 0
    names = ["1-red-green-1.png", "1-red-green-2.png", "2-blue-1.png", "2-blue-2.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *names,
        "grid.png",
        "scores.csv",
    ]
    rows = table(tmp_path / "out" / "scores.csv")
    assert list(rows[0]) == ["caption", "image", "seed", "rank", "file", "density_score"]
    assert [r["file"] for r in rows] == names
    assert [r["caption"] for r in rows] == ["Red  green"] * 2 + ["blue"] * 2
    assert [(r["image"], r["seed"], r["rank"]) for r in rows] == [
        ("0", "7", ""),
        ("1", "7", ""),
    ] * 2
    images = [opened(tmp_path / "out" / name) for name in names]
    assert colours(images) == ["red", "red", "blue", "blue"]
    page, layout = read_grid(tmp_path / "out" / "grid.png")
    np.testing.assert_array_equal(cut(page, layout)[:, ::8, ::8], images)
    # The density that the family has of the images, which were rounded since.
    for row, image in zip(rows, images, strict=True):
        wanted = np.array(COLOURS[row["caption"].lower().split()[0]])
        density = -np.mean((image / 255 - wanted) ** 2)
        assert float(row["density_score"]) == pytest.approx(density, abs=0.01)


def test_other_captions_and_the_batch_size_change_no_image(use, tmp_path):
    calls = {
        "a": ("red", "--n", 3, "--batch-size", 2),
        "b": ("blue", "red", "green", "red red", "--n", 5, "--batch-size", 32),
        "c": ("red red", "red", "--n", 4, "--batch-size", 1, "--ranker", "r"),
        "other": ("red", "--n", 3, "--seed", 1),
    }
    found = {}
    for name, options in calls.items():
        assert run(tmp_path, *options, out=name) == 0
        found[name] = by_number(tmp_path / name)
    for key, image in found["a"].items():
        np.testing.assert_array_equal(found["b"][key], image)
        np.testing.assert_array_equal(found["c"][key], image)
        assert (found["other"][key] != image).any()
    for number in range(4):
        np.testing.assert_array_equal(found["b"]["red red", number], found["c"]["red red", number])
    # All others differ: those of one colour too, by number and by caption.
    assert len({image.tobytes() for image in found["b"].values()}) == 20


def test_the_key_of_an_image_is_of_its_number_and_caption(use, tmp_path):
    assert run(tmp_path, "green", "--n", 2, "--seed", 3) == 0
    settings = use()
    key = named_key(jax.random.key(3), 1, "green")
    text = WORDS.encode(["green"], 4)
    x = Painter().sample(settings.model, {"params": {"skill": 1.0}}, key, 1, text=text)[0]
    pixels = ((np.asarray(x) + 1) * 127.5 + 0.5).astype(int)
    image = by_number(tmp_path / "out")["green", 1]
    np.testing.assert_allclose(image.astype(int), pixels, atol=1)


def test_a_ranker_sorts_and_the_best_are_kept(use, tmp_path, capsys):
    assert run(tmp_path, "red", "blue", "--n", 6, "--ranker", "r", "--keep", 2) == 0
    rows = table(tmp_path / "out" / "scores.csv")
    for caption in ("red", "blue"):
        own = [r for r in rows if r["caption"] == caption]
        assert [r["rank"] for r in own] == list("123456")
        assert sorted(r["image"] for r in own) == list("012345")
        assert [bool(r["file"]) for r in own] == [True] * 2 + [False] * 4
        scores = [float(r["ranker_score"]) for r in own]
        assert scores == sorted(scores, reverse=True)
        # The ranker prefers dark images, in its own range; the density prefers bright ones.
        image = opened(tmp_path / "out" / own[0]["file"])
        assert scores[0] == pytest.approx(-image.mean() / 255, abs=0.01)
        density = [float(r["density_score"]) for r in own]
        assert density[0] == min(density) < density[-1] == max(density)
    page, layout = read_grid(tmp_path / "out" / "grid.png")
    files = [opened(tmp_path / "out" / r["file"]) for r in rows if r["file"]]
    np.testing.assert_array_equal(cut(page, layout)[:, ::8, ::8], files)
    assert "12 of 12 images of 2 captions drawn, 4 in" in capsys.readouterr().out


def test_the_density_sorts_and_a_grid_has_its_table_beside_it(use, tmp_path):
    assert run(tmp_path, "red", "--n", 5, "--rank", "density", "--keep", 3, out="a.png") == 0
    rows = table(tmp_path / "a.csv")
    assert list(rows[0]) == ["caption", "image", "seed", "rank", "file", "density_score"]
    scores = [float(r["density_score"]) for r in rows]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 5
    page, layout = read_grid(tmp_path / "a.png")
    light = cut(page, layout)[:, :32].max((1, 2, 3))
    assert light.tolist() == sorted(light, reverse=True)
    assert len(light) == 3


def test_options_of_the_sampler(use, tmp_path, capsys):
    assert run(tmp_path, "red", "--n", 1, "--temperature", 5, out="hot") == 0
    assert run(tmp_path, "red", "--n", 1, out="cold") == 0
    hot, cold = (by_number(tmp_path / name)["red", 0] for name in ("hot", "cold"))
    np.testing.assert_array_equal(hot[:4], cold[:4])
    assert hot[4:, :, 1].max() > 100 > cold[4:, :, 1].max()
    message = failed(capsys, tmp_path, "red", "--guidance", 2)
    assert (
        "scoring_painter has no option --guidance; leave it out, or use --temperature." in message
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "there is no caption; give some in quotation marks, or --file."),
        (["red", " "], "caption 2 is empty; give words in quotation marks."),
        (["red", "\udcff"], "caption 2 is not valid Unicode: \\udcff; write it as UTF-8."),
        (["blue gren"], "'blue gren': the vocabulary of 3 words has no 'gren' (near: green)"),
        (["red " * 5], "'red red red red red' has 5 tokens, and the run in run takes 4; shorten"),
        (["red", "gren", "ble", "?"], "(2 other captions have errors too)."),
        (["red", "--n", "0"], "`n` must be positive, got 0."),
        (["red", "--n", "-1"], "`n` must be positive, got -1."),
        (["red", "--batch-size", "0"], "`batch_size` must be positive, got 0."),
        (["red", "--seed", "-1"], "`seed` must be"),
        (["red", "--keep", "2"], "--keep needs an order; add --ranker RUN, or --rank density."),
        (["red", "--keep", "17", "--ranker", "r"], "--keep is 17 of --n 16 images; raise --n."),
        (["red", "--keep", "0", "--ranker", "r"], "`keep` must be positive, got 0."),
        (["red", "--temperature", "nan"], "--temperature must be finite, got nan."),
        (["red", "--file", "nowhere.txt"], "there is no file nowhere.txt; check the path."),
    ],
)
def test_what_is_rejected(use, tmp_path, capsys, options, message):
    printed = failed(capsys, tmp_path, *options)
    assert message in printed
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1


def test_the_run_must_draw_captions(use, tmp_path, capsys, monkeypatch):
    use("painter")
    message = failed(capsys, tmp_path, "red", "--rank", "density")
    assert "painter has no density of images given captions; rank by --ranker RUN" in message
    assert run(tmp_path, "red", "--n", 1) == 0
    assert list(table(tmp_path / "out" / "scores.csv")[0])[-1] == "file"
    monkeypatch.setattr(draw, "load", lambda workdir: (small_run("nade", "unused"), {}))
    message = failed(capsys, tmp_path, "red", out="b")
    assert re.search("nade in run draws no captions; give .* of dalle or .* or painter", message)


def test_a_ranker_of_another_vocabulary_is_rejected(use, tmp_path, capsys, monkeypatch):
    ranker = DRAWERS["dark_ranker"], use().model, {}, train_tokenizer("words", ["green"])
    monkeypatch.setattr(caption_scorers, "load_ranker", lambda *_: ranker)
    assert "has no 'red'" in failed(capsys, tmp_path, "red", "--ranker", "r")
    use(vocabulary=3)
    message = failed(capsys, tmp_path, "red")
    assert "the tokenizer of the run in run has 4 tokens, and its model takes 3" in message


def test_captions_of_a_file(use, tmp_path, capsys):
    file = tmp_path / "s.txt"
    file.write_bytes("\ufeffred\r\n\r\n  green blue \nred\n\n".encode())
    assert run(tmp_path, "blue", "--file", file, "--n", 1) == 0
    rows = table(tmp_path / "out" / "scores.csv")
    assert [r["caption"] for r in rows] == ["blue", "red", "green blue"]
    assert capsys.readouterr().err == "left out: 2 blank lines, 1 repeated captions\n"
    for data, message in (
        (b"\n \n", "has no captions; write one per line."),
        (b"", "has no captions; write one per line."),
        (b"red\n\xff\n", "is not UTF-8 text (byte 4); save it as UTF-8."),
        (b"red\0\n", "holds a NUL character in line 1"),
    ):
        file.write_bytes(data)
        assert message in failed(capsys, tmp_path, "--file", file, out="b")


def test_captions_of_any_script(use, tmp_path, capsys):
    use(tokenizer=train_tokenizer("bpe", ["red"]), length=80, vocabulary=300)
    texts = ["\N{GRINNING FACE}\u200d", "\u05d0\u05d1\u05d2 \u0627\u0644", "../../e\u0301t\u00e9"]
    assert run(tmp_path, *texts, "--n", 1) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "1-caption-1.png",
        "2-caption-1.png",
        "3-ete-1.png",
        "grid.png",
        "scores.csv",
    ]
    assert [r["caption"] for r in table(tmp_path / "out" / "scores.csv")] == texts
    assert read_grid(tmp_path / "out" / "grid.png")[1].captions == tuple(texts)
    use(tokenizer=train_tokenizer("characters", []), length=80, vocabulary=80)
    assert run(tmp_path, "red \u05d0!", "--n", 1, out="b") == 0
    assert "not in the alphabet, read as spaces: \u05d0\n" in capsys.readouterr().err


def test_many_captions_are_for_a_folder(use, tmp_path, capsys):
    file = tmp_path / "s.txt"
    file.write_text("".join(f"red {'blue ' * (i % 3)}{i}\n" for i in range(10_000)))
    assert len(read_captions([], file).texts) == 10_000
    use(tokenizer=train_tokenizer("bpe", ["red"]), length=80, vocabulary=300)
    message = failed(capsys, tmp_path, "--file", file, "--n", 9, out="a.png")
    assert "a grid of 10,000 captions with 9 images each has more than 33,554,432" in message


def test_nothing_is_overwritten_unasked(use, tmp_path, capsys):
    assert run(tmp_path, "red", "--n", 2) == 0
    before = opened(tmp_path / "out" / "1-red-1.png")
    message = failed(capsys, tmp_path, "red", "--n", 1, "--seed", 1)
    assert f"{tmp_path}/out/grid.png and 2 more exist already; write to another place" in message
    assert run(tmp_path, "red", "--n", 1, "--seed", 1, "--overwrite") == 0
    assert (opened(tmp_path / "out" / "1-red-1.png") != before).any()
    assert [row["seed"] for row in table(tmp_path / "out" / "scores.csv")] == ["1"]
    # Captions are not replaced by the table of their own images.
    (tmp_path / "mine.csv").write_text("red\nblue\n")
    source = "--file", tmp_path / "mine.csv", "--overwrite"
    message = failed(capsys, tmp_path, *source, "--rank", "density", out="mine.png")
    assert f"--file {tmp_path}/mine.csv would be overwritten; write to another place" in message
    # Other files in the folder stay.
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    assert run(tmp_path, "red", "--n", 1, out="b") == 0
    assert "--out writes a PNG; rename" in failed(capsys, tmp_path, "red", out="x.jpg")
    message = failed(capsys, tmp_path, "red", out="b/notes.txt/c.png")
    assert "notes.txt is not a folder; write to another place." in message


def test_overwriting_removes_what_an_earlier_draw_left_and_nothing_else(use, tmp_path):
    out = tmp_path / "out"
    assert run(tmp_path, "red", "blue", "--n", 3) == 0
    others = ["1-red-4.png", "notes.txt", "keep.png"]
    for name in others:
        (out / name).write_text("mine")
    rows = table(out / "scores.csv")
    rows[0]["file"], rows[1]["file"] = "../scores.csv", "keep.png"  # no names of images
    with open(out / "scores.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "scores.csv").write_text("mine")
    assert run(tmp_path, "red", "--n", 2, "--overwrite") == 0
    drawn = ["1-red-1.png", "1-red-2.png", "grid.png", "scores.csv"]
    assert sorted(path.name for path in out.iterdir()) == sorted([*others, *drawn])
    assert (tmp_path / "scores.csv").read_text() == "mine"
    # The table of a grid, which the second draw has not; but no other table.
    assert run(tmp_path, "red", "--n", 2, "--rank", "density", out="a.png") == 0
    assert (tmp_path / "a.csv").exists()
    assert run(tmp_path, "red", "--n", 2, "--overwrite", out="a.png") == 0
    assert not (tmp_path / "a.csv").exists()
    (tmp_path / "a.csv").write_text("caption,mine\nred,1\n")
    assert run(tmp_path, "red", "--n", 2, "--overwrite", out="a.png") == 0
    assert (tmp_path / "a.csv").read_text() == "caption,mine\nred,1\n"


def test_links_are_replaced_and_not_followed(use, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("kept")
    for name in ("scores.csv", "grid.png", "1-red-1.png"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "precious")
    assert run(tmp_path, "red", "--n", 1, "--overwrite") == 0
    assert (tmp_path / "precious").read_text() == "kept"
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted."),
        (MemoryError(), 2, "error: memory ran out; take fewer at a time (--batch-size)."),
    ],
)
def test_what_was_drawn_is_written_when_it_ends_early(
    use, tmp_path, capsys, monkeypatch, error, status, message
):
    calls, original = [], draw.Drawer.__call__

    def failing(self, *numbers):
        calls.append(numbers)
        if len(calls) == 4:
            raise error
        return original(self, *numbers)

    options = ("red", "blue", "green", "--n", 4, "--ranker", "r", "--keep", 2)
    assert run(tmp_path, *options, out="whole") == 0
    monkeypatch.setattr(draw.Drawer, "__call__", failing)
    assert run(tmp_path, *options, "--batch-size", 2) == status
    printed = capsys.readouterr()
    assert "6 of 12 images of 3 captions drawn, 4 in" in printed.out
    assert message in printed.err
    rows = table(tmp_path / "out" / "scores.csv")
    assert [r["caption"] for r in rows] == ["red"] * 4 + ["blue"] * 2
    found, whole = by_number(tmp_path / "out"), by_number(tmp_path / "whole")
    assert [r["rank"] for r in rows] == list("123412")
    assert len(found) == 4
    for key in found.keys() & whole.keys():
        np.testing.assert_array_equal(found[key], whole[key])
    _, layout = read_grid(tmp_path / "out" / "grid.png")
    assert layout.captions == ("red", "blue")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of DALL-E, whose data are gone."""
    folder = tmp_path_factory.mktemp("dalle")
    settings = small_run("dalle", write_data(folder, 32), steps=1, ema=0.0, eval_every=0)
    fit(settings, folder / "run", quiet=True)
    for path in folder.glob("*.npz"):
        path.unlink()
    return folder / "run"


def test_a_finished_run_draws_without_its_data(finished, tmp_path, capsys):
    options = ["row two", "one row", "--n", "3", "--guidance", "2", "--top-k", "3", "--seed", "5"]
    assert draw.main([str(finished), *options, "--out", str(tmp_path / "a")]) == 0
    images = by_number(tmp_path / "a")
    assert {*images} == {(text, i) for text in ("row two", "one row") for i in range(3)}
    assert len({image.tobytes() for image in images.values()}) > 1
    scores = [float(row["density_score"]) for row in table(tmp_path / "a" / "scores.csv")]
    assert all(score < 0 for score in scores)
    capsys.readouterr()
    assert draw.main([str(finished), "row four", "--out", str(tmp_path / "c")]) == 2
    assert "the vocabulary of 4 words has no 'four'" in capsys.readouterr().err
    assert draw.main([str(finished), "one one one row row", "--out", str(tmp_path / "c")]) == 2
    assert "has 5 tokens, and the run in" in capsys.readouterr().err
    # Captions of the data need the data.
    assert sample.main([str(finished)]) == 2
    message = capsys.readouterr().err
    assert "dalle draws captions of its data, which cannot be read (" in message
    assert f'use genjax draw {finished} "a caption" --out grid.png' in message


def test_non_finite_images_are_an_error(use, tmp_path, capsys, monkeypatch):
    sample = Painter.sample

    def broken(self, *args, **options):
        return sample(self, *args, **options) * np.nan

    monkeypatch.setattr(Painter, "sample", broken)
    assert "draws non-finite values" in failed(capsys, tmp_path, "red")
