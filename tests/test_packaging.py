"""How the package is installed."""

import tomllib

from support.helpers import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_an_editable_install_is_a_path_and_no_import_hook():
    """A hook hides the types, and the clone itself is then `genjax` in its parent folder."""
    assert SETTINGS["tool"]["setuptools"]["package-dir"] == {"": "."}
    assert (ROOT / "genjax" / "py.typed").exists()
    packaged = SETTINGS["tool"]["setuptools"]["package-data"]["genjax"]
    assert packaged == ["py.typed", "weights/*.safetensors"]
