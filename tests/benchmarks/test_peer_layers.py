"""Layers of the PyTorch peers equal those of Flax for the same weights and inputs.

FVSBN, NADE, orderless NADE and RNADE have no layers. Of these and of the families of translation,
growing networks, puzzles and texts, `test_peers` compares the values and gradients of the whole.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

REASON = "torch is not installed (pip install -e '.[torch]')"
pytest.importorskip("torch", reason=REASON)

from support.torch_peers import CONFIGS, KEY, case, family_of, network_of, tensor  # noqa: E402

from experiments.benchmarks import peers  # noqa: E402
from experiments.benchmarks.peers import torch_residual_gan, torch_strided  # noqa: E402
from genjax.families import (  # noqa: E402
    dcgan,
    gan,
    hierarchical_vae,
    infogan,
    m2,
    made,
    pixelcnn,
    pixelcnn_pp,
    pixelrnn,
)
from genjax.families.vae import networks  # noqa: E402
from genjax.nn.causal import scale_levels  # noqa: E402

WITHOUT_LAYERS = {"fvsbn", "nade", "orderless_nade", "rnade"}
AS_A_WHOLE = {
    *("cyclegan", "stargan", "progressive", "puzzle_gan", "jigsaw", "jigsaw_assignment"),
    *("dvae", "dalle", "joint_embedding", "gan_cls"),
}


def captured(module, variables, *inputs, keep=lambda module, name: name == "__call__", **options):
    """Returns the outputs of all layers of a Flax module, `{path: array}`."""
    options |= {"capture_intermediates": keep, "mutable": ["intermediates", "batch_stats"]}
    _, state = module.apply(variables, *inputs, **options)
    found = {}
    for path, a in jax.tree_util.tree_leaves_with_path(state["intermediates"]):
        names = [k.key for k in path if hasattr(k, "key")]
        found["/".join(names[:-1])] = np.asarray(a)  # the last is __call__
    return found


def owners(network, leaves):
    """Returns `{path in Flax: torch layer}` of all layers with a weight."""
    layers = {id(m.weight): m for m in network.modules() if hasattr(m, "weight")}
    layers |= {
        id(m.parametrizations.weight.original1): m
        for m in network.modules()
        if hasattr(m, "parametrizations")
    }
    names = (path.rsplit("/", 1) for path in leaves)
    return {
        name: layers[id(leaves[f"{name}/{leaf}"][0])]
        for name, leaf in names
        if leaf in ("kernel", "scale", "v") and id(leaves[f"{name}/{leaf}"][0]) in layers
    }


def hooked(layers, forward):
    """What every torch layer gave, under the name that it was given here."""
    found = {}
    for name, layer in layers.items():
        keep = lambda m, i, o, name=name: found.__setitem__(name, o.detach())  # noqa: E731
        layer.register_forward_hook(keep)
    forward()
    assert found.keys() == layers.keys()
    return found


def nhwc(path, t):
    """Maps as Flax has them."""
    return t.permute(0, 2, 3, 1) if t.ndim == 4 else t


def agree(flax, got, arranged=nhwc):
    """Layer by layer; `arranged(path, tensor)` is in Flax's order."""
    assert got
    assert got.keys() <= flax.keys()
    for path, found in got.items():
        shown = arranged(path, found).numpy().reshape(flax[path].shape)
        np.testing.assert_allclose(shown, flax[path], rtol=1e-3, atol=1e-4, err_msg=path)


def kernels_of(leaves):
    return sum(path.rsplit("/")[-1] in ("kernel", "v") for path in leaves)


def test_every_peer_with_layers_is_compared():
    here = {name.removeprefix("test_layers_of_") for name in globals()}
    assert {n for n in here if n in peers.FAMILIES} == set(
        peers.FAMILIES
    ) - WITHOUT_LAYERS - AS_A_WHOLE


@pytest.mark.parametrize("name", ["pixelcnn", "pixelcnn_levels", "pixelcnn_masked"])
def test_layers_of_pixelcnn(name):
    _, _, config = family_of(name)
    variables, batch, _ = case(name)
    network = network_of(name, variables)
    leaves = network.leaves()
    flax = captured(pixelcnn._network(config), variables, batch["x"])
    got = hooked(owners(network, leaves), lambda: network(tensor(batch["x"])))
    assert len(got) == kernels_of(leaves)
    agree(flax, got)


