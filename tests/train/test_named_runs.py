"""Parts of a family that contains others, and rankers: which runs they are loaded from."""

import dataclasses
import re
import shutil

import chex
import jax
import numpy as np
import pytest
from support import composed_bars
from support.small import small_run, write_data

from genjax import data as genjax_data
from genjax import families
from genjax.cli import export
from genjax.core import Optimizer
from genjax.data import Data
from genjax.data.tokenizers import save_tokenizer, train_tokenizer
from genjax.families import gan_cls, nade
from genjax.train import Run, Train, fit, load_ranker, named_runs
from genjax.train.load_run import load, load_state
from genjax.train.named_runs import initial_weights
from genjax.train.vectorized_runs import VectorizedRuns

SETTINGS = dict(steps=4, batch_size=16, log_every=2, eval_every=2, eval_batch=80, samples=4)
RANDOM = "prior is random and stays so, since no run is given by --parts-from"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data):
    """A folder of runs with one of a part, which keeps an average."""
    folder = tmp_path_factory.mktemp("runs")
    run = small_run("nade", data, steps=4, sample_every=0)
    fit(dataclasses.replace(run, model=composed_bars.PART), folder / "small_nade-seed0", quiet=True)
    return folder


@pytest.fixture(autouse=True)
def composed(monkeypatch):
    monkeypatch.setitem(families.FAMILIES, "composed_bars", "support.composed_bars")


def composed_run(data, **train):
    return Run(
        experiment="bars",
        family="composed_bars",
        model=composed_bars.Config(),
        data=Data(data=data),
        optimizer=Optimizer(learning_rate=0.1),
        train=Train(**{**SETTINGS, "parts_from": ("small_nade",), **train}),
    )


def test_a_run_trains_with_the_part_of_another_run(tmp_path, data, runs):
    """Its evaluation variables, unchanged; the run resumes without the other's folder."""
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    expected = load(tmp_path / "small_nade-seed0")[1]
    assert load_state(tmp_path / "small_nade-seed0")[1].ema is not None
    run = composed_run(data, ema=0.5, save_every=2)
    record = fit(run, tmp_path / "bars", quiet=True).record
    (part,) = record["sessions"][0]["parts"].items()
    assert part[0] == "prior"
    assert part[1]["run"] == "small_nade"
    assert re.fullmatch("[0-9a-f]{8}", part[1]["checksum"])
    assert "warnings" not in record
    state = load_state(tmp_path / "bars", newest=True)[1]
    chex.assert_trees_all_equal(state.variables["buffers"]["prior"], expected)
    assert int(state.variables["buffers"]["steps"]) == 4  # buffers of its own are kept
    shutil.rmtree(tmp_path / "small_nade-seed0")
    longer = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=6))
    record = fit(longer, tmp_path / "bars", quiet=True).record
    assert ["parts" in session for session in record["sessions"]] == [True, False]
    state = load_state(tmp_path / "bars", newest=True)[1]
    chex.assert_trees_all_equal(state.variables["buffers"]["prior"], expected)


def test_a_run_with_weights_from_another_keeps_its_parts(tmp_path, data, runs):
    folder = runs / "small_nade-seed0"
    fit(composed_run(data, parts_from=(str(folder),)), tmp_path / "first", quiet=True)
    more = composed_run(data, parts_from=(), weights_from=str(tmp_path / "first"))
    record = fit(more, tmp_path / "next", quiet=True).record
    assert "warnings" not in record
    state = load_state(tmp_path / "next", newest=True)[1]
    chex.assert_trees_all_equal(state.variables["buffers"]["prior"], load(folder)[1])
    assert int(state.variables["buffers"]["steps"]) == 4  # not 8: only parts are kept


def test_a_run_without_parts_is_warned_about(tmp_path, data):
    record = fit(composed_run(data, parts_from=()), tmp_path / "bars", quiet=True).record
    assert [warning["words"] for warning in record["warnings"]] == [RANDOM]


def test_runs_in_one_program_have_the_part(data, runs):
    class Trials(VectorizedRuns):
        def rows(self, start, count):
            return np.broadcast_to(np.arange(start, start + count) % 240, (self.runs, count))

        def evaluate(self, step, finite):
            self.last = step

    run = composed_run(data, parts_from=(str(runs / "small_nade-seed0"),), steps_per_call=1)
    x = genjax_data.load(run.data).splits["train"]["x"].astype(np.float32)
    begin = lambda init, number: init(jax.random.key(number))  # noqa: E731
    trials = Trials(run, run.optimizer.build(), 2, {"x": x}, begin)
    trials.advance()
    expected = load(runs / "small_nade-seed0")[1]
    for i in range(2):
        chex.assert_trees_all_equal(trials.variables(i)["buffers"]["prior"], expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"parts_from": ("small_nade", "b")},
            r"names 2 runs \(small_nade, b\), but composed_bars has the part prior; give one run",
        ),
        ({"parts_from": ("nothing",)}, "nothing-seed0 holds no finished run to load prior from"),
        ({"parts_from": ("begun",)}, "begun-seed0 holds no finished run to load prior from"),
        ({"parts_from": ("other",)}, "other-seed0 is a run of small_nade, not of other"),
    ],
)
def test_rejects_runs_that_are_no_parts(tmp_path, data, runs, changes, message):
    shutil.copytree(runs / "small_nade-seed0", tmp_path / "other-seed0")
    shutil.copytree(runs / "small_nade-seed0", tmp_path / "begun-seed0")
    (tmp_path / "begun-seed0" / "record.json").unlink()
    (tmp_path / "small_nade-seed0").symlink_to(runs / "small_nade-seed0")
    with pytest.raises(ValueError, match=message):
        initial_weights(composed_run(data, **changes), tmp_path)


