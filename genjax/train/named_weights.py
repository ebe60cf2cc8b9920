"""Weights by name: files of the package, and of the Hugging Face Hub."""

import difflib
import functools
import pathlib
import re

from genjax.data.file_io import safe

FOLDER = pathlib.Path(__file__).parents[1] / "weights"
"""Weights that come with the package."""
HUB_FILE = "model.safetensors"
"""Name of the weights in a repository of the Hugging Face Hub; README.md beside it is the card."""
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def weights_names() -> list[str]:
    """Returns the names of the weights that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def find_weights(source: str) -> pathlib.Path | None:
    """Returns the weights file that a text names; None if there is none.

    Args:
      source: a file; a folder with model.safetensors; a name of `weights_names`; or the name of a
        repository of the Hugging Face Hub, `owner/name`, whose model.safetensors is downloaded.

    Raises:
      ValueError: the file cannot be downloaded.
    """
    path = pathlib.Path(source)
    if path.is_dir() and (inside := path / HUB_FILE).is_file():
        return inside
    if path.is_file():
        return path
    if source in weights_names():
        return FOLDER / f"{source}.safetensors"
    # `runs/x`, and a name in a folder that exists, is a missing run.
    local = path.parent.exists() or path.parent.name == "runs"
    return download(source) if _HUB_NAME.fullmatch(source) and not local else None


@functools.cache
def download(name: str) -> pathlib.Path:
    """Downloads the weights of a repository of the Hugging Face Hub, if they are not there yet.

    Raises:
      ValueError: `huggingface_hub` is not installed, there is no such repository or file, or the
        Hub cannot be reached.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise ValueError(
            f"there is no folder {name}; if it is a repository of the Hugging Face Hub, install"
            f" genjax-zoo[hub], which downloads its {HUB_FILE}."
        ) from None
    try:
        return pathlib.Path(huggingface_hub.hf_hub_download(name, HUB_FILE))
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"there is no folder {name}, and {HUB_FILE} of the repository {name} of the Hugging"
            f" Face Hub cannot be downloaded ({safe(lines[0].rstrip('.'), 200)}); check the name."
        ) from None


def suggestion(source: str) -> str:
    """Returns words about the names of weights, for the message that a source is no run."""
    known = weights_names()
    if not known:
        return "this version has no names."
    near = difflib.get_close_matches(source, known, 1, 0.4)
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"the names are {', '.join(known)}{hint}"
