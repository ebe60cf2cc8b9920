"""Attributes are selected by name: in files and prepared folders, streamed and in memory."""

import numpy as np
import pytest
from support.feeding import batch_checksums, collect_batches, make_run, write_folder
from support.reading import assert_error_message

from genjax.data import Data, Dataset, load, save_npz

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("attributes"), pairs=True)


@pytest.fixture(scope="module")
def file(folder):
    return folder.removesuffix("small/1.0.0") + "small.npz"


@pytest.mark.parametrize("chosen", [("c",), ("c", "a"), ("b", "c", "a"), NAMES])
def test_any_subset_in_any_order(folder, file, chosen):
    whole = load(Data(data=file))
    assert whole.names["attributes"] == NAMES
    columns = [NAMES.index(name) for name in chosen]
    for source, stream in ((file, "auto"), (folder, "no"), (folder, "yes")):
        dataset = load(Data(data=source, stream=stream, attributes=chosen))
        assert dataset.names["attributes"] == chosen
        for split in ("train", "test"):
            got = dataset.read(split, np.arange(9))["attributes"]
            assert got.dtype == np.uint8
            np.testing.assert_array_equal(got, whole.splits[split]["attributes"][:9][:, columns])
        original = load(Data(data=source, stream=stream))
        assert dataset.checksum() == original.checksum()


def test_streamed_batches_are_those_in_memory(folder):
    options = dict(attributes=("c", "a"), transform="random_flip()|scale(-1, 1)")
    streamed, resident = (
        collect_batches(make_run(folder, stream=stream, workers=0, **options), 0, None, names)
        for stream, names in (("yes", ("x", "attributes")), ("no", ("x", "attributes")))
    )
    assert batch_checksums(streamed) == batch_checksums(resident)
    assert streamed[0]["attributes"].shape == (8, 2)


def test_rejects_unknown_names_and_attributes_without_names(file, tmp_path):
    with pytest.raises(ValueError, match="has no attribute hat, it has a, b, c; correct `attr"):
        load(Data(data=file, attributes=("a", "hat")))
    with pytest.raises(ValueError, match="digits, but it has no attributes") as error:
        load(Data(data="digits", attributes=("a",)))
    assert_error_message(str(error.value))
    splits = {s: {k: v for k, v in e.items()} for s, e in load(Data(data=file)).splits.items()}
    save_npz(Dataset("bare", splits, 17), tmp_path / "bare.npz")
    with pytest.raises(ValueError, match=r"attributes have no names; .* attribute_names") as error:
        load(Data(data=str(tmp_path / "bare.npz"), attributes=("a",)))
    assert_error_message(str(error.value))


@pytest.mark.parametrize("names", [["a", "b"], ["a", "a", "b"], [1, 2, 3]])
def test_rejects_names_that_do_not_fit_the_attributes(file, tmp_path, names):
    arrays = dict(np.load(file))
    np.savez(tmp_path / "bad.npz", **{**arrays, "attribute_names": np.array(names)})
    with pytest.raises(ValueError, match=r"one name for each of the attributes \(3\), got"):
        load(Data(data=str(tmp_path / "bad.npz")))


def test_rendered_truth_keeps_attributes_that_are_not_selected():
    whole = load(Data(data="glyphs_attributes"))
    bold = load(Data(data="glyphs_attributes", attributes=("bold",)))
    assert bold.checksum() == whole.checksum()
    rows = bold.read("test", np.arange(30))
    np.testing.assert_array_equal(bold.render(rows, rows["attributes"]), rows["x"])
    changed = whole.splits["test"]["attributes"][:30].copy()
    changed[:, 3] ^= 1
    np.testing.assert_array_equal(
        bold.render(rows, 1 - rows["attributes"]),
        whole.render(whole.read("test", np.arange(30)), changed),
    )
