"""The first steps of a new user are commands that run, and a failure is not a time."""

import importlib.util
import json
import sys

import pytest

from experiments.benchmarks import first_contact
from experiments.benchmarks.first_contact import Step


def test_draws_a_picture_and_computes_a_figure_from_weights(capsys):
    words = ["--python", sys.executable, "--only", "picture", "figure from weights"]
    assert first_contact.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == [
        *("picture", "figure from weights", "all of these")
    ]
    assert json.loads(lines[-1].partition(": ")[2])["agrees"] is True


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Step("picture", ["-c", "raise SystemExit('no weights')"]), "picture failed:\nno weights"),
        (Step("picture", ["-c", ""], "picture.png"), "picture wrote no picture.png."),
        (
            Step("picture", ["-c", "import time; time.sleep(0.3)"]),
            "; at most 0 s.",
        ),
    ],
    ids=["failure", "no picture", "slow"],
)
def test_a_step_that_fails_ends_with_its_message(step, message, monkeypatch, capsys):
    monkeypatch.setattr(first_contact, "steps", lambda out: [step])
    monkeypatch.setattr(first_contact, "PICTURE_SECONDS", 0.2)
    assert first_contact.main(["--python", sys.executable]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") <= 2


def test_every_module_of_the_steps_exists(tmp_path):
    for step in first_contact.steps(tmp_path):
        if step.words[0] == "-m" and step.words[1] != "pip":
            assert importlib.util.find_spec(step.words[1]), step.title
