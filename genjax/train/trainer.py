"""The operations of the loop: train, log, save, evaluate, sample, save, stop."""

import collections
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from genjax import evals
from genjax.core import State, gan_objective, named_key
from genjax.data.json_files import read_object
from genjax.train import gan_diagnostics
from genjax.train.checkpoint import write_json
from genjax.train.compatibility import label_range
from genjax.train.compile import CompiledStep, batch_sharding
from genjax.train.device_memory import device_limit
from genjax.train.diverged import Diverged, run_diverged
from genjax.train.input_pipeline import InputPipeline
from genjax.train.profiler import Profiler
from genjax.train.programs import Programs, call_length
from genjax.train.resume import RECORD_FIX, FinishedRecord
from genjax.train.run_config import Train, evaluated_by_steps
from genjax.train.run_context import RunContext
from genjax.train.sample_drawing import SampleDrawer, draws_images, sample_drawer
from genjax.train.signals import agree_on_stop
from genjax.train.splits import (
    batch_transform,
    evaluation_conditions,
    evaluation_data,
    evaluation_key,
)
from genjax.train.stage_table import check_memory, render, stage_rows
from genjax.train.status import RunStatus

OUT_OF_TIME = "the time is used up; the same command resumes from here"
LARGEST_LOSS = 1e10  # of a model that trains; 1024x1024 RGB images have 2e7 nats
IN_FLIGHT = 2  # calls: enough to keep the device busy, few enough to stop soon


class StopRequested(Exception):
    """A signal arrived during an evaluation; its text is the reason to stop."""


