"""`genjax draw RUN "a caption" ... --out OUT`: draws images of captions.

    genjax draw RUN "a small red circle left of a large blue square" --n 16 --out grid.png
    genjax draw RUN --file captions.txt --n 32 --ranker RANKER --keep 4 --out images

RUN is the folder of a finished text-to-image run; its data are not needed. OUT is a PNG with the
images below their captions, or a folder with one PNG per image, grid.png and scores.csv. With
--ranker, or with --rank density, the images of a caption are sorted, the best one first. An image
depends on the run, the seed, the caption and the number of the image alone: not on other captions,
and on --batch-size only by rounding.
"""

import argparse
import math
import pathlib
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from genjax import checks, families
from genjax.cli.caption_scorers import CaptionScorer, own_scorer, ranking_scorer
from genjax.cli.drawn_captions import encode_captions, read_captions, unknown_letters
from genjax.cli.drawn_files import Drawn, DrawnFiles
from genjax.cli.options import ArgumentParser, command, option_name
from genjax.core.protocols import CaptionScores, TextToImage
from genjax.data.file_io import safe
from genjax.train.load_run import load
from genjax.train.progress import Progress, progress_callback
from genjax.train.run_config import Run
from genjax.train.run_files import run_files

SAMPLING = ("guidance", "temperature", "top_k", "top_p")
RANKER, DENSITY = "ranker", "density"


@command("--batch-size")
def main(argv: list[str]) -> None:
    """Draws images and writes them."""
    options = parse(argv)
    texts, blank, repeated = read_captions(options.captions, options.file)
    keep = options.keep or options.n
    files = DrawnFiles(
        options.out,
        texts,
        n=options.n,
        keep=keep,
        overwrite=options.overwrite,
        source=options.file,
    )
    source = run_files(options.workdir)
    run, variables = load(source)
    family = families.get(run.family)
    if not isinstance(family, TextToImage):
        raise ValueError(
            f"{run.family} in {safe(options.workdir)} draws no captions; give the folder of a run"
            f" of {' or '.join(families.implementing(TextToImage))}."
        )
    settings = sampling_settings(options, run, family)
    tokenizer = source.tokenizer()
    whose = f"the run in {safe(options.workdir)}"
    text = encode_captions(tokenizer, texts, family.text_spec(run.model), whose)
    scorers: dict[str, CaptionScorer] = {}
    if options.ranker or options.rank == RANKER:
        scorers[RANKER] = ranking_scorer(run, family, texts, options.ranker, options.workdir)
    if options.rank == DENSITY or (files.folder and isinstance(family, CaptionScores)):
        scorers[DENSITY] = own_scorer(run, family, variables, text)
    files.begin(run.model.shape, options.seed, tuple(scorers), options.rank)
    if blank or repeated:
        print(f"left out: {blank} blank lines, {repeated} repeated captions", file=sys.stderr)
    if letters := unknown_letters(tokenizer, texts):
        print(f"not in the alphabet, read as spaces: {safe(letters, 60)}", file=sys.stderr)
    draw = Drawer(run, family, variables, texts, text, options.seed, settings)
    draw_all(draw, scorers, files, options.batch_size)


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses and checks the command's options."""
    parser = ArgumentParser("draw", __doc__)
    add = parser.add_argument
    path: dict[str, Any] = {"type": pathlib.Path}
    parser.add_run("RUN")
    add("captions", nargs="*", metavar="CAPTION", help="captions, each in quotation marks")
    add("--file", **path, help="UTF-8 text with further captions, one per line")
    add("--out", **path, required=True, help="name of a PNG, or folder")
    add("--n", type=int, default=16, help="images per caption (16)")
    add("--ranker", default="", metavar="RUN", help="run that scores the images, to sort them")
    text = "sort by the scores of a ranker (by default that of the run), or by the run's density"
    add("--rank", choices=(RANKER, DENSITY), default="", help=text)
    add("--keep", type=int, metavar="K", help="write the best K images per caption (all)")
    text = "scale of classifier-free guidance, 1 is none; the default of this and of the next three"
    text += " options is the family's"
    add("--guidance", type=float, metavar="G", help=text)
    add("--temperature", type=float, metavar="T", help="divisor of the logits of tokens")
    add("--top-k", type=int, metavar="K", help="draw from the K most probable tokens; 0 is all")
    text = "draw from the most probable tokens with total probability P"
    add("--top-p", type=float, metavar="P", help=text)
    add("--seed", type=int, default=0, help="seed of the images (0)")
    add("--batch-size", type=int, default=32, help="images drawn at once, at most (32)")
    add("--overwrite", action="store_true", help="replace files that exist, and an earlier draw")
    options = parser.parse_intermixed_args(argv)
    checks.positive(n=options.n, batch_size=options.batch_size)
    checks.seed(seed=options.seed)
    options.rank = options.rank or (RANKER if options.ranker else "")
    if options.keep is not None:
        checks.positive(keep=options.keep)
        if options.keep > options.n:
            raise ValueError(f"--keep is {options.keep} of --n {options.n} images; raise --n.")
        if not options.rank:
            raise ValueError("--keep needs an order; add --ranker RUN, or --rank density.")
    for name in ("guidance", "temperature", "top_p"):
        value = getattr(options, name)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{option_name(name)} must be finite, got {value}.")
    return options


