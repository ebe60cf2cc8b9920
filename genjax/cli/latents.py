"""`genjax latents WORKDIR`: pictures and statistics of the latents of a finished run.

* `reconstructions.png`: test images, and below each the mean of p(x | z) at its posterior mean;
* `traversals.png`: one row per unit, most active first, varied alone from the z of one image;
* `interpolations.png`: between the posterior means of pairs of test images;
* `manifold.png`: for two latents, the grid of Kingma and Welling 2013, figure 4;
* `classes.png`: for label-conditional models, the z of each image under every label (as in Kingma
  et al. 2014, figure 1);
* `latents.json`: active units, KL per unit, a linear probe, and the units and values of the rows.

Families that generate from noise get the figures of `genjax.train.noise_figures`.
"""

import argparse
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from genjax import checks, evals, families
from genjax.cli.options import ArgumentParser, command, output_help
from genjax.core.protocols import Features, Implicit, LatentVariable, LayeredPosterior
from genjax.evals.context import random_rows
from genjax.nn import StandardNormal
from genjax.train import noise_figures
from genjax.train.checkpoint import write_json
from genjax.train.latent_figures import LatentFigures
from genjax.train.load_run import load, open_split
from genjax.train.run_files import run_files
from genjax.train.splits import evaluation_conditions, evaluation_data

PRIOR_SAMPLES = 5_000  # for the moments of a prior that is not standard normal
PROBE_EXAMPLES = 10_000  # at most, of each split
# Options that need posteriors of examples.
POSTERIOR_OPTIONS = ("split", "data", "image", "units", "values", "side", "examples", "batch_size")
Model = tuple[Any, Any, Any]  # family, Config, variables


