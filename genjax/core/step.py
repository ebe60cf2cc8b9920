"""Train steps: gradient descent on one loss, and on the losses of several named networks."""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp
import optax

from genjax.core.keys import named_key
from genjax.core.state import State

# loss(variables, batch, key) -> ([B], aux). Entries of aux are logged as means, except "updates",
# new values of collections other than params, and "outputs", see `adversarial_step`.
Loss = Callable[[dict[str, Any], Any, jax.Array], tuple[jax.Array, dict[str, Any]]]
Step = Callable[[State, Any], tuple[State, dict[str, jax.Array]]]
Optimizers: TypeAlias = optax.GradientTransformation | Mapping[str, optax.GradientTransformation]
NOT_METRICS = ("updates", "outputs")


class _Update(NamedTuple):
    """Result of one descent step on some of the parameters."""

    params: Any
    opt_state: Any
    aux: dict[str, Any]
    metrics: dict[str, jax.Array]


def gradient_step(loss: Loss, optimizer: optax.GradientTransformation) -> Step:
    """Builds a step that descends the batch mean of `loss`.

    Metrics, scalars: `loss` and the means of aux; `grad_norm`, `update_norm` and `param_norm`,
    global 2-norms.

    Args:
      loss: `(variables, batch, key) -> ([B], aux)`.
      optimizer: for all parameters.
    """

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        key = named_key(state.key, state.step, "loss")
        update = _descend(
            loss, optimizer, state.variables["params"], state.opt_state, state.variables, batch, key
        )
        changed = {**update.aux.get("updates", {}), "params": update.params}
        new = state.replace(
            step=state.step + 1,
            variables={**state.variables, **changed},
            opt_state=update.opt_state,
        )
        return new, update.metrics

    return step


def network_step(name: str, loss: Loss, optimizer: optax.GradientTransformation) -> Step:
    """Builds a step that updates one network of several and does not advance `state.step`.

    It changes `params[name]`, `opt_state[name]` and what the loss returns in `aux["updates"]`, such
    as `{"batch_stats": {name: ...}}`. Everything else stays bit-identical. Names of metrics begin
    with the network's.

    Args:
      name: of the network.
      loss: `(variables, batch, key) -> ([B], aux)`.
      optimizer: for the network's parameters.

    Raises:
      ValueError: when called, if `aux["updates"]` has an entry of another network.
    """

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        update = _network_update(name, loss, optimizer, state, batch)
        return _apply_update(state, name, update), update.metrics

    return step


def adversarial_step(
    losses: Mapping[str, Loss],
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    critic_steps: int = 1,
    simultaneous: bool = False,
) -> Step:
    """Builds a step that updates every network once by its own loss.

    Sequential updates (the default) follow the order of `losses`, and each sees the newest other
    networks. With `critic_steps` above 1 the first network is updated so many times, each on its
    own part of the batch, `[K, B, ...]`, with its own noise; the other networks see the last part.
    Its metrics are means over its updates. Simultaneous updates take all gradients at the old
    parameters, statistics and buffers.

    What a loss returns in `aux["outputs"]`, such as generated images or drawn labels, is in
    `batch["outputs"]` of the losses after it, without gradient; of several critic updates, that of
    the last.

    Args:
      losses: loss of each network by name, in order of update.
      optimizers: optimizer of each network by name.
      critic_steps: updates of the first network per step.
      simultaneous: whether updates are simultaneous.

    Raises:
      ValueError: names differ, or simultaneous updates have several critic steps.
    """
    if set(losses) != set(optimizers):
        raise ValueError(
            f"optimizers must have the names {', '.join(losses)}, got {', '.join(optimizers)}."
        )
    if simultaneous and critic_steps > 1:
        raise ValueError(
            f"simultaneous updates have one critic step, got {critic_steps}; use sequential ones."
        )
    first, *others = losses

    def update(name: str, state: State, batch: Any) -> tuple[State, dict[str, jax.Array], Any]:
        found = _network_update(name, losses[name], optimizers[name], state, batch)
        outputs = jax.lax.stop_gradient(found.aux.get("outputs", {}))
        return _apply_update(state, name, found), found.metrics, outputs

    def critic_step(state: State, item: tuple[jax.Array, Any]) -> tuple[State, Any]:
        key, batch = item
        new, metrics, outputs = update(first, state.replace(key=key), batch)
        return new.replace(key=state.key), (metrics, outputs)

    def critic_scan(state: State, keys: jax.Array, batch: Any, *, unroll: bool) -> Any:
        state, (metrics, outputs) = jax.lax.scan(critic_step, state, (keys, batch), unroll=unroll)
        return state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics), _last(outputs)

    def sequential_step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        if critic_steps == 1:
            state, metrics, outputs = update(first, state, batch)
        else:
            keys = jnp.stack(
                [state.key, *(named_key(state.key, k, "critic") for k in range(1, critic_steps))]
            )
            # A loop compiles once, but on CPU XLA's convolution gradients are slow inside one.
            state, metrics, outputs = jax.lax.platform_dependent(
                state,
                keys,
                batch,
                cpu=functools.partial(critic_scan, unroll=True),
                default=functools.partial(critic_scan, unroll=False),
            )
            batch = _last(batch)
        for name in others:
            batch = _with_outputs(batch, outputs)
            state, more, further = update(name, state, batch)
            metrics, outputs = {**metrics, **more}, {**outputs, **further}
        return state.replace(step=state.step + 1), metrics

    def simultaneous_step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        new = state
        metrics: dict[str, jax.Array] = {}
        outputs: dict[str, Any] = {}
        for name, loss in losses.items():
            found = _network_update(name, loss, optimizers[name], state, batch)
            new = _apply_update(new, name, found)
            metrics |= found.metrics
            outputs |= jax.lax.stop_gradient(found.aux.get("outputs", {}))
            batch = _with_outputs(batch, outputs)
        return new.replace(step=state.step + 1), metrics

    return simultaneous_step if simultaneous else sequential_step


