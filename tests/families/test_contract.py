"""The common suite: every family passes it, and the examples of docs/adding_a_family.md.

Tests are chosen by traits and protocols.
"""

import dataclasses
import functools
import inspect
import math
import typing

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from support.documented_families import documented_families
from support.helpers import (
    NAMES,
    compiled_step,
    critic_batch,
    jitted,
    loss_functions,
    make_batch,
    make_optimizer,
    make_state,
    sampling_conditions,
    single_order,
    state_builder,
)
from support.small import small_run

from experiments.benchmarks import flops
from genjax import families
from genjax.core import (
    init_state,
    log_prob_bound,
    make_step,
    network_names,
    network_step,
    puzzles,
    step_batch_spec,
)
from genjax.core.protocols import (
    Adversarial,
    Autoregressive,
    BoundDensity,
    CaptionScores,
    Conditionals,
    Features,
    Fitted,
    LatentVariable,
    PermutationLogits,
    PositionScores,
    PuzzleSolver,
    Reported,
    Sampler,
    Trainable,
    Translator,
)
from genjax.train.weights_file import WeightsFile, write_weights

MODULES = {**{name: families.get(name) for name in NAMES}, **documented_families()}


def families_with(condition):
    """Returns the names of the modules that meet a condition on (family, traits)."""
    return [n for n, family in MODULES.items() if condition(family, family.traits(family.tiny()))]


@pytest.fixture(params=MODULES)
def name(request):
    return request.param


@pytest.fixture
def family(name):
    return MODULES[name]


@pytest.fixture
def config(family):
    return family.tiny()


def test_implements_the_protocols_of_its_traits(family, config):
    always = ("Config", "traits", "tiny", "batch_spec", "init")
    by_density = {"exact": ("log_prob",), "bound": (), "none": ()}
    forbidden = {"exact": (), "bound": ("log_prob",), "none": ("log_prob", "elbo")}
    for export_name in (*always, *by_density[family.traits(config).density]):
        assert callable(getattr(family, export_name))
    makes = sum(isinstance(family, kind) for kind in (Sampler, Translator, PuzzleSolver))
    assert makes == 1 or (makes == 0 and isinstance(family, CaptionScores))
    scores = isinstance(family, PositionScores) + isinstance(family, PermutationLogits)
    assert scores == isinstance(family, PuzzleSolver)
    assert isinstance(family, Trainable) + isinstance(family, Adversarial) + isinstance(
        family, Fitted
    ) == 1  # fmt: skip
    if family.traits(config).density == "bound":
        assert isinstance(family, LatentVariable | BoundDensity)
    for export_name in forbidden[family.traits(config).density]:
        assert not hasattr(family, export_name)
    # A unit other than nats belongs to a reported quantity other than a density.
    assert isinstance(family, Reported) or family.traits(config).unit == "nats"
    with pytest.raises(AttributeError):  # frozen
        config.shape = (1,)
    assert type(config)() == type(config)()  # the paper's defaults are a valid Config


def test_exact_densities_use_full_float32(family, config):
    """A GPU rounds factors to ten bits by default; bfloat16 computation is only partly exact."""
    if family.traits(config).density != "exact":
        return

    def products(config, only=lambda equation: True):
        key = jax.random.key(0)
        variables = jax.eval_shape(lambda key: family.init(config, key), key)
        spec, conditions = family.batch_spec(config, 4), {}
        if "label" in spec:
            conditions = {"label": jnp.zeros(4, jnp.int32)}
        density = functools.partial(family.log_prob, config, **conditions)
        draw = lambda variables: family.sample(config, variables, key, 4, **conditions)  # noqa: E731
        found = flops.count(density, variables, spec["x"], only=only)
        return found + flops.count(draw, variables, only=only)

    names = {f.name for f in dataclasses.fields(config)}
    networks = typing.get_args(typing.get_type_hints(type(config)).get("network")) or (None,)
    for network in networks:
        changed = {"network": network} if network else {}
        changed |= {"classes": 3} if "classes" in names else {}
        changed |= {"halvings": 1} if "halvings" in names else {}
        one = dataclasses.replace(config, **changed)
        assert products(one, flops.exact) == products(one), changed
    if "factor" in names:
        one = dataclasses.replace(config, shape=(2, 2, 1), factor=2)
        assert products(one, flops.exact) == products(one)
    if "bfloat16" in str(type(config).__annotations__.get("dtype", "")):
        rounded = dataclasses.replace(config, dtype="bfloat16")
        assert products(rounded, flops.exact) < products(rounded)


