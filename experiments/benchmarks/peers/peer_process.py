"""The peer of a measured row, timed in a process of its own, and what that says beside ours."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import jax

from experiments.benchmarks import peers
from experiments.benchmarks.peers import KINDS

DEVICES = {"cpu": "cpu", "gpu": "cuda"}  # PyTorch's name of what JAX runs on


def peer_words(row: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """What the peer is told: the sizes, precision and kind of device of a measured row.

    Raises:
      ValueError: JAX ran on what no peer runs on; seconds there have no ratio to seconds elsewhere.
    """
    backend = jax.default_backend()
    if backend not in DEVICES:
        raise ValueError(f"peers run on a CPU or a GPU alone, and JAX runs on a {backend} here.")
    words = ["--row", row["row"], "--dtype", row["config"].get("dtype", "float32")]
    words += ["--device", DEVICES[backend]]
    words += ["--repeats", str(options.repeats), "--batch-size", str(row["batch_size"])]
    words += ["--seconds", str(options.seconds)]
    if any(row[kind]["peak"] == "float32_exact" for kind in KINDS if kind in row):
        words += ["--precision", "highest"]
    words += ["--samples", str(options.samples)]
    return words + (["--skip", *options.skip] if options.skip else [])


def beside(row: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The peer's figures of a measured row, its seconds over ours, and why any are missing."""
    try:
        peer = ask_peer(peer_words(row, options), options.peer_seconds)
    except (ValueError, OSError) as error:
        peer = {"error": str(error).splitlines()[0]}
    for line in went_wrong(peer):
        print(f"{row['row']}: {line}", file=sys.stderr)
    both = [k for k in KINDS if k in row and "seconds" in peer.get(k, {})]
    ratio = {k: peer[k]["seconds"] / row[k]["seconds"] for k in both}
    notes = {k: notes_of(row["family"], k, peer[k]) for k in both}
    return {"peer": peer, "ratio": ratio, "notes": {k: v for k, v in notes.items() if v}}


def notes_of(family: str, kind: str, part: dict[str, Any]) -> list[str]:
    """What whoever reads a ratio has to know of the peer's call."""
    other = kind == "sample" and family in peers.WHOLE_NETWORK_A_VALUE
    notes = ["other algorithm"] if other else []
    notes += ["compiled failed"] if "compiled failed" in part["way"] else []
    left = part.get("untried")
    return notes + ([f"stopped before {', '.join(left)}"] if left else [])


def went_wrong(peer: dict[str, Any]) -> list[str]:
    """A line for what ended a peer early, and for each way of a call that failed there."""
    lines = [f"no whole peer: {peer['error']}"] if "error" in peer else []
    for kind in KINDS:
        for way, found in peer.get(kind, {}).get("tried", {}).items():
            if "error" in found:
                lines.append(f"the peer's {kind}, {way}: {found['error']}")
    return lines


def ask_peer(words: list[str], limit: float) -> dict[str, Any]:
    """What the peer's process found within `limit` seconds; where it did not come to its end, what
    it had until then with the `error` that ended it."""
    root = str(pathlib.Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    # JAX makes the batch there, and must not take the GPU again.
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    command = [sys.executable, "-m", "experiments.benchmarks.peers.time_peer", *words]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired as late:
        why = f"it was stopped after {limit:g} seconds; --peer-seconds gives it more."
        return {**last_found(late.stdout), "error": why}
    found = last_found(done.stdout)
    if done.returncode or not found:
        said = done.stderr.strip().splitlines()
        last = said[-1].removeprefix("error: ") if said else ""
        found["error"] = last or f"it ended with {done.returncode}."
    return found


def last_found(written: str | bytes | None) -> dict[str, Any]:
    """The last whole line of a peer's JSON; nothing where there is none.

    Python gives what a stopped process wrote as bytes, and None for nothing.
    """
    text = written.decode(errors="replace") if isinstance(written, bytes) else written or ""
    for line in reversed(text.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:  # cut off, or a compiler's own words
            continue
        if isinstance(found, dict):
            return found
    return {}
