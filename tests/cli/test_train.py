"""`genjax train FAMILY --data DATA`: defaults from the data, options over them, and two runs."""

import json

import numpy as np
import pytest
from support.helpers import NAMES

from genjax import data as genjax_data
from genjax import evals, families
from genjax.cli import experiment, train
from genjax.core import stages_of
from genjax.data import Dataset, save_npz
from genjax.train.checkpoint import write_json
from genjax.train.compatibility import check_compatibility
from genjax.train.run_config import resolve, to_json

CAPTIONS = ["a small cat", "two dogs", "a cat left of a dog"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Grey 16x16 images with classes, captions, attributes and partners, without validation."""
    rng = np.random.default_rng(0)
    splits = {
        name: {
            "x": rng.integers(0, 256, (n, 16, 16, 1), np.uint8),
            "label": np.arange(n, dtype=np.int32) % 5,
            "y": rng.integers(0, 256, (n, 16, 16, 1), np.uint8),
            "attributes": rng.integers(0, 2, (n, 2), np.uint8),
            "caption": np.array(["a small cat", "two dogs", "a cat left of a dog"])[
                np.arange(n) % 3
            ],
        }
        for name, n in (("train", 100), ("test", 20))
    }
    path = tmp_path_factory.mktemp("data") / "photos.npz"
    names = {"attributes": ("hat", "scarf")}
    save_npz(Dataset("photos", splits, 256, names=names), path)
    return str(path)


def run_of(name, *argv):
    """The run that a command line describes, without training it."""
    argv = list(argv)
    base, chosen = train.default_run(name, argv)
    return experiment.parse({name: base}, "", [*argv, *chosen], "train")[1]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"joint"}))
def test_defaults_fit_the_data(name, photos):
    settings = {"discriminator_layers": 1, "downs": 2}  # defaults are of larger images
    default = families.get(name).Config()
    small = [f"--{k.replace('_', '-')}={v}" for k, v in settings.items() if hasattr(default, k)]
    run = resolve(run_of(name, "--data", photos, *small), "cpu")
    dataset = genjax_data.load(run.data)
    check_compatibility(run, families.get(name), dataset)
    assert run.model.shape == (16, 16, 1)
    assert run.experiment == f"{name}-photos"
    assert getattr(run.model, "classes", 0) in (0, 5)
    traits = families.get(name).traits(run.model)
    evaluated = evals.evaluated_quantity(families.get(name), run.model)
    assert dataset.counts()["train"] == (90 if evaluated else 100)
    assert (run.optimizer is None) == (traits.fit != "gradient")


def test_texts_are_as_long_as_the_captions(photos):
    """With tokens of words or bpe; letters have a length of their own."""
    words = run_of("dalle", "--data", photos, "--tokenizer", "words")
    assert (words.model.text_length, words.model.vocabulary) == (6, 9)  # 8 words, and padding
    assert (words.data.text_length, words.data.vocabulary) == (6, 9)
    assert words.model.image_tokenizer.shape == words.model.shape == (16, 16, 1)
    bpe = run_of("joint_embedding", "--data", photos, "--tokenizer", "bpe")
    assert bpe.model.text_encoder == "transformer"
    assert 6 <= bpe.model.text_length < 20
    letters = run_of("gan_cls", "--data", photos)
    assert (letters.data.tokenizer, letters.model.embedding.text_length) == ("characters", 201)


def test_parts_have_the_settings_of_their_runs(photos, tmp_path):
    part = run_of("dvae", "--data", photos, "--hidden", "8", "--groups", "2", "--codes", "7")
    write_json(tmp_path / "config.json", to_json(resolve(part, "cpu")))
    run = run_of("dalle", "--data", photos, "--parts-from", str(tmp_path), "--layers", "2")
    assert run.model.image_tokenizer == part.model
    assert (run.model.layers, run.train.parts_from) == (2, (str(tmp_path),))
    assert run.data.tokenizer == "bpe"
    assert run.model.text_length < 20


def test_options_override_the_defaults(photos):
    options = ["--transform", "binarize('threshold')", "--validation", "20", "--steps", "7"]
    run = run_of("nade", "--data", photos, *options, "--hidden=9", "--learning-rate", "0.5")
    assert run.data.transform == "binarize('threshold')"
    assert (run.data.validation, run.train.steps, run.model.hidden) == (20, 7, 9)
    assert run.optimizer.learning_rate == 0.5
    cropped = run_of(
        "nade", "--data", photos, "--transform", "center_crop(8) | binarize('dynamic')"
    )
    assert cropped.model.shape == (8, 8, 1)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Colour images of 20x13 in 256 levels."""
    x = np.random.default_rng(0).integers(0, 256, (30, 20, 13, 3), np.uint8)
    path = tmp_path_factory.mktemp("data") / "wide.npz"
    save_npz(Dataset("wide", {"train": {"x": x}, "test": {"x": x[:9]}}, 256), path)
    return str(path)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ("--fit crop", (8, 8, 3)),  # the largest power of two that enlarges nothing
        ("--fit=pad", (32, 32, 3)),
        ("--fit pad --shape 24 16 3", (24, 16, 3)),
    ],
)
def test_pictures_of_any_size_fit_a_model(wide, options, shape):
    run = run_of("gan", "--data", wide, *options.split())
    assert run.model.shape == shape
    dataset = genjax_data.load(run.data)
    check_compatibility(resolve(run, "cpu"), families.get("gan"), dataset)
    spec = genjax_data.output_spec(run.data.transform, dataset)
    assert (spec.shape, spec.low, spec.high) == (shape, 0, 1)


