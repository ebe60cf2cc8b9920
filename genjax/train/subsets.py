"""Several densities of one family, each fitted to a part of the data: one a class, and the like."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks, families
from genjax.core import Optimizer, init_state, make_step, named_key
from genjax.data import Order
from genjax.train.load_run import initial_weights
from genjax.train.run_config import Run, resolve
from genjax.train.vectorized_runs import VectorizedRuns


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
    descended = families.get(run.family).traits(run.model).fit == "gradient"
    for i, part in enumerate(train):
        checks.positive(**{f"examples_of_part_{i}": len(part)})
        if descended:
            checks.positive(**{f"validation_examples_of_part_{i}": len(validation[i])})
    run = resolve(run, jax.default_backend())
    if not descended:
        return [_without_gradient(run, part, i) for i, part in enumerate(train)]
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
    """The densities of all parts; each with its own data order, the same random numbers."""

    def __init__(self, run: Run, train: Sequence[np.ndarray], validation: Sequence[np.ndarray]):
        if not isinstance(run.optimizer, Optimizer):
            raise ValueError(f"{run.family} has not one optimizer; parts are fitted with one.")
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
                    f"the density of part {i} never had a finite validation loss; lower the"
                    f" learning rate."
                )
        return [variables for _, variables in self.best]

    def taken(self, start: int, count: int) -> np.ndarray:
        """Each part's own order, as indices into the joined parts."""
        parts = [i % self.count for i in range(self.runs)]
        return np.stack([self.starts[i] + self.orders[i].take(start, count) for i in parts])

    def evaluate(self, step: int, finite: np.ndarray) -> None:
        """Keep the weights of every density that is better than before on its own validation."""
        for i in range(self.count):
            one = self.variables(i)
            mean = self.validate(one, self.validation[i])[0]
            if mean < self.best[i][0]:
                self.best[i] = (mean, one)
