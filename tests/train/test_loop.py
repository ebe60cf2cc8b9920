"""The training loop: files written, stopping, resuming and rejected settings."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
from PIL import Image
from support.helpers import ROOT, environment, run_program
from support.small import small_run, write_data

import genjax.train
from genjax import families, report
from genjax.cli import evaluate
from genjax.core import Optimizer
from genjax.families import joint
from genjax.train import Figure, finish, fit, progress
from genjax.train.load_run import load_state
from genjax.train.metric_log import Metrics
from genjax.train.programs import Programs
from genjax.train.run_config import resolve, schedule_warnings
from genjax.train.sample_grids import cut, read_grid


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data):
    """A finished NADE run: (run, workdir, result)."""
    workdir = tmp_path_factory.mktemp("finished")
    run = small_run("nade", data, steps=40)
    return run, workdir, fit(run, workdir, quiet=True)


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_files_of_a_finished_run(finished):
    run, workdir, result = finished
    assert result.finished
    record = json.loads((workdir / "record.json").read_text())
    assert record == json.loads(json.dumps(result.record))
    assert record["metric"] == "test NLL"
    assert record["unit"] == "nats"
    assert record["evaluated"] == 80
    assert record["examples"] == {"train": 240, "validation": 80, "test": 80}
    assert record["config"]["model"]["hidden"] == run.model.hidden
    assert record["versions"]["jax"] == jax.__version__
    clock = [line["seconds"] for line in lines(workdir) if "loss" in line]
    assert clock == sorted(clock)
    assert 0 < clock[0] < clock[-1] < 60 * record["minutes"] + 1
    steps = [line["step"] for line in lines(workdir) if "loss" in line]
    # Logged at the end of calls that cross a multiple of 3, and before each evaluation or save.
    assert steps == [s for s in range(1, 41) if s % 3 == 0 or s % 4 == 0]
    evaluated = [line["step"] for line in lines(workdir) if "validation_nll" in line]
    assert evaluated == list(range(4, 41, 4))
    with Image.open(workdir / "samples" / "step_00000040.png") as image:
        assert image.mode == "RGB"
    names = sorted(p.name for p in (workdir / "samples").iterdir())
    grids = [f"step_{s:08d}.png" for s in range(5, 41, 5)]
    assert names == ["film.gif", "real.png", *grids, "strip.png"]
    page, tiles = read_grid(workdir / "samples" / "real.png")
    held_out = genjax.data.load(run.data).splits["validation"]["x"]  # evenly spaced
    shown = cut(page, tiles)[:, :: tiles.scale, :: tiles.scale, :1] // 255
    np.testing.assert_array_equal(shown, held_out[[0, 26, 53, 79]])


def test_the_record_has_the_exact_likelihood_of_the_selected_weights(finished):
    run, workdir, result = finished
    config, variables = genjax.train.load(workdir)
    family = families.get(config.family)
    x = np.load(run.data.data)["test"].astype(np.float32)
    nats = -np.asarray(family.log_prob(config.model, variables, x), np.float64)
    assert result.record["obtained"] == pytest.approx(nats.mean(), rel=1e-6)
    assert result.record["std_error"] == pytest.approx(nats.std(ddof=1) / np.sqrt(80), rel=1e-5)
    # Selected on validation: the step with the lowest NLL.
    validation = {v["step"]: v["validation_nll"] for v in lines(workdir) if "validation_nll" in v}
    assert result.record["chosen_step"] == min(validation, key=validation.get)
    assert result.record["validation"] == min(validation.values())
    # `load` returns the averaged parameters.
    _, state = load_state(workdir)
    assert variables["params"]["W"] is not state.variables["params"]["W"]
    assert float(abs(state.ema["W"] - state.variables["params"]["W"]).max()) > 0
    np.testing.assert_array_equal(variables["params"]["W"], state.ema["W"])


def test_training_improves_the_likelihood(finished):
    _, workdir, result = finished
    first = next(line["loss"] for line in lines(workdir) if "loss" in line)
    assert result.record["obtained"] < first - 0.5


def test_learning_rates_follow_the_schedule_after_a_resume(tmp_path, data):
    fit(small_run("nade", data, steps=20), tmp_path, quiet=True)
    fit(small_run("nade", data, steps=30), tmp_path, quiet=True)
    rates = {line["step"]: line["learning_rate"] for line in lines(tmp_path) if "loss" in line}
    for step, rate in rates.items():
        assert rate == pytest.approx(1e-2 * (1 - step / 40), rel=1e-4)


def test_an_extended_run_keeps_its_initial_schedule(tmp_path, data):
    without_decay_steps = Optimizer(learning_rate=1e-2, schedule="linear")
    short = dataclasses.replace(small_run("nade", data, steps=10), optimizer=without_decay_steps)
    fit(short, tmp_path, quiet=True)
    longer = dataclasses.replace(short, train=dataclasses.replace(short.train, steps=14))
    fit(longer, tmp_path, quiet=True)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["optimizer"]["decay_steps"] == 10
    assert saved["train"]["steps"] == 14


def test_warns_when_a_run_is_longer_than_its_schedule(tmp_path, data, capsys):
    without_decay_steps = Optimizer(learning_rate=1e-2, schedule="linear")
    short = dataclasses.replace(small_run("nade", data, steps=10), optimizer=without_decay_steps)
    fit(short, tmp_path)
    assert "warning" not in capsys.readouterr().err
    longer = dataclasses.replace(short, train=dataclasses.replace(short.train, steps=14))
    record = fit(longer, tmp_path).record
    words = (
        "the learning rate is 0 after step 10 of 14; to extend its schedule, train in a new"
        " --workdir with --decay-steps 14, from the start or with --weights-from this run"
    )
    assert f"warning: {words}\n" in capsys.readouterr().err
    assert record["warnings"] == [{"step": 10, "words": words}]
    rates = {line["step"]: line["learning_rate"] for line in lines(tmp_path) if "loss" in line}
    assert rates[12] == rates[14] == 0


def test_schedule_warnings_count_updates_of_each_network(data):
    """Two critic steps per step, and two batches per update."""
    fixed = Optimizer(schedule="cosine", decay_steps=10)
    halved = dataclasses.replace(fixed, accumulate=2)
    run = dataclasses.replace(
        small_run("gan", data, steps=30),
        optimizer=dict(generator=halved, discriminator=fixed),
    )
    assert run.model.objective.critic_steps == 2
    (g, generator), (d, discriminator) = schedule_warnings(run)
    assert (g, d) == (20, 5)
    assert "--optimizer.generator.decay-steps 15," in generator
    assert "--optimizer.discriminator.decay-steps 60," in discriminator


def test_warns_when_a_constant_rate_does_not_begin_to_fall(data):
    """As of a recipe whose --steps are fewer than its constant updates."""
    held = Optimizer(schedule="constant_linear", constant_steps=30)
    run = dataclasses.replace(
        small_run("gan", data, steps=20), optimizer=dict(generator=held, discriminator=held)
    )
    ((step, words),) = schedule_warnings(resolve(run, "cpu"))  # the critic has 40 updates
    assert step == 0
    assert "the generator's learning rate does not fall in 20 updates" in words
    assert "--optimizer.generator.constant-steps 10" in words


def test_no_schedule_warning_if_accumulate_does_not_divide_steps(data):
    run = small_run("nade", data, steps=11)
    linear = Optimizer(schedule="linear", accumulate=2)
    resolved = resolve(dataclasses.replace(run, optimizer=linear), "cpu")
    assert resolved.optimizer.decay_steps == 5
    assert schedule_warnings(resolved) == []
    shorter = dataclasses.replace(resolved.optimizer, decay_steps=4)
    ((step, words),) = schedule_warnings(dataclasses.replace(resolved, optimizer=shorter))
    assert step == 8
    assert "--decay-steps 5," in words


def test_the_record_warns_of_an_average_younger_than_its_horizon(tmp_path, data, monkeypatch):
    """Of the evaluated weights, which may be of an earlier step than the last."""
    best_state = finish.best_state
    monkeypatch.setattr(finish, "best_state", lambda *args: (best_state(*args)[0], 4))
    record = fit(small_run("nade", data, steps=12, ema=0.9), tmp_path, quiet=True).record
    assert (record["steps"], record["chosen_step"]) == (12, 4)
    (warning,) = record["warnings"]
    assert warning["step"] == 4
    assert "horizon of 10 steps, but the evaluated weights have 4;" in warning["words"]


def test_a_run_on_other_data_omits_the_papers_figure(tmp_path, data):
    figure = Figure(paper=123.25, tag="seen", source="table 9", data_checksum="00000000 00000001")
    run = dataclasses.replace(small_run("nade", data), figure=figure)
    record = fit(run, tmp_path / "other", quiet=True).record
    assert record["paper"] is None
    assert record["paper_source"] == record["paper_tag"] == ""
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    for settings in (record["config"], config):
        assert settings["figure"]["paper"] is None
    page = report.write(tmp_path / "other", tmp_path / "report.html").read_text()
    assert "123.25" not in page
    assert "table 9" not in page
    assert fit(run, tmp_path / "other", quiet=True).record == record
    # On the recipe's data the figure is kept.
    figure = dataclasses.replace(figure, data_checksum=f"00000000 {record['data_checksum']}")
    same = fit(dataclasses.replace(run, figure=figure), tmp_path / "same", quiet=True).record
    assert (same["paper"], same["paper_source"]) == (123.25, "table 9")


def test_rejects_changed_settings_and_names_them(finished, data):
    run, workdir, _ = finished
    before = (workdir / "config.json").read_text()
    for changed, words in (
        (dataclasses.replace(run, seed=1), "seed was 0 and is 1"),
        (
            dataclasses.replace(run, model=dataclasses.replace(run.model, hidden=9)),
            "model.hidden was 8 and is 9",
        ),
        (small_run("nade", data, batch_size=8), "train.batch_size was 16 and is 8"),
        (
            dataclasses.replace(
                run, optimizer=dataclasses.replace(run.optimizer, learning_rate=0.5)
            ),
            "optimizer.learning_rate was 0.01 and is 0.5",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            fit(changed, workdir, quiet=True)
    with pytest.raises(ValueError, match="holds a run already"):
        fit(run, workdir, resume=False, quiet=True)
    assert (workdir / "config.json").read_text() == before


def test_rejects_other_data(tmp_path, data):
    run = small_run("nade", data, steps=3)
    fit(run, tmp_path / "run", quiet=True)
    (tmp_path / "other").mkdir()
    other = write_data(tmp_path / "other", n=100)
    with pytest.raises(ValueError, match=r"not the data that the run in .* was started with"):
        fit(small_run("nade", other, steps=5), tmp_path / "run", quiet=True)


def test_a_non_finite_value_stops_the_run_and_is_named(tmp_path, data):
    """With a learning rate that diverges."""
    run = small_run("nade", data, steps=40, log_every=4, save_every=4)
    wild = Optimizer(optimizer="sgd", learning_rate=1e30)
    run = dataclasses.replace(run, optimizer=wild)
    with pytest.raises(
        FloatingPointError, match=r"\w+ is (nan|inf) at step [1-4] \(checked steps 1 to"
    ):
        fit(run, tmp_path, quiet=True)
    # The diverged state was not saved.
    assert not list((tmp_path / "checkpoints" / "latest").glob("[0-9]*"))
    assert not (tmp_path / "record.json").exists()


def test_a_loss_beyond_any_model_stops_the_run(tmp_path, data):
    """Adam's updates are bounded, so that the loss of a wild rate is finite."""
    run = small_run("nade", data, steps=6, ema=0.0)
    run = dataclasses.replace(run, optimizer=Optimizer(learning_rate=1e9))
    with pytest.raises(FloatingPointError, match=r"loss is \d\S*e\+\d+ at step .*lower the"):
        fit(run, tmp_path, quiet=True)
    assert not (tmp_path / "record.json").exists()