def sampling_settings(options: argparse.Namespace, run: Run, family: Any) -> dict[str, Any]:
    """Returns the options of the sampler that are given.

    Raises:
      ValueError: the sampler of this run has no such option.
    """
    given = {name: getattr(options, name) for name in SAMPLING}
    given = {name: value for name, value in given.items() if value is not None}
    known = family.sampling_options(run.model)
    for name in given:
        if name not in known:
            has = ", ".join(map(option_name, known))
            raise ValueError(
                f"this run of {run.family} has no option {option_name(name)}; leave it out"
                f"{f', or use {has}' if has else ''}."
            )
    return given


class Drawer:
    """Draws images by the sampler of a run, each from its own key."""

    def __init__(
        self,
        run: Run,
        family: Any,
        variables: Any,
        texts: Sequence[str],
        text: np.ndarray,
        seed: int,
        settings: dict[str, Any],
    ):
        """Prepares the sampler.

        Args:
          run: settings.
          family: module that implements `TextToImage`.
          variables: its variables.
          texts: S captions.
          text: their tokens, int32 `[S, T]`.
          seed: seed of all images.
          settings: options of the sampler.
        """
        self.texts, self.text, self.variables = texts, text, jax.device_put(variables)
        self.limits = family.traits(run.model).sample_range
        self.streams = np.array([zlib.crc32(t.encode()) for t in texts], np.uint32)
        root = jax.random.key(seed)

        def draw_one(variables: Any, number: Any, stream: Any, text: jax.Array) -> jax.Array:
            key = jax.random.fold_in(jax.random.fold_in(root, number), stream)
            return family.sample(run.model, variables, key, 1, text=text[None], **settings)[0]

        self._draw = jax.jit(jax.vmap(draw_one, in_axes=(None, 0, 0, 0)))

    def __call__(self, captions: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Draws images, float32 `[B, *shape]`.

        Args:
          captions: index of each image's caption, int32 `[B]`.
          numbers: number of each image among those of its caption, int32 `[B]`.

        Raises:
          ValueError: samples are not finite.
        """
        streams, text = self.streams[captions], self.text[captions]
        x = np.asarray(self._draw(self.variables, numbers, streams, text), np.float32)
        if not np.isfinite(x).all():
            raise ValueError("the run draws non-finite values; use other options, or another run.")
        return x

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """Returns images as uint8."""
        low, high = self.limits
        return (np.clip((images - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)


def draw_all(
    draw: Drawer, scorers: dict[str, CaptionScorer], files: DrawnFiles, batch_size: int
) -> None:
    """Draws, scores and writes all images; after an error or Ctrl-C, writes those drawn so far."""
    total = len(draw.texts) * files.n
    progress, done = Progress("draw", total), 0
    report = progress_callback("draw", progress.say, "images")
    try:
        for captions, numbers in batches(len(draw.texts), files.n, batch_size):
            images = draw(captions, numbers)
            scores = {name: scorer(images, captions) for name, scorer in scorers.items()}
            fresh = min(len(images), total - done)  # the last batch repeats its last image
            for i, image in enumerate(draw.pixels(images[:fresh])):
                own = {name: float(values[i]) for name, values in scores.items()}
                files.add(int(captions[i]), Drawn(image, int(numbers[i]), own))
            done += fresh
            progress.advance(done)
            report(done, total)
    finally:
        progress.close()
        files.close()
        if files.written:
            print(files.summary())


def batches(captions: int, n: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Iterates over batches of indices of captions and numbers of images, both int32 `[B]`.

    All batches have the same size; the last one repeats its last image.

    Args:
      captions: number of captions.
      n: images per caption.
      size: images per batch, at most.
    """
    total = captions * n
    size = min(size, total)
    for start in range(0, total, size):
        jobs = np.minimum(np.arange(start, start + size), total - 1)
        yield (jobs // n).astype(np.int32), (jobs % n).astype(np.int32)
