"""Signals stop a run soon, from any operation, and lose nothing."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import jax
import pytest
from support.helpers import ROOT
from support.small import small_run, write_data

from genjax.train import fit, signals, trainer
from genjax.train.checkpoint import Checkpoints
from genjax.train.metric_log import Metrics
from genjax.train.programs import Programs
from genjax.train.progress import Progress
from genjax.train.signals import Signals
from genjax.train.status import RunStatus


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """Settings and record of an uninterrupted run."""
    run = small_run("nade", data, steps=8)
    return run, fit(run, tmp_path_factory.mktemp("whole"), quiet=True).record


def test_at_most_two_calls_are_in_flight_and_the_bar_shows_those_done(tmp_path, data, monkeypatch):
    dispatched, done, most, bar = [0], [0], [0], []
    step, block, advance = Programs.step, jax.block_until_ready, Progress.advance

    def counted(self, number, length):
        compiled = step(self, number, length)

        def dispatch(*arguments):
            dispatched[0] += 1
            most[0] = max(most[0], dispatched[0] - done[0])
            return compiled(*arguments)

        return dispatch

    def ready(value):
        done[0] += 1
        return block(value)

    def shown(self, step):
        bar.append((step, done[0]))
        advance(self, step)

    monkeypatch.setattr(Programs, "step", counted)
    monkeypatch.setattr(trainer.jax, "block_until_ready", ready)
    monkeypatch.setattr(Progress, "advance", shown)
    rare = dict(log_every=100, eval_every=0, sample_every=0, save_every=0)
    fit(small_run("nade", data, steps=20, **rare), tmp_path, quiet=True)
    assert dispatched == [20]
    assert most == [2]
    assert bar == [(step, step) for step in range(1, 21)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_each_signal_saves_and_prints_so(tmp_path, data, monkeypatch, capfd, number):
    write = Metrics.write

    def write_and_signal(self, step, values, *best):
        write(self, step, values, *best)
        if step == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Metrics, "write", write_and_signal)
    # A process started in the background may ignore SIGINT and SIGHUP.
    inherited, before = signal.getsignal(number), lambda *arguments: None
    signal.signal(number, before)
    try:
        result = fit(small_run("nade", data), tmp_path)
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, inherited)
    assert (result.finished, result.signalled, result.step) == (False, True, 4)
    name = signal.Signals(number).name
    printed = capfd.readouterr().err
    assert printed.count(f"{name}: the state is saved after the current step, then") == 1
    assert f"small_nade  {name}: saving\n" in printed
    assert f"stopped at step 4: {name}; the same command resumes from here" in printed
    assert (tmp_path / "checkpoints" / "latest" / "4").is_dir()


def interrupt(monkeypatch, place, name, times):
    """Sends SIGINT so often at every call of a method."""
    method = getattr(place, name)

    def interrupted(self, *arguments, **options):
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
        return method(self, *arguments, **options)

    monkeypatch.setattr(place, name, interrupted)


@pytest.fixture
def sigint():
    """The handler that Python installs, which a background process may lack."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_quick_signals_are_one_request(tmp_path, data, monkeypatch, capfd, sigint):
    interrupt(monkeypatch, Metrics, "write", 3)
    result = fit(small_run("nade", data), tmp_path)
    assert (result.finished, result.step) == (False, 4)
    assert (tmp_path / "checkpoints" / "latest" / "4").is_dir()
    printed = capfd.readouterr().err
    assert printed.count("SIGINT: the state is saved after the current step, then") == 1
    # Their lines may be printed when the save has begun.
    already, saving = "the run is stopping already", "the state is being saved; the run stops after"
    assert printed.count(f"SIGINT: {already}") + printed.count(f"SIGINT: {saving}") >= 2


def test_a_save_is_not_interrupted(tmp_path, data, monkeypatch, capfd, sigint):
    monkeypatch.setattr(signals, "QUICK", -1.0)
    run = small_run("nade", data, eval_every=0)
    with monkeypatch.context() as patched:
        interrupt(patched, Checkpoints, "save", 3)
        interrupt(patched, Checkpoints, "close", 3)
        result = fit(run, tmp_path)
    assert (result.finished, result.step) == (False, 5)
    assert "SIGINT: the state is being saved; the run stops after that.\n" in capfd.readouterr().err
    assert fit(run, tmp_path, quiet=True).record["sessions"][-1]["from_step"] == 5


