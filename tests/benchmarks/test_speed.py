"""Benchmarks of rows: every kind of call is timed, counted and written."""

import argparse
import json
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import pytest
from support.helpers import traits_of

from experiments import table
from experiments.benchmarks import peers, reporting, speed
from experiments.benchmarks.peers import time_peer
from genjax import families
from genjax.core import step_batch_spec
from genjax.core.protocols import Sampler
from genjax.train.run_config import resolve

FAST = ["--repeats", "2", "--batch-size", "2", "--samples", "2", "--peak-side", "64"]


def run(tmp_path, *words):
    out = tmp_path / "speed.json"
    assert speed.main([*words, *FAST, "--out", str(out)]) == 0
    return json.loads(out.read_text())


def test_density_rows_time_step_sample_and_evaluation(tmp_path, capsys):
    found = run(tmp_path, "--rows", "fvsbn_binarized_mnist:cpu")
    (row,) = found["rows"]
    assert (row["row"], row["family"], row["batch_size"]) == (
        "fvsbn_binarized_mnist:cpu",
        "fvsbn",
        2,
    )
    for name in ("step", "sample", "evaluate"):
        part = row[name]
        assert part["seconds"] > 0
        assert part["compile_seconds"] > part["seconds"]
        assert part["examples_per_second"] == pytest.approx(2 / part["seconds"])
        # Exact densities use full float32; drawing their samples needs no product.
        assert part["peak"] == ("float32" if name == "sample" else "float32_exact")
        exact, rest = part["exact_operations"], part["operations"] - part["exact_operations"]
        ideal = exact / found["peaks"]["float32_exact"] + rest / found["peaks"]["float32"]
        assert part["share_of_peak"] == pytest.approx(ideal / part["seconds"])
        share = part["bytes"] / part["seconds"] / found["peaks"]["memory"]
        assert part["share_of_memory"] == pytest.approx(share)
    # Inputs are two images and all parameters; the product reads both again, masked, and writes.
    images, weights = 2 * 784, 784**2
    assert row["evaluate"]["bytes"] >= 4 * (images + weights + 2 + images + weights + images)
    assert row["evaluate"]["bytes"] < 4 * (3 * weights)
    # One product of two images with the weights between all pixels.
    assert row["evaluate"]["operations"] == 2 * 2 * 784**2
    # At least the state with its EMA, not donated, in and out.
    assert row["step"]["memory_bytes"] > 4 * 4 * 784**2
    output = capsys.readouterr()
    assert output.out.endswith("}\n")
    assert json.loads(output.out) == found  # no table in a pipe
    assert "fvsbn_binarized_mnist:cpu" in output.err.split("milliseconds")[1]
    # Versions, options and the row's settings are recorded.
    assert found["versions"]["jax"] == jax.__version__
    options = {"rows": ["fvsbn_binarized_mnist:cpu"], "repeats": 2, "samples": 2, "dtype": None}
    assert options.items() <= found["options"].items()
    run_of = table.rows()["fvsbn_binarized_mnist:cpu"]
    assert row["train"]["ema"] == run_of.train.ema
    assert row["optimizer"]["learning_rate"] == run_of.optimizer.learning_rate
    line = speed.table_row(row)
    milliseconds, spread = map(float, line["step"].split(" ±"))
    assert milliseconds == pytest.approx(1e3 * row["step"]["seconds"], abs=0.01)
    assert spread == pytest.approx(1e3 * row["step"]["spread"], abs=0.01)
    assert line["memory MB"] == f"{row['step']['memory_bytes'] / 1e6:,.0f}"
    nothing = {"row": "ring_modes", "batch_size": 2}  # every call was skipped
    assert speed.table_row(nothing)["memory MB"] == "0"


def test_implicit_family_has_no_evaluation(tmp_path):
    (row,) = run(tmp_path, "--rows", "ring_modes:ring_wgan_gp", "--skip", "sample")["rows"]
    assert "step" in row
    assert "evaluate" not in row
    assert "sample" not in row
    assert row["config"]["objective"]["critic_steps"] == 5


