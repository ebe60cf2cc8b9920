"""Models with their weights, by name."""

import dataclasses
import os
from types import ModuleType
from typing import Any

from genjax import families
from genjax.data.tokenizers import Tokenizer
from genjax.train.load_run import load
from genjax.train.run_config import Run
from genjax.train.run_files import run_files


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A trained model.

    Attributes:
      family: module, such as `genjax.families.nade`.
      config: the family's Config.
      variables: to evaluate and sample with, on the default device.
      record: of the run: its figure, settings, time and device; empty if it is not finished.
      run: all settings of the run.
      tokenizer: of the captions that the model takes; None if it takes none.
    """

    family: ModuleType
    config: Any
    variables: dict[str, Any] = dataclasses.field(repr=False)
    record: dict[str, Any] = dataclasses.field(repr=False)
    run: Run = dataclasses.field(repr=False)
    tokenizer: Tokenizer | None = None


def from_pretrained(source: str | os.PathLike) -> Pretrained:
    """Loads a trained model.

        model = genjax.from_pretrained("runs/nade_binarized_mnist-cpu-seed0")
        x = model.family.sample(model.config, model.variables, jax.random.key(0), 16)

    Args:
      source: a name of weights that come with the package (`genjax.train.weights_names()`); a file
        that `genjax export` has written, or a folder with one as `model.safetensors`; the folder of
        a run; or a repository of the Hugging Face Hub, `owner/name`, which needs the extra `hub`.

    Raises:
      ValueError: there is no such model, or its file is damaged or of a newer version.
    """
    files = run_files(source)
    run, variables = load(files)
    family = families.get(run.family)
    tokenizer = files.tokenizer() if run.data.tokenizer else None
    return Pretrained(family, run.model, variables, files.record(), run, tokenizer)