def test_a_later_ctrl_c_outside_of_a_save_interrupts(tmp_path, data, monkeypatch, sigint):
    monkeypatch.setattr(signals, "QUICK", -1.0)
    interrupt(monkeypatch, Metrics, "write", 2)
    with pytest.raises(KeyboardInterrupt):
        fit(small_run("nade", data), tmp_path, quiet=True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_is_answered_while_the_main_thread_is_busy(monkeypatch, sigint):
    """Handlers run between two instructions of Python only."""
    write, printed = os.write, []

    def timed(file, text):
        if b"SIGINT" in text:
            printed.append(time.monotonic())
        return write(file, text)

    monkeypatch.setattr(os, "write", timed)
    with Signals():
        later = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        later.start()
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 3_000_000)
        ended = time.monotonic()
        later.join()
    assert len(printed) == 1
    assert printed[0] < ended - 0.1


def test_a_run_whose_terminal_closes_saves(tmp_path, data):
    """Each line that it prints is then an error."""
    terminal, side = os.openpty()
    program = [sys.executable, str(ROOT / "tests" / "programs" / "hung_up.py"), data, tmp_path]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=side, env=environment)
    os.close(side)
    seen = b""
    try:
        while b"step 20/" not in seen:
            seen += os.read(terminal, 1000)
    finally:
        os.close(terminal)
    step, reason = process.communicate(timeout=60)[0].decode().split(" ", 1)
    assert reason.startswith("SIGHUP; the same command resumes")
    assert (tmp_path / "checkpoints" / "latest" / step).is_dir()


@pytest.mark.parametrize(("split", "step"), [("validation", 4), ("test", 8)])
def test_a_signal_stops_an_evaluation_between_batches(
    tmp_path, whole, monkeypatch, capsys, split, step
):
    run, expected = whole
    passing = Progress.passing

    def passing_with_signal(self, what):
        if what == f"evaluating {split}":
            os.kill(os.getpid(), signal.SIGTERM)
        return passing(self, what)

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "passing", passing_with_signal)
        result = fit(run, tmp_path)
    assert (result.finished, result.step) == (False, step)
    assert not (tmp_path / "record.json").exists()
    assert f"stopped at step {step}: SIGTERM" in capsys.readouterr().err
    record = fit(run, tmp_path, quiet=True).record
    assert record["sessions"][-1]["from_step"] == step
    for name in ("obtained", "std_error", "validation", "chosen_step"):
        assert record[name] == expected[name], name
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation_nll" in line] == [4, 8]


def test_a_signal_in_pending_operations_saves_no_checkpoint_again(tmp_path, whole, monkeypatch):
    run, expected = whole
    passing, save, saved = Progress.passing, Checkpoints.save, []

    def passing_with_signal(self, what):
        if what == "evaluating validation":
            os.kill(os.getpid(), signal.SIGTERM)
        return passing(self, what)

    def save_and_count(self, state, *arguments, **options):
        saved.append(int(state.step))
        save(self, state, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "passing", passing_with_signal)
        patched.setattr(Checkpoints, "save", save_and_count)
        for _ in range(2):
            result = fit(run, tmp_path, quiet=True)
            assert (result.finished, result.step) == (False, 4)
            assert saved == [4]
    record = fit(run, tmp_path, quiet=True).record
    assert record["obtained"] == expected["obtained"]


def test_an_ignored_signal_stays_ignored():
    """As under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
        assert signals.caught == ""
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_status_round_trips_through_json():
    status = RunStatus(best=1.5, best_step=3, pending=("evaluate",), diagnostics={"step": 3})
    status = status.warn(3, "words").replace(sessions=({"commit": "abc"},))
    assert RunStatus.from_json(json.loads(json.dumps(status.to_json()))) == status
    assert dataclasses.asdict(status.without_best())["best"] is None
    with pytest.raises(ValueError, match="unknown entry owed: it is from another version"):
        RunStatus.from_json({"owed": {}})
