"""Fits several densities of one family, each to a subset of the data, such as one per class."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks, families
from genjax.core import Optimizer, init_state, make_step, named_key
from genjax.data import Order
from genjax.train.named_runs import initial_weights
from genjax.train.run_config import Run, evaluated_by_steps, resolve
from genjax.train.vectorized_runs import VectorizedRuns


def fit_subsets(
    run: Run, train: Sequence[np.ndarray], validation: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """Fits one density per subset; families trained by gradient in one `vmap`ped program.

    By gradient, the weights with the best validation are kept, evaluated by `eval_every`.
    A counted family sees each example once; expectation maximisation makes `steps` iterations over
    the whole subset.

    Args:
      run: settings; its data are replaced by the following.
      train: examples of each subset, `[N_i, *shape]`, transformed.
      validation: of each subset, `[M_i, *shape]`.

    Returns:
      variables of each density, in the same order.

    Raises:
      ValueError: a subset is empty, or the numbers of subsets differ.
      FloatingPointError: the validation of a density is never finite.
    """
    if len(train) != len(validation) or not train:
        raise ValueError(
            f"{len(train)} subsets to train on, but {len(validation)} to validate on; give as many."
        )
    by_gradient = families.get(run.family).traits(run.model).fit == "gradient"
    for i, part in enumerate(train):
        checks.positive(**{f"examples_of_subset_{i}": len(part)})
        if by_gradient:
            checks.positive(**{f"validation_examples_of_subset_{i}": len(validation[i])})
    run = resolve(run, jax.default_backend())
    if not by_gradient:
        return [_without_gradient(run, part, i) for i, part in enumerate(train)]
    run = evaluated_by_steps(run, max(map(len, train)))
    return _Together(run, train, validation).fit()


def _without_gradient(run: Run, x: np.ndarray, number: int) -> dict[str, Any]:
    family = families.get(run.family)
    key = named_key(jax.random.key(run.seed), number, "subset")
    begin = jax.jit(lambda k, w: init_state(family, run.model, None, k, variables=w))
    state = begin(key, initial_weights(run))
    step = jax.jit(make_step(family, run.model, None), donate_argnums=0)
    batch = {"x": jnp.asarray(x)}
    for _ in range(1 if family.traits(run.model).fit == "counting" else run.train.steps):
        state, _ = step(state, batch)
    return state.eval_variables()


class _Together(VectorizedRuns):
    """Densities of all subsets; each has its own order of the data, and the same random numbers."""

    def __init__(self, run: Run, train: Sequence[np.ndarray], validation: Sequence[np.ndarray]):
        if not isinstance(run.optimizer, Optimizer):
            raise ValueError(f"{run.family} has several optimizers; subsets are fitted with one.")
        key = jax.random.key(run.seed)
        family = families.get(run.family)
        wanted = family.traits(run.model).init_examples
        least = min(wanted, *(len(part) for part in train))
        firsts = jnp.stack([jnp.asarray(part[:least]) for part in train]) if wanted else None

        def begin(init: Any, number: jax.Array) -> Any:
            batch = None if firsts is None else {"x": firsts[number]}
            return init(jax.random.fold_in(key, number), batch)

        super().__init__(
            run,
            run.optimizer.build(),
            len(train),
            {"x": np.concatenate(train)},
            begin,
        )
        self.orders = [Order(len(part), run.seed) for part in train]
        self.starts = np.cumsum([0, *(len(part) for part in train)])[:-1]
        self.validation = validation
        self.best: list[tuple[float, Any]] = [(math.inf, None)] * self.count

    def fit(self) -> list[dict[str, Any]]:
        self.advance()
        for i, (nats, _) in enumerate(self.best):
            if not math.isfinite(nats):
                raise FloatingPointError(
                    f"the validation loss of subset {i} was never finite; lower the learning rate."
                )
        return [variables for _, variables in self.best]

    def rows(self, start: int, count: int) -> np.ndarray:
        """Returns each subset's own order as indices into the concatenated subsets."""
        parts = [i % self.count for i in range(self.runs)]
        return np.stack([self.starts[i] + self.orders[i].take(start, count) for i in parts])

    def evaluate(self, step: int, finite: np.ndarray) -> None:
        """Keeps the weights of every density whose validation improved."""
        for i in range(self.count):
            one = self.variables(i)
            mean = self.validate(one, self.validation[i])[0]
            if mean < self.best[i][0]:
                self.best[i] = (mean, one)