def test_default_rows_are_one_per_family_and_a_convolutional_vae():
    rows = table.rows()
    assert set(reporting.DEFAULT) <= set(rows)
    found = [rows[name].family for name in reporting.DEFAULT]
    assert rows["iaf_mnist:diagonal"].model.encoder == "resnet"
    found.remove("vae")  # the dense one
    assert len(set(found)) == len(found)
    trained = [n for n in families.FAMILIES if traits_of(n).fit == "gradient"]
    assert sorted(found) == sorted(trained)


def test_family_option_selects_all_its_rows():
    of_made = [name for name, run in table.rows().items() if run.family == "made"]
    assert len(of_made) > 1
    assert reporting.selected_rows([], ["made"]) == of_made
    both = reporting.selected_rows(["rnade_red_wine:cpu", of_made[1]], ["made", "made"])
    assert both == ["rnade_red_wine:cpu", of_made[1], of_made[0], *of_made[2:]]
    assert reporting.selected_rows([], []) == list(reporting.DEFAULT)


def has_density(name):
    run = table.rows()[name]
    return families.get(run.family).traits(run.model).density != "none"


SAMPLERS = {n for n in families.FAMILIES if isinstance(families.get(n), Sampler)}


def test_count_covers_every_default_row(tmp_path, capsys):
    out = tmp_path / "count.json"
    few = ["--count", "--samples", "2", "--batch-size", "2", "--out", str(out)]
    # Steps that take seconds to trace.
    slow = ["gan_cls_scenes:gan_int_cls", "progressive_fashion:grown", "jigsaw_pacs:gan_1000_cpu"]
    left_out = [
        "pixelcnn_pp_cifar10:paper",  # each of its calls takes a quarter of a minute to trace
        "cyclegan_maps:cyclegan_64_cpu",  # counted by test_full_size.py
    ]
    others = [n for n in reporting.DEFAULT if n not in (*slow, *left_out)]
    found = []
    for sampled in (False, True):  # what is not a density is counted by its samples
        names = [name for name in others if has_density(name) != sampled]
        assert speed.main(["--rows", *names, *few, *(["--skip", "sample"] * (not sampled))]) == 0
        found += json.loads(out.read_text())["rows"]
        assert [row["row"] for row in found[-len(names) :]] == names
    for row in found:
        config, family = table.rows()[row["row"]].model, families.get(row["family"])
        shapes = jax.eval_shape(lambda key: family.init(config, key), jax.random.key(0))  # noqa: B023
        weights = sum(a.size for a in jax.tree.leaves(shapes["params"]))
        assert row["step"]["operations"] > 0
        # A step reads and writes every parameter and its optimizer state.
        assert row["step"]["bytes"] > 2 * 4 * 2 * weights, row["row"]
        assert ("evaluate" in row) == has_density(row["row"])
        other = next((row[kind] for kind in ("evaluate", "sample") if kind in row), row["step"])
        assert other["operations"] > 0, row["row"]
    assert "infogan_mnist:codes" in capsys.readouterr().out
    # A transposed convolution is one convolution on a GPU and four on a CPU.
    one = ["--rows", "infogan_mnist:codes", *few, "--skip", "sample"]
    each = {}
    for platform in ("cuda", "cpu"):
        assert speed.main([*one, "--platform", platform]) == 0
        each[platform] = json.loads(out.read_text())["rows"][0]["step"]
    assert each["cuda"] == next(r["step"] for r in found if r["row"] == "infogan_mnist:codes")
    assert each["cpu"]["bytes"] != each["cuda"]["bytes"]
    assert speed.main(["--platform", "cpu"]) == 2
    assert "--platform needs --count" in capsys.readouterr().err
    assert speed.main(["--rows", *slow, *few, "--skip", "step"]) == 0
    found = {row["row"]: row for row in json.loads(out.read_text())["rows"]}
    sampled = [name for name in slow if table.rows()[name].family in SAMPLERS]
    assert [name for name in slow if "sample" in found[name]] == sampled
    assert all(found[name]["sample"]["operations"] > 1e6 for name in sampled)


