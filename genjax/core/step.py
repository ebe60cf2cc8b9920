"""The generic gradient step, for one network and for two players."""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from genjax.core.keys import named_key
from genjax.core.state import State

# loss(variables, batch, key) -> ([B] nats, aux). Entries of aux are logged as means, but for
# "updates": new values of collections other than params (batch_stats, buffers).
Loss = Callable[[dict[str, Any], Any, jax.Array], tuple[jax.Array, dict[str, Any]]]
Step = Callable[[State, Any], tuple[State, dict[str, jax.Array]]]


def gradient_step(loss: Loss, optimizer: optax.GradientTransformation) -> Step:
    """One descent step on the mean of `loss` over the batch.

    Metrics, scalars: `loss` and the means of aux, in nats; `grad_norm`, `update_norm` and
    `param_norm`, global 2-norms.
    """

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        key = named_key(state.key, state.step, "loss")
        params, opt_state, updates, metrics = _descend(
            loss, optimizer, state.variables["params"], state.opt_state, state.variables, batch, key
        )
        variables = {**state.variables, **updates, "params": params}
        return (
            state.replace(step=state.step + 1, variables=variables, opt_state=opt_state),
            metrics,
        )

    return step


def network_step(loss: Loss, optimizers: Any, name: str) -> Step:
    """A descent step on one network of several: `params[name]` and `opt_state.name` change.

    So do the entries of other collections that the loss updates, such as
    `aux["updates"] = {"batch_stats": {name: ...}}`. Everything else, the step counter included,
    stays bit-identical.

    Raises:
      ValueError: the loss updates what is under another network's name.
    """
    optimizer = getattr(optimizers, name)

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        key = named_key(state.key, state.step, name)
        everything = state.variables["params"]

        def own_loss(variables: dict[str, Any], batch: Any, key: jax.Array) -> Any:
            merged = {**everything, name: variables["params"]}
            return loss({**variables, "params": merged}, batch, key)

        params, opt_state, updates, metrics = _descend(
            own_loss,
            optimizer,
            everything[name],
            getattr(state.opt_state, name),
            state.variables,
            batch,
            key,
        )
        for collection, entries in updates.items():
            foreign = sorted(set(entries) & set(everything) - {name})
            if foreign:
                raise ValueError(
                    f"the {name}'s loss updates {collection} of {', '.join(foreign)}; a network's"
                    f" step updates its own alone."
                )
        own = {k: {**state.variables[k], **entries} for k, entries in updates.items()}
        variables = {**state.variables, **own, "params": {**everything, name: params}}
        new = state.replace(
            variables=variables, opt_state=state.opt_state._replace(**{name: opt_state})
        )
        return new, {f"{name}_{k}": v for k, v in metrics.items()}

    return step


class Optimizers(NamedTuple):
    """One optimizer a player."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation


def player_steps(
    config: Any, discriminator_loss: Any, generator_loss: Any, optimizers: Optimizers
) -> tuple[Step, Step]:
    """The two half-steps (discriminator's, generator's); each changes its own network only.

    Args:
      config: the family's settings.
      discriminator_loss, generator_loss: of a family, `(config, variables, batch, key)`.
      optimizers: one a player.
    """
    return (
        network_step(functools.partial(discriminator_loss, config), optimizers, "discriminator"),
        network_step(functools.partial(generator_loss, config), optimizers, "generator"),
    )


def adversarial_step(
    discriminator_step: Step, generator_step: Step, *, critic_steps: int = 1
) -> Step:
    """`critic_steps` discriminator updates, then one generator update against the new one.

    With `critic_steps` above 1 the batch carries them as a leading axis, `[K, B, ...]`; the
    generator's update sees the last of them. Noise is drawn again in every update. Metrics of the
    discriminator are means over its updates, so that a penalty of every other one is among them.
    """

    def turn(state: State, given: tuple[jax.Array, Any]) -> tuple[State, dict[str, jax.Array]]:
        key, part = given
        new, metrics = discriminator_step(state.replace(key=key), part)
        return new.replace(key=state.key), metrics

    def turns(state: State, keys: jax.Array, batch: Any, *, unroll: bool) -> Any:
        state, each = jax.lax.scan(turn, state, (keys, batch), unroll=unroll)
        return state, jax.tree.map(lambda m: jnp.mean(m, axis=0), each)

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        if critic_steps == 1:
            state, means = turn(state, (state.key, batch))
        else:
            # Distinct noise for each critic step: the stream of discriminator k.
            others = [named_key(state.key, k, "critic") for k in range(1, critic_steps)]
            keys = jnp.stack([state.key, *others])
            # A loop is compiled once; a CPU has no quick gradients of convolutions inside one.
            one_by_one = functools.partial(turns, unroll=True)
            state, means = jax.lax.platform_dependent(
                state, keys, batch, cpu=one_by_one, default=functools.partial(turns, unroll=False)
            )
            batch = jax.tree.map(operator.itemgetter(-1), batch)
        state, metrics = generator_step(state, batch)
        return state.replace(step=state.step + 1), {**means, **metrics}

    return step


def _descend(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    params: Any,
    opt_state: Any,
    variables: dict[str, Any],
    batch: Any,
    key: jax.Array,
) -> tuple[Any, Any, dict[str, Any], dict[str, jax.Array]]:
    def mean_loss(params: Any) -> tuple[jax.Array, dict[str, Any]]:
        nats, aux = loss({**variables, "params": params}, batch, key)
        chex.assert_rank(nats, 1)  # one number an example: the mean is taken here, once
        return jnp.mean(nats), aux

    (value, aux), grads = jax.value_and_grad(mean_loss, has_aux=True)(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    metrics = {
        "loss": value,
        **{k: jnp.mean(v) for k, v in aux.items() if k != "updates"},
        "grad_norm": global_norm(grads),
        "update_norm": global_norm(updates),
        "param_norm": global_norm(params),
    }
    return params, opt_state, aux.get("updates", {}), metrics


def global_norm(tree: Any) -> jax.Array:
    """The 2-norm of all numbers of a tree together, as `optax.tree.norm` to a rounding.

    Rows of each leaf are summed first, then those of all leaves at once: on a GPU that is three
    kernels besides the one that makes a leaf, where a sum of each leaf to one number is one or two
    a leaf, half of all that a small network's step starts.
    """
    leaves = jax.tree.leaves(tree)
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in leaves]
    if not leaves or any(jax.sharding.AxisType.Explicit in m.axis_types for m in meshes):
        return optax.tree.norm(tree)  # what lies apart by its type is not laid end to end
    squares = [jnp.square(jnp.abs(leaf)) for leaf in leaves]
    rows = [jnp.ravel(jnp.sum(s, axis=-1) if s.ndim > 1 else s) for s in squares]
    # Else XLA makes it a sum of sums of leaves again.
    return jnp.sqrt(jnp.sum(jax.lax.optimization_barrier(jnp.concatenate(rows))))
