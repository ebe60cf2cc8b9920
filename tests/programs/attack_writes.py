"""Attacks on what is written: links in run folders, packs that name other places, full disks."""

import ctypes
import hashlib
import io
import json
import os
import pathlib
import runpy
import shutil
import sys
import tarfile
import warnings
from collections.abc import Iterator
from typing import Any

from attack_checkpoints import PARTS, rejected, settled
from support.children import Outcome, World, different, in_child, train

from genjax.cli.options import run_command
from genjax.train import Run
from genjax.train.archive import extract_archive

# What a run writes, and `genjax sample` and `genjax report` beside it.
WRITTEN = (
    *(".lock", "config.json", "data.json", "metrics.jsonl", "metrics.csv", "record.json"),
    "tokenizer.json",
    *("samples", "samples/step_00000005.png", "samples/step_00000012.png", "samples/strip.png"),
    *("samples/film.gif", "checkpoints", "checkpoints/latest", "checkpoints/best"),
    *("checkpoints/latest/12", "checkpoints/best/12", "phase1", "profile", "tensorboard"),
    *("config.json.part", "data.json.part", "metrics.jsonl.part", "metrics.csv.part"),
    *("record.json.part", "config.json.{pid}.part", "metrics.csv.{pid}.part"),
    *("record.json.{pid}.part", "checkpoints/corrupt-latest-4", "."),
)
DRAWN = ("samples", "samples/seed_0.png", "samples/strip.png")


def contents(folder: pathlib.Path) -> dict[str, bytes | str]:
    """Returns names, bytes and links of everything in a folder."""
    return {
        str(path.relative_to(folder)): (
            os.readlink(path)
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else "folder"
        )
        for path in sorted(folder.rglob("*"))
    }


def genjax(*arguments: str) -> None:
    """Runs `python -m genjax` in this process."""
    sys.argv = ["genjax", *arguments]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
        runpy.run_module("genjax", run_name="__main__", alter_sys=True)


def _link(place: pathlib.Path, outside: pathlib.Path, kind: str) -> None:
    """Replaces a place by a link to another one, which holds what the place held."""
    outside.mkdir()
    (outside / "other.txt").write_text("not of this run")
    target = outside / "target"
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        shutil.move(place, target)
    elif kind == "file":
        target.write_text("not of this run")
    elif kind == "folder":
        target.mkdir()
        (target / "other.txt").write_text("not of this run")
    place.symlink_to(target)


def _link_and_train(run: Run, workdir: pathlib.Path, place: str, *link: Any) -> dict[str, Any]:
    """Trains after it has made the link, whose name may hold the number of this process."""
    _link(workdir / place.format(pid=os.getpid()), *link)
    return train(run, workdir)


def links(world: World, count: int) -> Iterator[Outcome]:
    """Replaces each place that a run writes by a link, in a new run, a stopped and a finished one.

    The target of a link is a file, a folder, or missing.
    """
    cases = [(place, kind, "new") for place in WRITTEN for kind in ("file", "folder", "missing")]
    cases += [(place, "same", "stopped") for place in WRITTEN]
    cases += [(place, kind, "finished") for place in DRAWN for kind in ("file", "folder")]
    world.rng("links").shuffle(cases)
    expected, run = world.undisturbed("nade"), world.run("nade")
    for i, (place, kind, state) in enumerate(cases[:count]):
        workdir, outside = world.folder / f"links-{i}", world.folder / f"links-{i}-outside"
        if state != "new":
            source = {"stopped": world.stopped("nade"), "finished": world.folder / "whole-nade"}
            shutil.copytree(source[state], workdir)
        numbered = "{pid}" in place
        _link(workdir / place, outside, kind)
        before = contents(outside)
        if numbered:
            (workdir / place).unlink()
            shutil.rmtree(outside)
        if state == "finished":
            ended = in_child(genjax, "sample", str(workdir), "--n", "4")
            fine = ended.status == 0
        elif numbered:
            ended = in_child(_link_and_train, run, workdir, place, outside, kind)
            fine = ended.status == 0 and not different(expected, ended.value, PARTS)
        else:
            ended = in_child(train, run, workdir)
            fine = ended.status == 0 and not different(expected, ended.value, PARTS)
        outcome = Outcome("link replaced or not used, equal", fine)
        if ended.status:
            outcome = rejected(ended, run.experiment)
        elif not fine:
            outcome = Outcome("wrong", False, ended.last_line())
        if place == "." and fine:
            outcome = Outcome("the workdir itself may be a link, equal", True)
        elif contents(outside) != before:
            outcome = Outcome("written outside", False, " ".join(_changes(before, outside)))
        if outcome.kept:
            shutil.rmtree(outside)
            if workdir.is_symlink():
                workdir.unlink()
                workdir.mkdir()
        yield settled(outcome, workdir, f"{place} as a link, {kind}, {state} run")


def _changes(before: dict[str, Any], folder: pathlib.Path) -> list[str]:
    after = contents(folder)
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))[:5]


Members = list[tuple[str, bytes, str, bytes]]


