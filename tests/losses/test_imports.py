"""Who may import whom; and what `import genjax` must leave alone."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

import genjax
from genjax.families import FAMILIES

PACKAGE = pathlib.Path(genjax.__file__).parent

# Rooms of genjax each room may use. `root` is genjax/__init__.py, which imports when called; a
# `command` is another file beside it, for `genjax sample`, which nobody imports.
STANDING = {"checks", "losses", "core"}  # on which the rest stands
ROOMS = {
    "version": set(),
    "checks": set(),
    "losses": {"checks", "losses"},
    "core": STANDING,
    "nn": STANDING | {"nn"},
    "families": STANDING | {"nn", "families"},
    "image_grid": set(),
    "data": STANDING | {"nn", "data", "image_grid"},
    "evals": STANDING | {"nn", "data", "evals"},
    "train": STANDING
    | {"nn", "families", "data", "evals", "train", "version", "root", "image_grid"},
    "report": {"families", "train", "version", "report", "root"},  # shows what the others wrote
    "cli": STANDING
    | {"nn", "families", "data", "evals", "train", "report", "cli", "version", "root"}
    | {"image_grid"},
    "root": STANDING | {"nn", "families", "data", "evals", "train", "version"},
    "__main__": {"cli"},
}
# Other packages each room may use; None is any. The standard library is always allowed, but for
# losses, which have `math` and `collections.abc` alone.
OTHERS = {
    "version": set(),
    "checks": {"jax"},
    "losses": {"jax", "math", "collections"},
    "core": {"chex", "jax", "numpy", "flax", "optax"},
    "nn": {"jax", "numpy", "flax"},
    "families": {"chex", "jax", "numpy", "flax", "optax"},
    "image_grid": {"numpy"},
    "data": None,
    "evals": None,
    "train": None,
    "report": set(),
    "root": set(),
    "__main__": set(),
    "cli": None,
}
NO_FAMILY_BY_NAME = {"data", "evals"}
HEAVY = ["flax", "optax", "orbax", "tensorflow_datasets", "tyro", "rich"]


def module_name(path):
    """genjax/core/step.py is genjax.core.step; a room's __init__ is the room."""
    parts = ["genjax", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "root"


def rules_of(module, is_package):
    """The room whose rules hold for a module."""
    room = room_of(module)
    alone = module.count(".") == 1 and not is_package
    return "command" if alone and room not in ROOMS else room


def imports(source, module, is_package=False):
    """Dotted names a source imports, at its top or inside a function, absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: one dot is the package the module lies in
                package = module.split(".")
                package = package[: len(package) - node.level + is_package]
                base = ".".join([*package, *filter(None, [node.module])])
            if base == "genjax":  # `from genjax import checks` is of that room
                for alias in node.names:
                    yield "genjax" if alias.name in genjax.__all__ else f"genjax.{alias.name}"
            else:
                yield base


def violations(source, module, is_package=False):
    """Every arrow of one module that points the wrong way, in words."""
    room = rules_of(module, is_package)
    if room not in ROOMS:
        return [f"{module}: say in ROOMS and OTHERS what the room '{room}' may import"]
    found = []
    for name in imports(source, module, is_package):
        top = name.split(".")[0]
        standard = top in sys.stdlib_module_names and room != "losses"
        if top == "experiments":
            found.append(f"{module} imports {name}")
        elif top == "genjax":
            if room_of(name) not in ROOMS[room]:
                found.append(f"{module} imports {name}")
        elif OTHERS[room] is not None and top not in OTHERS[room] and not standard:
            found.append(f"{module} imports {name}")
        if any(part.startswith("_") and part != "__future__" for part in name.split(".")):
            found.append(f"{module} imports {name}, which is private")
    if room in NO_FAMILY_BY_NAME:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and node.value in {*FAMILIES, *FAMILIES.values()}:
                found.append(f"{module} names the family '{node.value}'")
    return found


def test_arrows_point_one_way():
    paths = sorted(PACKAGE.rglob("*.py"))
    rooms = {room_of(module_name(path)) for path in paths}
    assert {"losses", "core", "nn", "families", "train", "evals", "data"} <= rooms  # all are seen
    found = []
    for path in paths:
        is_package = path.name == "__init__.py"
        found += violations(path.read_text(encoding="utf-8"), module_name(path), is_package)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("genjax.losses.planted", "import flax.linen as nn"),
        ("genjax.losses.planted", "import numpy as np"),
        ("genjax.losses.planted", "import functools"),
        ("genjax.losses.planted", "from genjax import core"),
        ("genjax.losses.planted", "from ..core import stream"),
        ("genjax.checks", "from genjax.core import stream"),
        ("genjax.core.planted", "from genjax.nn import MLP"),
        ("genjax.core.planted", "def f():\n    import orbax.checkpoint"),
        ("genjax.nn.planted", "from genjax.families.vae import Encoder"),
        ("genjax.families.planted", "from genjax import checks, evals"),
        ("genjax.families.planted", "import tensorflow_datasets as tfds"),
        ("genjax.families.planted", "from genjax import __version__"),
        ("genjax.evals.planted", "from genjax import families"),
        ("genjax.evals.planted", "from genjax.train import fit"),
        ("genjax.evals.planted", "special = name == 'nade'"),
        ("genjax.data.planted", "import importlib\nimportlib.import_module('genjax.families.gan')"),
        ("genjax.train.planted", "if True:\n    from experiments.table import rows"),
        ("genjax.train.planted", "from jax._src import core"),
        ("genjax.train.planted", "from genjax import sample"),
        ("genjax.report.planted", "import numpy as np"),
        ("genjax.report.planted", "from genjax import data"),
        ("genjax.cli.sample", "import experiments.table"),
        ("genjax.cellar.planted", "import math"),
    ],
)
def test_the_checker_finds_a_planted_import(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "genjax.losses.planted",
            "import math\nimport jax.numpy as jnp\nfrom genjax import checks",
        ),
        ("genjax.losses.planted", "from .likelihood import sum_event"),
        ("genjax.core.planted", "import zlib\nimport optax\nfrom genjax.core.state import State"),
        ("genjax.evals.planted", "import scipy\nfrom genjax.core import stream"),
        ("genjax.train.planted", "from genjax import __version__, data, evals, families"),
        ("genjax.cli.sample", "import argparse\nfrom genjax.train import load"),
    ],
)
def test_the_checker_lets_good_imports_pass(module, source):
    assert violations(source, module) == []


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_losses_bring_no_framework_along():
    code = f"import genjax.losses, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_families_are_imported_when_asked_for():
    code = (
        "import genjax, genjax.families as f, sys\n"
        "early = [m for m in f.FAMILIES.values() if m in sys.modules]\n"
        "print(early, all(f.get(name).__name__ == f.FAMILIES[name] for name in f.FAMILIES))"
    )
    done = python(code)
    assert done.stdout.strip() == "[] True", done.stderr


def test_importing_touches_no_device():
    """With a platform that does not exist, the first use of a device fails. Importing does not."""
    code = (
        "import genjax, genjax.losses, genjax.core, genjax.nn, genjax.families\n"
        "print('imported', flush=True)\n"
        "import jax\n"
        "jax.devices()\n"  # fails: this is how we know that the imports used none
    )
    done = python(code, JAX_PLATFORMS="nonexistent")
    assert done.stdout.strip() == "imported", done.stderr
    assert done.returncode != 0
    assert "nonexistent" in done.stderr
