"""The worked examples of docs/adding_a_family.md pass the common suite without another edit."""

import inspect
import re

from support.documented_families import PAGE, documented_families
from support.helpers import run_python

from genjax.core.protocols import Adversarial, Autoregressive, ExactDensity, Implicit, Trainable

EXPLICIT = 4  # tests of a binary density in that suite, at least


def test_documented_families_implement_their_protocols():
    found = documented_families()
    density, gan = found["toy_density"], found["toy_gan"]
    assert isinstance(density, Trainable)
    assert isinstance(density, Autoregressive)
    assert isinstance(gan, Adversarial)
    assert isinstance(gan, Implicit)
    assert not isinstance(gan, ExactDensity)
    assert list(gan.LOSSES) == ["discriminator", "generator_a", "generator_b"]
    assert all(inspect.getdoc(module) for module in found.values())
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert max(len(block.splitlines()) for block in blocks) < 120


def test_documented_density_passes_the_suite_of_explicit_models():
    """In a new process, because families are registered before tests are collected.

    `test_contract.py` tests the documented families as modules.
    """
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "support.documented_families"]
    suite = "tests/families/test_explicit.py"
    done = run_python(*words, "-k", "toy_density", suite, check=False, PYTEST_ADDOPTS="")
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= EXPLICIT
