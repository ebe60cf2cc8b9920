"""The metric `caption_accuracy`: the share of drawn images that show what their captions say."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import named_key
from genjax.core.protocols import ScoreTable, TextToImage, TokenDensity
from genjax.evals.batching import map_batches, map_split
from genjax.evals.caption_reading import CaptionReader, caption_splits, distinct_captions
from genjax.evals.caption_scoring import (
    CaptionScorer,
    own_is_highest,
    own_scorer,
    pair_scores,
    ranker,
)
from genjax.evals.caption_texts import first_captions, image_captions
from genjax.evals.context import EvalContext, random_rows
from genjax.evals.feature_extractor import to_unit
from genjax.evals.metric_result import Estimate, Table, TableResult
from genjax.evals.negative_log_likelihood import mean_and_error

BEST_OF = (8, 32)
GUIDED_DRAWS = 8  # images per caption of every guidance scale
REAL = 2000  # real images per split, at most
DECODED = 500  # of them encoded and decoded
CANDIDATES = 100  # captions of `r_precision`
RANKED = 500  # its images of each row, at most
NONE = np.zeros(0, int)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionAccuracyResult(TableResult):
    """Images drawn of captions, checked by `Dataset.caption_check`; one table per split.

    Tables are those of `test` (captions of training), `unseen` (held-out captions) and `bindings`
    (captions with a held-out combination of words), where the data has them. Rows are

    * `model`: all draws with the default options;
    * `ranked`, `own_scores`: of 8 and 32 draws the one of highest score, by the ranker and by the
      family's own `caption_scores`;
    * `any`: whether one of 8 or 32 draws is right, which no re-ranking exceeds;
    * `guidance_1`, ...: 8 draws with a guidance scale, of families that have the option; that of
      the default scale is `model`;
    * `real`: real images and their own captions: the error of the check;
    * `decoded`: real images encoded as tokens and decoded, of families with image tokens;
    * `chance`: a random image and a random caption.

    Quantities, as means over scenes with their standard errors, where captions that say the same
    (`CaptionCheck.canonical`) are of one scene and are averaged first:

    * `right_1`, `right_8`, `right_32`: share of captions whose image is right, chosen among so many
      draws;
    * `distance`: root mean square difference of pixels in [0, 1] between two images of a caption;
    * `r_precision`, of the rows `model`, `real` and `chance`: share of images whose own caption has
      the highest score of 100 captions of different scenes, or of as many as the split has, by a
      ranker with a `score_table`; an equal score is wrong. It also compares models none of whose
      images is exactly right. At most 500 images are used, equally many per caption. R-precision
      of Xu et al. 2018, "AttnGAN" (arXiv:1711.10485), section 4; there the 99 other captions are
      drawn separately for every image.

    Attributes:
      split: `unseen`, or `test` where there are no held-out captions.
      right: `right_1` of `model` in that split.
      std_error: its standard error.
      real_right: of `real`.
      captions: number of captions, by split.
      draws: images of each caption.
      ranker: name of its family, or "".
      classifier_error: share of parts of test images that the classifier of the check does not
        recognise; None where a rule reads images.
    """

    FIGURE: ClassVar = ("right", "std_error", "%")
    FRACTIONS: ClassVar = frozenset((*(f"right_{n}" for n in (1, *BEST_OF)), "r_precision"))

    split: str
    right: float
    std_error: float
    real_right: float
    captions: dict[str, int]
    draws: int
    ranker: str
    classifier_error: float | None


def caption_accuracy(
    c: EvalContext,
    *,
    samples: int = 8000,
    draws: int = 32,
    guidance: Sequence[float] = (1.0, 2.0, 3.0),
) -> CaptionAccuracyResult:
    """Computes `CaptionAccuracyResult` of `samples` images per split.

    Args:
      c: the model and its data.
      samples: images per split: `draws` of each of `samples // draws` different captions, the same
        ones for every model, or of all captions if there are fewer.
      draws: images of each caption.
      guidance: scales, drawn where the family has the option `guidance`.

    Raises:
      ValueError: the family does not draw images of texts, or the data does not check captions.
    """
    if not isinstance(c.family, TextToImage):
        raise ValueError(
            "caption_accuracy applies to families that draw images of texts (`TextToImage`); use"
            " another metric."
        )
    checks.positive(samples=samples, draws=draws)
    draws = min(draws, samples)
    reader, ranked = CaptionReader.of(c), ranker(c)
    scorers = {"ranked": ranked, "own_scores": own_scorer(c)}
    used = {name: scorer for name, scorer in scorers.items() if scorer is not None}
    options = c.family.sampling_options(c.config)
    default = _Drawer(c, reader, draws, used)
    guided = {
        f"guidance_{scale:g}": default
        if scale == options["guidance"]
        else _Drawer(c, reader, min(draws, GUIDED_DRAWS), {}, guidance=float(scale))
        for scale in (guidance if "guidance" in options else ())
    }
    all_pairs = _table_scores(c, ranked)
    tables, counts, real_images = {}, {}, 0
    for split in caption_splits(c.dataset):
        captions = distinct_captions(c.dataset, split, max(1, samples // draws))
        scenes = reader.canonical(captions)
        kept = NONE if all_pairs is None else one_of_each(scenes, CANDIDATES)
        drawn = default(split, captions, kept)
        table: Table = {"model": _drawn_quantities(drawn, scenes)}
        for name in (*used, "any"):
            scores = drawn.scores.get(name, drawn.right)
            best = {n: best_of(drawn.right, scores, n) for n in BEST_OF if n <= draws}
            if best:
                table[name] = {f"right_{n}": scene_mean(x, scenes) for n, x in best.items()}
        for name, drawer in guided.items():
            one = drawn if drawer is default else drawer(split, captions)
            table[name] = _drawn_quantities(one, scenes)
        rows, images, own = _real(c, reader, split)
        table |= rows | {"chance": {"right_1": (reader.check.chance, 0.0)}}
        if all_pairs is not None:
            repeated = scenes[kept].repeat(drawn.images.shape[1])[:, None]
            flat = drawn.images.reshape(-1, *images.shape[1:])
            candidates = _candidates(c, reader, split, captions[kept])
            if len(candidates[0]) > 1:
                table["model"]["r_precision"] = r_precision(all_pairs, *candidates, flat, repeated)
                table["real"]["r_precision"] = r_precision(all_pairs, *candidates, images, own)
                table["chance"]["r_precision"] = (1 / len(candidates[0]), 0.0)
        tables[split] = table
        counts[split] = len(captions)
        real_images += len(images)
    split = "unseen" if "unseen" in tables else next(iter(tables))
    right = tables[split]["model"]["right_1"]
    return CaptionAccuracyResult(
        split=split,
        right=right[0],
        std_error=right[1],
        real_right=tables[split]["real"]["right_1"][0],
        captions=counts,
        draws=draws,
        ranker="" if ranked is None else ranked.name,
        classifier_error=reader.classifier_error,
        tables=tables,
        n_real=real_images,
        n_fake=draws * sum(counts.values()),
        extractor="caption_check",
        seed=c.seed,
    )


def one_of_each(scenes: np.ndarray, n: int) -> np.ndarray:
    """Returns n rows with different values of `scenes` `[N]`, the same ones on every call, or all
    if there are fewer."""
    first = np.unique(scenes, return_index=True)[1]
    return np.sort(first[random_rows(len(first), n)])


def scene_mean(values: np.ndarray, scenes: np.ndarray) -> Estimate:
    """Returns the mean over scenes of the means of their values `[N]`, and its standard error.

    >>> scene_mean(np.array([1.0, 1.0, 3.0]), np.array(["a", "a", "b"]))
    (2.0, 1.0)
    """
    index = np.unique(scenes, return_inverse=True)[1]
    return mean_and_error(np.bincount(index, values) / np.bincount(index))


def r_precision(
    scores: Callable[[np.ndarray, np.ndarray], np.ndarray],
    captions: np.ndarray,
    scenes: np.ndarray,
    images: np.ndarray,
    own: np.ndarray,
) -> Estimate:
    """Estimates how often images have the highest score with their own caption.

    Args:
      scores: `scores(images, captions)`, those of all pairs.
      captions: candidates `[C]`.
      scenes: their scenes `[C]`, all different.
      images: `[I, *shape]` in [0, 1]; of those with a candidate the first 500 are used.
      own: scenes of the images, `[I, K]`.
    """
    true = (own[:, :, None] == scenes).any(axis=1)  # [I, C]
    rows = np.flatnonzero(true.any(axis=1))[:RANKED]
    right = own_is_highest(scores(images[rows], captions), true[rows])
    return scene_mean(right, true[rows].argmax(axis=1))


def best_of(right: np.ndarray, scores: np.ndarray, n: int) -> np.ndarray:
    """Returns per caption how often the best of n draws is right, `[C]`.

    The draws are split into groups of n, of which the rest is left out. A score that is not a
    number is the lowest.

    Args:
      right: bool `[C, N]`.
      scores: `[C, N]`; the highest is chosen.
      n: draws to choose from.
    """
    groups = right.shape[1] // n
    scores = np.nan_to_num(np.asarray(scores, np.float64), nan=-np.inf)
    parts = [a[:, : groups * n].reshape(len(a), groups, n) for a in (right, scores)]
    chosen = parts[1].argmax(axis=-1)[..., None]
    return np.take_along_axis(parts[0], chosen, -1)[..., 0].mean(axis=1)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Images drawn of captions.

    Attributes:
      right: whether they show the caption, bool `[C, N]`.
      scores: of each scorer, `[C, N]`.
      distance: mean over pairs of images of a caption, `[C]`; NaN of single images.
      images: some images of the captions that are kept, `[kept, n, *shape]` in [0, 1].
    """

    right: np.ndarray
    scores: dict[str, np.ndarray]
    distance: np.ndarray
    images: np.ndarray


