"""Kernels read from a compiled program: by hand, and against the traced function."""

import json
import pathlib

import jax
import jax.numpy as jnp
import pytest
from support.helpers import run_python

from experiments.benchmarks import compile_ahead, flops, kernels

# Written by hand in XLA's format, without the parts that are not read.
PROGRAM = (pathlib.Path(__file__).parent / "program.hlo").read_text()


def test_kernels_of_a_program_written_by_hand():
    found = {k.name: k for k in kernels.read(PROGRAM, iterations=0.5) if k.times != 0.5}
    part, new = found["part"], found["new"]
    assert (part.times, new.times) == (5, 5)
    assert part.bytes == 4 * 12 + 4 + 4 * 12  # the operand's slice, the index, the result
    assert new.bytes == 4 * 12 + 4 + 4 * 12  # the update, read and written, and the index
    assert new.source == "jit(f)/put"
    convolution = 2 * (2 * 4 * 4 * 7) * 75
    assert [found[n].operations for n in ("conv", "back", "filter")] == [convolution] * 3
    assert [found[n].exact for n in ("conv", "back", "made")] == [True, False, False]
    assert found["conv"].bytes == 4 * (2 * 64 * 3 + 7 * 75 + 2 * 16 * 7)
    assert found["made"].operations == 2 * 4 * 3 * 6
    assert found["made"].bytes == 2 * 12 + 2 * 18 + 4 * 24
    assert found["made"].dtype == "bf16"
    # A loop of unknown length runs `iterations` times.
    assert sum(k.times for k in kernels.read(PROGRAM, iterations=0.5)) == 2 * 5 + 2 * 0.5 + 4
    with pytest.raises(ValueError, match="no ENTRY"):
        kernels.read("HloModule nothing")


def test_operations_equal_those_of_the_traced_function():
    """Includes nested loops and products of several kinds."""
    a, b, x = jnp.ones((8, 16)), jnp.ones((16, 16)), jnp.ones((2, 9, 9, 4))
    k = jnp.ones((3, 3, 4, 8))

    def f(a, b, x, k):
        def inner(c, w):
            return jnp.tanh(c @ w), None

        def outer(c, w):
            return jax.lax.scan(inner, c, jnp.stack([w] * 3))[0] @ b, None

        c, _ = jax.lax.scan(outer, a, jnp.stack([b] * 5))
        numbers = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, k, (2, 2), "SAME", dimension_numbers=numbers)
        return c, y

    text = jax.jit(f).lower(a, b, x, k).compile().as_text()
    found = kernels.read(text)
    assert sum(k.times * k.operations for k in found) == flops.count(f, a, b, x, k)
    assert sum(k.times * k.bytes for k in found) > 5 * 3 * a.nbytes


def test_missing_cuda_compiler_names_the_extra(monkeypatch, capsys):
    def none(**options):
        raise NotImplementedError("topology not implemented for cuda")

    monkeypatch.setattr(compile_ahead.topologies, "get_topology_desc", none)
    assert compile_ahead.main(["--rows", "gan_mnist:paper"]) == 2
    assert "pip install 'genjax-zoo[cuda12]'" in capsys.readouterr().err


def test_compiles_a_row_without_a_gpu(tmp_path):
    """In a new process, because JAX looks for compilers once."""
    out = tmp_path / "ahead.json"
    words = [
        "--rows",
        "rnade_red_wine:cpu",
        "--batch-size",
        "10",
        "--skip",
        "sample",
        "--longest",
        "1",
    ]
    done = run_python(
        "-m", "experiments.benchmarks.compile_ahead", *words, "--out", str(out), check=False
    )
    if "there is no compiler for CUDA here" in done.stderr:
        pytest.skip("there is no compiler for CUDA here: pip install 'genjax-zoo[cuda12]'")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(out.read_text())["rows"]
    assert set(row) > {"step", "evaluate"}
    assert row["step"]["kernels"] > row["evaluate"]["kernels"] > 0
    assert 0 < row["step"]["seconds"] < 1
    assert row["step"]["longest"][0]["bytes"] > 0
    assert "rnade_red_wine:cpu step" in done.stderr
