"""Captions of folders, of TFDS features and of .npz files."""

import io
import pathlib

import numpy as np
import pytest
from support.reading import assert_error_message, write_image

from genjax.data import Data, Dataset, load, save_npz
from genjax.data.prepare import prepare
from genjax.data.readers import ReadOptions
from genjax.data.shards import WriteOptions


def write_folder(path, rows, header="file_name,caption", images=("a.png", "b.png")):
    for i, name in enumerate(images):
        write_image(path / name, np.full((4, 4, 3), 20 * i, np.uint8))
    (path / "captions.csv").write_bytes("\n".join([header, *rows]).encode(errors="surrogateescape"))
    return path


def prepared(folder, out, name="data"):
    return str(prepare(str(folder), out, WriteOptions(name=name), ReadOptions()).folder)


def captions_of(folder, out):
    found = load(Data(data=prepared(folder, out))).splits["train"]
    order = np.argsort(found["x"][:, 0, 0, 0])
    return found["caption"][order].tolist()


def test_one_row_per_image_is_one_caption(tmp_path):
    folder = write_folder(tmp_path / "in", ["b.png,two", "a.png,one"])
    assert captions_of(folder, tmp_path) == ["one", "two"]


def test_several_rows_of_an_image_are_its_captions_in_order(tmp_path):
    folder = write_folder(tmp_path / "in", ["b.png,2", "a.png,first", "b.png,3", "b.png,1"])
    assert captions_of(folder, tmp_path) == [["first", "", ""], ["2", "3", "1"]]


@pytest.mark.parametrize(
    "caption",
    [
        "👩‍🚀 on the moon",
        "قطة حمراء",
        "\u202eقطة",
        "line\u2028two",
        'with ""quotes"", comma',
        "a\tb",
    ],
)
def test_unusual_captions_are_kept(tmp_path, caption):
    folder = write_folder(tmp_path / "in", [f'a.png,"{caption}"', "b.png,x"])
    assert captions_of(folder, tmp_path)[0] == caption.replace('""', '"')
    settings = Data(data=str(tmp_path / "data" / "1.0.0"), tokenizer="bpe", text_length=64)
    found = load(settings)
    decoded = found.tokenizer.decode(found.splits["train"]["text"][:, 0])
    assert caption.replace('""', '"') in decoded


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (["a.png,one", "b.png,"], r"line 3 has an empty caption of b\.png; write one, or remove"),
        (["a.png,  ", "b.png,x"], r"line 2 has an empty caption of a\.png"),
        (["a.png,x", "missing.png,y"], r"line 3 names missing\.png, which is not an image"),
        (["a.png,one, two"], r"line 2 has 3 columns and the header 2; put captions with commas"),
        (['a.png,"one', "b.png,x"], r"line 3 .*close an open quote"),
        (["a.png," + "x" * 100_000], r"line 2 has a caption of 100000 characters, above 65536"),
        (["a.png," + "x" * 200_000], r"line 2 .*field larger than field limit"),
        (["a.png,\udcff"], r"not UTF-8"),
        (["a.png,x\0y"], r"NUL character in line 2"),
        (["../a.png,x"], r"outside the folder"),
        ([], r"no rows below a header"),
    ],
)
def test_rejects_damaged_tables(tmp_path, rows, match):
    folder = write_folder(tmp_path / "in", rows)
    with pytest.raises(ValueError, match=match) as error:
        prepared(folder, tmp_path)
    assert_error_message(str(error.value))


def test_many_captions_of_one_image(tmp_path):
    folder = write_folder(tmp_path / "in", [f"a.png,caption {i}" for i in range(1000)])
    (own,) = captions_of(folder, tmp_path)
    assert own == [f"caption {i}" for i in range(1000)]
    found = load(Data(data=str(tmp_path / "data/1.0.0"), tokenizer="words", text_length=2))
    assert found.splits["train"]["text"].shape == (1, 1000, 2)


def test_captions_and_checksum_are_the_same_from_disk(tmp_path):
    rows = ["a.png,one", "a.png,two", "b.png,three", "b.png,one", "b.png,two"]
    path = prepared(write_folder(tmp_path / "in", rows), tmp_path)
    settings = dict(data=path, tokenizer="words", text_length=2)
    resident, streamed = (load(Data(**settings, stream=stream)) for stream in ("no", "yes"))
    assert streamed.checksum() == resident.checksum() == load(Data(data=path)).checksum()
    assert streamed.tokenizer == resident.tokenizer
    for name in ("caption", "text"):
        expected = resident.splits["train"][name]
        assert expected.shape[:2] == (2, 3)
        np.testing.assert_array_equal(streamed.read("train", [0, 1])[name], expected)


def test_a_prepared_folder_of_captions_can_be_prepared_again(tmp_path):
    path = prepared(write_folder(tmp_path / "in", ["a.png,1", "a.png,2", "b.png,3"]), tmp_path)
    again = prepared(path, tmp_path, "again")
    assert load(Data(data=again)).checksum() == load(Data(data=path)).checksum()


