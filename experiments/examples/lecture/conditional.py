# %% [markdown]
# # Images from captions, parts and other images; growing networks
#
# The last lessons generate with a condition, such as a caption, or of another structure. Text to
# image is explicit again; the others are implicit. Their data are made by rule, so that the true
# answer is known for every input.

# %%
"""Lessons 8 to 12 of the lecture: text to image, puzzle GAN, translation, and growing networks."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.examples.lecture.implicit import DRAWN, frechet
from experiments.examples.lecture.lessons import Notes, lesson
from experiments.examples.lecture.training import (
    KEY,
    RUNS,
    dataset,
    examples,
    metric,
    sample,
    train,
    train_growing,
    trained,
)
from genjax.evals.caption_reading import CaptionReader, distinct_captions
from genjax.evals.context import EvalContext
from genjax.evals.feature_extractor import to_unit
from genjax.evals.translation_quantities import retrieval_rank
from genjax.families import cyclegan, dalle, puzzle_gan, stargan

# %% [markdown]
# ## 8. Text to image
#
# DALL-E has two parts. A discrete VAE (dvae) writes an image as a grid of tokens. A transformer
# models the tokens of the caption and then those of the image by the chain rule, as in lesson 1:
#
# $$p(t, z) = \prod_i p(t_i \mid t_{<i}) \prod_j p(z_j \mid t, z_{<j})$$
#
# New: the text decides what is drawn, also of captions that were not in training. The data are
# pairs of digits, such as "a three above a seven". The GAN of this task is `gan_cls`, whose
# discriminator also gets real images with wrong captions; see `docs/text_to_image.md`.


# %%
@lesson(8, "dalle", "Text to image: a discrete VAE and a transformer")
def text_lesson(out: Notes) -> None:
    """Trains both parts of a small DALL-E and reads the digits in images of new captions."""
    run, pairs = out.runs["dalle"], dataset(RUNS["dalle"].data)
    run = dataclasses.replace(
        run, model=dataclasses.replace(run.model, image_tokenizer=out.runs["dvae"].model)
    )
    tokens = dataclasses.replace(out.runs["dvae"], data=run.data)  # read once
    tokenizer = trained(tokens, out.few(500))
    variables = train(run, out.few(1200), parts={"image_tokenizer": tokenizer}).variables
    # A classifier of single digits reads the images back, at their known places.
    settings: dict[str, Any] = dict(transform=run.data.transform, classifier_steps=out.few(600))
    context = EvalContext(dalle, run.model, variables, pairs, KEY, **settings)
    reader = CaptionReader.of(context)

    new = distinct_captions(pairs, "unseen")  # their pairs of digits are not in training
    captions = np.repeat(new, 5)[: out.few(200, 20)]
    draw = jax.jit(lambda v, text: dalle.sample(run.model, v, KEY, len(text), text=text))
    drawn = np.asarray(draw(variables, context.tokens(captions)))
    real = pairs.read("unseen", np.arange(len(captions)), ("x", "caption"))
    x, own = to_unit(real["x"], 0, pairs.levels - 1), real["caption"][:, 0]

    @jax.jit
    def decoded(variables: Any, x: jax.Array) -> jax.Array:
        return dalle.token_images(run.model, variables, dalle.image_tokens(run.model, variables, x))

    beside = {
        "real images as tokens": reader.matches(np.asarray(decoded(variables, x)), own).mean(),
        "real images": reader.matches(x, own).mean(),
        "chance": reader.check.chance,
    }
    right = reader.matches(drawn, captions).mean()
    out.measure("images that show the two digits of a new caption", right, beside, ".1%")
    titles = "images of " + ", ".join(f'"{caption}"' for caption in new[:4])
    out.draw({f"{titles}, five each": drawn[:20]})


# %% [markdown]
# ## 9. Puzzle GAN
#
# A GAN of lesson 6 uses all of its noise for every pixel. A puzzle GAN divides the image into
# parts, each with noise of its own; only the first layer of the generator keeps them apart:
#
# $$\text{first maps of part } k = W z_k, \quad z = (z_1, \ldots, z_K)$$
#
# New: parts can be exchanged between samples, while later layers make them fit. The inverse task,
# to find the order of shuffled pieces, is solved by `jigsaw` and `jigsaw_assignment`, which are in
# the tour; see `docs/puzzles.md`.


# %%
@lesson(9, "puzzle_gan", "Puzzle GAN: images of parts")
def puzzle_lesson(out: Notes) -> None:
    """Trains a puzzle GAN of four parts and exchanges the parts of two samples."""
    run = out.runs["puzzle_gan"]
    config = run.model
    variables = train(run, out.few(1500), ema=0.99).eval_variables()
    found = metric("part_changes", run, variables, samples=out.few(500, 100))
    beside = {"if all pixels change equally": found.area}
    out.measure("change inside the part whose noise changes", found.inside, beside, ".1%")

    z, other = jax.jit(lambda key: puzzle_gan.noise(config, key, 20).reshape(2, 10, -1))(KEY)
    noises = {"samples": z, "other samples": other}
    names = [part.name for part in puzzle_gan.image_parts(config)]
    noises |= {
        f"samples with {name} of the other": puzzle_gan.exchange(config, z, other, name)
        for name in names
    }
    generate = jax.jit(lambda v, z: puzzle_gan.generate(config, v, z))
    out.draw({name: generate(variables, z) for name, z in noises.items()}, low=-1.0)


# %% [markdown]
# ## 10. CycleGAN
#
# A generator may also take an image instead of noise. CycleGAN translates between two kinds of
# images without pairs of them: two generators G and F, two discriminators, and a loss that is zero
# if F inverts G:
#
# $$L = L_{GAN}(G) + L_{GAN}(F) + \lambda (\text{E}_x |F(G(x)) - x| + \text{E}_y |G(F(y)) - y|)$$
#
# New: translation, learned from two unpaired sets. Here they are digits, and digits made bold and
# slanted by rule. So the true partner of every image is known, though training does not use it.


# %%
@lesson(10, "cyclegan", "CycleGAN: translation without pairs")
def cyclegan_lesson(out: Notes) -> None:
    """Trains a CycleGAN; finds the true partner nearest to each translation."""
    run = out.runs["cyclegan"]
    variables = train(run, out.few(300)).variables
    splits = dataset(run.data).splits["test"]
    x, y = (2 * to_unit(splits[k], 0, 16) - 1 for k in ("x", "y"))
    shown = {"digits": x[:10]}
    for to, source, truth in (("b", x, y), ("a", y, x)):
        translate = jax.jit(lambda v, x, to=to: cyclegan.translate(run.model, v, x, to=to))
        images = np.asarray(translate(variables, source))
        what = "bold and slanted" if to == "b" else "plain"
        beside = {"the input itself": top1(source, truth), "chance": 1 / len(truth)}
        named = f"translations to {what} whose true partner is the nearest"
        out.measure(named, top1(images, truth), beside, ".1%")
        error = {"the input itself": np.abs(source - truth).mean()}
        out.measure("their mean absolute error", np.abs(images - truth).mean(), error, ".3f")
        shown |= {f"translated to {what}": images[:10], f"true {what}": truth[:10]}
    out.draw(shown, low=-1.0)


def top1(images: np.ndarray, truths: np.ndarray) -> float:
    """Returns the share of images in [-1, 1] whose truth is the nearest of all truths."""
    unit = (to_unit(np.clip(x, -1, 1), -1, 1) for x in (images, truths))
    return float((retrieval_rank(*unit) < 1).mean())


# %% [markdown]
# ## 11. StarGAN
#
# Two generators per pair of domains become many with several domains. StarGAN has a single one,
# which gets the target attributes c' with the image; the discriminator also classifies attributes:
#
# $$L_G = L_{adv} + \lambda_{cls} L_{cls}(G(x, c'), c') + \lambda_{rec} |x - G(G(x, c'), c)|$$
#
# New: any combination of attributes by one network. The data are digits, plain, bold, slanted, or
# both, of which the true image in every style is known.


# %%
@lesson(11, "stargan", "StarGAN: translation by attributes")
def stargan_lesson(out: Notes) -> None:
    """Trains a StarGAN; compares translations with all four true styles of the same digit."""
    run, loaded = out.runs["stargan"], dataset(RUNS["stargan"].data)
    variables = train(run, out.few(700)).variables
    rows = loaded.read("test", np.arange(0, out.few(720, 40)))
    styles = np.array([(0, 0), (0, 1), (1, 0), (1, 1)], np.uint8)
    render = loaded.render
    assert render is not None
    truths = np.stack(  # [styles, N, 8, 8, 1]
        [render(rows, np.tile(style, (len(rows["x"]), 1))) for style in styles]
    )
    truths, x = 2 * to_unit(truths, 0, 16) - 1, 2 * to_unit(rows["x"], 0, 16) - 1
    translate = jax.jit(lambda v, x, c: stargan.translate(run.model, v, x, attributes=c))
    images = np.stack([translate(variables, x, np.tile(style, (len(x), 1))) for style in styles])
    own = 2 * rows["attributes"][:, 0].astype(int) + rows["attributes"][:, 1]
    requested = np.arange(4)[:, None] != own[None]  # changes alone
    right = nearest_style(images, truths) == np.arange(4)[:, None]
    kept = nearest_style(np.broadcast_to(x, images.shape), truths) == np.arange(4)[:, None]
    beside = {"the input itself": kept[requested].mean(), "chance": 1 / 4}
    out.measure(
        "translations nearest to the requested style", right[requested].mean(), beside, ".1%"
    )
    error, floor = (np.abs(a - truths)[requested].mean() for a in (images, x[None]))
    out.measure("their mean absolute error", error, {"the input itself": floor}, ".3f")
    names = ("plain", "slanted", "bold", "bold and slanted")
    shown = {f"to {name}": image[:40:4] for name, image in zip(names, images, strict=True)}
    out.draw(
        {"plain digits": x[:40:4], **shown, "true bold and slanted": truths[3, :40:4]}, low=-1.0
    )


def nearest_style(images: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Returns for images `[S, N, ...]` the number of the nearest of their truths, `[S, N]`."""
    distance = np.abs(images[:, None] - truths[None]).mean(axis=(3, 4, 5))  # [S, styles, N]
    return distance.argmin(axis=1)


