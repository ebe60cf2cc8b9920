"""Attacks runs, and prints one table: what was tried, how it ended, whether the promise was kept.

`python tests/programs/attack.py [--seed 0] [--only kills links] [--scale 0.05] [--out FILE]`

Every attack ends in a figure that equals the undisturbed run's to the bit, or in one error message.
Folders of broken promises are kept and named. `docs/reliability.md` explains the rows.
"""

import argparse
import collections
import dataclasses
import gc
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Before JAX is imported. Many small programs are compiled, once for all children.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
if __name__ == "__main__" and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="genjax-attack-xla-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "programs")]

import attack_checkpoints  # noqa: E402
import attack_signals  # noqa: E402
import attack_writes  # noqa: E402
from support.children import Outcome, World  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Attack:
    """A row of the table: what is done how often, and what is promised."""

    name: str
    count: int
    action: Callable[[World, int], Iterator[Outcome]]
    promise: str
    least: int = 1


def fuzz(world: World, count: int) -> Iterator[Outcome]:
    """Runs the fuzzer, which has a table of its own."""
    command = [sys.executable, str(ROOT / "tests" / "programs" / "fuzz.py")]
    command += ["--inputs", str(count), "--seed", str(world.seed)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    rows = re.findall(r"^\S+ +\d+ +(\d+) +(\d+) +(\d+) ", done.stdout, re.MULTILINE)
    for name, numbers in zip(("read", "rejected", "failed"), zip(*rows, strict=True), strict=True):
        total = sum(map(int, numbers))
        if total:
            yield Outcome(name, name != "failed", done.stdout if name == "failed" else "", total)
    if done.returncode and "FAILURE" not in done.stdout:
        yield Outcome("failed", False, done.stdout + done.stderr)


ATTACKS = (
    Attack(
        "kills",
        50,
        attack_checkpoints.kills,
        "SIGKILL at any moment: the same command ends with the same bits",
        least=2,
    ),
    Attack(
        "extensions",
        8,
        attack_checkpoints.extensions,
        "a finished run that is extended has a record until a later state is saved",
    ),
    Attack(
        "damage",
        200,
        attack_checkpoints.damage,
        "a damaged checkpoint is repaired from another one or rejected in one message",
    ),
    Attack(
        "foreign",
        24,
        attack_checkpoints.foreign,
        "a checkpoint or config.json of another run is rejected in one message",
    ),
    Attack(
        "unreadable",
        10,
        attack_checkpoints.unreadable,
        "a checkpoint without permission to read is no damaged one: one message, nothing renamed",
    ),
    Attack(
        "clock",
        4,
        attack_checkpoints.clock,
        "a clock that jumps during a save changes nothing",
    ),
    Attack(
        "links",
        128,
        attack_writes.links,
        "nothing is written or removed through a link in a run folder",
        least=3,
    ),
    Attack("packs", 16, attack_writes.packs, "a pack writes nothing but new run folders", least=8),
    Attack(
        "disk",
        12,
        attack_writes.full_disk,
        "a full disk is one message, and the same command resumes to the same bits",
    ),
    Attack(
        "signals",
        48,
        attack_signals.signals,
        "a signal saves every step made, and the same command ends with the same bits",
        least=2,
    ),
    Attack(
        "imports",
        12,
        attack_signals.during_import,
        "a signal during imports ends the program at once",
    ),
    Attack("fuzz", 50_000, fuzz, "a damaged input is read or rejected in one message"),
)


def attempts(attack: Attack, world: World, count: int) -> Iterator[Outcome]:
    """Makes an attack; an error of its own counts as a broken promise, and others still run."""
    try:
        yield from attack.action(world, count)
    except Exception:
        yield Outcome("error of the attack", False, traceback.format_exc())


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown table."""
    lines = ["| attack | count | outcomes | promise | kept |", "|---|---:|---|---|---|"]
    for row in rows:
        outcomes = "; ".join(f"{name} {n:,}" for name, n in row["outcomes"].items())
        kept = "not run" if row["kept"] is None else "yes" if row["kept"] else "NO"
        lines.append(
            f"| `{row['attack']}` | {row['count']:,} | {outcomes} | {row['promise']} | {kept} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Prints the table and what broke a promise; returns 1 if something did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [attack.name for attack in ATTACKS]
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="ATTACK")
    parser.add_argument("--scale", type=float, default=1.0, help="share of each count")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file of all outcomes")
    options = parser.parse_args(argv)
    # A shell's background jobs ignore it, and so would the programs that are attacked.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.set_threshold(100_000, 20, 20)  # as in conftest.py, for all children
    gc.freeze()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="genjax-attack-"))
    world, rows, broken = World(folder, options.seed), [], 0
    for attack in ATTACKS:
        if attack.name not in options.only:
            continue
        began, counts, notes = sum(os.times()[:4]), collections.Counter(), []
        count, kept = max(attack.least, round(attack.count * options.scale)), None
        for outcome in attempts(attack, world, count):
            counts[outcome.name] += outcome.count
            if outcome.kept is not None:
                kept = (kept is None or kept) and outcome.kept
            if not outcome.kept:
                notes.append(f"{outcome.name}: {outcome.note}")
        broken += kept is False
        row = {
            "attack": attack.name,
            "count": sum(counts.values()),
            "outcomes": dict(sorted(counts.items())),
            "promise": attack.promise,
            "kept": kept,
            "notes": notes,
            "cpu_seconds": round(sum(os.times()[:4]) - began, 1),
        }
        rows.append(row)
        for note in notes:
            print(f"{attack.name}: {note}", file=sys.stderr, flush=True)
        summary = f"{attack.name}: {row['cpu_seconds']} s, {row['outcomes']}"
        print(summary, file=sys.stderr, flush=True)
        if options.out:
            about = {"seed": options.seed, "scale": options.scale, "rows": rows}
            options.out.write_text(json.dumps(about, indent=1) + "\n")
    print(table(rows))
    if broken:
        print(f"the folders are kept in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
