"""`genjax export`, and weights by name or file wherever a command takes a run."""

import json
import os
import pathlib
import sys
import types

import jax
import numpy as np
import pytest
from PIL import Image
from support import fake_drawers, fake_solvers, fake_translators
from support.folders import make_record, make_run
from support.small import small_run, write_data

import genjax
from genjax import families
from genjax.cli import draw, evaluate, export, sample, solve, translate
from genjax.cli import report as report_command
from genjax.data.tokenizers import train_tokenizer
from genjax.train import fit, load, named_weights, weights_names
from genjax.train.named_runs import load_ranker
from genjax.train.run_files import run_files
from genjax.train.weights_file import WeightsFile, write_weights

WORDS = train_tokenizer("words", ["red red red", "green green", "blue"])


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    """Folder of the package's weights; the current folder is another one."""
    monkeypatch.setattr(named_weights, "FOLDER", tmp_path / "package")
    (tmp_path / "package").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "package"


def put(folder, name, run, **options):
    """A file of a run that was not trained."""
    variables = families.get(run.family).init(run.model, jax.random.key(0))
    record = make_record(run) | options.pop("record", {})
    write_weights(folder / f"{name}.safetensors", run, variables, record, None, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished run of NADE."""
    folder = tmp_path_factory.mktemp("trained")
    run = small_run("nade", write_data(folder), steps=4, sample_every=0)
    fit(run, folder / "run", quiet=True)
    return folder / "run"


def printed(capsys):
    return json.loads(capsys.readouterr().out)


def test_exports_a_run_with_its_figure_and_card(trained, weights, capsys):
    file, card = weights / "bars.safetensors", weights / "bars.md"
    data = str(trained.parent / "bars.npz")
    assert export.main([str(trained), str(file), "--dtype", "float16", "--evaluate"]) == 0
    output = capsys.readouterr().out
    found = WeightsFile(file)
    figure, record = found.metadata["rounded_figure"], found.record()
    assert record == json.loads((trained / "record.json").read_text()) | {
        "config": record["config"]
    }
    assert figure["recorded"] == record["obtained"]
    assert 0 < abs(figure["obtained"] - record["obtained"]) < record["std_error"]
    assert figure["std_error"] == pytest.approx(record["std_error"], rel=1e-2)
    assert output.startswith(f"test NLL {figure['obtained']:.6g}, and {record['obtained']:.6g} in")
    # The commands compute the same by name.
    assert evaluate.main(["bars", "--data", data]) == 0
    assert printed(capsys)["obtained"] == pytest.approx(figure["obtained"], rel=1e-6)
    assert evaluate.main([str(file), "--figure", "--data", data]) == 0
    assert printed(capsys)["agrees"] is True
    assert evaluate.main([str(trained), "--figure", "--samples", "2"]) == 2
    assert (
        "--figure takes all settings from the run; leave out --samples" in capsys.readouterr().err
    )
    # Existing files stay.
    assert export.main([str(trained), str(file)]) == 2
    assert "exists already; write to another place, or add --overwrite" in capsys.readouterr().err
    options = ["--card", str(card), "--overwrite"]
    assert export.main([str(trained), str(file), *options]) == 0
    assert WeightsFile(file).metadata["rounding"] == "float32"
    assert jax.tree.all(jax.tree.map(np.array_equal, load(file)[1], load(trained)[1]))
    text = card.read_text()
    assert 'genjax.from_pretrained("bars")' in text
    assert f"| test NLL | {record['obtained']:.5g} ± {record['std_error']:.5g} |" in text
    assert "| train.ema | `0.9` |" in text
    assert "240 train" in text
    assert text.startswith("---\nlibrary_name: genjax\n")


def test_a_rounding_that_changes_the_figure_is_rejected(trained, tmp_path, capsys):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.json", "data.json", "checkpoints"):
        (copy / name).symlink_to(trained / name)
    record = json.loads((trained / "record.json").read_text()) | {"std_error": 1e-9}
    (copy / "record.json").write_text(json.dumps(record))
    file = tmp_path / "bars.safetensors"
    options = [str(copy), str(file), "--dtype", "bfloat16"]
    assert export.main([*options, "--evaluate"]) == 2
    assert "the figure is not within the standard error of the record's" in capsys.readouterr().err
    assert not file.exists()
    assert export.main([*options, "--force"]) == 2
    assert "--force is for --evaluate" in capsys.readouterr().err
    assert export.main([*options, "--evaluate", "--force"]) == 0
    assert WeightsFile(file).metadata["rounded_figure"]["recorded_error"] == 1e-9
    assert evaluate.main([str(file), "--figure", "--data", str(trained.parent / "bars.npz")]) == 2
    assert "error: the figure is not that of the record: test NLL" in capsys.readouterr().err
    (copy / "record.json").unlink()
    assert export.main([*options, "--overwrite"]) == 2
    assert "has no record.json, so the run is not finished" in capsys.readouterr().err


def test_from_pretrained_takes_names_files_and_folders(trained, weights, tmp_path):
    run = make_run("bars")
    put(weights, "bars", run)
    model = genjax.from_pretrained("bars")
    assert model.family is families.get("nade")
    assert model.config == run.model
    assert model.run == run
    assert model.record["obtained"] == 5.25
    assert model.tokenizer is None
    assert weights_names() == ["bars"]
    pathlib.Path("bars").mkdir()  # no run
    assert genjax.from_pretrained("bars").config == run.model
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "model.safetensors").write_bytes(
        (weights / "bars.safetensors").read_bytes()
    )
    for source in (weights / "bars.safetensors", tmp_path / "hub", trained):
        other = genjax.from_pretrained(source)
        assert jax.tree.structure(other.variables) == jax.tree.structure(model.variables)
    assert other.record["examples"]["train"] == 240  # of the folder
    message = r"barz holds no run.*the names are bars; did you mean bars\?"
    with pytest.raises(ValueError, match=message):
        genjax.from_pretrained("barz")


def test_outputs_of_weights_go_to_the_current_folder(weights, trained, capsys):
    put(weights, "bars", make_run("bars"))
    assert sample.main(["bars", "--n", "4"]) == 0
    assert pathlib.Path("bars-samples/seed_0.png").is_file()
    report_command.main(["bars", "--out", "page.html"])
    page = pathlib.Path("page.html").read_text()
    assert "Read from a weights file" in page
    assert "5.25" in page
    assert list(weights.iterdir()) == [weights / "bars.safetensors"]


def test_draws_captions_by_name(weights, tmp_path, monkeypatch, capsys):
    fake_drawers.register(monkeypatch)
    run = fake_drawers.drawer_run("painter", tmp_path)
    put(weights, "painter", run, tokenizer=WORDS)
    put(weights, "ranker", fake_drawers.drawer_run("dark_ranker", tmp_path), tokenizer=WORDS)
    options = ["--n", "2", "--out", "drawn", "--ranker", "ranker"]
    assert draw.main(["painter", "red", *options]) == 0
    with Image.open("drawn/1-red-1.png") as image:
        mean = np.asarray(image).reshape(-1, 3).mean(0)
    assert mean.argmax() == 0
    assert genjax.from_pretrained("painter").tokenizer == WORDS
    object.__setattr__(run.train, "ranker", "ranker")
    assert load_ranker(run)[3] == WORDS


def test_translates_and_solves_by_name(weights, tmp_path, monkeypatch):
    fake_solvers.register(monkeypatch)
    monkeypatch.setitem(sys.modules, "support.fake", fake_translators.Translators())
    monkeypatch.setitem(families.FAMILIES, "fake", "support.fake")
    run = small_run("nade", "bars.npz")
    object.__setattr__(run, "family", "fake")
    object.__setattr__(run, "model", fake_translators.DomainConfig())
    put(weights, "negative", run)
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save("in.png")
    assert translate.main(["negative", "in.png", "out.png"]) == 0
    assert np.asarray(Image.open("out.png")).mean() == pytest.approx(55, abs=1)
    config = fake_solvers.Config()
    chosen = {"final_metrics": {"puzzle": {"fused_gap_0_border_weight": 2.5}}}
    put(weights, "solver", fake_solvers.solver_run("position_solver", tmp_path), record=chosen)
    image = fake_solvers.puzzle_images(1, config)[0]
    Image.fromarray(image[..., 0]).save("photo.png")
    assert solve.main(["solver", "photo.png", "restored.png", "--grid", "2"]) == 0
    assert (np.asarray(Image.open("restored.png")) == image[..., 0]).all()
    found = json.loads(pathlib.Path("restored.json").read_text())
    assert found["border_weight"] == 2.5


def test_downloads_from_the_hub(weights, tmp_path, monkeypatch, capsys):
    put(weights, "bars", make_run("bars"))
    file = weights / "bars.safetensors"
    requested = []
    hub = types.SimpleNamespace(hf_hub_download=lambda *of: requested.append(of) or str(file))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    named_weights.download.cache_clear()
    try:
        assert genjax.from_pretrained("owner/bars").record["obtained"] == 5.25
        assert requested == [("owner/bars", "model.safetensors")]
        for local in ("runs/bars", "./bars", "a/b/c", "../here/bars"):  # a run that is missing
            with pytest.raises(ValueError, match="holds no run"):
                run_files(local)
        assert len(requested) == 1
        hub.hf_hub_download = lambda *of: {}["no such repository"]
        with pytest.raises(ValueError, match="the repository a/b of the Hugging Face Hub cannot"):
            run_files("a/b")
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(ValueError, match=r"install genjax-zoo\[hub\]"):
            run_files("a/b")
    finally:
        named_weights.download.cache_clear()


def test_reads_the_cache_of_the_hub_without_a_network(weights, tmp_path, monkeypatch):
    from huggingface_hub import constants

    put(weights, "bars", make_run("bars"))
    repository = tmp_path / "cache" / "models--owner--bars"
    commit = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    os.link(weights / "bars.safetensors", repository / "snapshots" / commit / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    named_weights.download.cache_clear()
    try:
        assert genjax.from_pretrained("owner/bars").record["obtained"] == 5.25
        with pytest.raises(ValueError, match="of the repository owner/other of"):
            genjax.from_pretrained("owner/other")
    finally:
        named_weights.download.cache_clear()
