"""Fuzzes the readers: a damaged file must be read, or rejected with a one-line message.

`python tests/programs/fuzz.py --inputs 20000 --seed 0 [--only idx]`. Anything else is a failure:
another exception, a warning, a message that does not name the file, more than 1 GiB of memory,
more than 10 seconds, a crash, or an attempt to unpickle. Inputs that fail are saved, and their
paths printed. Targets are listed in targets.py (data) and run_targets.py (runs, packs, records,
weights): every file that a command reads. `--json` prints counts and failures as JSON instead.
"""

import argparse
import faulthandler
import json
import math
import os
import pathlib
import pickle
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "programs")]

import numpy as np  # noqa: E402
from mutate import mutate_file, mutate_folder  # noqa: E402
from run_targets import TARGETS as RUN_TARGETS  # noqa: E402
from targets import TARGETS as DATA_TARGETS  # noqa: E402
from targets import Target  # noqa: E402

TARGETS = [*DATA_TARGETS, *RUN_TARGETS]
MEMORY = 2**30
SECONDS = 10


class UnpickledError(AssertionError):
    """A reader tried to unpickle."""


def forbid_unpickling() -> None:
    """Makes unpickling an error."""

    def fail(*args, **kwargs):
        raise UnpickledError

    load = np.load

    def strict(*args, allow_pickle=False, **kwargs):
        return fail() if allow_pickle else load(*args, allow_pickle=False, **kwargs)

    pickle.load = pickle.loads = pickle.Unpickler = fail
    np.load = strict


def run_target(target: Target, folder: pathlib.Path, file: pathlib.Path) -> tuple[str, str]:
    """Returns `read`, `rejected` or `failed`, and the error message."""
    noise: list[str] = []
    sys.unraisablehook = lambda event: noise.append(repr(event.exc_value))
    start = time.process_time()  # of this process: others may share its processor
    try:
        target.open(folder, file)
        kind, message = "read", ""
    except ValueError as error:
        kind, message = "rejected", str(error)
        cause: BaseException | None = error
        while cause is not None:
            # The message may hide that a limit was hit, or that a pickle was opened.
            if isinstance(cause, (MemoryError, UnpickledError)):
                kind, message = "failed", f"{cause!r} behind: {message}"
            cause = cause.__context__
        own = type(error).__module__.startswith("genjax.")
        if type(error) is not ValueError and not own:  # such as UnicodeDecodeError
            kind, message = "failed", repr(error)
        if not message.isprintable() or not message.endswith(".") or len(message) > 2000:
            kind = "failed"
        if kind == "rejected" and str(folder) not in message:
            kind, message = "failed", f"does not name the file: {message}"
    except OSError as error:  # commands print it as one line, which names the file
        named = error.filename is not None and str(folder) in str(error)
        kind, message = "rejected" if named else "failed", repr(error)
    except BaseException as error:
        kind, message = "failed", repr(error)
    if time.process_time() - start > SECONDS:
        kind, message = "failed", f"took {time.process_time() - start:.0f} s: {message}"
    return ("failed", f"in a destructor: {noise[0]}") if noise else (kind, message)


def reset_peak_memory() -> None:
    """Resets `peak_memory`."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_memory() -> int:
    """Returns the most bytes of memory used since `reset_peak_memory`."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def fuzz_worker(names: list[str], inputs: int, seed: int, work: pathlib.Path, begin: int) -> None:
    """Runs the inputs from number `begin`; writes position, results and failures."""
    forbid_unpickling()
    warnings.simplefilter("error")
    faulthandler.enable(open(work / "crash", "w"))  # noqa: SIM115 (until the process ends)
    space = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (space + MEMORY + 2**28,) * 2)
    at = open(work / "at", "w")  # noqa: SIM115
    first = 0
    for target, count in shares(names, inputs):
        first, low, offset = first + count, max(0, begin - first), first
        if low >= count:
            continue
        clean, folder = work / f"clean_{target.name}", work / f"in_{target.name}"
        shutil.rmtree(clean, ignore_errors=True)
        clean.mkdir()
        target.make(clean)
        files = sorted(p.relative_to(clean) for p in clean.rglob("*") if p.is_file())
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(clean, folder)
        for file in files:
            kind, message = run_target(target, folder, folder / file)
            # 32-bit images are valid files that are rejected.
            if kind == "failed" or (kind == "rejected" and file.stem not in ("I", "F")):
                raise SystemExit(f"{target.name}: the valid {file} is {kind}: {message}")
        reset_peak_memory()
        base, start = peak_memory(), time.monotonic()
        counts = {"read": 0, "rejected": 0, "failed": 0}
        for i in range(low, count):
            at.seek(0)
            at.write(f"{offset + i:12d}")
            at.flush()
            rng = random.Random(f"{seed} {target.name} {i}")
            file, other = rng.choice(files), rng.choice(files)
            tree = len(files) > 1 and target.folders and rng.random() < 0.05
            if tree:
                mutate_folder(folder, rng)
            else:
                data, more = (clean / file).read_bytes(), (clean / other).read_bytes()
                (folder / file).write_bytes(mutate_file(data, more, rng, file.name))
            kind, message = run_target(target, folder, folder / file)
            if peak_memory() - base > MEMORY:
                kind, message = "failed", f"used {(peak_memory() - base) >> 20} MiB: {message}"
                reset_peak_memory()
            counts[kind] += 1
            if kind == "failed":
                save_input(work, target.name, i, message)
            if tree or target.writes:
                shutil.rmtree(folder)
                shutil.copytree(clean, folder)
            else:
                shutil.copyfile(clean / file, folder / file)
        row = {"target": target.name, **counts, "seconds": time.monotonic() - start}
        log(work, {**row, "peak": peak_memory() - base})


