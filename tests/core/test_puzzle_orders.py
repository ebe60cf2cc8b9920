"""Orders found by puzzle solvers: exact assignment, lists, and the share of wrong pieces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from support.fake_solvers import SOLVERS, Config, puzzle_images

from genjax.core.protocols import PermutationLogits, PositionScores
from genjax.core.puzzle_orders import assign, draw_orders, misplaced, wrong_pieces

CONFIG = Config()


def as_input(x):
    return jnp.asarray(x, jnp.float32) / 127.5 - 1


def test_the_fakes_implement_one_protocol_each():
    kinds = {name: (PositionScores, PermutationLogits) for name in SOLVERS}
    found = {k: [isinstance(SOLVERS[k], kind) for kind in v] for k, v in kinds.items()}
    assert found == {"position_solver": [True, False], "permutation_solver": [False, True]}


def test_assignment_is_that_of_scipy():
    scores = np.random.default_rng(0).normal(size=(20, 7, 7)).astype(np.float32)
    scores[3, 2] = -np.inf  # a row that says nothing
    scores[4, :, 5] = np.nan
    expected = np.nan_to_num(scores, nan=-1e6, neginf=-1e6).astype(np.float64)
    expected = [linear_sum_assignment(one, maximize=True)[1] for one in expected]
    found = np.asarray(jax.jit(assign)(scores))
    rows = np.arange(7)
    for one, best, order in zip(np.nan_to_num(scores, nan=-1e6), expected, found, strict=True):
        assert sorted(order) == list(rows)
        if np.isfinite(one).all():
            assert one[rows, order].sum() == pytest.approx(one[rows, best].sum(), rel=1e-6)
    np.testing.assert_array_equal(found[5:], expected[5:])


@pytest.mark.parametrize("name", SOLVERS)
def test_share_of_wrong_pieces(name):
    family, key = SOLVERS[name], jax.random.key(3)
    x = as_input(puzzle_images(50, CONFIG))
    share = jax.jit(lambda skill: wrong_pieces(family, CONFIG, skill, x, key))

    def of(skill):
        return np.asarray(share({"params": {"skill": jnp.float32(skill)}}))

    assert of(1.0).max() == 0
    # Without evidence piece k is put at position k, so a piece is right where it was not moved.
    orders = np.asarray(draw_orders(family, CONFIG, key, 50))
    np.testing.assert_allclose(of(0.0), (orders != np.arange(4)).mean(1))
    assert np.isnan(of(np.nan)).all()


def test_orders_are_drawn_from_the_list():
    family = SOLVERS["permutation_solver"]
    orders = np.asarray(draw_orders(family, CONFIG, jax.random.key(0), 200))
    listed, counts = np.unique(orders, axis=0, return_counts=True)
    np.testing.assert_array_equal(listed, np.unique(family.permutations(CONFIG), axis=0))
    assert counts.min() > 25
    every = draw_orders(SOLVERS["position_solver"], CONFIG, jax.random.key(0), 400)
    assert len(np.unique(every, axis=0)) == 24


def test_equal_pieces_may_be_exchanged():
    pieces = jnp.asarray([0.0, 0.0, 1.0, 2.0]).reshape(1, 4, 1, 1, 1)
    restored = pieces[:, jnp.asarray([1, 0, 3, 2])]
    assert misplaced(restored, pieces).tolist() == [[False, False, True, True]]
