"""Selection of rows, tables and JSON files shared by the benchmarks."""

import argparse
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from experiments.table import rows as all_rows
from genjax import checks
from genjax.train.checkpoint import write_json
from genjax.train.record import commit, versions

Row = dict[str, str | float]
# One row per family trained by gradient; for the VAE one dense and one convolutional.
DEFAULT = (
    "fvsbn_binarized_mnist:cpu",
    "nade_binarized_mnist:cpu",
    "made_binarized_mnist:1x8000_1mask_cpu",
    "eonade_binarized_mnist:2x500_128orders_cpu",
    "rnade_red_wine:cpu",
    "pixelcnn_mnist:gated",
    "pixelrnn_mnist:diagonal_1",
    "pixelcnn_pp_cifar10:paper",
    "iwae_mnist:k1",
    "iaf_mnist:diagonal",
    "iwae_mnist:two_layers_k50",
    "m2_mnist:labels_100",
    "gan_mnist:paper",
    "dcgan_celeba64:kid",
    "infogan_mnist:codes",
    "cyclegan_maps:cyclegan_64_cpu",
    "cyclegan_maps:pix2pix_64_cpu",
    "stargan_glyphs:wgan_gp",
    "progressive_fashion:grown",
    "puzzle_gan_digits:cpu",
    "jigsaw_pacs:head",
    "jigsaw_pacs:gan_1000_cpu",
    "joint_embedding_scenes:words",
    "dvae_scenes:vq",
    "dalle_scenes:cpu",
    "gan_cls_scenes:gan_int_cls",
)


def make_parser(module: str, doc: str | None) -> argparse.ArgumentParser:
    """Returns the parser of `python -m experiments.benchmarks.MODULE`."""
    return argparse.ArgumentParser(
        prog=f"python -m experiments.benchmarks.{module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def selected_rows(names: list[str], families: list[str]) -> list[str]:
    """Returns the named rows, then the other rows of the families; without either, `DEFAULT`.

    Raises:
      ValueError: a row or a family does not exist.
    """
    known = all_rows()
    for name in names:
        checks.one_of(tuple(known), rows=name)
    with_rows = sorted({run.family for run in known.values()})
    for family in families:
        checks.one_of(with_rows, family=family)
    selected = names + [n for f in families for n, run in known.items() if run.family == f]
    return list(dict.fromkeys(selected)) or list(DEFAULT)


def measure_rows(
    measure: Callable[[str], Iterator[dict[str, Any]]],
    names: list[str],
    shared: dict[str, Any],
    out: pathlib.Path | None,
    each: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
) -> list[dict[str, Any]]:
    """Measures row after row; an exception becomes the `error` of its row.

    Args:
      measure: yields parts of a row's figures. The file is written after each part, because the
        machine may be lost in the middle.
      names: of the rows.
      shared: entries of the file other than `rows`.
      out: the JSON file; None writes none.
      each: is called with all rows so far whenever the file is written.
    """
    found: list[dict[str, Any]] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        row: dict[str, Any] = {"row": name}
        found.append(row)
        try:
            for part in measure(name):
                row |= part
                save(out, shared, found)
                each(found)
        except Exception as error:  # such as out of memory, or an error of the compiler
            row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"{name}: {row['error']}", file=sys.stderr, flush=True)
            save(out, shared, found)
            each(found)
    return found


def save(out: pathlib.Path | None, shared: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Writes the figures, if a file was requested."""
    if out:
        write_json(out, shared | {"rows": rows})


def provenance(options: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """Returns what all rows of a file share: commit, versions and options."""
    values = {name: value for name, value in vars(options).items() if name not in ("out", "table")}
    return {"commit": commit(), **more, "versions": versions(), "options": values}


def prepare_out(out: pathlib.Path | None) -> None:
    """Creates the folder of an output file before anything is measured.

    Raises:
      ValueError: the file is a folder.
      OSError: its folder cannot be created.
    """
    if out is None:
        return
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder; name a file in it.")
    out.parent.mkdir(parents=True, exist_ok=True)


def least(call: Callable[[], Any], seconds: float) -> float:
    """Returns the least milliseconds of a blocking call within a time limit, after a warm-up."""
    call()
    best, end = math.inf, time.perf_counter() + seconds
    while best == math.inf or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return 1000 * best


def show(title: str, rows: list[Row], to: TextIO | None = None) -> None:
    """Prints a table to `to` (default: standard output), with rich if it is installed."""
    to = to or sys.stdout
    if not rows:
        return
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print(title, file=to)
        for row in rows:
            print("  " + ", ".join(f"{k} {_format(v)}" for k, v in row.items()), file=to)
        return
    page = Table(title=title)
    for column in rows[0]:
        page.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        page.add_row(*map(_format, row.values()))
    # A pipe has no width; rich would cut columns at 80.
    Console(file=to, width=None if to.isatty() else 200).print(page)


def _format(value: str | float) -> str:
    if isinstance(value, float) and value < 100:
        return f"{value:,.2f}"
    return value if isinstance(value, str) else f"{value:,.0f}"
