"""The loop: from settings and a workdir to a finished run, resumable at any moment."""

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
from genjax import evals, families
from genjax.core import Optimizer, init_state, stream, with_ema
from genjax.train import record as records
from genjax.train.checkpoint import Checkpoints, write_json
from genjax.train.compile import (
    Rules,
    batch_sharding,
    compile_step,
    make_mesh,
    put,
    state_shardings,
)
from genjax.train.door import begin, check_fit, evaluation_data, settle
from genjax.train.settings import Run, build_optimizer
from genjax.train.signals import Signals, agree
from genjax.train.writers import Metrics, Progress, save_grid


@dataclasses.dataclass(frozen=True)
class Result:
    """How a call of `fit` ended.

    finished: the schedule ended and the record is written; False after a signal or the deadline.
    step: steps done.
    reason: in words.
    record: what the finished run obtained.
    """

    finished: bool
    step: int
    reason: str
    record: dict[str, Any] | None = None


def fit(
    run: Run,
    workdir: str | pathlib.Path,
    *,
    resume: bool = True,
    deadline: float | None = None,
    devices: Any = None,
    rules: Rules | None = None,
    commit: str | None = None,
    profile: bool = False,
    quiet: bool = False,
) -> Result:
    """Train as the settings say, evaluate on test once, write the record.

    The order of operations at the end of each call is fixed: guard and log, evaluate, sample,
    save, stop. A used workdir goes on where its newest whole checkpoint stands.

    Args:
      run: the settings.
      workdir: folder of this run; made if missing.
      resume: False refuses a used workdir instead of going on.
      deadline: `time.monotonic()` at which everything must be saved.
      devices: to use; None is all.
      rules: sharding of the state, see `state_shardings`; None replicates it.
      commit: written into the record; None asks git.
      profile: write a profiler trace of some steps to `workdir/profile`.
      quiet: print nothing.

    Raises:
      ValueError: the settings, the data and the workdir do not fit; one sentence with the fix.
      FloatingPointError: a metric is not finite; names it and the step.
    """
    began = time.monotonic()
    # Asked now: by the end of a long run the folder may hold other code than what runs.
    commit = commit or records.commit()
    workdir = pathlib.Path(workdir)
    family = families.get(run.family)
    run, fresh = settle(run, workdir, resume)

    # Data and what it must fit.
    dataset = data_room.load(run.data)
    lead = check_fit(run, family, dataset)
    mesh = make_mesh(devices)
    count = mesh.devices.size
    if run.train.batch_size % count:
        raise ValueError(
            f"batch_size {run.train.batch_size} does not divide over {count} devices; take a"
            f" multiple of {count}."
        )
    begin(workdir, run, dataset, fresh)

    # Shapes first, shardings second, arrays last.
    optimizer = build_optimizer(run)
    averaged = run.train.ema > 0

    def make_state(key: jax.Array) -> Any:
        return init_state(family, run.model, optimizer, key, ema=averaged)

    key = jax.random.key(run.seed)
    shapes = jax.eval_shape(make_state, key)
    shardings = state_shardings(shapes, mesh, rules)
    checkpoints = Checkpoints(workdir, keep=run.train.keep)
    restored = checkpoints.restore(shapes, shardings)
    if restored is None:
        state = jax.jit(make_state, out_shardings=shardings)(key)
        meta: dict[str, Any] = {"best": None, "best_step": 0, "bad": 0, "ended": "", "seconds": 0.0}
        step = 0
    else:
        state, meta = restored
        step = int(state.step)
    checkpoints.drop_after(step)

    main = jax.process_index() == 0
    progress = Progress(run.experiment, step, run.train.steps, quiet=quiet or not main)
    if restored is not None:
        progress.say(f"{run.experiment}  going on from step {step:,} of {workdir}")
    try:
        with Signals() as signals:
            trainer = _Trainer(
                run, family, dataset, mesh, shardings, optimizer, lead, workdir, checkpoints
            )
            trainer.progress, trainer.main, trainer.profile = progress, main, profile
            trainer.metrics_file = Metrics(workdir, after=step) if main else None
            state, step, reason = trainer.train(state, step, meta, signals, deadline)
            if reason:
                checkpoints.wait()
                progress.say(f"{run.experiment}  stopped at step {step:,}: {reason}")
                return Result(False, step, reason)
            meta["seconds"] += trainer.untimed()
            result = trainer.finish(state, step, meta, shapes, commit, began)
    finally:
        progress.close()
        checkpoints.close()
    return result


