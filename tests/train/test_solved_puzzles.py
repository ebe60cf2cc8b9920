"""Puzzles that a finished run has solved for a page: numbers of pieces, and the file."""

import dataclasses

import numpy as np
import pytest
from support import fake_solvers
from support.fake_solvers import SOLVERS, Config, puzzle_images, solver_run

from genjax import families
from genjax.data import Dataset
from genjax.train import fit
from genjax.train.sample_grids import encode_png
from genjax.train.solved_puzzles import (
    IMAGES,
    MAX_BYTES,
    SHUFFLES,
    read_puzzles,
    solve_puzzles,
    write_puzzles,
)

CONFIG = Config(shape=(8, 12, 1), grid=(2, 3), gaps=(0, 1), missing=2)


def solved(name, tmp_path, skill, x=None, config=CONFIG):
    x = puzzle_images(9, config) if x is None else x
    dataset = Dataset("puzzles", {"train": {"x": x[:1]}, "test": {"x": x}}, 256)
    variables = {"params": {"skill": np.float32(skill)}}
    run = solver_run(name, tmp_path, config)
    return solve_puzzles(run, SOLVERS[name], dataset, variables)


def test_every_gap_and_number_of_missing_pieces_is_solved(tmp_path):
    images, found = solved("position_solver", tmp_path, 1.0)
    x = puzzle_images(9, CONFIG)[[0, 2, 3, 5, 6, 8]]  # evenly spaced
    np.testing.assert_array_equal(images, x.repeat(3, 3))
    counts = {}
    for puzzle in found.puzzles:
        case = puzzle.image, puzzle.gap, len(puzzle.missing)
        counts[case] = counts.get(case, 0) + 1
        assert all(puzzle.found[k] == k for k in set(range(6)) - {*puzzle.missing})
        assert all(puzzle.probability[k] == 0 for k in puzzle.missing)
    each = {0: 1, 1: SHUFFLES, 2: SHUFFLES}  # pieces are missing at random
    cases = [(i, g, m) for i in range(IMAGES) for g in (0, 1) for m in each]
    assert counts == {case: each[case[2]] for case in cases}
    assert found.any_order
    assert len({p.missing for p in found.puzzles}) > SHUFFLES


@pytest.fixture(autouse=True)
def solvers_are_families(monkeypatch):
    get = families.get
    monkeypatch.setattr(families, "get", lambda name: SOLVERS.get(name) or get(name))


@pytest.mark.parametrize("name", SOLVERS)
def test_pieces_are_numbered_by_their_true_positions(name, tmp_path):
    """A solver of no skill puts piece k of those given at position k, or takes the first order."""
    config = dataclasses.replace(CONFIG, missing=0)
    _, found = solved(name, tmp_path, 0.0, config=config)
    for puzzle in found.puzzles:
        assert [puzzle.found[piece] for piece in puzzle.order] == list(range(6))
        np.testing.assert_allclose(puzzle.probability, 1 / 6, atol=1e-3)
    assert len({p.order for p in found.puzzles}) > 3
    if name == "permutation_solver":
        listed = {tuple(order) for order in SOLVERS[name].permutations(config).tolist()}
        assert {p.order for p in found.puzzles} <= listed
        assert not found.any_order


def test_pieces_of_equal_pixels_are_known(tmp_path):
    x = puzzle_images(1, CONFIG)
    x[:, 4:, 8:] = x[:, 4:, :4]
    _, found = solved("position_solver", tmp_path, 1.0, x)
    assert {p.same for p in found.puzzles} == {(0, 1, 2, 3, 4, 3)}
    # Only their borders differ, which a gap of one pixel leaves out.
    x[:, 4, 8:] = 0
    _, found = solved("position_solver", tmp_path, 1.0, x)
    assert {p.gap: p.same[5] for p in found.puzzles} == {0: 5, 1: 3}


def test_the_file_holds_images_and_solutions(tmp_path):
    images, found = solved("position_solver", tmp_path, 0.3)
    write_puzzles(tmp_path, images, found)
    assert read_puzzles(tmp_path / "puzzles.png") == found
    # Noise does not compress: fewer images are written.
    large = np.random.default_rng(0).integers(0, 256, (6, 120, 180, 3), np.uint8)
    sized = dataclasses.replace(found, height=120, width=180)
    write_puzzles(tmp_path, large, sized)
    kept = read_puzzles(tmp_path / "puzzles.png")
    assert 1 <= kept.images < 6
    assert (tmp_path / "puzzles.png").stat().st_size <= MAX_BYTES
    assert kept.puzzles == tuple(p for p in found.puzzles if p.image < kept.images)


@pytest.mark.parametrize(
    "change",
    [
        {"found": (0, 0, 1, 2, 3, 4)},
        {"order": (0, 1, 2)},
        {"probability": (2.0,) * 6},
        {"missing": (6,)},
        {"image": 3},
        {"gap": 4},
        {"same": ("</script>",) * 6},
    ],
)
def test_rejects_wrong_numbers(tmp_path, change):
    images, found = solved("position_solver", tmp_path, 1.0, puzzle_images(2, CONFIG))
    values = dataclasses.asdict(found)
    first, *others = values["puzzles"]
    values["puzzles"] = [list(puzzle.values()) for puzzle in (first | change, *others)]
    path = tmp_path / "puzzles.png"
    path.write_bytes(encode_png(np.concatenate(images, axis=1), values))
    with pytest.raises(ValueError, match=r"must be|has wrong numbers|has image|is not"):
        read_puzzles(path)


def test_a_run_writes_its_puzzles_at_the_end(tmp_path, monkeypatch):
    fake_solvers.register(monkeypatch)
    run = solver_run("position_solver", tmp_path, CONFIG, steps=1)
    fit(run, tmp_path / "run", quiet=True)
    assert read_puzzles(tmp_path / "run" / "samples" / "puzzles.png").grid == (2, 3)
