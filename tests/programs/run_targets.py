"""Targets of the fuzzer: files of runs, archives, the results table, and weights of metrics."""

import dataclasses
import functools
import gzip
import hashlib
import io
import json
import pathlib
import pickle
import shutil
import struct
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable

import jax
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from support.folders import make_record, write_run  # noqa: E402
from support.small import small_run, write_data  # noqa: E402
from targets import Target, frame  # noqa: E402

from experiments import __main__ as printed  # noqa: E402
from experiments.table import rows, summary, table  # noqa: E402
from genjax import data as genjax_data  # noqa: E402
from genjax import report  # noqa: E402
from genjax.cli.experiment import recipe_differences  # noqa: E402
from genjax.data import Data  # noqa: E402
from genjax.data.json_files import parse_json  # noqa: E402
from genjax.data.prepare import prepare  # noqa: E402
from genjax.data.readers import ReadOptions  # noqa: E402
from genjax.data.shards import WriteOptions  # noqa: E402
from genjax.evals.classifier import Classifier, load_classifier, save_classifier  # noqa: E402
from genjax.evals.inception.pretrained import read_safetensors  # noqa: E402
from genjax.evals.inception.torch_file import read_torch  # noqa: E402
from genjax.families import FAMILIES  # noqa: E402
from genjax.train import Run, fit, sample_grids  # noqa: E402
from genjax.train.archive import create_archive, extract_archive  # noqa: E402
from genjax.train.load_run import load_state  # noqa: E402
from genjax.train.metric_log import Metrics  # noqa: E402
from genjax.train.metric_writers import add_writers, write_missing_outputs  # noqa: E402
from genjax.train.phases import first_status  # noqa: E402
from genjax.train.record import make_record as whole_record  # noqa: E402
from genjax.train.record import run_name  # noqa: E402
from genjax.train.resume import finished_record  # noqa: E402
from genjax.train.run_config import Phase, resolve, run_from_json, to_json  # noqa: E402
from genjax.train.workdir import check_same_data, read_run, resolve_workdir  # noqa: E402

LINES = [
    {"step": 10, "loss": 6.5, "learning_rate": 0.01},
    {"step": 20, "loss": 6.0, "learning_rate": 0.005},
    {"step": 20, "validation_nll": 5.75, "validation_nll_std_error": None},
    {"step": 30, "loss": 1e-30},
]


def phased(run: Run) -> Run:
    """Returns the run with an earlier phase."""
    phase = Phase(optimizer=run.optimizer, train=dataclasses.replace(run.train, writers=("csv",)))
    return dataclasses.replace(run, phases=(phase,))


@functools.cache
def runs() -> dict[str, Run]:
    """Returns a small run of every family, and one with phases."""
    found = {name: small_run(name, "bars.npz") for name in FAMILIES}
    return {**found, "phased": phased(found["nade"])}


def _configs(folder: pathlib.Path) -> None:
    for name, run in runs().items():
        write_run(folder / name, run)


