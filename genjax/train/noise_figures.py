"""Pictures of a generator's noise: what `genjax latents` draws of a GAN.

* `interpolations.png`: a row a pair of draws, from one to the other;
* `codes_0_categorical.png`: a row a draw of the noise, a column a category;
* `codes_1_uniform.png`: a row a number of the code, which alone moves.

After Chen et al. 2016, "InfoGAN" (arXiv:1606.03657), figure 2; the rest of the code and all noise
stay as they were drawn. A uniform number goes from -1 to 1, its range; the paper's goes on to 2.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import evals
from genjax.core import named_key
from genjax.train.checkpoint import write_json
from genjax.train.latent_figures import LatentFigures
from genjax.train.load_run import load


def draw_noise_figures(options: argparse.Namespace, run: Any, family: Any) -> dict[str, Any]:
    """Draw; what `latents.json` holds.

    Args:
      options: of `genjax.cli.latents`: `images` draws, `columns`, `span`, `path`, `seed`, `out`.
      run: the settings of the run.
      family: its module, with `noise` and `generate`.

    Raises:
      ValueError: samples are no pictures.
    """
    config = run.model
    if len(config.shape) != 3:
        raise ValueError(f"{options.workdir} makes points {list(config.shape)}, and no pictures.")
    _, variables = load(options.workdir)
    given: dict[str, Any] = {}
    if getattr(config, "classes", 0):  # told, not found: each pair of draws has a label of its own
        given["label"] = np.arange(options.images, dtype=np.int32) // 2 % config.classes
    program = jax.jit(lambda z, **kw: family.generate(config, variables, z, **kw))

    def decode(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        told = {name: jnp.asarray(of_all[rows]) for name, of_all in given.items()}
        return np.asarray(program(jnp.asarray(z, jnp.float32), **told))

    out = options.out or options.workdir / "latents"
    drawing = LatentFigures(out, decode, *family.traits(config).sample_range)
    key = named_key(jax.random.key(options.seed), 0, "noise")
    z = np.asarray(family.noise(config, key, options.images))
    paths, rows = [], []
    if options.images > 1:
        # Only normal draws lie near a sphere.
        spherical = options.path == "spherical" and getattr(config, "noise", "") == "normal"
        paths.append(drawing.interpolations(z, options.columns, spherical))
    if hasattr(family, "parts"):
        for name, walk, columns, said in codes(family, config, z, options.columns, options.span):
            images = decode(walk.reshape(-1, z.shape[1]), np.zeros(len(walk) * columns, np.int64))
            paths.append(drawing.save(name, images, columns))
            rows.append({"picture": f"{name}.png", **said})
    found = {
        "experiment": run.experiment,
        "seed": options.seed,
        "rows": rows,
        "pictures": [str(path) for path in paths],
    }
    write_json(out / "latents.json", found)
    return found


def codes(
    family: Any, config: Any, z: np.ndarray, columns: int, span: float
) -> list[tuple[str, np.ndarray, int, dict[str, Any]]]:
    """Walks `[rows, columns, Z + C]` of every part of the code, with what rows and columns are."""
    parts = family.parts(config)
    place = z.shape[1] - sum(part.size for part in parts)  # codes follow the noise
    found = []
    for i, part in enumerate(parts):
        mine = slice(place, place + part.size)
        place += part.size
        name = f"codes_{i}_{part.kind}"
        if part.kind == "categorical":
            walk = np.repeat(z[: min(10, len(z)), None], part.size, axis=1)
            walk[:, :, mine] = np.eye(part.size, dtype=z.dtype)
            said: dict[str, Any] = {"rows": "draws", "columns": list(range(part.size))}
            found.append((name, walk, part.size, said))
            continue
        end = 1.0 if part.kind == "uniform" else span
        values = np.linspace(-end, end, columns)
        walk = evals.traversal(z[0], range(mine.start, mine.stop), values)
        walk = walk.reshape(part.size, columns, -1)
        found.append((name, walk, columns, {"rows": "numbers", "columns": values.tolist()}))
    return found