@command("--examples, --batch-size")
def main(argv: list[str]) -> None:
    """Draws the figures and prints the main results."""
    options = parse(argv)
    positive = ("images", "units", "side", "span", "examples", "batch_size")
    checks.positive(**{name: getattr(options, name) for name in positive})
    checks.seed(seed=options.seed)
    checks.not_negative(image=options.image)
    if options.columns < 2:
        raise ValueError(f"columns must be 2 or more, got {options.columns}.")
    results = draw_latent_figures(options)
    shown = ("active_units", "kl", "probe", "pictures")
    print(json.dumps({k: results[k] for k in shown if k in results}))


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses the command line."""
    parser = ArgumentParser("latents", __doc__)
    parser.add_split()
    add = parser.add_argument
    add("--out", type=pathlib.Path, help=f"folder ({output_help('latents')})")
    add("--images", type=int, default=20, help="number of images shown (20)")
    add("--image", type=int, default=0, help="image at whose z traversals start (0)")
    add("--units", type=int, default=10, help="rows of the traversals (10)")
    add("--columns", type=int, default=11, help="columns of traversals and interpolations (11)")
    add(
        "--values",
        choices=("prior", "quantiles"),
        default="prior",
        help="values of traversals: standard deviations of the prior, or quantiles of each unit's"
        " posterior means (prior)",
    )
    add("--span", type=float, help="range of traversals in standard deviations (3)")
    add(
        "--path",
        choices=("spherical", "linear"),
        default="spherical",
        help="path of interpolations: great circle or straight line (spherical)",
    )
    add("--side", type=int, default=20, help="images per side of the manifold (20)")
    add("--examples", type=int, default=10_000, help="examples of the statistics (10,000)")
    add("--batch-size", type=int, default=500, help="examples at a time (500)")
    add("--seed", type=int, default=0, help="seed of samples (0)")
    options = parser.parse_args(argv)
    if options.span is None:
        options.span = 3.0
    elif options.values == "quantiles":
        raise ValueError("--span applies to --values prior; omit --span, or --values quantiles.")
    return options


def draw_latent_figures(options: argparse.Namespace) -> dict[str, Any]:
    """Draws the pictures, and writes and returns `latents.json`."""
    files = run_files(options.workdir)
    run = files.settings()
    family, config = families.get(run.family), run.model
    if isinstance(family, Implicit):
        defaults = parse([str(options.workdir)])
        for name in POSTERIOR_OPTIONS:
            if getattr(options, name) != getattr(defaults, name):
                raise ValueError(
                    f"--{name.replace('_', '-')} applies to families with an encoder, which"
                    f" {run.family} lacks; omit it."
                )
        return noise_figures.draw_noise_figures(options, run, family)
    if not (isinstance(family, LatentVariable) and isinstance(family, Features)):
        raise ValueError(
            f"{options.workdir} is a run of {run.family}, which has no latents; use a run of a"
            f" family such as vae."
        )
    _, variables = load(files)
    trained = None if options.other_data else options.workdir
    run, dataset = open_split(run, options.split, options.data, trained)
    x = evaluation_data(run, dataset, options.split)
    rows = random_rows(len(x), options.examples)
    x = x[rows]
    conditions: dict[str, Any] = evaluation_conditions(run, family, dataset, options.split)
    conditions = {name: array[rows] for name, array in conditions.items()}
    if options.image >= len(x):
        raise ValueError(f"image must be below {len(x)}, the number of examples.")
    model = (family, config, variables)
    size, key = options.batch_size, jax.random.key(options.seed)
    z = evals.encode_split(*model, x, batch_size=size, **conditions)
    active = evals.active_units(*model, x, key, batch_size=size, **conditions)
    try:
        kl = evals.kl_by_unit(*model, x, batch_size=size, **conditions)
    except ValueError:  # no closed form per unit
        kl = None
    q = family.posterior(config, variables, x[:1], **{k: v[:1] for k, v in conditions.items()})
    kl_by_layer = None
    if isinstance(q, LayeredPosterior):
        kl_by_layer = evals.kl_by_layer(*model, x, key, batch_size=size, **conditions).tolist()
    mean, std = evals.aggregate_posterior(*model, x, key, batch_size=size, **conditions)
    order = np.argsort(-(kl if kl is not None else z.var(axis=0)), kind="stable")

    out = options.out or files.output("latents")
    decode = decoder(model, conditions, size)
    drawing = LatentFigures(out, decode, *family.traits(config).sample_range)
    n, units = min(options.images, len(x)), order[: options.units]
    values = np.linspace(-options.span, options.span, options.columns)
    centre, width = prior_moments(model, key)
    if np.ndim(width):
        values = centre[units, None] + width[units, None] * values
    if options.values == "quantiles":
        values = np.quantile(z[:, units], np.linspace(0.01, 0.99, options.columns), axis=0).T
    paths = [
        drawing.reconstructions(x[:n], z[:n]),
        drawing.traversals(z, options.image, units, values),
    ]
    if n > 1:
        spherical = options.path == "spherical"
        paths.append(drawing.interpolations(z[:n], options.columns, spherical))
    if z.shape[1] == 2 and len(active.counts) == 1:
        paths.append(drawing.manifold(options.side, options.image))
    if "label" in conditions:
        paths.append(classes(drawing, model, z[:n], size))

    results = {
        "experiment": run.experiment,
        "split": options.split,
        "examples": len(x),
        "active_units": list(active.counts),
        "variance": [v.tolist() for v in active.variance],
        "kl": None if kl is None else float(kl.sum()),
        "kl_by_layer": kl_by_layer,
        "kl_by_unit": None if kl is None else kl.tolist(),
        "aggregate": {"mean": mean.tolist(), "std": std.tolist()},
        "probe": None if conditions else probe(run, model, dataset, size),
        "rows": {
            "image": options.image,
            "units": units.tolist(),
            "values": values.tolist(),
            "by": "kl" if kl is not None else "variance of the posterior mean",
            "path": options.path,
        },
        "pictures": [str(path) for path in paths],
    }
    write_json(out / "latents.json", results)
    return results


def decoder(
    model: Model, conditions: dict[str, Any], batch_size: int
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Returns the mean of p(x | z) as a function `(z [N, Z], rows [N]) -> images [N, *shape]`.

    `rows` selects the conditions of each z. Of several stochastic layers z is the bottom one.
    """
    family, config, variables = model

    @jax.jit
    def means(z: jax.Array, key: jax.Array, **condition: jax.Array) -> jax.Array:
        del key
        return family.likelihood(config, variables, z, **condition).mean()

    def decode(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        condition = {name: array[rows] for name, array in conditions.items()}
        arrays = {"z": z.astype(np.float32), **condition}
        return evals.map_split(means, arrays, jax.random.key(0), batch_size)

    return decode


def classes(drawing: LatentFigures, model: Model, z: np.ndarray, batch_size: int) -> pathlib.Path:
    """Draws one row per image and one column per label: the same z under every label."""
    count = model[1].classes
    labels = np.tile(np.arange(count, dtype=np.int32), len(z))
    decode = decoder(model, {"label": labels}, batch_size)
    images = decode(np.repeat(z, count, axis=0), np.arange(len(labels)))
    return drawing.save("classes", images, count)


def prior_moments(model: Model, key: jax.Array) -> tuple[Any, Any]:
    """Returns mean and standard deviation of each unit under the prior: 0 and 1, or `[Z]` each."""
    family, config, variables = model
    prior = family.prior(config, variables)
    if isinstance(prior, StandardNormal):
        return 0.0, 1.0
    z = prior.sample(key, PRIOR_SAMPLES)
    z = np.asarray(z[0] if isinstance(z, tuple) else z)
    return z.mean(axis=0), z.std(axis=0)


def probe(run: Any, model: Model, dataset: Any, batch_size: int) -> dict[str, Any] | None:
    """Trains a linear probe on posterior means; None unless all three splits have labels."""
    features = []
    for split in ("train", "validation", "test"):
        if "label" not in dataset.splits.get(split, {}):
            return None
        label = np.asarray(dataset.splits[split]["label"])
        known = np.flatnonzero(label >= 0)
        known = known[random_rows(len(known), PROBE_EXAMPLES)]
        z = evals.encode_split(
            *model, evaluation_data(run, dataset, split)[known], batch_size=batch_size
        )
        features.append((z, label[known]))
    result = evals.linear_probe(*features)
    counts = {"trained_on": len(features[0][1]), "evaluated": len(features[2][1])}
    return {"accuracy": result.accuracy, "std_error": result.std_error, **counts}
