"""README says what works: its first lines, its Python, its commands."""

import json
import re

import jax
import pytest
from support.helpers import ROOT, run_program

from experiments import table
from genjax.cli.main import COMMANDS, main
from genjax.train.record import read_records, summarize

README = (ROOT / "README.md").read_text()


def test_readme_opens_with_the_two_commands():
    block = README.split("```")[1].strip().splitlines()
    assert [re.sub(r"\s+#.*", "", line) for line in block] == [
        "pip install -e . && python -m experiments.examples.tour",
        "pip install -e '.[test]' && pytest",
    ]
    assert README.split("```")[0].strip() == "# genjax"


def test_the_figures_of_the_readme_are_those_of_the_records():
    records, known = read_records(table.RECORDS), table.rows()
    lines = re.findall(r"^\| `(\w+(?::\w+)?)` \| .+ \| ([\d.]+) \| (.+) \|$", README, re.MULTILINE)
    assert len(lines) > 10
    for name, paper, here in lines:
        mine = [record for record in records if record["experiment"] == name]
        row = summarize(mine, known[name].figure)
        assert paper == f"{row['paper']:.2f}", name
        if row["std_error"] is None:  # a median of seeds: between which they lie
            assert here == f"{row['obtained']:.2f} ({row['lowest']:.2f} to {row['highest']:.2f})"
        else:
            assert here == f"{row['obtained']:.2f} ± {row['std_error']:.2f}", name


def test_the_python_of_the_readme_runs():
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    scope = {"x": jax.random.bernoulli(jax.random.key(1), 0.2, (3, 784)).astype("float32")}
    exec(code, scope)
    assert scope["nats"].shape == (3,)
    assert int(scope["state"].step) == 1
    assert float(scope["metrics"]["loss"]) > 0


@pytest.mark.parametrize(
    "module",
    [
        "experiments",
        "experiments.examples.tour",
        "experiments.reproduce",
        "experiments.benchmarks.input_rate",
        "experiments.benchmarks.vae_rate",
        "experiments.examples.blind_spot",
        "experiments.benchmarks.pixel_sampling",
        "experiments.benchmarks.loop_cost",
        "experiments.benchmarks.speed",
        "experiments.benchmarks.peers.time_peer",
    ],
)
def test_every_command_explains_itself(module, capsys):
    from importlib import import_module

    name = "experiments.__main__" if module == "experiments" else module
    with pytest.raises(SystemExit) as stop:
        import_module(name).main(["--help"])
    assert stop.value.code == 0
    assert f"python -m {module}" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_genjax_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert not stop.value.code
    assert f"genjax {name}" in capsys.readouterr().out


def test_reproduce_needs_no_more_than_jax_has(tmp_path):
    done = run_program("bare.py", str(tmp_path))
    assert "left to run: nothing" in done.stderr
    assert "validation nll" in done.stderr  # the table of experiments.select
    assert "80.500" in done.stderr
    workdir = tmp_path / "runs" / "nade_binarized_mnist-random_order-seed0"
    assert json.loads((workdir / "record.json").read_text())["commit"] == "abc"
    assert (tmp_path / "pack" / "pack.json").exists()
    # One step is not the recipe: it makes no row.
    assert not (tmp_path / "records").exists()
