"""part_changes, on generators whose changes are known by construction."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.reading import assert_error_message

from genjax.core import Traits
from genjax.data import Dataset
from genjax.evals import check_metric_requirements, compute_metric
from genjax.evals.part_changes import image_parts, ratio_of_sums, with_part
from genjax.families import cyclegan, gan, puzzle_gan

QUADRANTS = ["upper_left", "upper_right", "lower_left", "lower_right"]
# Rows are parts of the noise, columns quadrants: a quarter, a half and all of the change inside.
LEAK = np.array([[1, 1, 1, 1], [1, 3, 1, 1], [0, 0, 2, 0], [0, 0, 1, 3]], np.float32)


@dataclasses.dataclass(frozen=True)
class Config:
    shape: tuple[int, ...] = (4, 6, 1)
    classes: int = 0


def known(weights, labels=None):
    """Returns a family without parts; noise k is added to each quadrant with its weight."""

    def noise(config, key, n):
        return jnp.sign(jax.random.normal(key, (n, 8)))

    def generate(config, variables, z, label=None):
        parts = z.reshape(-1, 4, 2).sum(axis=2)  # -2, 0 or 2
        quadrants = (parts @ weights / 16).reshape(-1, 2, 2)
        if labels is not None:
            labels.append(label)
            quadrants += label[:, None, None] / 10
        height, width, _ = config.shape
        return quadrants.repeat(height // 2, axis=1).repeat(width // 2, axis=2)[..., None]

    names = ("Config", "tiny", "init", "sample", "batch_spec")
    return types.SimpleNamespace(
        __name__="known",
        traits=lambda config: Traits(data="images", density="none", sample_range=(-1.0, 1.0)),
        noise=noise,
        generate=generate,
        **dict.fromkeys(names, lambda *args: {}),
    )


def measured(family, config=Config(), variables=None, samples=300, seed=0, **settings):
    dataset = Dataset("no data", {"train": {"x": np.zeros((4, *config.shape), np.uint8)}}, 256)
    return compute_metric(
        *("part_changes", family, config, variables, dataset, jax.random.key(seed)),
        samples=samples,
        **settings,
    )


def test_shares_of_a_known_generator():
    found = measured(known(LEAK), batch_size=70)
    shares = dict(zip(QUADRANTS, (0.25, 0.5, 1, 0.75), strict=True))
    assert found.parts == pytest.approx(shares)
    assert found.inside == pytest.approx(0.625)
    assert found.std_error == pytest.approx(0, abs=1e-6)  # equal for all images
    assert (found.area, found.areas) == (0.25, dict.fromkeys(QUADRANTS, 0.25))
    assert (found.n_real, found.n_fake) == (0, 300)
    value, _, unit = found.figure()
    assert (value, unit) == (pytest.approx(62.5), "%")
    # A part's noise changes by 1.5 in the mean: by 0, 2 and 4 with probabilities 3/8, 1/2, 1/8.
    change = 1.5 * LEAK.sum(axis=1) / 16 / 4 / 2  # over quadrants, and the range of 2
    np.testing.assert_allclose(list(found.changes.values()), change, rtol=0.15)


def test_the_last_batch_counts_only_what_is_needed():
    small, large = (measured(known(LEAK), samples=n, batch_size=50) for n in (60, 100))
    assert small.changes != large.changes
    assert small.changes == measured(known(LEAK), samples=60, batch_size=50).changes
    assert small.n_fake == 60


def test_changed_samples_have_the_label_of_the_first():
    labels = []
    found = measured(known(LEAK, labels), Config(classes=3), batch_size=70)
    assert found.parts["lower_left"] == pytest.approx(1)  # a label would change all quadrants
    assert len(labels) == 5  # of one program


def test_standard_error_of_a_ratio():
    rng = np.random.default_rng(0)
    total = rng.uniform(0.5, 2, (200, 2, 1000))
    inside = total * rng.uniform(0, 0.9, total.shape)
    found = [ratio_of_sums(a, b) for a, b in zip(inside, total, strict=True)]
    means = np.array([ratios.mean() for ratios, _ in found])
    np.testing.assert_allclose(means.std(), found[0][1], rtol=0.15)
    np.testing.assert_allclose(found[0][0], inside[0].sum(axis=1) / total[0].sum(axis=1))
    # Images that change more have more weight.
    ratios, _ = ratio_of_sums(np.array([[1.0, 0.0]]), np.array([[1.0, 3.0]]))
    assert ratios == [0.25]


def test_without_any_change_the_share_is_not_a_number():
    found = measured(known(np.zeros((4, 4), np.float32)))
    assert np.isnan(found.inside)
    assert found.as_dict()["inside"] is None


def test_parts_of_a_family_that_has_them():
    config = puzzle_gan.tiny()
    names, masks = image_parts(puzzle_gan, config)
    assert names == ["surround", "face"]
    np.testing.assert_array_equal(masks, puzzle_gan.part_masks(config))
    z, other = np.zeros((3, 8), np.float32), np.ones((3, 8), np.float32)
    found = with_part(puzzle_gan, config, z, other, 1, 2)
    np.testing.assert_array_equal(found, puzzle_gan.exchange(config, z, other, "face"))
    result = measured(
        puzzle_gan, config, puzzle_gan.init(config, jax.random.key(0)), 20, batch_size=20
    )
    assert result.areas == {"surround": 0.75, "face": 0.25}
    assert result.area == 0.5
    assert all(0 < share < 1 for share in result.parts.values())


def test_noise_and_odd_sides_are_divided_as_equally_as_possible():
    names, masks = image_parts(known(LEAK), Config(shape=(3, 5, 2)))
    assert names == QUADRANTS
    assert masks.sum(axis=(1, 2)).tolist() == [2, 3, 4, 6]
    np.testing.assert_array_equal(masks.sum(axis=0), np.ones((3, 5)))
    z, other = jnp.zeros((2, 10)), jnp.ones((2, 10))
    found = [with_part(known(LEAK), Config(), z, other, k, 4)[0].tolist() for k in range(4)]
    assert [np.flatnonzero(row).tolist() for row in found] == [
        *([0, 1, 2], [3, 4, 5], [6, 7], [8, 9])
    ]


def test_requirements():
    data = Dataset("no data", {"train": {"x": np.zeros((4, 3, 3, 1), np.uint8)}}, 256)
    check_metric_requirements("part_changes", puzzle_gan, puzzle_gan.tiny(), data)
    with pytest.raises(ValueError, match="families that implement Implicit, and cyclegan"):
        check_metric_requirements("part_changes", cyclegan, cyclegan.tiny(), data)
    points = dataclasses.replace(gan.tiny(), shape=(9,))
    with pytest.raises(ValueError, match=r"gan generates points of shape \[9\]") as caught:
        check_metric_requirements("part_changes", gan, points, data)
    assert_error_message(str(caught.value))
    with pytest.raises(ValueError, match="samples"):
        measured(known(LEAK), samples=0)