# %% [markdown]
# ## 12. Progressive GAN
#
# Large images are hard to learn at once. A progressive GAN begins with small ones; then layers of
# twice the side fade in, with a weight alpha that rises from 0 to 1, and training continues:
#
# $$x = (1 - \alpha) \text{up}(x_{4 \times 4}) + \alpha x_{8 \times 8}$$
#
# New: images of 1024x1024 pixels in the paper, as each stage begins with what the last one
# learned. Here the stages are 4x4 and 8x8 pixels.


# %%
@lesson(12, "progressive", "Progressive GAN: growing networks")
def progressive_lesson(out: Notes) -> None:
    """Trains a progressive GAN and measures its samples at the end of every stage."""
    run = out.runs["progressive"]
    shown, distances = {}, {}
    beside: Mapping[str, float] = {}
    for name, state in train_growing(run, out.few(1500, 5)):
        drawn = sample(run, state.variables, DRAWN)
        distances[name], beside = frechet(out, run, drawn)
        shown[f"samples of the stage {name}"] = drawn[:20]
    first, last = distances
    beside = {f"after the stage {first}": distances[first], **beside}
    out.measure(f"Frechet distance after the stage {last}", distances[last], beside)
    out.draw({**shown, "digits": examples(run, "test")[:10]}, low=-1.0)
