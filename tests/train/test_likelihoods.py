"""Runs of VAEs with different likelihoods and labels."""

import dataclasses
import json
import math

import numpy as np
import pytest
from support.small import small_run

from genjax import families
from genjax.cli import evaluate
from genjax.data import Data, Dataset, Order, save_npz
from genjax.families import vae
from genjax.train import fit
from genjax.train.compatibility import check_compatibility
from genjax.train.load_run import load_state
from genjax.train.splits import evaluation_conditions, evaluation_data, init_batch

LEVELS, CLASSES = 5, 3


def dataset(levels=LEVELS, labels=True, n=120):
    """3x3 images whose level depends on their label."""
    rng = np.random.default_rng(0)
    splits = {}
    for split in ("train", "validation", "test"):
        label = rng.integers(0, CLASSES, n).astype(np.int32)
        x = (label[:, None, None, None] + rng.integers(0, levels - 2, (n, 3, 3, 1))) % levels
        splits[split] = {"x": x.astype(np.uint8)} | ({"label": label} if labels else {})
    return Dataset("small", splits, levels)


def run_of(transform="", **model):
    run = small_run("vae", "small", steps=4)
    config = dataclasses.replace(vae.tiny(), **model)
    data = dataclasses.replace(run.data, transform=transform)
    return dataclasses.replace(run, model=config, data=data)


@pytest.mark.parametrize(
    ("transform", "model"),
    [
        ("binarize('dynamic')", {}),
        ("scale(0, 1)", {}),  # grey levels
        ("dequantize()", {"likelihood": "gaussian"}),
        ("dequantize()|resize(3)", {"likelihood": "gaussian"}),
        ("", {"likelihood": "discretized_logistic", "levels": LEVELS}),
        ("binarize('dynamic')", {"classes": CLASSES}),
    ],
)
def test_accepts_data_in_the_range_of_the_likelihood(transform, model):
    assert check_compatibility(run_of(transform, **model), vae, dataset()) == 0


@pytest.mark.parametrize(
    ("transform", "model", "labels", "message"),
    [
        (
            "",
            {},
            True,
            r"vae needs values in \{0, 1\}, and small with transform '' gives values from 0 to 4",
        ),
        ("scale(0, 1)", {"likelihood": "gaussian"}, True, "grows without bound on discrete"),
        (
            "resize(3)",
            {"likelihood": "gaussian"},
            True,
            r"5 levels\); add dequantize\(\) first: set --transform",
        ),
        (
            "dequantize()|binarize('dynamic')",
            {"likelihood": "gaussian"},
            True,
            "grows without bound on discrete",
        ),
        (
            "",
            {"likelihood": "discretized_logistic"},
            True,
            'integers from 0 to 255, .* values from 0 to 4; set --transform "", .* data.s 5',
        ),
        (
            "scale(0, 1)",
            {"likelihood": "discretized_logistic", "levels": LEVELS},
            True,
            "integers from 0 to 4, .* gives values from 0 to 1",
        ),
        (
            "dequantize()",
            {"likelihood": "discretized_logistic", "levels": 2},
            True,
            r"integers from 0 to 1, .* with transform 'dequantize\(\)' gives values from 0 to 1",
        ),
        (
            "binarize('dynamic')",
            {"classes": 3},
            False,
            "vae also trains on label, but small has only x",
        ),
        (
            "binarize('dynamic')",
            {"classes": 2},
            True,
            "labels up to 2, but the model has 2 classes",
        ),
    ],
)
def test_rejects_data_outside_the_range_of_the_likelihood(transform, model, labels, message):
    with pytest.raises(ValueError, match=message):
        check_compatibility(run_of(transform, **model), vae, dataset(labels=labels))


def test_init_receives_transformed_examples():
    run = run_of("binarize('dynamic')", data_bias=True, classes=CLASSES)
    result, again = (init_batch(run, vae, dataset()) for _ in range(2))
    assert (result["x"].shape, result["label"].shape) == ((120, 3, 3, 1), (120,))
    assert set(np.unique(result["x"])) == {0.0, 1.0}
    np.testing.assert_array_equal(result["x"], again["x"])
    # The first examples in the order of the run, with their labels.
    rows = Order(120, run.seed).epoch(0)
    np.testing.assert_array_equal(result["label"], dataset().splits["train"]["label"][rows])
    assert init_batch(run_of("binarize('dynamic')"), vae, dataset()) is None
    family = families.get("pixelcnn_pp")
    scales = dataclasses.replace(
        run_of("binarize('dynamic')"), family="pixelcnn_pp", model=family.tiny()
    )
    assert init_batch(scales, family, dataset())["x"].shape == (100, 3, 3, 1)
    assert init_batch(run_of(), families.get("nade"), dataset()) is None


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "small.npz"
    save_npz(dataset(), path)
    return str(path)


