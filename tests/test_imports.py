"""Allowed imports between packages, and what `import genjax` must not import."""

import ast
import collections
import os
import pathlib
import subprocess
import sys

import pytest
from support.helpers import ROOT

import genjax
from genjax.families import FAMILIES

PACKAGE = pathlib.Path(genjax.__file__).parent

# Packages and modules of genjax that each may import; `root` is genjax/__init__.py.
BASE = {"checks", "losses", "core"}
ALLOWED = {
    "version": set(),
    "checks": set(),
    "losses": {"checks", "losses"},
    "core": BASE,
    "nn": BASE | {"nn"},
    "families": BASE | {"nn", "families"},
    "data": BASE | {"nn", "data"},
    "evals": BASE | {"nn", "data", "evals"},
    "train": BASE | {"nn", "families", "data", "evals", "train", "version", "root"},
    "report": {"checks", "families", "data", "train", "version", "report", "root"},
    "cli": BASE | {"nn", "families", "data", "evals", "train", "report", "cli", "version", "root"},
    "root": BASE | {"nn", "families", "data", "evals", "train", "version"},
    "__main__": {"cli"},
}
# Third-party packages that each may import; None allows all. The standard library is allowed,
# except for losses, which may import `math` and `collections.abc` only.
THIRD_PARTY = {
    "version": set(),
    "checks": {"jax"},
    "losses": {"jax", "math", "collections"},
    "core": {"chex", "jax", "numpy", "flax", "optax"},
    "nn": {"jax", "numpy", "flax"},
    "families": {"chex", "jax", "numpy", "flax", "optax"},
    "data": None,
    "evals": None,
    "train": None,
    "report": set(),
    "root": set(),
    "__main__": set(),
    "cli": None,
}
NO_FAMILY_BY_NAME = {"data", "evals"}
# Imported by the functions that use them.
LATE = [
    *("PIL", "grain", "matplotlib", "sklearn", "tensorflow", "tensorflow_datasets", "tyro"),
    *("scipy.linalg", "scipy.optimize", "scipy.special", "tensorboardX"),
    *("safetensors", "tokenizers"),
]
HEAVY = ["flax", "optax", "orbax", "tensorflow_datasets", "tyro", "rich"]