def shares(names: list[str], inputs: int) -> list[tuple[Target, int]]:
    """Returns the targets, each with its number of inputs."""
    chosen = [target for target in TARGETS if target.name in names]
    total = sum(target.weight for target in chosen)
    return [(target, math.ceil(inputs * target.weight / total)) for target in chosen]


def log(work: pathlib.Path, line: dict) -> None:
    """Appends a line to the results."""
    with open(work / "results", "a") as file:
        file.write(json.dumps(line) + "\n")


def save_input(work: pathlib.Path, name: str, i: int, message: str) -> None:
    """Saves the input of a failure."""
    kept = work / "kept" / f"{name}_{i}"
    shutil.copytree(work / f"in_{name}", kept, symlinks=True, dirs_exist_ok=True)
    log(work, {"failure": message, "kept": str(kept)})


def supervise(arguments: list[str], names: list[str], inputs: int, work: pathlib.Path) -> None:
    """Runs workers until every input was tried; a hang or a crash is a failure."""
    begin = 0
    owners = [(target.name, i) for target, count in shares(names, inputs) for i in range(count)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "MALLOC_ARENA_MAX": "2"}
    while begin < len(owners):
        command = [sys.executable, __file__, *arguments, "--work", str(work), "--begin", str(begin)]
        last, since = "", time.monotonic()
        with open(work / "noise", "a") as noise:
            child = subprocess.Popen(command, stderr=noise, env=environment)
            while child.poll() is None:
                time.sleep(0.1)
                now = (work / "at").read_text() if (work / "at").exists() else ""
                if now != last:
                    last, since = now, time.monotonic()
                if time.monotonic() - since > SECONDS * 6:
                    child.kill()
        if child.returncode == 0:
            break
        if not last.strip():
            raise SystemExit(f"the worker ended before its first input: {work}/noise")
        stopped = int(last)
        where = (work / "crash").read_text()[-400:].replace("\n", " | ")
        save_input(work, *owners[stopped], f"ended {child.returncode}: {where}")
        begin = stopped + 1


def campaign(inputs: int, seed: int = 0, only: str = "") -> dict[str, Any]:
    """Fuzzes the targets whose names contain `only` with `inputs` inputs in all.

    Returns:
      `inputs` in all, `targets`: `{name: {"read", "rejected", "failed", "seconds", "peak"}}`,
      `failures`: `[{"failure": message, "kept": folder of the input}]`, `noise`: lines on the
      standard error; JSON values.
    """
    names = [t.name for t in TARGETS if only in t.name]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="genjax-fuzz-"))
    supervise(["--inputs", str(inputs), "--seed", str(seed), "--only", only], names, inputs, folder)
    lines = [json.loads(line) for line in (folder / "results").read_text().splitlines()]
    targets: dict[str, dict[str, float]] = {}
    for line in (line for line in lines if "target" in line):
        row = targets.setdefault(line.pop("target"), dict.fromkeys(line, 0))
        row |= {k: max(row[k], v) if k == "peak" else row[k] + v for k, v in line.items()}
    failures = [line for line in lines if "failure" in line]
    noise = (folder / "noise").read_text().strip().splitlines()
    if not failures:
        shutil.rmtree(folder)
    total = sum(r["read"] + r["rejected"] + r["failed"] for r in targets.values())
    return {"inputs": total, "targets": targets, "failures": failures, "noise": noise}


def main() -> int:
    """Prints a table and the failures; returns 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20000, help="over all targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only targets whose name contains this")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--work", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--begin", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = [t.name for t in TARGETS if options.only in t.name]
    if not names:
        parser.error(
            f"no target name contains {options.only}; targets are {[t.name for t in TARGETS]}"
        )
    if options.work:
        fuzz_worker(names, options.inputs, options.seed, options.work, options.begin)
        return 0
    result = campaign(options.inputs, options.seed, options.only)
    failures, noise = result["failures"], result["noise"]
    if options.json:
        print(json.dumps(result, indent=1))
        return 1 if failures else 0
    if noise:
        # libtiff prints warnings that no setting of Pillow suppresses.
        print(f"{len(noise)} lines on stderr, such as {noise[-1][:100]!r}")
    print(f"{'reader':<16}{'inputs':>8}{'read':>8}{'rejected':>9}{'failed':>8}{'s':>8}{'MiB':>8}")
    for name, r in result["targets"].items():
        count = r["read"] + r["rejected"] + r["failed"]
        head = f"{name:<16}{count:>8}{r['read']:>8}{r['rejected']:>9}{r['failed']:>8}"
        print(f"{head}{r['seconds']:>8.1f}{r['peak'] / 2**20:>8.0f}")
    print(f"{result['inputs']} inputs, {len(failures)} failures, seed {options.seed}")
    for line in failures:
        print(f"FAILURE {line['kept']}: {line['failure']}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
