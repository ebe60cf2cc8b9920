"""`genjax list` and `genjax completion`."""

import shutil
import subprocess

import pytest

from genjax.cli import completion
from genjax.cli import list as listing
from genjax.cli.main import COMMANDS
from genjax.families import FAMILIES


def test_lists_families_and_experiments(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert listing.main([]) == 0
    text = capsys.readouterr().out
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    assert set(FAMILIES) <= set(lines)
    assert lines["gan"].endswith("GAN: generative adversarial nets of two MLPs")
    assert lines["gan_mnist"].split()[1:3] == ["GAN", "on"]
    assert "table" not in lines  # a program, without recipes
    headings = [line.partition(":")[0] for line in text.splitlines() if line[:1].isalpha()]
    assert headings == ["Families", "Weights", "Experiments"]
    assert listing.main(["weights"]) == 0
    assert "Families" not in capsys.readouterr().out
    assert listing.main(["weight"]) == 2
    assert "invalid choice: 'weight'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def words():
    return {name: completion.completions(name) for name in COMMANDS}


def test_completes_options_of_every_command(words):
    assert {"--dtype", "--evaluate", "--card"} <= set(words["export"])
    assert "--n" in words["sample"]
    assert set(FAMILIES) <= set(words["train"])
    assert all("--help" in found for found in words.values())


def test_the_script_of_bash_completes(words):
    script = (
        completion.bash(words, "bash")
        + """
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _genjax; echo "${COMPREPLY[@]}"; }
ask genjax sa
ask genjax draw run --ra
ask genjax draw run ""
"""
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    first, second, third = done.stdout.splitlines()
    assert (first, second) == ("sample", "--ranker --rank")
    assert set(third.split()) == set(words["draw"])
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells_are_valid(words, shell, tmp_path):
    path = tmp_path / "script"
    path.write_text(completion.fish(words) if shell == "fish" else completion.bash(words, shell))
    assert path.read_text().count("sample") >= 2
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(path)], check=True)