@pytest.mark.parametrize("name", ["pixelrnn", "pixelrnn_skip", "pixelrnn_row"])
def test_layers_of_pixelrnn(name):
    _, _, config = family_of(name)
    variables, batch, _ = case(name)
    network = network_of(name, variables)

    def keep(module, method):
        # What a direction is made of is called within loops, from where nothing may be kept.
        return method == "__call__" and not {"left", "right", "recurrence"} & set(module.path)

    flax = captured(pixelrnn.Network(config), variables, batch["x"], keep=keep)
    found = owners(network, network.leaves())
    inside = {"left", "right", "recurrence"}
    layers = {n: layer for n, layer in found.items() if not inside & set(n.split("/"))}
    layers |= {f"rnn/lstm_{i}": layer for i, layer in enumerate(network.lstm)}
    got = hooked(layers, lambda: network(tensor(batch["x"])))
    assert len(got) == 1 + 2 + 2 * config.layers + config.skip * config.layers
    agree(flax, got)


def test_layers_of_pixelcnn_pp():
    _, _, config = family_of("pixelcnn_pp")
    variables, batch, _ = case("pixelcnn_pp")
    network = network_of("pixelcnn_pp", variables)
    x = scale_levels(batch["x"], config.levels)
    flax = captured(pixelcnn_pp._network(config), variables, x, None, False)
    leaves = network.leaves()
    got = hooked(owners(network, leaves), lambda: network(tensor(batch["x"])))
    assert len(got) == kernels_of(leaves)
    agree(flax, got)


@pytest.mark.parametrize("name", ["made", "made_masks"])
def test_layers_of_made(name):
    _, _, config = family_of(name)
    variables, batch, _ = case(name)
    network, x = network_of(name, variables), batch["x"].reshape(3, -1)
    mask = config.masks - 1
    flax = captured(made.MADE(config), variables, x, mask)
    got = hooked(owners(network, network.leaves()), lambda: network(tensor(x), mask))
    assert len(got) == len(config.hidden) + 1 + config.direct
    agree(flax, got)


@pytest.mark.parametrize("name", ["vae", "vae_resnet"])
def test_layers_of_vae(name):
    _, _, config = family_of(name)
    variables, batch, _ = case(name)
    network = network_of(name, variables)
    z = jax.random.normal(KEY, (3, config.latent))
    builders = {"encoder": networks.encoder, "decoder": networks.Decoder}
    for part, given in (("encoder", batch["x"]), ("decoder", z)):
        peer, prefix = getattr(network, part), f"{network.names[part]}/"
        own = {"params": variables["params"][part]}
        flax = captured(builders[part](config), own, given)
        flax = {path.removeprefix(prefix): a for path, a in flax.items()}
        leaves = peer.leaves()
        got = hooked(owners(peer, leaves), functools.partial(peer, tensor(given).flatten(1)))
        assert len(got) == kernels_of(leaves)
        agree(flax, got)


def test_layers_of_hierarchical_vae():
    _, _, config = family_of("hierarchical_vae")
    variables, batch, _ = case("hierarchical_vae")
    network = network_of("hierarchical_vae", variables)
    given = [jax.random.normal(KEY, (3, z)) for z in config.latent]
    ways = {
        "up": (network.up, hierarchical_vae._up, [batch["x"].reshape(3, -1), *given]),
        "down": (network.down, hierarchical_vae._down, given),
    }
    for way, (parts, flax_part, inputs) in ways.items():
        for i, (part, x) in enumerate(zip(parts, inputs, strict=False)):
            own = {"params": variables["params"][f"{way}_{i}"]}
            got = hooked(owners(part, part.leaves()), functools.partial(part, tensor(x)))
            assert len(got) == config.depth + 1
            agree(captured(flax_part(config, i), own, x), got)


def test_layers_of_m2():
    _, _, config = family_of("m2")
    variables, batch, _ = case("m2")
    network, x = network_of("m2", variables), batch["x"].reshape(3, -1)
    every = jnp.eye(config.classes)
    z = jax.random.normal(KEY, (3, config.classes, config.latent))
    inputs = {"classifier": (x,), "encoder": (x[:, None], every[None]), "decoder": (z, every[None])}
    for module, (part, given) in zip(m2._networks(config), inputs.items(), strict=True):
        peer, own = getattr(network, part), {"params": variables["params"][part]}
        leaves = peer.leaves()
        got = hooked(owners(peer, leaves), functools.partial(peer, *map(tensor, given)))
        assert len(got) == kernels_of(leaves)
        agree(captured(module, own, *given), got)