def _packs(victim: str) -> dict[str, Members]:
    """Returns members, `(name, type, link, data)`, of packs that reach outside of their runs."""
    file, folder, soft, hard = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
    record = b'{"obtained": -1}'
    run: Members = [("new", folder, "", b""), ("new/config.json", file, "", b"{}")]
    through = ("new/samples/record.json", file, "", record)
    return {
        "parent": [*run, ("../escaped", file, "", record)],
        "parent inside": [*run, (f"new/../{victim}/record.json", file, "", record)],
        "absolute": [*run, ("{out}/escaped", file, "", record)],
        "link to a run": [*run, ("new/samples", soft, f"../{victim}", b""), through],
        "absolute link": [*run, ("new/samples", soft, f"{{root}}/{victim}", b""), through],
        "link to a file": [*run, ("new/record.json", soft, f"../{victim}/record.json", b"")],
        "link within the run": [*run, ("new/record.json", soft, "config.json", b"")],
        "run that is a link": [("new", soft, victim, b""), ("new/record.json", file, "", record)],
        "chain of links": [
            *run,
            ("new/a", soft, "..", b""),
            ("new/b", soft, f"a/{victim}", b""),
            ("new/b/record.json", file, "", record),
        ],
        "hard link": [*run, ("new/record.json", hard, f"{victim}/record.json", b"")],
        "hard link within": [*run, ("new/other", hard, "new/config.json", b"")],
        "device": [*run, ("new/zero", tarfile.CHRTYPE, "", b"")],
        "pipe": [*run, ("new/metrics.jsonl", tarfile.FIFOTYPE, "", b"")],
        "same name": [("victim", folder, "", b""), ("victim/record.json", file, "", record)],
        "file for a run": [(victim, file, "", record)],
        "member twice": [*run, ("new/config.json", soft, f"../{victim}/record.json", b"")],
    }


def packs(world: World, count: int) -> Iterator[Outcome]:
    """Extracts packs with links, devices and other paths beside an existing run."""
    for i, (name, members) in enumerate(list(_packs("victim").items())[:count]):
        workdir = world.folder / f"packs-{i}"
        root, source = workdir / "runs", workdir / "pack"
        (root / "victim").mkdir(parents=True)
        (root / "victim" / "record.json").write_text('{"obtained": 1}')
        source.mkdir()
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for path, kind, link, data in members:
                member = tarfile.TarInfo(path.format(out=workdir, root=root))
                member.type, member.linkname = kind, link.format(root=root)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        (source / "pack-0.000").write_bytes(file.getvalue())
        part = {"name": "pack-0.000", "sha256": hashlib.sha256(file.getvalue()).hexdigest()}
        manifest = {"parts": [part], "bytes": len(file.getvalue())}
        (source / "pack.json").write_text(json.dumps(manifest))
        before = contents(workdir)
        ended = in_child(_extract, source, root)
        after = contents(workdir)
        new = {path for path in after if not path.startswith("runs/new")}
        outcome = rejected(ended) if ended.status else Outcome("existing run not changed", True)
        if any(before.get(path) != after[path] for path in new) or before.keys() - after.keys():
            outcome = Outcome("written outside", False, " ".join(_changes(before, workdir)))
        elif any(not (p.is_dir() or p.is_file()) or p.is_symlink() for p in root.rglob("*")):
            outcome = Outcome("special file", False, "a link or a special file was extracted")
        yield settled(outcome, workdir, name)


def _extract(source: pathlib.Path, root: pathlib.Path) -> None:
    status = run_command(lambda: extract_archive(source, root))
    if status:
        raise SystemExit(status)


def _mount(place: pathlib.Path, options: str, flags: int = 0) -> str:
    """Mounts a tmpfs; returns the reason if that fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = libc.mount(b"tmpfs", bytes(place), b"tmpfs", flags, options.encode())
    return os.strerror(ctypes.get_errno()) if code else ""


REMOUNT = 32  # MS_REMOUNT


def full_disk(world: World, count: int) -> Iterator[Outcome]:
    """Trains on a small tmpfs until it is full, then enlarges it and resumes."""
    run, expected = world.run("nade"), world.undisturbed("nade")
    whole = world.folder / "whole-nade"
    pages = sum(-(-p.lstat().st_size // 4096) + 1 for p in whole.rglob("*"))
    libc = ctypes.CDLL(None)
    for i in range(count):
        rng, place = world.rng("disk", i), world.folder / f"disk-{i}"
        place.mkdir()
        kib = 4 * (rng.randint(1, 8) if i % 4 == 3 else rng.randint(8, pages))
        if reason := _mount(place, f"size={kib}k"):
            place.rmdir()
            yield Outcome("not run", None, f"a tmpfs cannot be mounted ({reason}).", count)
            return
        try:
            first = in_child(train, run, place / "run")
            _mount(place, "size=64m", REMOUNT)
            ended = in_child(train, run, place / "run")
            outcome = Outcome("one message, then equal" if first.status else "fits, equal", True)
            if first.status and str(place) not in first.text:
                outcome = Outcome("message names no file", False, first.last_line())
            if first.status and not first.failed_clearly(run.experiment):
                outcome = Outcome("failed", False, first.text[-3000:])
            if ended.status:
                outcome = Outcome("not resumed", False, ended.text[-3000:])
            elif wrong := different(expected, ended.value, PARTS):
                outcome = Outcome("unequal", False, " ".join(wrong))
        finally:
            libc.umount(bytes(place))
        yield settled(outcome, place, f"{kib} KiB")