def test_a_run_whose_figure_is_not_finite_has_not_finished(tmp_path):
    """Test has an image that train has not, whose probability is 0."""
    x = np.zeros((8, 3, 3, 1), np.uint8)
    np.savez(tmp_path / "bars.npz", train=x, test=np.concatenate([x, x + 1]))
    run = small_run("joint", str(tmp_path / "bars.npz"), steps=1, batch_size=8)
    run = dataclasses.replace(run, model=joint.Config(shape=(3, 3, 1), alpha=0.0))
    with pytest.raises(FloatingPointError, match=r"the figure \(test NLL\) is inf .*alpha"):
        fit(run, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "record.json").exists()


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_a_workdir_is_not_a_file(tmp_path, data, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is a file, and a run is a folder; give another"):
        fit(small_run("nade", data), tmp_path / name, quiet=True)


def test_early_stopping(tmp_path, data):
    """With a learning rate of nearly 0, no later evaluation improves on the first."""
    run = small_run("nade", data, steps=400, eval_every=2, patience=3, ema=0.0)
    frozen = Optimizer(optimizer="sgd", learning_rate=1e-30)
    result = fit(dataclasses.replace(run, optimizer=frozen), tmp_path, quiet=True)
    assert result.finished
    assert result.step == 8  # best at 2, then 4, 6 and 8 are no better
    assert result.record["ended"] == "no better validation for 3 evaluations"
    assert result.record["chosen_step"] == 2
    assert (tmp_path / "samples" / "step_00000008.png").exists()  # at the last step
    again = fit(dataclasses.replace(run, optimizer=frozen), tmp_path, quiet=True)
    assert again.record == result.record  # read, not recomputed
    # More patience continues it.
    patient = dataclasses.replace(run, optimizer=frozen)
    patient = dataclasses.replace(patient, train=dataclasses.replace(run.train, patience=5))
    assert fit(patient, tmp_path, quiet=True).step == 12


def test_a_deadline_saves_in_time_and_the_next_call_resumes(tmp_path, data, monkeypatch):
    """With calls of 0.2 s the run stops and saves before the deadline."""
    step = Programs.step

    def slow(self, number, length):
        compiled = step(self, number, length)
        return lambda *arguments: (time.sleep(0.2), compiled(*arguments))[1]

    monkeypatch.setattr(Programs, "step", slow)
    run = small_run("nade", data, steps=1000, save_every=0, eval_every=0, sample_every=0)
    deadline = time.monotonic() + 8
    cut = fit(run, tmp_path, deadline=deadline, quiet=True)
    assert time.monotonic() < deadline
    assert not cut.finished
    assert 5 < cut.step < 45
    assert "time is used up" in cut.reason
    assert load_state_latest(tmp_path) == cut.step
    monkeypatch.undo()
    again = fit(
        small_run("nade", data, steps=1000), tmp_path, deadline=time.monotonic(), quiet=True
    )
    assert (again.finished, again.step) == (False, 0)  # no call starts without time for it
    longer = fit(run, tmp_path, deadline=time.monotonic() + 3, quiet=True)
    assert longer.step > cut.step


def test_sigterm_in_this_process_takes_effect_at_the_end_of_a_call(tmp_path, data, monkeypatch):
    run = small_run("nade", data, steps=40)
    write = Metrics.write

    def write_and_signal(self, step, values, *best):
        write(self, step, values, *best)
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Metrics, "write", write_and_signal)
    before = signal.getsignal(signal.SIGTERM)
    result = fit(run, tmp_path, quiet=True)
    assert signal.getsignal(signal.SIGTERM) is before
    assert (result.finished, result.step) == (False, 7)
    assert int(load_state_latest(tmp_path)) == 7


