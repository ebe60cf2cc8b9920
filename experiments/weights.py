"""Writes the weights of the package from finished runs, and computes their figures again.

    python -m experiments.weights                        # of all finished runs in runs/
    python -m experiments.weights vae_mnist --runs DIR
    python -m experiments.weights --check                # figures computed from the files
    python -m experiments.weights --check --quick        # those that take seconds

A file is written if its run followed its recipe and the figure of the rounded weights is within the
standard error of the record's; both figures are printed and kept in the file. The run's record and
the table of docs/weights.md are written too. `--check` compares figures in the same way: exit
status 1 if one differs. Files whose data are not on this machine are not checked.
"""

import argparse
import dataclasses
import pathlib
import re
import sys
import tempfile
import time

from experiments.table import RECORDS, SHORT_NAMES, number, rows
from genjax import checks, families
from genjax import data as genjax_data
from genjax.cli.experiment import recipe_differences
from genjax.cli.options import run_command, set_up_process
from genjax.data.file_io import safe
from genjax.train.export_run import export_run, finished_files
from genjax.train.load_run import RUNS, check_trained_on, load
from genjax.train.named_weights import FOLDER
from genjax.train.recomputed import figure_of
from genjax.train.record import run_name, write_record
from genjax.train.run_config import figure_metric
from genjax.train.run_files import RunFolder
from genjax.train.weights_file import SUFFIX, Rounding, WeightsFile

DOCS = pathlib.Path(__file__).parents[1] / "docs" / "weights.md"
LIMIT = 12 * 2**20
"""Bytes of all files together."""
HEAD = ("name", "family", "run", "data", "figure", "size")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A weights file that the package shall have.

    Attributes:
      row: FILE:RECIPE of its run.
      rounding: dtype of the floating-point tensors in the file.
      seed: of its run.
      quick: whether its figure is computed in seconds.
    """

    row: str
    rounding: Rounding = "float16"
    seed: int = 0
    quick: bool = False

    @property
    def run_name(self) -> str:
        """Name of the folder of its run."""
        return run_name(self.row, self.seed)

    @property
    def command(self) -> str:
        """Command that trains its run."""
        file, _, recipe = self.row.partition(":")
        seed = f" --seed {self.seed}" if self.seed else ""
        return f"python -m experiments.{file} --recipe {recipe}{seed}"


WANTED = {
    "nade_digits": Wanted("digit_densities:nade", quick=True),
    "made_digits": Wanted("digit_densities:made", quick=True),
    "pixelrnn_mnist": Wanted("pixelrnn_mnist:diagonal_1_cpu"),
    "vae_mnist": Wanted("vae_grey_mnist:z20_cpu"),
    "dcgan_mnist": Wanted("dcgan_mnist:small"),
    "cyclegan_glyphs": Wanted("cyclegan_glyphs:cyclegan"),
    "stargan_glyphs": Wanted("stargan_glyphs:full"),
    "jigsaw_mnist": Wanted("jigsaw_digits:mnist"),
    "dvae_scenes": Wanted("dvae_scenes:vq"),
    "joint_embedding_scenes": Wanted("joint_embedding_scenes:ranker"),
    "dalle_scenes": Wanted("dalle_scenes:cpu"),
    "dalle_digits": Wanted("dalle_digits:cpu"),
}
"""By the name with which `genjax.from_pretrained` loads them. InfoGAN's networks on MNIST have 13
million parameters, 27 MB in float16, more than the package may have, and fewer than 3 % of the
scenes that GAN-INT-CLS draws are right, so their weights are left out."""


def weights_path(name: str, folder: pathlib.Path = FOLDER) -> pathlib.Path:
    """Returns the file of a name."""
    return folder / f"{name}{SUFFIX}"


def export(name: str, runs: pathlib.Path, folder: pathlib.Path) -> str:
    """Writes a weights file; returns a line about it.

    Raises:
      ValueError: the run is missing, not finished, or differs from its recipe; the figure of the
        rounded weights differs from the record's; or all files together would be too large.
    """
    wanted = WANTED[name]
    source = runs / wanted.run_name
    files = finished_files(source)
    differences = recipe_differences(rows()[wanted.row], files.settings(), files.record())
    if differences:
        raise ValueError(
            f"{safe(source)} differs from the recipe {wanted.row} in {', '.join(differences)}; run"
            f" it again by {wanted.command}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        new = weights_path(name, pathlib.Path(scratch))
        figure = export_run(source, new, wanted.rounding, evaluate=True)
        size = new.stat().st_size
        check_size(size + total(folder) - total(folder, name))
        new.replace(weights_path(name, folder))
    return f"{name}  {figure}  {size:,} bytes"


def total(folder: pathlib.Path, name: str = "*") -> int:
    """Returns the bytes of the weights files in a folder, or of one of them."""
    return sum(path.stat().st_size for path in folder.glob(f"{name}{SUFFIX}"))


def check_size(size: int) -> None:
    """Raises ValueError if this is too much for all files together."""
    if size > LIMIT:
        raise ValueError(
            f"all weights together have {size:,} bytes, and the package may have {LIMIT:,}; remove"
            f" a name from `WANTED` and its file, or take a smaller model."
        )


def missing_data(path: pathlib.Path) -> str:
    """Returns why the data of a weights file cannot be used on this machine, or ""."""
    run = WeightsFile(path).settings()
    try:
        check_trained_on(genjax_data.load(dataclasses.replace(run.data, stream="no")), path)
    except checks.USER_ERRORS as error:
        return str(error)
    return ""


def check(path: pathlib.Path) -> tuple[bool, str]:
    """Computes the figure of a weights file; returns whether it is the record's, and a line."""
    start = time.monotonic()
    files = WeightsFile(path)
    run, variables = load(files)
    figure = figure_of(run, variables, files.record(), path)
    agrees = figure.agrees()
    seconds = f"{time.monotonic() - start:.0f} s"
    return agrees, f"{path.stem}  {'' if agrees else 'differs: '}{figure}  {seconds}"


