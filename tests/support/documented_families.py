"""The worked examples of docs/adding_a_family.md; as a pytest plugin, registers them as families.

The docstring of each Python block starts with the name of its module.
"""

import pathlib
import re
import sys
import types

from genjax.families import FAMILIES

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "adding_a_family.md"


def documented_families() -> dict[str, types.ModuleType]:
    """Executes the page's Python blocks and returns them as modules by name."""
    modules: dict[str, types.ModuleType] = {}
    for code in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        name = re.match(r'"""(\w+):', code)[1]
        modules[name] = sys.modules[name] = types.ModuleType(name)
        exec(compile(code, f"{PAGE.name}:{name}", "exec"), modules[name].__dict__)
    return modules


def pytest_configure() -> None:
    """Registers the families before tests are collected."""
    FAMILIES.update({name: name for name in documented_families()})
