"""Learning rates chosen on validation: several runs of one experiment in one `vmap`ped program.

The runs differ in their learning rate alone: the same first parameters, the same order of the
data, the same random numbers. The test split is not looked at.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import checks, families
from genjax import data as data_room
from genjax.core import Optimizer
from genjax.train.compatibility import check_compatibility
from genjax.train.run_config import Run, resolve
from genjax.train.splits import evaluation_conditions, evaluation_data, init_batch
from genjax.train.vectorized_runs import VectorizedRuns


class Trial(NamedTuple):
    """What one learning rate came to.

    learning_rate: of the run.
    validation: its best there, NLL or what its family reports; infinite for a run that diverged.
    std_error: of that mean over the validation examples.
    step: where it was best; of a diverged run, where that was seen.
    """

    learning_rate: float
    validation: float
    std_error: float
    step: int


def select(run: Run, learning_rates: Sequence[float], *, steps: int | None = None) -> list[Trial]:
    """Train one run a learning rate, all in one program, and give each one's best validation.

    As `fit` does, each run is evaluated at `eval_every` and at the end, with averaged weights
    where `ema` is set, and stops to count after `patience` evaluations without a better one. A run
    in which any metric or evaluation is not finite has diverged. Data and states of all runs lie
    on one device.

    Args:
      run: the settings; its own learning rate is not used.
      learning_rates: to try.
      steps: training steps instead of the run's; schedules shrink with them.

    Returns:
      one `Trial` a learning rate, in the order given; see `best`.

    Raises:
      ValueError: the family, the data or the optimizer do not allow it; one sentence.
    """
    checks.positive(learning_rates=tuple(learning_rates))
    if not isinstance(run.optimizer, Optimizer):
        raise ValueError(f"{run.family} has not one optimizer, so no learning rate to select.")
    family = families.get(run.family)
    if family.traits(run.model).density == "none":
        raise ValueError(f"{run.family} only samples: validation cannot choose by likelihood.")
    if run.optimizer.floor:
        raise ValueError(
            "floor is a rate, and would not fall with those that are tried; set it to 0 to select."
        )
    # One everywhere, and each run's own in its state: schedules are proportional to the rate.
    optimizer_settings = dataclasses.replace(run.optimizer, learning_rate=1.0)
    train = run.train if steps is None else dataclasses.replace(run.train, steps=steps)
    run = dataclasses.replace(run, train=train, optimizer=optimizer_settings)
    run = resolve(run, jax.default_backend())
    dataset = data_room.load(run.data)
    check_compatibility(run, family, dataset)
    if "validation" not in dataset.splits or "train" not in dataset.splits:
        missing = "validation" if "validation" not in dataset.splits else "resident train"
        raise ValueError(
            f"{run.data.data} has no {missing} split; learning rates are chosen on examples held"
            f" out in memory: set --validation N, or --stream no."
        )
    return Trials(run, family, dataset, learning_rates).run()


def best(trials: Sequence[Trial]) -> Trial:
    """The trial of lowest validation NLL.

    Raises:
      FloatingPointError: all of them diverged.
    """
    found = min(trials, key=lambda t: t.validation)
    if not math.isfinite(found.validation):
        rates = ", ".join(f"{t.learning_rate:g}" for t in trials)
        raise FloatingPointError(f"all runs diverged, with learning rates {rates}; try lower ones.")
    return found


class Trials(VectorizedRuns):
    """The runs of one selection: one learning rate each, and all else the same."""

    def __init__(self, run: Run, family: Any, dataset: Any, learning_rates: Sequence[float]):
        """Settings whose learning rate is 1, and each run's own."""
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
            data_room.make_transform(run.data.transform, dataset.levels),
        )
        self.order = data_room.Order(len(train["x"]), run.seed)
        self.validation = evaluation_data(run, dataset, "validation")
        self.condition = evaluation_conditions(run, family, dataset, "validation")
        self.found = [Trial(rate, math.inf, math.nan, 0) for rate in self.rates]
        self.bad = [0] * self.count
        self.diverged = [False] * self.count

    def run(self) -> list[Trial]:
        """Train, and give what each learning rate came to."""
        self.advance()
        return self.found

    def going(self) -> bool:
        """Until no run could still become better."""
        return any(self.open(i) for i in range(self.count))

    def open(self, i: int) -> bool:
        """Whether a run has neither diverged nor stopped early."""
        patience = self.settings.patience
        return not self.diverged[i] and not (patience and self.bad[i] >= patience)

    def taken(self, start: int, count: int) -> np.ndarray:
        """The same examples for every run."""
        return np.broadcast_to(self.order.take(start, count), (self.runs, count))

    def evaluate(self, step: int, finite: np.ndarray) -> None:
        """Validation of each run that is still open; a number that is none closes it for good."""
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
