"""The worked examples of docs/adding_a_family.md pass the common suite without another edit."""

import inspect
import re

import pytest
from support.documented_families import PAGE, documented_families
from support.helpers import run_python

from genjax.core.protocols import Adversarial, Autoregressive, ExactDensity, Implicit, Trainable

SUITES = ("tests/families/test_contract.py", "tests/families/test_explicit.py")


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


# In a new process, because families are registered before tests are collected.
@pytest.mark.parametrize(("name", "minimum"), [("toy_density", 19), ("toy_gan", 15)])
def test_documented_family_passes_the_common_suite(name, minimum):
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "support.documented_families"]
    done = run_python(*words, "-k", name, *SUITES, check=False, PYTEST_ADDOPTS="")
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= minimum
