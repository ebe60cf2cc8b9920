"""Small runs of every family: killed and resumed, sampled, evaluated."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from support.helpers import NAMES, run_program
from support.small import write_data

from genjax import families
from genjax.cli import evaluate, sample, translate
from genjax.core.protocols import PuzzleSolver, Sampler, Translator
from genjax.train.sample_grids import cut, read_grid

SEEDED = ("dalle", "gan", "nade")  # with text, without a density, with one
TRANSLATORS = [name for name in NAMES if isinstance(families.get(name), Translator)]


@pytest.fixture(scope="module")
def cut_and_whole(tmp_path_factory):
    """Every family: 10 uninterrupted steps, and 4 steps resumed in another process."""
    root = tmp_path_factory.mktemp("resume")
    data = write_data(root, n=160)
    run_program("runs.py", data, str(root / "whole"), "10", *NAMES)
    shutil.copytree(root / "whole", root / "cut")
    for name in NAMES:  # as after a failure in the fifth step
        (root / "cut" / name / "record.json").unlink()
        for later in ("8", "10"):
            shutil.rmtree(root / "cut" / name / "checkpoints" / "latest" / later)
    run_program("runs.py", data, str(root / "cut"), "10", *NAMES)
    for name in NAMES:
        record = json.loads((root / "cut" / name / "record.json").read_text())
        assert [session["from_step"] for session in record["sessions"]] == [0, 4]
    return root


@pytest.fixture(params=NAMES)
def finished(request, cut_and_whole):
    """Folder and record of a family's uninterrupted run."""
    workdir = cut_and_whole / "whole" / request.param
    return workdir, json.loads((workdir / "record.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_equals_an_uninterrupted_one(cut_and_whole, name):
    whole, cut = cut_and_whole / "whole" / name, cut_and_whole / "cut" / name
    for which in ("latest", "best"):  # by validation, where there is one
        assert newest_leaves(whole, which) == newest_leaves(cut, which)
    assert newest_leaves(cut, "latest")[0] == 10
    assert newest_leaves(cut, "best") or name not in ("nade", "vae")


def newest_leaves(workdir, which):
    """Returns the step and the saved checksums of all leaves of the newest checkpoint."""
    folders = [(int(p.name), p) for p in (workdir / "checkpoints" / which).iterdir()]
    if not folders:
        return ()
    step, folder = max(folders)
    status = json.loads((folder / "status" / "metadata").read_text())
    return step, json.loads(status["body"])["leaves"]


def test_sample_draws_the_requested_number(finished, tmp_path, capsys):
    workdir, record = finished
    commands = {Translator: "translate", PuzzleSolver: "solve"}
    for protocol, command in commands.items():
        if isinstance(families.get(record["config"]["family"]), protocol):
            assert sample.main([str(workdir)]) == 2
            assert f"use genjax {command} {workdir} INPUT OUT" in capsys.readouterr().err
            return
    if not isinstance(families.get(record["config"]["family"]), Sampler):
        assert sample.main([str(workdir)]) == 2
        assert "samples no images; pass this run as --ranker" in capsys.readouterr().err
        return
    out, npy = tmp_path / "a.png", tmp_path / "a.npy"
    assert sample.main([str(workdir), "--n", "5", "--out", str(out), "--npy", str(npy)]) == 0
    x = np.load(npy, allow_pickle=False)
    assert x.shape == (5, *families.get(record["config"]["family"]).tiny().shape)
    with Image.open(out) as image:
        assert image.size[0] > 0
    assert str(out) in capsys.readouterr().out
    if record["config"]["family"] not in SEEDED:
        return  # that its samples depend on the key alone is in the common suite
    again = tmp_path / "b"
    sample.main([str(workdir), "--n", "5", "--out", str(out), "--npy", str(again)])
    np.testing.assert_array_equal(x, np.load(again, allow_pickle=False))
    sample.main([str(workdir), "--n", "5", "--seed", "1", "--out", str(out), "--npy", str(again)])
    assert (x != np.load(again, allow_pickle=False)).any()


@pytest.mark.parametrize("name", TRANSLATORS)
def test_translate_writes_the_translation_of_an_image(cut_and_whole, name, tmp_path):
    workdir = cut_and_whole / "whole" / name
    page, tiles = read_grid(workdir / "samples" / "step_00000010.png")
    cells = cut(page, tiles)[:, :: tiles.scale, :: tiles.scale, :1]
    Image.fromarray(cells[0, ..., 0]).save(tmp_path / "in.png")
    by_attributes = tiles.titles[0] == "input"
    condition = ["--set", f"{tiles.titles[1]}=1"] if by_attributes else ["--to", "b"]
    arguments = [str(workdir), str(tmp_path / "in.png"), str(tmp_path / "out.png"), *condition]
    assert translate.main(arguments) == 0
    with Image.open(tmp_path / "out.png") as image:
        found = np.asarray(image).astype(int)
    assert found.shape == (3, 3)
    if name == "cyclegan":  # takes 3x3 images without padding
        np.testing.assert_allclose(found, cells[1, ..., 0], atol=1)


def test_evaluate_equals_the_record(finished, capsys):
    workdir, record = finished
    status = evaluate.main([str(workdir)])
    captured = capsys.readouterr()
    if record["metric"] == "none":
        assert status == 2
        assert "has no density to evaluate; it only " in captured.err
        return
    found = json.loads(captured.out)
    assert found["obtained"] == pytest.approx(record["obtained"], rel=1e-6)
    assert (found["unit"], f"test {found['metric']}") == (record["unit"], record["metric"])
    assert found["std_error"] == pytest.approx(record["std_error"], rel=1e-5)
    assert found["examples"] == record["evaluated"]
    if record["config"]["family"] not in ("dalle", "nade", "vae"):
        return  # the split is chosen before anything that depends on the family
    assert evaluate.main([str(workdir), "--split", "validation"]) == 0
    assert json.loads(capsys.readouterr().out)["obtained"] != found["obtained"]