def _last(tree: Any) -> Any:
    return jax.tree.map(operator.itemgetter(-1), tree)


def _with_outputs(batch: Any, outputs: dict[str, Any]) -> Any:
    return {**batch, "outputs": outputs} if outputs else batch


def _network_update(
    name: str, loss: Loss, optimizer: optax.GradientTransformation, state: State, batch: Any
) -> _Update:
    """Computes a network's update at a state, on the stream of random numbers with its name."""
    networks = state.variables["params"]

    def own_loss(variables: dict[str, Any], batch: Any, key: jax.Array) -> Any:
        params = {**networks, name: variables["params"]}
        return loss({**variables, "params": params}, batch, key)

    key = named_key(state.key, state.step, name)
    opt_state = state.opt_state[name]
    update = _descend(own_loss, optimizer, networks[name], opt_state, state.variables, batch, key)
    for collection, entries in update.aux.get("updates", {}).items():
        _check_entries(name, collection, entries, networks)
    return update._replace(metrics={f"{name}_{k}": v for k, v in update.metrics.items()})


def _check_entries(
    name: str, collection: str, entries: Iterable[str], networks: Iterable[str]
) -> None:
    foreign = sorted(set(entries) & set(networks) - {name})
    if foreign:
        raise ValueError(
            f"the loss of {name} updates {collection} of {', '.join(foreign)}; return updates of"
            f" {name} only."
        )


def _apply_update(state: State, name: str, update: _Update) -> State:
    changed = {
        collection: {**state.variables[collection], **entries}
        for collection, entries in update.aux.get("updates", {}).items()
    }
    params = {**state.variables["params"], name: update.params}
    return state.replace(
        variables={**state.variables, **changed, "params": params},
        opt_state={**state.opt_state, name: update.opt_state},
    )


def _descend(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    params: Any,
    opt_state: Any,
    variables: dict[str, Any],
    batch: Any,
    key: jax.Array,
) -> _Update:
    def mean_loss(params: Any) -> tuple[jax.Array, dict[str, Any]]:
        values, aux = loss({**variables, "params": params}, batch, key)
        chex.assert_rank(values, 1)  # per example: the mean is taken once, here
        return jnp.mean(values), aux

    (value, aux), grads = jax.value_and_grad(mean_loss, has_aux=True)(params)
    updates, opt_state = _updates(optimizer, grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    metrics = {
        "loss": value,
        **{k: jnp.mean(v) for k, v in aux.items() if k not in NOT_METRICS},
        "grad_norm": global_norm(grads),
        "update_norm": global_norm(updates),
        "param_norm": global_norm(params),
    }
    return _Update(params, opt_state, aux, metrics)


def _updates(
    optimizer: optax.GradientTransformation, grads: Any, opt_state: Any, params: Any
) -> tuple[Any, Any]:
    try:
        return optimizer.update(grads, opt_state, params)
    except (AttributeError, TypeError, ValueError):
        own: Any = jax.tree.structure(jax.eval_shape(optimizer.init, params))
        if own == jax.tree.structure(opt_state):
            raise
        raise ValueError(
            "the state was made with another optimizer than the step; pass the same one to"
            " init_state and to the step."
        ) from None


def global_norm(tree: Any) -> jax.Array:
    """Computes the 2-norm of all leaves together, equal to `optax.tree.norm` up to rounding.

    Rows of each leaf are summed first, then the sums of all leaves at once: on a GPU this launches
    far fewer kernels than one reduction per leaf.
    """
    leaves = jax.tree.leaves(tree)
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in leaves]
    if not leaves or any(jax.sharding.AxisType.Explicit in m.axis_types for m in meshes):
        return optax.tree.norm(tree)  # explicitly sharded leaves cannot be concatenated
    squares = [jnp.square(jnp.abs(leaf)) for leaf in leaves]
    rows = [jnp.ravel(jnp.sum(s, axis=-1) if s.ndim > 1 else s) for s in squares]
    # Without the barrier XLA turns this into a sum of sums per leaf again.
    return jnp.sqrt(jnp.sum(jax.lax.optimization_barrier(jnp.concatenate(rows))))
