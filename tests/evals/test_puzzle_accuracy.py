"""The metric `puzzle` on solvers whose skill is known."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.fake_solvers import SOLVERS, Config, exact_borders, puzzle_images

from genjax.core.puzzles import cut, shuffle
from genjax.data import Dataset
from genjax.evals import EvalContext, check_metric_requirements, compute_metric
from genjax.evals.puzzle_accuracy import WEIGHTS, _chance, _puzzles
from genjax.evals.puzzle_solutions import solve
from genjax.families import gan

SCORES, LIST = SOLVERS["position_solver"], SOLVERS["permutation_solver"]
CONFIG = Config(shape=(12, 12, 1), grid=(2, 2))
SIZES = {"train": 4, "validation": 40, "test": 40}


def variables(skill):
    return {"params": {"skill": jnp.float32(skill)}}


def dataset(images=lambda n, seed: puzzle_images(n, CONFIG, seed), labels=False):
    splits = {s: {"x": images(n, n)} for s, n in SIZES.items()}
    names = {}
    if labels:
        for arrays in splits.values():
            arrays["label"] = np.arange(len(arrays["x"])) % 4 - 1  # -1 is unknown
        names = {"label": ("guitar", "old person")}
    return Dataset("made", splits, 256, names=names)


def noise(n, seed):
    """Images whose borders alone tell the order."""
    x = exact_borders(n, (2, 2), side=12, seed=seed)
    return ((x + 1) * 127.5).astype(np.uint8)


NOISE = Config(shape=(24, 24, 3), grid=(2, 2))


def measure(family, skill, data=None, config=CONFIG, **settings):
    data = data or dataset()
    return compute_metric(
        "puzzle", family, config, variables(skill), data, jax.random.key(3), **settings
    )


def test_a_solver_that_knows_the_positions_solves_all():
    got = measure(SCORES, 1.0, missing=(1, 2, 3))
    assert list(got.tables) == ["gap_0", "gap_1", "gap_2", "missing_1", "missing_2"]
    for table in got.tables.values():
        assert table["model"] == {"solved": (1.0, 0.0), "pieces": (1.0, 0.0)}
        assert table["fused"]["solved"][0] == 1
    assert got.figure() == (100.0, 0.0, "%")
    assert (got.split, got.puzzles, got.grid) == ("test", 40, (2, 2))
    assert set(got.border_weight.values()) == {0.0}  # borders cannot help


def test_chance_is_that_of_all_orders():
    got = measure(SCORES, 1.0, gaps=())
    chance = {title: table["chance"] for title, table in got.tables.items()}
    assert chance["gap_0"]["solved"] == pytest.approx((1 / 24, 0))
    assert chance["missing_1"]["solved"][0] == pytest.approx(1 / 24)  # 4 * 3 * 2
    assert chance["missing_2"]["solved"][0] == pytest.approx(1 / 12)
    assert all(row["pieces"][0] == pytest.approx(1 / 4) for row in chance.values())


@pytest.mark.parametrize("family", [SCORES, LIST])
def test_a_blind_solver_is_at_chance(family):
    data = dataset(lambda n, seed: puzzle_images(10 * n, CONFIG, seed))
    got = measure(family, 0.0, data, gaps=())
    for table in got.tables.values():
        for quantity, (value, error) in table["model"].items():
            assert abs(value - table["chance"][quantity][0]) < 4 * error
            assert error > 0


def test_borders_help_a_blind_solver():
    got = measure(SCORES, 0.0, dataset(noise), NOISE, gaps=(), missing=(1,))
    table = got.tables["gap_0"]
    assert table["model"]["solved"][0] < 0.3
    assert {row: table[row]["solved"][0] for row in ("borders", "fused", "tree", "greedy")} == (
        dict.fromkeys(("borders", "fused", "tree", "greedy"), 1.0)
    )
    assert got.border_weight["gap_0"] == WEIGHTS[1]  # the smallest that solves most
    assert got.tables["missing_1"]["fused"]["solved"][0] > 0.9


def test_the_weight_is_chosen_on_validation():
    """On validation borders mislead, and on test they would help."""
    data = dataset(noise)
    data.splits["validation"]["x"] = (
        puzzle_images(30, CONFIG).repeat(2, 1).repeat(2, 2).repeat(3, 3)
    )
    seen = measure(SCORES, 0.05, data, NOISE, gaps=(), missing=())
    assert seen.tables["gap_0"]["fused"] == seen.tables["gap_0"]["model"]
    assert seen.border_weight == {"gap_0": 0.0}


def test_weight_zero_is_the_model():
    c = EvalContext(SCORES, CONFIG, variables(0.01), dataset(), jax.random.key(3))
    shown = _puzzles(c, c.examples("test"), 0, 1)
    pieces = shuffle(cut(jnp.asarray(c.examples("test")), (2, 2)), jnp.asarray(shown.orders))
    found = solve(SCORES, CONFIG, c.variables, pieces, shown.present)
    np.testing.assert_array_equal(shown.model(0.0), shown.shares(found.orders))
    assert (shown.model(8.0) != shown.model(0.0)).any()


@pytest.mark.parametrize("family", [SCORES, LIST])
def test_equal_pieces_may_be_exchanged(family):
    """Of copies of one piece every order is right, whatever their indices."""
    data = dataset(lambda n, seed: np.tile(puzzle_images(n, CONFIG, seed)[:, :6, :6], (1, 2, 2, 1)))
    got = measure(family, 0.5, data, gaps=(2,), missing=(1,))
    for table in got.tables.values():
        for row, cells in table.items():
            assert cells == {"solved": (1.0, 0.0), "pieces": (1.0, 0.0)}, row
    c = EvalContext(family, CONFIG, variables(0.5), data, jax.random.key(3))
    shown = _puzzles(c, c.examples("test"), 0, 0)
    index = shown.orders == np.arange(4)  # an order of indices is right for one piece in four
    assert abs(index.mean() - 0.25) < 0.15


def test_two_equal_pieces_double_chance():
    equal = np.eye(4, dtype=bool)[None].copy()
    equal[0, :2, :2] = True
    every = np.ones((1, 4), bool)
    np.testing.assert_allclose(_chance(equal, every), [[2 / 24], [(2 + 2 + 1 + 1) / 16]])
    without = np.array([[True, False, True, True]])
    # The first piece has two positions, the others one each, of 4 * 3 * 2 ways.
    np.testing.assert_allclose(_chance(equal, without), [[2 / 24], [(2 + 1 + 1) / 12]])


def test_a_list_has_no_missing_pieces_and_borders_of_its_own():
    got = measure(LIST, 1.0, dataset(noise), NOISE, gaps=(1,))
    assert list(got.tables) == ["gap_0", "gap_1"]
    table = got.tables["gap_0"]
    assert table["chance"]["solved"] == pytest.approx((1 / 4, 0))
    assert table["borders_in_list"]["solved"][0] == table["borders"]["solved"][0] == 1
    c = EvalContext(LIST, NOISE, variables(1), dataset(noise), jax.random.key(3))
    shown = _puzzles(c, c.examples("test"), 0, 0)
    shifts = {tuple(o) for o in LIST.permutations(NOISE).tolist()}
    assert {tuple(o) for o in shown.orders.tolist()} == shifts


def partly(n, seed):
    """Images of levels of which some are turned by 180 degrees, so that the solver is wrong.

    With the labels of `dataset` every second guitar, no old person, and all images of class 2.
    """
    x, i = puzzle_images(n, CONFIG, seed), np.arange(n)
    turned = (i % 4 == 3) | ((i % 4 == 1) & (i // 4 % 2 == 0))
    return np.where(turned[:, None, None, None], x[:, ::-1, ::-1], x)


def test_classes_have_tables():
    got = measure(SCORES, 1.0, dataset(partly, labels=True), gaps=(1,), missing=())
    assert list(got.tables) == ["gap_0", "gap_1", "guitar", "old_person", "class_2"]
    assert list(got.tables["guitar"]) == ["tree", "model", "fused"]
    shares = {name: got.tables[name]["model"]["solved"] for name in list(got.tables)[2:]}
    assert shares["guitar"] == pytest.approx((0.5, np.sqrt(0.25 / 9)))
    assert (shares["old_person"], shares["class_2"]) == ((1, 0), (0, 0))
    assert got.solved == pytest.approx(25 / 40)  # with the ten whose label is not known


def test_results_are_flat_json():
    got = measure(SCORES, 1.0, dataset(partly), gaps=(), missing=(1,)).as_dict()
    assert got == json.loads(json.dumps(got))
    assert got["gap_0_solved"] == got["solved"] == 25 / 40
    assert got["gap_0_solved_std_error"] == got["std_error"] > 0
    for row in ("chance", "greedy", "tree", "borders", "fused"):
        assert 0 <= got[f"{row}_missing_1_pieces"] <= 1
    assert got["fused_gap_0_border_weight"] in WEIGHTS
    assert not any(isinstance(v, dict) for v in got.values())


def test_gaps_beyond_half_a_piece_are_left_out():
    config = dataclasses.replace(CONFIG, shape=(4, 4, 1))
    data = dataset(lambda n, seed: puzzle_images(n, config, seed))
    got = measure(SCORES, 1.0, data, config)
    assert list(got.tables) == ["gap_0", "missing_1", "missing_2"]


def test_rejects_what_does_not_apply():
    with pytest.raises(ValueError, match="puzzle applies to families that implement PuzzleSolver"):
        check_metric_requirements("puzzle", gan, gan.tiny(), dataset())
    with pytest.raises(ValueError, match="gan does not solve puzzles; use a run of a family with"):
        compute_metric(
            "puzzle", gan, gan.Config(shape=(12, 12, 1)), {}, dataset(), jax.random.key(0)
        )
    data = dataset()
    check_metric_requirements("puzzle", SCORES, CONFIG, data)
    del data.splits["validation"]
    with pytest.raises(ValueError, match=r"puzzle needs a validation split.*--validation N"):
        check_metric_requirements("puzzle", SCORES, CONFIG, data)
    with pytest.raises(ValueError, match="scores of positions are NaN"):
        measure(SCORES, math.nan)
