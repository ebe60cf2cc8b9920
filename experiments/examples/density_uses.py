"""Uses of a density: every explicit family classifies, detects, completes and gives features.

For each family and each of two binarised data sets, densities are fitted together: one per class,
one of all images, and one of all images with some pixels flipped (the background). The table has

* nats: mean -log p(x) on test of the density of all images, and the gap to train;
* classify: the most probable class under p(x | c) p(c), and the calibration error of its posterior;
* detect: AUROC of test images against those of the other set, by log p(x) and by its ratio to the
  background density (Ren et al. 2019). By log p(x) alone the other set may rank higher, a known
  failure (Nalisnick et al. 2019);
* features: a linear probe on `encode`, beside raw pixels and 200 principal components.

Weights are chosen on validation. OUT holds pictures (completions of a half, and -log p per pixel)
and the finished rows, which are not computed again.

    python -m experiments.examples.density_uses --data mnist fashion_mnist
"""

import argparse
import dataclasses
import json
import pathlib
import re
import sys
import time
import zlib
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from genjax import checks, evals, families
from genjax.cli.options import run_command, set_up_process
from genjax.core import Optimizer, named_key
from genjax.core.protocols import Features
from genjax.data import Data, load
from genjax.data.image_grid import image_grid
from genjax.data.json_files import read_object
from genjax.families import fvsbn, made, markov, mixture, nade, orderless_nade
from genjax.train import Run, Train
from genjax.train.checkpoint import write_json
from genjax.train.record import commit, count_parameters, dataset_name, device
from genjax.train.run_config import to_json
from genjax.train.subsets import fit_subsets

TRAIN = Train(steps=1500, batch_size=100, ema=0.99, eval_every=250, eval_batch=500)
MUTATION = 0.1  # fraction of pixels flipped in the background's data


def entry(family: str, model: Any, optimizer: Optimizer | None, **train: Any) -> Run:
    """Returns the run of one family; `train` replaces settings of `TRAIN`."""
    return Run(
        experiment=f"density_uses_{family}",
        family=family,
        model=model,
        optimizer=optimizer,
        train=dataclasses.replace(TRAIN, **train),
    )


def adam(rate: float, **settings: Any) -> Optimizer:
    """Returns Adam at a rate that falls to 0."""
    return Optimizer(learning_rate=rate, schedule="linear", **settings)


ENTRIES = (
    entry("markov", markov.Config(k=6, alpha=0.5), None),
    entry("mixture", mixture.Config(components=50, mean_prior=0.5), None, steps=30, ema=0.0),
    # Chosen on MNIST's validation split.
    entry("fvsbn", fvsbn.Config(order="raster"), adam(2e-2, weight_decay=0.01)),
    entry("made", made.Config(hidden=(500,), order="raster", dropout=0.2), adam(3e-3)),
    entry("nade", nade.Config(hidden=200, order="raster", dropout=0.2), adam(1e-3)),
    # An evaluation of all validation images costs as much as hundreds of steps.
    entry(
        "orderless_nade",
        orderless_nade.Config(hidden=(300, 300), orders=2),
        adam(1e-3),
        steps=5000,
        eval_every=2500,
    ),
)
RUNS = {run.family: run for run in ENTRIES}


@dataclasses.dataclass(frozen=True)
class Split:
    """Binary images `[N, *shape]` float32 and their labels `[N]`."""

    x: np.ndarray
    label: np.ndarray