@pytest.mark.parametrize("name", ["gan", "gan_relu"])
@pytest.mark.parametrize("network_name", ["generator", "discriminator"])
def test_layers_of_gan(name, network_name):
    _, _, config = family_of(name)
    variables, batch, _ = case(name)
    peer = getattr(network_of(name, variables), network_name)
    module, given = gan.Discriminator(config), batch["x"]
    if network_name == "generator":
        module, given = gan.Generator(config), gan.noise(config, KEY, len(given))
    leaves = peer.leaves()
    got = hooked(owners(peer, leaves), functools.partial(peer, tensor(given)))
    assert len(got) == kernels_of(leaves)
    agree(captured(module, {"params": variables["params"][network_name]}, given), got)


def strided_layers(name, network_name, family):
    """Of networks of strided convolutions, whose maps lie mirrored."""
    _, _, config = family_of(name)
    variables, batch, _ = case(name)
    network = getattr(network_of(name, variables), network_name)
    x = batch["x"]
    module, given, seen = family.Discriminator(config), x, torch_strided.flipped(tensor(x))
    if network_name == "generator":
        module, given = family.Generator(config), family.noise(config, KEY, len(x))
        seen = tensor(given)
    own = {c: variables[c][network_name] for c in ("params", "batch_stats")}
    flax = captured(module, own, given, train=True)
    leaves = network.leaves()
    got = hooked(owners(network, leaves), lambda: network(seen, train=True))
    layout = (
        torch_strided.map_layout(network.stack.sides[0]) if network_name == "generator" else None
    )
    first_map = str(len(network.stack.dense) - 1)  # the dense layer, and its norm, that make one

    def arranged(path, t):
        if t.ndim == 4:
            return torch_strided.unflipped(t)
        return layout(t.t()).t() if layout and path.endswith(first_map) else t

    scales = sum(path.endswith("scale") for path in leaves)
    assert len(got) == kernels_of(leaves) + scales
    agree(flax, got, arranged)


@pytest.mark.parametrize("name", ["dcgan", "dcgan_dense", "dcgan_even"])
@pytest.mark.parametrize("network_name", ["generator", "discriminator"])
def test_layers_of_dcgan(name, network_name):
    strided_layers(name, network_name, dcgan)


@pytest.mark.parametrize("name", ["infogan", "infogan_width"])
@pytest.mark.parametrize("network_name", ["generator", "discriminator"])
def test_layers_of_infogan(name, network_name):
    strided_layers(name, network_name, infogan)


def test_every_config_belongs_to_a_family_with_a_peer():
    modules = {type(config).__module__ for config in CONFIGS.values()}
    assert {name.split(".")[2] for name in modules} == set(peers.FAMILIES)


@pytest.mark.parametrize("name", ["dcgan_wgan_gp", "dcgan_sngan", "dcgan_r3gan"])
@pytest.mark.parametrize("network_name", ["generator", "discriminator"])
def test_layers_of_residual_gans(name, network_name):
    _, _, config = family_of(name)
    variables, batch, _ = case(name)
    network, x = getattr(network_of(name, variables), network_name), batch["x"]
    condition = jax.nn.one_hot(jnp.arange(len(x)) % 3, 3) if config.classes else None
    own = {c: variables[c][network_name] for c in variables if network_name in variables[c]}
    if network_name == "generator":
        module, given = dcgan.Generator(config), dcgan.noise(config, KEY, len(x))
        joined = given if condition is None else jnp.concatenate([given, condition], 1)
        seen = (tensor(joined), True)
    else:
        module, given = dcgan.Discriminator(config), x
        labels = None if condition is None else tensor(condition)
        seen = (tensor(x).permute(0, 3, 1, 2), labels, True)
    flax = captured(module, own, given, condition, train=True)
    leaves = network.leaves()
    got = hooked(owners(network, leaves), lambda: network(*seen))
    assert len(got) == kernels_of(leaves) + sum(path.endswith("scale") for path in leaves)

    def arranged(path, t):  # the family halves a map within the convolution before
        halved = t.ndim == 4 and t.shape[2] != flax[path].shape[1]
        return nhwc(path, torch_residual_gan.halve(t) if halved else t)

    agree(flax, got, arranged)
