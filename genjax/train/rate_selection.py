"""Selects a learning rate on validation: several runs of one experiment in one `vmap`ped program.

The runs differ only in their learning rate: initial parameters, order of the data and random
numbers are the same. The test split is not used.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import checks, evals, families
from genjax import data as genjax_data
from genjax.core import Optimizer
from genjax.train.compatibility import check_compatibility
from genjax.train.run_config import Run, evaluated_by_steps, resolve
from genjax.train.splits import batch_transform, evaluation_conditions, evaluation_data, init_batch
from genjax.train.vectorized_runs import VectorizedRuns


class Trial(NamedTuple):
    """Result of one learning rate.

    Attributes:
      learning_rate: of the run.
      validation: best validation figure (NLL, or what the family reports); infinite if it diverged.
      std_error: of that mean over the validation examples.
      step: step of that figure; of a diverged run, the step at which this was noticed.
    """

    learning_rate: float
    validation: float
    std_error: float
    step: int


def select(run: Run, learning_rates: Sequence[float], *, steps: int | None = None) -> list[Trial]:
    """Trains one run per learning rate, all in one program, and returns their best validations.

    As in `fit`, each run is evaluated every `eval_every` steps (or `eval_epochs`) and at the end,
    with averaged weights if `ema` is set, and ends after `patience` evaluations without
    improvement. A run in which a metric or an evaluation is not finite has diverged. Data and
    states of all runs are on one device.

    Args:
      run: settings; its own learning rate is not used.
      learning_rates: to try.
      steps: training steps instead of the run's; schedules are scaled.

    Returns:
      one `Trial` per learning rate, in the same order; see `best`.

    Raises:
      ValueError: the family, the data or the optimizer do not allow it.
    """
    checks.positive(learning_rates=tuple(learning_rates))
    if not isinstance(run.optimizer, Optimizer):
        raise ValueError(
            f"{run.family} has no single optimizer whose learning rate could be selected."
        )
    family = families.get(run.family)
    if evals.evaluated_quantity(family, run.model) is None:
        raise ValueError(f"{run.family} has no likelihood to select by.")
    if run.optimizer.floor:
        raise ValueError(
            "`floor` is not scaled with the learning rates; set it to 0 to select one."
        )
    # 1 here, and each run's own in its state: schedules are proportional to the rate.
    optimizer_settings = dataclasses.replace(run.optimizer, learning_rate=1.0)
    train = run.train if steps is None else dataclasses.replace(run.train, steps=steps)
    run = dataclasses.replace(run, train=train, optimizer=optimizer_settings)
    run = resolve(run, jax.default_backend())
    dataset = genjax_data.load(run.data)
    run = evaluated_by_steps(run, dataset.counts()["train"])
    check_compatibility(run, family, dataset)
    if "validation" not in dataset.splits or "train" not in dataset.splits:
        missing = "validation" if "validation" not in dataset.splits else "resident train"
        raise ValueError(
            f"{run.data.data} has no {missing} split in memory to select learning rates on; set"
            f" --validation N, or --stream no."
        )
    return Trials(run, family, dataset, learning_rates).run()


def best(trials: Sequence[Trial]) -> Trial:
    """Returns the trial with the lowest validation figure.

    Raises:
      FloatingPointError: all of them diverged.
    """
    found = min(trials, key=lambda t: t.validation)
    if not math.isfinite(found.validation):
        rates = ", ".join(f"{t.learning_rate:g}" for t in trials)
        raise FloatingPointError(f"all learning rates diverged ({rates}); try lower ones.")
    return found


class Trials(VectorizedRuns):
    """Runs that differ only in their learning rate."""

    def __init__(self, run: Run, family: Any, dataset: Any, learning_rates: Sequence[float]):
        """Takes settings whose learning rate is 1, and the learning rate of each run."""
        assert isinstance(run.optimizer, Optimizer)
        self.rates = list(learning_rates)
        key, rates = jax.random.key(run.seed), jnp.asarray(self.rates, jnp.float32)

        first = init_batch(run, family, dataset)

        def begin(init: Any, number: jax.Array) -> Any:
            state = init(key, first)
            return state.replace(opt_state=optax.tree.set(state.opt_state, step_size=rates[number]))

        names = set(family.batch_spec(run.model, 1))
        train = dataset.splits["train"]
        if dataset.unpaired:
            raise ValueError(
                f"{dataset.name} has unpaired domains, which rate selection does not support; use"
                f" paired data, or set --learning-rate."
            )
        super().__init__(
            run,
            run.optimizer.build(learning_rate_scale=1.0),
            len(self.rates),
            {k: v for k, v in train.items() if k in names},
            begin,
            batch_transform(run, dataset),
        )
        self.order = genjax_data.Order(len(train["x"]), run.seed)
        self.validation = evaluation_data(run, dataset, "validation")
        self.condition = evaluation_conditions(run, family, dataset, "validation")
        self.found = [Trial(rate, math.inf, math.nan, 0) for rate in self.rates]
        self.bad = [0] * self.count
        self.diverged = [False] * self.count

    def run(self) -> list[Trial]:
        """Trains, and returns the result of each learning rate."""
        self.advance()
        return self.found

    def going(self) -> bool:
        """Returns whether a run could still improve."""
        return any(self.open(i) for i in range(self.count))

    def open(self, i: int) -> bool:
        """Returns whether a run has neither diverged nor ended early."""
        patience = self.settings.patience
        return not self.diverged[i] and not (patience and self.bad[i] >= patience)

    def rows(self, start: int, count: int) -> np.ndarray:
        """Returns the same examples for every run."""
        return np.broadcast_to(self.order.take(start, count), (self.runs, count))

    def evaluate(self, step: int, finite: np.ndarray) -> None:
        """Evaluates each run that is still open; a non-finite figure closes it."""
        for i in range(len(self.rates)):
            if not self.open(i):
                continue
            mean, error = math.nan, math.nan
            if finite[i]:
                mean, error = self.validate(self.variables(i), self.validation, self.condition)
            if not math.isfinite(mean):
                self.diverged[i] = True
                self.found[i] = Trial(self.rates[i], math.inf, math.nan, step)
            elif mean < self.found[i].validation:
                self.found[i] = Trial(self.rates[i], mean, error, step)
                self.bad[i] = 0
            else:
                self.bad[i] += 1
