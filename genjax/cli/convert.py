"""`genjax convert SOURCE OUT.npz`: writes a data set as one .npz file."""

import pathlib

from genjax.cli.options import ArgumentParser, command
from genjax.data import Data, load, save_npz


@command()
def main(argv: list[str]) -> None:
    """Writes the file."""
    parser = ArgumentParser("convert", __doc__)
    parser.add_argument("source", help="a TFDS name, a prepared TFDS folder, digits, or a .npz")
    parser.add_argument("out", help="the .npz file to write")
    parser.add_argument("--data-dir", help="folder of TFDS data sets")
    options = parser.parse_args(argv)
    if not options.out.endswith(".npz"):
        raise ValueError(f"{options.out} is not a .npz file; add the suffix .npz.")
    if options.source.endswith(".csv"):
        raise ValueError(
            f"{options.source} is a table, which is read as it is; give it to genjax train --data."
        )
    dataset = load(Data(data=options.source, data_dir=options.data_dir, stream="no"))
    pathlib.Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    save_npz(dataset, options.out)
    counts = ", ".join(f"{name} {n:,}" for name, n in dataset.counts().items())
    print(f"{options.out}: {counts}, shape {dataset.shape}, levels {dataset.levels}")
