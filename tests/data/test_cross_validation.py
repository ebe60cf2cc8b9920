"""Tables of real numbers: folds, selection of columns, standardization."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from genjax.cli.experiment import recipe_differences
from genjax.data import Data, load, npz
from genjax.data.cross_validation import select_columns
from genjax.families import rnade
from genjax.train import Run, fit
from genjax.train.run_config import resolve


@pytest.fixture
def path(tmp_path):
    """Returns 53 rows of 5 columns: the third repeats the first, the last has three values."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(53, 5)) * [1, 10, 2, 0.1, 1] + [0, 5, 1, -3, 0]
    x[:, 2] = -2 * x[:, 0] + 0.001 * rng.normal(size=53)
    x[:, 4] = rng.integers(0, 3, 53)
    np.savez(tmp_path / "table.npz", data=x)
    return tmp_path / "table.npz"


def settings(path, **more):
    return Data(data=str(path), folds=10, **more)


def test_each_row_is_in_test_once_and_in_one_split_of_a_fold(path):
    whole = np.load(path)["data"].astype(np.float32)
    tests = []
    for fold in range(10):
        splits = load(settings(path, fold=fold)).splits
        parts = [splits[s]["x"] for s in ("train", "validation", "test")]
        rows = np.concatenate(parts)
        assert sorted(map(tuple, rows)) == sorted(map(tuple, whole))
        assert len(parts[2]) in (5, 6)
        assert len(parts[1]) == 4  # a tenth of the other 47 or 48
        tests.append(parts[2])
    assert sorted(map(tuple, np.concatenate(tests))) == sorted(map(tuple, whole))
    assert (tests[0] != whole[: len(tests[0])]).any()  # shuffled: files come sorted
    again = load(settings(path, fold=3)).splits["train"]["x"]
    np.testing.assert_array_equal(again, load(settings(path, fold=3)).splits["train"]["x"])


def test_standardization_uses_the_training_rows_only(path):
    raw = load(settings(path, fold=2))
    found = load(settings(path, fold=2, standardize=True))
    train = raw.splits["train"]["x"].astype(np.float64)
    for split in ("train", "validation", "test"):
        want = (raw.splits[split]["x"] - train.mean(0)) / train.std(0)
        np.testing.assert_allclose(found.splits[split]["x"], want, rtol=1e-4, atol=1e-5)
    assert np.abs(found.splits["test"]["x"].mean(0)).max() > 1e-3
    assert found.splits["train"]["x"].dtype == np.float32
    assert found.checksum() == raw.checksum()  # of what was read, on any machine


def test_selection_of_columns():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 4))
    x[:, 1] = -x[:, 0] + 0.01 * rng.normal(size=500)  # correlation -1
    x[:, 3] = x[:, 2] + 0.5 * rng.normal(size=500)  # about 0.9
    assert select_columns(x, 0.98, 0).tolist() == [0, 2, 3]
    assert select_columns(x, 0.8, 0).tolist() == [0, 2]
    assert select_columns(x, 0.0, 0).tolist() == [0, 1, 2, 3]
    x[:, 0] = rng.integers(0, 6, 500)
    assert select_columns(x, 0.0, 7).tolist() == [1, 2, 3]
    assert select_columns(x, 0.0, 6).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="no column is left"):
        select_columns(x, 0.0, 501)


def test_columns_are_the_same_in_every_fold(path):
    for fold in range(10):
        data = load(settings(path, fold=fold, drop_correlated=0.98, drop_discrete=4))
        assert data.shape == (3,)


def test_fold_defaults_to_the_seed(path):
    run = Run(experiment="x", family="rnade", model=rnade.Config(), data=settings(path), seed=13)
    assert resolve(run, "cpu").data.fold == 3
    chosen = dataclasses.replace(run, data=settings(path, fold=7))
    assert resolve(chosen, "cpu").data.fold == 7
    # A fold by name is none of the recipe's: its record would stand under another's seed.
    assert recipe_differences(run, chosen, {}) == ["data.fold"]
    assert recipe_differences(run, dataclasses.replace(run, seed=4), {}) == []
    plain = dataclasses.replace(run, data=Data())
    assert resolve(plain, "cpu").data.fold is None


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"folds": 0}, "one table without splits; set --folds 10"),
        ({"folds": 40}, "53 rows, too few for 40 folds"),
    ],
)
def test_rejects_invalid_tables(path, more, expected):
    with pytest.raises(ValueError, match=expected):
        load(dataclasses.replace(settings(path), **more))