class Trainer:
    """Trains one run; `status` is what it has reached."""

    def __init__(self, context: RunContext, status: RunStatus):
        self.context, self.status = context, status
        self.run, self.family, self.dataset = context.run, context.family, context.dataset
        self.progress, self.checkpoints = context.progress, context.checkpoints
        run, family = self.run, self.family
        self.layouts, self.stage = context.layouts, context.layouts.stages[0]
        self.replicated = NamedSharding(context.mesh, PartitionSpec())
        names = set(family.batch_spec(run.model, 1))
        labels = None
        if "label" in names and "train" in self.dataset.streams:
            labels = label_range(run, family)
        self.feed = InputPipeline(run, self.dataset, names, context.mesh, self.stage, labels)
        transform = batch_transform(run, self.dataset)
        self.programs = Programs(
            self.layouts,
            context.mesh,
            transform,
            self.feed.shapes,
            resident=self.feed.resident,
            per_call=self.by_steps().steps_per_call,
        )
        self.nlls: dict[tuple[Any, int], Callable] = {}
        self.evaluated: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
        # Metrics of calls: not logged yet, and not known to have ended.
        self.pending: list[tuple[int, int, Any]] = []
        self.in_flight: collections.deque[tuple[int, Any]] = collections.deque()
        self.drawer: SampleDrawer | None = None
        self.clock = time.monotonic()
        # Seconds of the last call, of the slowest evaluation, and beside training since the log.
        self.call_seconds = self.eval_seconds = self.aside = 0.0
        self.profiler = Profiler(context.workdir / "profile" if context.profile else None)
        self.stopped = ""

    def train(self, state: State, step: int) -> tuple[State, int, str]:
        """Trains to the last step, or until there is a reason to stop; everything is saved then.

        Returns:
          the state, its step, and the reason to stop; empty where training has ended.
        """
        t, calls = self.by_steps(), 0
        if pending := self.status.pending:
            self.status = self.status.replace(pending=())
            self.show(state, step, pending)
            if self.status.pending != pending:
                self.save(state)
            if self.stopped:
                return state, step, self.stopped
        if self.layouts.growing and step < t.steps and not self.status.ended:
            stop = self.compile_stages(step)
            if stop:
                return state, step, stop
        while step < t.steps and not self.status.ended:
            # 1. One call. Its length keeps calls aligned, so that a resumed run makes the same.
            number = self.begin_stage(step)
            length = call_length(self.stage, step, t.steps_per_call)
            compiled = (number, length) in self.programs
            if not calls and not compiled:
                self.progress.say(f"{self.run.experiment}  compiling the step")
            called = time.monotonic()
            call = self.program(number, length, state, step)
            state = self.layouts.before_step(state, step)
            state, metrics = call(state, *self.feed.take(step, length))
            self.pending.append((step, length, metrics))
            before, step, calls = step, step + length, calls + 1
            self.in_flight.append((step, metrics))
            if self.context.deadline is None:
                self.wait(IN_FLIGHT - 1)
            else:  # calls in flight would be time spent that is not counted
                self.wait(0)
                if compiled or not self.call_seconds:
                    self.call_seconds = time.monotonic() - called
            last = step == t.steps
            ended = step == self.stage.end  # its metrics and samples are those of one stage
            self.profiler.after_call(calls, state, last=last)

            def due(every: int, before: int = before, step: int = step, last: bool = last) -> bool:
                return last or (every > 0 and before // every < step // every)

            # 2. Guard and log. What is saved or evaluated below is guarded first.
            stop = agree_on_stop(self.reason_to_stop())
            if stop:
                self.say_saving(stop)
            if due(t.log_every) or due(t.eval_every) or due(t.save_every) or stop or ended:
                self.log(step, regular=due(t.log_every))
            every = {"evaluate": t.eval_every, "sample": t.sample_every}
            operations = tuple(name for name in every if due(every[name]))
            if self.layouts.growing and "sample" not in operations:
                half = self.stage.first + self.stage.fade // 2
                if ended or before < half <= step:
                    operations = (*operations, "sample")
            # 3. Save what is due, before an evaluation that may take long.
            saved = bool(due(t.save_every) or stop)
            if saved:
                self.status = self.status.replace(pending=operations)
                self.save(state)
            # 4. Evaluate; the best by validation is kept, and decides about stopping early.
            # 5. Samples, from the same noise every time.
            better = self.show(state, step, operations)
            stop = stop or self.stopped
            # 6. Save what they found; after a new best too, so that both checkpoints describe the
            # same run.
            if better or self.stopped or self.status.ended or (saved and operations):
                self.save(state)
            # 7. Stop.
            if self.stopped or (stop and not last and not self.status.ended):
                return state, step, stop
        return state, step, ""

    def by_steps(self) -> Train:
        """Returns length and intervals of the run, in steps."""
        return evaluated_by_steps(self.run, self.dataset.counts()["train"]).train

    def compile_stages(self, step: int) -> str:
        """Compiles stages before the first step, and prints and writes the table of them all.

        Returns:
          a reason to stop that came up, or nothing.

        Raises:
          ValueError: a stage does not fit the device.
        """
        started = time.monotonic()
        stop = agree_on_stop(self.programs.ahead(step, self.reason_to_stop))
        if not stop:
            rows = stage_rows(self.programs, step, self.feed.data)
            self.progress.say(render(rows))
            if jax.process_index() == 0:
                stages = [dataclasses.asdict(row) for row in rows]
                write_json(
                    self.context.workdir / "stages.json", {"from_step": step, "stages": stages}
                )
        self.aside += time.monotonic() - started
        self.progress.begin(step)
        return stop

    def begin_stage(self, step: int) -> int:
        """Returns the number of the stage of the next step."""
        layout = self.layouts.next(step)
        if layout.stage is not self.stage:
            self.stage = layout.stage
            self.feed.begin(self.stage)
        return layout.number

    def program(self, number: int, length: int, state: State, step: int) -> CompiledStep:
        """Returns the compiled step of the next call; where a stage fails to compile, or does not
        fit the device, the state before it is saved."""
        begins = self.layouts.growing and number > self.programs.begun
        try:
            call = self.programs.step(number, length)
            if begins and self.run.train.compile_stages != "all":
                check_memory(self.programs, {number: call}, device_limit(self.context.mesh))
        except Exception:
            if begins and step and jax.process_count() == 1:
                self.log(step, regular=False)
                self.save(state)
                self.checkpoints.wait()
            raise
        return call

    def wait(self, most: int) -> None:
        """Blocks until at most so many calls are in flight, and moves the bar to those done."""
        while len(self.in_flight) > most:
            step, metrics = self.in_flight.popleft()
            jax.block_until_ready(metrics)
            self.progress.advance(step)

    def show(self, state: State, step: int, operations: tuple[str, ...]) -> bool:
        """Evaluates and samples, as far as the operations say; returns whether it is a new best.

        An error or a signal here loses no step: the state, which is guarded, is saved with the
        operations that are still to be done. A non-finite loss is an error of the state itself.
        """
        before, left, better = self.status, operations, False
        after = tuple(name for name in operations if name != "evaluate")
        self.status = self.status.replace(pending=after)  # for the best checkpoint
        try:
            if "evaluate" in operations:
                better = self.evaluate(state, step)
                before, left = self.status, after
            if "sample" in operations or self.status.ended:
                self.sample(state, step)
        except FloatingPointError:
            raise
        except StopRequested as request:
            self.status, self.stopped = before.replace(pending=left), str(request)
            self.say_saving(self.stopped)
            return False
        except Exception:
            if jax.process_count() == 1:  # the others may have met no error, and save nothing
                if before.ended and "sample" not in left:
                    left = (*left, "sample")
                self.status = before.replace(pending=left)
                self.log(step, regular=False)
                self.save(state)
                self.checkpoints.wait()
            raise
        self.status = self.status.replace(pending=())
        return better

    def log(self, step: int, *, regular: bool) -> None:
        """Writes means of the metrics since the last log.

        Only a regular log is examined for warnings: a stop must not add to their counts.

        Raises:
          FloatingPointError: a metric is not finite, or a loss above `LARGEST_LOSS`.
        """
        self.wait(0)
        if not self.pending:
            return
        fetched = [(s, n, jax.device_get(m)) for s, n, m in self.pending]
        self.pending = []
        first = fetched[0][0]
        series = {
            name: np.concatenate([np.atleast_1d(m[name]) for _, _, m in fetched])
            for name in fetched[0][2]
        }
        for limit in (math.inf, LARGEST_LOSS):
            for name, values in series.items():
                if limit < math.inf and not name.endswith("loss"):
                    continue
                bad = np.flatnonzero(~(np.abs(values) < limit))  # NaN too
                if bad.size:
                    raise self.diverged(
                        f"{name} is {values[bad[0]]:.4g} at step {first + int(bad[0]) + 1} (checked"
                        f" steps {first + 1} to {step})",
                        "lower the learning rate, set clip, or check the data",
                    )
        means = {name: float(values.mean(dtype=np.float64)) for name, values in series.items()}
        seconds = self.elapsed()
        self.status = self.status.replace(seconds=self.status.seconds + seconds)
        training = max(seconds - self.aside, 1e-9)
        rate = (step - first) * self.stage.examples_per_step / training
        wait = self.feed.waited / training
        self.aside = self.feed.waited = 0.0
        self.write(
            step,
            {
                **means,
                **self.learning_rate(step),
                "examples_per_second": rate,
                "input_wait": wait,
                "seconds": self.status.seconds,
            },
        )
        self.progress.log(step, means, rate)
        if regular:
            self.diagnose(step, means)

    def diverged(self, what: str, fix: str) -> Diverged:
        """Returns the error of this run: what is not finite, and settings to change."""
        return run_diverged(self.context, what, fix)

    def write(self, step: int, values: dict[str, float], best: bool | None = None) -> None:
        """Appends a line to metrics.jsonl on the first process; of a validation, whether it is the
        best."""
        if self.context.metrics:
            self.context.metrics.write(step, values, best)

    def warn(self, step: int, words: str) -> None:
        """Prints a warning and keeps it for the record."""
        self.status = self.status.warn(step, words)
        self.progress.say(f"{self.run.experiment}  step {step:,}: {words}")

    def say_saving(self, reason: str) -> None:
        """Prints why the run saves and stops."""
        self.progress.say(f"{self.run.experiment}  {reason.split(';')[0]}: saving")

    def diagnose(self, step: int, means: dict[str, float]) -> None:
        """Reports a generator that collapses, or a discriminator that wins."""
        smoothing = gan_objective(self.run.model).label_smoothing
        warnings, counts = gan_diagnostics.diagnose(step, means, self.status.diagnostics, smoothing)
        self.status = self.status.replace(diagnostics=counts)
        for words in warnings:
            self.warn(step, words)

    def learning_rate(self, step: int) -> dict[str, float]:
        """Returns the learning rates in use at a step, for the log."""
        optimizer = self.run.optimizer
        if self.family.traits(self.run.model).fit != "gradient" or optimizer is None:
            return {}
        rates = self.layouts.learning_rate(step)
        if not isinstance(rates, dict):
            return {"learning_rate": rates}
        return {f"{name}_learning_rate": value for name, value in rates.items()}

    def nll(self, state: State, split: str, num_samples: int = 1) -> np.ndarray:
        """Returns the figure of a split per example, `[N]`: -log p(x) or a bound of it in nats, or
        what it reports instead. Its randomness does not depend on the step.

        Raises:
          StopRequested: a signal arrived, here or at another process.
        """
        config = self.run.model
        if split == "validation":
            config = self.family.traits(config).validation or config
        if (config, num_samples) not in self.nlls:
            self.nlls[config, num_samples] = evals.make_nll(
                self.family,
                config,
                num_samples=num_samples,
                sharding=batch_sharding(self.context.mesh),
                reported=True,
            )
        if split not in self.evaluated:
            self.evaluated[split] = (
                evaluation_data(self.run, self.dataset, split),
                evaluation_conditions(self.run, self.family, self.dataset, split),
            )
        (x, condition), size = self.evaluated[split], self.run.train.eval_batch
        key = evaluation_key(self.run, split)
        evaluate = self.nlls[config, num_samples]
        report = self.progress.passing(f"evaluating {split}")

        def progress(done: int, total: int) -> None:
            if done < total:
                caught = self.context.signals.caught
                if stop := agree_on_stop(self.reason_to_stop() if caught else ""):
                    raise StopRequested(stop)
            report(done, total)

        return evaluate(state.eval_variables(), x, key, size, condition, progress)

    def evaluate(self, state: State, step: int) -> bool:
        """Evaluates on validation and keeps the best state; returns whether this one is it."""
        quantity = evals.evaluated_quantity(self.family, self.run.model)
        if quantity is None or "validation" not in self.dataset.splits:
            return False
        started = time.monotonic()
        mean, error = evals.mean_and_error(self.nll(state, "validation"))
        if not math.isfinite(mean):
            self.checkpoints.wait()
            self.checkpoints.remove_after(step - 1)  # nothing continues from this state
            raise self.diverged(
                f"the validation loss is {mean} at step {step}",
                "lower the learning rate, or give unseen data some probability (alpha of counted"
                " families)",
            )
        status = self.status.evaluated(step, mean)
        better = not status.not_better
        if better:
            self.remove_record(step)
            self.checkpoints.save(state, status.to_json(), which="best")
        if self.run.train.patience and status.not_better >= self.run.train.patience:
            ended = f"no better validation for {status.not_better} evaluations"
            status = status.replace(ended=ended)
        self.status = status
        figure = "nll" if quantity.unit == "nats" else quantity.name.replace(" ", "_")
        self.write(step, {f"validation_{figure}": mean, "validation_std_error": error}, better)
        best = f"best {status.best:.3f} at step {status.best_step:,}"
        self.progress.say(
            f"{self.run.experiment}  validation {mean:.3f} +- {error:.3f},"
            f" {'best so far' if better else best}"
        )
        self.took(started)
        return better

    def sample(self, state: State, step: int) -> None:
        """Writes a grid of samples, or a sheet, as PNG; nothing if the family draws no images."""
        if not draws_images(self.family):
            return
        self.wait(0)  # steps in flight are training time
        started = time.monotonic()
        if self.drawer is None:
            run, family, dataset = self.run, self.family, self.dataset
            self.drawer = sample_drawer(run, family, dataset, self.replicated)
        key = named_key(jax.random.key(self.run.seed), 0, "samples")
        x = np.asarray(self.drawer.draw(state.eval_variables(), key))
        if jax.process_index() == 0:
            path = self.context.workdir / "samples" / f"step_{step:08d}.png"
            self.drawer.save_real(path.parent)
            stage = self.layouts.saved(step).stage.name
            fade = state.variables.get("buffers", {}).get("fade", {}) if stage else {}
            alpha = float(fade.get("alpha", 1.0))
            page = self.drawer.save(path, x, stage=stage, alpha=alpha)
            if self.context.metrics:
                self.context.metrics.image(step, page)
        self.took(started)

    def save(self, state: State) -> None:
        """Saves a checkpoint in the background; of a state that is there already, its status.

        It waits for the best checkpoint first: a latest one must not name a best that is not there.
        Until a pending evaluation is finite, the state before it and an earlier record stay.
        """
        # The time since the log, of evaluation and samples, belongs to this checkpoint.
        self.status = self.status.replace(seconds=self.status.seconds + self.elapsed())
        self.aside = 0.0
        started = time.monotonic()
        step = int(jax.device_get(state.step))
        evaluated = "evaluate" not in self.status.pending
        with self.context.signals.saving():
            self.checkpoints.wait()
            if evaluated:
                self.remove_record(step)
            if step not in self.checkpoints.steps():
                self.checkpoints.save(state, self.status.to_json())
            else:
                self.checkpoints.save_status(step, self.status.to_json())
                if evaluated:
                    self.checkpoints.prune()
        if self.context.metrics:
            self.context.metrics.flush()
        self.took(started)

    def remove_record(self, step: int) -> None:
        """Removes the record of an end at another step."""
        path = self.context.workdir / "record.json"
        if jax.process_index() != 0 or not path.exists():
            return
        if read_object(path, FinishedRecord, fix=RECORD_FIX)["steps"] != step:
            path.unlink()

    def took(self, started: float) -> None:
        """Counts time spent beside training: rates leave it out, deadlines allow for it."""
        seconds = time.monotonic() - started
        self.aside += seconds
        self.eval_seconds = max(self.eval_seconds, seconds)

    def elapsed(self) -> float:
        """Returns the seconds since the last call of this method."""
        now = time.monotonic()
        seconds, self.clock = now - self.clock, now
        return seconds

    def reason_to_stop(self) -> str:
        """Returns a reason to save and stop, or nothing."""
        if self.context.signals.caught:
            return f"{self.context.signals.caught}; the same command resumes from here"
        deadline = self.context.deadline
        if deadline is not None and time.monotonic() + self.margin() > deadline:
            return OUT_OF_TIME
        return ""

    def margin(self) -> float:
        """Returns twice the longest time of one more call, an evaluation and a save."""
        return 2 * (self.call_seconds + 2 * self.eval_seconds) + 0.5

    def close(self) -> None:
        """Ends the trace, the processes that read data and the threads that compile."""
        try:
            self.feed.close()
        finally:
            self.profiler.close()
            self.programs.close()
