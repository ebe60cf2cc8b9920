"""`mutants.py RESULTS.json`: runs seeded mutants of the package against their own tests.

A mutant is a copy of the package with one expression changed. It is killed if one of the tests of
its module fails, and survives otherwise. Sites are drawn at random, one kind of change after the
other, so that rare kinds are as frequent as common ones. Not mutated: error messages, annotations,
defaults of settings (class bodies, `tiny`), and changes that leave the bytecode as it is.

The tests of a module are its doctests, the test file of its name, the test files of its folder that
import from it (of all folders if there are none; four others for core), and for a family its cases
of the common suite.
Every mutant runs in a process of its own with a limit of CPU seconds, in a copy of the tree beside
the results. Results are written after every mutant; the same command resumes. `--seconds` ends
early with exit status 75. `"judgement": "equivalent"` is written into the results by hand.
"""

import argparse
import ast
import functools
import importlib
import itertools
import json
import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("losses", "core", "evals", "families")
CONTRACT = "tests/families/test_contract.py"
SLOW = ("test_contract.py", "test_devices.py")  # over all families

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
}
FUNCTIONS = {
    "sum": "mean",
    "mean": "sum",
    "max": "min",
    "min": "max",
    "maximum": "minimum",
    "minimum": "maximum",
    "argmax": "argmin",
    "argmin": "argmax",
    "std": "var",
    "var": "std",
    "exp": "expm1",
    "expm1": "exp",
    "log": "log1p",
    "log1p": "log",
    "floor": "ceil",
    "zeros": "ones",
    "ones": "zeros",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
    "logsumexp": "max",
    "softplus": "relu",
    "relu": "abs",
    "sigmoid": "tanh",
    "tanh": "sigmoid",
    "cumsum": "cumprod",
    "sqrt": "square",
    "square": "abs",
    "all": "any",
    "any": "all",
    "normal": "uniform",
    "tril": "triu",
    "softmax": "sigmoid",
    "log_sigmoid": "log_softmax",
}


