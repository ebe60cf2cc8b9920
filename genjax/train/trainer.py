"""The operations of the loop: one call, log, evaluate, sample, save, and when to stop."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from genjax import data as data_room
from genjax import evals
from genjax.core import Optimizer, make_step, named_key, with_ema
from genjax.data.label_subsets import UNKNOWN
from genjax.train import gan_diagnostics
from genjax.train.checkpoint import Checkpoints
from genjax.train.compile import batch_sharding, compile_step
from genjax.train.input_pipeline import InputPipeline
from genjax.train.load_run import evaluation_variables
from genjax.train.metric_writers import Metrics, Progress
from genjax.train.run_config import Run, batches_per_step
from genjax.train.sample_grids import save_grid
from genjax.train.signals import Signals, agree_on_stop
from genjax.train.splits import evaluation_conditions, evaluation_data

OUT_OF_TIME = "the time is used up; the same command goes on from here"


class Trainer:
    """The parts of one run that the operations of the loop share."""

    progress: Progress
    main: bool
    profile: bool
    metrics_file: Metrics | None

    def __init__(
        self,
        run: Run,
        family: Any,
        dataset: data_room.Dataset,
        mesh: Any,
        shardings: Any,
        optimizer: Any,
        lead: int,
        workdir: pathlib.Path,
        checkpoints: Checkpoints,
    ):
        self.run, self.family, self.dataset, self.mesh = run, family, dataset, mesh
        self.shardings, self.lead, self.workdir = shardings, lead, workdir
        self.checkpoints = checkpoints
        self.transform = data_room.make_transform(run.data.transform, dataset.levels)
        step = make_step(family, run.model, optimizer)
        self.step = with_ema(step, run.train.ema) if run.train.ema else step
        self.replicated = NamedSharding(mesh, PartitionSpec())
        critics = run.model.critic_steps if lead else 0
        names = set(family.batch_spec(run.model, 1))
        labels = None
        if "label" in names and "train" in dataset.streams:
            first = UNKNOWN if family.traits(run.model).semi_supervised else 0
            labels = range(first, run.model.classes)
        self.feed = InputPipeline(run, dataset, names, mesh, critics, labels)
        self.calls: dict[int, Callable] = {}
        self.nlls: dict[tuple[Any, int], Callable] = {}
        self.evaluated: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
        self.pending: list[tuple[int, int, Any]] = []
        self.draw: Callable | None = None
        self.clock = time.monotonic()
        # Seconds of the last call, of the slowest evaluation, and beside training since the log.
        self.call_seconds = self.eval_seconds = self.aside = 0.0
        self.tracing = False

    def train(
        self, state: Any, step: int, meta: dict[str, Any], signals: Signals, deadline: float | None
    ) -> tuple[Any, int, str]:
        """Steps until the schedule ends, or a reason to stop before."""
        t = self.run.train
        calls = 0
        if owed := meta.pop("owed", None):
            self.show(state, step, meta, owed)
        while step < t.steps and not meta["ended"]:
            # 1. One call. Its length keeps calls aligned, so that a resumed run makes the same.
            length = min(t.steps_per_call - step % t.steps_per_call, t.steps - step)
            self.trace(calls, state, last=False)
            known = length in self.calls
            called = time.monotonic()
            state, metrics = self.call(length)(state, *self.feed.take(step, length))
            if deadline is not None:
                # Queued calls would be time already spent that nobody has counted.
                jax.block_until_ready(metrics)
                if known or not self.call_seconds:
                    self.call_seconds = time.monotonic() - called
            self.pending.append((step, length, metrics))
            before, step, calls = step, step + length, calls + 1
            last = step == t.steps
            self.trace(calls, state, last=last)
            self.progress.advance(step)

            def due(every: int, before: int = before, step: int = step, last: bool = last) -> bool:
                return last or (every > 0 and before // every < step // every)

            # 2. Guard and log. What is evaluated or saved below is guarded first.
            stop = agree_on_stop(self.why_stop(signals, deadline))
            if due(t.log_every) or due(t.eval_every) or due(t.save_every) or stop:
                self.log(step, meta, regular=due(t.log_every))
            # 3. Evaluate; the best by validation is kept, and decides about stopping early.
            # 4. Samples, from the same noise every time.
            wanted = {"evaluate": due(t.eval_every), "sample": due(t.sample_every)}
            better = self.show(state, step, meta, wanted)
            # 5. Save; after a new best too, so that the two never tell different stories.
            if due(t.save_every) or better or stop or meta["ended"]:
                self.save(state, meta)
            # 6. Stop.
            if stop and not last and not meta["ended"]:
                return state, step, stop
        return state, step, ""

    def show(self, state: Any, step: int, meta: dict[str, Any], wanted: dict[str, bool]) -> bool:
        """Evaluate and draw, whatever is wanted; returns whether validation was the best so far.

        An error here loses no step of a state that is guarded, and whoever goes on does first what
        is owed, as if it had not been begun. A loss that is not finite is the state's own.
        """
        owed, better, before = dict(wanted), False, dict(meta)
        try:
            if wanted["evaluate"]:
                better = self.evaluate(state, step, meta)
                owed["evaluate"], before = False, dict(meta)
            if wanted["sample"] or meta["ended"]:
                self.sample(state, step)
        except FloatingPointError:
            raise
        except Exception:
            if jax.process_count() == 1:  # the others may have met no error, and save nothing
                self.log(step, before, regular=False)
                self.save(state, {**before, "owed": owed})
                self.checkpoints.wait()
            raise
        return better

    def trace(self, calls: int, state: Any, *, last: bool) -> None:
        """Profile from the second call, which compiles nothing, to the twelfth."""
        if self.profile and calls == 1 and not self.tracing and not last:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self.workdir / "profile"))
            self.tracing = True
        elif self.tracing and (calls == 12 or last):
            jax.block_until_ready(state)
            self.end_trace()

    def end_trace(self) -> None:
        """Write the profile that was begun, also where a run is stopped in between."""
        if self.tracing:
            jax.profiler.stop_trace()
            self.tracing = self.profile = False

    def call(self, length: int) -> Callable:
        """The compiled step of a call of so many steps."""
        if length not in self.calls:
            self.calls[length] = compile_step(
                self.step,
                mesh=self.mesh,
                shardings=self.shardings,
                steps_per_call=length,
                lead=self.lead,
                transform=self.transform,
                resident=self.feed.resident,
                window=self.feed.resident,
            )
        return self.calls[length]

    def log(self, step: int, meta: dict[str, Any], *, regular: bool) -> None:
        """Fetch the metrics since the last log, stop at a number that is none, write means.

        Only a regular log is looked at for warnings: a stop must not add to what is counted.
        """
        if not self.pending:
            return
        fetched = [(s, n, jax.device_get(m)) for s, n, m in self.pending]
        self.pending = []
        first = fetched[0][0]
        means: dict[str, float] = {}
        for name in fetched[0][2]:
            values = np.concatenate([np.atleast_1d(m[name]) for _, _, m in fetched])
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                saved = max(self.checkpoints.steps(), default=None)
                kept = f"the checkpoint of step {saved} is" if saved else "nothing was saved"
                raise FloatingPointError(
                    f"{name} is {values[bad[0]]} at step {first + int(bad[0]) + 1} (looked at"
                    f" steps {first + 1} to {step}); {kept} from before it; lower the learning"
                    f" rate, set clip, or look at the data."
                )
            means[name] = float(values.mean(dtype=np.float64))
        seconds = self.untimed()
        meta["seconds"] += seconds
        size = self.run.train.batch_size * batches_per_step(self.run)
        training = max(seconds - self.aside, 1e-9)
        rate = (step - first) * size / training
        wait = self.feed.waited / training
        self.aside = self.feed.waited = 0.0
        lr = self.learning_rate(step)
        if self.metrics_file:
            clock = {"examples_per_second": rate, "input_wait": wait, "seconds": meta["seconds"]}
            self.metrics_file.write(step, {**means, **lr, **clock})
        self.progress.log(step, means, rate)
        smoothing = getattr(getattr(self.run.model, "method", None), "smoothing", 0.0)
        for words in gan_diagnostics.look(step, means, meta, smoothing) if regular else ():
            self.progress.say(f"{self.run.experiment}  step {step:,}: {words}")

    def learning_rate(self, step: int) -> dict[str, float]:
        """Learning rates in use at a step, for the log."""
        optimizer = self.run.optimizer
        if self.family.traits(self.run.model).fit != "gradient" or optimizer is None:
            return {}
        found: dict[str, Optimizer]
        if isinstance(optimizer, Optimizer):
            found = {"learning_rate": optimizer}
        else:
            found = {
                f"{f.name}_learning_rate": getattr(optimizer, f.name)
                for f in dataclasses.fields(optimizer)
            }
        critics = batches_per_step(self.run)
        out = {}
        for name, o in found.items():
            batches = step * critics if name.startswith("discriminator") else step
            out[name] = float(o.learning_rate_at()(batches // o.accumulate))
        return out

    def nll(self, state: Any, split: str, num_samples: int = 1) -> np.ndarray:
        """The figure of a run on a split, `[N]`: -log p(x) or its bound in nats, or what else the
        family reports; randomness does not depend on the step."""
        config = self.run.model
        if split == "validation":
            config = evals.validation_config(self.family, config)
        if (config, num_samples) not in self.nlls:
            self.nlls[config, num_samples] = evals.make_nll(
                self.family,
                config,
                num_samples=num_samples,
                sharding=batch_sharding(self.mesh),
                reported=True,
            )
        if split not in self.evaluated:
            self.evaluated[split] = (
                evaluation_data(self.run, self.dataset, split),
                evaluation_conditions(self.run, self.family, self.dataset, split),
            )
        (x, condition), size = self.evaluated[split], self.run.train.eval_batch
        key = named_key(jax.random.key(self.run.seed), 0, f"evaluate {split}")
        evaluate = self.nlls[config, num_samples]
        told = self.progress.passing(f"evaluating {split}")
        return evaluate(state.eval_variables(), x, key, size, condition, told)

    def evaluate(self, state: Any, step: int, meta: dict[str, Any]) -> bool:
        """Validation; keeps the best state apart and counts evaluations that were not better."""
        if (
            self.family.traits(self.run.model).density == "none"
            or "validation" not in self.dataset.splits
        ):
            return False
        started = time.monotonic()
        mean, error = evals.mean_and_error(self.nll(state, "validation"))
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"the validation loss is {mean} at step {step}; lower the learning rate, or give"
                f" unseen data some probability (alpha of counted families)."
            )
        better = meta["best"] is None or mean < meta["best"]
        if better:
            meta.update(best=mean, best_step=step, bad=0)
            self.checkpoints.save(state, dict(meta), which="best")
        else:
            meta["bad"] += 1
        if self.run.train.patience and meta["bad"] >= self.run.train.patience:
            meta["ended"] = f"no better validation for {meta['bad']} evaluations"
        nats = evals.unit(self.family, self.run.model) == "nats"
        figure = "nll" if nats else evals.metric(self.family, self.run.model).replace(" ", "_")
        values = {f"validation_{figure}": mean, "validation_std_error": error}
        if self.metrics_file:
            self.metrics_file.write(step, values)
        note = "best so far" if better else f"best {meta['best']:.3f} at step {meta['best_step']:,}"
        self.progress.say(f"{self.run.experiment}  validation {mean:.3f} +- {error:.3f}, {note}")
        self.took(started)
        return better

    def sample(self, state: Any, step: int) -> None:
        """A grid of samples as PNG, from the same noise at every step."""
        jax.block_until_ready(state)  # steps that were queued are training, and no time aside
        started = time.monotonic()
        if self.draw is None:
            n, config = self.run.train.samples, self.run.model
            self.draw = jax.jit(
                lambda v, k: self.family.sample(
                    config, evaluation_variables(self.run, self.family, v), k, n
                ),
                out_shardings=self.replicated,
            )
        key = named_key(jax.random.key(self.run.seed), 0, "samples")
        x = np.asarray(self.draw(state.eval_variables(), key))
        if self.main:
            path = self.workdir / "samples" / f"step_{step:08d}.png"
            traits = self.family.traits(self.run.model)
            page = save_grid(path, x, *traits.sample_range)
            if self.metrics_file:
                self.metrics_file.image(step, page)
        self.took(started)

    def save(self, state: Any, meta: dict[str, Any]) -> None:
        """A checkpoint in the background.

        Only once a best checkpoint is on disk may a latest one speak of it.
        """
        # What passed since the log, evaluation and samples, is kept by whoever goes on from here.
        meta["seconds"] += self.untimed()
        self.aside = 0.0
        started = time.monotonic()
        self.checkpoints.wait()
        self.checkpoints.save(state, dict(meta))
        if self.metrics_file:
            self.metrics_file.flush()
        self.took(started)

    def took(self, started: float) -> None:
        """Note time spent beside training: rates leave it out, deadlines count on it."""
        seconds = time.monotonic() - started
        self.aside += seconds
        self.eval_seconds = max(self.eval_seconds, seconds)

    def untimed(self) -> float:
        """Seconds since this was last asked."""
        now = time.monotonic()
        seconds, self.clock = now - self.clock, now
        return seconds

    def why_stop(self, signals: Signals, deadline: float | None) -> str:
        """A reason to save and leave, or nothing."""
        if signals.caught:
            return f"{signals.caught}; the same command goes on from here"
        if deadline is not None and time.monotonic() + self.margin() > deadline:
            return OUT_OF_TIME
        return ""

    def margin(self) -> float:
        """Time for one more call, an evaluation and a save, twice what they were seen to take."""
        return 2 * (self.call_seconds + 2 * self.eval_seconds) + 0.5
