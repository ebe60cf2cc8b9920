"""Assignment of pieces: nothing tells positions but pixels, the loss against NumPy, learning."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import linear_sum_assignment
from support.helpers import random_arrays

from genjax.core import init_state, make_step, named_key, puzzles
from genjax.families import jigsaw_assignment as family

CONFIG = family.Config(
    shape=(12, 18, 2),
    grid=(3, 3),
    gaps=(0, 1),
    missing=2,
    channels=(4, 6),
    width=8,
    layers=1,
    heads=2,
    iterations=4,
    rounds=2,
    border=5,
)
PIECES = 9
PLAIN = dataclasses.replace(CONFIG, rounds=0)


def variables_of(config=CONFIG):
    return random_arrays(functools.partial(family.init, config), scale=0.5)


def images(n=4, shape=CONFIG.shape):
    rng = np.random.default_rng(2)
    return jnp.asarray(rng.uniform(-1, 1, (n, *shape)), jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def scores_of(config, variables, pieces, present=None):
    return family.position_scores(config, variables, pieces, present)


@pytest.mark.parametrize("config", [CONFIG, PLAIN])
def test_scores_tell_pieces_apart_and_follow_their_order(config):
    variables = variables_of(config)
    pieces = puzzles.cut(images(), config.grid)
    scores = np.asarray(scores_of(config, variables, pieces))
    assert np.abs(scores - scores[:, :1]).max() > 0.2
    order = puzzles.random_orders(jax.random.key(4), len(pieces), PIECES)
    moved = np.asarray(scores_of(config, variables, puzzles.shuffle(pieces, order)))
    want = np.take_along_axis(scores, np.asarray(order)[..., None], axis=1)
    np.testing.assert_allclose(moved, want, atol=2e-4)


@pytest.mark.parametrize("gap", [0, 1])
def test_copies_of_one_piece_are_at_every_position_with_equal_probability(gap):
    """Padding, cutting or erosion that depended on the position would tell them apart."""
    one = images(4, (4, 6, 2))
    copies = puzzles.erode(puzzles.cut(jnp.tile(one, (1, 3, 3, 1)), CONFIG.grid), gap)
    scores = np.asarray(scores_of(CONFIG, variables_of(), copies))
    np.testing.assert_allclose(scores, -np.log(PIECES), atol=1e-5)
    orders = np.asarray(puzzles.random_orders(jax.random.key(0), 500, PIECES))
    found = linear_sum_assignment(-scores[0])[1]
    assert np.mean(orders == found[None]) == pytest.approx(1 / PIECES, abs=0.02)


def test_no_network_has_a_lower_loss_than_chance_on_copies_of_one_piece():
    batch = {"x": jnp.tile(images(32, (4, 6, 2)), (1, 3, 3, 1))}
    loss = jax.jit(functools.partial(family.loss, CONFIG))
    nats, aux = loss(variables_of(), batch, jax.random.key(0))
    # Of n copies, each is at most at 1 / n at a position, since columns sum to one.
    assert nats.min() > np.log(PIECES - CONFIG.missing) - 0.05
    assert float(aux["pieces_right"].mean()) == pytest.approx(1 / PIECES, abs=0.06)


def test_a_piece_is_encoded_by_itself():
    variables, pieces = variables_of(), puzzles.cut(images(), CONFIG.grid)

    @jax.jit
    def encode(pieces):
        return family.Solver(CONFIG).apply(variables, pieces, method="encode")

    features, borders = encode(pieces)
    assert sorted(borders) == ["bottom", "left", "right", "top"]
    brighter = pieces.at[:, 1:].add(0.5)
    for before, after in zip(
        jax.tree.leaves((features, borders)), jax.tree.leaves(encode(brighter)), strict=True
    ):
        np.testing.assert_array_equal(before[:, 0], after[:, 0])
        assert (before[:, 1:] != after[:, 1:]).any(-1).mean() > 0.5


def test_features_of_a_border_are_those_of_its_side():
    """The features of a border in maps of stride 2 do not see the opposite side."""
    config = dataclasses.replace(CONFIG, shape=(72, 72, 2), channels=(4, 6, 6))
    variables, pieces = variables_of(config), puzzles.cut(images(1, config.shape), config.grid)

    @jax.jit
    def borders(pieces):
        return family.Solver(config).apply(variables, pieces, method="encode")[1]

    sides = {
        "right": np.s_[:, :, :, -1],
        "left": np.s_[:, :, :, 0],
        "bottom": np.s_[:, :, -1],
        "top": np.s_[:, :, 0],
    }
    opposite = {"right": "left", "left": "right", "bottom": "top", "top": "bottom"}
    before = borders(pieces)
    for name, at in sides.items():
        after = borders(pieces.at[at].add(0.5))
        assert (before[name] != after[name]).any(-1).all()
        np.testing.assert_array_equal(before[opposite[name]], after[opposite[name]])


def log_sinkhorn_by_numpy(scores, iterations):
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    for _ in range(iterations):
        p /= p.sum(-2, keepdims=True)
        p /= p.sum(-1, keepdims=True)
    return np.log(p)


def refined_by_numpy(config, scores, pairs):
    """Mean-field inference of one puzzle, by sums over neighbouring positions."""
    rows, columns = config.grid
    log_p = log_sinkhorn_by_numpy(scores, config.iterations)
    for _ in range(config.rounds):
        p, total = np.exp(log_p), scores.copy()
        for row, column in itertools.product(range(rows), range(columns)):
            here = row * columns + column
            for k in range(rows * columns):
                if column + 1 < columns:
                    total[k, here] += p[:, here + 1] @ pairs[0, k]
                if column:
                    total[k, here] += p[:, here - 1] @ pairs[0, :, k]
                if row + 1 < rows:
                    total[k, here] += p[:, here + columns] @ pairs[1, k]
                if row:
                    total[k, here] += p[:, here - columns] @ pairs[1, :, k]
        log_p = log_sinkhorn_by_numpy(total, config.iterations)
    return log_p


def test_refinement_equals_a_reference():
    config = dataclasses.replace(CONFIG, shape=(8, 18, 2), grid=(2, 3))
    rng = np.random.default_rng(3)
    scores, pairs = rng.normal(size=(2, 6, 6)), rng.normal(size=(2, 2, 6, 6))
    as_float32 = jnp.asarray(scores, jnp.float32), jnp.asarray(pairs, jnp.float32)
    found = jax.jit(functools.partial(family.refine, config))(*as_float32)
    for b in range(2):
        want = refined_by_numpy(config, scores[b], pairs[b])
        np.testing.assert_allclose(found[b], want, rtol=1e-3, atol=1e-4)


def test_true_neighbours_and_one_known_piece_give_the_whole_order():
    config = dataclasses.replace(CONFIG, rounds=10, iterations=20)
    order = np.random.default_rng(5).permutation(PIECES)  # position of each piece
    pairs = np.zeros((1, 2, PIECES, PIECES), np.float32)
    for i, j in itertools.product(range(PIECES), repeat=2):
        (row, column), (other_row, other_column) = divmod(order[i], 3), divmod(order[j], 3)
        pairs[0, 0, i, j] = 4.0 * ((row, column + 1) == (other_row, other_column))
        pairs[0, 1, i, j] = 4.0 * ((row + 1, column) == (other_row, other_column))
    scores = np.zeros((1, PIECES, PIECES), np.float32)
    scores[0, 0, order[0]] = 4.0
    log_p = np.asarray(family.refine(config, jnp.asarray(scores), jnp.asarray(pairs)))
    np.testing.assert_array_equal(log_p[0].argmax(-1), order)


def test_the_loss_equals_a_reference():
    variables, batch, key = variables_of(), {"x": images(8)}, jax.random.key(7)
    nats, aux = jax.jit(functools.partial(family.loss, CONFIG))(variables, batch, key)
    draw = functools.partial(named_key, key, 0)
    order = np.asarray(puzzles.random_orders(draw("order"), 8, PIECES))
    gaps = jax.random.randint(draw("gap"), (8,), 0, 2)
    missing = np.asarray(jax.random.randint(draw("missing"), (8, 1), 0, 3))
    assert len(np.unique(missing)) == 3
    assert len(np.unique(gaps)) == 2
    pieces = puzzles.erode(puzzles.cut(batch["x"], CONFIG.grid), gaps)
    pieces = puzzles.shuffle(pieces, jnp.asarray(order))
    present = np.arange(PIECES)[None] >= missing
    apply = jax.jit(family.Solver(CONFIG).apply)
    scores, pairs = apply(variables, pieces, jnp.asarray(present))
    scores, pairs = np.asarray(scores, np.float64), np.asarray(pairs, np.float64)
    for b in range(8):
        log_p = refined_by_numpy(CONFIG, scores[b], pairs[b])
        rows = np.flatnonzero(present[b])
        right = log_p[rows].argmax(-1) == order[b, rows]
        want = -log_p[rows, order[b, rows]].mean()
        np.testing.assert_allclose(nats[b], want, rtol=1e-4)
        assert float(aux["pieces_right"][b]) == pytest.approx(right.mean())
        assert float(aux["solved"][b]) == right.all()


def test_every_image_has_a_gap_and_missing_pieces_of_its_own(monkeypatch):
    shown = []

    def record(config, variables, pieces, present, *, dropout_key):
        shown.append((pieces, present))
        return jnp.zeros((*pieces.shape[:2], PIECES))

    monkeypatch.setattr(family, "position_scores", record)
    config = dataclasses.replace(CONFIG, gaps=(0, 3), shape=(24, 24, 2))
    batch = {"x": images(40, config.shape)}

    @jax.jit
    def puzzle(key):
        family.loss(config, {}, batch, key)
        return shown.pop()

    found = []
    for seed in range(2):
        pieces, present = puzzle(jax.random.key(seed))
        # A gap of 3 removes two rows at the top and one at the bottom.
        eroded = np.asarray((pieces[:, :, 0] == pieces[:, :, 2]).all((1, 2, 3)))
        assert 8 < eroded.sum() < 32
        counts = np.bincount(PIECES - np.asarray(present).sum(1), minlength=3)
        assert len(counts) == 3
        assert counts.min() > 4
        found.append((eroded, np.asarray(present), np.asarray(pieces)))
    for first, second in zip(*found, strict=True):  # another key, other puzzles
        assert (first != second).any()


def test_missing_pieces_matter_by_their_absence_alone():
    variables, pieces = variables_of(), puzzles.cut(images(), CONFIG.grid)
    present = jnp.arange(PIECES)[None] >= jnp.asarray([[0], [1], [2], [5]])
    scores = np.asarray(scores_of(CONFIG, variables, pieces, present))
    noise = jnp.where(present[..., None, None, None], pieces, 3.0)
    np.testing.assert_array_equal(scores_of(CONFIG, variables, noise, present), scores)
    every = np.asarray(scores_of(CONFIG, variables, pieces))
    np.testing.assert_array_equal(
        scores_of(CONFIG, variables, pieces, jnp.ones_like(present)), every
    )
    for b, missing in enumerate((0, 1, 2, 5)):
        # Missing pieces are alike, and take the positions that the others leave.
        np.testing.assert_allclose(scores[b, :missing], scores[b, :1].repeat(missing, 0), atol=1e-5)
        assert (np.abs(scores[b, missing:] - every[b, missing:]).max() > 0.01) == (missing > 0)
    np.testing.assert_allclose(np.exp(scores).sum(-1), 1.0, rtol=1e-5)


def ramps(rng, n):
    """8x8 images that get brighter to the right and, faster, downwards."""
    slope = rng.uniform(0.8, 1.2, (n, 1, 1, 1)) / 8
    ramp = np.arange(8)[None, None, :, None] + 2 * np.arange(8)[None, :, None, None]
    x = slope * (ramp - 10.5) / 1.5 + rng.normal(0, 0.02, (n, 8, 8, 1))
    return jnp.asarray(x, jnp.float32)


def test_a_small_network_learns_ramps():
    sizes = dict(channels=(8, 16), width=16, layers=1, heads=2, border=8, rounds=1, iterations=5)
    config = family.Config(shape=(8, 8, 1), grid=(2, 2), **sizes)
    optimizer = optax.adam(5e-3)
    state = jax.jit(lambda key: init_state(family, config, optimizer, key))(jax.random.key(0))
    step = jax.jit(make_step(family, config, optimizer), donate_argnums=0)
    rng = np.random.default_rng(0)
    for _ in range(60):
        state, _ = step(state, {"x": ramps(rng, 32)})
    order = puzzles.random_orders(jax.random.key(1), 200, 4)
    pieces = puzzles.shuffle(puzzles.cut(ramps(rng, 200), config.grid), order)
    found = scores_of(config, state.variables, pieces).argmax(-1)
    assert np.mean((found == order).all(-1)) > 0.9


def test_rejects_invalid_settings():
    for changed, match in (
        ({"shape": (72, 72)}, r"`shape` must be \(H, W, C\)"),
        ({"grid": (3, 5)}, "must be multiples of `grid`, got 72x72 for 3x5"),
        ({"grid": (1, 1)}, "a puzzle has at least 2 pieces"),
        ({"gaps": (0, 12)}, "`gaps` must be less than half of a piece's side, 24, got"),
        ({"gaps": ()}, "`gaps` must be a non-empty tuple"),
        ({"missing": 9}, "`missing` must be below 9 pieces, got 9"),
        ({"heads": 3}, "`width` must be a multiple of `heads`, got 128 and 3"),
    ):
        with pytest.raises(ValueError, match=match):
            family.Config(**changed)
