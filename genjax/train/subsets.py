"""Several densities of one family, each fitted to a part of the data: one a class, and the like."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks, evals, families
from genjax.core import Optimizer, init_state, stream, with_ema
from genjax.data import Order
from genjax.train.compile import compile_step
from genjax.train.settings import Run, resolve


def fit_subsets(
    run: Run, train: Sequence[np.ndarray], validation: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """Fit one density to each part, all of a gradient family in one `vmap`ped program.

    A family fitted by gradient keeps, of each density, the weights of its best validation, looked
    at every `eval_every` steps; one that is counted sees each example once; expectation
    maximisation makes `steps` iterations over the whole part.

    Args:
      run: settings; of its data only the numbers given here are used.
      train: examples of each part, `[N_i, *shape]`, as the family takes them.
      validation: of each part, `[M_i, *shape]`.

    Returns:
      variables of each part's density, in the order given.

    Raises:
      ValueError: a part is empty, or the numbers of parts differ.
      FloatingPointError: a density's validation is not finite at the end.
    """
    if len(train) != len(validation) or not train:
        raise ValueError(f"{len(train)} parts to train on and {len(validation)} to validate on.")
    for i, part in enumerate(train):
        checks.positive(**{f"examples_of_part_{i}": len(part)})
    run = resolve(run, jax.default_backend())
    if families.get(run.family).TRAITS.fit != "gradient":
        return [_without_gradient(run, part, i) for i, part in enumerate(train)]
    return _Together(run, train, validation).fit()


def _without_gradient(run: Run, x: np.ndarray, number: int) -> dict[str, Any]:
    family = families.get(run.family)
    key = stream(jax.random.key(run.seed), number, "subset")
    state = jax.jit(lambda k: init_state(family, run.model, None, k))(key)
    step = jax.jit(family.make_step(run.model, None), donate_argnums=0)
    batch = {"x": jnp.asarray(x)}
    for _ in range(1 if family.TRAITS.fit == "counting" else run.train.steps):
        state, _ = step(state, batch)
    return state.eval_variables()


class _Together:
    """States of all parts, stacked; each with its own data order, the same random numbers."""

    def __init__(self, run: Run, train: Sequence[np.ndarray], validation: Sequence[np.ndarray]):
        self.settings, self.family, self.model = run.train, families.get(run.family), run.model
        if not isinstance(run.optimizer, Optimizer):
            raise ValueError(f"{run.family} has not one optimizer; parts are fitted with one.")
        optimizer = run.optimizer.build()
        averaged = run.train.ema > 0
        step = self.family.make_step(run.model, optimizer)
        self.step = with_ema(step, run.train.ema) if averaged else step
        self.count = len(train)
        # A single part is stacked with its double: compile_step stacks two or more.
        self.runs = max(2, self.count)
        key = jax.random.key(run.seed)

        def make_state(number: jax.Array) -> Any:
            mine = jax.random.fold_in(key, number)
            return init_state(self.family, run.model, optimizer, mine, ema=averaged)

        self.state = jax.jit(jax.vmap(make_state))(jnp.arange(self.runs) % self.count)
        starts = np.cumsum([0, *(len(part) for part in train)])
        self.data = {"x": jnp.asarray(np.concatenate(train))}
        self.orders = [Order(len(part), run.seed) for part in train]
        self.starts = starts[:-1]
        self.validation = validation
        self.nll = evals.make_nll(self.family, run.model)
        self.key = stream(key, 0, "evaluate validation")
        self.best: list[tuple[float, Any]] = [(math.inf, None)] * self.count
        self.calls: dict[int, Any] = {}

    def fit(self) -> list[dict[str, Any]]:
        t, step = self.settings, 0
        while step < t.steps:
            every = t.eval_every or t.steps
            evaluation = min(step - step % every + every, t.steps)
            length = min(t.steps_per_call, evaluation - step)
            self.state, _ = self.call(length)(self.state, self.indices(step, length), self.data)
            step += length
            if step == evaluation:
                self.evaluate()
        for i, (nats, _) in enumerate(self.best):
            if not math.isfinite(nats):
                raise FloatingPointError(
                    f"the density of part {i} never had a finite validation loss; lower the"
                    f" learning rate."
                )
        return [variables for _, variables in self.best]

    def call(self, length: int) -> Any:
        if length not in self.calls:
            self.calls[length] = compile_step(
                self.step, steps_per_call=length, runs=self.runs, resident=True
            )
        return self.calls[length]

    def indices(self, step: int, length: int) -> jax.Array:
        """`[length, runs, B]` into the joined parts, without the first axis where it is 1."""
        size = self.settings.batch_size
        rows = [
            self.starts[i % self.count]
            + self.orders[i % self.count].take(step * size, length * size)
            for i in range(self.runs)
        ]
        found = np.stack(rows).reshape(self.runs, length, size).swapaxes(0, 1).astype(np.int32)
        return jnp.asarray(found[0] if length == 1 else found)

    def evaluate(self) -> None:
        """Keep the weights of every density that is better than before on its own validation."""
        for i in range(self.count):
            one = jax.tree.map(lambda a, i=i: a[i], self.state.eval_variables())
            nats = self.nll(one, self.validation[i], self.key, self.settings.eval_batch)
            mean = evals.mean_and_error(nats)[0]
            if mean < self.best[i][0]:
                self.best[i] = (mean, one)
