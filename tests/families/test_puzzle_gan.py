"""PuzzleGAN: parts of the first maps and of the noise, and what else is of progressive GAN."""

import dataclasses
import functools
import json

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import make_batch, random_arrays
from support.reading import assert_error_message

from genjax.families import progressive, puzzle_gan
from genjax.families.progressive.growing_networks import first_maps, latent_inputs
from genjax.families.puzzle_gan import Part
from genjax.train import Run
from genjax.train.run_config import run_from_json, to_json

SMALL = dict(shape=(16, 16, 1), smallest=8, start=8, latent=16, base=24, max_width=6, group=2)
CONFIG = puzzle_gan.Config(**SMALL)
FACES = dict(shape=(256, 256, 3), smallest=8, start=8)
PUBLISHED = {  # side of the first maps, and dimensions and cells of each part
    "digits": (puzzle_gan.Config(), 16, [128] * 4, [64] * 4),
    "bedrooms": (
        *(puzzle_gan.Config(**FACES | {"shape": (128, 128, 3)}, mode="bedrooms"), 8),
        *([256, 256], [32, 32]),
    ),
    "faces": (puzzle_gan.Config(**FACES, mode="faces"), 8, [128, 384], [48, 16]),
    "face_parts": (
        *(puzzle_gan.Config(**FACES, mode="face_parts"), 8),
        *([288, 64, 64, 32, 64], [36, 8, 8, 4, 8]),
    ),
}
FACE_PARTS = """
ssssssss
ssuuuuss
ssuuuuss
ssmmmmss
ssmmmmss
ssonnoss
ssonnoss
ssooooss
"""


def grown(family, config, key, times=1):
    """Returns the variables of a stage."""
    variables = family.init(config, key)
    for i in range(times):
        variables = family.grow(config, variables, jax.random.fold_in(key, i))
    return variables


def of_one_part(**changes):
    """Returns settings of a puzzle of one part, and of the progressive GAN of the same size."""
    whole = Part(name="face", latent=16, rectangles=((0, 0, 4, 4),))
    settings = SMALL | {"shape": (8, 8, 1), "smallest": 4, "start": 4} | changes
    return (
        puzzle_gan.Config(**settings, mode="custom", parts=(whole,)),
        progressive.Config(**settings),
    )


@pytest.mark.parametrize("changes", [{}, {"classes": 3}, {"architecture": "skip_residual"}])
def test_with_one_part_it_is_the_progressive_gan(changes):
    config, plain = of_one_part(**changes)
    times = int(config.architecture == "growing")
    made = [
        random_arrays(functools.partial(grown, family, own, times=times), seed=1)
        for family, own in ((puzzle_gan, config), (progressive, plain))
    ]
    chex.assert_trees_all_equal(*made)
    (variables, _), key = made, jax.random.key(2)
    batch = make_batch(puzzle_gan, config, 4)
    label = {"label": batch["label"]} if config.classes else {}
    for family, own in ((puzzle_gan, config), (progressive, plain)):
        z = family.noise(own, key, 4)
        found = (
            family.generate(own, variables, z, **label),
            family.discriminate(own, variables, batch["x"]),
        )
        if family is puzzle_gan:
            first = found
    chex.assert_trees_all_equal(first, found)
    assert len(np.unique(first[0])) > 100


@pytest.mark.parametrize("mode", PUBLISHED)
def test_published_modes_divide_the_first_maps_and_the_noise(mode):
    config, side, latents, cells = PUBLISHED[mode]
    parts = puzzle_gan.image_parts(config)
    assert [part.latent for part in parts] == latents
    assert sum(latents) == config.latent == 512
    masks = puzzle_gan.part_masks(config)
    assert masks.shape == (len(parts), *config.shape[:2])
    np.testing.assert_array_equal(masks.sum(axis=0), np.ones(config.shape[:2]))
    scale = config.shape[0] // side
    assert (masks.sum(axis=(1, 2)) / scale**2).tolist() == cells