def test_bound_samples_are_all_decoded(tmp_path):
    out, operations = tmp_path / "count.json", []
    words = ["--rows", "iwae_mnist:k1", "--count", "--batch-size", "2", "--skip", "step", "sample"]
    for samples in ("2", "5", "8"):
        assert speed.main([*words, "--bound-samples", samples, "--out", str(out)]) == 0
        operations.append(json.loads(out.read_text())["rows"][0]["evaluate"]["operations"])
    # x is encoded once; each sample is decoded: 50-200-200-784, two images.
    decoder = 2 * 2 * (50 * 200 + 200 * 200 + 200 * 784)
    assert operations[1] - operations[0] == operations[2] - operations[1] == 3 * decoder


@pytest.mark.parametrize(
    "name", ["pixelcnn_cifar10:masked", "rnade_red_wine:cpu", "dcgan_celeba64:kid"]
)
def test_random_batches_match_the_batch_spec(name):
    config = table.rows()[name].model
    family = families.get(table.rows()[name].family)
    batch = speed.random_batch(family, config, 3, jax.random.key(0))
    assert {k: v.shape for k, v in batch.items()} == {
        k: v.shape for k, v in step_batch_spec(family, config, 3).items()
    }
    low, high = float(batch["x"].min()), float(batch["x"].max())
    ranges = {"pixelcnn_cifar10:masked": (0, 255), "dcgan_celeba64:kid": (-1, 1)}
    if name in ranges:
        assert ranges[name][0] <= low < sum(ranges[name]) / 2 < high <= ranges[name][1]
    else:
        assert low < 0 < high


def test_failed_row_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    real = speed.measure

    def measure(run, *more):
        if run.family == "made":
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nwhile allocating")
        return real(run, *more)

    monkeypatch.setattr(speed, "measure", measure)
    out = tmp_path / "results" / "speed.json"  # the folder is created before anything is timed
    rows = ["made_binarized_mnist:1x8000_1mask_cpu", "fvsbn_binarized_mnist:cpu"]
    few = ["--skip", "step", "evaluate", "--out", str(out)]
    assert speed.main(["--rows", *rows, *FAST, *few]) == 1
    broken, fine = json.loads(out.read_text())["rows"]
    assert broken["error"] == "RuntimeError: RESOURCE_EXHAUSTED: Out of memory"
    assert fine["sample"]["repeats"] == 2
    output = capsys.readouterr()
    assert "made_binarized_mnist:1x8000_1mask_cpu: RuntimeError" in output.err
    assert "fvsbn_binarized_mnist:cpu" in output.err.split("milliseconds")[1]


def test_long_first_call_is_the_measurement(monkeypatch):
    ticks = iter([0, 1, 1, 2, 2, 12, 12, 13])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: float(next(ticks)))
    assert speed.timed(lambda: 0, 5, 10.0) == {"seconds": 5.5, "spread": 2.25, "repeats": 2}
    ticks = iter([0, 11])
    assert speed.timed(lambda: 0, 5, 10.0) == {"seconds": 11, "spread": 0, "repeats": 1}


def test_rejects_bad_options(tmp_path, capsys):
    assert speed.main(["--out", str(tmp_path)]) == 2
    assert "is a folder; name a file in it" in capsys.readouterr().err
    assert speed.main(["--rows", "nade"]) == 2
    assert "`rows` must be one of" in capsys.readouterr().err
    assert speed.main(["--family", "nades"]) == 2
    assert "`family` must be one of" in capsys.readouterr().err
    assert speed.main(["--repeats", "0"]) == 2


ROW = {
    "row": "fvsbn_binarized_mnist:cpu",
    "family": "fvsbn",
    "config": {},
    "batch_size": 2,
    "step": {"seconds": 1.0, "peak": "float32"},
    "sample": {"seconds": 2.0, "peak": "float32"},
}


