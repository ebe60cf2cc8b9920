"""What a compiled program makes a chip do, kernel by kernel, read from its text.

`compiled.as_text()` is the program as XLA runs it: every instruction that is not bookkeeping is one
kernel (or one library call), a loop's body runs as often as its known length. Of each kernel: how
often it runs, the bytes that it reads and writes, and the operations of its products. Bytes count
every operand and result once; of an operand that is only sliced the slices, and of one that is
updated in place the update. So they are what has to come from memory, or from a cache, when nothing
is read twice; what a library call does inside, such as sums in parts, is not seen.

`experiments.benchmarks.flops` counts what the traced function asks for; this counts what became of it.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

FREE = frozenset(
    (
        *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
        *("opt-barrier", "partition-id", "replica-id", "async-update"),
    )
)
INSIDE = frozenset(("call", "async-start", "conditional"))
UPDATES = {"dynamic-update-slice": 1, "scatter": 2}  # in place, and which operand is the update
SLICES = frozenset(("dynamic-slice", "slice", "gather"))
SMALLEST = {"pred": 1, "token": 0, "opaque": 0}  # bytes of types whose names do not say bits
HEAD = re.compile(r"^(?:ENTRY )?%?([\w.\-]+)(?: \(.*\))?(?: -> .*)? \{")
NAMED = re.compile(r"^\s+(ROOT )?%?([^\s=]+) = ")
ARRAY = re.compile(r"(\w+)\[([\d,<= ]*)\]")
EXACT = re.compile(r'\{highest,highest|"operand_precision":\["HIGHEST","HIGHEST"')
CALLED = re.compile(
    r"(?:calls|to_apply|body|branch_computations|true_computation|false_computation)="
    r"(\{[^}]*\}|%?[\w.\-]+)"
)


class Kernel(NamedTuple):
    """One instruction of a compiled program that a chip has to run."""

    name: str
    kind: str
    """A fusion's, a library call's target, or the instruction's own."""
    times: float
    """That it runs in one call of the program."""
    bytes: int
    """Read and written by one run."""
    operations: int
    """Of one run's products; a multiply-add counts twice."""
    exact: bool
    """Products are in full float32."""
    source: str
    """Where it comes from: the path of names that JAX gave."""
    dtype: str
    """Of the first operand of its products, as XLA writes it; empty without any."""


class _Line(NamedTuple):
    """An instruction: what it is called, makes and takes."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str
    root: bool


def read(text: str, turns: float = 1.0) -> list[Kernel]:
    """Kernels of a program, in its order.

    Args:
      text: of the program.
      turns: of a loop whose length is not known, on average.

    Raises:
      ValueError: there is no entry in the text.
    """
    computations, entry = _computations(text)
    if not entry:
        raise ValueError("this is not the text of a compiled program: it has no ENTRY.")
    return list(_kernels(computations, entry, 1, turns))


def _computations(text: str) -> tuple[dict[str, list[_Line]], str]:
    """Instructions of each computation, and the name of the first to run."""
    found: dict[str, list[_Line]] = {}
    entry = inside = ""
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        head = HEAD.match(line)
        if head:
            inside = head[1]
            found[inside] = []
            entry = inside if line.startswith("ENTRY") else entry
        elif inside and NAMED.match(line):
            found[inside].append(_line(line))
    return found, entry


def _line(line: str) -> _Line:
    named = NAMED.match(line)
    assert named is not None
    rest = line[named.end() :]
    end = _closing(rest) + 1 if rest.startswith("(") else rest.index(" ")
    shape, rest = rest[:end], rest[end:].strip()
    opcode, rest = rest.split("(", 1)
    end = _closing("(" + rest) - 1
    operands = tuple(re.findall(r"%([^\s,()]+)", rest[:end]))
    return _Line(named[2], shape, opcode, operands, rest[end:], bool(named[1]))


def _closing(text: str) -> int:
    """Place of the bracket that closes the first."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return i
    raise ValueError(f"a bracket is not closed: {text[:60]}")


def _kernels(of: dict[str, list[_Line]], name: str, times: float, turns: float) -> Iterator[Kernel]:
    shapes = {line.name: line.shape for line in of[name]}
    for line in of[name]:
        if line.opcode in FREE or line.opcode.endswith("-done"):
            continue
        if line.opcode == "while":
            length = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line.rest)
            body = re.search(r"body=%?([\w.\-]+)", line.rest)
            assert body is not None
            yield from _kernels(of, body[1], times * (int(length[1]) if length else turns), turns)
            if not length:  # else the host counts, and nobody asks the condition
                asked = re.search(r"condition=%?([\w.\-]+)", line.rest)
                assert asked is not None
                yield from _kernels(of, asked[1], times * (turns + 1), turns)
        elif line.opcode in INSIDE:
            # Of branches the dearest is not known before they run: all count.
            for inner in _called(line):
                yield from _kernels(of, inner, times, turns)
        else:
            yield _kernel(of, line, shapes, times)


def _called(line: _Line) -> list[str]:
    names = " ".join(found.strip("{}") for found in CALLED.findall(line.rest))
    return [name for name in names.replace("%", " ").replace(",", " ").split() if name]