def main(argv: list[str] | None = None) -> int:
    """Fits and evaluates all densities, prints the table and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.examples.density_uses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", nargs=2, default=["mnist", "fashion_mnist"], help="two labelled sets, same shape"
    )
    parser.add_argument("--families", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/density_uses"))
    parser.add_argument("--evaluate", type=int, default=10_000, help="test images evaluated")
    parser.add_argument("--validation", type=int, default=5_000, help="images held out of train")
    parser.add_argument("--limit", type=int, default=0, help="training images; 0 is all")
    parser.add_argument("--steps", type=int, help="training steps instead of each family's")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    set_up_process()
    return run_command(lambda: compare(options), "--limit")


def compare(options: argparse.Namespace) -> None:
    """Computes, prints and saves the table.

    Raises:
      ValueError: an option or a data set is invalid.
    """
    checks.positive(evaluate=options.evaluate, validation=options.validation)
    checks.not_negative(limit=options.limit)
    if options.steps is not None:
        checks.positive(steps=options.steps)
    options.out.mkdir(parents=True, exist_ok=True)
    sets, options.checksums = zip(*(read(s, options) for s in options.data), strict=True)
    rows = []
    for i, name in enumerate(options.data):
        rows += [baseline(name, sets[i], options)]
        rows += [
            family_row(family, name, sets[i], sets[1 - i], options) for family in options.families
        ]
    print_table(rows)
    results = {"device": device(), "seed": options.seed, "rows": rows}
    write_json(options.out / "density_uses.json", results)
    print(f"Figures and pictures: {options.out}")


def read(source: str, options: argparse.Namespace) -> tuple[dict[str, Split], str]:
    """Returns the splits of a data set, binarised once by Bernoulli draws, and its checksum."""
    data = Data(data=source, transform="binarize('static')", validation=options.validation)
    dataset = load(dataclasses.replace(data, binarize_seed=options.seed))
    if "label" not in dataset.splits["train"] or "test" not in dataset.splits:
        raise ValueError(f"{source} has no labels or no test split; choose another data set.")
    counts = {"train": options.limit or None, "test": options.evaluate}
    out = {}
    for name, split in dataset.splits.items():
        n = counts.get(name)
        out[name] = Split(split["x"][:n].astype(np.float32), split["label"][:n])
    return out, dataset.checksum()


def family_row(
    family: str, name: str, data: dict[str, Split], other: dict[str, Split], options: Any
) -> dict[str, Any]:
    """Returns the figures of one family on one data set, read from OUT where they are known."""
    path, settings, row = saved_row(family, name, options)
    if row is not None:
        return row
    start = time.monotonic()
    print(f"{family} on {name} ...", file=sys.stderr, flush=True)
    run = RUNS[family]
    run = dataclasses.replace(
        run,
        seed=options.seed,
        model=dataclasses.replace(run.model, shape=data["train"].x.shape[1:]),
        train=dataclasses.replace(run.train, steps=options.steps or run.train.steps),
    )
    figures = evaluate(run, data, other, options.out / path.stem)
    row = {"family": family, "data": name, **figures, "seconds": time.monotonic() - start}
    row["commit"] = commit()
    write_json(path, {"settings": settings, "row": row})
    return row


class SavedRow(TypedDict):
    """Entries of the file of a row."""

    settings: dict
    row: dict


def saved_row(
    family: str, name: str, options: Any
) -> tuple[pathlib.Path, dict[str, Any], dict[str, Any] | None]:
    """Returns the path of a row in OUT, the settings it depends on, and the row if it is there."""
    words = re.sub(r"[^A-Za-z0-9.]+", "_", name).strip("_")[-40:]
    path = options.out / f"{family}-{words}-{zlib.crc32(name.encode()):08x}.json"
    names = ("seed", "evaluate", "limit", "steps", "validation", "data", "checksums")
    settings = {"source": name, **{k: getattr(options, k) for k in names}}
    if family in RUNS:
        settings["run"] = to_json(RUNS[family])
    if path.exists():
        saved = read_object(path, SavedRow, fix="remove it")
        if saved["settings"] == json.loads(json.dumps(settings)):
            return path, settings, saved["row"]
    return path, settings, None


def evaluate(
    run: Run, data: dict[str, Split], other: dict[str, Split], pictures: pathlib.Path
) -> dict[str, Any]:
    """Fits the densities of one family and computes all figures."""
    module, key = families.get(run.family), jax.random.key(run.seed)
    classes = int(data["train"].label.max()) + 1
    parts = {}
    for split in ("train", "validation"):
        x, label = data[split].x, data[split].label
        mutate_key = named_key(key, 0, f"mutate {split}")
        flipped = np.asarray(evals.mutate(jnp.asarray(x), mutate_key, MUTATION))
        parts[split] = [*(x[label == c] for c in range(classes)), x, flipped]
    *of_class, of_all, background = fit_subsets(run, parts["train"], parts["validation"])

    nll = evals.make_nll(module, run.model)

    def log_prob(variables: Any, x: np.ndarray) -> np.ndarray:
        return -nll(variables, x, key, run.train.eval_batch)

    test, train = data["test"], data["train"].x[: len(data["test"].x)]
    inside, outside = log_prob(of_all, test.x), log_prob(of_all, other["test"].x)
    nats, error = evals.mean_and_error(-inside)
    likelihood = np.stack([log_prob(v, test.x) for v in of_class], axis=1)
    prior = evals.log_prior_of(data["train"].label, classes)
    classified = evals.classify(evals.log_posterior(likelihood, prior), test.label)
    ratios = [
        evals.likelihood_ratio(of, log_prob(background, x))
        for of, x in ((inside, test.x), (outside, other["test"].x))
    ]
    draw(run, of_all, test.x[:8], pictures)
    return {
        "parameters": count_parameters(module, run.model, of_all),
        "nats": nats,
        "std_error": error,
        "gap": nats + float(log_prob(of_all, train).mean()),
        "accuracy": classified.accuracy,
        "calibration_error": classified.calibration_error,
        "auroc": evals.auroc(inside, outside),
        "auroc_ratio": evals.auroc(*ratios),
        "probe": feature_probe(run, of_all, data),
        "evaluated": len(test.x),
        "confusion": classified.confusion.tolist(),
    }


def feature_probe(run: Run, variables: Any, data: dict[str, Split]) -> float | None:
    """Returns the accuracy of a linear probe on features; None for families without features."""
    module = families.get(run.family)
    if not isinstance(module, Features):
        return None
    encode = jax.jit(lambda x: module.encode(run.model, variables, x))
    features = []
    for name in ("train", "validation", "test"):
        x, label = data[name].x[:10_000], data[name].label[:10_000]
        chunks = [np.asarray(encode(x[i : i + 500])) for i in range(0, len(x), 500)]
        features.append((np.concatenate(chunks), label))
    return evals.linear_probe(*features).accuracy


def baseline(name: str, data: dict[str, Split], options: Any) -> dict[str, Any]:
    """Returns probes on raw pixels and on 200 principal components of the same 10,000 images."""
    path, settings, row = saved_row("pixels", name, options)
    if row is not None:
        return row
    splits = ("train", "validation", "test")
    x = [data[s].x[:10_000].reshape(min(len(data[s].x), 10_000), -1) for s in splits]
    labels = [data[s].label[:10_000] for s in splits]
    components = evals.pca(x[0], x[1:], 200)
    pixels = evals.linear_probe(*zip(x, labels, strict=True))
    reduced = evals.linear_probe(*zip(components, labels, strict=True))
    row = {"family": "pixels", "data": name, "probe": pixels.accuracy, "pca": reduced.accuracy}
    row["commit"] = commit()
    write_json(path, {"settings": settings, "row": row})
    return row


def draw(run: Run, variables: Any, x: np.ndarray, path: pathlib.Path) -> None:
    """Draws eight images, their upper halves, three completions, and -log p per pixel."""
    module, shape = families.get(run.family), run.model.shape
    known = np.zeros(shape, bool)
    known[: shape[0] // 2] = True
    grey = np.where(known, x, 0.5)
    rows = [x, grey]
    complete = jax.jit(
        lambda key: evals.complete(module, run.model, variables, key, jnp.asarray(x), known)
    )
    rows += [np.asarray(complete(jax.random.key(i))) for i in range(3)]
    config = dataclasses.replace(run.model, orders=1) if hasattr(run.model, "orders") else run.model
    heat = np.asarray(evals.heat_map(module, config, variables, jnp.asarray(x)))
    rows += [np.minimum(heat / 5, 1)]  # white is 5 nats or more
    # `image_grid` is square, so the images of a row are joined one by one.
    strips = [np.concatenate([image_grid(image[None]) for image in r], axis=1) for r in rows]
    Image.fromarray(np.concatenate(strips, axis=0)).save(f"{path}.png")


def print_table(rows: list[dict[str, Any]]) -> None:
    """Prints one line per family and data set."""
    from rich.console import Console
    from rich.table import Table

    page = Table(title="Uses of a density")
    for column in ("data", "family", "parameters", "nats", "gap", "accuracy %", "ECE %"):
        page.add_column(column, justify="left" if column in ("data", "family") else "right")
    for column in ("AUROC %", "by ratio %", "probe %"):
        page.add_column(column, justify="right")

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f}"

    for r in rows:
        name = dataset_name(r["data"])
        if r["family"] == "pixels":
            page.add_row(name, "pixels", *["-"] * 7, percent(r["probe"]))
            page.add_row(name, "200 principal components", *["-"] * 7, percent(r["pca"]))
            continue
        page.add_row(
            name,
            r["family"],
            f"{r['parameters']:,}",
            f"{r['nats']:.2f} ± {r['std_error']:.2f}",
            f"{r['gap']:.2f}",
            *(percent(r[k]) for k in ("accuracy", "calibration_error", "auroc", "auroc_ratio")),
            percent(r["probe"]),
        )
    Console(width=None if sys.stdout.isatty() else 140).print(page)


if __name__ == "__main__":
    sys.exit(main())
