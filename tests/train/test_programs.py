"""Steps of growing networks compile ahead: once per stage, to the same bits, and end with a run."""

import itertools
import os
import signal
import threading
import time

import chex
import jax
import pytest
from support import growing_linear
from support.feeding import make_run, write_folder
from support.growing_linear import Config, growing_run
from support.small import SQUARES, write_data

from genjax import families
from genjax.core import Stage
from genjax.data import load
from genjax.train import fit, make_mesh, programs, trainer
from genjax.train.checkpoint import leaves
from genjax.train.compile import CompiledStep
from genjax.train.input_pipeline import InputPipeline
from genjax.train.layouts import Layouts
from genjax.train.load_run import load_state
from genjax.train.programs import Programs, call_length, call_lengths


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, n=160)
    return str(folder / SQUARES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data that can be streamed."""
    return write_folder(tmp_path_factory.mktemp("folder"))


@pytest.fixture(autouse=True)
def family(monkeypatch):
    monkeypatch.setitem(families.FAMILIES, "growing_linear", "support.growing_linear")


@pytest.fixture
def traced(monkeypatch):
    """Stages of the traces of the steps, in order."""
    found, make_step = [], programs.make_step

    def counted(family, config, optimizer):
        step = make_step(family, config, optimizer)

        def traced(state, batch):
            found.append(growing_linear.stage_of(state.variables["params"]))
            return step(state, batch)

        return traced

    monkeypatch.setattr(programs, "make_step", counted)
    return found


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("compile")]


@pytest.mark.parametrize("per_call", [1, 3, 5, 100])
def test_lengths_are_those_of_all_calls(per_call):
    for reset, first, steps, fade in itertools.product((True, False), (0, 7), (1, 12), (0, 4, 12)):
        if fade > steps:
            continue
        sizes = dict(first=first, steps=steps, fade=fade, batch_size=1)
        stage = Stage(config=None, reset=reset, **sizes)
        for start in range(first, first + steps):
            step, found = start, set()
            while step < stage.end:
                length = call_length(stage, step, per_call)
                found.add(length)
                step += length
            assert call_lengths(stage, start, per_call) == tuple(sorted(found, reverse=True))


def latest(folder):
    return leaves(load_state(folder)[1])


@pytest.fixture(scope="module")
def peer(tmp_path_factory, data):
    """Final state of a run whose steps are jitted, as those of networks that do not grow."""
    folder = tmp_path_factory.mktemp("peer") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(families.FAMILIES, "growing_linear", "support.growing_linear")
        patch.setattr(CompiledStep, "compile", lambda self, *shapes: self)
        patch.setattr(trainer, "check_memory", lambda *_: None)
        fit(growing_run(data, compile_stages="none"), folder, quiet=True)
        return latest(folder)


@pytest.mark.parametrize("when", ["all", "next", "none"])
def test_compiled_at_any_time_a_stage_is_traced_once_and_has_the_same_bits(
    tmp_path, data, peer, traced, when
):
    assert fit(growing_run(data, compile_stages=when), tmp_path / "run", quiet=True).finished
    assert sorted(traced) == [0, 1, 2]
    chex.assert_trees_all_equal(latest(tmp_path / "run"), peer)
    assert not threads()


def test_joined_steps_have_a_program_per_length(tmp_path, data, traced):
    """Fades of 4 steps and stages of 4, 8 and 12 are not multiples of 3."""
    run = growing_run(data, steps_per_call=3)
    assert fit(run, tmp_path / "run", quiet=True).finished
    assert sorted(traced) == [0, 0, 1, 1, 1, 2, 2, 2]  # 3 + 1; 3 + 1 and 2 + 2; ...


@pytest.mark.parametrize("stream", ["yes", "no"])
@pytest.mark.parametrize(("critics", "length"), [(0, 1), (0, 3), (2, 1), (2, 3)])
def test_shapes_are_those_of_the_inputs(folder, stream, critics, length):
    run = make_run(folder, critics=critics, per_call=length, stream=stream, workers=0)
    stage = Layouts(run).stages[0]
    pipeline = InputPipeline(
        run, load(run.data), {"x", "label"}, make_mesh(jax.devices()[:1]), stage
    )
    taken = jax.tree.map(lambda a: (a.shape, a.dtype), pipeline.take(0, length))
    pipeline.close()
    assert taken == jax.tree.map(lambda a: (a.shape, a.dtype), pipeline.shapes(stage, length))


def order_of(monkeypatch, data, folder, when, **model):
    """Returns what a run compiles, and the calls that it makes, in order."""
    events, compile, step = [], Programs.compile, Programs.step
    main = threading.current_thread()

    def compiled(self, number, length):
        found = compile(self, number, length)
        place = "main" if threading.current_thread() is main else "thread"
        events.append(f"{place} compiles {number}")
        return found

    def called(self, number, length):
        program = step(self, number, length)
        if number == 1:  # what it began in the background is done before the next stage
            wait_for(lambda: when != "next" or "thread compiles 2" in events)
        events.append(f"step of {number}")
        return program

    monkeypatch.setattr(Programs, "compile", compiled)
    monkeypatch.setattr(Programs, "step", called)
    fit(growing_run(data, Config(**model), compile_stages=when), folder, quiet=True)
    return [event for event, _ in itertools.groupby(events)]


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_next_stage_compiles_while_the_last_one_trains(tmp_path, data, monkeypatch):
    events = order_of(monkeypatch, data, tmp_path / "run", "next")
    assert events[0] == "thread compiles 0"
    assert events.index("step of 1") > events.index("thread compiles 1")
    assert events[events.index("thread compiles 2") + 1] == "step of 1"


def test_without_compiling_ahead_a_stage_compiles_when_it_begins(tmp_path, data, monkeypatch):
    events = order_of(monkeypatch, data, tmp_path / "run", "none")
    assert events == [f"{what} {k}" for k in range(3) for what in ("main compiles", "step of")]


def test_all_stages_compile_before_the_first_step(tmp_path, data, monkeypatch):
    events = order_of(monkeypatch, data, tmp_path / "run", "all")
    assert sorted(events[:3]) == [f"thread compiles {k}" for k in range(3)]
    assert events[3:] == [f"step of {k}" for k in range(3)]


def test_a_failure_in_the_background_is_raised_where_the_stage_begins(
    tmp_path, data, peer, monkeypatch
):
    """The state before it is saved, and the run resumes there to the same bits."""
    compile = Programs.compile

    def failing(self, number, length):
        if number == 1:
            raise RuntimeError("stage 1 does not compile")
        return compile(self, number, length)

    monkeypatch.setattr(Programs, "compile", failing)
    run = growing_run(data, compile_stages="next")
    with pytest.raises(RuntimeError, match="stage 1 does not compile"):
        fit(run, tmp_path / "run", quiet=True)
    assert not threads()
    assert [path.name for path in (tmp_path / "run/checkpoints/latest").iterdir()] == ["4"]
    monkeypatch.undo()
    monkeypatch.setitem(families.FAMILIES, "growing_linear", "support.growing_linear")
    fit(run, tmp_path / "run", quiet=True)
    chex.assert_trees_all_equal(latest(tmp_path / "run"), peer)


@pytest.mark.parametrize("when", ["all", "next"])
def test_a_signal_while_stages_compile_ends_the_threads(tmp_path, data, monkeypatch, when):
    compile, begun = Programs.compile, []

    def slow(self, number, length):
        begun.append(number)
        if number == 1:  # in the background of stage 0 with "next"
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)
        return compile(self, number, length)

    monkeypatch.setattr(Programs, "compile", slow)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    result = fit(growing_run(data, compile_stages=when), tmp_path / "run", quiet=True)
    assert result.signalled
    assert not result.finished
    assert result.step < 4
    assert begun == [0, 1]  # what had not begun was not compiled
    assert not threads()
