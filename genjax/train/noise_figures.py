"""Figures of a generator's noise, drawn by `genjax latents` for a GAN.

* `interpolations.png`: one row per pair of draws, interpolated from one to the other;
* `parts.png`: one row per pair of draws: the first, the first with each part of the second, and the
  second, of a generator of parts;
* `codes_0_categorical.png`: one row per draw of the noise, one column per category;
* `codes_1_uniform.png`: one row per dimension of the code, which alone varies.

After Chen et al. 2016, "InfoGAN" (arXiv:1606.03657), figure 2; noise and other codes are fixed. A
uniform code varies over its range, -1 to 1; the paper's figure continues to 2.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import evals
from genjax.core import named_key
from genjax.core.protocols import ImageParts, LatentCodes
from genjax.train.checkpoint import write_json
from genjax.train.latent_figures import LatentFigures
from genjax.train.load_run import load
from genjax.train.run_files import run_files


def draw_noise_figures(options: argparse.Namespace, run: Any, family: Any) -> dict[str, Any]:
    """Draws the figures of a run.

    Args:
      options: of `genjax latents`: `images` (number of draws), `columns`, `span`, `path`, `seed`,
        `out`.
      run: settings of the run.
      family: its module, which implements `Implicit`.

    Returns:
      The content of `latents.json`.

    Raises:
      ValueError: samples are not images.
    """
    config = run.model
    if len(config.shape) != 3:
        raise ValueError(
            f"{options.workdir} generates points of shape {list(config.shape)}, not images."
        )
    _, variables = load(options.workdir)
    conditions: dict[str, Any] = {}
    if getattr(config, "classes", 0):  # one label per pair of draws
        conditions["label"] = np.arange(options.images, dtype=np.int32) // 2 % config.classes
    program = jax.jit(lambda z, **kw: family.generate(config, variables, z, **kw))

    def decode(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        kw = {name: jnp.asarray(values[rows]) for name, values in conditions.items()}
        return np.asarray(program(jnp.asarray(z, jnp.float32), **kw))

    out = options.out or run_files(options.workdir).output("latents")
    traits = family.traits(config)
    figures = LatentFigures(out, decode, *traits.sample_range)
    key = named_key(jax.random.key(options.seed), 0, "noise")
    z = np.asarray(family.noise(config, key, options.images))
    paths, rows = [], []
    if options.images > 1:
        spherical = options.path == "spherical" and traits.normal_noise
        paths.append(figures.interpolations(z, options.columns, spherical))
    if isinstance(family, ImageParts) and options.images > 1:
        names = [part.name for part in family.image_parts(config)]
        grid = part_grid(family, config, z)
        columns = grid.shape[1]
        pairs = np.repeat(2 * np.arange(len(grid)), columns)
        images = decode(grid.reshape(-1, z.shape[1]), pairs)
        paths.append(figures.save("parts", images, columns))
        titles = ["first", *names, "second"]
        rows.append({"picture": "parts.png", "rows": "pairs", "columns": titles})
    if isinstance(family, LatentCodes):
        for name, grid, columns, labels in code_grids(
            family, config, z, options.columns, options.span
        ):
            images = decode(grid.reshape(-1, z.shape[1]), np.zeros(len(grid) * columns, np.int64))
            paths.append(figures.save(name, images, columns))
            rows.append({"picture": f"{name}.png", **labels})
    content = {
        "experiment": run.experiment,
        "seed": options.seed,
        "rows": rows,
        "pictures": [str(path) for path in paths],
    }
    write_json(out / "latents.json", content)
    return content


def part_grid(family: Any, config: Any, z: np.ndarray) -> np.ndarray:
    """Returns pairs of draws and what is between them, `[pairs, K + 2, Z]`.

    Columns are the first draw, the first with each part of the second, and the second. Pairs are of
    adjacent rows of `z`.
    """
    n = len(z) // 2 * 2
    first, second = z[0:n:2], z[1:n:2]
    count = len(family.image_parts(config))
    mixed = [np.asarray(family.exchange(config, first, second, k)) for k in range(count)]
    return np.stack([first, *mixed, second], axis=1)


def code_grids(
    family: Any, config: Any, z: np.ndarray, columns: int, span: float
) -> list[tuple[str, np.ndarray, int, dict[str, Any]]]:
    """Returns grids of generator inputs in which one code varies.

    Returns:
      For each code: name of the figure, inputs `[rows, columns, Z + C]`, number of columns, and
      what rows and columns are.
    """
    codes = family.codes(config)
    start = z.shape[1] - sum(code.size for code in codes)  # codes follow the noise
    out = []
    for i, code in enumerate(codes):
        entries = slice(start, start + code.size)
        start += code.size
        name = f"codes_{i}_{code.kind}"
        if code.kind == "categorical":
            grid = np.repeat(z[: min(10, len(z)), None], code.size, axis=1)
            grid[:, :, entries] = np.eye(code.size, dtype=z.dtype)
            labels: dict[str, Any] = {"rows": "draws", "columns": list(range(code.size))}
            out.append((name, grid, code.size, labels))
            continue
        end = 1.0 if code.kind == "uniform" else span
        values = np.linspace(-end, end, columns)
        grid = evals.traversal(z[0], range(entries.start, entries.stop), values)
        grid = grid.reshape(code.size, columns, -1)
        out.append((name, grid, columns, {"rows": "numbers", "columns": values.tolist()}))
    return out