@pytest.mark.parametrize("options", ["", "--steps 300", "--batch-sizes 8 4"])
def test_networks_that_grow_reach_the_size_of_the_data(wide, options):
    run = run_of("progressive", "--data", wide, "--fit", "pad", *options.split())
    *before, last = stages_of(families.get("progressive"), run.model, 16, run.train.steps)
    assert [stage.name for stage in before] == ["4x4", "8x8", "16x16"]
    assert last.name == "32x32"
    assert last.steps - last.fade >= 1.9 * last.fade > 0
    assert run.optimizer["generator"].learning_rate == 1e-3
    assert run.train.batch_size % 4 == 0  # of 30 examples: for groups of four


def test_options_select_the_parts_of_a_puzzle_gan(wide):
    words = ("--fit", "pad", "--mode", "faces", "--smallest", "8", "--start", "8", "--part-norm")
    run = run_of("puzzle_gan", "--data", wide, *words)
    assert [part.latent for part in run.model.layout()] == [128, 384]
    assert run.model.part_norm
    found = stages_of(families.get("puzzle_gan"), run.model, 16, run.train.steps)
    assert [stage.name for stage in found] == ["8x8", "16x16", "32x32"]


def test_a_schedule_that_is_given_is_kept(wide):
    run = run_of("progressive", "--data", wide, "--fit", "pad", "--fade-images", "9")
    assert run.model.fade_images == 9
    assert run.model.stable_images == families.get("progressive").Config().stable_images


def test_models_of_levels_need_sizes_without_resizing(wide):
    family = families.get("pixelcnn_pp")
    for options, message in (
        ("--fit crop", r"needs integers, and .* gives values between them; resize with method='n"),
        ("--fit pad", None),
        ("--shape 8 8 3", r"set --shape 20 13 3, or --fit crop or pad\."),
    ):
        run = resolve(run_of("pixelcnn_pp", "--data", wide, *options.split()), "cpu")
        dataset = genjax_data.load(run.data)
        if message is None:
            check_compatibility(run, family, dataset)
            continue
        with pytest.raises(ValueError, match=message):
            check_compatibility(run, family, dataset)


