"""How the package is installed."""

import tomllib

from support.helpers import ROOT

from genjax import families
from genjax.train.named_weights import FOLDER, weights_names
from genjax.train.run_files import run_files

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_an_editable_install_is_a_path_and_no_import_hook():
    """A hook hides the types, and the clone itself is then `genjax` in its parent folder."""
    assert SETTINGS["tool"]["setuptools"]["package-dir"] == {"": "."}
    assert (ROOT / "genjax" / "py.typed").exists()
    packaged = SETTINGS["tool"]["setuptools"]["package-data"]["genjax"]
    assert packaged == ["py.typed", "weights/*.safetensors"]


def test_weights_that_come_with_the_package_are_small_whole_and_finished():
    assert weights_names()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 12 * 2**20
    for name in weights_names():
        files = run_files(name)
        run, record = files.settings(), files.record()
        assert record["experiment"] == run.experiment, name
        assert record["obtained"] is not None, name
        assert "/" not in run.data.data, name
        assert set(files.variables()) >= {"params"}, name
        assert run.family in families.FAMILIES
