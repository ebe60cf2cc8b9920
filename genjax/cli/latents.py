"""`genjax latents WORKDIR`: what a finished run's latents hold, as pictures and JSON.

* `reconstructions.png`: test images, and below each the mean of p(x | z) at its posterior mean;
* `traversals.png`: one row a unit, the most active first, each moved alone from one image's z;
* `interpolations.png`: from one test image to the next through their posterior means;
* `manifold.png`: where z has two dimensions, the square of Kingma and Welling 2013, figure 4;
* `classes.png`: where the model is told a label, each image's z under every label (of family `m2`
  the analogies of Kingma et al. 2014, figure 1: one style, every class);
* `latents.json`: active units, nats a unit, a linear probe, and what the rows of the pictures are.

Of a run whose noise is drawn and not inferred, see `genjax.train.noise_figures`: interpolations, and codes.
"""

import argparse
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from genjax import checks, evals, families
from genjax.cli.options import ArgumentParser, run_command
from genjax.evals.context import random_rows
from genjax.train import noise_figures
from genjax.train.checkpoint import write_json
from genjax.train.latent_figures import LatentFigures
from genjax.train.load_run import load, open_split
from genjax.train.splits import evaluation_conditions, evaluation_data
from genjax.train.workdir import read_run

DRAWN = 5_000  # samples of a prior whose moments are not known
PROBED = 10_000  # examples of each split that the linear probe looks at, at most
# Options that are about examples and their posteriors, which two players have not.
OF_POSTERIORS = ("split", "data", "image", "units", "values", "side", "examples", "batch_size")


def main(argv: list[str] | None = None) -> int:
    """Load, look, draw, say where."""
    return run_command(lambda: print_latent_figures(parse(argv)), "--examples, --batch-size")


