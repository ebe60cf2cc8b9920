"""Rows of jigsaw puzzles: how images are cut, and which losses and lists they have."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from experiments.examples import tour
from experiments.jigsaw_pacs import CLASSES
from experiments.table import rows
from genjax import families
from genjax.core.puzzles import cut
from genjax.data import make_transform

ROWS = {name: run for name, run in rows().items() if name.startswith("jigsaw_")}
PACS = {name: run for name, run in ROWS.items() if name.startswith("jigsaw_pacs:")}
CUT_WITHOUT_RESIZING = [name for name, run in PACS.items() if "resize" not in run.data.transform]


def evaluated(run, image):
    """Returns the image `[96, 96, 3]` as it is evaluated, in its own levels."""
    out = make_transform(run.data.transform, 256, training=False)(
        {"x": image[None]}, jax.random.key(0)
    )["x"]
    assert out.shape[1:] == run.model.shape
    return (np.asarray(out) + 1) * 255 / 2


@pytest.mark.parametrize("row", CUT_WITHOUT_RESIZING)
def test_borders_of_pieces_are_not_on_edges_of_jpeg_blocks(row):
    """Blocks of 8 begin at the same pixel in every piece, so they tell no position."""
    run = PACS[row]
    grid = families.get(run.family).grid(run.model)
    columns = np.broadcast_to(np.arange(96, dtype=np.uint8)[None, :, None], (96, 96, 3))
    for axis, image in enumerate((columns.swapaxes(0, 1), columns)):
        pieces = np.round(np.asarray(cut(evaluated(run, image), grid)))[0]  # [N, h, w, C]
        first = pieces[:, 0, 0, 0]
        assert len(set(first)) == grid[axis]
        assert set(first % 8) in ({4}, {7})
        assert pieces.shape[1 + axis] % 8 == 0


@pytest.mark.parametrize("row", PACS)
def test_copies_of_one_piece_are_equal_after_the_transform(row):
    """A phase of an interpolation, or a resized frame of an image, would tell them apart."""
    run = PACS[row]
    grid = families.get(run.family).grid(run.model)
    period = 32 if grid == (2, 2) else 16 if grid == (4, 4) else 24
    one = np.random.default_rng(0).integers(0, 256, (period, period, 3), np.uint8)
    image = np.tile(one, (96 // period, 96 // period, 1))
    pieces = np.asarray(cut(evaluated(run, image), grid))[0]
    np.testing.assert_allclose(pieces, np.broadcast_to(pieces[:1], pieces.shape), atol=1e-2)


def test_small_images_of_pacs_have_the_borders_of_the_large_ones():
    """Half of an image of 96 is white: the border is at the same share of both crops."""
    image = np.zeros((96, 96, 3), np.uint8)
    image[:, 36:] = 255  # from the second column of pieces on
    for row in ("head", "gan_1000_cpu"):
        run = PACS[f"jigsaw_pacs:{row}"]
        pieces = np.asarray(cut(evaluated(run, image), (3, 3)))[0]
        means = pieces.mean((1, 2, 3)).reshape(3, 3).mean(0)
        np.testing.assert_allclose(means, [0, 255, 255], atol=6)


def test_rows_have_the_classes_of_the_paper():
    for run in PACS.values():
        assert run.data.classes == CLASSES == ("house", "person", "guitar", "elephant")
        assert run.data.validation == 400  # the border weight is chosen there
        assert run.train.metrics == ("puzzle",)


def test_ablations_leave_out_the_losses_of_their_names():
    """Li et al. 2021, tables V and VII."""

    def settings(name):
        model = PACS[f"jigsaw_pacs:{name}"].model
        return model.num_permutations, model.adversarial, model.boundary, model.labels

    assert {name: settings(name) for name in ("gan_10", "gan_100", "gan_1000")} == {
        "gan_10": (10, 1, 1, "reference"),
        "gan_100": (100, 1, 1, "reference"),
        "gan_1000": (1000, 1, 1, "reference"),
    }
    assert {n: settings(n)[1:3] for n in ("reference_only", "no_gan", "no_boundary")} == {
        "reference_only": (0, 0),
        "no_gan": (0, 1),
        "no_boundary": (1, 0),
    }
    ablations = ("gan_10", "gan_100", "reference_only", "no_gan", "no_boundary")
    for name, size in itertools.product(ablations, ("", "_cpu")):
        run = PACS[f"jigsaw_pacs:{name}{size}"]
        # On a CPU longer lists have larger batches than a list of 10.
        same_batches = "gan_10" if size and name != "gan_100" else "gan_1000"
        full = PACS[f"jigsaw_pacs:{same_batches}{size}"]
        listed = {"gan_10": 10, "gan_100": 100}.get(name, 10 if size else 1000)
        assert run.model.num_permutations == listed
        same = ("num_permutations", "adversarial", "boundary")
        model = dataclasses.replace(run.model, **{f: getattr(full.model, f) for f in same})
        assert dataclasses.replace(run, model=model, experiment="", figure=full.figure) == (
            dataclasses.replace(full, experiment="")
        )


def test_figures_are_those_of_the_paper():
    figures = {name.partition(":")[2]: run.figure.paper for name, run in PACS.items()}
    gans = [name for name in figures if not name.startswith("head")]
    assert all(figures[name] == figures[name.removesuffix("_cpu")] for name in gans)
    figures = {name: paper for name, paper in figures.items() if not name.endswith("_cpu")}
    assert figures == {
        "head": 79.0,
        "head_2x2": 83.2,
        "head_4x4": None,
        "gan_10": 85.6,
        "gan_100": 83.3,
        "gan_1000": 79.0,
        "reference_only": 66.4,
        "no_gan": 68.1,
        "no_boundary": 75.8,
    }
    assert all("PACS alone" in run.figure.difference for run in PACS.values() if run.figure.paper)


def test_the_tour_has_the_model_of_the_digits():
    assert tour.RUNS["jigsaw_assignment"].model == ROWS["jigsaw_digits:digits"].model