def test_captions_of_npz_files(tmp_path):
    captions = np.array([["a cat", ""], ["a dog", "a hound"]])
    splits = {"train": {"x": np.zeros((2, 4, 4, 3), np.uint8), "caption": captions}}
    save_npz(Dataset("npz", splits, 256), tmp_path / "a.npz")
    found = load(Data(data=str(tmp_path / "a.npz"), tokenizer="words", text_length=3))
    np.testing.assert_array_equal(found.splits["train"]["caption"], captions)
    assert captions_of(tmp_path / "a.npz", tmp_path) == captions.tolist()
    save_npz(found, tmp_path / "b.npz")  # without the text, which is made again
    assert load(Data(data=str(tmp_path / "b.npz"))).checksum() == found.checksum()
    splits["train"]["caption"] = np.array(["a", "\ud800"])
    save_npz(Dataset("npz", splits, 256), tmp_path / "c.npz")
    with pytest.raises(ValueError, match="train_caption holds text that is not Unicode"):
        load(Data(data=str(tmp_path / "c.npz")))


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory):
    """A TFDS folder with the features of coco_captions and of named images."""
    import tensorflow_datasets as tfds
    from PIL import Image

    kinds = tfds.features

    class SmallCaptions(tfds.core.GeneratorBasedBuilder):
        """Three images with one, two and no captions."""

        VERSION = tfds.core.Version("1.0.0")
        code_path = None
        url_infos = {}

        def _info(self):
            captions = kinds.Sequence({"id": np.int64, "text": kinds.Text()})
            boxes = kinds.Sequence({"id": np.int64})
            features = {"image": kinds.Image(shape=(4, 4, 3)), "name": kinds.Text()}
            features |= {"captions": captions, "objects": boxes}
            features["notes"] = kinds.Sequence(kinds.Text())
            return tfds.core.DatasetInfo(builder=self, features=kinds.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i, texts in enumerate([["a cat"], ["a dog", "a hound"], []]):
                file = io.BytesIO()
                Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(file, format="PNG")
                file.seek(0)
                captions = [{"id": k, "text": text} for k, text in enumerate(texts)]
                more = {"objects": [{"id": 1}], "notes": ["n"] * (i + 1)}
                yield i, {"image": file, "name": f"name {i}", "captions": captions, **more}

    builder = SmallCaptions(
        data_dir=str(tmp_path_factory.mktemp("tfds")), file_format="array_record"
    )
    builder.download_and_prepare()
    return str(pathlib.Path(builder.data_path))


@pytest.mark.parametrize("stream", ["no", "yes"])
def test_captions_of_tfds_features(tfds_folder, stream):
    def captions(**settings):
        found = load(Data(data=tfds_folder, stream=stream, **settings))
        rows = found.read("train", range(3))
        return rows["caption"][np.argsort(rows["x"][:, 0, 0, 0])].tolist(), found

    text = dict(tokenizer="words", text_length=3)
    own = [["a cat", ""], ["a dog", "a hound"], ["", ""]]
    found, data = captions(**text)
    assert found == own
    assert data.warnings == ("1 of 3 images of train have no caption, and empty texts",)
    assert captions(**text, caption="captions/text")[0] == own
    assert captions(caption="name")[0] == ["name 0", "name 1", "name 2"]
    assert captions(**text, caption="notes")[0] == [["n", "", ""], ["n", "n", ""], ["n"] * 3]
    assert "caption" not in load(Data(data=tfds_folder, stream=stream)).entries("train")


def test_the_checksum_tells_captions_apart_and_is_the_same_from_disk(tfds_folder):
    def checksum(**settings):
        return load(Data(data=tfds_folder, **settings)).checksum()

    text = dict(tokenizer="words", text_length=3)
    found = checksum(**text)
    assert found == checksum(**text, stream="yes") == checksum(caption="captions/text")
    assert found == checksum(tokenizer="characters", text_length=9)
    assert len({found, checksum(caption="name"), checksum()}) == 3
    assert checksum(caption="name") == checksum(caption="name", stream="yes")


def test_captions_without_a_stored_checksum(tfds_folder, tmp_path):
    folder = prepared(tfds_folder, tmp_path)  # its index has no checksums of names
    assert "caption" not in load(Data(data=folder)).entries("train")
    settings = dict(data=folder, tokenizer="characters", text_length=9)
    resident, streamed = (load(Data(**settings, stream=stream)) for stream in ("no", "yes"))
    assert resident.splits["train"]["caption"][0].startswith("name ")
    assert resident.checksum() == streamed.checksum() != load(Data(data=folder)).checksum()


def test_rejects_features_that_are_no_texts(tfds_folder):
    with pytest.raises(ValueError, match=r"no texts 'image', it has .*captions/text.*; correct"):
        load(Data(data=tfds_folder, caption="image"))


def test_rejects_captions_that_would_fill_the_memory(tmp_path, monkeypatch):
    rows = ["a.png," + "word " * 5000, "b.png,x"]
    path = prepared(write_folder(tmp_path / "in", rows), tmp_path)
    settings = dict(data=path, tokenizer="words", text_length=8)
    found = load(Data(**settings))
    assert found.warnings[0].startswith("1 of 2 captions of train are cut to 8 tokens")
    monkeypatch.setattr("genjax.data.tfds_folder.CAPTION_BYTES", 2**17)
    for stream in ("no", "yes"):
        with pytest.raises(ValueError, match=r"caption of 25,000 characters, .*; shorten it"):
            load(Data(**settings, stream=stream))
