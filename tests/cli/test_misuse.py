"""Mistakes on the command line are one line with the fix."""

import pytest

from genjax.cli import main as program
from genjax.cli import options


@pytest.mark.parametrize(
    ("given", "known", "message"),
    [
        ("--lr", ["--floor", "--learning-rate"], "did you mean --learning-rate?"),
        (
            "--lr",
            ["--optimizer.critic.learning-rate", "--optimizer.generator.learning-rate", "--r2"],
            "mean --optimizer.critic.learning-rate or --optimizer.generator.learning-rate?",
        ),
        ("--epochs", ["--eps", "--steps"], "did you mean --steps?"),
        ("--output-dir", ["--data-dir", "--workdir"], "did you mean --workdir?"),
        ("--batchsize", ["--batch-size"], "did you mean --batch-size?"),
        ("--zzz", ["--steps"], "there is no option --zzz; --help lists"),
    ],
)
def test_an_unknown_option_names_the_nearest(given, known, message):
    assert message in options.unknown_option(given, known)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "nade", "--data", "digits", "--lr", "0.1"], "did you mean --learning-rate?"),
        (
            ["train", "gan", "--data", "digits", "--lr=0.1"],
            "--optimizer.discriminator.learning-rate or --optimizer.generator.learning-rate?",
        ),
        (["sample", "RUN", "--nn", "4"], "there is no option --nn; did you mean --n?"),
        (["train", "nade", "--data", "digitss"], "did you mean digits?"),
        (
            ["train", "nade", "--data", "digits", "--latent", "3"],
            "no option --latent of nade; it is",
        ),
        (["prepare", "{}"], "the command is genjax prepare SOURCE OUT --name NAME"),
        (["convert", "digits", "{}/file/x.npz"], "a file is where a folder is needed"),
        (
            ["train", "nade", "--data", "digits", "--workdir", "{}/file"],
            "/file is a file, and a run",
        ),
        (
            ["train", "nade", "--data", "digits", "--batch-size", "100000", "--workdir", "{}/run"],
            "`batch_size` 100,000 is above the 1,437 training examples",
        ),
    ],
)
def test_a_mistake_is_one_line(argv, message, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert program.main([word.format(tmp_path) for word in argv]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