def compare_with(monkeypatch, done, row=ROW, backend="cpu"):
    """Result of `speed.compare` for a peer that ended so, and the peer's command."""
    words = []

    def run(command, **_):
        words.extend(command)
        if isinstance(done, Exception):
            raise done
        code, out, err = done
        return types.SimpleNamespace(returncode=code, stdout=out, stderr=err)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    options = types.SimpleNamespace(
        repeats=2, seconds=1.0, samples=2, skip=[], peer_seconds=5.0, side=None
    )
    options.peer_compile = None
    return speed.compare(row, options), words


@pytest.mark.parametrize(("backend", "device"), [("cpu", "cpu"), ("gpu", "cuda")])
def test_peer_runs_on_the_same_kind_of_device(monkeypatch, backend, device):
    peer = {"step": {"seconds": 3.0, "way": "eager"}}
    found, command = compare_with(monkeypatch, (0, json.dumps(peer), ""), backend=backend)
    assert command[command.index("--device") + 1] == device
    assert found["ratio"] == {"step": 3.0}


def test_no_ratio_between_different_devices(monkeypatch, capsys):
    with pytest.raises(
        ValueError, match="PyTorch sees no GPU here: install PyTorch for CUDA"
    ) as error:
        time_peer.on_cuda("cuda", available=False)
    assert [time_peer.on_cuda(words, available=True) for words in time_peer.DEVICES] == [1, 0, 1]
    message = f"a warning\nerror: {error.value}\n"
    found, _ = compare_with(monkeypatch, (2, "", message), backend="gpu")
    assert found == {"peer": {"error": str(error.value)}, "ratio": {}, "notes": {}}
    assert (
        "fvsbn_binarized_mnist:cpu: the peer is incomplete: PyTorch sees no GPU"
        in capsys.readouterr().err
    )
    found, command = compare_with(monkeypatch, (0, "{}", ""), backend="tpu")
    assert (command, found["ratio"]) == ([], {})
    assert "JAX runs on a tpu here" in found["peer"]["error"]


def test_stopped_peer_keeps_its_partial_figures(monkeypatch, capsys):
    first = {"step": {"seconds": 3.0, "way": "eager", "untried": ["compiled"]}}
    lines = json.dumps(first) + "\n" + json.dumps({**first, "sample": 1})[:-5]
    late = subprocess.TimeoutExpired("python", 5.0, output=lines.encode())
    found, _ = compare_with(monkeypatch, late)
    why = "it was stopped after 5 seconds; increase --peer-seconds."
    kept = {"ratio": {"step": 3.0}, "notes": {"step": ["stopped before compiled"]}}
    assert found == {"peer": {**first, "error": why}, **kept}
    assert why in capsys.readouterr().err
    nothing, _ = compare_with(monkeypatch, subprocess.TimeoutExpired("python", 5.0))
    assert nothing == {"peer": {"error": why}, "ratio": {}, "notes": {}}
    killed, _ = compare_with(monkeypatch, (-9, lines, ""))
    assert killed == {"peer": {**first, "error": "it ended with -9."}, **kept}


def test_each_precision_has_its_peak():
    """MADE in bfloat16 multiplies its outputs in full float32: most of its operations, not all."""
    part = {"operations": 10, "exact_operations": 6, "dtype": "bfloat16"}
    assert speed.seconds_at_peak(part, {"float32_exact": 2.0, "bfloat16": 4.0}) == 3.0 + 1.0
    a = jax.ShapeDtypeStruct((3, 3), jnp.float32)

    def both(a):
        return jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST) @ (a @ a)

    found = speed.count_call(both, (a,), "bfloat16")
    assert (found["operations"], found["exact_operations"]) == (3 * 54, 54)
    assert found["peak"] == "bfloat16"


