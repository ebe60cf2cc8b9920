"""Figures of a model that a visitor moves: codes, latents, interpolations, likelihood maps."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from experiments.gallery.atlas import Axis, atlas, likelihood_map
from experiments.gallery.entries import Entry
from genjax import evals
from genjax.core import log_conditionals, named_key, sample_images
from genjax.core.protocols import (
    Autoregressive,
    Conditionals,
    ImageParts,
    Implicit,
    LatentCodes,
    LatentVariable,
    Translator,
)
from genjax.nn import StandardNormal
from genjax.report.markup import Html
from genjax.train.sheets import sheet_images, sheet_split, spaced_rows
from genjax.train.trained_model import Pretrained

CELLS = 1200  # images of an atlas, at most
PIXELS = 2**21  # of an atlas, at most
IMAGES = 6  # of a likelihood map
STEPS = 9  # of an interpolation
CHUNK = 100  # images that are decoded at a time


def panels(entry: Entry) -> list[Html]:
    """Returns the figures that an entry's weights allow."""
    model = entry.model
    if model is None or len(model.config.shape) != 3:
        return []
    family = model.family
    if isinstance(family, LatentCodes):
        return [codes(model)]
    if isinstance(family, ImageParts):
        return [parts(model)]
    if isinstance(family, Implicit):
        return [interpolations(model)]
    if isinstance(family, LatentVariable):
        return [manifold(model)]
    if isinstance(family, (Autoregressive, Conditionals)) and not isinstance(family, Translator):
        return [likelihood(entry)]
    return []