def test_rejects_invalid_settings(tmp_path):
    with pytest.raises(ValueError, match="`folds` must be at least 2"):
        Data(folds=1)
    with pytest.raises(ValueError, match=r"`fold` must be in 0 .. folds - 1, got 10 of 10"):
        Data(folds=10, fold=10)
    with pytest.raises(ValueError, match=r"are for a \.csv, or a \.npz with one"):
        load(Data(data="digits", folds=10))
    split = tmp_path / "split.npz"
    np.savez(split, train=np.zeros((9, 2)) + 0.5, test=np.ones((4, 2)) / 3)
    for settings_of_tables in ({"folds": 3, "fold": 1}, {"drop_correlated": 0.9}):
        with pytest.raises(ValueError, match=r"are for a \.csv, or a \.npz with one"):
            load(Data(data=str(split), **settings_of_tables))
    with pytest.raises(ValueError, match="standardize is for real numbers"):
        load(Data(data="digits", standardize=True))
    np.savez(tmp_path / "deep.npz", data=np.zeros((4, 2, 2)))
    with pytest.raises(ValueError, match=r"must be a table \[N, D\], got \[4, 2, 2\]"):
        load(settings(tmp_path / "deep.npz"))
    np.savez(tmp_path / "nan.npz", data=np.full((9, 2), np.nan))
    with pytest.raises(ValueError, match="NaN or infinity"):
        load(settings(tmp_path / "nan.npz"))
    np.savez(tmp_path / "flat.npz", data=np.full((60, 2), 2.5))
    with pytest.raises(ValueError, match="constant column"):
        load(settings(tmp_path / "flat.npz", standardize=True))


def test_real_density_rejects_integers(tmp_path):
    model = rnade.Config(shape=(8, 8, 1))
    run = Run(experiment="x", family="rnade", model=model, data=Data(transform=""))
    for transform in ("", "scale(0, 1)", "scale(-1, 1)", "binarize('threshold')"):
        data = Data(transform=transform)
        with pytest.raises(
            ValueError, match=r'on discrete values, .* set --transform "dequantize\(\)"'
        ):
            fit(dataclasses.replace(run, data=data), tmp_path, quiet=True)


@pytest.mark.parametrize("shape", [(2**25 + 1, 1), (2**15 + 1, 2**10)])
def test_a_table_is_bounded_as_numbers_of_8_bytes(tmp_path, shape):
    """By the rule for .npz files: 256 MiB, or 200 times the size of the file."""
    np.savez_compressed(tmp_path / "table.npz", data=np.zeros(shape, bool))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"more than 25 for every byte .* without compression"):
        load(settings(tmp_path / "table.npz"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**27


def test_a_table_without_compression_may_be_large(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "ALWAYS_ALLOWED", 1000)
    table = np.eye(200, dtype=bool)
    np.savez(tmp_path / "table.npz", data=table)
    assert load(settings(tmp_path / "table.npz")).counts()["test"] == 20
    np.savez_compressed(tmp_path / "table.npz", data=table)  # 2 kB
    with pytest.raises(ValueError, match="data has 40000 numbers, more than 25 for every byte"):
        load(settings(tmp_path / "table.npz"))


@pytest.mark.parametrize("kind", [np.complex64, "U3", "datetime64[s]"])
def test_rejects_a_table_of_other_than_real_numbers(tmp_path, kind):
    np.savez(tmp_path / "table.npz", data=np.zeros((20, 3)).astype(kind))
    with pytest.raises(
        ValueError, match=r"table\.npz: data must hold real numbers, got .*; cast it"
    ):
        load(settings(tmp_path / "table.npz"))


def test_rejects_signaling_nan_without_a_warning(tmp_path):
    """Casting it to another type is a RuntimeWarning of NumPy."""
    x = np.zeros((20, 3), np.float32)
    x.view(np.uint32)[3, 1] = 0x7FA00000
    np.savez(tmp_path / "table.npz", data=x)
    with pytest.raises(ValueError, match=r"table\.npz: data holds NaN or infinity"):
        load(settings(tmp_path / "table.npz"))
