"""Sheets of translations: which images are in which column, and truth where it is known."""

import dataclasses

import jax
import numpy as np
import pytest
from support.fake_translators import (
    AttributeConfig,
    AttributeTranslators,
    DomainConfig,
    Translators,
)
from support.small import small_run

from genjax.core.protocols import AttributeTranslator, Translator
from genjax.data import Data, Dataset
from genjax.train import sample_grids
from genjax.train.sample_drawing import sample_drawer
from genjax.train.sample_grids import cut, read_grid, save_grid


def make_run(config, samples=12):
    run = small_run("nade", "unused", samples=samples)
    data = Data(data="unused", transform="scale(-1, 1)")
    return dataclasses.replace(run, model=config, data=data)


def drawn(run, family, dataset):
    """Images of a sheet in [0, 255], by title, `[rows, H, W, C]`."""
    drawer = sample_drawer(run, family, dataset)
    variables = family.init(run.model, jax.random.key(0))
    images = np.asarray(drawer.draw(variables, jax.random.key(1)))
    images = images.reshape(-1, len(drawer.titles), *images.shape[1:])
    found = dict(zip(drawer.titles, images.swapaxes(0, 1), strict=True))
    return {title: (column + 1) * 127.5 for title, column in found.items()}


def levels(n, start=0, channels=1):
    """Images `[n, 4, 4, C]` of one level each, start, start + 1, ..."""
    x = np.arange(start, start + n, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(x, (n, 4, 4, channels)).copy()


def near(found, expected):
    np.testing.assert_allclose(found[:, 0, 0, 0], expected, atol=1e-3)


def test_fakes_implement_the_protocol():
    assert isinstance(Translators(), Translator)
    assert isinstance(AttributeTranslators(), AttributeTranslator)
    assert not isinstance(Translators(), AttributeTranslator)


def test_columns_are_both_translations_and_both_cycles_beside_the_truth():
    split = {"x": levels(5), "y": levels(5, 100)}
    dataset = Dataset("pairs", {"train": {}, "test": split}, 256, paired=frozenset({"test"}))
    dataset.splits["train"] = {k: v[:2] for k, v in split.items()}
    found = drawn(make_run(DomainConfig(), 18), Translators(), dataset)
    assert list(found) == ["a", "a to b", "b, true", "b to a", "a to b to a", "b to a to b"]
    rows = np.array([0, 2, 4])  # evenly spaced, first and last among them
    near(found["a"], rows)
    near(found["a to b"], 255 - rows)
    near(found["b, true"], 100 + rows)
    near(found["b to a"], (100 + rows + 127.5) / 2)
    near(found["a to b to a"], (255 - rows + 127.5) / 2)
    near(found["b to a to b"], 255 - (100 + rows + 127.5) / 2)


def test_unpaired_domains_have_rows_of_their_own():
    split = {"x": levels(3), "y": levels(7, 100)}
    dataset = Dataset("domains", {"train": split}, 256, unpaired=True)
    found = drawn(make_run(DomainConfig(), 18), Translators(), dataset)
    assert "b, true" not in found
    near(found["a"], [0, 1, 2])
    near(found["b"], [100, 103, 106])


def test_one_direction_has_no_cycle_and_validation_comes_first():
    parts = {
        s: {"x": levels(2, i), "y": levels(2, 50 + i)} for i, s in enumerate(("train", "test"))
    }
    parts["validation"] = {"x": levels(2, 200), "y": levels(2, 210)}
    dataset = Dataset("pairs", parts, 256, paired=frozenset(parts))
    found = drawn(make_run(DomainConfig(targets=("b",)), 6), Translators(), dataset)
    assert list(found) == ["a", "a to b", "b, true"]
    near(found["a"], [200, 201])
    near(found["b, true"], [210, 211])


def test_there_is_a_row_where_fewer_samples_are_requested_than_columns():
    dataset = Dataset("domains", {"train": {"x": levels(3), "y": levels(3)}}, 256)
    near(drawn(make_run(DomainConfig(), 1), Translators(), dataset)["a"], [0])


@pytest.mark.parametrize("known", [True, False])
def test_each_attribute_is_changed_alone(known):
    attributes = np.array([[1, 0, 0], [0, 1, 1]], np.uint8)
    split = {"x": levels(2, channels=3), "attributes": attributes}

    def render(rows, attributes):
        return 255 * attributes[:, None, None].repeat(4, 1).repeat(4, 2).astype(np.uint8)

    dataset = Dataset("faces", {"train": split}, 256, render=render if known else None)
    found = drawn(make_run(AttributeConfig(), 14), AttributeTranslators(), dataset)
    wanted = {
        "red": [[1, 0, 0], [1, 0, 1]],  # exclusive with green: one of them is set
        "green": [[0, 1, 0], [0, 1, 1]],
        "bold": [[1, 0, 1], [0, 1, 0]],  # flipped
    }
    near(found["input"], [0, 1])
    for name, vectors in wanted.items():
        np.testing.assert_allclose(found[name][:, 0, 0], 255 * np.array(vectors), atol=1e-3)
        if known:
            np.testing.assert_allclose(found[f"{name}, true"], found[name], atol=1e-3)
    assert list(found)[1:3] == (["red", "red, true"] if known else ["red", "green"])


def test_the_truth_on_a_sheet_is_cropped_as_the_input():
    def render(rows, attributes):
        x = np.full((len(attributes), 6, 6, 3), 9, np.uint8)
        x[:, 1:5, 1:5] = 255 * attributes[:, None, None]
        return x

    attributes = np.array([[1, 0, 0], [0, 1, 1]], np.uint8)
    split = {"x": render(None, attributes), "attributes": attributes}
    run = make_run(AttributeConfig(), 14)
    run = dataclasses.replace(run, data=Data(data="unused", transform="center_crop(4)|scale(-1,1)"))
    dataset = Dataset("faces", {"train": split}, 256, render=render)
    found = drawn(run, AttributeTranslators(), dataset)
    assert found["bold, true"].shape == (2, 4, 4, 3)
    np.testing.assert_allclose(found["bold, true"], found["bold"], atol=1e-3)


def test_titles_are_in_the_file_and_the_strip_shows_translations(tmp_path):
    paths = {}
    for step in (1, 2):
        paths[step] = tmp_path / f"step_{step}.png"
        images = np.stack([np.full((4, 4, 1), v / 255) for v in (0, 10 * step, 0, 10 * step + 1)])
        save_grid(paths[step], images, titles=("a", "a to b"))
    page, tiles = read_grid(paths[2])
    assert tiles.titles == ("a", "a to b")
    assert (tiles.columns, tiles.rows) == (2, 2)
    assert cut(page, tiles)[:, 0, 0, 0].tolist() == [0, 20, 0, 21]
    data, steps, _ = sample_grids.strip(paths)
    path = tmp_path / "strip.png"
    path.write_bytes(data)
    from PIL import Image

    strip = np.asarray(Image.open(path))
    assert steps == [1, 2]
    gap, size = tiles.gap, tiles.height
    corners = [gap, gap + size + gap]
    assert [[strip[t, c, 0] for c in corners] for t in corners] == [[10, 11], [20, 21]]
