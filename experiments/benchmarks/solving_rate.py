"""Measures how fast puzzles of 3x3 pieces of 24x24 pixels are solved, beside JigsawGAN's paper.

Solvers: `greedy`, `tree` and `borders` (beam search) use border costs alone
(`genjax.evals.border_solvers`); `head` is the assignment head at the size that a CPU trains, and
`head_wide` with the widths of the paper's encoder, both with the Hungarian method; `fused` is
`head` with border costs; `jigsaw` is JigsawGAN's classifier at the paper's size over 1000 orders,
and `jigsaw_decoder` the same with the warp and the decoder, which draw the restored image.

A call gets pieces in memory as float32 and ends with orders on the host. "With cutting" it begins
with whole images of bytes, which are scaled and cut. Images are smooth random ones and networks
have random weights: speed hardly depends on either. The paper reports 0.293 s per puzzle on an RTX
2080 Ti (Li et al. 2021, "JigsawGAN", arXiv:2101.07555, Table IV); a ratio is these seconds over
those here, above 1 where genjax is faster.

    JAX_PLATFORMS=cpu python -m experiments.benchmarks.solving_rate --out solving_rate.json
    JAX_PLATFORMS=cpu python -m experiments.benchmarks.solving_rate --solvers tree head
"""

import argparse
import functools
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.flops import work
from experiments.benchmarks.reporting import (
    Row,
    make_parser,
    measure_rows,
    prepare_out,
    provenance,
    show,
)
from experiments.benchmarks.speed import timed
from genjax import checks
from genjax.cli.options import set_up_process
from genjax.core import puzzles
from genjax.core.protocols import PositionScores
from genjax.evals.border_solvers import beam_search, greedy, spanning_tree
from genjax.evals.puzzle_solutions import solve
from genjax.families import jigsaw, jigsaw_assignment
from genjax.train.record import device

PAPER_SECONDS = 0.293  # per puzzle, Table IV
SHAPE, GRID = (72, 72, 3), (3, 3)
SINGLE: dict[str, Callable[..., np.ndarray]] = {"greedy": greedy, "tree": spanning_tree}
BORDERS = (*SINGLE, "borders")
HEAD = jigsaw_assignment.Config(shape=SHAPE, grid=GRID)
# Family, Config, and the weight of border costs.
NETWORKS: dict[str, tuple[Any, Any, float]] = {
    "head": (jigsaw_assignment, HEAD, 0.0),
    "head_wide": (
        jigsaw_assignment,
        jigsaw_assignment.Config(shape=SHAPE, grid=GRID, channels=(64, 128, 256), width=256),
        0.0,
    ),
    "fused": (jigsaw_assignment, HEAD, 1.0),
    "jigsaw": (jigsaw, jigsaw.Config(shape=SHAPE, grid=GRID), 0.0),
}
DECODER = "jigsaw_decoder"
COLLECTIONS = ("params", "batch_stats")
SOLVERS = (*BORDERS, *NETWORKS, DECODER)
Solver = Callable[[jax.Array], Any]  # pieces `[B, N, h, w, C]` to orders `[B, N]`


