""".csv tables: separators, names, errors by line and column, and training on one."""

import numpy as np
import pytest

from genjax.cli import convert, train
from genjax.cli.main import main
from genjax.data import Data, example_shape, load
from genjax.data.csv_table import read_csv

ROWS = [[7.4, 0.7, 0.0], [-1.5, 2e-3, 11.0], [3.0, 4.0, 5.0]]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("names", [None, ["fixed acidity", "a, b", "2020"]])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_reads_with_and_without_names(tmp_path, separator, names, end):
    if names:
        names = names[:2] + ["quality"]
    lines = [separator.join(f'"{name}"' for name in names)] if names else []
    lines += [separator.join(f" {cell}" for cell in row) for row in ROWS]
    path = tmp_path / "wine.csv"
    path.write_bytes(("\ufeff" + end.join(lines) + 2 * end).encode())
    np.testing.assert_array_equal(read_csv(path), ROWS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3,x\n", ["line 3, column 2 (b) is 'x', not a finite number"]),
        ("1,2\n,4\n", ["line 2, column 1 is ''"]),
        ("a,b\n1,nan\n", ["line 2, column 2 (b) is 'nan'"]),
        ("a,b\n1,inf\n", ["line 2, column 2 (b) is 'inf'"]),
        ("a;b\n1;0,5\n", ["line 2, column 2 (b) is '0,5'"]),
        ("1,2\n1,2,3\n", ["line 2 has 3 columns, and the first has 2"]),
        ("1,x\n3,4\n", ["line 1 has numbers, but 'x' in column 2", "name every column"]),
        ("a,b\n", ["no row of numbers"]),
        ("", ["no row of numbers"]),
        ('a,b\n"1"2,3\n', ["line 2 is not CSV"]),
    ],
)
def test_errors_name_the_cell(tmp_path, text, words):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"t\.csv") as error:
        load(Data(data=str(path), folds=2))
    assert all(word in str(error.value) for word in words)


def test_a_csv_is_the_npz_of_its_numbers(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3))
    np.savetxt(tmp_path / "t.csv", x, delimiter=",", header="a,b,c", comments="")
    np.savez(tmp_path / "t.npz", data=x)
    options = dict(folds=4, standardize=True, drop_correlated=0.99, limit=20)
    a, b = (load(Data(data=str(tmp_path / f"t.{kind}"), **options)) for kind in ("csv", "npz"))
    assert a.checksum() == b.checksum()
    for split, arrays in a.splits.items():
        np.testing.assert_array_equal(arrays["x"], b.splits[split]["x"])
    assert example_shape(Data(data=str(tmp_path / "t.csv"), **options)) == (3,)


def test_trains_on_a_csv_without_further_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savetxt("wine.csv", rng.normal(size=(60, 3)) * [1, 1000, 0.1], delimiter=";")
    np.savetxt("bits.csv", rng.integers(0, 2, (60, 4)), fmt="%d", delimiter=",")
    run, chosen = train.default_run("rnade", ["--data", "wine.csv"])
    assert chosen[:2] == ["--folds", "10"]
    assert run.train.batch_size == 49
    short = ["--steps", "2", "--hidden", "4", "--samples", "4"]
    assert main(["train", "rnade", "--data", "wine.csv", *short]) == 0
    assert main(["train", "nade", "--data", "bits.csv", *short]) == 0  # 0 and 1 are binary
    other = ["--data", "wine.csv", "--folds", "3", "--no-standardize"]
    assert "--standardize" in chosen
    assert not {"--folds", "--standardize"} & set(train.default_run("rnade", other)[1])


def test_commands_that_need_no_csv_say_what_does(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("1,2\n")
    source = str(tmp_path / "t.csv")
    assert main(["prepare", source, str(tmp_path / "out"), "--name", "t"]) == 2
    assert convert.main([source, str(tmp_path / "t.npz")]) == 2
    assert capsys.readouterr().err.count("give it to genjax train --data") == 2