def test_init_under_eval_shape_is_init_and_a_weights_file_keeps_it(family, config, tmp_path):
    shapes = jax.eval_shape(lambda key: family.init(config, key), jax.random.key(0))
    variables = family.init(config, jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, variables)
    path = tmp_path / "model.safetensors"
    write_weights(path, small_run("nade", "bars.npz"), variables, {}, None)
    chex.assert_trees_all_equal_comparator(
        lambda a, b: (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()),
        lambda a, b: f"{a} is not {b}",
        WeightsFile(path).variables(),
        jax.device_get(variables),
    )


def test_a_step_keeps_the_types_of_its_state(family, config):
    """Shapes, dtypes, weak types and structure, so that it is traced once."""
    step = compiled_step(family, config)
    state, batch = make_state(family, config), make_batch(family, config)
    types = jax.tree.map(jax.typeof, state)
    for _ in range(3):
        state, metrics = step(state, batch)
        assert jax.tree.map(jax.typeof, state) == types
    assert int(state.step) == 3
    assert all(jnp.ndim(m) == 0 and bool(np.isfinite(m)) for m in metrics.values())


@pytest.mark.parametrize("name", families_with(lambda family, traits: not network_names(family)))
def test_loss_falls_on_a_fixed_batch(family, config):
    step = compiled_step(family, config)
    state, batch = make_state(family, config), make_batch(family, config)
    losses = []
    for _ in range(60):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-10:]) < np.mean(losses[:3]) - 0.1


@pytest.mark.parametrize("name", families_with(lambda family, traits: network_names(family)))
def test_an_update_of_one_network_leaves_the_others_unchanged(family, config):
    optimizers = make_optimizer(family)
    state = make_state(family, config)
    batch = critic_batch(make_batch(family, config), config)
    for name, loss in family.LOSSES.items():
        step = network_step(name, functools.partial(loss, config), optimizers[name])
        new, _ = jax.jit(step)(state, batch)
        before, after = jax.device_get((state.variables, new.variables))
        assert set(after) == set(before)
        for other in set(family.LOSSES) - {name}:
            for collection in before:  # weights, statistics and buffers, to the bit
                if other in before[collection]:
                    chex.assert_trees_all_equal(after[collection][other], before[collection][other])
            chex.assert_trees_all_equal(new.opt_state[other], state.opt_state[other])
        differs = lambda a, b: bool((a != b).any())  # noqa: E731
        changed = jax.tree.map(differs, after["params"][name], before["params"][name])
        assert any(jax.tree.leaves(changed))
        # A network's update moves all of its batch-norm statistics.
        own = [v.get("batch_stats", {}).get(name, {}) for v in (after, before)]
        assert all(jax.tree.leaves(jax.tree.map(differs, *own)))


def test_losses_are_per_example(family, config):
    variables = make_state(family, config).variables
    for size in (1, 5):
        batch = critic_batch(make_batch(family, config, size), config)
        for loss in loss_functions(family).values():
            function = functools.partial(loss, config)
            nats, aux = jax.eval_shape(function, variables, batch, jax.random.key(1))
            assert nats.shape == (size,)
            assert nats.dtype == jnp.float32
            assert isinstance(aux, dict)