def load_state_latest(workdir):
    return max(int(p.name) for p in (workdir / "checkpoints" / "latest").iterdir())


def test_sigterm_from_outside_saves_and_exits_cleanly(tmp_path, data):
    program = ROOT / "tests" / "programs" / "runs.py"
    process = subprocess.Popen(
        [sys.executable, str(program), data, str(tmp_path), "1000000", "nade"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Timer(120, process.kill)
    killer.start()
    metrics = tmp_path / "nade" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and len(metrics.read_text()) > 500):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, error = process.communicate()
    killer.cancel()
    assert process.returncode == 0, error
    assert "Traceback" not in error
    name, step, reason = output.split(maxsplit=2)
    assert (name, reason) == ("nade", "SIGTERM; the same command resumes from here\n")
    # The last step was saved and logged.
    assert load_state_latest(tmp_path / "nade") == int(step) == lines(tmp_path / "nade")[-1]["step"]


def test_a_finished_run_without_latest_checkpoints_returns_its_record(finished, tmp_path):
    """An archive omits `latest`; training must not start again and replace the best."""
    run, workdir, result = finished
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy, ignore=lambda d, names: names if d.endswith("latest") else [])
    assert fit(run, copy, quiet=True).record == result.record
    (copy / "record.json").unlink()  # now it resumes from the best, with the same result
    again = fit(run, copy, quiet=True).record
    assert again["sessions"][-1]["from_step"] == again["chosen_step"]
    for name in ("obtained", "chosen_step", "steps"):
        assert again[name] == result.record[name]


