"""Attacks on what a run resumes from: kills, damaged checkpoints, checkpoints of other runs."""

import codecs
import dataclasses
import functools
import importlib
import os
import pathlib
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import killed
from support.children import (
    STEPS,
    Ended,
    Outcome,
    World,
    different,
    digest_of_state,
    in_child,
    train,
)

from genjax.cli.options import run_command
from genjax.train import Run
from genjax.train.checkpoint import Checkpoints
from genjax.train.load_run import load_state

FAMILIES = ("nade", "vae", "gan", "made", "rnade", "mixture")
# An interruption adds a line of metrics; these have none of it.
PARTS = "states figures validation samples"


def _train_and_die(run: Run, workdir: pathlib.Path, moment: str) -> dict[str, Any]:
    killed.arm(workdir, moment)
    return train(run, workdir)


def kills(world: World, count: int) -> Iterator[Outcome]:
    """Kills runs by SIGKILL, some of them again when they resume, and resumes them to the end."""
    for i in range(count):
        rng = world.rng("kills", i)
        family = FAMILIES[i % max(1, min(len(FAMILIES), count // 2))]
        expected, workdir = world.undisturbed(family), world.folder / f"kill-{i}"
        moments: list[str] = []
        while not moments or (len(moments) < 3 and rng.random() < 0.3):
            kind = ("save", "operation", "step")[(i + len(moments)) % 3]
            most = {"save": 12, "operation": 200, "step": STEPS}[kind]
            moments.append(f"{kind}-{rng.randint(1, most)}")
            ended = in_child(_train_and_die, world.run(family), workdir, moments[-1])
            if ended.status != -signal.SIGKILL:
                break
        reached = len(moments) > 1 or ended.status == -signal.SIGKILL
        if ended.status == -signal.SIGKILL:
            ended = in_child(train, world.run(family), workdir)
        where = {"save": "in a save", "operation": "before an operation", "step": "after a step"}
        name = f"equal, killed {where[kind]}" if reached else "equal, finished before the kill"
        outcome = Outcome(name, True)
        if ended.status or not ended.value:
            outcome = Outcome("not resumed", False, ended.last_line())
        elif wrong := different(expected, ended.value):
            outcome = Outcome("unequal", False, " ".join(wrong))
        yield settled(outcome, workdir, f"{family} {moments}")


def settled(outcome: Outcome, workdir: pathlib.Path, about: str) -> Outcome:
    """Removes a workdir whose promise was kept, and says in the outcome where another one is."""
    if outcome.kept:
        shutil.rmtree(workdir)
    return dataclasses.replace(outcome, note=f"{workdir}, {about}: {outcome.note}")


def newest(workdir: pathlib.Path) -> int:
    """Returns the step of the newest finished checkpoint, 0 without one."""
    names = [path.name for path in (workdir / "checkpoints" / "latest").glob("[0-9]*")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def extensions(world: World, count: int) -> Iterator[Outcome]:
    """Kills a finished run early in its extension: its record must be there until it is longer."""
    run = world.run("nade")
    longer = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=STEPS + 4))
    world.undisturbed("nade")
    source, whole = world.folder / "whole-nade", world.folder / "extended"
    shutil.copytree(source, whole)
    expected = in_child(train, longer, whole).value
    for i in range(count):
        rng, workdir = world.rng("extensions", i), world.folder / f"extensions-{i}"
        shutil.copytree(source, workdir)
        moment = f"operation-{rng.randint(1, 100)}"
        ended = in_child(_train_and_die, longer, workdir, moment)
        saved = newest(workdir)
        kept = saved > STEPS or (workdir / "record.json").exists()
        ended = in_child(train, longer, workdir)
        outcome = Outcome("equal", True)
        if ended.status or not ended.value:
            outcome = Outcome("not resumed", False, ended.text[-2000:])
        elif wrong := different(expected, ended.value):
            outcome = Outcome("unequal", False, " ".join(wrong))
        elif not kept:
            outcome = Outcome("record lost", False, f"the newest state is of step {saved}")
        yield settled(outcome, workdir, moment)


HARMS = ("flip", "flips", "truncate", "empty", "zero", "delete", "delete folder", "foreign", "grow")


def harm(folder: pathlib.Path, other: Callable[[], pathlib.Path], rng: random.Random) -> str:
    """Damages one file of the checkpoints in `folder`; returns what was done.

    The newest checkpoint is chosen most often. A foreign file is of a run with another seed.
    """
    checkpoints = sorted((folder / "checkpoints").glob("*/[0-9]*"))
    last = folder / "checkpoints" / "latest" / str(newest(folder))
    chosen = last if rng.random() < 0.5 else rng.choice(checkpoints)
    path = rng.choice(sorted(p for p in chosen.rglob("*") if p.is_file()))
    raw, kind = bytearray(path.read_bytes()), rng.choice(HARMS)
    if kind == "delete":
        path.unlink()
    elif kind == "delete folder":
        shutil.rmtree(path.parent)
    elif kind == "foreign":
        files = sorted(p for p in (other() / "checkpoints").rglob("*") if p.is_file())
        named = [p for p in files if p.name == path.name]
        files = named or [p for p in files if p.parent.name == "d"]  # array data
        shutil.copyfile(rng.choice(files), path)
    else:
        for _ in range({"flip": 1, "flips": 16}.get(kind, 0) if raw else 0):
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        cut = rng.randrange(len(raw) + 1)
        changed = {"truncate": raw[:cut], "empty": b"", "zero": bytes(len(raw))}
        path.write_bytes(changed.get(kind, raw + rng.randbytes(64) if kind == "grow" else raw))
    return f"{kind} {path.relative_to(folder)}"


def _load(workdir: pathlib.Path) -> dict[str, Any]:
    """Loads a run as `genjax sample` and `genjax evaluate` do."""
    found = []
    status = run_command(lambda: found.append(load_state(workdir)))
    if status:
        raise SystemExit(status)
    run, state = found[0]
    return {"seed": run.seed, "step": int(state.step), "digest": digest_of_state(state)}


def damage(world: World, count: int) -> Iterator[Outcome]:
    """Damages files of checkpoints, then resumes the run, or loads it as it stands."""
    for i in range(count):
        rng = world.rng("damage", i)
        family = FAMILIES[i % max(1, min(4, count // 50))]
        expected, source = world.undisturbed(family), world.stopped(family)
        other_run = dataclasses.replace(world.run(family), seed=1)
        other = functools.partial(world.stopped, family, other_run, "seed")
        workdir = world.folder / f"damage-{i}"
        shutil.copytree(source, workdir)
        done = [harm(workdir, other, rng) for _ in range(rng.choice((1, 1, 1, 2)))]
        check = _loaded_outcome if i % 4 == 3 else _resumed_outcome
        outcome = check(world, family, workdir, expected)
        yield settled(outcome, workdir, f"{family} {done}")


def _resumed_outcome(
    world: World, family: str, workdir: pathlib.Path, expected: dict[str, Any]
) -> Outcome:
    stood = newest(workdir)
    run = world.run(family)
    ended = in_child(train, run, workdir)
    if "run the same command again" in " ".join(ended.text.split()):
        ended = in_child(train, run, workdir)
    if ended.status:
        return rejected(ended, run.experiment)
    if not ended.value:
        return Outcome("not finished", False, ended.last_line())
    wrong = different(expected, ended.value, PARTS)
    if not wrong:
        back = ended.value["resumed"] < stood or any(workdir.glob("checkpoints/corrupt-*"))
        return Outcome("repaired, equal" if back else "not affected, equal", True)
    # The best checkpoint was lost: validation starts again, with a message, and chooses among the
    # states that are left, which must be those of the undisturbed run.
    figures, before = ended.value["figures"], expected["figures"]
    chosen = figures["chosen_step"]
    announced = "best checkpoint is missing" in ended.text or "is damaged" in ended.text
    states, whole = ended.value["states"], expected["states"]
    known = states.get(f"best/{chosen}") == whole.get(f"latest/{chosen}")
    same_end = states[f"latest/{STEPS}"] == whole[f"latest/{STEPS}"]
    if announced and known and same_end and chosen != before["chosen_step"]:
        return Outcome("best lost and announced, later one chosen", True)
    return Outcome("wrong", False, " ".join(wrong))


def _loaded_outcome(
    world: World, family: str, workdir: pathlib.Path, expected: dict[str, Any]
) -> Outcome:
    ended = in_child(_load, workdir)
    if ended.status:
        return rejected(ended)
    names = [f"{which}/{ended.value['step']}" for which in ("best", "latest")]
    if ended.value["digest"] in [expected["states"].get(name) for name in names]:
        back = "is damaged" in ended.text
        return Outcome("loaded, repaired" if back else "loaded, not affected", True)
    own = in_child(_load, world.stopped(family))
    if ended.value == own.value:  # a step at which the undisturbed run saves nothing
        return Outcome("loaded, not affected", True)
    return Outcome("wrong", False, f"loads another state: {ended.last_line()}")


def rejected(ended: Ended, name: str = "") -> Outcome:
    """Returns the outcome of an error, which must be one message."""
    if ended.failed_clearly(name):
        return Outcome("rejected", True)
    return Outcome("failed", False, ended.text[-3000:])


def foreign(world: World, count: int) -> Iterator[Outcome]:
    """Puts checkpoints or settings of another run into a run, then resumes or loads it."""
    cases = [
        (family, change, what, reader)
        for reader in ("resume", "load")
        for family in ("nade", "gan")
        for change in ("seed", "rate")
        for what in ("latest", "best", "config.json", "checkpoints")
        # A GAN has no validation, and so no best checkpoint.
        if (family, what) != ("gan", "best")
    ]
    world.rng("foreign").shuffle(cases)
    # First those that a resumed run always reads.
    cases.sort(key=lambda case: case[-1] == "load" or case[2] == "best")
    for i, (family, change, what, reader) in enumerate(cases[:count]):
        run, expected = world.run(family), world.undisturbed(family)
        other_run = _changed(run, change)
        other, workdir = world.stopped(family, other_run, change), world.folder / f"foreign-{i}"
        shutil.copytree(world.stopped(family), workdir)
        if what == "config.json":
            shutil.copyfile(other / what, workdir / what)
        else:
            place = pathlib.Path("checkpoints", *({what} - {"checkpoints"}))
            shutil.rmtree(workdir / place)
            shutil.copytree(other / place, workdir / place)
        if reader == "load":
            ended = in_child(_load, workdir)
            own = in_child(_load, world.stopped(family)).value
            fine = not ended.status and ended.value == own
        else:
            # Settings that were replaced agree with the command of the other run.
            ended = in_child(train, other_run if what == "config.json" else run, workdir)
            fine = not ended.status and not different(expected, ended.value, PARTS)
        outcome = rejected(ended) if ended.status else Outcome("not affected, equal", fine)
        if ended.status == 0 and not fine:
            outcome = Outcome("accepted", False, "a figure of two runs")
        yield settled(outcome, workdir, f"{family}, {what} of another {change}, {reader}")


def _changed(run: Run, change: str) -> Run:
    if change == "seed":
        return dataclasses.replace(run, seed=1)
    optimizer: Any = run.optimizer
    if isinstance(optimizer, dict):
        twice = {k: dataclasses.replace(o, learning_rate=0.02) for k, o in optimizer.items()}
        return dataclasses.replace(run, optimizer=twice)
    return dataclasses.replace(run, optimizer=dataclasses.replace(optimizer, learning_rate=0.02))


OTHER_USER = 65534


def _as_other_user(action: Any, *arguments: Any) -> Any:
    """Runs an action as a user whom permissions bind, which they do not bind root."""
    if os.getuid() == 0:
        # Imported now: the folders of Python may be root's own.
        codecs.lookup("utf-8-sig")
        for name in ("grp", "pwd"):
            importlib.import_module(name)
        jax.random.key(0)  # JAX imports more modules for its first operation
        os.setgroups([])
        os.setresgid(OTHER_USER, OTHER_USER, OTHER_USER)
        os.setresuid(OTHER_USER, OTHER_USER, OTHER_USER)
    return action(*arguments)


def unreadable(world: World, count: int) -> Iterator[Outcome]:
    """Takes the permission to read from a file or folder of a checkpoint, and gives it back."""
    run, expected, source = world.run("nade"), world.undisturbed("nade"), world.stopped("nade")
    world.folder.chmod(0o755)
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if cache and os.getuid() == 0 and not pathlib.Path(cache).stat().st_mode & 0o001:
        pathlib.Path(cache).chmod(0o755)
    for i in range(count):
        rng, workdir = world.rng("unreadable", i), world.folder / f"unreadable-{i}"
        shutil.copytree(source, workdir)
        last = workdir / "checkpoints" / "latest" / str(newest(workdir))
        path = rng.choice([last, *sorted(last.rglob("*"))])
        mode = path.stat().st_mode
        if os.getuid() == 0:
            for one in [workdir, *workdir.rglob("*")]:
                os.chown(one, OTHER_USER, OTHER_USER)
        path.chmod(0)
        first = in_child(_as_other_user, train, run, workdir)
        aside = sorted(workdir.glob("checkpoints/corrupt-*"))
        if path.exists():
            path.chmod(mode)
        ended = in_child(train, run, workdir) if first.status else first
        outcome = Outcome("not affected, equal", True)
        if first.status:
            outcome = rejected(first, run.experiment)
            outcome = dataclasses.replace(outcome, name=outcome.name + ", then equal")
        if aside:
            outcome = Outcome("taken for damaged", False, aside[0].name)
        elif ended.status or (wrong := different(expected, ended.value, PARTS)):
            outcome = Outcome("not resumed", False, ended.text[-2000:] or " ".join(wrong))
        yield settled(outcome, workdir, f"{path.relative_to(workdir)}")


def _train_with_clock(run: Run, workdir: pathlib.Path, step: int, jump: float) -> dict[str, Any]:
    clock, save, offset = time.time, Checkpoints.save, [0.0]

    def save_and_jump(self: Checkpoints, state: Any, *arguments: Any, **options: Any) -> None:
        save(self, state, *arguments, **options)
        if int(state.step) >= step:
            offset[0] = jump

    Checkpoints.save = save_and_jump  # type: ignore[method-assign]
    time.time = lambda: clock() + offset[0]
    return train(run, workdir)


def clock(world: World, count: int) -> Iterator[Outcome]:
    """Sets the clock forward or back while a checkpoint is being written."""
    run, expected = world.run("nade"), world.undisturbed("nade")
    for i in range(count):
        workdir, step = world.folder / f"clock-{i}", world.rng("clock", i).choice((4, 8, 12))
        jump = (3600, -3600, 86400 * 400, -86400 * 400)[i % 4]
        ended = in_child(_train_with_clock, run, workdir, step, jump)
        outcome = Outcome("equal", True)
        if ended.status or not ended.value:
            outcome = Outcome("failed", False, ended.text[-2000:])
        elif wrong := different(expected, ended.value, PARTS):
            outcome = Outcome("unequal", False, " ".join(wrong))
        yield settled(outcome, workdir, f"{jump} s at step {step}")
