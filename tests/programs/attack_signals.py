"""Attacks by signals: each kind, and two quick ones, in every phase of a run."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from attack_checkpoints import newest, settled
from attack_writes import genjax
from support.children import Ended, Outcome, World, describe, different, in_child

from genjax import data as genjax_data
from genjax.train import loop
from genjax.train.checkpoint import Checkpoints
from genjax.train.input_pipeline import InputPipeline
from genjax.train.trainer import Trainer

KINDS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT SIGINT", "SIGTERM SIGTERM")
KINDS += ("SIGINT SIGTERM", "SIGHUP SIGHUP")
# The steps that are made when the signal arrives, and so must be saved.
PHASES = {"data": 0, "compile": 0, "step": 13, "samples": 10, "evaluation": 16, "save": 16}
PHASES |= {"test": 24}
OPTIONS = "--hidden 8 --steps 24 --batch-size 16 --log-every 6 --eval-every 8 --eval-batch 32"
OPTIONS += " --save-every 8 --sample-every 10 --samples 4"
MOST = 30  # seconds until a signal must have ended a run


def _send(names: list[str]) -> None:
    for name in names:
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(0.002)


def _arm(phase: str, names: list[str], delay: float) -> None:
    """Sends the signals to this process `delay` seconds after the phase has begun."""
    sent: list[threading.Timer] = []

    def begin() -> None:
        if not sent:
            sent.append(threading.Timer(delay, _send, [names]))
            sent[0].start()

    def before(place: Any, name: str, condition: Any = lambda *args: True) -> None:
        function = getattr(place, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            if condition(*args):
                begin()
            return function(*args, **options)

        setattr(place, name, wrapped)

    take = InputPipeline.take

    def slow_take(self: Any, step: int, length: int) -> Any:
        if phase == "step" and step == PHASES["step"]:
            begin()
        time.sleep(0.01)  # so that a run does not end before the signal arrives
        return take(self, step, length)

    InputPipeline.take = slow_take  # type: ignore[method-assign]
    step = PHASES[phase]
    if phase == "data":
        before(genjax_data, "load")
    elif phase == "compile":
        before(Trainer, "program")
    elif phase == "samples":
        before(Trainer, "sample", lambda self, state, at: at == step)
    elif phase == "evaluation":
        before(Trainer, "evaluate", lambda self, state, at: at == step)
    elif phase == "save":
        before(Checkpoints, "save", lambda self, state, *args: int(state.step) == step)
    elif phase == "test":
        before(loop, "finish")


def _command(arguments: list[str], phase: str = "", names: str = "", delay: float = 0.0) -> None:
    if phase:
        _arm(phase, names.split(), delay)
    genjax("train", "nade", *arguments)


def _command_to_the_end(arguments: list[str], workdir: pathlib.Path) -> dict[str, Any]:
    try:
        _command(arguments)
    except SystemExit as end:
        if end.code:
            raise
    return describe(workdir)


def _arguments(world: World, workdir: pathlib.Path) -> list[str]:
    return ["--data", world.data, "--workdir", str(workdir), *OPTIONS.split()]


def _undisturbed(world: World) -> dict[str, Any]:
    workdir = world.folder / "whole-signals"
    ended = in_child(_command_to_the_end, _arguments(world, workdir), workdir)
    if ended.status:
        raise SystemExit(ended.text)
    return ended.value


def signals(world: World, count: int) -> Iterator[Outcome]:
    """Sends signals in every phase, then runs the same command to the end."""
    cases = [(phase, kind) for kind in KINDS for phase in PHASES]
    world.rng("signals").shuffle(cases)
    expected = _undisturbed(world)
    for i, (phase, kind) in enumerate((cases * -(-count // len(cases)))[:count]):
        workdir = world.folder / f"signals-{i}"
        arguments = _arguments(world, workdir)
        delay = world.rng("signals", i).uniform(0, 0.1 if phase == "compile" else 0.01)
        ended = in_child(_command, arguments, phase, kind, delay, limit=MOST)
        finished = (workdir / "record.json").exists()
        outcome = _outcome(ended, kind, finished)
        saved = newest(workdir)
        if outcome.kept and saved < PHASES[phase]:
            outcome = Outcome("steps lost", False, f"{PHASES[phase]} made, {saved} saved")
        if outcome.kept:
            found = in_child(_command_to_the_end, arguments, workdir)
            if found.status:
                outcome = Outcome("not resumed", False, found.text[-3000:])
            elif wrong := different(expected, found.value, "states figures validation samples"):
                outcome = Outcome("unequal", False, " ".join(wrong))
        if not outcome.kept:
            outcome = Outcome(outcome.name, False, f"{outcome.note}\n{ended.text[-2000:]}")
        yield settled(outcome, workdir, f"{kind} in {phase}")


def _outcome(ended: Ended, kind: str, finished: bool) -> Outcome:
    numbers = [getattr(signal, name) for name in kind.split()]
    if ended.status == 124:
        return Outcome("does not end", False)
    if not ended.quiet():
        return Outcome("traceback", False)
    if finished:
        # The test is the last thing a run does, and may end before the signal is looked at.
        return Outcome("finished, equal", True)
    if ended.status == 0:
        name = "saved at once, equal" if len(numbers) == 1 else "two signals, saved, equal"
        return Outcome(name, True)
    if ended.status in {*(-n for n in numbers), *(128 + n for n in numbers)}:
        return Outcome("ended before the first step", True)
    return Outcome("failed", False, f"status {ended.status}")


def during_import(world: World, count: int) -> Iterator[Outcome]:
    """Sends signals to a new process while it imports JAX."""
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[2])}
    for i in range(count):
        kind, workdir = KINDS[i % len(KINDS)], world.folder / f"imports-{i}"
        arguments = _arguments(world, workdir)
        arguments[arguments.index("--steps") + 1] = "1000000"
        process = subprocess.Popen(
            [sys.executable, "-m", "genjax", "train", "nade", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
        )
        maps = pathlib.Path(f"/proc/{process.pid}/maps")
        # NumPy, which JAX imports first.
        while process.poll() is None and "multiarray" not in maps.read_text():
            time.sleep(0.001)
        time.sleep(world.rng("imports", i).uniform(0, 0.3))
        began = time.monotonic()
        for name in kind.split():
            process.send_signal(getattr(signal, name))
            time.sleep(0.002)
        try:
            text = process.communicate(timeout=MOST)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            text = process.communicate()[0]
            yield Outcome("swallowed", False, f"{kind}: the program continues")
            continue
        ended = Ended(process.returncode, text)
        outcome = _outcome(ended, kind, False)
        if outcome.kept:
            outcome = Outcome("ended" if ended.status else "ended with status 0", True)
        workdir.mkdir(exist_ok=True)
        seconds = time.monotonic() - began
        yield settled(outcome, workdir, f"{kind}, after {seconds:.1f} s, {text[-2000:]}")