@pytest.mark.parametrize("name", families_with(lambda family, traits: traits.fit == "gradient"))
def test_every_parameter_has_a_gradient_after_three_steps(family, config):
    step = compiled_step(family, config)
    state, batch = make_state(family, config), make_batch(family, config)
    for _ in range(3):
        state, _ = step(state, batch)
    for name, loss in loss_functions(family).items():

        def mean(params, loss=loss):
            variables = {**state.variables, "params": params}
            one = critic_batch(batch, config)
            return loss(config, variables, one, jax.random.key(2))[0].mean()

        grads = jax.jit(jax.grad(mean))(state.variables["params"])
        grads = grads[name] if network_names(family) else grads
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(grads)):
            assert bool(np.isfinite(leaf).all()), (name, path)
            assert bool((leaf != 0).any()), (name, path)


@functools.lru_cache
def sampler(family, config):
    """Returns `(variables, key) -> 7 samples`; all tests have one program, compiled once."""
    condition = sampling_conditions(family, config, 7)
    return jax.jit(lambda v, k: family.sample(config, v, k, 7, **condition))


@pytest.mark.parametrize("name", families_with(lambda family, _: isinstance(family, Sampler)))
def test_samples(family, config):
    variables = make_state(family, config).variables
    draw = sampler(family, config)
    x = draw(variables, jax.random.key(0))
    chex.assert_shape(x, (7, *config.shape))
    low, high = family.traits(config).sample_range
    assert float(x.min()) >= low
    assert float(x.max()) <= high
    if family.traits(config).data == "binary":
        assert set(np.unique(np.asarray(x))) <= {0.0, 1.0}
    chex.assert_trees_all_equal(x, draw(variables, jax.random.key(0)))
    assert bool((x != draw(variables, jax.random.key(1))).any())
    condition = sampling_conditions(family, config, 1)
    draw_one = jax.jit(lambda v, k: family.sample(config, v, k, **condition))
    one = draw_one.eval_shape(variables, jax.random.key(0))
    assert one.shape == config.shape


@pytest.mark.parametrize(
    "name",
    families_with(lambda family, traits: isinstance(family, Sampler) and traits.fit != "counting"),
)
def test_samples_of_a_diverged_network_are_nan(family, config):
    """Not black images: what is no number must be seen to be none."""
    variables = make_state(family, config).variables
    lost = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), variables["params"])
    x = np.asarray(sampler(family, config)({**variables, "params": lost}, jax.random.key(0)))
    assert np.isnan(x).all()


TRANSLATORS = families_with(lambda family, _: isinstance(family, Translator))


@pytest.mark.parametrize("name", TRANSLATORS)
def test_translations(family, config):
    variables = make_state(family, config).variables
    low, high = family.traits(config).sample_range
    # Among them the smallest images, and images that are not square and have another size than
    # those of training.
    multiple = family.side_multiple(config)
    for sides in ((multiple, multiple), (5 * multiple, 3 * multiple)):
        x = images(config, sides)
        found = []
        for condition in translation_conditions(family, config, len(x)):
            translate = translator(family, config, condition)
            y = np.asarray(translate(variables, x))
            assert y.shape == x.shape
            assert y.dtype == np.float32
            assert y.min() >= low
            assert y.max() <= high
            np.testing.assert_array_equal(translate(variables, x), y)
            found.append(y)
    for y in found[1:]:  # another target is another image
        assert (y != found[0]).any()
    if family.targets(config):
        y = jax.jit(functools.partial(family.translate, config))(variables, x)
        np.testing.assert_allclose(y, found[-1], atol=1e-6)  # by default to the last


@pytest.mark.parametrize("name", TRANSLATORS)
def test_translations_by_a_diverged_network_are_nan(family, config):
    variables = make_state(family, config).variables
    lost = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), variables["params"])
    x = images(config, config.shape[:2])
    for condition in translation_conditions(family, config, len(x)):
        y = translator(family, config, condition)({**variables, "params": lost}, x)
        assert np.isnan(np.asarray(y)).all()