class _Drawer:
    """Draws several images of each caption, scores and checks them, a batch at a time."""

    def __init__(
        self,
        c: EvalContext,
        reader: CaptionReader,
        draws: int,
        scorers: Mapping[str, CaptionScorer],
        **options: Any,
    ):
        self.c, self.reader, self.draws, self.scorers = c, reader, draws, scorers
        low, high = c.sample_range

        @jax.jit
        def draw(variables: Any, others: Any, key: jax.Array, **texts: jax.Array) -> Any:
            texts = {name: jnp.repeat(text, draws, axis=0) for name, text in texts.items()}
            text = texts.pop("text")
            sampled = c.family.sample(c.config, variables, key, len(text), text=text, **options)
            images = jnp.clip((sampled - low) / (high - low), 0, 1).astype(jnp.float32)
            scores = {k: s.scores(others[k], images, texts[k]) for k, s in scorers.items()}
            return jax.tree.map(
                lambda a: a.reshape(-1, draws, *a.shape[1:]), {"images": images, "scores": scores}
            )

        self._draw: Callable[..., Any] = functools.partial(
            draw, c.variables, {k: s.variables for k, s in scorers.items()}
        )

    def __call__(self, split: str, captions: np.ndarray, kept: np.ndarray = NONE) -> Drawn:
        """Draws images of captions `[C]` of a split; keeps some of the rows `kept`, up to 500."""
        texts = {"text": self.c.tokens(captions)}
        texts |= {k: s.text(captions) for k, s in self.scorers.items()}
        key = named_key(self.c.key, 0, f"captions of {split}")
        size = max(1, self.c.batch_size // self.draws)
        each = RANKED // max(1, len(kept))
        right, distance, scores, some, done = [], [], [], [], 0
        for batch in map_batches(self._draw, texts, key, size):
            images = batch["images"]  # [b, draws, *shape]
            rows = np.arange(done, done + len(images))
            done += len(images)
            some.append(images[np.isin(rows, kept), :each])
            own = np.repeat(captions[rows], self.draws)
            matches = self.reader.matches(images.reshape(-1, *images.shape[2:]), own)
            right.append(matches.reshape(-1, self.draws))
            distance.append([pair_distance(x) for x in images])
            scores.append(batch["scores"])
        joined = jax.tree.map(lambda *parts: np.concatenate(parts), *scores)
        joined_distance, images = np.concatenate(distance), np.concatenate(some)
        return Drawn(np.concatenate(right), joined, joined_distance, images)


def pair_distance(images: np.ndarray) -> float:
    """Returns the mean of the root mean square differences of all pairs; NaN of one image."""
    if len(images) < 2:
        return float("nan")
    flat = images.reshape(len(images), -1).astype(np.float64)
    squares = (flat**2).sum(axis=1)
    one, other = np.triu_indices(len(flat), 1)
    between = squares[one] + squares[other] - 2 * (flat @ flat.T)[one, other]
    return float(np.sqrt(np.maximum(between, 0) / flat.shape[1]).mean())


def _drawn_quantities(drawn: Drawn, scenes: np.ndarray) -> dict[str, Estimate]:
    """Returns `right_1` and `distance` of images drawn of captions of `scenes` `[C]`."""
    right = scene_mean(drawn.right.mean(axis=1), scenes)
    return {"right_1": right} | _distance(drawn.distance, scenes)


def _distance(values: np.ndarray, scenes: np.ndarray) -> dict[str, Estimate]:
    """Returns `distance` over the captions that have several images."""
    known = np.isfinite(values)
    return {"distance": scene_mean(values[known], scenes[known])} if known.any() else {}


def _table_scores(
    c: EvalContext, scorer: CaptionScorer | None
) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """Returns the scores of all pairs of images in [0, 1] and captions; None without a scorer that
    embeds each once."""
    if scorer is None or not isinstance(scorer.family, ScoreTable):
        return None
    scores = pair_scores(scorer, c.key, c.batch_size)
    return lambda images, captions: scores(scorer.in_range(images), captions)


def _candidates(
    c: EvalContext, reader: CaptionReader, split: str, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns up to 100 captions of different scenes, those drawn first, and their scenes."""
    every = distinct_captions(c.dataset, split)
    others = every[~np.isin(reader.canonical(every), reader.canonical(drawn))]
    more = one_of_each(reader.canonical(others), CANDIDATES - len(drawn))
    captions = np.concatenate([drawn, others[more]])
    return captions, reader.canonical(captions)


def _real(
    c: EvalContext, reader: CaptionReader, split: str
) -> tuple[Table, np.ndarray, np.ndarray]:
    """Returns the rows `real` and `decoded` of a split.

    Returns:
      the rows; the real images that have a caption, `[N, *shape]` in [0, 1]; and the scenes of
      their captions, `[N, K]`.
    """
    captions = image_captions(c.dataset, split, random_rows(c.dataset.length(split), REAL))
    described = (captions != "").any(axis=1)
    images, captions = c.real(split, REAL)[described], captions[described]
    own = reader.canonical(captions)
    scenes = first_captions(own)
    shares = reader.share_of_captions(images, captions)
    table: Table = {"real": {"right_1": scene_mean(shares, scenes)}}
    names = np.unique(scenes)
    pairs = np.array([pair_distance(images[scenes == name]) for name in names])
    table["real"] |= _distance(pairs, names)
    if isinstance(c.family, TokenDensity):
        call = jax.jit(
            lambda v, x, key: c.family.token_images(
                c.config, v, c.family.image_tokens(c.config, v, x)
            )
        )
        x = {"x": c.examples(split, REAL)[described][:DECODED]}
        decoded = map_split(functools.partial(call, c.variables), x, c.key, c.batch_size)
        unit = to_unit(decoded, *c.sample_range)
        right = reader.share_of_captions(unit, captions[:DECODED])
        table["decoded"] = {"right_1": scene_mean(right, scenes[:DECODED])}
    return table, images, own