def _name(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _copy(node, **changes):
    fields = {name: changes.get(name, value) for name, value in ast.iter_fields(node)}
    return type(node)(**fields)


def changes(node: ast.AST):
    """Yields (kind, new node or text) for every change of `node` itself."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for new in COMPARISONS[type(node.ops[0])]:
            yield "comparison", _copy(node, ops=[new()])
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        for new in ARITHMETIC[type(node.op)]:
            yield "arithmetic", _copy(node, op=new())
        yield "operand dropped", node.left
        yield "operand dropped", node.right
    elif isinstance(node, ast.BoolOp):
        yield "logic", _copy(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp):
        yield "sign" if isinstance(node.op, ast.USub) else "logic", node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        value = node.value
        yield "constant", ast.Constant(not value if isinstance(value, bool) else value + 1)
        if type(value) in (int, float) and value:
            yield "constant", ast.Constant(2 * value if isinstance(value, float) else value - 1)
    elif isinstance(node, ast.IfExp):
        yield "branch", _copy(node, body=node.orelse, orelse=node.body)
    elif isinstance(node, ast.Call):
        yield from _call_changes(node)
    elif isinstance(node, ast.Return) and node.value is not None:
        value = node.value
        if (
            isinstance(value, ast.Call)
            and value.args
            and not isinstance(value.args[0], ast.Starred)
        ):
            yield "part returned", _copy(node, value=value.args[0])
        if isinstance(value, ast.BinOp):
            yield "part returned", _copy(node, value=value.left)
            yield "sign", _copy(node, value=ast.UnaryOp(ast.USub(), value))
    elif isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        reads = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
        if isinstance(target, ast.Name) and target.id in reads:
            yield "statement dropped", ast.Pass()
    elif isinstance(node, ast.AugAssign):
        yield "statement dropped", ast.Pass()


def _call_changes(node: ast.Call):
    name, args = _name(node), node.args
    plain = not any(isinstance(a, ast.Starred) for a in args)
    if name in FUNCTIONS and isinstance(node.func, ast.Attribute):
        yield "function", _copy(node, func=_copy(node.func, attr=FUNCTIONS[name]))
    if name == "stop_gradient" and args:
        yield "stop_gradient", args[0]
    if name == "fold_in" and args:
        yield "random key", args[0]
    if name == "where" and len(args) == 3:
        yield "branch", _copy(node, args=[args[0], args[2], args[1]])
        return
    library = ast.unparse(node.func).split(".")[0] in ("jax", "jnp", "np", "nn", "optax")
    if plain and len(args) >= 2 and name not in ("getattr", "isinstance", "get"):
        yield "arguments swapped", _copy(node, args=[args[1], args[0], *args[2:]])
        if library:  # whose functions have defaults; ours would raise
            yield "argument dropped", _copy(node, args=args[:-1])
    for i, keyword in enumerate(node.keywords):
        others = node.keywords[:i] + node.keywords[i + 1 :]
        if keyword.arg in ("axis", "axes", "dims", "axis_name"):
            yield "axis", _copy(node, keywords=others)
            for axis in _axes(keyword.value):
                new = ast.keyword(keyword.arg, axis)
                yield "axis", _copy(node, keywords=[*others, new])
        elif keyword.arg:
            yield "argument dropped", _copy(node, keywords=others)


def _axes(value):
    """Yields other axes in place of a constant one or a tuple."""
    if isinstance(value, ast.Tuple) and len(value.elts) > 1:
        yield ast.Tuple(value.elts[1:], ast.Load())
    elif isinstance(value, (ast.Constant, ast.UnaryOp)):
        yield ast.Constant(1 if ast.unparse(value) == "0" else 0)


def _skipped(node: ast.AST, parent: ast.AST, field: str) -> bool:
    """Returns whether no expression below `node` is mutated."""
    return (
        isinstance(node, (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr))
        or (isinstance(node, ast.FunctionDef) and node.name in ("tiny", "__repr__"))
        or field in ("annotation", "returns", "decorator_list", "bases", "type_params")
        or (isinstance(parent, (ast.ClassDef, ast.Module)) and isinstance(node, ast.AnnAssign))
        or (isinstance(parent, ast.Module) and isinstance(node, ast.Assign))
        or (isinstance(node, ast.Call) and _name(node) in ("TypeVar", "cast", "warn"))
        or (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("checks."))
    )


def _sites(tree: ast.AST):
    for field, value in ast.iter_fields(tree):
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST) and not _skipped(node, tree, field):
                yield node
                yield from _sites(node)


def _bytecode(source: bytes):
    def parts(code):
        inner = tuple(parts(c) if hasattr(c, "co_code") else repr(c) for c in code.co_consts)
        return code.co_code, code.co_names, code.co_varnames, inner

    return parts(compile(source, "module", "exec", dont_inherit=True))


def mutants_of(path: pathlib.Path) -> list[dict]:
    """Returns all mutants of a file: where a segment is replaced, and by what."""
    source = path.read_bytes()
    begins = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]
    found = []
    for node in _sites(ast.parse(source)):
        for kind, new in changes(node):
            start = begins[node.lineno - 1] + node.col_offset
            end = begins[node.end_lineno - 1] + node.end_col_offset
            text = ast.unparse(ast.fix_missing_locations(new))
            if isinstance(node, ast.expr) and not isinstance(node, (ast.Call, ast.Constant)):
                text = f"({text})"
            found.append(
                {
                    "file": path.relative_to(ROOT).as_posix(),
                    "line": node.lineno,
                    "kind": kind,
                    "start": start,
                    "before": source[start:end].decode(),
                    "after": text,
                }
            )
    return found


def mutated(source: bytes, mutant: dict) -> bytes | None:
    """Returns the mutant's source, or None if the file has changed at that place since."""
    before = mutant["before"].encode()
    start, end = mutant["start"], mutant["start"] + len(before)
    if source[start:end] != before:
        return None
    return source[:start] + mutant["after"].encode() + source[end:]


def draw(count: int, seed: int) -> list[dict]:
    """Draws mutants, one kind after the other, at most one for each expression."""
    kinds: dict[str, list[dict]] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / "genjax" / folder).rglob("*.py")):
            for mutant in mutants_of(path):
                kinds.setdefault(mutant["kind"], []).append(mutant)
    rng, chosen, places = random.Random(seed), [], set()
    for mutants in kinds.values():
        rng.shuffle(mutants)
    while len(chosen) < count and any(kinds.values()):
        for kind in sorted(kinds):
            while kinds[kind]:
                mutant = kinds[kind].pop()
                source = (ROOT / mutant["file"]).read_bytes()
                place = mutant["file"], mutant["start"]
                if place not in places and _differs(source, mutated(source, mutant)):
                    places.add(place)
                    chosen.append(mutant)
                    break
    return chosen[:count]


