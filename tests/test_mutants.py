"""The program that mutates the package: its changes, and the tests that it runs."""

import ast
import importlib.util

import pytest
from support.helpers import ROOT

spec = importlib.util.spec_from_file_location("mutants", ROOT / "tests/programs/mutants.py")
mutants = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutants)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["(a <= b)", "(a >= b)"]),
        ("a - b", ["(a + b)", "(a)", "(b)"]),
        ("a and b", ["(a or b)"]),
        ("not a", ["(a)"]),
        ("-a", ["(a)"]),
        ("2", ["3", "1"]),
        ("0.5", ["1.5", "1.0"]),
        ("True", ["False"]),
        ("a if b else c", ["(c if b else a)"]),
        ("jnp.where(a, b, c)", ["jnp.where(a, c, b)"]),
        ("jnp.sum(a, axis=0)", ["jnp.mean(a, axis=0)", "jnp.sum(a)", "jnp.sum(a, axis=1)"]),
        ("f(a, b)", ["f(b, a)"]),
        ("jnp.dot(a, b)", ["jnp.dot(b, a)", "jnp.dot(a)"]),
        ("jax.lax.stop_gradient(a)", ["a"]),
        ("return f(a)", ["return a"]),
        ("return a + b", ["return a", "return -(a + b)"]),
        ("a = f(a)", ["pass"]),
        ("raise ValueError(a + b)", []),
    ],
)
def test_changes_of_one_node(source, expected):
    node = ast.parse(source).body[0]
    node = node.value if isinstance(node, ast.Expr) else node
    if isinstance(node, ast.Raise):
        assert list(mutants._sites(ast.parse(source))) == expected
        return
    found = []
    for _, new in mutants.changes(node):
        text = ast.unparse(ast.fix_missing_locations(new))
        plain = isinstance(node, ast.expr) and not isinstance(node, (ast.Call, ast.Constant))
        found.append(f"({text})" if plain else text)
    assert found == expected


def test_a_mutant_replaces_one_segment_of_its_file():
    path = ROOT / "genjax/losses/divergence.py"
    source = path.read_bytes()
    every = mutants.mutants_of(path)
    assert len(every) > 30
    for mutant in every:
        changed = mutants.mutated(source, mutant)
        assert changed != source
        line = source[: mutant["start"]].count(b"\n") + 1
        assert line == mutant["line"]
    assert mutants.mutated(source.replace(b" ", b"  "), every[-1]) is None  # another file


def test_equal_bytecode_is_no_mutant():
    assert not mutants._differs(b"x = 1 + 1\n", b"x = (1 + 1)\n")
    assert mutants._differs(b"x = 1 + 1\n", b"x = 1 - 1\n")
    assert not mutants._differs(b"x = 1\n", b"x = (\n")


@pytest.mark.parametrize("folder", mutants.FOLDERS)
def test_every_module_has_tests(folder):
    for path in (ROOT / "genjax" / folder).rglob("*.py"):
        file = path.relative_to(ROOT).as_posix()
        found = mutants.tests_of(file)
        assert any(name.startswith("tests/") for name in found), file
        assert all((ROOT / name).is_file() for name in found)


def test_only_a_failed_test_kills():
    assert mutants.status_of(1, ["test"]) == "killed"
    assert mutants.status_of(0, []) == "survived"
    assert mutants.status_of(3, []) == mutants.status_of(1, []) == "error"
    assert mutants.status_of(-9, []) == "timeout"
