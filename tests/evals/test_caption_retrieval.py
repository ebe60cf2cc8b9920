"""The metric `caption_retrieval` on scores that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.number_drawers import (
    SCORER,
    STEP,
    Config,
    Words,
    dataset,
    drawer,
    fake,
    shown,
    true_scores,
)

from genjax.core import Traits
from genjax.evals import check_metric_requirements, compute_metric
from genjax.evals.caption_retrieval import retrieval

KEY = jax.random.key(3)


def measure(family=SCORER, data=None, **settings):
    settings = {"batch_size": 64, **settings}
    return compute_metric(
        "caption_retrieval", family, Config(), None, data or dataset(), KEY, **settings
    )


def test_true_scores_find_every_caption_and_image():
    """Both captions of a pair are right, and count as one candidate."""
    got = measure()
    assert got.candidates == 12  # pairs of the test split
    assert got.captions == {"test": 24, "unseen": 6, "bindings": 2}
    assert got.classified == {"test": 12, "unseen": 3, "bindings": 1}
    for split, n in {"test": 12, "unseen": 3, "bindings": 1}.items():
        table = got.tables[split]
        for quantity in ("image_to_text", "text_to_image", "classification"):
            assert table["model"][quantity][0] == 1
            chance = 1 / n  # two of 2 n captions are right in a classification
            assert table["chance"][quantity][0] == pytest.approx(chance)
    assert got.figure()[0] == 100


def test_a_table_of_scores_gives_the_same_without_a_limit():
    def table(config, variables, images, text):
        return jax.vmap(
            lambda one: true_scores(
                config, variables, jnp.broadcast_to(one, (len(text), *one.shape)), text
            )
        )(images)

    family = fake("table", caption_scores=None, score_table=table)
    few, whole = measure(family, samples=144), measure()
    assert few.as_dict() == {**whole.as_dict(), "extractor": "table"}


def test_a_score_that_does_not_read_the_text_finds_nothing():
    blind = fake("blind", caption_scores=lambda config, v, images, text: images.sum((1, 2, 3)))
    table = measure(blind).tables["test"]["model"]
    assert table["image_to_text"][0] == table["classification"][0] == 0  # equal scores
    assert table["text_to_image"][0] <= 1 / 12 + 1e-9  # the brightest image, for every text


def test_half_of_the_words():
    """With the first number alone, the captions of four pairs have equal scores, or of three."""

    def first(config, variables, images, text):
        return -jnp.abs(images[:, 0, 0, 0] * 255 - STEP * shown(text)[:, 0])

    table = measure(fake("first", caption_scores=first)).tables["unseen"]["model"]
    assert table["image_to_text"][0] == 1  # the held-out pairs have different first numbers
    assert measure(fake("first", caption_scores=first)).tables["test"]["model"][
        "image_to_text"
    ] == (0, 0)


def test_densities_of_images_are_compared_after_their_mean_is_subtracted():
    """Images differ by 1000 nats whatever the text."""

    def density(config, variables, images, text):
        return true_scores(config, variables, images, text) + 1000 * images[:, 1, 0, 0]

    exports = {"caption_scores": density}
    family = fake("density", **exports)
    assert measure(family).tables["test"]["model"]["text_to_image"][0] < 0.5
    family.traits = lambda config: Traits(data="images", density="bound")
    assert measure(family).tables["test"]["model"]["text_to_image"][0] == 1


def test_retrieval_by_hand():
    scores = np.array([[3.0, 1, 2], [5, 4, 0], [0, 0, 1]])
    model = retrieval(scores, density=False)["model"]
    assert model["image_to_text"][0] == pytest.approx(2 / 3)  # image 1 prefers text 0
    assert model["text_to_image"][0] == pytest.approx(1 / 3)  # text 1
    scores[1] = np.nan
    broken = retrieval(np.nan_to_num(scores, nan=-np.inf), density=True)["model"]
    assert broken["image_to_text"][0] == pytest.approx(2 / 3)


def test_classification_has_fewer_images_of_many_captions():
    got = measure(samples=50)  # 250 pairs
    assert got.candidates == 7
    assert got.classified == {"test": 7, "unseen": 3, "bindings": 1}
    got = measure(samples=33)  # 165 pairs
    assert (got.candidates, got.classified["test"]) == (5, 5)
    got = measure(samples=16)  # 80 pairs, 3 images
    assert (got.candidates, got.classified["test"]) == (4, 0)
    assert "classification" not in got.tables["test"]["model"]
    assert "classification" in got.tables["unseen"]["model"]


def test_requirements():
    check_metric_requirements("caption_retrieval", SCORER, Config(), dataset())
    check_metric_requirements("caption_retrieval", SCORER, Config(), dataset(caption_check=None))
    with pytest.raises(ValueError, match="implement CaptionScores, and drawer does not"):
        check_metric_requirements("caption_retrieval", drawer(), Config(), dataset())
    with pytest.raises(ValueError, match="applies to families that score captions"):
        measure(drawer())
    data = dataset()
    for split in data.splits.values():
        del split["caption"]
    with pytest.raises(ValueError, match="numbers has no captions; use data with captions"):
        check_metric_requirements("caption_retrieval", SCORER, Config(), data)
    with pytest.raises(ValueError, match="numbers has no captions in test"):
        measure(data=data)
    with pytest.raises(ValueError, match="set --tokenizer words, bpe or characters"):
        measure(data=dataset(tokenizer=None))
    assert measure(data=dataset(tokenizer=None), tokenizer=Words()).figure()[0] == 100
