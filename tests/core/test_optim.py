"""Update rules and schedules against NumPy in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.core import Optimizer, State, gradient_step

SHAPES = {"b": (3,), "kernel": (2, 3)}
SIZE = 9


def tree(flat, shape=(2, 3)):
    """Returns a flat vector as a tree of several leaves, as clipping uses the global norm."""
    return {"b": jnp.asarray(flat[:3]), "kernel": jnp.asarray(flat[3:].reshape(shape))}


def flat(params):
    return np.concatenate([np.asarray(params["b"]), np.asarray(params["kernel"]).ravel()])


def draw(seed, steps=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=SIZE), rng.normal(size=(steps, SIZE)) * 3


def directions(s, grads):
    """Returns the direction of each rule, before weight decay and learning rate."""
    first, squares, velocity, moved = (np.zeros(SIZE) for _ in range(4))
    for t, g in enumerate(grads, start=1):
        if s.clip:
            g = g * min(1.0, s.clip / math.sqrt(np.sum(g**2)))
        if s.optimizer == "adam":
            first = s.b1 * first + (1 - s.b1) * g
            squares = s.b2 * squares + (1 - s.b2) * g**2
            yield first / (1 - s.b1**t) / (np.sqrt(squares / (1 - s.b2**t)) + s.eps)
            continue
        if s.optimizer == "rmsprop":
            squares = s.b2 * squares + (1 - s.b2) * g**2
            g = g / np.sqrt(squares + s.eps)
        elif s.optimizer == "adagrad":
            squares = squares + g**2
            g = g / np.sqrt(squares + s.eps)
        elif s.optimizer == "adadelta":  # Zeiler 2012, algorithm 1
            squares = s.b2 * squares + (1 - s.b2) * g**2
            g = np.sqrt(moved + s.eps) / np.sqrt(squares + s.eps) * g
            moved = s.b2 * moved + (1 - s.b2) * g**2
        velocity = g + s.momentum * velocity
        yield g + s.momentum * velocity if s.nesterov else velocity


# The vector b, then the matrix w.
DECAYED = {True: np.ones(SIZE), False: np.repeat([0.0, 1.0], [3, 6])}


def reference(s, params, grads, rates):
    path = []
    for d, lr in zip(directions(s, grads), rates, strict=True):
        params = params - lr * (d + s.weight_decay * DECAYED[s.decay_biases] * params)
        path.append(params)
    return np.array(path)


def obtained(built, params, grads, shape=(2, 3)):
    """Returns the parameters after each update, in float64."""
    params, path = tree(params, shape), []
    opt_state = built.init(params)
    update = jax.jit(built.update)
    for g in grads:
        updates, opt_state = update(tree(g, shape), opt_state, params)
        params = optax.apply_updates(params, updates)
        path.append(flat(params))
    return np.array(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.9},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
        {"optimizer": "adam", "b1": 0.5, "b2": 0.9, "eps": 1e-2},
        {"optimizer": "rmsprop", "b2": 0.9, "eps": 1e-2},
        {"optimizer": "rmsprop", "b2": 0.9, "eps": 1e-2, "momentum": 0.5, "nesterov": True},
        {"optimizer": "adagrad", "eps": 1e-2},
        {"optimizer": "adadelta", "b2": 0.95, "eps": 1e-2},
        # Decoupled: proportional to the parameters and the learning rate only.
        {"optimizer": "adam", "weight_decay": 0.3},
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.3},
        {"optimizer": "adam", "weight_decay": 0.3, "decay_biases": False},
        {"optimizer": "sgd", "clip": 2.0},  # gradient norms are about 9
        {"optimizer": "sgd", "clip": 1e3},
        {"optimizer": "sgd", "clip": 2.0, "weight_decay": 0.3},  # the decay is not clipped
    ],
    ids=lambda s: "-".join(f"{v}" if k == "optimizer" else f"{k}={v}" for k, v in s.items()),
)
def test_three_updates_of_each_rule(settings):
    params, grads = draw(0)
    s = Optimizer(learning_rate=0.1, **settings)
    with jax.enable_x64(True):
        got = obtained(s.build(), params, grads)
    # A schedule computes the rate in float32.
    np.testing.assert_allclose(got, reference(s, params, grads, [0.1] * 3), rtol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_changes_linearly_and_then_stays_constant(nesterov):
    params, grads = draw(3, steps=4)
    settings = dict(optimizer="sgd", momentum=0.5, momentum_end=0.8, momentum_steps=2)
    with jax.enable_x64(True):
        built = Optimizer(learning_rate=0.1, nesterov=nesterov, **settings).build()
        got = obtained(built, params, grads)
    velocity, want = np.zeros(SIZE), []
    for g, m in zip(grads, (0.5, 0.65, 0.8, 0.8), strict=True):
        velocity = g + m * velocity
        params = params - 0.1 * (g + m * velocity if nesterov else velocity)
        want.append(params)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("steps", [5, 12])
@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2, 1, 3), (3, 1, 1, 2), (1, 3, 2)])
def test_muon_orthogonalises_matrices_and_uses_adam_for_vectors(momentum, steps, shape):
    """Jordan 2024, with its quintic; the scale of Liu et al. 2025, eq. 4.

    A kernel is reshaped to the matrix `[inputs, features]`.
    """
    params, grads = draw(5)
    s = Optimizer(
        optimizer="muon",
        learning_rate=0.1,
        momentum=momentum,
        orthogonal_steps=steps,
        b1=0.7,
        b2=0.9,
        weight_decay=0.3,
    )
    with jax.enable_x64(True):
        got = obtained(s.build(), params, grads, shape)
    want, m = [], momentum or 0.95
    first, squares, velocity = np.zeros(3), np.zeros(3), 0
    for t, g in enumerate(grads, start=1):
        b, w = g[:3], g[3:].reshape(-1, shape[-1])
        first, squares = 0.7 * first + 0.3 * b, 0.9 * squares + 0.1 * b**2
        ahead = 0.7 * first / (1 - 0.7 ** (t + 1)) + 0.3 * b / (1 - 0.7**t)  # Nesterov's Adam
        d_b = ahead / (np.sqrt(squares / (1 - 0.9**t)) + 1e-8)
        velocity = m * velocity + (1 - m) * w
        x = m * velocity / (1 - m ** (t + 1)) + (1 - m) * w / (1 - m**t)
        x /= np.linalg.norm(x)
        for _ in range(steps):
            a = x @ x.T
            x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
        singular = np.linalg.svd(x, compute_uv=False)
        assert ((singular > 0.6) & (singular < 1.3)).all()
        d_w = 0.2 * math.sqrt(3) * x.ravel()
        params = params - 0.1 * (np.concatenate([d_b, d_w]) + 0.3 * params)
        want.append(params)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_muon_uses_adam_for_arrays_of_other_ranks():
    """RNADE stacks kernels and biases in arrays of 4 and 3 axes, which are not single matrices."""
    grads = {"V": np.ones((4, 3, 2)), "kernel": np.ones((4, 3, 2)), "table": np.ones((4, 6))}
    grads |= {"v": np.ones((2, 2, 6))}
    grads = {name: jnp.asarray(g, jnp.float32) for name, g in grads.items()}
    built = Optimizer(optimizer="muon", learning_rate=1.0).build()
    updates, _ = built.update(grads, built.init(grads), grads)
    # Adam's first update is the sign, times b1 / (1 + b1) + 1 in Nesterov's form.
    np.testing.assert_allclose(updates["V"], -(0.9 / 1.9 + 1), rtol=1e-5)
    for name in ("kernel", "table", "v"):
        assert float(jnp.abs(updates[name]).max()) < 0.5


def test_the_defaults_are_those_of_adam_and_of_no_extras():
    """Kingma and Ba 2015, algorithm 1."""
    s = Optimizer()
    assert (s.optimizer, s.learning_rate, s.b1, s.b2, s.eps) == ("adam", 1e-3, 0.9, 0.999, 1e-8)
    params, grads = draw(1)
    with jax.enable_x64(True):
        got = obtained(s.build(), params, grads)
    np.testing.assert_allclose(got, reference(s, params, grads, [1e-3] * 3), rtol=1e-7)


SCHEDULES = [
    ({}, [(0, 0.4), (1, 0.4), (1000, 0.4)]),
    ({"schedule": "linear", "decay_steps": 8}, [(0, 0.4), (2, 0.3), (4, 0.2), (8, 0), (9, 0)]),
    (
        {"schedule": "cosine", "decay_steps": 8},
        [(t, 0.2 * (1 + math.cos(math.pi * min(t, 8) / 8))) for t in (0, 1, 4, 7, 8, 20)],
    ),
    (
        {"schedule": "cosine", "decay_steps": 8, "floor": 0.1, "restarts": (4,)},
        [(0, 0.4), (2, 0.25), (4, 0.25), (6, 0.175), (8, 0.1), (99, 0.1)],
    ),
    (
        {"schedule": "inverse_time", "decrease": 0.5},
        [(0, 0.4), (1, 0.4 / 1.5), (2, 0.2), (6, 0.1)],
    ),
    (
        {"schedule": "exponential", "decrease": 0.25, "floor": 0.1},
        [(0, 0.4), (1, 0.32), (3, 0.4 / 1.25**3), (6, 0.4 / 1.25**6), (7, 0.1), (1000, 0.1)],
    ),
    # The authors' learning rate of a GAN; float32 resolves this decrease to 1 part in 30.
    (
        {"schedule": "exponential", "decrease": 4e-6},
        [(10**5, 0.4 / 1.000004**100_000), (10**6, 0.4 / 1.000004**1_000_000)],
    ),
    (
        {"schedule": "piecewise", "boundaries": (2, 5), "factors": (0.5, 0.1)},
        [(0, 0.4), (1, 0.4), (2, 0.2), (4, 0.2), (5, 0.04), (10**7, 0.04)],
    ),
    (
        {"schedule": "piecewise", "boundaries": (3, 5), "factors": (0.5, 2.0), "warmup": 2},
        [(0, 0), (1, 0.2), (2, 0.4), (3, 0.2), (4, 0.2), (5, 0.8), (99, 0.8)],
    ),
    # Warm-up rises from 0 to the peak; the decay takes the rest of decay_steps.
    ({"warmup": 4}, [(0, 0), (1, 0.1), (3, 0.3), (4, 0.4), (99, 0.4)]),
    (
        {"schedule": "linear", "decay_steps": 8, "warmup": 4},
        [(0, 0), (2, 0.2), (4, 0.4), (5, 0.3), (8, 0), (100, 0)],
    ),
    (
        {"schedule": "cosine", "decay_steps": 8, "warmup": 4},
        [(2, 0.2), (4, 0.4), (5, 0.2 * (1 + math.cos(math.pi / 4))), (6, 0.2), (8, 0)],
    ),
    (
        {"schedule": "inverse_time", "decrease": 0.5, "warmup": 2},
        [(0, 0), (1, 0.2), (2, 0.4), (4, 0.2)],
    ),
    (
        {"schedule": "constant_linear", "constant_steps": 4, "decay_steps": 8},
        [(0, 0.4), (4, 0.4), (5, 0.3), (6, 0.2), (8, 0), (9, 0)],
    ),
    (
        {"schedule": "constant_linear", "constant_steps": 4, "decay_steps": 6, "warmup": 2},
        [(0, 0), (1, 0.2), (2, 0.4), (4, 0.4), (5, 0.2), (6, 0), (7, 0)],
    ),
    (
        {"schedule": "constant_linear", "decay_steps": 6, "warmup": 2},
        [(1, 0.2), (2, 0.4), (3, 0.3), (5, 0.1), (6, 0)],
    ),
    # To 0 at the restart, then along the single long decay.
    (
        {"schedule": "linear", "decay_steps": 8, "restarts": (4,)},
        [(0, 0.4), (1, 0.3), (3, 0.1), (4, 0.2), (6, 0.1), (8, 0), (9, 0)],
    ),
    (
        {"schedule": "linear", "decay_steps": 10, "restarts": (4, 6), "warmup": 2},
        [(1, 0.2), (2, 0.4), (3, 0.2), (4, 0.3), (5, 0.15), (6, 0.2), (8, 0.1), (10, 0)],
    ),
    (
        {"schedule": "cosine", "decay_steps": 12, "restarts": (4,)},
        [(0, 0.4), (2, 0.2), (4, 0.3), (8, 0.15), (12, 0), (13, 0)],
    ),
]


@pytest.mark.parametrize(("settings", "values"), SCHEDULES, ids=lambda v: str(v)[:60])
def test_schedule_values(settings, values):
    rate = Optimizer(learning_rate=0.4, **settings).learning_rate_at()
    for count, want in values:
        got = float(rate(jnp.asarray(count)))
        assert got == pytest.approx(want, rel=1e-5, abs=1e-7), count


def test_constant_linear_has_the_rate_of_the_cyclegan_code_at_every_epoch():
    """lr (1 - max(0, e + 2 - 100) / 101) in epoch e of 200: the last epoch trains at 0."""
    n = 1067  # updates per epoch of horse2zebra
    rate = Optimizer(
        learning_rate=2e-4,
        schedule="constant_linear",
        constant_steps=98 * n,
        decay_steps=199 * n,
    ).learning_rate_at()
    epochs = np.arange(200)
    want = 2e-4 * (1 - np.maximum(0, epochs + 2 - 100) / 101)
    np.testing.assert_allclose(rate(jnp.asarray(epochs * n)), want, rtol=2e-5, atol=1e-11)


def test_inverse_time_after_a_warm_up_accepts_a_python_number():
    """The schedule is also evaluated during the warm-up, at negative counts.

    The training loop does so for its log; decrease=1e-3 with warmup=1000 divided by 0.
    """
    s = Optimizer(learning_rate=0.4, schedule="inverse_time", decrease=0.5, warmup=2)
    assert float(s.learning_rate_at()(0)) == 0.0


def test_the_schedule_counts_updates_and_multiplies_the_decay_too():
    params, grads = draw(2, steps=5)
    s = Optimizer(
        optimizer="sgd",
        learning_rate=0.4,
        schedule="linear",
        decay_steps=4,
        warmup=2,
        weight_decay=0.3,
    )
    with jax.enable_x64(True):
        got = obtained(s.build(), params, grads)
    want = reference(s, params, grads, [0.0, 0.2, 0.4, 0.2, 0.0])  # the first rate is that of 0
    np.testing.assert_allclose(got, want, rtol=1e-6)


def regression(variables, batch, key):
    """Squared error of a linear map, `[B]`."""
    del key
    error = batch["x"] @ variables["params"]["w"] - batch["y"]
    return error**2, {}


@pytest.mark.parametrize(
    "rule",
    [
        {"optimizer": "adam", "clip": 0.5},
        # Adam and clipping are scale-invariant; plain descent distinguishes sum and mean.
        {"optimizer": "sgd", "momentum": 0.9},
    ],
    ids=str,
)
def test_accumulated_batches_equal_one_big_batch(rule):
    """Clipping, decay, moments and schedule must act on the mean, once per update."""
    rng = np.random.default_rng(3)
    data = {"x": rng.normal(size=(2, 6, 3)), "y": rng.normal(size=(2, 6))}
    settings = {
        "learning_rate": 0.1,
        "schedule": "linear",
        "decay_steps": 3,
        "weight_decay": 0.3,
        **rule,
    }

    def path(accumulate, batches):
        built = Optimizer(**settings, accumulate=accumulate).build()
        w = {"w": jnp.array([1.0, -2.0, 0.5])}
        step = jax.jit(gradient_step(regression, built))
        state = State(
            step=jnp.zeros((), jnp.int32),
            key=jax.random.key(0),
            variables={"params": w},
            opt_state=built.init(w),
        )
        out = []
        for batch in batches:
            state, _ = step(state, batch)
            out.append(np.asarray(state.variables["params"]["w"]))
        return out

    with jax.enable_x64(True):
        big = path(1, [{k: jnp.asarray(v[i]) for k, v in data.items()} for i in range(2)])
        parts = [(i, slice(j, j + 2)) for i in range(2) for j in (0, 2, 4)]
        small = path(3, [{k: jnp.asarray(v[i, s]) for k, v in data.items()} for i, s in parts])
    np.testing.assert_allclose(small[2], big[0], rtol=1e-6)
    np.testing.assert_allclose(small[5], big[1], rtol=1e-6)
    # Between updates nothing changes, by weight decay or momentum.
    np.testing.assert_array_equal(small[0], [1.0, -2.0, 0.5])
    np.testing.assert_array_equal(small[1], [1.0, -2.0, 0.5])
    np.testing.assert_array_equal(small[3], small[2])
    assert np.abs(big[0] - small[0]).max() > 1e-3


@pytest.mark.parametrize(("rule", "accumulate"), [("adam", 1), ("adam", 2), ("muon", 2)])
def test_learning_rate_scale_multiplies_every_rate_and_lives_in_the_state(rule, accumulate):
    """Several runs in one vmap, each with its own rate, equal separate runs."""
    params, grads = draw(4, steps=2)
    settings = {"optimizer": rule, "weight_decay": 0.3, "accumulate": accumulate}
    scales = np.array([0.5, 2.0])
    with jax.enable_x64(True):
        built = Optimizer(learning_rate=0.1, **settings).build(learning_rate_scale=0.5)
        given = obtained(built, params, grads)

        def run(scale):
            p = tree(params)
            opt_state = optax.tree.set(built.init(p), step_size=scale)
            for g in grads:
                updates, opt_state = built.update(tree(g), opt_state, p)
                p = optax.apply_updates(p, updates)
            return p

        both = jax.jit(jax.vmap(run))(jnp.asarray(scales))
        alone = [
            obtained(Optimizer(learning_rate=0.1 * s, **settings).build(), params, grads)
            for s in scales
        ]
    np.testing.assert_allclose(given, alone[0], rtol=1e-6)
    for i in range(2):
        one = flat(jax.tree.map(lambda a, i=i: a[i], both))
        np.testing.assert_allclose(one, alone[i][-1], rtol=1e-6)
    assert np.abs(alone[0][-1] - alone[1][-1]).max() > 1e-2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "`learning_rate` must be a positive number, got 0.0"),
        ({"learning_rate": -1e-3}, "`learning_rate` must be a positive number"),
        ({"learning_rate": math.nan}, "`learning_rate` must be a finite number, got nan"),
        ({"eps": 0.0}, "`eps` must be a positive number"),
        ({"accumulate": 0}, "`accumulate` must be a positive integer"),
        ({"decay_steps": 0}, "`decay_steps` must be above `warmup`"),
        (
            {"schedule": "constant_linear", "decay_steps": 8, "constant_steps": 8},
            "`decay_steps` must be above `constant_steps`, got 8 and 8",
        ),
        (
            {"schedule": "constant_linear", "constant_steps": 3, "warmup": 3},
            "`constant_steps` must be above `warmup`",
        ),
        (
            {"schedule": "linear", "constant_steps": 3},
            "`constant_steps` has no effect for schedule linear.*set it to 0",
        ),
        ({"orthogonal_steps": 3}, "`orthogonal_steps` has no effect for adam, only for muon"),
        (
            {"optimizer": "muon", "orthogonal_steps": 2.5},
            "`orthogonal_steps` must be a positive integer, got 2.5",
        ),
        (
            {"optimizer": "muon", "orthogonal_steps": 0},
            "`orthogonal_steps` must be a positive integer, got 0",
        ),
        ({"momentum": 0.9}, "`momentum` has no effect for adam, only for sgd, rmsprop and muon"),
        ({"optimizer": "sgd", "nesterov": True}, "`nesterov` needs `momentum` above 0"),
        ({"decrease": -1.0}, "`decrease` must be a non-negative number"),
        ({"warmup": -1}, "`warmup` must be a non-negative integer"),
        ({"weight_decay": -0.1}, "`weight_decay` must be a non-negative number"),
        ({"clip": -1.0}, "`clip` must be a non-negative number"),
        ({"momentum": 1.0}, r"`momentum` must be a number in \[0, 1\), got 1.0"),
        ({"b1": -0.1}, r"`b1` must be a number in \[0, 1\)"),
        ({"b2": 1.0}, r"`b2` must be a number in \[0, 1\)"),
        # A decay to 0 needs a length.
        ({"schedule": "linear"}, "schedule linear needs `decay_steps`; set it to"),
        ({"schedule": "cosine", "warmup": 3}, "schedule cosine needs `decay_steps`"),
        ({"schedule": "piecewise"}, "`boundaries` belong to schedule 'piecewise'"),
        ({"boundaries": (3,), "factors": (0.5,)}, "`boundaries` belong to schedule 'piecewise'"),
        (
            {"schedule": "piecewise", "boundaries": (3, 9), "factors": (0.5,)},
            "`boundaries` and `factors` must have one length, got 2 and 1",
        ),
        (
            {"schedule": "piecewise", "boundaries": (9, 3), "factors": (0.5, 0.1)},
            r"`boundaries` must increase and be above `warmup`, got \(9, 3\)",
        ),
        (
            {"schedule": "piecewise", "boundaries": (3,), "factors": (0.5,), "warmup": 3},
            "`boundaries` must increase and be above `warmup`",
        ),
        (
            {"schedule": "piecewise", "boundaries": (3,), "factors": (0.0,)},
            "`factors` must be a tuple, each entry a positive number",
        ),
        # Unknown schedules and rules.
        ({"schedule": "geometric", "decay_steps": 9}, "`schedule` must be one of .*'geometric'"),
        (
            {"schedule": "exponential", "floor": 1.0},
            "`floor` must be at most `learning_rate`, got 1",
        ),
        (
            {"optimizer": "sgd", "momentum": 0.5, "momentum_end": 0.7},
            "set both `momentum_end` and `momentum_s",
        ),
        ({"momentum_end": 0.7, "momentum_steps": 9}, "`momentum_end` needs sgd with `momentum`"),
        # Settings without effect.
        (
            {"floor": 1e-4},
            "`floor` has no effect for schedule constant, only for exponential and cosine; set it",
        ),
        (
            {"schedule": "linear", "decay_steps": 9, "floor": 1e-4},
            "`floor` has no effect for schedule linear",
        ),
        ({"decrease": 0.1}, "`decrease` .* only for inverse_time and exponential"),
        (
            {"decay_steps": 9},
            "`decay_steps` has no effect for schedule constant, only for linear,"
            " constant_linear and cosine",
        ),
        ({"restarts": (3,)}, "`restarts` has no effect for schedule constant.*leave"),
        (
            {"schedule": "linear", "decay_steps": 9, "restarts": (9,)},
            r"`restarts` must increase between `warmup` and `decay_steps`, got \(9,\), 0 and 9",
        ),
        (
            {"schedule": "cosine", "decay_steps": 9, "restarts": (3, 5), "warmup": 3},
            "`restarts` must increase between `warmup`",
        ),
        ({"clip": math.inf}, "`clip` must be a finite number, got inf"),
        ({"optimizer": "lion"}, "`optimizer` must be one of .*muon, got 'lion'"),
    ],
    ids=str,
)
def test_rejects_invalid_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Optimizer(**settings).build()
