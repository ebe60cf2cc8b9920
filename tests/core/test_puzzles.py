"""Pieces of images, their orders, gaps, and border costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import puzzles


def images(batch=3, height=4, width=6, channels=2):
    return jax.random.normal(jax.random.key(0), (batch, height, width, channels))


def test_pieces_are_numbered_row_by_row():
    x = np.asarray(images())
    pieces = np.asarray(puzzles.cut(jnp.asarray(x), (2, 3)))
    assert pieces.shape == (3, 6, 2, 2, 2)
    np.testing.assert_array_equal(pieces[:, 4], x[:, 2:4, 2:4])


@pytest.mark.parametrize(
    ("rows", "columns", "h", "w"), [(1, 1, 2, 3), (1, 3, 2, 1), (3, 1, 3, 2), (2, 3, 1, 2)]
)
def test_joining_cut_and_shuffled_pieces_restores_images(rows, columns, h, w):
    x = images(2, rows * h, columns * w)
    pieces = puzzles.cut(x, (rows, columns))
    order = puzzles.random_orders(jax.random.key(1), 2, rows * columns)
    shown = puzzles.shuffle(pieces, order)
    example = np.arange(2)[:, None]
    np.testing.assert_array_equal(shown, np.asarray(pieces)[example, np.asarray(order)])
    np.testing.assert_array_equal(puzzles.join(puzzles.restore(shown, order), (rows, columns)), x)


def test_rejects_images_that_cannot_be_cut():
    with pytest.raises(ValueError, match="crop or resize them to 3x6"):
        puzzles.cut(images(), (3, 3))


def test_orders_are_uniform():
    order = np.asarray(puzzles.random_orders(jax.random.key(2), 6000, 3))
    assert (np.sort(order) == np.arange(3)).all()
    _, counts = np.unique(order @ [9, 3, 1], return_counts=True)
    assert len(counts) == 6
    assert abs(counts - 1000).max() < 5 * np.sqrt(1000)


@pytest.mark.parametrize("gap", [0, 1, 2, 3])
def test_erosion_removes_a_gap_between_neighbours(gap):
    """On a ramp, neighbouring borders differ by one step plus the gap."""
    ramp = jnp.broadcast_to(jnp.arange(16.0)[None, None, :, None], (1, 16, 16, 1))
    pieces = puzzles.erode(puzzles.cut(ramp, (2, 2)), gap)
    assert pieces.shape == (1, 4, 8, 8, 1)
    assert pieces[0, 1, 0, 0, 0] - pieces[0, 0, 0, -1, 0] == 1 + gap
    down = puzzles.erode(puzzles.cut(ramp.swapaxes(1, 2), (2, 2)), gap)
    assert down[0, 2, 0, 0, 0] - down[0, 0, -1, 0, 0] == 1 + gap


def test_the_gap_may_differ_by_example():
    pieces = puzzles.cut(images(2, 8, 8), (2, 2))
    both = puzzles.erode(pieces, jnp.array([0, 2]))
    np.testing.assert_array_equal(both[0], pieces[0])
    np.testing.assert_array_equal(both[1], puzzles.erode(pieces, 2)[1])


def test_border_costs_by_hand():
    x = np.asarray(images(1, 4, 6))
    pieces = puzzles.cut(jnp.asarray(x), (2, 3))
    cost = np.asarray(puzzles.border_costs(pieces))
    p = np.asarray(pieces)[0]
    for i in range(6):
        for j in range(6):
            np.testing.assert_allclose(
                cost[0, 0, i, j], ((p[i, :, -1] - p[j, :, 0]) ** 2).mean(), rtol=1e-5
            )
            np.testing.assert_allclose(
                cost[0, 1, i, j], ((p[i, -1] - p[j, 0]) ** 2).mean(), rtol=1e-5
            )