def _differs(source: bytes, other: bytes | None) -> bool:
    try:
        return other is not None and _bytecode(source) != _bytecode(other)
    except SyntaxError:
        return False


def tests_of(file: str) -> list[str]:
    """Returns the arguments of pytest for the tests of a module, the cheapest first."""
    path = pathlib.PurePosixPath(file)
    parts = path.parts[1:]  # ("families", "vae", "flow.py")
    module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    source = (ROOT / file).read_text()
    names = {
        node.name
        for node in ast.parse(source).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    stem = "_".join(parts[1:]).removesuffix(".py").removesuffix("___init__")
    own = [t for t in tests if t.stem in (f"test_{stem}", f"test_{path.stem}")]
    if parts[0] == "families":  # test_vae_flow.py tests vae/flow.py, test_vae*.py the package
        family = parts[1].removesuffix(".py")
        names |= {family}
        own += [t for t in tests if t.stem == f"test_{family}"]
    importing = [t for t in tests if t.name not in SLOW and _imports(t, module, names)]
    importing.sort(key=lambda t: t.stat().st_size)
    near = [t for t in importing if t.relative_to(ROOT / "tests").parts[0] == parts[0]]
    far = [t for t in importing if t not in near]
    if own or near:
        far = far[:4] if parts[0] == "core" else []
    found = [t.relative_to(ROOT).as_posix() for t in dict.fromkeys(own + near + far)]
    if not found:  # the tests of the modules beside it that use it
        beside = sorted((ROOT / file).parent.glob("[!_]*.py"))
        users = [p.relative_to(ROOT).as_posix() for p in beside if module in _imported(p)]
        found = list(dict.fromkeys(test for user in users for test in tests_of(user)))
    common = [CONTRACT] if parts[0] == "families" or not found else []
    return [file] * (">>>" in source) + found + common


def _imports(test: pathlib.Path, module: str, names: set[str]) -> bool:
    """Returns whether a test file imports `module`, or one of `names` from a package above it."""
    packages = {module.rsplit(".", i)[0] for i in range(1, module.count("."))}
    return any(
        name == module or (name.rpartition(".")[0] in packages and name.rpartition(".")[2] in names)
        for name in _imported(test)
    )


@functools.cache
def _imported(test: pathlib.Path) -> set[str]:
    """Returns the modules that a test file imports, and the names with their modules."""
    found = set()
    for node in ast.walk(ast.parse(test.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add(f"genjax.{node.value.id}.{node.attr}")  # after `from genjax import evals`
    return found


class _Failures:
    """Chooses the cases of one family in the common suite, and keeps the tests that fail."""

    def __init__(self, file):
        self.family = file.split("/")[2].removesuffix(".py") if "families/" in file else None
        self.names = []

    def pytest_collection_modifyitems(self, items):
        for item in list(items):
            params = getattr(item, "callspec", None) and item.callspec.params
            name = (params or {}).get("name")
            if self.family and CONTRACT in item.nodeid and name != self.family:
                items.remove(item)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.names.append(report.nodeid)

    pytest_collectreport = pytest_runtest_logreport


def run_tests(file: str, tests: list[str], tree: pathlib.Path, seconds: int):
    """Runs tests in a forked process; returns pytest's status, the failed tests and CPU seconds."""
    started, (read, write) = resource.getrusage(resource.RUSAGE_CHILDREN), os.pipe()
    child = os.fork()
    if not child:
        code = 3
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            output = os.open(tree.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(tree)
            os.environ["PYTHONPATH"] = str(tree)
            sys.path.insert(0, str(tree))
            import pytest

            failures = _Failures(file)
            options = ["-q", "-p", "no:cacheprovider", *(["-x"] if file else []), *tests]
            code = int(pytest.main(options, plugins=[failures]))
            os.write(write, "\n".join(failures.names).encode())
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        failed = pipe.read().splitlines()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime
    return code, failed, round(cpu, 1)


def status_of(code: int, failed: list[str]) -> str:
    """Returns the status of a mutant: pytest itself may fail, which kills nothing."""
    if code < 0:
        return "timeout"  # by the limit, or a crash
    if failed:
        return "killed"
    return "survived" if code == 0 else "error"


def check_killers(mutants: list[dict], tree: pathlib.Path, seconds: int) -> None:
    """Runs the tests that failed on the unmodified package; if one fails, it has killed nothing."""
    names = sorted(
        {m["test"] for m in mutants if m.get("status") == "killed" and "::" in m["test"]}
    )
    failed = []
    # Apart: collecting a doctest replaces the function `evals.frechet` by its module.
    for tests in ([n for n in names if n.startswith("genjax/") == own] for own in (True, False)):
        if tests:
            failed += run_tests("", tests, tree, seconds * len(tests))[1]
    for mutant in mutants:
        if mutant.get("test") in failed:
            mutant["status"] = "error"


def prepare_process(results: pathlib.Path) -> None:
    """Imports what tests need once, before the forks, with the environment of tests/conftest.py.

    Not pytest's plugins, whose import it observes, and nothing that starts a device.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(results.with_suffix(".cache")))
    code = "import conftest, json, os; print(json.dumps(dict(os.environ)))"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT / "tests")
    os.environ.update(json.loads(output))
    for module in ("jax.numpy", "flax.linen", "optax", "chex", "scipy.stats", "sklearn.svm"):
        importlib.import_module(module)


def copy_tree(tree: pathlib.Path) -> None:
    """Copies the files of the working tree, with their times, so that bytecode stays valid."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in listed.splitlines():
        source, target = ROOT / name, tree / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def write_source(path: pathlib.Path, source: bytes) -> None:
    """Writes a source file and removes its bytecode, which Python compares by whole seconds."""
    path.write_bytes(source)
    for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        stale.unlink()


def save(results: pathlib.Path, mutants: list[dict]) -> None:
    part = results.with_suffix(".part")
    part.write_text(json.dumps(mutants, indent=1, ensure_ascii=False) + "\n")
    part.replace(results)


def summary(mutants: list[dict]) -> str:
    done = [m for m in mutants if "status" in m]
    killed = sum(m["status"] in ("killed", "timeout") for m in done)
    equivalent = sum(m.get("judgement") == "equivalent" for m in done)
    share = killed / max(len(done) - equivalent, 1)
    return (
        f"{len(done)} of {len(mutants)} mutants run: {killed} killed, {equivalent} equivalent,"
        f" {len(done) - killed - equivalent} survive; score {share:.1%}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=150, help="CPU seconds per mutant")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after this time")
    parser.add_argument("--again", action="store_true", help="run the survivors again")
    parser.add_argument("--list", action="store_true", help="print the mutants and their tests")
    options = parser.parse_args()
    results = options.results.resolve()
    if results.exists():
        mutants = json.loads(results.read_text())
    else:
        mutants = draw(options.count, options.seed)
        save(results, mutants)
    if options.list:
        for i, m in enumerate(mutants):
            print(f"{i} {m['file']}:{m['line']} {m['kind']}: {m['before']} -> {m['after']}")
            print("   ", *tests_of(m["file"]))
        return 0
    prepare_process(results)
    started = time.monotonic()
    tree = results.with_suffix(".tree")
    copy_tree(tree)
    for i, mutant in enumerate(mutants):
        again = options.again and mutant.get("judgement") != "equivalent"
        if "status" in mutant and not (again and mutant["status"] == "survived"):
            continue
        if time.monotonic() - started > options.seconds:
            print(summary(mutants))
            return 75
        source = (ROOT / mutant["file"]).read_bytes()
        changed = mutated(source, mutant)
        if changed is None:
            mutant["status"] = "stale"
            continue
        write_source(tree / mutant["file"], changed)
        file = mutant["file"]
        code, failed, cpu = run_tests(file, tests_of(file), tree, options.limit)
        write_source(tree / file, source)
        mutant.update(status=status_of(code, failed), test="".join(failed[:1]), seconds=cpu)
        save(results, mutants)
        print(i, mutant["status"], f"{cpu} s {file}:{mutant['line']}", mutant["test"], flush=True)
    check_killers(mutants, tree, options.limit)
    save(results, mutants)
    print(summary(mutants))
    return 0


if __name__ == "__main__":
    sys.exit(main())