def test_the_share_of_labels_is_of_the_examples_left_for_training(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (200, 4, 4, 1), np.uint8)
    label = np.arange(200, dtype=np.int32) % 5
    splits = {"train": {"x": x, "label": label}, "test": {"x": x[:20], "label": label[:20]}}
    path = str(tmp_path / "few.npz")
    save_npz(Dataset("few", splits, 256), path)
    run = run_of("m2", "--data", path, "--labels-per-class", "10")
    assert run.data.validation == 20
    assert run.model.labelled == 50 / 180
    check_compatibility(resolve(run, "cpu"), families.get("m2"), genjax_data.load(run.data))


def test_a_counted_family_sees_each_example_once(photos):
    run = run_of("markov", "--data", photos)
    assert (run.train.steps, run.train.batch_size) == (1, 90)
    held_out = run_of("markov", "--data", photos, "--validation", "30")
    assert (held_out.data.validation, held_out.train.batch_size) == (30, 70)


def test_trains_on_pictures_that_are_not_square(wide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ["gan", "--data", wide, "--fit", "crop", "--generator-hidden", "8", "--batch-size", "8"]
    assert train.main([*line, "--steps", "2", "--samples", "4"]) == 0
    config = json.loads((tmp_path / "runs/gan-wide-seed0/record.json").read_text())["config"]
    assert config["data"]["transform"] == "fit(8, mode='crop')|scale(0, 1)"


@pytest.mark.parametrize("name", ["nade", "gan"])
def test_trains_on_a_file(name, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = [name, "--data", photos, "--steps", "4", "--batch-size", "8", "--samples", "4"]
    small = {"nade": ["--hidden", "4"], "gan": ["--generator-hidden", "8"]}[name]
    assert train.main([*line, *small]) == 0
    workdir = tmp_path / "runs" / f"{name}-photos-seed0"
    record = json.loads((workdir / "record.json").read_text())
    assert (record["steps"], record["family"], record["dataset"]) == (4, name, "photos")
    assert (record["obtained"] is None) == (name == "gan")
    assert not (tmp_path / "experiments").exists()
    capsys.readouterr()
    assert train.main([*line, *small]) == 0  # finished: nothing is computed
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: FAMILY"),
        (["vaee", "--data", "digits"], "there is no family 'vaee'"),
        (["nade"], "--data is missing; give a folder written by `genjax prepare`"),
        (["nade", "--data", "digits", "--hiden", "3"], "did you mean --hidden?"),
        (["nade", "--data", "digits", "--recipe", "cpu"], "there is no option --recipe"),
        (["nade", "--data", "nowhere.npz"], "nowhere.npz"),
        (["nade", "--data", "digits", "--limit", "-3"], "`limit` must be"),
    ],
)
def test_user_errors_are_one_line(argv, message, capsys):
    assert train.main(argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_attributes_are_one_option_of_model_and_data(tmp_path):
    """`--attributes` of a family with attributes also selects those of the data."""
    attributes = np.zeros((6, 3), np.uint8)
    x = np.arange(6).repeat(64).reshape(6, 8, 8, 1).astype(np.uint8)
    names = {"attributes": ("hat", "scarf", "coat")}
    rows = {"x": x, "attributes": attributes}
    save_npz(Dataset("clothes", {"train": rows}, 256, names=names), tmp_path / "clothes.npz")
    data = ["--data", str(tmp_path / "clothes.npz"), "--discriminator-layers", "2"]
    run = run_of("stargan", *data)
    assert run.model.attributes == run.data.attributes == ("hat", "scarf", "coat")
    assert run.model.exclusive == ()
    options = ["--attributes", "coat", "--second-attributes", "hat", "--exclusive"]
    run = run_of("stargan", *data, *options)
    assert (run.model.attributes, run.data.attributes) == (("coat",), ("coat", "hat"))
    assert run_of("vae", *data[:2], "--attributes", "hat").data.attributes == ("hat",)