def _read_config(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    for file in sorted(folder.glob("*/config.json")) if damaged.is_dir() else [damaged]:
        run = read_run(file.parent)
        assert run_from_json(json.loads(json.dumps(to_json(run)))) == run
        hash(run.model)


def _whole(folder: pathlib.Path) -> None:
    """A finished run, as `fit` leaves it, without weights."""
    run = resolve(phased(small_run("nade", "bars.npz")), "cpu")
    sessions = [{"commit": "abc", "device": "cpu x1", "from_step": 0}]
    details = {
        "steps": 10,
        "ended": "end of schedule",
        "final_metrics": {"codes": {"information": 2.0}},
    }
    details |= {"warnings": [{"step": 3, "words": "it overfits"}], "parameters": 12}
    made = functools.partial(whole_record, metric="test NLL", seconds=60.0, details=details)
    record = made(run, obtained=5.0, std_error=0.1, sessions=sessions)
    write_run(folder / "run", run, metrics=LINES, record=record, grids=(10, 20))
    (folder / "run" / "phase1").mkdir()
    (folder / "run" / "phase1" / "record.json").write_text(json.dumps(record))
    (folder / "run" / "checkpoints" / "latest" / "10").mkdir(parents=True)
    (folder / "run" / "checkpoints" / "latest" / "10" / "commit_success.txt").write_text("10")
    description = {"checksum": small_data().checksum(), "examples": small_data().counts()}
    (folder / "run" / "data.json").write_text(json.dumps(description))


@functools.cache
def small_data() -> genjax_data.Dataset:
    """Returns data whose checksum is in data.json."""
    return genjax_data.load(Data(data="digits_4x4", limit=10))


def _resume(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    """Reads what a finished run reads when its command is given again."""
    del damaged
    workdir = folder / "run"
    requested = phased(small_run("nade", "bars.npz"))
    run, saved = resolve_workdir(requested, workdir, True)
    record = finished_record(run, saved, workdir)
    if record is not None:
        recipe_differences(requested, run, record)
        write_missing_outputs(workdir, ["csv"])
    first_status(run, workdir)
    check_same_data(small_data(), workdir)


def _metrics(folder: pathlib.Path) -> None:
    write_run(folder / "run", small_run("nade", "bars.npz"), metrics=LINES)


def _append(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    """Resumes the metrics, with all writers, and reads them again."""
    workdir = folder / "run"
    write_missing_outputs(workdir, ["csv"])
    metrics = Metrics(workdir, after=20, again=True)
    add_writers(metrics, ["csv"])
    metrics.write(40, {"loss": 1.0})
    metrics.close()
    lines = (workdir / "metrics.jsonl").read_bytes().rstrip(b"\n").split(b"\n")
    steps = [parse_json(line, non_finite=True)["step"] for line in lines]  # also of long numbers
    assert steps[-1] == 40
    assert all(type(step) is int and step <= 20 for step in steps[:-1])
    assert b'"loss": 1.0' in lines[-1]


def _report(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        page = report.write([folder], pathlib.Path(out) / "report.html")
        assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")


def _grids(folder: pathlib.Path) -> None:
    for n, shape in enumerate([(9, 4, 4), (5, 3, 4, 3), (1, 2), (30, 2, 2, 1)]):
        x = np.random.default_rng(n).uniform(size=shape)
        sample_grids.save_grid(folder / "samples" / f"step_{n:08d}.png", x)


def _read_grids(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    sample_grids.write_overview(damaged.parent)
    page, tiles = sample_grids.read_grid(damaged)
    assert page.ndim == 3
    if tiles is not None:
        assert sample_grids.cut(page, tiles).shape == (tiles.count, tiles.height, tiles.width, 3)


def _records(folder: pathlib.Path) -> None:
    for name in ("nade_binarized_mnist:cpu", "infogan_mnist:codes", "rnade_red_wine:cpu"):
        for seed in (0, 1):
            run = dataclasses.replace(rows()[name], seed=seed)
            record = make_record(run, final_metrics={"codes": {"information": 2.0 + seed}})
            path = folder / f"{run_name(name, seed)}.json"
            path.write_text(json.dumps(record))


def _table(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    """Reads and prints the table in every form."""
    out, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    try:
        found = table(folder, count=False)
        print(json.dumps(found, indent=1))
        printed.print_all(found)
        print(printed.text_table([summary(rows()[row["experiment"]], row) for row in found], 80))
    finally:
        sys.stdout = out


def _pack(folder: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        workdirs = []
        for name in ("a", "b"):
            run = small_run("nade", "bars.npz")
            workdirs.append(write_run(pathlib.Path(work) / name, run, metrics=LINES, grids=(10,)))
        create_archive(workdirs, folder / "pack", part_bytes=600)


def _unpack(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    before = _names(folder.parent, folder)
    extract_archive(folder / "pack", folder / "out")
    assert _names(folder.parent, folder) == before
    for path in (folder / "out").rglob("*"):
        assert folder.resolve() in path.resolve().parents


def _names(root: pathlib.Path, without: pathlib.Path) -> set[pathlib.Path]:
    return {path for path in root.iterdir() if path != without}


def _tar(folder: pathlib.Path) -> None:
    _pack(folder)
    parts = sorted((folder / "pack").glob("pack-*"))
    data = b"".join(part.read_bytes() for part in parts)
    shutil.rmtree(folder / "pack")
    data = gzip.decompress(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert len(tar.getmembers()) > 6
    (folder / "pack.tar.gz").write_bytes(gzip.compress(data, 1))


def _unpack_tar(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    """Extracts an archive whose checksums are right."""
    data = damaged.read_bytes()
    (folder / "pack").mkdir()
    (folder / "pack" / "pack-0.000").write_bytes(data)
    part = {"name": "pack-0.000", "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {"parts": [part], "bytes": len(data)}
    (folder / "pack" / "pack.json").write_text(json.dumps(manifest))
    _unpack(folder, damaged)


def _table_npz(folder: pathlib.Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 5))
    np.savez_compressed(folder / "data.npz", data=x)
    np.savez(folder / "plain.npz", data=x.astype(np.float32))


def _load_table(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    settings = Data(data=str(damaged), folds=4, fold=1, standardize=True, drop_discrete=3)
    for split in genjax_data.load(settings).splits.values():
        assert split["x"].ndim == 2
        assert np.isfinite(split["x"]).all()


def _prepared(folder: pathlib.Path) -> None:
    for i in range(4):
        (folder / "in" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        frame("RGB", i).save(folder / "in" / "ab"[i % 2] / f"{i}.png")
    _prepare(folder, folder)


def _prepare(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    """Prepares a folder again, which verifies the finished one or makes it again."""
    writing = WriteOptions(name="tiny", shard_examples=2, test=1)
    done = prepare(
        str(folder / "in"), folder / "out", writing, ReadOptions(size=(4, 4), fit="crop")
    )
    assert all(isinstance(line, str) for line in done.describe())


def _trained(folder: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        run = small_run("joint", write_data(pathlib.Path(work)), sample_every=0)
        fit(run, folder / "run", quiet=True)
    for part in ("samples", ".lock", "record.json", "metrics.jsonl", "data.json"):
        path = folder / "run" / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(folder / "run" / "checkpoints" / "latest")
    # One is left: an older one would be used in place of a damaged one.
    for older in sorted((folder / "run" / "checkpoints" / "best").iterdir())[1:]:
        shutil.rmtree(older)
    _TRAINED[folder.name.partition("_")[2]] = _leaves(folder)


_TRAINED: dict[str, list[np.ndarray]] = {}


def _leaves(folder: pathlib.Path) -> list[np.ndarray]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "checkpoint .* is damaged", UserWarning)
        run, state = load_state(folder / "run")
    assert run.family == "joint"
    variables = state.eval_variables()
    return [np.asarray(leaf) for leaf in jax.tree.leaves(variables)]


def _load_state(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    """Loads the weights, which must be those that were saved."""
    found = _leaves(folder)
    want = _TRAINED[folder.name.partition("_")[2]]
    if damaged.name == "config.json":  # another value of a setting
        return
    for a, b in zip(found, want, strict=True):
        np.testing.assert_array_equal(a, b)


_X = np.arange(6, dtype="<f4").reshape(2, 3)


def _weights(folder: pathlib.Path) -> None:
    entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    header = json.dumps({"x": entry, "__metadata__": {"format": "pt"}}).encode()
    size = struct.pack("<Q", len(header))
    (folder / "w.safetensors").write_bytes(size + header + _X.tobytes())

    def word(text: str) -> bytes:
        return b"X" + struct.pack("<I", len(text)) + text.encode()

    # The instructions that PyTorch writes for {"x": tensor}.
    storage = b"(" + word("storage") + b"ctorch\nFloatStorage\n" + word("0") + word("cpu")
    storage += b"K\x06tQ"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x02K\x03\x86K\x03K\x01\x86"
    call += b"\x89ccollections\nOrderedDict\n)RtR"
    state = b"\x80\x02}" + word("x") + call + b"s."
    with zipfile.ZipFile(folder / "w.pth", "w") as archive:
        for name, data in (("data.pkl", state), ("byteorder", b"little"), ("data/0", _X.tobytes())):
            archive.writestr(f"archive/{name}", data)
    stream = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    stream += pickle.dumps({"little_endian": True}, 2)
    stream += state.replace(b"K\x06tQ", b"K\x06NtQ") + pickle.dumps(["0"], 2)
    (folder / "stream.pth").write_bytes(stream + struct.pack("<q", 6) + _X.tobytes())


def _read_weights(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    read = read_safetensors if damaged.suffix == ".safetensors" else read_torch
    for array in read(damaged).values():
        assert isinstance(array, np.ndarray)
        assert array.nbytes <= 2**20


def _classifiers(folder: pathlib.Path) -> None:
    from genjax.evals.classifier import _initial

    params = _initial((4, 4, 1), 3, np.random.default_rng(0))
    about = {"steps": 3, "seed": 0}
    save_classifier(Classifier(params, (4, 4, 1), 3, about), folder / "classifier.npz")


def _read_classifier(folder: pathlib.Path, damaged: pathlib.Path) -> None:
    assert len(load_classifier(damaged).shape) == 3


def _target(
    name: str,
    make: Callable[[pathlib.Path], None],
    read: Callable[[pathlib.Path, pathlib.Path], None],
    **options: float | bool,
) -> Target:
    return Target(name, make, read, **options)


TARGETS = [
    _target("config", _configs, _read_config, weight=2.0, folders=False),
    _target("run", _whole, _resume, weight=2.0, writes=True),
    _target("metrics", _metrics, _append, writes=True),
    _target("report", _whole, _report, weight=0.5, writes=True),
    _target("grids", _grids, _read_grids, writes=True, folders=False),
    _target("records", _records, _table, weight=0.2, folders=False),
    _target("pack", _pack, _unpack, writes=True),
    _target("pack_tar", _tar, _unpack_tar, writes=True, folders=False),
    _target("npz_table", _table_npz, _load_table, folders=False),
    _target("prepare", _prepared, _prepare, weight=0.2, writes=True),
    _target("checkpoint", _trained, _load_state, weight=0.3),
    _target("weights", _weights, _read_weights, folders=False),
    _target("classifier", _classifiers, _read_classifier, weight=0.2, folders=False),
]
