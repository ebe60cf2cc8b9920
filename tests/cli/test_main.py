"""The `genjax` program: its commands, its error format, and what its help does not import."""

import os
import platform
import signal
import subprocess
import sys
import time
import tomllib

import pytest
from support.helpers import ROOT

from genjax import __version__
from genjax.cli import main as program
from genjax.cli import sample
from genjax.cli.options import ArgumentParser, run_command


def test_help_names_every_command_and_imports_none_of_them(capsys):
    code = (
        "import sys; from genjax.cli.main import main; status = main(['--help']);"
        " print(status, [m for m in ('jax', 'numpy', 'tyro', 'flax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    for name in program.COMMANDS:
        assert f"\n  {name} " in done.stdout
        assert (ROOT / "genjax" / "cli" / f"{name}.py").exists()


def test_the_console_script_and_the_module_are_the_same_program():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"genjax": "genjax.cli.main:main"}
    command = [sys.executable, "-m", "genjax", "sample", "nowhere"]
    environment = dict(os.environ, JAX_PLATFORMS="cpu")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: nowhere holds no run")
    assert done.stderr.count("\n") == 1


def test_dispatches_to_the_command_named(monkeypatch):
    calls = []
    monkeypatch.setattr(sample, "main", lambda argv: calls.append(argv) or 7)
    assert program.main(["sample", "folder", "--n", "3"]) == 7
    assert calls == [["folder", "--n", "3"]]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["sampel"], "error: unknown command 'sampel'; did you mean 'sample'?"),
        (["xyz"], "error: unknown command 'xyz'; --help"),
        (["sample"], "error: the following arguments are required: workdir; --help"),
        (["solve", "run"], "error: the following arguments are required: INPUT, OUT; --help"),
        (["sample", "run", "--n", "many"], "error: argument --n: invalid int value: 'many'"),
        (
            ["report", "run", "--outt", "x"],
            "error: there is no option --outt; did you mean --out? --help",
        ),
        (["prepare", "a", "b", "--nme", "x"], "error: there is no option --nme; did you mean"),
    ],
)
def test_user_errors_are_one_line_and_status_2(argv, message, capsys):
    assert program.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(message)
    assert printed.err.count("\n") == 1


def test_no_command_prints_the_usage_and_version_the_version(capsys):
    assert program.main([]) == 2
    assert "usage: genjax COMMAND" in capsys.readouterr().err
    assert program.main(["--version"]) == 0
    assert capsys.readouterr().out == f"genjax {__version__}\n"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("bad."), 2, "error: bad.\n"),
        (OSError("no disk."), 2, "error: no disk.\n"),
        (MemoryError(), 2, "error: memory ran out; take fewer at a time (--n).\n"),
        (FloatingPointError("loss is nan."), 1, "error: loss is nan.\n"),
        (KeyboardInterrupt(), 130, "error: interrupted.\n"),
    ],
)
def test_exit_status_of_each_kind_of_error(error, status, message, capsys):
    def fail():
        raise error

    assert run_command(fail, "--n") == status
    assert capsys.readouterr().err == message
    with pytest.raises(KeyError):  # a bug is no user error
        run_command(lambda: {}["x"])


def test_ctrl_c_during_imports_ends_the_program():
    """Libraries drop a KeyboardInterrupt that is raised while they are imported."""
    code = """if True:
        import contextlib, importlib, os, signal
        from genjax.cli.main import main

        def importing(name):
            with contextlib.suppress(BaseException):
                os.kill(os.getpid(), signal.SIGINT)
            print("continued")

        importlib.import_module = importing
        signal.signal(signal.SIGINT, signal.default_int_handler)
        main(["sample", "run"])"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted.\n")


def test_ctrl_c_within_a_callback_is_not_dropped():
    class Collected:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    def action():
        Collected()  # Python drops the KeyboardInterrupt
        time.sleep(5)
        raise ValueError("not interrupted.")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    hook = sys.unraisablehook
    try:
        assert run_command(action) == 130
        assert sys.unraisablehook is hook
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_parser_names_its_command():
    assert ArgumentParser("sample", "doc").prog == "genjax sample"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as is")
def test_freed_memory_is_kept():
    """A freed block of 64 MB is still the process's; by default glibc returns it."""
    program = (
        "import resource, sys\n"
        "from genjax.cli.options import keep_freed_memory\n"
        "if sys.argv[1] == 'keep': keep_freed_memory()\n"
        "import numpy as np\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "np.ones(2**23)\n"
        "start = faults()\n"
        "for _ in range(4): np.ones(2**23)\n"
        "print(faults() - start)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}

    def faults(word, **more):
        command = [sys.executable, "-c", program, word]
        return int(subprocess.check_output(command, env=environment | more, text=True))

    # 64 MB are 16,384 pages of 4 kB, or 32 huge ones.
    assert faults("keep") < faults("default") / 4
    own = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}
    assert faults("keep", **own) > 3 * faults("keep")
