"""Reads the kernels of a compiled program from its text.

`compiled.as_text()` is the program as XLA runs it: every instruction that is not bookkeeping is one
kernel or library call, and the body of a loop runs as often as its trip count. Bytes count every
operand and result once; of an operand that is only sliced the slices, and of one that is updated in
place the update: the traffic from memory or a cache if nothing is read twice. Work inside library
calls, such as partial sums, is not visible.

`experiments.benchmarks.flops` counts what the traced function requires.
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
UPDATES = {"dynamic-update-slice": 1, "scatter": 2}  # in place; the operand with the update
SLICES = frozenset(("dynamic-slice", "slice", "gather"))
SMALLEST = {"pred": 1, "token": 0, "opaque": 0}  # bytes of types whose names have no bits
HEAD = re.compile(r"^(?:ENTRY )?%?([\w.\-]+)(?: \(.*\))?(?: -> .*)? \{")
NAMED = re.compile(r"^\s+(ROOT )?%?([^\s=]+) = ")
ARRAY = re.compile(r"(\w+)\[([\d,<= ]*)\]")
EXACT = re.compile(r'\{highest,highest|"operand_precision":\["HIGHEST","HIGHEST"')
CALLED = re.compile(
    r"(?:calls|to_apply|body|branch_computations|true_computation|false_computation)="
    r"(\{[^}]*\}|%?[\w.\-]+)"
)


class Kernel(NamedTuple):
    """One instruction of a compiled program."""

    name: str
    kind: str
    """Kind of a fusion, target of a library call, or opcode."""
    times: float
    """Runs in one call of the program."""
    bytes: int
    """Read and written by one run."""
    operations: int
    """Of the products of one run; a multiply-add counts as two."""
    exact: bool
    """Whether products are in full float32."""
    source: str
    """Path of JAX's names."""
    dtype: str
    """Of the first operand of its products, as XLA writes it; empty without products."""


class _Line(NamedTuple):
    """An instruction."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str
    root: bool


def read(text: str, iterations: float = 1.0) -> list[Kernel]:
    """Reiterations the kernels of a program, in order.

    Args:
      text: of the program.
      iterations: mean number of iterations of loops without a known trip count.

    Raises:
      ValueError: the text has no entry computation.
    """
    computations, entry = _computations(text)
    if not entry:
        raise ValueError("the text has no ENTRY; pass compiled.as_text().")
    return list(_kernels(computations, entry, 1, iterations))


def _computations(text: str) -> tuple[dict[str, list[_Line]], str]:
    """Returns the instructions of each computation, and the name of the entry."""
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
    """Returns the index of the bracket that closes the first."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return i
    raise ValueError(f"a bracket is not closed: {text[:60]}")


def _kernels(
    of: dict[str, list[_Line]], name: str, times: float, iterations: float
) -> Iterator[Kernel]:
    shapes = {line.name: line.shape for line in of[name]}
    for line in of[name]:
        if line.opcode in FREE or line.opcode.endswith("-done"):
            continue
        if line.opcode == "while":
            length = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line.rest)
            body = re.search(r"body=%?([\w.\-]+)", line.rest)
            assert body is not None
            yield from _kernels(
                of, body[1], times * (int(length[1]) if length else iterations), iterations
            )
            if not length:  # otherwise the condition is not evaluated
                condition = re.search(r"condition=%?([\w.\-]+)", line.rest)
                assert condition is not None
                yield from _kernels(of, condition[1], times * (iterations + 1), iterations)
        elif line.opcode in INSIDE:
            # Which branch runs is unknown: all count.
            for inner in _called(line):
                yield from _kernels(of, inner, times, iterations)
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
        moved -= size(workspace[0]) if workspace else 0  # internal to the library
    found = [(product, types, operations(product, types)) for product, types in products]
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
    """Yields instructions of a fusion and of nested ones, each with its computation's shapes."""
    shapes = {line.name: line.shape for line in of[name]}
    for line in of[name]:
        yield line, shapes
        for inner in _called(line) if line.opcode in ("fusion", "call") else ():
            yield from _lines(of, inner)


def _moved(lines: list[_Line]) -> int:
    """Returns the bytes that a fusion reads and writes."""
    by_name = {line.name: line for line in lines}
    root = next(line for line in lines if line.root)
    outputs = [by_name[n] for n in root.operands] if root.opcode == "tuple" else [root]
    updated: set[str] = set()
    total = 0
    for line in outputs:
        output = _behind(line, by_name)
        into = _behind(by_name[output.operands[0]], by_name) if output.opcode in UPDATES else output
        others = [u for u in lines if into.name in u.operands and u is not output]
        if into.opcode == "parameter" and output is not into and not others:
            updated.add(into.name)
            total += size(by_name[output.operands[UPDATES[output.opcode]]].shape)
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
    """Returns the dimensions of the first array of a type: `f32[3,4]{1,0}` has 3 and 4."""
    found = ARRAY.search(shape)
    return [int(n) for n in re.findall(r"\d+", found[2])] if found else []


def size(shape: str) -> int:
    """Returns the bytes of a type, summed over the arrays of a tuple."""
    total = 0.0
    for kind, sides in ARRAY.findall(shape):
        bits = re.search(r"\d+", kind)
        each = SMALLEST[kind] if kind in SMALLEST else int(bits[0]) / 8 if bits else 0
        total += each * math.prod(int(n) for n in re.findall(r"\d+", sides))
    return math.ceil(total)


def operations(line: _Line, shapes: dict[str, str]) -> int:
    """Returns the operations of an instruction's product, or 0."""
    target = _find(r'custom_call_target="([^"]*)"', line.rest)
    if line.opcode == "dot" or "gemm" in target or "matmul" in target:
        sides = dimensions(shapes[line.operands[0]])
        return 2 * math.prod(dimensions(line.shape)) * math.prod(sides[i] for i in _summed(line))
    if line.opcode == "convolution" or "conv" in target:
        return _of_convolution(line, [shapes[name] for name in line.operands], target)
    return 0


def _summed(line: _Line) -> list[int]:
    """Returns the contracted axes of the left operand of a product."""
    if line.opcode == "dot":
        found = _find(r"lhs_contracting_dims=\{([\d,]*)\}", line.rest)
        return [int(n) for n in found.split(",") if n]
    numbers = json.loads(_find(r'"dot_dimension_numbers":(\{[^}]*\})', line.rest))
    return [int(n) for n in numbers["lhs_contracting_dimensions"]]


def _of_convolution(line: _Line, operands: list[str], target: str) -> int:
    """Returns outputs of the forward convolution times kernel elements per output, times two."""
    output, kernel = line.shape, operands[1]
    if target.endswith("BackwardInput"):
        output = operands[0]
    elif target.endswith("BackwardFilter"):
        output, kernel = operands[1], line.shape
    labels = _find(r"dim_labels=\w+_(\w+)->", line.rest)
    sides = dimensions(kernel)
    dilated = _find(r"lhs_dilate=([\dx]+)", line.rest)
    empty = math.prod(int(n) for n in dilated.split("x")) if dilated else 1
    return 2 * math.prod(dimensions(output)) * math.prod(sides) // sides[labels.index("o")] // empty