def module_name(path):
    """Returns a file's dotted name, without `__init__`."""
    parts = ["genjax", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "root"


def imports(source, module, is_package=False):
    """Iterates over the absolute names that a source imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: one dot is the module's package
                package = module.split(".")
                package = package[: len(package) - node.level + is_package]
                base = ".".join([*package, *filter(None, [node.module])])
            if base == "genjax":  # `from genjax import checks` imports that package
                for alias in node.names:
                    yield "genjax" if alias.name in genjax.__all__ else f"genjax.{alias.name}"
            else:
                yield base


def violations(source, module, is_package=False):
    """Returns a message for every import of a module that is not allowed."""
    package = package_of(module)
    if package not in ALLOWED:
        return [f"{module}: add the imports of '{package}' to ALLOWED and THIRD_PARTY"]
    messages = []
    for name in imports(source, module, is_package):
        top = name.split(".")[0]
        standard = top in sys.stdlib_module_names and package != "losses"
        if top == "experiments":
            messages.append(f"{module} imports {name}")
        elif top == "genjax":
            if package_of(name) not in ALLOWED[package]:
                messages.append(f"{module} imports {name}")
        elif THIRD_PARTY[package] is not None and top not in THIRD_PARTY[package] and not standard:
            messages.append(f"{module} imports {name}")
        if any(part.startswith("_") and part != "__future__" for part in name.split(".")):
            messages.append(f"{module} imports {name}, which is private")
    if package in NO_FAMILY_BY_NAME:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and node.value in {*FAMILIES, *FAMILIES.values()}:
                messages.append(f"{module} names the family '{node.value}'")
    return messages


def test_imports_point_one_way():
    paths = sorted(PACKAGE.rglob("*.py"))
    packages = {package_of(module_name(path)) for path in paths}
    assert {"losses", "core", "nn", "families", "train", "evals", "data"} <= packages
    messages = []
    for path in paths:
        is_package = path.name == "__init__.py"
        messages += violations(path.read_text(encoding="utf-8"), module_name(path), is_package)
    assert not messages, "\n".join(messages)


def test_packages_are_attributes_that_are_imported_when_used():
    code = (
        "import sys, genjax; loaded = [m for m in sys.modules if m.startswith('genjax.')];"
        " assert loaded == ['genjax.version'], loaded;"
        " assert callable(genjax.losses.bernoulli_nll);"
        " assert callable(genjax.families.get); print(*dir(genjax))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True
    )
    assert done.stdout.split() == sorted(
        ["__version__", "core", "data", "evals", "families", "from_pretrained",
         "jitted_step", "losses", "nn", "report", "train"]
    )  # fmt: skip
    with pytest.raises(AttributeError, match="module 'genjax' has no attribute 'missing'"):
        genjax.missing  # noqa: B018


def test_module_names_are_unique():
    # Commands may be named like the package or family that they serve.
    paths = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "cli"]
    names = [path.stem for path in paths if path.stem != "__init__"]
    names += [path.parent.name for path in paths if path.stem == "__init__"]
    assert len(names) > 100
    assert [name for name, count in collections.Counter(names).items() if count > 1] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("genjax.losses.example", "import flax.linen as nn"),
        ("genjax.losses.example", "import numpy as np"),
        ("genjax.losses.example", "import functools"),
        ("genjax.losses.example", "from genjax import core"),
        ("genjax.losses.example", "from ..core import stream"),
        ("genjax.checks", "from genjax.core import stream"),
        ("genjax.core.example", "from genjax.nn import MLP"),
        ("genjax.core.example", "def f():\n    import orbax.checkpoint"),
        ("genjax.nn.example", "from genjax.families.vae import Encoder"),
        ("genjax.families.example", "from genjax import checks, evals"),
        ("genjax.families.example", "import tensorflow_datasets as tfds"),
        ("genjax.families.example", "from genjax import __version__"),
        ("genjax.evals.example", "from genjax import families"),
        ("genjax.evals.example", "from genjax.train import fit"),
        ("genjax.evals.example", "special = name == 'nade'"),
        ("genjax.data.example", "import importlib\nimportlib.import_module('genjax.families.gan')"),
        ("genjax.train.example", "if True:\n    from experiments.table import rows"),
        ("genjax.train.example", "from jax._src import core"),
        ("genjax.train.example", "from genjax import sample"),
        ("genjax.report.example", "import numpy as np"),
        ("genjax.report.example", "from genjax import evals"),
        ("genjax.cli.sample", "import experiments.table"),
        ("genjax.unknown.example", "import math"),
    ],
)
def test_the_checker_finds_a_forbidden_import(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "genjax.losses.example",
            "import math\nimport jax.numpy as jnp\nfrom genjax import checks",
        ),
        ("genjax.losses.example", "from .likelihood import sum_event"),
        ("genjax.core.example", "import zlib\nimport optax\nfrom genjax.core.state import State"),
        ("genjax.evals.example", "import scipy\nfrom genjax.core import stream"),
        ("genjax.train.example", "from genjax import __version__, data, evals, families"),
        ("genjax.cli.sample", "import argparse\nfrom genjax.train import load"),
    ],
)
def test_the_checker_accepts_allowed_imports(module, source):
    assert violations(source, module) == []


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_losses_import_no_framework():
    code = f"import genjax.losses, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import genjax", ["jax", "numpy", "optax", *LATE, *HEAVY]),
        (
            "from genjax.cli.main import main; main(['--help'])",
            ["jax", "numpy", "optax", *LATE, *HEAVY],
        ),
        (
            "import genjax.core, genjax.data, genjax.evals, genjax.nn, genjax.report, genjax.train;"
            " import genjax.cli.train, genjax.cli.sample, genjax.cli.evaluate, genjax.cli.measure",
            LATE,
        ),
    ],
    ids=["import", "help", "packages"],
)
def test_start_imports_no_package_that_it_does_not_use(code, absent):
    done = python(f"{code}\nimport sys; print([m for m in {absent} if m in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_losses_layers_families_and_steps_need_jax_flax_and_chex_alone():
    """docs/library.md names these three packages; their own dependencies are not blocked."""
    done = python((ROOT / "tests" / "programs" / "small_install.py").read_text())
    assert done.returncode == 0, done.stderr
    blocked, families, *losses = done.stdout.splitlines()
    assert {"grain", "matplotlib", "safetensors", "tensorflow_datasets", "tyro"} <= set(
        blocked.split()
    )
    assert int(families) == len(FAMILIES)
    assert len(losses) == 20
    assert float(losses[-1]) < float(losses[0])


def test_families_are_imported_on_first_use():
    code = (
        "import genjax, genjax.families as f, sys\n"
        "early = [m for m in f.FAMILIES.values() if m in sys.modules]\n"
        "print(early, all(f.get(name).__name__ == f.FAMILIES[name] for name in f.FAMILIES))"
    )
    done = python(code)
    assert done.stdout.strip() == "[] True", done.stderr


def test_importing_touches_no_device():
    """With a platform that does not exist, using a device fails, and importing does not."""
    code = (
        "import genjax, genjax.losses, genjax.core, genjax.nn, genjax.families\n"
        "print('imported', flush=True)\n"
        "import jax\n"
        "jax.devices()\n"  # fails, so the imports used no device
    )
    done = python(code, JAX_PLATFORMS="nonexistent")
    assert done.stdout.strip() == "imported", done.stderr
    assert done.returncode != 0
    assert "nonexistent" in done.stderr
