"""Helpers for tests of streams: small prepared folders, and the batches of a run."""

import dataclasses
import pathlib
import zlib
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax import data as genjax_data
from genjax.core import GanObjective, Optimizer
from genjax.data import Data, Dataset, load, save_npz
from genjax.data.prepare import WriteOptions, prepare
from genjax.families import gan, nade
from genjax.train import Run, Train, compile_step, make_mesh
from genjax.train.input_pipeline import InputPipeline
from genjax.train.layouts import Layouts

TRAIN = 61  # rows: no batch size divides it
# Options of the runs of programs/input_pipelines.py.
CASES = {
    "one network": dict(per_call=3, transform="binarize('dynamic')"),
    "augmentation": dict(per_call=1, transform="random_flip()|random_crop(2)|scale(0, 1)"),
    "several critic steps": dict(critics=3, per_call=1, transform="binarize('static')"),
}
# The same of pairs with attributes, with the entries of their batches.
PAIR_CASES = {
    "unpaired domains": (
        dict(per_call=3, unpaired=True, transform="random_flip()|random_crop(2)|scale(-1, 1)"),
        ("x", "y"),
    ),
    "attributes": (
        dict(critics=3, attributes=("c", "a"), transform="random_flip()|scale(-1, 1)"),
        ("x", "attributes"),
    ),
}


def write_folder(
    root: pathlib.Path,
    levels: int = 17,
    splits: tuple[str, ...] = ("train", "test"),
    pairs: bool = False,
) -> str:
    """Prepares a folder of distinct 3x3 images, in files of 16; `pairs` adds y and attributes."""
    rng = np.random.default_rng(levels)
    counts = {"train": TRAIN, "validation": 16, "test": 16}
    arrays = {}
    for split in splits:
        x = rng.integers(0, levels, (counts[split], 3, 3, 1), np.uint8)
        x.reshape(len(x), -1)[:, 0] = levels - 1
        arrays[split] = {"x": x, "label": np.arange(len(x), dtype=np.int32)}
        if pairs:
            attributes = rng.integers(0, 2, (len(x), 3), np.uint8)
            arrays[split] |= {"y": levels - 1 - x, "attributes": attributes}
    names = {"attributes": ("a", "b", "c")} if pairs else {}
    root.mkdir(parents=True, exist_ok=True)
    save_npz(Dataset("small", arrays, levels, names=names), root / "small.npz")
    writing = WriteOptions(name="small", shard_examples=16)
    return str(prepare(str(root / "small.npz"), root, writing).folder)


def make_run(
    folder: str, critics: int = 0, per_call: int = 1, steps: int = 9, batch: int = 8, **data: Any
) -> Run:
    """Returns settings of a run; with `critics`, of a GAN with several critic steps."""
    family = "gan" if critics else "nade"
    model: Any = nade.Config(shape=(3, 3, 1))
    if critics:
        model = dataclasses.replace(gan.tiny(), objective=GanObjective(critic_steps=critics))
    return Run(
        experiment="feeding",
        family=family,
        model=model,
        data=Data(data=folder, **data),
        optimizer=dict(generator=Optimizer(), discriminator=Optimizer()) if critics else None,
        train=Train(steps=steps, batch_size=batch, steps_per_call=per_call),
        seed=3,
    )


class MinimalState(NamedTuple):
    """The part of a state that a step needs."""

    key: jax.Array
    step: jax.Array


def collect_batches(
    run: Run, first: int = 0, mesh: Any = None, names: Collection[str] = ("x", "label")
) -> list[dict[str, np.ndarray]]:
    """Returns the transformed batches of all steps from `first`."""
    mesh = mesh or make_mesh(jax.devices()[:1])
    dataset = load(run.data)
    pipeline = InputPipeline(run, dataset, set(names), mesh, Layouts(run).stages[0])
    assert pipeline.resident == (run.data.stream == "no")
    state = MinimalState(jax.random.key(run.seed), jax.numpy.int32(first))
    step, out, calls = first, [], {}
    while step < run.train.steps:
        # As in Trainer.train: calls are aligned, and the first and last may be shorter.
        every = run.train.steps_per_call
        length = min(every - step % every, run.train.steps - step)
        if length not in calls:
            calls[length] = compile_step(
                lambda state, batch: (state._replace(step=state.step + 1), batch),
                mesh=mesh,
                steps_per_call=length,
                lead=int(pipeline.critics > 0),
                transform=genjax_data.make_transform(
                    run.data.transform, dataset.levels, unpaired=dataset.unpaired
                ),
                resident=pipeline.resident,
                window=pipeline.resident,
            )
        state, batches = calls[length](state, *pipeline.take(step, length))
        batches = {k: np.asarray(v) for k, v in batches.items()}
        out += (
            [batches]
            if length == 1
            else [{k: v[i] for k, v in batches.items()} for i in range(length)]
        )
        step += length
    pipeline.close()
    return out


def batch_checksums(batches: list[dict[str, np.ndarray]]) -> list[int]:
    """Returns a CRC of all bytes of each batch."""
    out = []
    for batch in batches:
        crc = 0
        for name in sorted(batch):
            crc = zlib.crc32(f"{name} {batch[name].shape} {batch[name].dtype}".encode(), crc)
            crc = zlib.crc32(np.ascontiguousarray(batch[name]).data, crc)
        out.append(crc)
    return out


def replace_row(folder: str, row: int, split: str = "train") -> None:
    """Replaces a row by another; files keep their sizes and times."""
    import os

    from array_record.python import array_record_module as module

    path = sorted(pathlib.Path(folder).glob(f"*-{split}.array_record-*"))[row // 16]
    before = path.stat()
    reader = module.ArrayRecordReader(str(path))
    records = [reader.read([i])[0] for i in range(reader.num_records())]
    reader.close()
    records[row % 16] = records[row % 16 - 1]
    writer = module.ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
