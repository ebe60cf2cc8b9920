"""`genjax list`: the families, the weights that come with the package, and the experiments.

    genjax list              # all of them
    genjax list weights      # one kind

Experiments are files of a clone of the repository, which is looked for beside the package and in
the current folder. Nothing is imported, so that the answer takes no time.
"""

import ast
import importlib.util
import pathlib
import shutil
import textwrap
from collections.abc import Iterator, Mapping

import genjax
from genjax.cli.options import ArgumentParser, command
from genjax.families import FAMILIES
from genjax.train.named_weights import FOLDER, weights_names
from genjax.train.weights_file import WeightsFile

KINDS = ("families", "weights", "experiments")
USE = {
    "families": "genjax train FAMILY --data DATA",
    "weights": "genjax sample NAME; also where another command takes a run",
    "experiments": "python -m experiments.NAME",
}


@command()
def main(argv: list[str]) -> None:
    """Prints the lists."""
    parser = ArgumentParser("list", __doc__)
    parser.add_argument(
        "kind", nargs="*", choices=(*KINDS, []), metavar="KIND", help=f"{', '.join(KINDS)} (all)"
    )
    options = parser.parse_args(argv)
    width = shutil.get_terminal_size().columns
    found = {"families": families, "weights": weights, "experiments": experiments}
    kinds = [kind for kind in KINDS if kind in (options.kind or KINDS)]
    print("\n\n".join(section(kind, found[kind](), width) for kind in kinds))


def section(kind: str, entries: Mapping[str, str], width: int) -> str:
    """Returns a heading with the command to use, and a line for each name.

    Args:
      kind: one of `KINDS`.
      entries: what each name is.
      width: columns of the text; longer lines are broken.
    """
    left = max(map(len, entries), default=0) + 4
    lines = [
        textwrap.fill(
            f"  {name:{left - 2}}{words}",
            max(width, left + 30),
            subsequent_indent=" " * left,
            break_on_hyphens=False,
        )
        for name, words in entries.items()
    ]
    return "\n".join([f"{kind.capitalize()}: {USE[kind]}", *(lines or ["  none"])])


def families() -> dict[str, str]:
    """Returns the first line of every family's docstring."""
    paths = {name: importlib.util.find_spec(module) for name, module in FAMILIES.items()}
    return {
        name: first_line(pathlib.Path(spec.origin))
        for name, spec in paths.items()
        if spec is not None and spec.origin is not None
    }


def weights() -> dict[str, str]:
    """Returns the family, the data and the figure of every file of weights of the package."""
    files = {name: FOLDER / f"{name}.safetensors" for name in weights_names()}
    return {name: described(WeightsFile(path)) for name, path in files.items()}


def described(file: WeightsFile) -> str:
    """Returns the family, the data and the figure of weights."""
    record = file.metadata["record"]
    words = f"{record['family']} on {record['dataset']}"
    if record.get("obtained") is None:
        return words
    error = "" if record.get("std_error") is None else f" ± {record['std_error']:.2g}"
    return f"{words}: {record['metric']} {record['obtained']:.4g}{error} {record['unit']}".rstrip()


def experiments() -> dict[str, str]:
    """Returns the first line of every experiment's docstring; {} without a clone."""
    return {path.stem: first_line(path) for path in sorted(experiment_files())}


def experiment_files() -> Iterator[pathlib.Path]:
    """Yields the files of the clone beside the package, or of one in the current folder."""
    beside = pathlib.Path(genjax.__file__).parents[1]
    for root in dict.fromkeys((beside, pathlib.Path.cwd())):
        folder = root / "experiments"
        if (folder / "table.py").is_file():
            # An experiment has recipes; other files of the folder are programs.
            yield from (p for p in folder.glob("*.py") if "\nRECIPES" in p.read_text())
            return


def first_line(path: pathlib.Path) -> str:
    """Returns the first line of a module's docstring, up to its first full stop."""
    doc = ast.get_docstring(ast.parse(path.read_text())) or ""
    return doc.partition("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".")