def test_peer_writes_after_every_attempt(monkeypatch, capsys):
    """Without the network, since PyTorch may not be installed."""
    cuda = types.SimpleNamespace(is_available=lambda: True, get_device_name=lambda: "chip")
    cudnn = types.SimpleNamespace(allow_tf32=False, benchmark=False)
    torch = types.SimpleNamespace(
        __version__="2",
        cuda=cuda,
        backends=types.SimpleNamespace(cudnn=cudnn),
        set_float32_matmul_precision=lambda name: None,
        device=lambda name: name,
    )
    peer = types.SimpleNamespace(build=lambda config: None, sample=lambda *_: None)
    seconds = iter([3.0, 1.0, 2.0, 4.0, 5.0, 6.0])
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(time_peer.peers, "get", lambda family: peer)
    monkeypatch.setattr(time_peer, "random_batch", lambda *_: {})
    monkeypatch.setattr(time_peer, "attempt", lambda *_, **__: {"seconds": next(seconds)})
    assert time_peer.main(["--row", "fvsbn_binarized_mnist:cpu", "--batch-size", "2"]) == 0
    head, *lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # The device comes first, even if nothing is timed.
    assert head == {"torch": "2", "dtype": "float32", "batch_size": 2, "device": "chip"}
    # Step and samples, eager, then compiled, then with CUDA graphs.
    assert [line["step"]["seconds"] for line in lines] == [3.0, 3.0, 2.0, 2.0, 2.0, 2.0]
    assert [line["step"]["untried"] for line in lines[::2]] == [
        ["compiled", "compiled graphs"],
        ["compiled graphs"],
        [],
    ]
    assert lines[-1]["sample"]["tried"].keys() == set(time_peer.WAYS)
    assert "evaluate" not in lines[-1]


def test_failed_compilation_is_noted(monkeypatch, capsys):
    tried = {"eager": {"seconds": 4.0}, "compiled": {"error": "InductorError: no"}}
    step = time_peer.best(tried, 2)
    assert (step["way"], step["compiled"]) == ("eager (compiled failed)", False)
    tried["compiled graphs"] = {"seconds": 8.0}
    assert time_peer.best(tried, 2)["way"] == "eager"
    del tried["compiled graphs"]  # may be still to come
    assert time_peer.best(tried, 2, ["compiled graphs"])["way"] == "eager"
    assert time_peer.best({"eager": {"seconds": 4.0}}, 2)["way"] == "eager"
    found, _ = compare_with(monkeypatch, (0, json.dumps({"step": step}), ""))
    assert found["notes"] == {"step": ["compiled failed"]}
    assert (
        capsys.readouterr().err
        == "fvsbn_binarized_mnist:cpu: the peer's step, compiled: InductorError: no\n"
    )
    line = speed.ratio_row(ROW | found)
    assert (line["step"], line["mode of step"]) == ("4.00", "eager (compiled failed)")
    assert line["but"] == "step: compiled failed"


def test_other_sampling_algorithm_is_noted(monkeypatch):
    assert set(peers.WHOLE_NETWORK_PER_VALUE) < set(peers.FAMILIES)
    part = {"seconds": 6.0, "way": "eager"}
    done = (0, json.dumps({"step": part, "sample": part}), "")
    found, _ = compare_with(monkeypatch, done, ROW | {"family": "made"})
    assert found["notes"] == {"sample": ["other algorithm"]}
    assert speed.ratio_row(ROW | found)["but"] == "sample: other algorithm"
    found, _ = compare_with(monkeypatch, done)
    assert found["notes"] == {}


def test_translators_have_a_step_and_no_samples():
    run = resolve(table.rows()["cyclegan_glyphs:cyclegan"], "cpu")
    options = argparse.Namespace(samples=4, bound_samples=1, evaluate_batch_size=None, skip=[])
    assert set(speed.calls_of_shapes(run, options, 2)) == {"step"}
    gan = resolve(table.rows()["gan_mnist:cpu"], "cpu")
    assert set(speed.calls_of_shapes(gan, options, 2)) == {"step", "sample"}