def cells(model: Pretrained) -> int:
    """Returns the largest number of images of an atlas."""
    height, width = model.config.shape[:2]
    return min(CELLS, PIXELS // (height * width))


def decoder(model: Pretrained, call: Callable[..., jax.Array]) -> Callable[..., np.ndarray]:
    """Returns `call(z, **conditions)` in chunks of equal size, compiled once."""
    program = jax.jit(call)

    def decode(z: np.ndarray, **conditions: np.ndarray) -> np.ndarray:
        out = []
        size = min(CHUNK, len(z))
        for start in range(0, len(z), size):
            rows = np.minimum(np.arange(start, start + size), len(z) - 1)
            part = {name: jnp.asarray(values[rows]) for name, values in conditions.items()}
            out.append(np.asarray(program(jnp.asarray(z[rows], jnp.float32), **part)))
        return np.concatenate(out)[: len(z)]

    return decode


def generated(model: Pretrained, z: np.ndarray) -> np.ndarray:
    """Generates images of noise `[N, Z]`; of a conditional model, all of class 0."""
    generate, config = model.family.generate, model.config
    conditions = {}
    if getattr(config, "classes", 0):
        conditions["label"] = np.zeros(len(z), np.int32)
    return decoder(model, lambda z, **kw: generate(config, model.variables, z, **kw))(
        z, **conditions
    )


def noise(model: Pretrained, n: int) -> np.ndarray:
    """Draws n rows of a generator's input."""
    key = named_key(jax.random.key(0), 0, "gallery")
    return np.asarray(model.family.noise(model.config, key, n))


def codes(model: Pretrained) -> Html:
    """Returns sliders over continuous codes, with all categories beside one another."""
    family, config = model.family, model.config
    z = noise(model, 3)
    found = family.codes(config)
    start = z.shape[1] - sum(code.size for code in found)
    tiles, units, row = None, [], start
    for code in found:
        if code.kind == "categorical":
            # The first categorical code has a tile per category; others stay as drawn.
            tiles = tiles or (row, code.size)
        else:
            end = 1.0 if code.kind == "uniform" else 2.5
            units += [(row + i, end) for i in range(code.size)]
        row += code.size
    units = units[:3]
    first, count = tiles or (start, 1)
    number = cells(model) // (len(z) * count)
    side = max(3, min(11, math.floor(number ** (1 / max(1, len(units))))))
    side -= 1 - side % 2  # odd, so that 0 is a value
    values = np.linspace(-1, 1, side)
    shape = (len(z), *[side] * len(units), count)
    grid = np.broadcast_to(z.reshape(len(z), *[1] * (len(units) + 1), -1), (*shape, z.shape[1]))
    grid = grid.copy()
    if tiles:
        grid[..., first : first + count] = np.eye(count)
    for i, (unit, end) in enumerate(units):
        grid[..., unit] = (end * values).reshape(side, *[1] * (len(units) - i))
    axes = [Axis("Noise", [f"draw {i + 1}" for i in range(len(z))], slider=False)]
    axes += [
        Axis(f"Code {i + 1}", [f"{end * v:+.2f}" for v in values])
        for i, (_, end) in enumerate(units)
    ]
    return atlas(
        "Latent codes",
        "The same noise with every category of the first code; the sliders change the continuous"
        " codes.",
        generated(model, grid.reshape(-1, z.shape[1])),
        family.traits(config).sample_range,
        axes,
        labels=[f"category {i}" for i in range(count)] if tiles else [""],
    )


def parts(model: Pretrained) -> Html:
    """Returns choices of every part between two draws."""
    family, config = model.family, model.config
    pairs, names = 6, [part.name for part in family.image_parts(config)][:5]
    z = noise(model, 2 * pairs)
    first, second = z[:pairs], z[pairs:]
    found = []
    for choice in np.ndindex(*[2] * len(names)):
        mixed = first
        for part, other in enumerate(choice):
            if other:
                mixed = np.asarray(family.exchange(config, mixed, second, part))
        found.append(mixed)
    grid = np.stack(found, axis=1)  # [pairs, 2 ** K, Z]
    axes = [Axis("Pair", [f"{i + 1}" for i in range(pairs)], slider=False)]
    axes += [Axis(name, ["first draw", "second draw"], slider=False) for name in names]
    return atlas(
        "Parts",
        "Every part has noise of its own: choose it from the first or from the second draw.",
        generated(model, grid.reshape(-1, z.shape[1])),
        family.traits(config).sample_range,
        axes,
    )


def interpolations(model: Pretrained) -> Html:
    """Returns a slider from one draw of the noise to another."""
    rows = max(1, min(8, cells(model) // STEPS))
    z = noise(model, 2 * rows)
    spherical = model.family.traits(model.config).normal_noise
    path = evals.interpolation(z[:rows], z[rows:], STEPS, spherical=spherical)
    axis = Axis("From one draw to another", [f"{t:.0%}" for t in np.linspace(0, 1, STEPS)])
    images = generated(model, path).reshape(rows, STEPS, *model.config.shape).swapaxes(0, 1)
    return atlas(
        "Interpolation",
        "Each image moves along a path between two draws of the noise.",
        images,
        model.family.traits(model.config).sample_range,
        [axis],
        labels=[f"pair {i + 1}" for i in range(rows)],
    )


def manifold(model: Pretrained) -> Html:
    """Returns the plane of the two latents that change the decoded image most."""
    family, config, variables = model.family, model.config, model.variables
    key = jax.random.key(0)
    prior = family.prior(config, variables)
    drawn = prior.sample(key, 200)
    # Of several layers, the bottom one is decoded.
    drawn = np.asarray(drawn[0] if isinstance(drawn, (tuple, list)) else drawn)
    centre, width = drawn.mean(0), drawn.std(0)
    if isinstance(prior, StandardNormal):
        centre, width = np.zeros_like(centre), np.ones_like(width)
    classes = getattr(config, "classes", 0) or 0
    labelled = "label" in family.batch_spec(config, 1) and classes
    decode = decoder(model, lambda z, **kw: family.likelihood(config, variables, z, **kw).mean())

    def decoded(z: np.ndarray, label: int = 0) -> np.ndarray:
        kw = {"label": np.full(len(z), label, np.int32)} if labelled else {}
        return decode(z, **kw)

    ends = np.concatenate([centre + np.diag(s * width) for s in (-1.5, 1.5)])
    low, high = np.split(decoded(ends.astype(np.float32)), 2)
    change = ((high - low) ** 2).reshape(len(centre), -1).sum(1)
    units = sorted(np.argsort(-change, kind="stable")[:2].tolist())
    groups = classes if labelled else 1
    side = max(3, min(15, math.isqrt(cells(model) // groups)))
    side -= 1 - side % 2
    quantiles = scipy.special.ndtri((np.arange(side) + 0.5) / side)
    z = np.broadcast_to(centre, (*[side] * len(units), len(centre))).copy()
    for i, unit in enumerate(units):
        along = centre[unit] + width[unit] * quantiles
        z[..., unit] = along.reshape(side, *[1] * (len(units) - 1 - i))
    flat = z.reshape(-1, len(centre)).astype(np.float32)
    images = np.stack([decoded(flat, label) for label in range(groups)])
    axes = [Axis("Class", [str(i) for i in range(groups)], slider=False)] if groups > 1 else []
    axes += [
        Axis(f"z{unit + 1}", [f"{centre[unit] + width[unit] * q:+.2f}" for q in quantiles])
        for unit in units
    ]
    rest = len(centre) - len(units)
    others = f"; others ({rest}) are at their mean" if rest else ""
    return atlas(
        "Latent space",
        f"The mean of p(x | z) over the {len(units)} latents that change it most{others}. Choose a"
        " point of the plane, or use the sliders.",
        images,
        family.traits(config).sample_range,
        axes,
        plane=len(units) == 2,
    )


def likelihood(entry: Entry) -> Html:
    """Returns the nats of every pixel of test images, or of samples where the data are missing."""
    assert entry.model is not None
    model, family, config = entry.model, entry.model.family, entry.model.config
    conditions: dict[str, Any] = {}
    if entry.dataset is not None:
        counts = entry.dataset.counts()
        split = "test" if "test" in counts else sheet_split(entry.dataset)
        rows = spaced_rows(counts[split], min(IMAGES, counts[split]))
        names = sorted(family.batch_spec(config, 1))
        found = sheet_images(model.run, entry.dataset, split, dict.fromkeys(names, rows))
        x, what = found.pop("x"), f"{split} images"
        conditions = {name: jnp.asarray(values) for name, values in found.items()}
    else:
        key = named_key(jax.random.key(0), 0, "gallery")
        x = np.asarray(sample_images(family, config, model.variables, key, IMAGES))
        what = "samples, as its data are not here"
        if "label" in family.batch_spec(config, 1):
            conditions["label"] = jnp.arange(len(x), dtype=jnp.int32) % config.classes
    program = jax.jit(lambda x, **kw: log_conditionals(family, config, model.variables, x, **kw))
    nats = -np.asarray(program(jnp.asarray(x), **conditions), np.float64)
    nats = nats.reshape(len(x), *config.shape).sum(-1)
    return likelihood_map(
        "Likelihood of every pixel",
        f"-log p(x_i | pixels before i) of {what}, in nats: bright pixels surprise the model."
        " Point at a pixel, or use the arrow keys.",
        x,
        nats,
        family.traits(config).sample_range,
        [f"{total:.2f} nats" for total in nats.sum((1, 2))],
    )