@pytest.mark.parametrize("name", TRANSLATORS)
def test_the_networks_that_translate_are_averaged(family, config):
    params = jax.eval_shape(lambda: make_state(family, config).variables)["params"]
    averaged = {name: params[name] for name in family.traits(config).ema}
    x = images(config, config.shape[:2])
    for condition in translation_conditions(family, config, len(x)):
        found = translator(family, config, condition).eval_shape({"params": averaged}, x)
        assert found.shape == x.shape


@pytest.mark.parametrize("name", TRANSLATORS)
def test_translations_of_bfloat16_networks_are_float32(family, config):
    config = dataclasses.replace(config, dtype="bfloat16")
    variables = make_state(family, config).variables
    x = images(config, config.shape[:2])
    for condition in translation_conditions(family, config, len(x)):
        translate = translator(family, config, condition)
        assert translate.eval_shape(variables, x).dtype == jnp.float32
        assert "bf16" in str(jax.make_jaxpr(translate)(variables, x))


@pytest.mark.parametrize("name", TRANSLATORS)
def test_rejects_invalid_images_and_targets(name, family, config):
    variables = jax.eval_shape(lambda: make_state(family, config).variables)
    x = images(config, config.shape[:2])
    *_, condition = translation_conditions(family, config, len(x))

    def attempt(x, condition=condition):
        return translator(family, config, condition).eval_shape(variables, x)

    for wrong in (x[0], x[..., :0], jnp.concatenate([x, x], -1)):
        with pytest.raises(ValueError, match=rf"{name}: images must be float32\[B, H, W, 1\], got"):
            attempt(wrong)
    with pytest.raises(ValueError, match=f"{name}: images must be .*; cast them with"):
        attempt((255 * x).astype(jnp.uint8))
    if "to" in condition:
        with pytest.raises(ValueError, match="`to` must be"):
            attempt(x, {"to": "c"})
    else:
        with pytest.raises(ValueError, match="`attributes`"):
            attempt(x, {"attributes": jnp.zeros((len(x), 1), jnp.uint8)})


def images(config, sides, n=3):
    """Returns random images in [-1, 1] of any sides, `[n, *sides, C]`."""
    shape = (n, *sides, config.shape[-1])
    return jax.random.uniform(jax.random.key(9), shape, minval=-1.0)


def translation_conditions(family, config, n):
    """Returns conditions of `translate` for n images: every target, or two attribute vectors."""
    targets = family.targets(config)
    if targets:
        return [{"to": to} for to in targets]
    width = family.batch_spec(config, 1)["attributes"].shape[1]
    rows = np.arange(width)[None] == np.array([0, width - 1])[:, None]
    return [{"attributes": jnp.asarray(np.tile(row, (n, 1)), jnp.uint8)} for row in rows]


def translator(family, config, condition):
    """Returns the compiled `(variables, images) -> images` of one condition."""
    return jax.jit(lambda v, x: family.translate(config, v, x, **condition))


SOLVERS = families_with(lambda family, _: isinstance(family, PuzzleSolver))


