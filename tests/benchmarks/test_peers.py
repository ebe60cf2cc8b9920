"""PyTorch peers equal the families: losses, gradients, samples, a training step."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

REASON = "torch is not installed (pip install -e '.[torch]')"
torch = pytest.importorskip("torch", reason=REASON)

from support.torch_peers import (  # noqa: E402
    CONFIGS,
    KEY,
    as_tensors,
    case,
    family_of,
    losses_of,
    network_of,
    noise_of,
    of_peer,
    reference,
)

from experiments import table  # noqa: E402
from experiments.benchmarks import comparison, peers, reporting, speed  # noqa: E402
from experiments.benchmarks.peers import time_peer, torch_steps  # noqa: E402
from experiments.benchmarks.peers.torch_layers import flattened  # noqa: E402
from genjax import families  # noqa: E402
from genjax.core import (  # noqa: E402
    GanObjective,
    Optimizer,
    State,
    elbo,
    make_step,
    named_key,
    network_names,
)
from genjax.core.state import init_optimizer  # noqa: E402
from genjax.families import (  # noqa: E402
    dcgan,
    gan,
    hierarchical_vae,
    markov,
    mixture,
    pixelcnn,
    pixelrnn,
    rnade,
    vae,
)
from genjax.train import Run, Train  # noqa: E402
from genjax.train.run_config import build_optimizer  # noqa: E402

FAST = ["--repeats", "2", "--batch-size", "2", "--samples", "2"]


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_and_gradients_equal_those_of_jax(name):
    variables, batch, expected = case(name)
    network = network_of(name, variables)
    assert network.leaves().keys() == flattened(variables["params"]).keys()
    got = of_peer(name, network, as_tensors(batch))
    for loss_name, (nats, grads) in expected.items():
        np.testing.assert_allclose(got[loss_name][0], nats, rtol=1e-4, atol=1e-5)
        assert got[loss_name][1].keys() == grads.keys()
        for path, grad in grads.items():
            size = max(1e-5, 5e-5 * abs(grad).max())  # sums of large terms are rounded
            np.testing.assert_allclose(
                got[loss_name][1][path], grad, rtol=1e-3, atol=size, err_msg=path
            )


@pytest.mark.parametrize("name", peers.FAMILIES)  # one Config per family has its name
def test_losses_agree_after_a_step_of_adam(name):
    family, peer, config = family_of(name)
    variables, batch, before = case(name)
    # A large eps: otherwise rounding decides the first step where gradients are 0.
    adam = Optimizer(learning_rate=0.05, eps=1e-3)
    names = network_names(family)
    run = Run(
        experiment=name,
        family=type(config).__module__.split(".")[2],
        model=config,
        optimizer=dict.fromkeys(names, adam) if names else adam,
        train=Train(ema=0.5),
    )
    optimizer = build_optimizer(run)
    opt_state = init_optimizer(optimizer, variables["params"])
    state = State(step=jnp.int32(0), key=KEY, variables=variables, opt_state=opt_state)
    state, _ = jax.jit(make_step(family, config, optimizer))(state, batch)
    after = reference(name, state.variables, batch)

    tensors, network = as_tensors(batch), network_of(name, variables)
    stream_of = lambda loss_name: named_key(KEY, 0, loss_name.removesuffix("_loss"))  # noqa: E731
    noise = {k: noise_of(name, stream_of(k)) for k in losses_of(family)}
    losses = torch_steps.mean_losses(peer, network, config, "float32")
    torch_steps.make_step(network, run, losses)(tensors, noise)
    if "batch_stats" in variables:  # variances are estimated differently
        moved = flattened(state.variables["batch_stats"])
        for path, (kept, layout) in network.statistics().items():
            if path.endswith("mean"):
                np.testing.assert_allclose(layout(kept), moved[path], rtol=1e-3, atol=1e-4)
    got = of_peer(name, network, tensors)
    for loss_name, (nats, _) in after.items():
        assert abs(nats - before[loss_name][0]).max() > 1e-2  # the step had an effect
        np.testing.assert_allclose(got[loss_name][0], nats, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "part"), [("gan", "generator"), ("fvsbn", None)])
def test_ema_of_a_gan_is_the_generators(name, part, monkeypatch):
    _, peer, config = family_of(name)
    variables, batch, _ = case(name)
    network, adam = network_of(name, variables), Optimizer(learning_rate=0.05)
    own = getattr(network, part) if part else network
    averaged, lerp = [], torch._foreach_lerp_
    monkeypatch.setattr(
        torch, "_foreach_lerp_", lambda *args: (averaged.append(args[1]), lerp(*args))
    )
    two = dict(generator=adam, discriminator=adam) if part else adam
    run = Run(
        experiment=name,
        family=type(config).__module__.split(".")[2],
        model=config,
        optimizer=two,
        train=Train(ema=0.5),
    )
    losses = torch_steps.mean_losses(peer, network, config, "float32")
    torch_steps.make_step(network, run, losses)(as_tensors(batch))
    assert [list(map(id, parameters)) for parameters in averaged] == [
        list(map(id, own.parameters()))
    ]


@pytest.mark.parametrize("name", [n for n in CONFIGS if hasattr(family_of(n)[0], "sample")])
def test_samples_have_the_familys_shape_and_range(name):
    family, peer, config = family_of(name)
    torch.manual_seed(0)
    x = peer.sample(network_of(name, case(name)[0]), config, 7)
    assert x.shape == (7, *config.shape)
    assert x.dtype == torch.float32
    traits = family.traits(config)
    low, high = traits.sample_range
    assert low <= x.min() < x.max() <= high
    if traits.data in ("binary", "levels"):
        assert (x == x.round()).all()


@pytest.mark.parametrize("name", [n for n in CONFIGS if hasattr(family_of(n)[1], "evaluate")])
def test_evaluations_equal_those_of_jax(name):
    family, peer, config = family_of(name)
    variables, batch, _ = case(name)
    network, tensors = network_of(name, variables), as_tensors(batch)
    if family.traits(config).density == "exact":
        expected = jax.jit(functools.partial(family.log_prob, config))(variables, batch["x"])
        got = peer.evaluate(network, config, tensors)
    else:
        one, key = config, KEY
        if hasattr(config, "latent_samples"):
            one = dataclasses.replace(config, latent_samples=1)
        if isinstance(config, hierarchical_vae.Config):  # its loss splits the key per sample
            key = jax.random.split(KEY, 1)[0]
        given = {k: v for k, v in batch.items() if k == "text"}
        expected = elbo(family, config, variables, batch["x"], key, **given)
        got = peer.evaluate(network, config, tensors, noise_of(name, KEY, one))
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-4, atol=1e-4)


FITTED = {
    "markov": markov.Config(shape=(5, 4, 1), k=6, alpha=0.3),
    "markov_shared": markov.Config(shape=(5, 4, 1), k=3, by_position=False, template="raster"),
    "mixture": mixture.Config(shape=(5, 4, 1), components=3, mean_prior=0.2, weight_prior=0.1),
}


@pytest.mark.parametrize("name", FITTED)
def test_fitted_peers_equal_those_of_jax(name):
    config = FITTED[name]
    family, peer = (m.get(name.split("_")[0]) for m in (families, peers))
    variables = family.init(config, KEY)
    network = peer.build(config, jax.tree.map(np.asarray, variables))
    for i in range(2):  # the second begins from counts and means that are not the first ones
        x = jax.random.bernoulli(jax.random.key(i), 0.4, (40, 5, 4, 1)).astype(jnp.float32)
        variables, metrics = jax.jit(functools.partial(family.update, config))(variables, {"x": x})
        nats = peer.update(network, config, as_tensors({"x": x}))
        np.testing.assert_allclose(nats.numpy(), metrics["loss"].mean(), rtol=1e-5)
    for path, leaf in flattened(variables["params"] | variables.get("buffers", {})).items():
        np.testing.assert_allclose(network.leaves()[path][0].numpy(), leaf, rtol=1e-3, atol=1e-5)
    got = peer.evaluate(network, config, as_tensors({"x": x[:7]}))
    np.testing.assert_allclose(got.numpy(), family.log_prob(config, variables, x[:7]), rtol=1e-4)
    torch.manual_seed(0)
    samples = peer.sample(network, config, 3000)
    expected = family.sample(config, variables, jax.random.key(3), 3000)
    assert samples.shape == (3000, *config.shape)
    np.testing.assert_allclose(samples.mean(0).numpy(), expected.mean(0), atol=0.06)


@pytest.mark.parametrize(
    ("config", "setting"),
    [
        (pixelcnn.Config(classes=3), "classes"),
        (pixelrnn.Config(factor=2), "factor"),
        (rnade.Config(kind="laplace"), "kind"),
        (vae.Config(prior="vamp"), "prior"),
        (vae.Config(objective="dreg"), "objective"),
        (vae.Config(objective="iwae", gradient_samples=1), "gradient_samples"),
        (dcgan.Config(discriminator_norm="layer"), "discriminator_norm"),
        (gan.Config(objective=GanObjective(r1=0.1)), "GanObjective"),
        (hierarchical_vae.Config(inference="top_down"), "inference"),
        (hierarchical_vae.Config(objective="iwae", gradient_samples=1), "gradient_samples"),
    ],
)
def test_rejects_settings_without_a_peer(config, setting):
    name = type(config).__module__.split(".")[2]
    with pytest.raises(ValueError, match=setting):
        peers.get(name).build(config)


def test_rejects_variables_with_other_leaves():
    config = CONFIGS["fvsbn"]
    with pytest.raises(ValueError, match="leaves of the arrays"):
        peers.get("fvsbn").build(config, {"params": {"W": np.zeros((25, 25))}})
    with pytest.raises(ValueError, match="W has shape"):
        peers.get("fvsbn").build(config, {"params": {"W": np.zeros(3), "b": np.zeros(25)}})


def test_peers_support_every_default_row():
    rows = table.rows()
    assert {*peers.FAMILIES, "pix2pix"} == {rows[name].family for name in reporting.DEFAULT}
    for name in comparison.EVERY:
        if name not in (
            "dcgan_celeba64:kid",
            "made_binarized_mnist:1x8000_1mask_cpu",
            "pixelcnn_pp_cifar10:paper",
            "r3gan_cifar10:paper",
            "cyclegan_maps:pix2pix_64_cpu",
        ):  # large, or without a peer
            network = peers.get(rows[name].family).build(rows[name].model)
            assert isinstance(network, torch.nn.Module)


def test_translations_change_their_inputs_side(capsys):
    words = ["--row", "stargan_glyphs:wgan_gp", "--side", "16", "--skip", "sample", "evaluate"]
    assert time_peer.main([*words, *FAST]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["step"]["examples_per_second"] > 0
    assert time_peer.main(["--row", "rnade_red_wine:cpu", "--side", "16"]) == 2
    assert "--side needs images" in capsys.readouterr().err


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_most_probable_tokens_of_dalle_equal_those_of_jax(guidance, monkeypatch):
    family, peer, config = family_of("dalle")
    variables, batch, _ = case("dalle")
    draw = functools.partial(family.sample_tokens, config, guidance=guidance, top_k=1)
    expected = jax.jit(draw)(variables, KEY, batch["text"])
    monkeypatch.setattr(torch, "multinomial", lambda p, n: p.argmax(1, keepdim=True))
    network, text = network_of("dalle", variables), as_tensors(batch)["text"]
    np.testing.assert_array_equal(
        peer.sample_tokens(network, config, text, guidance).numpy(), expected
    )


def test_missing_torch_or_peer_is_an_error_message(monkeypatch, capsys):
    with pytest.raises(ValueError, match="joint has no peer in PyTorch"):
        peers.get("joint")
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[torch\]'"):
        peers.get("nade")
    assert speed.main(["--rows", "nade_binarized_mnist:cpu", "--peer", "torch"]) == 2
    assert "pip install -e '.[torch]'" in capsys.readouterr().err


def test_speed_table_includes_the_peers(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "speed.json"
    words = ["--rows", "fvsbn_binarized_mnist:cpu", "ring_modes:ring_wgan_gp", "--peer", "torch"]
    assert speed.main([*words, *FAST, "--peak-side", "64", "--out", str(out)]) == 0
    row, rejected = json.loads(out.read_text())["rows"]
    assert row["ratio"].keys() == {"step", "sample", "evaluate"}
    for kind, ratio in row["ratio"].items():
        there = row["peer"][kind]
        assert ratio == pytest.approx(there["seconds"] / row[kind]["seconds"])
        assert there["examples_per_second"] == pytest.approx(2 / there["seconds"])
        assert there["way"] == "eager"
    assert rejected["ratio"] == {}
    assert "default GanObjective" in rejected["peer"]["error"]
    errors = capsys.readouterr().err
    assert "PyTorch's seconds over genjax's" in errors
    assert "ring_modes:ring_wgan_gp: the peer is incomplete" in errors


def test_dtype_applies_to_both_sides():
    run = table.rows()["gan_mnist:paper"]
    assert speed.with_dtype(run, "bfloat16").model.dtype == "bfloat16"
    assert speed.with_dtype(run, None) is run
    without = table.rows()["nade_binarized_mnist:cpu"]
    assert speed.with_dtype(without, "bfloat16") is without


def test_fastest_mode_counts_and_failures_are_reported(capsys):
    tried = {"eager": {"seconds": 2.0}, "compiled": {"seconds": 1.0}, "loop": {"error": "no"}}
    found = time_peer.best(tried, 4)
    assert (found["way"], found["compiled"], found["examples_per_second"]) == ("compiled", True, 4)
    assert time_peer.best({"eager": {"error": "no"}}, 4)["error"] == "no"
    assert time_peer.main(["--row", "nade"]) == 2
    assert "`row` must be one of" in capsys.readouterr().err


def test_nade_is_timed_in_both_forms_in_bfloat16(capsys):
    words = ["--row", "nade_binarized_mnist:cpu", "--dtype", "bfloat16", "--skip", "sample"]
    assert time_peer.main([*words, *FAST]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["dtype"] == "bfloat16"
    assert found["step"]["tried"].keys() == {"blocks eager", "loop eager"}
    assert found["step"]["seconds"] == min(f["seconds"] for f in found["step"]["tried"].values())


@pytest.mark.parametrize("name", ["dcgan_wgan_gp", "stargan"])
def test_several_critic_steps_equal_those_of_jax(name):
    adam = Optimizer(learning_rate=0.05, eps=1e-3)
    family, peer, config = family_of(name)
    variables, batch, _ = case(name)
    objective = dataclasses.replace(config.objective, critic_steps=2)
    run = Run(
        experiment=name,
        family=type(config).__module__.split(".")[2],
        model=dataclasses.replace(config, objective=objective),
        optimizer=dict(generator=adam, discriminator=adam),
    )
    optimizer = build_optimizer(run)
    opt_state = init_optimizer(optimizer, variables["params"])
    state = State(step=jnp.int32(0), key=KEY, variables=variables, opt_state=opt_state)
    batches = {k: jnp.stack([v, -v if k == "x" else v[::-1]]) for k, v in batch.items()}
    state, _ = jax.jit(make_step(family, run.model, optimizer))(state, batches)
    after = reference(name, state.variables, batch)

    network = network_of(name, variables)
    keys = [named_key(key, 0, "discriminator") for key in (KEY, named_key(KEY, 1, "critic"))]
    noise = {
        "discriminator_loss": [noise_of(name, key) for key in keys],
        "generator_loss": noise_of(name, named_key(KEY, 0, "generator")),
    }
    losses = torch_steps.mean_losses(peer, network, run.model, "float32")
    torch_steps.make_step(network, run, losses)(as_tensors(batches), noise)
    got = of_peer(name, network, as_tensors(batch))
    for loss_name, (nats, _) in after.items():
        np.testing.assert_allclose(got[loss_name][0], nats, rtol=1e-3, atol=1e-4)
