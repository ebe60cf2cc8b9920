"""What a density is good for: every explicit family classifies, completes, detects, gives features.

For each family and each of two data sets, binarised once: one density a class, one of all images,
and one of all images with some pixels flipped (the background), fitted together. Then one table:

* nats: mean -log p(x) on test, of the density of all images, and the gap to train;
* classify: the most probable class under p(x | c) p(c), and the calibration error of its posterior;
* detect: AUROC of test images against those of the other set, by log p(x) and by its ratio to the
  background density (Ren et al. 2019). That log p(x) alone may rank the other set higher is the
  well-known failure (Nalisnick et al. 2019), and part of the result;
* features: a linear probe on `encode`, beside raw pixels and 200 principal components.

Weights are chosen on validation; test is looked at once. Pictures go to OUT: completions of a half,
and where an image surprises the density. What is done is kept in OUT, and the same command goes on.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import sys
import time
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from genjax import checks, evals, families
from genjax.cli.options import use_compilation_cache
from genjax.core import Optimizer, named_key
from genjax.data import Data, load
from genjax.data.image_grid import image_grid
from genjax.families import fvsbn, made, markov, mixture, nade, orderless_nade
from genjax.train import Run, Train
from genjax.train.checkpoint import write_json
from genjax.train.record import commit, count_parameters, dataset_name, device
from genjax.train.run_config import to_json
from genjax.train.subsets import fit_subsets

TRAIN = Train(steps=1500, batch_size=100, ema=0.99, eval_every=250, eval_batch=500)
ADAM = Optimizer(learning_rate=1e-3, schedule="linear")
MUTATION = 0.1  # share of pixels flipped in the background density's data

RUNS = {
    "markov": Run(
        experiment="uses_markov",
        family="markov",
        model=markov.Config(k=6, alpha=0.5),
        optimizer=None,
        train=TRAIN,
    ),
    "mixture": Run(
        experiment="uses_mixture",
        family="mixture",
        model=mixture.Config(components=50, mean_prior=0.5),
        optimizer=None,
        train=dataclasses.replace(TRAIN, steps=30, ema=0.0),
    ),
    "fvsbn": Run(
        experiment="uses_fvsbn",
        family="fvsbn",
        model=fvsbn.Config(order="raster"),
        # As validation chose for MNIST: 1e-3 is far too small for it.
        optimizer=dataclasses.replace(ADAM, learning_rate=2e-2, weight_decay=0.01),
        train=TRAIN,
    ),
    "made": Run(
        experiment="uses_made",
        family="made",
        model=made.Config(hidden=(500,), order="raster", dropout=0.2),
        optimizer=dataclasses.replace(ADAM, learning_rate=3e-3),
        train=TRAIN,
    ),
    "nade": Run(
        experiment="uses_nade",
        family="nade",
        model=nade.Config(hidden=200, order="raster", dropout=0.2),
        optimizer=ADAM,
        train=TRAIN,
    ),
    "orderless_nade": Run(
        experiment="uses_orderless_nade",
        family="orderless_nade",
        model=orderless_nade.Config(hidden=(300, 300), orders=2),
        optimizer=ADAM,
        # One look at all validation images costs as much as hundreds of steps.
        train=dataclasses.replace(TRAIN, steps=5000, eval_every=2500),
    ),
}


@dataclasses.dataclass(frozen=True)
class Split:
    """Binary images `[N, *shape]` float32 and their labels `[N]`."""

    x: np.ndarray
    label: np.ndarray


def main(argv: list[str] | None = None) -> int:
    """Fit, ask, print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.examples.uses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", nargs=2, default=["mnist", "fashion_mnist"], help="two labelled sets, same shape"
    )
    parser.add_argument("--families", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/uses"))
    parser.add_argument("--evaluate", type=int, default=10_000, help="test images looked at")
    parser.add_argument("--validation", type=int, default=5_000, help="held out of each train")
    parser.add_argument("--limit", type=int, default=0, help="training images; 0 is all")
    parser.add_argument("--steps", type=int, help="training steps instead of each family's")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    use_compilation_cache()
    try:
        checks.positive(evaluate=options.evaluate, validation=options.validation)
        checks.not_negative(limit=options.limit)
        if options.steps is not None:
            checks.positive(steps=options.steps)
        options.out.mkdir(parents=True, exist_ok=True)
        sets, options.checksums = zip(*(read(s, options) for s in options.data), strict=True)
        rows = []
        for i, name in enumerate(options.data):
            rows += [baseline(name, sets[i], options)]
            rows += [row(f, name, sets[i], sets[1 - i], options) for f in options.families]
    except (*checks.USER_ERRORS, FloatingPointError) as error:
        print(f"error: {checks.error_message(error, '--limit')}", file=sys.stderr)
        return 2
    show(rows)
    about = {"device": device(), "seed": options.seed, "rows": rows}
    write_json(options.out / "uses.json", about)
    print(f"Figures and pictures: {options.out}")
    return 0


def read(source: str, options: argparse.Namespace) -> tuple[dict[str, Split], str]:
    """The splits of a set, binarised once by Bernoulli draws at the grey levels; its checksum."""
    data = Data(data=source, transform="binarize('static')", validation=options.validation)
    found = load(dataclasses.replace(data, binarize_seed=options.seed))
    if "label" not in found.splits["train"] or "test" not in found.splits:
        raise ValueError(f"{source} needs labels and a test split.")
    counts = {"train": options.limit or None, "test": options.evaluate}
    out = {}
    for name, split in found.splits.items():
        n = counts.get(name)
        out[name] = Split(split["x"][:n].astype(np.float32), split["label"][:n])
    return out, found.checksum()


def row(
    family: str, name: str, data: dict[str, Split], other: dict[str, Split], options: Any
) -> dict[str, Any]:
    """The figures of one family on one set; from OUT where they are known already."""
    path, asked, known = kept(family, name, options)
    if known is not None:
        return known
    began = time.monotonic()
    print(f"{family} on {name} ...", file=sys.stderr, flush=True)
    run = RUNS[family]
    run = dataclasses.replace(
        run,
        seed=options.seed,
        model=dataclasses.replace(run.model, shape=data["train"].x.shape[1:]),
        train=dataclasses.replace(run.train, steps=options.steps or run.train.steps),
    )
    figures = ask(run, data, other, options.out / path.stem)
    found = {"family": family, "data": name, **figures, "seconds": time.monotonic() - began}
    found["commit"] = commit()
    write_json(path, {"asked": asked, "row": found})
    return found


def kept(
    family: str, name: str, options: Any
) -> tuple[pathlib.Path, dict[str, Any], dict[str, Any] | None]:
    """Where a row lies in OUT, what it depends on, and the row, where it is known already."""
    words = re.sub(r"[^A-Za-z0-9.]+", "_", name).strip("_")[-40:]
    path = options.out / f"{family}-{words}-{zlib.crc32(name.encode()):08x}.json"
    named = ("seed", "evaluate", "limit", "steps", "validation", "data", "checksums")
    asked = {"of": name, **{k: getattr(options, k) for k in named}}
    if family in RUNS:
        asked["settings"] = to_json(RUNS[family])
    if path.exists():
        known = json.loads(path.read_text())
        if known["asked"] == json.loads(json.dumps(asked)):
            return path, asked, known["row"]
    return path, asked, None


def ask(
    run: Run, data: dict[str, Split], other: dict[str, Split], pictures: pathlib.Path
) -> dict[str, Any]:
    """Fit the densities of one family, and put every question to them."""
    module, key = families.get(run.family), jax.random.key(run.seed)
    classes = int(data["train"].label.max()) + 1
    parts = {}
    for split in ("train", "validation"):
        x, label = data[split].x, data[split].label
        mine = named_key(key, 0, f"mutate {split}")
        flipped = np.asarray(evals.mutate(jnp.asarray(x), mine, MUTATION))
        parts[split] = [*(x[label == c] for c in range(classes)), x, flipped]
    *of_class, of_all, background = fit_subsets(run, parts["train"], parts["validation"])

    measure = evals.make_nll(module, run.model)

    def log_prob(variables: Any, x: np.ndarray) -> np.ndarray:
        return -measure(variables, x, key, run.train.eval_batch)

    test, some = data["test"], data["train"].x[: len(data["test"].x)]
    inside, outside = log_prob(of_all, test.x), log_prob(of_all, other["test"].x)
    nats, error = evals.mean_and_error(-inside)
    likelihood = np.stack([log_prob(v, test.x) for v in of_class], axis=1)
    prior = evals.log_prior_of(data["train"].label, classes)
    said = evals.classify(evals.log_posterior(likelihood, prior), test.label)
    against = [
        evals.likelihood_ratio(of, log_prob(background, x))
        for of, x in ((inside, test.x), (outside, other["test"].x))
    ]
    draw(run, of_all, test.x[:8], pictures)
    return {
        "parameters": count_parameters(module, run.model, of_all),
        "nats": nats,
        "std_error": error,
        "gap": nats + float(log_prob(of_all, some).mean()),
        "accuracy": said.accuracy,
        "calibration_error": said.calibration_error,
        "auroc": evals.auroc(inside, outside),
        "auroc_ratio": evals.auroc(*against),
        "probe": features(run, of_all, data),
        "evaluated": len(test.x),
        "confusion": said.confusion.tolist(),
    }


def features(run: Run, variables: Any, data: dict[str, Split]) -> float | None:
    """Accuracy of a linear probe on hidden units; None for families without any."""
    module = families.get(run.family)
    if not hasattr(module, "encode"):
        return None
    encode = jax.jit(lambda x: module.encode(run.model, variables, x))
    found = []
    for name in ("train", "validation", "test"):
        x, label = data[name].x[:10_000], data[name].label[:10_000]
        chunks = [np.asarray(encode(x[i : i + 500])) for i in range(0, len(x), 500)]
        found.append((np.concatenate(chunks), label))
    return evals.linear_probe(*found).accuracy


def baseline(name: str, data: dict[str, Split], options: Any) -> dict[str, Any]:
    """Probes on raw pixels and on 200 principal components, of the same 10,000 images."""
    path, asked, known = kept("pixels", name, options)
    if known is not None:
        return known
    splits = ("train", "validation", "test")
    x = [data[s].x[:10_000].reshape(min(len(data[s].x), 10_000), -1) for s in splits]
    labels = [data[s].label[:10_000] for s in splits]
    components = evals.pca(x[0], x[1:], 200)
    pixels = evals.linear_probe(*zip(x, labels, strict=True))
    reduced = evals.linear_probe(*zip(components, labels, strict=True))
    found = {"family": "pixels", "data": name, "probe": pixels.accuracy, "pca": reduced.accuracy}
    found["commit"] = commit()
    write_json(path, {"asked": asked, "row": found})
    return found


def draw(run: Run, variables: Any, x: np.ndarray, path: pathlib.Path) -> None:
    """Eight columns: images, their known upper half, three completions, and nats by pixel."""
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
    # The grid is square: each row of eight is drawn by itself.
    strips = [np.concatenate([image_grid(image[None]) for image in r], axis=1) for r in rows]
    Image.fromarray(np.concatenate(strips, axis=0)).save(f"{path}.png")


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    page = Table(title="What a density is good for")
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
