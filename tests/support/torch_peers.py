"""Small Configs of every family with a PyTorch peer; losses and gradients of both."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import torch

from experiments.benchmarks import peers, speed
from experiments.benchmarks.peers.torch_layers import flattened
from genjax import families
from genjax.core import GanObjective, named_key, network_names, puzzles, with_alpha
from genjax.families import (
    cyclegan,
    dalle,
    dcgan,
    dvae,
    fvsbn,
    gan,
    gan_cls,
    hierarchical_vae,
    infogan,
    jigsaw,
    jigsaw_assignment,
    joint_embedding,
    m2,
    made,
    nade,
    orderless_nade,
    pixelcnn,
    pixelcnn_pp,
    pixelrnn,
    progressive,
    puzzle_gan,
    rnade,
    stargan,
    vae,
)

torch.set_num_threads(1)

SHAPE = (5, 5, 1)
KEY = jax.random.key(3)
PIXELS = dict(layers=2, features=4, head=5)
WIDE = dict(shape=(6, 5, 2), generator_widths=(6, 4), discriminator_widths=(4, 6), latent=3)
CODES = dict(shape=(6, 5, 1), generator_widths=(4, 3), discriminator_widths=(3, 4), latent=3)
CODES |= dict(generator_dense=(6,), discriminator_dense=(5,), code_hidden=4)

TRANSLATED = dict(shape=(8, 8, 2), width=3, blocks=1, downs=1)
TRANSLATED |= dict(discriminator_width=3, discriminator_layers=1)

RESIDUAL = dict(shape=(7, 6, 2), latent=3, noise="normal")
RESIDUAL |= dict(generator_widths=(4, 3), discriminator_widths=(3, 4, 4))

GROWING = dict(shape=(8, 8, 2), latent=3, base=8, max_width=5)

PUZZLE = dict(shape=(18, 12, 2), grid=(3, 2), channels=(3, 4), width=6, layers=2, heads=2)
PUZZLE |= dict(iterations=3, rounds=2, border=5)
JIGSAW = dict(shape=(24, 16, 2), grid=(3, 2), num_permutations=7, width=3, blocks=1, dense=5)
JIGSAW |= dict(discriminator_width=3)

DISCRETE = dataclasses.replace(dvae.tiny(), quantizer="vq", likelihood="normal", restart=0.5)
CHARACTERS = dataclasses.replace(joint_embedding.tiny(), objective="structured")

CONFIGS = {
    "fvsbn": fvsbn.Config(shape=SHAPE),
    "nade": nade.Config(shape=SHAPE, hidden=6),
    "nade_loop": nade.Config(shape=SHAPE, hidden=6, activation="sigmoid", order="raster"),
    "made": made.Config(shape=SHAPE, hidden=(8, 7), activation="softplus"),
    "made_masks": made.Config(shape=SHAPE, hidden=(8,), masks=3, direct=False),
    "pixelcnn": pixelcnn.Config(shape=SHAPE, **PIXELS),
    "pixelcnn_levels": pixelcnn.Config(shape=(5, 4, 3), levels=5, first=5, **PIXELS),
    "pixelcnn_masked": pixelcnn.Config(shape=(4, 5, 2), levels=3, network="masked", **PIXELS),
    "vae": vae.Config(shape=SHAPE, hidden=(7, 6), latent=3),
    "vae_iwae": vae.Config(
        shape=SHAPE, hidden=(7,), latent=3, objective="iwae", latent_samples=4, activation="relu"
    ),
    "vae_resnet": vae.Config(
        shape=(7, 6, 2),
        encoder="resnet",
        decoder="resnet",
        channels=(2, 3, 2),
        blocks=1,
        hidden=(7,),
        latent=3,
    ),
    "gan": gan.Config(
        shape=SHAPE,
        latent=4,
        generator_hidden=(8, 7),
        discriminator_hidden=(6, 5),
        pieces=3,
        input_dropout=0.0,
        hidden_dropout=0.0,
    ),
    "gan_relu": gan.Config(
        shape=(2,),
        latent=4,
        noise="normal",
        output="linear",
        generator_hidden=(8,),
        discriminator_hidden=(6,),
        activation="relu",
        input_dropout=0.0,
        hidden_dropout=0.0,
    ),
    "dcgan": dcgan.Config(**WIDE),
    "dcgan_dense": dcgan.Config(
        **WIDE, kernel=4, generator_dense=(5,), discriminator_dense=(7,), noise="normal"
    ),
    "orderless_nade": orderless_nade.Config(shape=SHAPE, hidden=(7, 6), orders=3),
    "orderless_nade_1": orderless_nade.Config(
        shape=SHAPE, hidden=(7,), activation="sigmoid", input_masks=False
    ),
    "rnade": rnade.Config(shape=(7,), hidden=6, components=3, order="random"),
    "pixelrnn": pixelrnn.Config(shape=(5, 4, 1), **PIXELS),
    "pixelrnn_skip": pixelrnn.Config(
        shape=(4, 5, 2), levels=4, residual=False, skip=True, **PIXELS
    ),
    "pixelrnn_row": pixelrnn.Config(shape=SHAPE, network="row", skip=True, **PIXELS),
    "pixelcnn_pp": pixelcnn_pp.Config(
        shape=(5, 6, 3), features=4, blocks=1, halvings=2, components=3, dropout=0.0
    ),
    "hierarchical_vae": hierarchical_vae.Config(
        shape=SHAPE, latent=(4, 3), hidden=(6, 5), objective="iwae", latent_samples=4
    ),
    "hierarchical_vae_elbo": hierarchical_vae.Config(
        shape=SHAPE, latent=(4, 3, 2), hidden=(6, 5, 4), depth=1, latent_samples=2
    ),
    "m2": m2.Config(shape=SHAPE, classes=4, latent=3, hidden=(6, 5), weight_prior=0.01),
    "infogan": infogan.Config(**CODES),
    "infogan_width": infogan.Config(
        **CODES,
        categorical=(3, 4),
        uniform=(2,),
        gaussian=(2,),
        weights=(1.0, 0.5, 0.3, 2.0),
        code_width=True,
    ),
    "dcgan_wgan_gp": dcgan.Config(
        **RESIDUAL,
        network="residual",
        discriminator_norm="none",
        objective=GanObjective(loss="wasserstein", gradient_penalty=10.0),
    ),
    "dcgan_sngan": dcgan.Config(
        **RESIDUAL,
        classes=3,
        network="residual",
        discriminator_norm="spectral",
        objective=GanObjective(loss="hinge"),
    ),
    "dcgan_r3gan": dcgan.Config(
        **(RESIDUAL | dict(generator_widths=(4, 4, 2), discriminator_widths=(2, 4, 4))),
        classes=3,
        network="r3gan",
        group=2,
        discriminator_norm="none",
        objective=GanObjective(loss="relativistic", r1=0.3, r2=0.2),
    ),
    "cyclegan": cyclegan.Config(**TRANSLATED, kernel=3, pool=5),
    "cyclegan_resize": cyclegan.Config(
        **TRANSLATED, kernel=5, pool=0, upsampling="resize", identity=0.0, cycle_a=0.0
    ),
    "stargan": stargan.Config(
        **TRANSLATED,
        attributes=("thick", "thin", "slanted"),
        exclusive=("thick", "thin"),
        objective=GanObjective(loss="wasserstein", gradient_penalty=10.0),
    ),
    "progressive": progressive.Config(**GROWING, start=8),
    "progressive_fade": progressive.Config(**GROWING),
    "puzzle_gan": puzzle_gan.Config(**{**GROWING, "latent": 4}, smallest=4, start=4, mode="faces"),
    "puzzle_gan_norm": puzzle_gan.Config(
        **{**GROWING, "latent": 8}, smallest=8, start=8, part_norm=True
    ),
    "jigsaw": jigsaw.Config(**JIGSAW, gaps=(0, 2)),
    "jigsaw_true": jigsaw.Config(
        **{**JIGSAW, "shape": (24, 24, 2), "grid": (2, 2)}, labels="true", norm="instance"
    ),
    "jigsaw_assignment": jigsaw_assignment.Config(**PUZZLE, gaps=(0, 2), missing=2),
    "jigsaw_assignment_odd": jigsaw_assignment.Config(
        **{**PUZZLE, "shape": (9, 10, 1), "rounds": 0}
    ),
    "joint_embedding": CHARACTERS,
    "joint_embedding_words": dataclasses.replace(
        joint_embedding.tiny(), text_encoder="transformer", width=6, heads=2, image_widths=(4, 3)
    ),
    "dvae": DISCRETE,
    "dalle": dalle.Config(
        shape=DISCRETE.shape,
        image_tokenizer=DISCRETE,
        vocabulary=5,
        text_length=4,
        width=8,
        layers=3,
        heads=2,
        kernel=3,
        null_captions=0.5,
    ),
    "gan_cls": dataclasses.replace(gan_cls.tiny(), embedding=CHARACTERS),
    "dcgan_even": dcgan.Config(**{**WIDE, "shape": (8, 8, 1)}, kernel=3),
}
FORMS = {"nade_loop": {"form": "loop"}}


def family_of(name):
    config = CONFIGS[name]
    found = type(config).__module__.split(".")[2]
    return families.get(found), peers.get(found), config


def randomised(family, config):
    """Returns random variables without zeros, with positive variances."""
    rng = np.random.default_rng(0)
    fades = isinstance(config, progressive.Config) and config.start < config.shape[0]

    def initial(key):
        variables = family.init(config, key)
        return family.grow(config, variables, key) if fades else variables

    tree = jax.eval_shape(initial, KEY)
    draw = lambda leaf: jnp.asarray(0.4 * rng.normal(size=leaf.shape), leaf.dtype)  # noqa: E731
    variables = jax.tree.map(draw, tree)
    if "batch_stats" in variables:
        positive = lambda leaf: 0.1 + jnp.abs(leaf)  # noqa: E731
        variables["batch_stats"] = jax.tree.map(positive, variables["batch_stats"])
    if family in (dvae, dalle):
        book = variables["buffers"]
        book = book["image_tokenizer"]["buffers"] if family is dalle else book
        book["codebook"]["counts"] = 0.1 + jnp.abs(book["codebook"]["counts"])
    if isinstance(config, progressive.Config):
        variables = with_alpha(variables, 0.3 if fades else 1.0)
    return variables


def noise_of(name, key, config=None):
    """Returns the random numbers that a JAX loss draws from a key, as a peer's `noise`."""
    family, _, own = family_of(name)
    config = config or own
    if isinstance(config, vae.Config):
        return tensor(jax.random.normal(key, (config.latent_samples, 3, config.latent)))
    if isinstance(config, made.Config) and config.masks > 1:
        return int(jax.random.randint(jax.random.split(key)[0], (), 0, config.masks))
    if isinstance(config, m2.Config):
        return tensor(jax.random.normal(key, (3, config.classes, config.latent)))
    if isinstance(config, hierarchical_vae.Config):
        of_layers = functools.partial(jax.random.split, num=len(config.latent))
        drawn = [
            [jax.random.normal(of_layers(one)[i], (3, z)) for i, z in enumerate(config.latent)]
            for one in jax.random.split(key, config.latent_samples)
        ]
        return [tensor(jnp.stack(layer)) for layer in zip(*drawn, strict=True)]
    if isinstance(config, dvae.Config):
        vectors = size_of(family) * math.prod(dvae.token_grid(config))
        return tensor(jax.random.gumbel(key, (vectors,)))
    if isinstance(config, dalle.Config):
        shape = (size_of(family), 1)
        return tensor(jax.random.bernoulli(named_key(key, 0, "null"), config.null_captions, shape))
    if isinstance(config, gan_cls.Config):  # the generator has midpoints too
        size = size_of(family)
        return tuple(tensor(family.noise(config, key, n)) for n in (size, size + size // 2))
    if isinstance(config, orderless_nade.Config):
        pixel_key, subset_key, _ = jax.random.split(key, 3)
        x = jnp.zeros((3, 25))
        pixel = jax.random.randint(pixel_key, (3, 1), 0, 25)
        return tensor(orderless_nade._pixels_before(subset_key, pixel, x))
    if isinstance(config, jigsaw_assignment.Config):
        size, count = size_of(family), len(config.gaps)
        draw = functools.partial(named_key, key, 0)
        gaps = jax.random.randint(draw("gap"), (size,), 0, count)
        missing = jax.random.randint(draw("missing"), (size, 1), 0, config.missing + 1)
        order = puzzles.random_orders(draw("order"), size, math.prod(config.grid))
        return tensor(order), tensor(jnp.asarray(config.gaps)[gaps]), tensor(missing[:, 0])
    if isinstance(config, jigsaw.Config):
        order_key, gap_key = jax.random.split(key, 4)[:2]
        labels = jax.random.randint(order_key, (size_of(family),), 0, config.num_permutations)
        gaps = jax.random.randint(gap_key, (size_of(family),), 0, len(config.gaps))
        return tensor(labels), tensor(jnp.asarray(config.gaps)[gaps])
    if isinstance(config, cyclegan.Config):  # swaps and slots of both pools
        each = zip(cyclegan.DOMAINS, jax.random.split(key), strict=True)
        keys = {domain: jax.random.split(own) for domain, own in each}
        return {
            domain: (
                tensor(jax.random.bernoulli(swap, 0.5, (size_of(family),))),
                tensor(jax.random.randint(slot, (size_of(family),), 0, max(config.pool, 1))),
            )
            for domain, (swap, slot) in keys.items()
        }
    if isinstance(config, stargan.Config):
        target_key, objective_key = jax.random.split(key)
        mix_key = jax.random.split(jax.random.split(objective_key, 3)[2], 4)[0]
        order = jax.random.permutation(target_key, size_of(family))
        return tensor(order), tensor(jax.random.uniform(mix_key, (size_of(family),)))
    if isinstance(config, (dcgan.Config, progressive.Config)) and (
        config.objective.gradient_penalty
    ):
        noise_key, objective_key = jax.random.split(key)
        penalty_key = jax.random.split(objective_key, 3)[2]
        mix = jax.random.uniform(jax.random.split(penalty_key, 4)[0], (size_of(family),))
        return tensor(family.noise(config, noise_key, size_of(family))), tensor(mix)
    if hasattr(family, "noise"):
        return tensor(family.noise(config, jax.random.split(key)[0], size_of(family)))
    return None


def tensor(a):
    return torch.from_numpy(np.array(a))


def network_of(name, variables):
    _, peer, config = family_of(name)
    return peer.build(config, jax.tree.map(np.asarray, variables), **FORMS.get(name, {}))


@functools.cache
def case(name):
    """Returns variables, a batch, and JAX's losses: `{loss name: (nats, {path: gradient})}`."""
    family, _, config = family_of(name)
    variables = randomised(family, config)
    batch = speed.random_batch(family, config, size_of(family), jax.random.key(1))
    if isinstance(config, m2.Config):
        batch["label"] = jnp.asarray([2, -1, 0], jnp.int32)
    if "attributes" in batch:
        drawn = jax.random.bernoulli(KEY, 0.5, batch["attributes"].shape)
        batch["attributes"] = drawn.astype(jnp.uint8)
    if "text" in batch:
        batch["text"] = batch["text"].at[..., -1].set(0)  # padding
    return variables, batch, reference(name, variables, batch)


def reference(name, variables, batch):
    family, _, config = family_of(name)
    found = {}
    for loss_name in losses_of(family):
        own = loss_name.removesuffix("_loss") if loss_name != "loss" else None
        loss_function = family.LOSSES[own] if own else family.loss

        @jax.jit
        def both(params, batch, loss_function=loss_function):
            def mean(params):
                nats, _ = loss_function(config, {**variables, "params": params}, batch, KEY)
                return nats.mean(), nats

            return jax.grad(mean, has_aux=True)(params)

        grads, nats = both(variables["params"], batch)
        kept = {own: grads[own]} if own else grads
        found[loss_name] = (np.asarray(nats), flattened(jax.tree.map(np.asarray, kept)))
    return found


def size_of(family):
    # Batch norm's variance of three values is imprecise in both libraries.
    return 12 if network_names(family) else 3


def losses_of(family):
    return [f"{name}_loss" for name in network_names(family)] or ["loss"]


def of_peer(name, network, batch):
    """Returns the peer's losses in the form of `reference`."""
    family, peer, config = family_of(name)
    found, leaves = {}, network.leaves()
    kept = [buffer.clone() for buffer in network.buffers()]
    for loss_name in losses_of(family):
        nats = getattr(peer, loss_name)(network, config, batch, noise_of(name, KEY))
        nats = nats[0] if isinstance(nats, tuple) else nats
        network.zero_grad(set_to_none=True)
        nats.mean().backward()
        with torch.no_grad():  # every loss is of the same statistics
            for buffer, value in zip(network.buffers(), kept, strict=True):
                buffer.copy_(value)
        own = "" if loss_name == "loss" else loss_name.removesuffix("_loss") + "/"
        grads = {
            path: layout(tensor.grad).numpy()
            for path, (tensor, layout) in leaves.items()
            if path.startswith(own)
        }
        found[loss_name] = (nats.detach().numpy(), grads)
    return found


def as_tensors(batch):
    return {k: tensor(v) for k, v in batch.items()}