def test_a_missing_best_checkpoint_is_replaced_by_a_later_one(tmp_path, data):
    """It may be missing after a kill between two saves, or after damage."""
    fit(small_run("nade", data, steps=20), tmp_path, quiet=True)
    for folder in (tmp_path / "checkpoints" / "best").glob("[0-9]*"):
        shutil.rmtree(folder)
    record = fit(small_run("nade", data, steps=24), tmp_path, quiet=True).record
    assert record["chosen_step"] == 24
    validation = {v["step"]: v["validation_nll"] for v in lines(tmp_path) if "validation_nll" in v}
    assert record["validation"] == validation[24]


def test_a_workdir_without_checkpoints_accepts_other_settings(tmp_path, data):
    run = small_run("nade", data, steps=8)
    wild = dataclasses.replace(run, optimizer=Optimizer(optimizer="sgd", learning_rate=1e30))
    with pytest.raises(FloatingPointError, match="nothing was saved from before it"):
        fit(wild, tmp_path, quiet=True)
    assert fit(run, tmp_path, quiet=True).finished


def test_rejects_fewer_steps_than_are_done(tmp_path, data):
    fit(small_run("nade", data, steps=8), tmp_path, quiet=True)
    with pytest.raises(ValueError, match="8 steps are done already"):
        fit(small_run("nade", data, steps=4), tmp_path, quiet=True)


