"""Times the PyTorch peer of a measured row in a process of its own and compares the two."""

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

DEVICES = {"cpu": "cpu", "gpu": "cuda"}  # PyTorch's names of JAX's platforms


def peer_arguments(row: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """Returns the arguments of `time_peer` for a measured row: sizes, precision, device.

    Raises:
      ValueError: JAX ran on a device that the peers do not support.
    """
    backend = jax.default_backend()
    if backend not in DEVICES:
        raise ValueError(f"peers run on a CPU or a GPU, and JAX runs on a {backend} here.")
    words = ["--row", row["row"], "--dtype", row["config"].get("dtype", "float32")]
    words += ["--device", DEVICES[backend]]
    words += ["--repeats", str(options.repeats), "--batch-size", str(row["batch_size"])]
    words += ["--seconds", str(options.seconds)]
    if any(row[kind]["peak"] == "float32_exact" for kind in KINDS if kind in row):
        words += ["--precision", "highest"]
    words += ["--samples", str(options.samples)]
    few = row.get("evaluate_batch_size", row["batch_size"])
    if few != row["batch_size"]:
        words += ["--evaluate-batch-size", str(few)]
    if options.side:
        words += ["--side", str(options.side)]
    if options.peer_compile:
        words += ["--compile", options.peer_compile]
    return words + (["--skip", *options.skip] if options.skip else [])


def compare(row: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Returns the figures of a row's peer, its seconds over genjax's, and what limits the ratio."""
    try:
        peer = run_peer(peer_arguments(row, options), options.peer_seconds)
    except (ValueError, OSError) as error:
        peer = {"error": str(error).splitlines()[0]}
    for line in failures(peer):
        print(f"{row['row']}: {line}", file=sys.stderr)
    both = [k for k in KINDS if k in row and "seconds" in peer.get(k, {})]
    ratio = {k: peer[k]["seconds"] / row[k]["seconds"] for k in both}
    notes = {k: caveats(row["family"], k, peer[k]) for k in both}
    return {"peer": peer, "ratio": ratio, "notes": {k: v for k, v in notes.items() if v}}


def caveats(family: str, kind: str, part: dict[str, Any]) -> list[str]:
    """Returns what limits the comparison of a call."""
    other = kind == "sample" and family in peers.WHOLE_NETWORK_PER_VALUE
    notes = ["other algorithm"] if other else []
    notes += ["compiled failed"] if "compiled failed" in part["way"] else []
    left = part.get("untried")
    return notes + ([f"stopped before {', '.join(left)}"] if left else [])


def failures(peer: dict[str, Any]) -> list[str]:
    """Returns one line for what ended a peer early, and one for each mode of a call that failed."""
    lines = [f"the peer is incomplete: {peer['error']}"] if "error" in peer else []
    for kind in KINDS:
        for way, result in peer.get(kind, {}).get("tried", {}).items():
            if "error" in result:
                lines.append(f"the peer's {kind}, {way}: {result['error']}")
    return lines


def run_peer(words: list[str], limit: float) -> dict[str, Any]:
    """Returns the peer's figures; if it did not finish within `limit` seconds, those that it had
    written, with the `error` that ended it."""
    root = str(pathlib.Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    # JAX makes the batch there and must not allocate the GPU.
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    command = [sys.executable, "-m", "experiments.benchmarks.peers.time_peer", *words]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired as late:
        why = f"it was stopped after {limit:g} seconds; increase --peer-seconds."
        return {**last_line(late.stdout), "error": why}
    result = last_line(done.stdout)
    if done.returncode or not result:
        messages = done.stderr.strip().splitlines()
        last = messages[-1].removeprefix("error: ") if messages else ""
        result["error"] = last or f"it ended with {done.returncode}."
    return result


def last_line(written: str | bytes | None) -> dict[str, Any]:
    """Returns the last complete JSON object of a peer's output, or an empty dict.

    The output of a stopped process is bytes, or None if it is empty.
    """
    text = written.decode(errors="replace") if isinstance(written, bytes) else written or ""
    for line in reversed(text.splitlines()):
        try:
            result = json.loads(line)
        except ValueError:  # incomplete, or output of a compiler
            continue
        if isinstance(result, dict):
            return result
    return {}