def test_face_parts_are_where_the_authors_have_them():
    config = puzzle_gan.Config(**FACES | {"shape": (8, 8, 3)}, mode="face_parts")
    names = np.array(["s", "u", "m", "n", "o"])  # the mouth is around the nose
    drawn = names[puzzle_gan.part_masks(config).argmax(axis=0)]
    assert "\n".join("".join(row) for row in drawn) == FACE_PARTS.strip()
    config = dataclasses.replace(config, mode="faces")
    face = puzzle_gan.part_masks(config)[1]
    assert face[2:6, 2:6].all()
    assert face.sum() == 16
    config = dataclasses.replace(config, mode="bedrooms")
    assert puzzle_gan.part_masks(config)[0][:4].all()
    config = dataclasses.replace(config, mode="digits")
    assert puzzle_gan.part_masks(config).argmax(axis=0)[::4, ::4].tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("mode", PUBLISHED)
def test_number_of_parameters(mode):
    """Only the first layer differs from a progressive GAN's: it has fewer weights."""
    config, side, latents, cells = PUBLISHED[mode]
    config = dataclasses.replace(config, start=config.shape[0])
    shared = {f.name: getattr(config, f.name) for f in dataclasses.fields(progressive.Config)}

    def count(family, config):
        make = functools.partial(family.init, config)
        params = jax.eval_shape(make, jax.random.key(0))["params"]
        return {k: sum(a.size for a in jax.tree.leaves(v)) for k, v in params.items()}

    found, plain = (
        count(puzzle_gan, config),
        count(progressive, progressive.Config(**shared)),
    )
    assert found["discriminator"] == plain["discriminator"]
    fewer = 512 * 512 * side**2 - 512 * sum(z * n for z, n in zip(latents, cells, strict=True))
    assert found["generator"] == plain["generator"] - fewer
    if mode == "digits":
        conv, rgb = 9 * 512 * 512 + 512, 512 + 1  # at 16x16, and two at 32x32
        assert found["generator"] == 128 * 16 * 16 * 512 + 512 + 3 * conv + rgb


class FirstLayer(nn.Module):
    """The dense layers of the parts alone."""

    config: puzzle_gan.Config

    @nn.compact
    def __call__(self, z):
        return first_maps(self.config, latent_inputs(self.config, z, None))


@pytest.mark.parametrize("mode", PUBLISHED)
@pytest.mark.parametrize("part_norm", [True, False])
def test_a_part_changes_only_its_rectangles_of_the_first_maps(mode, part_norm):
    config = dataclasses.replace(CONFIG, latent=32, mode=mode, part_norm=part_norm)
    layer = FirstLayer(config)
    z, other = (puzzle_gan.noise(config, jax.random.key(i), 5) for i in (1, 2))
    variables = layer.init(jax.random.key(0), z)
    apply = jax.jit(layer.apply)
    before = apply(variables, z)
    masks = puzzle_gan.part_masks(dataclasses.replace(config, shape=(8, 8, 1)))
    for k, mask in enumerate(masks):
        changed = apply(variables, puzzle_gan.exchange(config, z, other, k)) != before
        assert changed[:, mask].any(axis=-1).all()
        # Normalised together, the other parts are rescaled.
        outside = changed[:, ~mask].any(axis=-1)
        assert not outside.any() if part_norm else outside.all()


def test_images_of_the_first_stage_change_within_the_part_before_a_convolution():
    """Through bias, activation, pixel norm and RGB layer, with the convolution within pixels."""
    config = dataclasses.replace(CONFIG, latent=32, mode="face_parts", part_norm=True)
    variables = puzzle_gan.init(config, jax.random.key(0))
    network = variables["params"]["generator"]
    kernel = network["8x8"]["conv"]["kernel"]
    network["rgb_8x8"]["kernel"] /= 8
    z, other = (puzzle_gan.noise(config, jax.random.key(i), 5) for i in (1, 2))
    masks = puzzle_gan.part_masks(config)

    generate = jax.jit(functools.partial(puzzle_gan.generate, config))

    def outside(part):
        exchanged = puzzle_gan.exchange(config, z, other, part)
        images = [generate(variables, noise) for noise in (z, exchanged)]
        changed = (images[0] != images[1])[..., 0]
        assert changed[:, masks[part]].all()
        return changed[:, ~masks[part]].any()

    assert all(outside(part) for part in range(5))
    network["8x8"]["conv"]["kernel"] = jnp.zeros_like(kernel).at[1, 1].set(kernel[1, 1])
    assert not any(outside(part) for part in range(5))