@pytest.mark.parametrize(
    ("transform", "reported"),
    [("dequantize(keys=('x',))", True), ("dequantize()|resize(3)", False)],
)
def test_bits_per_dim_of_dequantized_data(transform, reported, tmp_path, data):
    run = small_run("vae", data, steps=2, eval_samples=2)
    model = dataclasses.replace(vae.tiny(), likelihood="gaussian")
    run = dataclasses.replace(run, model=model, data=Data(data=data, transform=transform))
    record = fit(run, tmp_path / "run", quiet=True).record
    assert ("bits_per_dim" in record) == reported
    if reported:
        expected = record["obtained"] / (9 * math.log(2)) + math.log2(LEVELS)
        assert record["bits_per_dim"] == pytest.approx(expected, rel=1e-6)


def test_levels_and_labels_in_training_and_evaluation(tmp_path, data):
    """Batches with labels, evaluation with labels, samples, bits per dimension.

    Resumed after three steps, the run continues its KL warm-up, which is counted in its state.
    """
    model = dataclasses.replace(
        vae.tiny(), likelihood="discretized_logistic", levels=LEVELS, classes=CLASSES, kl_warmup=40
    )

    def run(steps):
        made = small_run("vae", data, steps=steps, log_every=1, eval_every=30, eval_samples=3)
        train = dataclasses.replace(made.train, sample_every=30, save_every=0)
        return dataclasses.replace(made, model=model, data=Data(data=data), train=train)

    workdir = tmp_path / "run"
    fit(run(3), workdir, quiet=True)
    record = fit(run(60), workdir, quiet=True).record
    assert record["metric"] == "test NLL bound"
    assert record["evaluated"] == 120
    assert record["bits_per_dim"] == pytest.approx(record["obtained"] / (9 * math.log(2)), rel=1e-6)
    assert record["obtained"] < 9 * math.log(LEVELS)  # better than a uniform distribution
    assert (workdir / "samples" / "step_00000030.png").exists()
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    weights = [json.loads(line)["kl_weight"] for line in lines if "kl_weight" in line]
    np.testing.assert_allclose(weights, np.minimum(np.arange(60) / 40, 1), rtol=1e-6)
    _, state = load_state(workdir)
    assert int(state.variables["buffers"]["steps"]) == int(state.step)
    result = evaluation_conditions(run(60), vae, dataset(), "test")
    np.testing.assert_array_equal(result["label"], dataset().splits["test"]["label"])


def test_bound_for_several_binarizations_and_active_units(tmp_path, data, capsys):
    """The record has the bound of the run's own draw, and the number of active units."""
    run = dataclasses.replace(
        small_run("vae", data, steps=40, eval_samples=7),
        model=dataclasses.replace(vae.tiny(), latent=2),
        data=Data(data=data, transform="binarize('dynamic')", binarize_seed=3),
    )
    workdir = tmp_path / "run"
    record = fit(run, workdir, quiet=True).record
    x = evaluation_data(run, dataset(), "test")
    _, state = load_state(workdir)
    z = vae.encode(run.model, state.eval_variables(), x)
    assert record["active_units"] == [int((np.asarray(z).var(0) > 0.01).sum())]

    assert evaluate.main([str(workdir), "--binarize-seeds", "3", "4", "5"]) == 0
    result = json.loads(capsys.readouterr().out)
    each = result["per_draw"]
    assert each[0] == pytest.approx(record["obtained"], rel=1e-6)
    assert len({round(nats, 4) for nats in each}) == 3
    assert result["obtained"] == pytest.approx(np.mean(each), rel=1e-9)
    assert result["spread"] == pytest.approx(np.std(each, ddof=1), rel=1e-9)
    assert (result["binarize_seeds"], result["bound_samples"]) == ([3, 4, 5], 7)
    for options, message in (
        (["--binarize-seeds", "-1"], "`binarize_seed` must be an integer in [0, 4294967296)"),
        (["--binarize-seeds", "1", "--temperatures", "9"], "leave out one of them"),
    ):
        assert evaluate.main([str(workdir), *options]) == 2
        assert message in capsys.readouterr().err
    grey = dataclasses.replace(run, data=Data(data=data, transform="scale(0, 1)"))
    fit(grey, tmp_path / "grey", quiet=True)
    assert evaluate.main([str(tmp_path / "grey"), "--binarize-seeds", "1"]) == 2
    assert "this run does not binarize at random" in capsys.readouterr().err