def print_latent_figures(options: argparse.Namespace) -> None:
    """Draws the figures and prints the most important values."""
    checks.positive(
        images=options.images,
        units=options.units,
        side=options.side,
        span=options.span,
        examples=options.examples,
        batch_size=options.batch_size,
    )
    checks.seed(seed=options.seed)
    checks.not_negative(image=options.image)
    if options.columns < 2:
        raise ValueError(f"columns must be 2 or more, got {options.columns}.")
    found = draw_latent_figures(options)
    shown = ("active_units", "kl", "probe", "pictures")
    print(json.dumps({k: found[k] for k in shown if k in found}))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = ArgumentParser("latents", __doc__)
    parser.add_argument("workdir", type=pathlib.Path, help="folder of a run")
    parser.add_argument("--out", type=pathlib.Path, help="folder; WORKDIR/latents")
    parser.add_argument("--split", default="test", help="train, validation or test (test)")
    parser.add_argument("--data", help="the data, where it lies elsewhere than in training")
    parser.add_argument("--images", type=int, default=20, help="images of the split drawn (20)")
    parser.add_argument("--image", type=int, default=0, help="whose z traversals begin at (0)")
    parser.add_argument("--units", type=int, default=10, help="rows of the traversals (10)")
    parser.add_argument("--columns", type=int, default=11, help="columns of walks (11)")
    parser.add_argument(
        "--values",
        choices=("prior", "quantiles"),
        default="prior",
        help="traverse the prior's standard deviations, or each unit's own quantiles (prior)",
    )
    parser.add_argument("--span", type=float, default=3.0, help="standard deviations (3)")
    parser.add_argument(
        "--path",
        choices=("spherical", "linear"),
        default="spherical",
        help="of interpolations: along the sphere that draws of the prior lie near, or straight"
        " through its inside, where none is (spherical)",
    )
    parser.add_argument("--side", type=int, default=20, help="images a side of the manifold (20)")
    parser.add_argument("--examples", type=int, default=10_000, help="measured (10,000)")
    parser.add_argument("--batch-size", type=int, default=500, help="examples at a time (500)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    return parser.parse_args(argv)


def draw_latent_figures(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and draw; what `latents.json` holds."""
    run = read_run(options.workdir)
    family, config = families.get(run.family), run.model
    if hasattr(family, "generate") and hasattr(family, "noise"):
        plain = parse([str(options.workdir)])
        for name in OF_POSTERIORS:
            if getattr(options, name) != getattr(plain, name):
                raise ValueError(
                    f"--{name.replace('_', '-')} is of families that infer latents from examples,"
                    f" and {run.family} draws its own; leave it out."
                )
        return noise_figures.draw_noise_figures(options, run, family)
    lacking = [n for n in ("decode_mean", "encode") if not hasattr(family, n)]
    if lacking:
        raise ValueError(
            f"{options.workdir} is a run of {run.family}, which has no {lacking[0]} to draw latents"
            f" by; give a run of a family that has, such as vae."
        )
    _, variables = load(options.workdir)
    run, dataset = open_split(run, options.split, options.data)
    x = evaluation_data(run, dataset, options.split)
    rows = random_rows(len(x), options.examples)
    x = x[rows]
    told = evaluation_conditions(run, family, dataset, options.split)
    given: dict[str, Any] = {name: array[rows] for name, array in told.items()}
    if options.image >= len(x):
        raise ValueError(f"image must be below {len(x)}, the examples there are.")
    model = (family, config, variables)
    size, key = options.batch_size, jax.random.key(options.seed)
    z = evals.encode_split(*model, x, batch_size=size, **given)
    latent = z.shape[1:]
    z = z.reshape(len(x), -1)
    active = evals.active_units(*model, x, key, batch_size=size, **given)
    kl = nats_by_unit(model, x, given, size)
    by_layer = None
    if hasattr(family, "kl_layers"):
        by_layer = evals.kl_by_layer(*model, x, key, batch_size=size, **given).tolist()
    use = kl if kl is not None else z.var(axis=0)
    order = np.argsort(-use, kind="stable")

    out = options.out or options.workdir / "latents"
    decode = decoder(model, latent, given, size)
    drawing = LatentFigures(out, decode, *family.traits(config).sample_range)
    n, units = min(options.images, len(x)), order[: options.units]
    values = np.linspace(-options.span, options.span, options.columns)
    centre, width = prior_moments(model, key)
    if np.ndim(width):  # another prior than N(0, 1)
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
    if "label" in given:
        paths.append(classes(drawing, model, latent, z[:n], size))

    found = {
        "experiment": run.experiment,
        "split": options.split,
        "examples": len(x),
        "active_units": list(active.counts),
        "variance": [v.tolist() for v in active.variance],
        "kl": None if kl is None else float(kl.sum()),
        "kl_by_layer": by_layer,
        "kl_by_unit": None if kl is None else kl.tolist(),
        "aggregate": spread(model, x, given, key, size),
        "probe": None if given else probe(run, model, dataset, size),
        "rows": {
            "image": options.image,
            "units": units.tolist(),
            "values": values.tolist(),
            "by": "kl" if kl is not None else "variance of the posterior mean",
            "path": options.path,
        },
        "pictures": [str(path) for path in paths],
    }
    write_json(out / "latents.json", found)
    return found


def decoder(
    model: tuple[Any, Any, Any], latent: tuple[int, ...], given: dict[str, Any], batch_size: int
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """`decode_mean` as `(z [N, Z], rows [N]) -> images [N, *shape]` on the host.

    `latent` is the shape of one z; of several stochastic layers it is the one next to x.
    """
    family, config, variables = model

    @jax.jit
    def means(z: jax.Array, key: jax.Array, **condition: jax.Array) -> jax.Array:
        del key  # a mean
        return family.decode_mean(config, variables, z.reshape(-1, *latent), **condition)

    def decode(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        condition = {name: of_all[rows] for name, of_all in given.items()}
        return evals.map_split(means, {"z": z, **condition}, jax.random.key(0), batch_size)

    return decode


def classes(
    drawing: LatentFigures,
    model: tuple[Any, Any, Any],
    latent: tuple[int, ...],
    z: np.ndarray,
    batch_size: int,
) -> pathlib.Path:
    """One row an image, one column a label: the same z under every label."""
    count = model[1].classes
    labels = np.tile(np.arange(count, dtype=np.int32), len(z))
    decode = decoder(model, latent, {"label": labels}, batch_size)
    images = decode(np.repeat(z, count, axis=0), np.arange(len(labels)))
    return drawing.save("classes", images, count)


def nats_by_unit(
    model: tuple[Any, Any, Any], x: np.ndarray, given: dict[str, Any], batch_size: int
) -> np.ndarray | None:
    """KL of each unit; None where the posterior has no closed form a unit."""
    if not hasattr(model[0], "kl_units"):
        return None
    try:
        return evals.kl_by_unit(*model, x, batch_size=batch_size, **given)
    except ValueError:  # the family says so: a full covariance, a learned prior
        return None


def prior_moments(model: tuple[Any, Any, Any], key: jax.Array) -> tuple[Any, Any]:
    """Mean and standard deviation of each unit under its prior: 0 and 1, or `[Z]` of samples."""
    family, config, variables = model
    standard = getattr(config, "prior", "normal") == "normal" and not hasattr(family, "kl_layers")
    if standard or not hasattr(family, "prior_sample"):
        return 0.0, 1.0
    z = np.asarray(family.prior_sample(config, variables, key, DRAWN))
    z = z.reshape(DRAWN, -1)
    return z.mean(axis=0), z.std(axis=0)


def spread(
    model: tuple[Any, Any, Any],
    x: np.ndarray,
    given: dict[str, Any],
    key: jax.Array,
    batch_size: int,
) -> dict[str, list[float]] | None:
    """Mean and standard deviation of each unit over the data, as `prior_moments` of the prior."""
    if not hasattr(model[0], "posterior_sample"):
        return None
    mean, std = evals.aggregate_posterior(*model, x, key, batch_size=batch_size, **given)
    return {"mean": mean.tolist(), "std": std.tolist()}


def probe(
    run: Any, model: tuple[Any, Any, Any], dataset: Any, batch_size: int
) -> dict[str, Any] | None:
    """A linear probe on posterior means; None without labels in memory of three splits."""
    found = []
    for split in ("train", "validation", "test"):
        if "label" not in dataset.splits.get(split, {}):
            return None
        label = np.asarray(dataset.splits[split]["label"])
        known = np.flatnonzero(label >= 0)  # -1 where a run was told few labels
        known = known[random_rows(len(known), PROBED)]
        z = evals.encode_split(
            *model, evaluation_data(run, dataset, split)[known], batch_size=batch_size
        )
        found.append((z, label[known]))
    result = evals.linear_probe(*found)
    counts = {"trained_on": len(found[0][1]), "evaluated": len(found[2][1])}
    return {"accuracy": result.accuracy, "std_error": result.std_error, **counts}