def test_rejects_two_processes_in_one_workdir(tmp_path, data):
    from genjax.train.workdir import lock_workdir

    run = small_run("nade", data, steps=8)
    fit(run, tmp_path, quiet=True)
    before = {p.name: p.read_bytes() for p in tmp_path.glob("*.json")}
    longer = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=16))
    with lock_workdir(tmp_path), pytest.raises(ValueError, match="another process trains in"):
        fit(longer, tmp_path, quiet=True)
    shorter = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=4))
    with pytest.raises(ValueError, match="8 steps are done already"):
        fit(shorter, tmp_path, quiet=True)
    # An error changes nothing.
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*.json")} == before
    assert fit(longer, tmp_path, quiet=True).record["steps"] == 16


def test_a_record_of_other_settings_is_not_returned(tmp_path, data):
    """The record is of a shorter run than config.json, as after a kill between the two writes."""
    run = small_run("nade", data, steps=8)
    fit(run, tmp_path, quiet=True)
    longer = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=16))
    config = json.loads((tmp_path / "config.json").read_text())
    config["train"]["steps"] = 16
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert fit(longer, tmp_path, quiet=True).record["steps"] == 16


def test_a_finished_run_rejects_other_data(tmp_path, data):
    run = small_run("nade", data, steps=8)
    record = fit(run, tmp_path / "run", quiet=True).record
    with np.load(data) as arrays:
        found = dict(arrays)
    np.savez(tmp_path / "same.npz", **found)
    np.savez(tmp_path / "other.npz", **{**found, "test": 1 - found["test"]})

    def of(name):
        there = dataclasses.replace(run.data, data=str(tmp_path / name))
        return fit(dataclasses.replace(run, data=there), tmp_path / "run", quiet=True).record

    assert of("same.npz") == record
    with pytest.raises(ValueError, match=r"is not the data that the run in .* was started with"):
        of("other.npz")


