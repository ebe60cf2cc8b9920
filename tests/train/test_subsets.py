"""A density a class: the same as alone, best by its own validation, and Bayes' rule works."""

import dataclasses

import chex
import jax
import numpy as np
import pytest
from support.small import small_run

from genjax import evals, families
from genjax.core import Optimizer
from genjax.data import Data, Dataset, save_npz
from genjax.train import fit
from genjax.train.load_run import load
from genjax.train.subsets import fit_subsets


def rows(n, seed, row):
    """3x3 images with one row on, and noise."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, 3, 3, 1), np.float32)
    x[:, row] = 1
    return np.abs(x - (rng.random(x.shape) < 0.1))


TRAIN = [rows(120, 0, 0), rows(80, 1, 1), rows(100, 2, 2)]
VALIDATION = [rows(60, 3, 0), rows(60, 4, 1), rows(60, 5, 2)]


def run_of(name, **train):
    run = small_run(name, "digits", steps=60, eval_every=20, batch_size=20, ema=0.0, **train)
    if run.optimizer is not None:
        run = dataclasses.replace(run, optimizer=Optimizer(learning_rate=3e-2))
    return run


def nats(run, variables, x):
    family = families.get(run.family)
    key = jax.random.key(0)
    return float(evals.nll(family, run.model, variables, x, key).mean())


@pytest.mark.parametrize("name", ["joint", "nade"])
def test_densities_of_classes_classify(name):
    run = run_of(name)
    found = fit_subsets(run, TRAIN, VALIDATION)
    images = np.concatenate([x[:30] for x in VALIDATION])
    family, key = families.get(name), jax.random.key(0)
    scores = np.stack([evals.nll(family, run.model, v, images, key) for v in found], axis=1)
    posterior = evals.log_posterior(-scores)
    labels = np.repeat([0, 1, 2], 30)
    # The table has 511 cells for 100 images: it cannot know more.
    assert evals.classify(posterior, labels).accuracy > (0.9 if name == "nade" else 0.75)


def test_subsets_start_from_the_weights_of_a_run(tmp_path):
    whole = run_of("nade")
    path = tmp_path / "bars.npz"
    splits = {"train": np.concatenate(TRAIN), "validation": np.concatenate(VALIDATION)}
    splits = {s: {"x": x.astype(np.uint8)} for s, x in {**splits, "test": rows(20, 6, 0)}.items()}
    save_npz(Dataset("bars", splits, 2), path)
    fit(dataclasses.replace(whole, data=Data(data=str(path))), tmp_path / "whole", quiet=True)
    begun = dataclasses.replace(
        run_of("nade", weights_from=str(tmp_path / "whole")),
        optimizer=Optimizer(optimizer="sgd", learning_rate=1e-30),
    )
    _, expected = load(tmp_path / "whole")
    for variables in fit_subsets(begun, TRAIN, VALIDATION):
        chex.assert_trees_all_close(variables, expected, rtol=1e-6)


def test_many_subsets_equal_single_ones():
    run = run_of("nade")
    together = fit_subsets(run, TRAIN, VALIDATION)
    # The first part's random numbers do not depend on how many there are beside it.
    alone = fit_subsets(run, TRAIN[:1], VALIDATION[:1])
    for a, b in zip(jax.tree.leaves(together[0]), jax.tree.leaves(alone[0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_the_best_by_validation_is_kept():
    run = dataclasses.replace(run_of("nade"), optimizer=Optimizer(learning_rate=0.3))
    kept = nats(run, fit_subsets(run, TRAIN, VALIDATION)[1], VALIDATION[1])
    ends = []
    for steps in (20, 40, 60):
        train = dataclasses.replace(run.train, steps=steps, eval_every=0)
        short = dataclasses.replace(run, train=train)
        ends.append(nats(run, fit_subsets(short, TRAIN, VALIDATION)[1], VALIDATION[1]))
    assert kept == pytest.approx(min(ends), rel=1e-4)
    assert max(ends) > min(ends) + 0.05  # it does make a difference which is kept


def test_rejects_subsets_that_differ_in_number_or_are_empty():
    with pytest.raises(ValueError, match="3 subsets to train on, but 2"):
        fit_subsets(run_of("nade"), TRAIN, VALIDATION[:2])
    with pytest.raises(ValueError, match="examples_of_subset_1"):
        fit_subsets(run_of("nade"), [TRAIN[0], TRAIN[1][:0], TRAIN[2]], VALIDATION)
    with pytest.raises(ValueError, match="`validation_examples_of_subset_2` must be positive"):
        fit_subsets(run_of("nade"), TRAIN, [*VALIDATION[:2], VALIDATION[2][:0]])