def main(argv: list[str] | None = None) -> int:
    """Times the solvers, prints a table, writes the figures and returns the exit status."""
    parser = make_parser("solving_rate", __doc__)
    add = parser.add_argument
    add("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS), help="(all)")
    add("--batch-sizes", nargs="+", type=int, default=[1, 64], metavar="N", help="(1 64)")
    add("--repeats", type=int, default=20, help="timed calls of each kind, at most (20)")
    add("--seconds", type=float, default=3.0, help="time limit for starting calls of a kind (3)")
    add("--out", type=pathlib.Path, help="JSON file to write")
    options = parser.parse_args(argv)
    set_up_process()
    try:
        checks.positive(repeats=options.repeats, seconds=options.seconds)
        for size in options.batch_sizes:
            checks.positive(batch_sizes=size)
        prepare_out(options.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shared = provenance(options, device=device(), cores=os.cpu_count())
    shared["paper_seconds"] = PAPER_SECONDS
    rows = measure_rows(lambda name: parts(name, options), options.solvers, shared, options.out)
    if not sys.stdout.isatty():
        print(json.dumps(shared | {"rows": rows}))
    done = [row for row in rows if "error" not in row]
    lines = [table_row(row, str(size)) for row in done for size in options.batch_sizes]
    show(f"{shared['device']}, milliseconds per puzzle", lines, sys.stderr)
    return 0 if len(done) == len(rows) else 1


def parts(name: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the figures of a solver: operations of its network, then seconds by batch size."""
    solver, operations = border_solver(name) if name in BORDERS else network_solver(name)
    yield {"operations": operations}
    found: dict[str, Any] = {}

    def cut_and_solve(images: np.ndarray) -> Any:
        return solver(pieces_of(images))

    for size in options.batch_sizes:
        images = smooth_images(size)
        pieces = jax.block_until_ready(pieces_of(images))
        solver(pieces)  # compiles
        limits = (options.repeats, options.seconds)
        found[str(size)] = {
            "pieces": timed(functools.partial(solver, pieces), *limits),
            "images": timed(functools.partial(cut_and_solve, images), *limits),
        }
        yield {"batches": found}


def smooth_images(n: int) -> np.ndarray:
    """Returns n images of bytes whose neighbouring pixels are alike, `[n, *SHAPE]`."""
    small = np.random.default_rng(0).uniform(0, 255, (n, *GRID, SHAPE[-1]))
    return np.asarray(jax.image.resize(small, (n, *SHAPE), "linear")).astype(np.uint8)


@jax.jit
def pieces_of(images: jax.Array) -> jax.Array:
    """Scales images of bytes to [-1, 1] and cuts them, in an order that is not the solution."""
    pieces = puzzles.cut(images / 127.5 - 1.0, GRID)
    return pieces[:, ::-1]


def border_solver(name: str) -> tuple[Solver, int]:
    """Returns a solver by border costs; it has no network's operations."""
    costs = jax.jit(puzzles.border_costs)
    if name == "borders":
        return lambda pieces: beam_search(np.asarray(costs(pieces)), GRID), 0
    find = SINGLE[name]
    return lambda pieces: np.stack([find(c, GRID) for c in np.asarray(costs(pieces))]), 0


def network_solver(name: str) -> tuple[Solver, int]:
    """Returns a solver by a network of random weights, and its operations per puzzle."""
    family, config, weight = NETWORKS["jigsaw" if name == DECODER else name]
    variables = family.init(config, jax.random.key(0))
    one = jax.eval_shape(pieces_of, jax.ShapeDtypeStruct((1, *SHAPE), jnp.uint8))
    if name == DECODER:
        program, orders = jax.jit(functools.partial(decoded, config)), family.permutations(config)

        def solver(pieces: jax.Array) -> np.ndarray:
            logits, _ = jax.block_until_ready(program(variables, pieces))
            return orders[np.asarray(logits).argmax(1)]

        return solver, work(functools.partial(decoded, config), variables, one)[0]
    scores = isinstance(family, PositionScores)
    method = family.position_scores if scores else family.permutation_logits
    operations = work(functools.partial(method, config), variables, one)[0]
    return lambda x: solve(family, config, variables, x, border_weight=weight).orders, operations


def decoded(config: Any, variables: Any, pieces: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes JigsawGAN's logits `[B, P]` and images `[B, *SHAPE]` in one pass."""
    own = {collection: variables[collection]["generator"] for collection in COLLECTIONS}
    return jigsaw.generator(config).apply(own, pieces)


def table_row(found: dict[str, Any], size: str) -> Row:
    """Returns milliseconds per puzzle of a batch size, puzzles per second and the ratio."""
    row: Row = {"solver": found["row"], "batch": size}
    seconds = {name: part["seconds"] / int(size) for name, part in found["batches"][size].items()}
    row |= {"without cutting": digits(1e3 * seconds["pieces"])}
    row |= {"with cutting": digits(1e3 * seconds["images"])}
    row |= {"puzzles/s": digits(1 / seconds["images"])}
    row |= {"paper": digits(1e3 * PAPER_SECONDS)}
    row |= {"ratio": digits(PAPER_SECONDS / seconds["images"])}
    return row | {"1e9 op": digits(found["operations"] / 1e9) if found["operations"] else "-"}


def digits(value: float) -> str:
    """Returns a number to three digits, or whole from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