def table_rows(folder: pathlib.Path = FOLDER) -> list[tuple[str, ...]]:
    """Returns the cells of `HEAD` of every file in the order of `WANTED`, in Markdown."""
    found: list[tuple[str, ...]] = []
    for name, wanted in WANTED.items():
        path = weights_path(name, folder)
        if not path.is_file():
            continue
        files = WeightsFile(path)
        run, record = files.settings(), files.record()
        traits = families.get(run.family).traits(run.model)
        metric = next(iter(figure_metric(run)), traits.metric)
        value = number(record["obtained"], record["std_error"])
        figure = f"{SHORT_NAMES.get(metric, metric)} {value} {record['unit']}"
        size = f"{path.stat().st_size / 1e3:,.0f} kB"
        data = f"`{run.data.data}`"
        found.append((f"`{name}`", f"`{run.family}`", f"`{wanted.row}`", data, figure, size))
    return found


def with_table(text: str, cells: list[tuple[str, ...]]) -> str:
    """Returns Markdown with these cells in the table whose header is `HEAD`."""
    lines = [HEAD, ("---",) * len(HEAD), *cells]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    head = re.escape(f"| {' | '.join(HEAD)} |\n")
    return re.sub(rf"^{head}(\|.*\n)*", lambda _: table, text, count=1, flags=re.MULTILINE)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parses the options.

    Raises:
      SystemExit: after `--help` or a usage error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m experiments.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(WANTED)} (all)")
    parser.add_argument("--runs", type=pathlib.Path, default=RUNS, help="folder of the runs (runs)")
    text = "folder of the weights (that of the package, whose table in docs/weights.md is written)"
    parser.add_argument("--folder", type=pathlib.Path, default=FOLDER, help=text)
    parser.add_argument("--check", action="store_true", help="compute the figures of the files")
    parser.add_argument("--quick", action="store_true", help="check those that take seconds")
    options = parser.parse_args(argv)
    for name in options.names:
        if name not in WANTED:
            parser.error(f"there are no weights '{name}'; there are {', '.join(WANTED)}")
    if options.quick and not options.check:
        parser.error("--quick is for --check; add that")
    return options


def export_all(options: argparse.Namespace) -> None:
    """Writes the files of the names given, or of all whose runs are finished.

    Raises:
      ValueError: as `export`, of the first name.
    """
    for name in options.names or WANTED:
        wanted = WANTED[name]
        if not (options.names or (options.runs / wanted.run_name / "record.json").is_file()):
            print(f"{name}  no finished run in {options.runs}: {wanted.command}")
            continue
        print(export(name, options.runs, options.folder), flush=True)
        if options.folder == FOLDER:
            write_record(RECORDS, RunFolder(options.runs / wanted.run_name).record())
    if options.folder == FOLDER:
        DOCS.write_text(with_table(DOCS.read_text(), table_rows()))


def check_all(options: argparse.Namespace) -> bool:
    """Prints the figures of the files; returns whether all are those of their records.

    Raises:
      ValueError: a file that was named is missing, or its data are; or nothing was checked.
    """
    results = []
    check_size(total(options.folder))
    for name in options.names or WANTED:
        path = weights_path(name, options.folder)
        if not options.names and (not path.is_file() or (options.quick and not WANTED[name].quick)):
            continue
        if why := missing_data(path):
            if options.names:
                raise ValueError(why)
            print(f"{name}  not checked: {why}")
            continue
        agrees, line = check(path)
        results.append(agrees)
        print(line, flush=True)
    if not results:
        raise ValueError(f"no weights in {safe(options.folder)} were checked; give their folder.")
    return all(results)


def main(argv: list[str] | None = None) -> int:
    """Writes or checks the weights and returns the exit status; see the module's docstring."""
    options = parse(argv)
    set_up_process()
    agree = []

    def act() -> None:
        if options.check:
            agree.append(check_all(options))
        else:
            export_all(options)

    status = run_command(act)
    return status or int(not all(agree))


if __name__ == "__main__":
    sys.exit(main())