def solve(family, config, variables, pieces):
    """Returns log probabilities of positions `[B, N, N]`, or logits of orders `[B, P]`."""
    if isinstance(family, PositionScores):
        return family.position_scores(config, variables, pieces)
    return family.permutation_logits(config, variables, pieces)


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_scores(family, config):
    variables = make_state(family, config).variables
    grid = family.grid(config)
    pieces = puzzles.cut(images(config, config.shape[:2]), grid)
    scores = jax.jit(functools.partial(solve, family, config))(variables, pieces)
    assert scores.dtype == jnp.float32
    if isinstance(family, PositionScores):
        assert scores.shape == (3, math.prod(grid), math.prod(grid))
        np.testing.assert_allclose(jnp.exp(scores).sum(-1), 1.0, rtol=1e-5)
    else:
        orders = family.permutations(config)
        assert orders.dtype == np.int32
        assert scores.shape == (3, len(orders))
        assert len(np.unique(orders, axis=0)) == len(orders)
        np.testing.assert_array_equal(np.sort(orders), np.indices(orders.shape)[1])


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_scores_of_a_diverged_network_are_nan(family, config):
    variables = make_state(family, config).variables
    lost = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), variables["params"])
    pieces = puzzles.cut(images(config, config.shape[:2]), family.grid(config))
    scores = jax.jit(functools.partial(solve, family, config))
    assert np.isnan(np.asarray(scores({**variables, "params": lost}, pieces))).all()


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_scores_of_bfloat16_networks_are_float32(family, config):
    config = dataclasses.replace(config, dtype="bfloat16")
    variables = make_state(family, config).variables
    pieces = puzzles.cut(images(config, config.shape[:2]), family.grid(config))
    program = functools.partial(solve, family, config)
    assert jax.eval_shape(program, variables, pieces).dtype == jnp.float32
    assert "bf16" in str(jax.make_jaxpr(program)(variables, pieces))


@pytest.mark.parametrize("name", SOLVERS)
def test_rejects_invalid_pieces(name, family, config):
    variables = jax.eval_shape(lambda: make_state(family, config).variables)
    pieces = puzzles.cut(images(config, config.shape[:2]), family.grid(config))
    shape = ", ".join(map(str, pieces.shape[1:]))
    match = rf"{name}: pieces must be float32\[B, {shape}\], got"
    program = functools.partial(solve, family, config)
    for wrong in (pieces[0], pieces[:, 1:], pieces[..., :0], (255 * pieces).astype(jnp.uint8)):
        with pytest.raises(ValueError, match=match):
            jax.eval_shape(program, variables, wrong)
    if isinstance(family, PositionScores):
        wrong = jnp.ones(pieces.shape[:2], jnp.int32)
        with pytest.raises(ValueError, match=rf"{name}: `present` must be bool\[3, "):
            family.position_scores(config, variables, pieces, wrong)


@pytest.mark.parametrize("name", families_with(lambda family, traits: isinstance(family, Features)))
def test_features_are_float32(family, config):
    if hasattr(config, "dtype"):
        config = dataclasses.replace(config, dtype="bfloat16")
    variables = make_state(family, config).variables
    x = make_batch(family, config, 4)["x"]
    x = x.reshape(-1, *config.shape)[:4]  # of several critic steps, the first
    found = jax.eval_shape(functools.partial(family.encode, config), variables, x)
    assert found.dtype == jnp.float32


@pytest.mark.parametrize("name", families_with(lambda family, _: isinstance(family, Sampler)))
def test_rejects_invalid_sample_counts(family, config):
    variables = jax.eval_shape(lambda: make_state(family, config).variables)
    condition = sampling_conditions(family, config, 1)

    def draw(variables, n):
        return family.sample(config, variables, jax.random.key(0), n, **condition)

    for n, match in (
        (0, "`n` must be positive"),
        (-1, "`n` must be positive"),
        (2.0, "`n` must be an integer"),
    ):
        with pytest.raises(ValueError, match=match):
            jax.eval_shape(functools.partial(draw, n=n), variables)


def test_rejects_settings_of_the_wrong_type(config):
    """An integer for a tuple, a fraction for an integer, a string for a number."""
    rejected = 0
    for name, hint in typing.get_type_hints(type(config)).items():
        wrong = {int: 2.5, float: "1", bool: 1}.get(hint, 5 if "tuple" in str(hint) else None)
        if wrong is None:
            continue
        match = rf"^`?{name}`? must be (an? |True or False)"
        with pytest.raises(ValueError, match=match):
            dataclasses.replace(config, **{name: wrong})
        rejected += 1
    assert rejected


