"""The files of a run that is used and not trained: its folder, or one weights file."""

import os
import pathlib
from typing import Any, Protocol

from genjax.data.file_io import safe
from genjax.data.json_files import read_object
from genjax.data.tokenizers import Tokenizer, load_tokenizer
from genjax.train.named_weights import find_weights, suggestion
from genjax.train.run_config import Run
from genjax.train.weights_file import WeightsFile
from genjax.train.workdir import own_folder, read_run, saved_data


class RunFiles(Protocol):
    """What is kept of a run besides its variables, which `genjax.train.load` returns.

    Attributes:
      path: folder or file.
    """

    path: pathlib.Path

    def settings(self) -> Run:
        """Returns the settings."""

    def record(self) -> dict[str, Any]:
        """Returns the record; empty if the run is not finished."""

    def data(self) -> dict[str, Any] | None:
        """Returns what is known of the data, with their `checksum`; None if nothing is."""

    def tokenizer(self) -> Tokenizer:
        """Returns the tokenizer of the captions."""

    def output(self, name: str) -> pathlib.Path:
        """Returns the file or folder that a command writes to by default."""


class RunFolder:
    """The folder of a run."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def settings(self) -> Run:
        """Returns the settings in config.json."""
        return read_run(self.path)

    def record(self) -> dict[str, Any]:
        """Returns record.json; empty if the run is not finished.

        Raises:
          ValueError: it is damaged.
        """
        path = self.path / "record.json"
        if not path.is_file():
            return {}
        return read_object(path, fix="restore the file, or run the experiment again")

    def data(self) -> dict[str, Any] | None:
        """Returns data.json, or the checksum in the newest checkpoint."""
        return saved_data(self.path)

    def tokenizer(self) -> Tokenizer:
        """Returns the tokenizer in tokenizer.json."""
        return load_tokenizer(self.path)

    def output(self, name: str) -> pathlib.Path:
        """Returns a path in the folder, which is no link."""
        return own_folder(self.path, name)


def run_files(source: str | os.PathLike | RunFiles) -> RunFiles:
    """Returns the files of a run.

    Args:
      source: folder of a run; a weights file, or a folder with model.safetensors; a name of weights
        that come with the package; `owner/name` of the Hugging Face Hub; or the files themselves,
        so that a weights file is read once.

    Raises:
      ValueError: there is no such run, or its weights file is damaged.
    """
    if not isinstance(source, str | os.PathLike):
        return source
    path = pathlib.Path(source)
    if (path / "config.json").is_file():
        return RunFolder(path)
    found = find_weights(os.fspath(source))
    if found is not None:
        return WeightsFile(found)
    raise ValueError(
        f"{safe(path)} holds no run: there is no {safe(path / 'config.json')}; give a run's"
        f" --workdir, or weights by file or name: {suggestion(os.fspath(source))}"
    )