def test_a_rectangle_is_a_dense_layer_of_its_part():
    config = dataclasses.replace(CONFIG, mode="face_parts", latent_norm=False)
    layer, z = FirstLayer(config), puzzle_gan.noise(config, jax.random.key(1), 3)
    variables = layer.init(jax.random.key(0), z)
    names = [f"dense_{p.name}_{i}" for p in config.layout() for i in range(len(p.rectangles))]
    assert sorted(variables["params"]) == sorted(names)
    assert len(names) == 9
    start, mouth = 14, puzzle_gan.image_parts(config)[-1]  # of the noise: 288 : 64 : 64 : 32 of 512
    assert mouth.latent == 2
    kernel = variables["params"]["dense_mouth_1"]["kernel"]  # under the nose, 1 row, 2 columns
    want = z[:, start:] @ kernel * (np.sqrt(2) / 4 / np.sqrt(2))
    np.testing.assert_allclose(
        layer.apply(variables, z)[:, 7, 3:5], want.reshape(3, 2, -1), rtol=1e-5, atol=1e-6
    )


def test_labels_are_an_input_of_every_part():
    config = dataclasses.replace(CONFIG, mode="faces", classes=3)
    variables = random_arrays(functools.partial(puzzle_gan.init, config), seed=1)
    dense = variables["params"]["generator"]["8x8"]
    inputs = {k: v["kernel"].shape[0] for k, v in dense.items() if k.startswith("dense")}
    assert inputs == {f"dense_surround_{i}": 4 + 3 for i in range(4)} | {"dense_face_0": 12 + 3}
    z, labels = puzzle_gan.noise(config, jax.random.key(1), 2), jnp.eye(3)[jnp.array([0, 2])]
    for part_norm in (True, False):
        own = dataclasses.replace(config, part_norm=part_norm)
        surround, face = latent_inputs(own, z, labels)
        assert (surround.shape, face.shape) == ((2, 7), (2, 15))
        rms = [np.sqrt((x**2).sum(axis=1)) for x in (surround, face)]
        if part_norm:
            np.testing.assert_allclose(rms, [[7**0.5] * 2, [15**0.5] * 2], rtol=1e-5)
        else:  # labels count once, in what the noise is divided by
            scale = np.sqrt((np.square(z).sum(axis=1) + 1) / 19)
            np.testing.assert_allclose(surround[:, :4], z[:, :4] / scale[:, None], rtol=1e-5)
            np.testing.assert_allclose(face[:, 12:], labels / scale[:, None], rtol=1e-5)


def test_a_part_reaches_four_pixels_beyond_its_own_from_16_to_32():
    config = puzzle_gan.Config(latent=8, base=64, max_width=4, part_norm=True)
    variables = random_arrays(functools.partial(grown, puzzle_gan, config), seed=1)
    network = variables["params"]["generator"]
    network["rgb_32x32"] = jax.tree.map(lambda a: a / 32, network["rgb_32x32"])
    z, other = (puzzle_gan.noise(config, jax.random.key(i), 8) for i in (1, 2))
    generate = jax.jit(functools.partial(puzzle_gan.generate, config))
    exchanged = puzzle_gan.exchange(config, z, other, "upper_left")
    changed = (generate(variables, z) != generate(variables, exchanged)).any(axis=(0, 3))
    np.testing.assert_array_equal(changed, np.outer(*(np.arange(32) < 20,) * 2))


def test_a_run_with_parts_of_its_own_is_read_again():
    run = Run(experiment="parts", family="puzzle_gan", model=puzzle_gan.Config(**halves()))
    text = json.loads(json.dumps(to_json(run)))
    assert run_from_json(text) == run
    run = dataclasses.replace(run, family="progressive", model=of_one_part()[1])
    text = to_json(run)
    assert text["model"].pop("smallest") == 4  # a run before there was this setting
    assert run_from_json(text) == run


def test_growing_changes_no_part():
    config = dataclasses.replace(CONFIG, mode="face_parts")
    old = random_arrays(functools.partial(puzzle_gan.init, config), seed=1)
    new = puzzle_gan.grow(config, old, jax.random.key(3))
    assert (puzzle_gan.side(old), puzzle_gan.side(new)) == (8, 16)
    kept = {k: v for k, v in new["params"]["generator"].items() if k in old["params"]["generator"]}
    chex.assert_trees_all_equal(kept, old["params"]["generator"])
    z = puzzle_gan.noise(config, jax.random.key(4), 3)
    # At alpha 0, the old images with every pixel twice in each direction.
    np.testing.assert_array_equal(
        puzzle_gan.generate(config, new, z), puzzle_gan.generate(config, old, z)
    )