def test_rejects_a_part_with_another_config_or_family(tmp_path, data, runs):
    """The message names the settings that differ, and the options that set them."""
    run = composed_run(data)
    prior = nade.Config(shape=(3, 3, 1), hidden=5, activation="sigmoid")
    other = dataclasses.replace(run, model=composed_bars.Config(prior=prior))
    message = (
        r"is not the network in .*small_nade-seed0: activation is relu in the run and sigmoid here,"
        r" hidden is 4 in the run and 5 here; set --prior\.activation relu --prior\.hidden 4, or"
    )
    with pytest.raises(ValueError, match=message):
        initial_weights(other, runs)
    fit(small_run("markov", data, steps=1, sample_every=0), tmp_path / "m", quiet=True)
    markov = composed_run(data, parts_from=(str(tmp_path / "m"),))
    with pytest.raises(ValueError, match=r"the prior of composed_bars is a nade, and .* markov"):
        initial_weights(markov)
    no_parts = small_run("nade", data, parts_from=("small_nade",))
    with pytest.raises(ValueError, match=r"but nade has no parts; leave out --parts-from"):
        initial_weights(no_parts, runs)


def test_rejects_a_text_encoder_of_other_tokens(tmp_path, monkeypatch):
    """Its settings of text and its saved vocabulary are those of the run."""
    model = gan_cls.tiny()
    texts = Data(data="digits", tokenizer="words", text_length=9)
    part = Run(experiment="texts", family="joint_embedding", model=model.embedding, data=texts)
    wanted = jax.eval_shape(lambda key: gan_cls.init(model, key), jax.random.key(0))["buffers"]
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), wanted["embedding"])
    tokenizer = train_tokenizer("words", ["a red cat"])
    save_tokenizer(tokenizer, tmp_path)
    for name in ("record.json", "config.json"):
        (tmp_path / name).touch()
    monkeypatch.setattr(named_runs, "load", lambda folder: (part, {**variables, "more": {}}))
    run = Run(
        experiment="drawn",
        family="gan_cls",
        model=model,
        data=texts,
        train=Train(parts_from=(str(tmp_path),)),
    )
    found = initial_weights(run, tokenizer=tokenizer)
    chex.assert_trees_all_equal(found, {"buffers": {"embedding": variables}})
    with pytest.raises(ValueError, match="was trained with another vocabulary of words than that"):
        initial_weights(run, tokenizer=train_tokenizer("words", ["a blue cat"]))
    for settings, message in (
        (
            {"tokenizer": "bpe"},
            "with tokenizer 'words', and drawn has 'bpe'; set --tokenizer",
        ),
        ({"text_length": 8}, "with text_length 9, and drawn has 8; set --text-length 9, or"),
    ):
        other = dataclasses.replace(run, data=dataclasses.replace(texts, **settings))
        with pytest.raises(ValueError, match=message):
            initial_weights(other, tokenizer=tokenizer)


def test_other_parts_are_other_settings_of_a_resumed_run(tmp_path, data, runs):
    run = composed_run(data, parts_from=(str(runs / "small_nade-seed0"),))
    fit(run, tmp_path / "bars", quiet=True)
    train = dataclasses.replace(run.train, parts_from=(), steps=6)
    with pytest.raises(ValueError, match=r"other settings: train\.parts_from was"):
        fit(dataclasses.replace(run, train=train), tmp_path / "bars", quiet=True)


def test_a_part_comes_from_weights_of_the_package_where_there_is_no_run(
    tmp_path, data, runs, monkeypatch
):
    source = runs / "small_nade-seed0"
    assert export.main([str(source), str(tmp_path / "bars_part.safetensors")]) == 0
    with pytest.raises(ValueError, match="holds no finished run to load prior from"):
        initial_weights(composed_run(data), tmp_path)
    monkeypatch.setattr(named_runs, "FOLDER", tmp_path)
    monkeypatch.setattr(named_runs, "weights_names", lambda: ["bars_part"])
    chex.assert_trees_all_equal(
        initial_weights(composed_run(data), tmp_path), initial_weights(composed_run(data), runs)
    )
    with pytest.raises(ValueError, match="other-seed0 holds no finished run"):
        initial_weights(composed_run(data, parts_from=("other",)), tmp_path)


def test_rejects_a_ranker_that_scores_no_captions(data, runs):
    with pytest.raises(ValueError, match="bars names no ranker; set --ranker to a run of a family"):
        load_ranker(composed_run(data), runs)
    with pytest.raises(ValueError, match="holds no finished run to load the ranker from"):
        load_ranker(composed_run(data, ranker="nothing"), runs)
    with pytest.raises(ValueError, match="is a run of nade, which does not score captions; give"):
        load_ranker(composed_run(data, ranker="small_nade"), runs)
