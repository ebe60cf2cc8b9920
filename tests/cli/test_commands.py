"""`genjax sample`, `evaluate` and `solve` of what is no run, and without enough memory."""

import jax
import numpy as np
import pytest
from PIL import Image
from support.small import small_run, write_data

from genjax.cli import evaluate, sample, solve
from genjax.train import fit


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def paths_to_solve(folder):
    """Returns INPUT, an image, and OUT."""
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(folder / "image.png")
    return [str(folder / "image.png"), str(folder / "out.png")]


@pytest.mark.parametrize("command", [sample, evaluate, solve])
def test_rejects_folders_without_a_run(command, tmp_path, data, capsys):
    more = paths_to_solve(tmp_path) if command is solve else []
    assert command.main([str(tmp_path / "nothing"), *more]) == 2
    assert "holds no run: there is no" in capsys.readouterr().err
    fit(small_run("nade", data), tmp_path / "run", quiet=True)
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text()[:50])
    assert command.main([str(tmp_path / "run"), *more]) == 2
    assert "is not the settings of a run" in capsys.readouterr().err


def test_rejects_a_run_without_a_checkpoint(tmp_path, data, capsys):
    workdir = tmp_path / "run"
    fit(small_run("nade", data), workdir, quiet=True)
    for folder in (workdir / "checkpoints").iterdir():
        folder.rename(tmp_path / folder.name)
    for command, more in ((sample, []), (solve, paths_to_solve(tmp_path))):
        assert command.main([str(workdir), *more]) == 2
        assert "has no whole checkpoint yet" in capsys.readouterr().err


def test_out_of_memory_is_reported_with_options_to_lower(tmp_path, data, capsys, monkeypatch):
    workdir = tmp_path / "run"
    fit(small_run("nade", data), workdir, quiet=True)
    for command, name, fewer in ((sample, "save_grid", "--n"), (evaluate, "split_of", "--batch")):
        for error in (MemoryError(), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 bytes")):

            def no_room(*args, error=error, **settings):
                raise error

            monkeypatch.setattr(command, name, no_room)
            assert command.main([str(workdir)]) == 2
            error = capsys.readouterr().err
            assert f"error: memory ran out; take fewer at a time ({fewer}" in error

    # Any other error of a device's is not explained away.
    def broken(*args):
        raise jax.errors.JaxRuntimeError("INTERNAL")

    monkeypatch.setattr(sample, "save_grid", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        sample.main([str(workdir)])
    assert evaluate.main([str(workdir), "--samples", "3"]) == 2
    assert "--samples is for a bound, but this run has none" in capsys.readouterr().err