def test_resuming_accepts_a_changed_figure(tmp_path, data):
    run = small_run("nade", data, steps=8)
    fit(run, tmp_path, quiet=True)
    cited = dataclasses.replace(run, figure=Figure(paper=1.0, source="table 1"))
    assert fit(cited, tmp_path, quiet=True).finished


def test_without_eval_every_the_last_step_is_evaluated(tmp_path, data):
    record = fit(small_run("nade", data, eval_every=0), tmp_path, quiet=True).record
    assert record["chosen_step"] == 10
    assert record["validation"] is not None


def test_a_long_evaluation_prints_its_progress(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    fit(small_run("nade", data), tmp_path)
    printed = capsys.readouterr().err
    for split in ("validation", "test"):
        assert f"  evaluating {split} 64/80 examples  0:0" in printed
    assert evaluate.main([str(tmp_path), "--batch-size", "50"]) == 0
    assert "  test 50/80 examples  0:0" in capsys.readouterr().err


def test_the_discriminators_schedule_counts_its_own_updates(tmp_path, data):
    """With two critic steps per step, half of its updates are done after half of the run."""
    run = small_run("gan", data, steps=10, log_every=1)
    linear = Optimizer(learning_rate=1e-2, schedule="linear")
    two = dict(generator=linear, discriminator=linear)
    fit(dataclasses.replace(run, optimizer=two), tmp_path, quiet=True)
    for line in lines(tmp_path):
        for network in ("generator", "discriminator"):
            expected = 1e-2 * (1 - line["step"] / 10)
            assert line[f"{network}_learning_rate"] == pytest.approx(expected, abs=1e-8)
            # Each network is updated until the end.
            assert line[f"{network}_update_norm"] > 0


def test_a_gan_run_has_samples_and_no_likelihood(tmp_path, data):
    result = fit(small_run("gan", data), tmp_path, quiet=True)
    assert result.finished
    assert result.record["metric"] == "none"
    assert result.record["obtained"] is None
    logged = next(line for line in lines(tmp_path) if "generator_loss" in line)
    assert {"discriminator_loss", "discriminator_learning_rate"} <= set(logged)


def test_accumulation_counts_updates(tmp_path, data):
    run = small_run("nade", data, steps=8, ema=0.0)
    run = dataclasses.replace(run, optimizer=Optimizer(learning_rate=1e-2, accumulate=4))
    fit(run, tmp_path, quiet=True)
    norms = {line["step"]: line["update_norm"] for line in lines(tmp_path) if "loss" in line}
    assert norms[3] == 0  # mean over steps 1 to 3: no update before the fourth batch
    assert norms[4] > 0


def test_profile_is_written(tmp_path, data):
    fit(small_run("nade", data, steps=16), tmp_path, profile=True, quiet=True)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_validation_does_not_depend_on_the_number_of_devices(tmp_path, data):
    """The same command on one device and on eight."""
    arguments = (data, str(tmp_path / "8"), "8", "nade", "vae")
    run_program("runs.py", *arguments, devices=8)
    for name in ("nade", "vae"):
        alone = fit(small_run(name, data, steps=8), tmp_path / "1" / name, quiet=True)
        assert alone.record["device"].endswith("x1")
        curves = []
        for devices in ("1", "8"):
            found = lines(tmp_path / devices / name)
            curves.append([v["validation_nll"] for v in found if "validation_nll" in v])
        np.testing.assert_allclose(curves[0], curves[1], rtol=2e-3)
        record = json.loads((tmp_path / "8" / name / "record.json").read_text())
        assert record["device"].endswith("x8")
