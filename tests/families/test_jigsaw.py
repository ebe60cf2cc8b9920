"""JigsawGAN: networks, warp, losses, what the networks can and cannot see."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import compiled_step, make_batch, make_state, random_arrays

from genjax import losses
from genjax.core import GanObjective, puzzles
from genjax.families import jigsaw

SMALL = dataclasses.replace(jigsaw.tiny(), shape=(16, 16, 2), width=2, dense=16)


@functools.cache
def variables_of(config=SMALL):
    """Returns random weights, and running statistics that are valid."""
    variables = random_arrays(functools.partial(jigsaw.init, config))
    return {**variables, "batch_stats": jax.tree.map(jnp.exp, variables["batch_stats"])}


def images(n, config=SMALL, seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, (n, *config.shape))
    return jnp.asarray(x, jnp.float32)


@functools.cache
def solver(name="permutation_logits", config=SMALL):
    return jax.jit(functools.partial(getattr(jigsaw, name), config))


@functools.cache
def loss_of(name, config=SMALL):
    return jax.jit(functools.partial(jigsaw.LOSSES[name], config))


@pytest.mark.parametrize(
    ("config", "generator", "discriminator"),
    [
        # 1,116,608 encoder, 8,476,648 classifier, 10,008,323 decoder
        (jigsaw.Config(), 19_601_579, 575_681),
        (
            jigsaw.Config(  # the authors' code: 10 permutations, and the identity
                shape=(64, 64, 3),
                grid=(2, 2),
                num_permutations=11,
                norm="instance",
                layers="released",
                dense=512,
            ),
            13_914_446,
            1_128_385,
        ),
    ],
)
def test_numbers_of_parameters(config, generator, discriminator):
    found = jax.eval_shape(functools.partial(jigsaw.init, config), jax.random.key(0))["params"]
    sizes = {n: sum(math.prod(a.shape) for a in jax.tree.leaves(v)) for n, v in found.items()}
    assert sizes == {"generator": generator, "discriminator": discriminator}


def test_the_warp_of_the_true_permutation_is_the_identity():
    orders = jnp.asarray(jigsaw.maximal_hamming(6, 20))
    x = jax.random.normal(jax.random.key(0), (20, 6, 2, 3, 4))
    logits = 200.0 * jnp.eye(20)
    moved = jigsaw.warp(puzzles.shuffle(x, orders), logits, orders)
    np.testing.assert_array_equal(moved, x)


def test_the_warp_is_differentiable_in_the_logits():
    """The gradient is that of the softmax-weighted mean of all rearrangements."""
    orders = jnp.asarray(jigsaw.maximal_hamming(4, 7))
    x, weights = jax.random.normal(jax.random.key(0), (2, 3, 4, 2, 2, 1))
    logits = jax.random.normal(jax.random.key(1), (3, 7))
    score = lambda logits: (weights * jigsaw.warp(x, logits, orders)).sum((1, 2, 3, 4))  # noqa: E731
    each = jnp.stack(
        [
            (weights * puzzles.restore(x, jnp.tile(order, (3, 1)))).sum((1, 2, 3, 4))
            for order in orders
        ],
        axis=1,
    )  # [B, P]
    p = jax.nn.softmax(logits)
    np.testing.assert_allclose(score(logits), (p * each).sum(1), rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda z: score(z).sum())(logits)
    want = p * (each - (p * each).sum(1, keepdims=True))
    np.testing.assert_allclose(gradient, want, rtol=1e-4, atol=1e-5)
    matrix = jigsaw.assignment(logits, orders)
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(matrix.sum(2), 1, rtol=1e-5)


@pytest.mark.parametrize("train", [False, True])
def test_positions_do_not_leak(train):
    """Puzzles of copies of one piece have the same logits whatever their labels, so accuracy is
    chance: cutting, erosion, shuffling and padding leave no trace of a position."""
    config = dataclasses.replace(SMALL, gaps=(1,))
    own = {k: v["generator"] for k, v in variables_of().items()}

    @jax.jit
    def logits_of(x):
        pieces, labels = jigsaw._puzzles(config, x, *jax.random.split(jax.random.key(0)))
        module = jigsaw.generator(config)
        if not train:
            return jigsaw.permutation_logits(config, variables_of(), pieces), labels
        return module.apply(own, pieces, train=True, mutable=["batch_stats"])[0][0], labels

    whole = images(1)
    logits, labels = logits_of(jnp.tile(whole[:, :8, :8], (16, 2, 2, 1)))
    assert len(np.unique(labels)) == config.num_permutations
    np.testing.assert_allclose(logits, np.tile(logits[:1], (16, 1)), rtol=1e-5, atol=1e-6)
    different, _ = logits_of(jnp.tile(whole, (16, 1, 1, 1)))
    assert np.abs(different - different[:1]).max() > 1e-3


def test_pieces_are_encoded_by_themselves():
    module = jigsaw.generator(SMALL)
    own = {k: v["generator"] for k, v in variables_of().items()}
    encode = jax.jit(lambda x: module.apply(own, x, method=lambda m, x: m.encoder(x, False)))
    pieces = puzzles.cut(images(2), SMALL.grid).reshape(8, 8, 8, 2)
    together = encode(pieces)
    assert together.shape == (8, 2, 2, 8)
    changed = encode(pieces.at[3:].set(0.5))
    np.testing.assert_array_equal(changed[:3], together[:3])
    np.testing.assert_allclose(encode(pieces[::-1])[::-1], together, rtol=1e-5, atol=1e-6)


def test_the_image_of_the_predicted_order_does_not_depend_on_the_shuffle():
    """With a classifier that names the order by its bias, all shuffles are decoded to one image."""
    orders = jigsaw.permutations(SMALL)
    variables = variables_of()
    x, reassemble = images(1), solver("reassemble")
    head = {"kernel": jnp.zeros((16, len(orders))), "bias": None}

    def image(order, predicted):
        params = jax.tree.map(lambda a: a, variables["params"])
        last = {**head, "bias": 100.0 * jnp.eye(len(orders))[predicted]}
        assert set(params["generator"]["classifier"]["Dense_1"]) == set(last)
        params["generator"]["classifier"]["Dense_1"] = last
        pieces = puzzles.shuffle(puzzles.cut(x, SMALL.grid), jnp.asarray(orders[order][None]))
        return np.asarray(reassemble({**variables, "params": params}, pieces))

    found = [image(i, i) for i in range(len(orders))]
    assert found[0].shape == (1, *SMALL.shape)
    assert np.abs(found[0]).max() <= 1
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-5)
    assert np.abs(image(0, 1) - found[0]).max() > 1e-3


def test_one_step_changes_every_part_of_both_networks():
    config = jigsaw.tiny()
    state, batch = make_state(jigsaw, config), make_batch(jigsaw, config)
    before = jax.device_get(state.variables["params"])
    new, _ = compiled_step(jigsaw, config)(state, batch)
    after = jax.device_get(new.variables["params"])
    parts = [*(("generator", p) for p in before["generator"]), ("discriminator", "Conv_0")]
    assert len(parts) == 4  # encoder, classifier, decoder
    for network, part in parts:
        changes = jax.tree.map(
            lambda a, b: np.any(a != b), before[network][part], after[network][part]
        )
        assert all(jax.tree.leaves(changes)), (network, part)


@pytest.mark.parametrize("term", ["adversarial", "boundary"])
def test_the_classifier_has_a_gradient_through_the_warp_alone(term):
    """That is, of the terms that see the decoded image; an argmax would pass none."""
    variables, batch = variables_of(), {"x": images(3)}

    def mean(params):
        changed = {**variables, "params": params}
        return loss_of("generator")(changed, batch, jax.random.key(0))[1][term].mean()

    gradient = jax.grad(mean)(variables["params"])["generator"]["classifier"]
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.any(leaf)


def test_terms_of_the_generators_loss():
    """The total is their weighted sum. Without an adversarial loss D is not used."""
    variables, batch = variables_of(), {"x": images(3)}

    def terms(variables=variables, **changed):
        config = dataclasses.replace(SMALL, **changed)
        return loss_of("generator", config)(variables, batch, jax.random.key(0))

    total, aux = terms(adversarial=2.0, boundary=3.0)
    want = aux["classification"] + 2 * aux["adversarial"] + 3 * aux["boundary"]
    np.testing.assert_allclose(total, want, rtol=1e-5)
    alone = {c: {"generator": v["generator"]} for c, v in variables.items()}
    total, aux = terms(alone, adversarial=0.0, boundary=0.0)
    np.testing.assert_array_equal(total, aux["classification"])
    assert not {"adversarial", "boundary"} & set(aux)


def test_labels_are_true_or_of_the_borders():
    """On noise the latter are mostly wrong; on a smooth image they are right."""
    y, x = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    ramp = np.stack([0.05 * (y + 1.6 * x) - 1, np.sin(0.2 * x + 0.1 * y)], -1)
    smooth = jnp.asarray(np.tile(ramp[None], (16, 1, 1, 1)), jnp.float32)
    variables, right, nats = variables_of(), {}, {}
    for labels in ("true", "reference"):
        config = dataclasses.replace(SMALL, labels=labels, adversarial=0.0, boundary=0.0)
        for name, data in (("noise", images(16)), ("smooth", smooth)):
            nats[labels, name], aux = loss_of("generator", config)(
                variables, {"x": data}, jax.random.key(0)
            )
            right[labels, name] = np.asarray(aux["label_accuracy"])
    assert right["true", "noise"].all()
    assert right["true", "smooth"].all()
    assert right["reference", "smooth"].all()
    wrong = right["reference", "noise"] == 0
    assert wrong.sum() > 0
    same = nats["true", "noise"] == nats["reference", "noise"]
    np.testing.assert_array_equal(same, ~wrong)


def test_puzzles_are_shuffled_by_the_list_and_eroded_by_a_gap():
    config = dataclasses.replace(SMALL, gaps=(0, 2))
    x, keys = images(64), jax.random.split(jax.random.key(0))
    pieces, labels = jigsaw._puzzles(config, x, *keys)
    orders = jnp.asarray(jigsaw.permutations(config))[labels]
    whole = puzzles.cut(x, config.grid)
    shown = [np.asarray(puzzles.shuffle(puzzles.erode(whole, g), orders)) for g in config.gaps]
    which = [(pieces == s).all((1, 2, 3, 4)) for s in shown]
    assert (which[0] ^ which[1]).all()
    assert 16 < which[1].sum() < 48
    assert set(np.asarray(labels).tolist()) == set(range(5))


def test_boundary_loss_is_the_mean_over_borders():
    """Against loops over the borders, on a grid with unequal numbers and sides."""
    grid = (2, 3)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 16, 36, 2)).astype(np.float32)
    rows, columns = [], []
    for image in x:
        above = [
            (image[7:8, 12 * c : 12 * c + 12], image[8:9, 12 * c : 12 * c + 12]) for c in range(3)
        ]
        beside = [
            (image[8 * r : 8 * r + 8, 12 * c - 1][None], image[8 * r : 8 * r + 8, 12 * c][None])
            for r in range(2)
            for c in (1, 2)
        ]
        for found, lines in ((rows, above), (columns, beside)):
            a, b = (jnp.asarray(np.stack(part) + 1) / 2 for part in zip(*lines, strict=True))
            window = (1, min(11, a.shape[2]))
            found.append(losses.ssim(a, b, window=window).mean())
    want = 2 - np.stack(rows) - np.stack(columns)
    np.testing.assert_allclose(jigsaw.boundary_loss(jnp.asarray(x), grid), want, rtol=1e-5)
    flat = jnp.ones((1, 16, 36, 2))
    np.testing.assert_allclose(jigsaw.boundary_loss(flat, grid), 0, atol=1e-6)
    grey = flat.at[:, :8].set(0.05).at[:, 8:].set(-0.05)  # 0.525 above 0.475
    luminance = (2 * 0.525 * 0.475 + 1e-4) / (0.525**2 + 0.475**2 + 1e-4)
    np.testing.assert_allclose(jigsaw.boundary_loss(grey, grid), 1 - luminance, rtol=1e-3)
    top = jnp.asarray(x[:, :8])  # one row of pieces has vertical borders alone
    assert (jigsaw.boundary_loss(top, (1, 3)) < 2).all()
    np.testing.assert_array_equal(jigsaw.boundary_loss(top, (1, 1)), 0)


def test_the_discriminator_sees_the_images_of_the_generators_update():
    """Without them it decodes puzzles of its own; no gradient reaches the generator."""
    variables, batch = variables_of(), {"x": images(3)}
    loss = loss_of("discriminator")
    _, aux = loss_of("generator")(variables, batch, jax.random.key(0))
    given = {**batch, "outputs": aux["outputs"]}
    a, b = (loss(variables, given, jax.random.key(k))[0] for k in (1, 2))
    np.testing.assert_array_equal(a, b)
    a, b = (loss(variables, batch, jax.random.key(k))[0] for k in (1, 2))
    assert np.abs(a - b).max() > 1e-5

    def mean(params):
        changed = {**variables, "params": params}
        return loss(changed, batch, jax.random.key(0))[0].mean()

    gradient = jax.grad(mean)(variables["params"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["generator"]))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient["discriminator"]))


@pytest.mark.parametrize("layers", ["paper", "released"])
def test_classifier_of_maps_of_any_size(layers):
    """The paper's 18x18 maps are halved six times, rounded up."""
    for shape, grid in (((72, 72, 3), (3, 3)), ((24, 8, 1), (3, 1))):
        config = jigsaw.Config(
            shape=shape, grid=grid, num_permutations=6, width=2, dense=8, layers=layers
        )
        variables = jax.eval_shape(functools.partial(jigsaw.init, config), jax.random.key(0))
        pieces = jax.eval_shape(lambda x, g=grid: puzzles.cut(x, g), jnp.zeros((2, *shape)))
        logits = jax.eval_shape(
            functools.partial(jigsaw.permutation_logits, config), variables, pieces
        )
        assert logits.shape == (2, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (72, 72)}, "must be \\(H, W, C\\)"),
        ({"shape": (28, 28, 1), "grid": (2, 2)}, "have 14x14; use images with .* 8 x 8"),
        ({"grid": (2, 2)}, "4 pieces have 24 permutations, so a list cannot have 1,000"),
        ({"num_permutations": 1}, "at least 2 permutations"),
        ({"gaps": ()}, "`gaps` must be one or more"),
        ({"gaps": (0, 12)}, "below half of the pieces' sides 24x24, got \\(0, 12\\)"),
        ({"shape": (12, 12, 1), "norm": "instance"}, "needs pieces larger than 4x4"),
        ({"shape": (4, 4, 1), "grid": (1, 1), "num_permutations": 2}, "at least 8 pixels"),
        ({"objective": GanObjective()}, "set update to simultaneous"),
        ({"objective": GanObjective(update="simultaneous", r1=1.0)}, "batch normalisation"),
    ],
)
def test_rejects_invalid_configs(options, message):
    with pytest.raises(ValueError, match=message):
        jigsaw.Config(**options)