def _kernel(
    of: dict[str, list[_Line]], line: _Line, shapes: dict[str, str], times: float
) -> Kernel:
    operands = [shapes[name] for name in line.operands]
    products = [(line, shapes)]
    moved = sum(map(size, operands)) + size(line.shape)
    kind = line.opcode
    if kind == "dynamic-update-slice":
        moved = 2 * size(operands[1])
    elif kind == "copy-start":
        moved = 2 * size(operands[0])
    if line.opcode == "fusion":
        inner = _called(line)[0]
        products = list(_lines(of, inner))
        moved = _moved(of[inner])
        kind = _find(r"kind=k(\w+)", line.rest)
    elif line.opcode == "custom-call":
        kind = _find(r'custom_call_target="([^"]*)"', line.rest)
        workspace = re.search(r"[su]8\[[\d,]*\](?:\{[^}]*\})?\)$", line.shape)
        moved -= size(workspace[0]) if workspace else 0  # a library's own
    found = [(product, taken, operations(product, taken)) for product, taken in products]
    counted = [each for each in found if each[2]]
    first = counted[0] if counted else None
    return Kernel(
        name=line.name,
        kind=kind,
        times=times,
        bytes=moved,
        operations=sum(each[2] for each in counted),
        exact=bool(counted) and all(EXACT.search(each[0].rest) for each in counted),
        source=_find(r'op_name="([^"]*)"', line.rest),
        dtype=first[1][first[0].operands[0]].split("[")[0] if first else "",
    )


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""


def _lines(of: dict[str, list[_Line]], name: str) -> Iterator[tuple[_Line, dict[str, str]]]:
    """Instructions of a fusion and of those in it, each with the shapes beside it."""
    shapes = {line.name: line.shape for line in of[name]}
    for line in of[name]:
        yield line, shapes
        for inner in _called(line) if line.opcode in ("fusion", "call") else ():
            yield from _lines(of, inner)


def _moved(lines: list[_Line]) -> int:
    """Bytes that a fusion reads and writes."""
    by_name = {line.name: line for line in lines}
    root = next(line for line in lines if line.root)
    gives = [by_name[n] for n in root.operands] if root.opcode == "tuple" else [root]
    updated: set[str] = set()
    total = 0
    for line in gives:
        made = _behind(line, by_name)
        into = _behind(by_name[made.operands[0]], by_name) if made.opcode in UPDATES else made
        others = [u for u in lines if into.name in u.operands and u is not made]
        if into.opcode == "parameter" and made is not into and not others:
            updated.add(into.name)
            total += size(by_name[made.operands[UPDATES[made.opcode]]].shape)
        else:
            total += size(line.shape)
    for line in lines:
        if line.opcode != "parameter" or line.name in updated:
            continue
        users = [u for u in lines if line.name in u.operands]
        if users and all(u.opcode in SLICES and u.operands[0] == line.name for u in users):
            total += min(sum(size(u.shape) for u in users), size(line.shape))
        else:
            total += size(line.shape)
    return total


def _behind(line: _Line, by_name: dict[str, _Line]) -> _Line:
    while line.opcode in ("bitcast", "copy"):
        line = by_name[line.operands[0]]
    return line


def dimensions(shape: str) -> list[int]:
    """Of the first array of a type: `f32[3,4]{1,0}` is 3 and 4."""
    found = ARRAY.search(shape)
    return [int(n) for n in re.findall(r"\d+", found[2])] if found else []


def size(shape: str) -> int:
    """Bytes of a type, of all arrays of a tuple's."""
    total = 0.0
    for kind, sides in ARRAY.findall(shape):
        bits = re.search(r"\d+", kind)
        each = SMALLEST[kind] if kind in SMALLEST else int(bits[0]) / 8 if bits else 0
        total += each * math.prod(int(n) for n in re.findall(r"\d+", sides))
    return math.ceil(total)


def operations(line: _Line, shapes: dict[str, str]) -> int:
    """Of an instruction's product, or 0."""
    target = _find(r'custom_call_target="([^"]*)"', line.rest)
    if line.opcode == "dot" or "gemm" in target or "matmul" in target:
        sides = dimensions(shapes[line.operands[0]])
        return 2 * math.prod(dimensions(line.shape)) * math.prod(sides[i] for i in _summed(line))
    if line.opcode == "convolution" or "conv" in target:
        return _of_convolution(line, [shapes[name] for name in line.operands], target)
    return 0


def _summed(line: _Line) -> list[int]:
    """Axes of the left operand of a product that are summed over."""
    if line.opcode == "dot":
        found = _find(r"lhs_contracting_dims=\{([\d,]*)\}", line.rest)
        return [int(n) for n in found.split(",") if n]
    told = json.loads(_find(r'"dot_dimension_numbers":(\{[^}]*\})', line.rest))
    return [int(n) for n in told["lhs_contracting_dimensions"]]


def _of_convolution(line: _Line, operands: list[str], target: str) -> int:
    """Each number that the forward convolution makes, times the kernel's numbers behind it."""
    made, kernel = line.shape, operands[1]
    if target.endswith("BackwardInput"):
        made = operands[0]
    elif target.endswith("BackwardFilter"):
        made, kernel = operands[1], line.shape
    labels = _find(r"dim_labels=\w+_(\w+)->", line.rest)
    sides = dimensions(kernel)
    dilated = _find(r"lhs_dilate=([\dx]+)", line.rest)
    empty = math.prod(int(n) for n in dilated.split("x")) if dilated else 1
    return 2 * math.prod(dimensions(made)) * math.prod(sides) // sides[labels.index("o")] // empty