def test_exchange_takes_one_part_from_the_other():
    config = dataclasses.replace(CONFIG, mode="faces")  # 4 and 12 dimensions
    z, other = np.zeros((2, 16), np.float32), np.ones((2, 16), np.float32)
    for part, ones in ((0, range(4)), ("face", range(4, 16)), ("surround", range(4))):
        found = puzzle_gan.exchange(config, z, other, part)
        np.testing.assert_array_equal(found, np.isin(np.arange(16), ones)[None].repeat(2, 0))
    for part in (2, -1, "nose"):
        with pytest.raises(ValueError, match="pass a number below 2, or one of surround") as caught:
            puzzle_gan.exchange(config, z, other, part)
        assert_error_message(str(caught.value))
    with pytest.raises(ValueError, match="shape"):
        puzzle_gan.exchange(config, z, other[:1], 0)
    with pytest.raises(ValueError, match=r"z must be \[B, 16\], got float32\[2, 8\]"):
        puzzle_gan.exchange(config, z[:, :8], other[:, :8], 0)


def halves(first=(0, 0, 4, 8), second=(4, 0, 4, 8), **changes):
    """Returns the settings of a custom puzzle of two rectangles."""
    parts = (
        Part(name="a", latent=8, rectangles=(first,)),
        Part(name="b", latent=8, rectangles=(second,)),
    )
    return SMALL | {"mode": "custom", "parts": parts} | changes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (halves((0, 0, 4, 9)), "outside the 8x8 first maps"),
        (halves(second=(5, 0, 4, 8)), "ends at row 9 and column 8, outside"),
        (halves((0, 0, 5, 8)), r"rectangle \(4, 0, 4, 8\) of part b overlaps part a"),
        (halves((0, 0, 4, 7)), "4 cells .* row 0 and column 7, are in no part"),
        (halves(latent=20), "16 dimensions of noise in all, and `latent` is 20"),
        (halves(parts=(halves()["parts"][0],) * 2), "two parts have the name 'a'"),
        (halves(mode="digits"), "`parts` are of mode custom, and `mode` is digits"),
        (halves(parts=()), "`parts` of mode custom are not given"),
        (SMALL | {"latent": 18}, "digits divides the noise by 4; set `latent` to a multiple"),
        (SMALL | {"mode": "face_parts", "latent": 24}, "to a multiple of 16, got 24"),
        (
            SMALL | {"mode": "face_parts", "smallest": 4},
            "8x8 cells; set `smallest` to a multiple of 8, got 4",
        ),
        (
            SMALL | {"mode": "face_parts", "part_norm": True},
            "part nose has one dimension of noise, of which `part_norm` keeps the sign",
        ),
        (SMALL | {"start": 4}, "`start` must be a power of two from 8 to 16, got 4"),
        (SMALL | {"smallest": 6}, "`smallest` must be a power of two from 4 to 16, got 6"),
        (SMALL | {"smallest": 32}, "`smallest` must be a power of two from 4 to 16, got 32"),
        (SMALL | {"mode": "eyes"}, "`mode` must be one of digits, bedrooms, faces, face_parts"),
    ],
)
def test_rejects_parts_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        puzzle_gan.Config(**settings)
    assert_error_message(str(caught.value))


def test_rejects_parts_without_a_name_or_rectangles():
    with pytest.raises(ValueError, match="letters, digits and underscores, got 'left eye'"):
        Part(name="left eye", latent=8, rectangles=((0, 0, 4, 8),))
    with pytest.raises(ValueError, match="part eye has no rectangles"):
        Part(name="eye", latent=8, rectangles=())
    with pytest.raises(ValueError, match="`rectangles` must be"):
        Part(name="eye", latent=8, rectangles=((0, 0, 0, 8),))
    puzzle_gan.Config(**halves())  # what the rejected ones are made from


def test_messages_have_the_name_of_the_family():
    with pytest.raises(ValueError, match=r"^puzzle_gan: x must be float32\[B, 16, 16, 1\]"):
        puzzle_gan.discriminate(CONFIG, puzzle_gan.init(CONFIG, jax.random.key(0)), jnp.zeros(3))