class _Trainer:
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
        step = family.make_step(run.model, optimizer)
        self.step = with_ema(step, run.train.ema) if run.train.ema else step
        self.replicated = NamedSharding(mesh, PartitionSpec())
        names = set(family.batch_spec(run.model, 1))
        train = {k: v for k, v in dataset.splits["train"].items() if k in names}
        self.data = put(train, self.replicated)
        self.order = data_room.Order(len(train["x"]), run.seed)
        self.calls: dict[int, Callable] = {}
        self.nlls: dict[int, Callable] = {}
        self.pending: list[tuple[int, int, Any]] = []
        self.clock = time.monotonic()
        self.call_seconds = self.eval_seconds = 0.0

    def train(
        self, state: Any, step: int, meta: dict[str, Any], signals: Signals, deadline: Any
    ) -> tuple[Any, int, str]:
        """Steps until the schedule ends, or a reason to stop before."""
        t = self.run.train
        tracing = 0
        while step < t.steps and not meta["ended"]:
            # 1. One call. Its length keeps calls aligned, so that a resumed run makes the same.
            length = min(t.steps_per_call - step % t.steps_per_call, t.steps - step)
            if self.profile and tracing == 1:
                jax.block_until_ready(state)
                jax.profiler.start_trace(str(self.workdir / "profile"))
            called = time.monotonic()
            state, metrics = self.call(length)(state, self.indices(step, length), self.data)
            self.pending.append((step, length, metrics))
            before, step = step, step + length
            tracing += 1
            if self.profile and (tracing == 12 or step == t.steps) and tracing > 1:
                jax.block_until_ready(state)
                jax.profiler.stop_trace()
                self.profile = False
            self.progress.advance(step)
            last = step == t.steps

            def due(every: int, before: int = before, step: int = step, last: bool = last) -> bool:
                return last or (every > 0 and before // every < step // every)

            # 2. Guard and log. Anything that uses the numbers below is guarded first.
            stop = agree(self.why_stop(signals, deadline))
            if due(t.log_every) or due(t.eval_every) or due(t.save_every) or stop:
                self.log(step, meta)
                self.call_seconds = max(self.call_seconds, (time.monotonic() - called))
            # 3. Evaluate; the best by validation is kept, and decides about stopping early.
            if due(t.eval_every) and t.eval_every and "validation" in self.dataset.splits:
                self.evaluate(state, step, meta)
            # 4. Samples, from the same noise every time.
            if due(t.sample_every):
                self.sample(state, step)
            # 5. Save.
            if due(t.save_every) or stop or meta["ended"]:
                self.save(state, meta)
            # 6. Stop.
            if stop and step < t.steps and not meta["ended"]:
                return state, step, stop
        return state, step, ""

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
                resident=True,
            )
        return self.calls[length]

    def indices(self, step: int, length: int) -> jax.Array:
        """Examples of the call's steps: `[length, K, B]`, without the axes that are 1."""
        size = self.run.train.batch_size
        critics = (self.run.model.critic_steps,) if self.lead else ()
        each = size * math.prod(critics)
        found = self.order.take(step * each, length * each)
        shape = ((length,) if length > 1 else ()) + critics + (size,)
        lead = len(shape) - 1
        return put(found.reshape(shape), batch_sharding(self.mesh, lead))

    def log(self, step: int, meta: dict[str, Any]) -> None:
        """Fetch the metrics since the last log, stop at a number that is none, write means."""
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
                saved = max(self.checkpoints.steps(), default=0)
                raise FloatingPointError(
                    f"{name} is {values[bad[0]]} at step {first + int(bad[0]) + 1} (looked at"
                    f" steps {first + 1} to {step}); the checkpoint of step {saved} is from before"
                    f" it; lower the learning rate, set clip, or look at the data."
                )
            means[name] = float(values.mean(dtype=np.float64))
        seconds = self.untimed()
        meta["seconds"] += seconds
        size = self.run.train.batch_size
        rate = (step - first) * size / max(seconds, 1e-9)
        lr = self.learning_rate(step)
        if self.metrics_file:
            self.metrics_file.write(step, {**means, **lr, "examples_per_second": rate})
        self.progress.log(step, means, rate)

    def learning_rate(self, step: int) -> dict[str, float]:
        """Learning rates in use at a step, for the log."""
        optimizer = self.run.optimizer
        if self.family.TRAITS.fit == "counting" or optimizer is None:
            return {}
        found: dict[str, Optimizer]
        if isinstance(optimizer, Optimizer):
            found = {"learning_rate": optimizer}
        else:
            found = {
                f"{f.name}_learning_rate": getattr(optimizer, f.name)
                for f in dataclasses.fields(optimizer)
            }
        return {k: float(o.learning_rate_at()(step // o.accumulate)) for k, o in found.items()}

    def nll(self, state: Any, split: str, num_samples: int = 1) -> np.ndarray:
        """-log p(x) or its bound on a split, `[N]` nats; randomness does not depend on the step."""
        if num_samples not in self.nlls:
            self.nlls[num_samples] = evals.make_nll(
                self.family,
                self.run.model,
                num_samples=num_samples,
                sharding=batch_sharding(self.mesh),
            )
        count = self.mesh.devices.size
        size = -(-min(self.run.train.eval_batch, len(self.dataset.splits[split]["x"])) // count)
        x = evaluation_data(self.run, self.dataset, split)
        key = stream(jax.random.key(self.run.seed), 0, f"evaluate {split}")
        return self.nlls[num_samples](state.eval_variables(), x, key, size * count)

    def evaluate(self, state: Any, step: int, meta: dict[str, Any]) -> None:
        """Validation; keeps the best state apart and counts evaluations that were not better."""
        if self.family.TRAITS.density == "none":
            return
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
        values = {"validation_nll": mean, "validation_std_error": error}
        if self.metrics_file:
            self.metrics_file.write(step, values)
        note = "best so far" if better else f"best {meta['best']:.3f} at step {meta['best_step']:,}"
        self.progress.say(f"{self.run.experiment}  validation {mean:.3f} +- {error:.3f}, {note}")
        self.eval_seconds = max(self.eval_seconds, time.monotonic() - started)

    def sample(self, state: Any, step: int) -> None:
        """A grid of samples as PNG, from the same noise at every step."""
        t, low_high = self.run.train, self.family.TRAITS.sample_range
        key = stream(jax.random.key(self.run.seed), 0, "samples")
        draw = jax.jit(
            lambda v, k: self.family.sample(self.run.model, v, k, t.samples),
            out_shardings=self.replicated,
        )
        x = np.asarray(draw(state.eval_variables(), key))
        if self.main:
            save_grid(self.workdir / "samples" / f"step_{step:08d}.png", x, *low_high)

    def save(self, state: Any, meta: dict[str, Any]) -> None:
        """A checkpoint in the background."""
        started = time.monotonic()
        self.checkpoints.save(state, dict(meta))
        self.eval_seconds = max(self.eval_seconds, time.monotonic() - started)

    def untimed(self) -> float:
        """Seconds since this was last asked."""
        now = time.monotonic()
        seconds, self.clock = now - self.clock, now
        return seconds

    def why_stop(self, signals: Signals, deadline: float | None) -> str:
        """A reason to save and leave, or nothing."""
        if signals.caught:
            return f"{signals.caught}; the same command goes on from here"
        # Time for one more call, an evaluation and a save, each at twice the slowest seen.
        margin = 2 * (self.call_seconds + 2 * self.eval_seconds) + 1
        if deadline is not None and time.monotonic() + margin > deadline:
            return "the time is used up; the same command goes on from here"
        return ""

    def finish(
        self, state: Any, step: int, meta: dict[str, Any], shapes: Any, commit: Any, began: float
    ) -> Result:
        """Evaluate the chosen state on test, once, and write the record."""
        run = self.run
        chosen, chosen_step = state, step
        if meta["best"] is not None:
            self.checkpoints.wait()
            best = self.checkpoints.restore(shapes, self.shardings, which="best")
            if best is not None:
                chosen, chosen_step = best[0], meta["best_step"]
        density = self.family.TRAITS.density
        details: dict[str, Any] = {
            "steps": step,
            "chosen_step": chosen_step,
            "chosen_by": "validation" if meta["best"] is not None else "last step",
            "ended": meta["ended"] or "end of schedule",
            "parameters": records.count_parameters(self.family, run.model, chosen.variables),
            "examples": self.dataset.counts(),
            "data_checksum": self.dataset.checksum(),
            "validation": meta["best"],
        }
        obtained = error = None
        metric = "none"
        if density != "none":
            split = "test" if "test" in self.dataset.splits else "train"
            metric = f"{split} NLL" if density == "exact" else f"{split} NLL bound"
            if density == "bound":
                details["bound_samples"] = run.train.eval_samples
            nats = self.nll(chosen, split, run.train.eval_samples)
            obtained, error = evals.mean_and_error(nats)
            details["evaluated"] = len(nats)
        meta["seconds"] += self.untimed()
        record = records.make_record(
            run,
            metric=metric,
            obtained=obtained,
            std_error=error,
            details=details,
            seconds=meta["seconds"],
            commit_id=commit,
        )
        if self.main:
            write_json(self.workdir / "record.json", record)
        said = "" if obtained is None else f"  {metric} {obtained:.3f} +- {error:.3f} nats"
        self.progress.say(
            f"{run.experiment}  finished at step {step:,}{said}  ({time.monotonic() - began:.0f} s)"
        )
        return Result(True, step, details["ended"], record)