def test_rejects_invalid_batches(name, family, config):
    variables = make_state(family, config).variables
    good = critic_batch(make_batch(family, config, 4), config)
    x, shape = good["x"], ", ".join(map(str, config.shape))
    functions = [(f, (jax.random.key(0),)) for f in loss_functions(family).values()]
    if hasattr(family, "update"):
        functions = [(family.update, ())]
    for function, more in functions:

        def attempt(batch, function=function, more=more):
            return jax.jit(lambda b: function(config, variables, b, *more))(batch)

        want = f"{name}: batch\\['x'\\] must be float32\\[4, {shape}\\], got"
        with pytest.raises(ValueError, match=f"{want} float32\\[4, 3, 4, 1\\]; reshape it"):
            attempt({**good, "x": jnp.zeros((4, 3, 4, 1))})
        with pytest.raises(ValueError, match=f"{want} int32\\[4, {shape}\\]; cast it with"):
            attempt({**good, "x": x.astype(jnp.int32)})
        with pytest.raises(ValueError, match=r"the batch lacks \['x'\]"):
            attempt({"y": x, **{k: v for k, v in good.items() if k != "x"}})
        with pytest.raises(ValueError, match="a batch must be a dict"):
            attempt(x)
    for entrance in ("log_prob", "logits", "log_conditionals", "encode"):
        if hasattr(family, entrance):
            with pytest.raises(ValueError, match=f"{name}: x must be float32\\[B, {shape}\\], got"):
                getattr(family, entrance)(config, variables, x.astype(jnp.int32))
            with pytest.raises(ValueError, match="reshape it"):
                getattr(family, entrance)(config, variables, x[:, :2])


def test_no_key_is_used_twice(family, config):
    key = jax.random.key(0)
    with jax.debug_key_reuse(True):  # of every function that is traced
        step = make_step(family, config, make_optimizer(family))
        state = state_builder(family, config).eval_shape(key)
        jax.eval_shape(step, state, make_batch(family, config))
        if isinstance(family, Translator):
            x = images(config, config.shape[:2])
            *_, condition = translation_conditions(family, config, len(x))
            keyed = "key" in inspect.signature(family.translate).parameters
            condition |= {"key": jax.random.key(5)} if keyed else {}
            translator(family, config, condition).eval_shape(state.variables, x)
            return
        if not isinstance(family, Sampler):
            return
        sampler(family, config).eval_shape(state.variables, key)
        if family.traits(config).density == "bound":
            x = critic_batch(make_batch(family, config), config)["x"]
            bound = functools.partial(log_prob_bound, family, config)
            jax.eval_shape(lambda v, k: bound(v, x, k, 3), state.variables, key)


def test_step_exports_for_every_platform(family, config):
    optimizer = make_optimizer(family)
    state = jax.eval_shape(
        lambda key: init_state(family, config, optimizer, key, ema=True), jax.random.key(0)
    )
    step = jax.jit(make_step(family, config, optimizer))
    exported = export.export(step, platforms=["cpu", "cuda", "tpu"])(
        state, step_batch_spec(family, config, 8)
    )
    assert set(exported.platforms) == {"cpu", "cuda", "tpu"}


def test_features_and_conditionals_agree_with_the_density(family, config):
    state = make_state(family, config)
    x = critic_batch(make_batch(family, config, 6), config)["x"]
    if hasattr(family, "encode"):
        features = jitted(family, "encode", config)(state.variables, x)
        assert features.shape[0] == 6
        assert features.ndim == 2
    if isinstance(family, Autoregressive | Conditionals):
        config = single_order(config)
        terms = jitted(family, "log_conditionals", config)(state.variables, x)
        chex.assert_shape(terms, x.shape)
        whole = jitted(family, "log_prob", config)(state.variables, x)
        np.testing.assert_allclose(terms.reshape(6, -1).sum(1), whole, rtol=1e-5)
        assert sorted(family.order(config)) == list(range(math.prod(config.shape)))
