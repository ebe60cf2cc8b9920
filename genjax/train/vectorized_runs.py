"""Several runs of one family in one `vmap`ped program."""

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import evals, families
from genjax.core import init_state, make_step, named_key, with_ema
from genjax.train.compile import compile_step
from genjax.train.named_runs import initial_weights
from genjax.train.run_config import Run


class VectorizedRuns(abc.ABC):
    """Trains runs with the same settings; a subclass selects the examples and evaluates.

    Attributes:
      state: of all runs, with a leading axis of runs on every leaf.
      runs: number of states; a single run is duplicated, since `compile_step` stacks two or more.
    """

    def __init__(
        self,
        run: Run,
        optimizer: Any,
        count: int,
        data: dict[str, Any],
        begin: Callable[[Callable[..., Any], jax.Array], Any],
        transform: Any = None,
    ):
        """Stacks `count` runs with the same settings.

        Args:
          run: the settings.
          optimizer: of every run.
          count: number of runs.
          data: arrays `[N, ...]` that all runs index.
          begin: `(init, number of the run) -> State`, where `init(key, batch)` makes a new state;
            `batch` is for data-dependent initialisation, or None.
          transform: of batches, on the device.
        """
        family = families.get(run.family)
        averaged = run.train.ema > 0
        step = make_step(family, run.model, optimizer)
        self.step = with_ema(step, run.train.ema) if averaged else step
        self.settings, self.count, self.runs = run.train, count, max(2, count)
        self.transform = transform
        self.data = {name: jnp.asarray(array) for name, array in data.items()}

        def first(number: jax.Array, weights: Any) -> Any:
            def init(key: jax.Array, batch: Any = None) -> Any:
                return init_state(
                    family, run.model, optimizer, key, ema=averaged, batch=batch, variables=weights
                )

            return begin(init, number)

        numbers = jnp.arange(self.runs) % count
        make = jax.jit(jax.vmap(first, in_axes=(0, None)))
        self.state = make(numbers, initial_weights(run))
        self.calls: dict[int, Any] = {}
        config = family.traits(run.model).validation or run.model
        self.nll = evals.make_nll(family, config, reported=True)
        self.key = named_key(jax.random.key(run.seed), 0, "evaluate validation")

    def advance(self) -> None:
        """Trains and evaluates to the end, or until `going` returns False."""
        t, step = self.settings, 0
        finite = jnp.ones(self.runs, bool)
        while step < t.steps and self.going():
            every = t.eval_every or t.steps
            evaluation = min(step - step % every + every, t.steps)
            length = min(t.steps_per_call, evaluation - step)
            self.state, metrics = self.call(length)(
                self.state, self.indices(step, length), self.data
            )
            finite = _still_finite(finite, metrics)
            step += length
            if step == evaluation:
                self.evaluate(step, np.asarray(finite))

    def going(self) -> bool:
        """Returns whether a run could still improve."""
        return True

    @abc.abstractmethod
    def rows(self, start: int, count: int) -> np.ndarray:
        """Returns the indices at start .. start + count - 1 of each order, `[runs, count]`."""

    @abc.abstractmethod
    def evaluate(self, step: int, finite: np.ndarray) -> None:
        """Evaluates the runs; `finite` `[runs]` says whose metrics have all been finite."""

    def variables(self, i: int) -> dict[str, Any]:
        """Returns the variables to evaluate run `i` with."""
        return jax.tree.map(lambda a: a[i], self.state.eval_variables())

    def validate(
        self, variables: dict[str, Any], x: Any, condition: Any = None
    ) -> tuple[float, float]:
        """Returns mean and standard error over `x` of what the family reports, as in `fit`."""
        size = self.settings.eval_batch
        return evals.mean_and_error(self.nll(variables, x, self.key, size, condition))

    def call(self, length: int) -> Any:
        """Returns the compiled step of all runs, for a call of so many steps."""
        if length not in self.calls:
            self.calls[length] = compile_step(
                self.step,
                steps_per_call=length,
                runs=self.runs,
                transform=self.transform,
                resident=True,
            )
        return self.calls[length]

    def indices(self, step: int, length: int) -> jax.Array:
        """Returns indices `[length, runs, B]`, without the first axis if it is 1."""
        size = self.settings.batch_size
        found = self.rows(step * size, length * size).reshape(self.runs, length, size)
        found = found.swapaxes(0, 1).astype(np.int32)
        return jnp.asarray(found[0] if length == 1 else found)


@jax.jit
def _still_finite(before: jax.Array, metrics: dict[str, jax.Array]) -> jax.Array:
    """Returns `[runs]`: which were finite before and are in all metrics `[..., runs]` of a call.

    Only these flags are kept: there may be millions of calls between evaluations.
    """
    of_each = [jnp.isfinite(v).reshape(-1, len(before)).all(axis=0) for v in metrics.values()]
    return jnp.stack([before, *of_each]).all(axis=0)
