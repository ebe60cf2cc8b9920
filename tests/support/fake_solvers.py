"""Puzzle solvers without a network, whose orders are known, and runs of them.

The mean of a piece tells its position (`puzzle_images`). The one parameter, `skill`, is the weight
of this evidence: at 1 every order found is right, and at 0 all positions score alike.
"""

import dataclasses
import math
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import families
from genjax.core import Optimizer, Traits
from genjax.core.puzzles import join, restore
from genjax.data import Data, Dataset, save_npz
from genjax.train import Run, Train

LEVELS = 40.0, 215.0  # of the first and last piece


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    shape: tuple[int, ...] = (8, 8, 1)
    grid: tuple[int, int] = (2, 2)
    gaps: tuple[int, ...] = (0,)
    missing: int = 0
    skill: float = 1.0
    """Initial value of the parameter."""


class Solver:
    """What both have in common; the loss is (1 - skill)^2."""

    Config = Config

    def traits(self, config):
        return Traits(data="images", density="none", sample_range=(-1.0, 1.0))

    def tiny(self):
        return self.Config()

    def batch_spec(self, config, batch_size):
        return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}

    def init(self, config, key, batch=None):
        return {"params": {"skill": jnp.asarray(config.skill, jnp.float32)}}

    def loss(self, config, variables, batch, key):
        return jnp.full(len(batch["x"]), (1 - variables["params"]["skill"]) ** 2), {}

    def grid(self, config):
        return config.grid

    def evidence(self, config, variables, pieces):
        n = math.prod(config.grid)
        levels = (pieces.mean((-3, -2, -1)) + 1) * 127.5  # [B, N]
        places = (levels - LEVELS[0]) / (LEVELS[1] - LEVELS[0]) * (n - 1)
        distance = jnp.abs(places[..., None] - jnp.arange(n)[None, None])
        return jax.nn.log_softmax(-4 * variables["params"]["skill"] * distance)


class PositionSolver(Solver):
    """Implements `PositionScores`."""

    __name__ = "genjax.families.position_solver"

    def position_scores(self, config, variables, pieces, present=None):
        scores = self.evidence(config, variables, pieces)
        n = scores.shape[-1]
        return scores if present is None else jnp.where(present[..., None], scores, -math.log(n))


class PermutationSolver(Solver):
    """Implements `PermutationLogits` for cyclic shifts, and reassembles at half the contrast."""

    __name__ = "genjax.families.permutation_solver"

    def permutations(self, config):
        n = math.prod(config.grid)
        return np.stack([np.roll(np.arange(n), k) for k in range(n)]).astype(np.int32)

    def permutation_logits(self, config, variables, pieces):
        scores, orders = self.evidence(config, variables, pieces), self.permutations(config)
        return scores[:, np.arange(orders.shape[1]), orders].sum(-1)  # [B, P]

    def reassemble(self, config, variables, pieces):
        best = self.permutation_logits(config, variables, pieces).argmax(-1)
        return join(restore(pieces, jnp.asarray(self.permutations(config))[best]), config.grid) / 2


SOLVERS = {"position_solver": PositionSolver(), "permutation_solver": PermutationSolver()}


def register(monkeypatch: Any) -> None:
    """Adds both to the registry of families for a test."""
    for name, family in SOLVERS.items():
        monkeypatch.setitem(sys.modules, f"support.{name}", family)
        monkeypatch.setitem(families.FAMILIES, name, f"support.{name}")


def puzzle_images(n: int, config: Config, seed: int = 0) -> np.ndarray:
    """Images uint8 `[n, *shape]`; a piece's level rises with its position, and pixels differ."""
    (rows, columns), (height, width, channels) = config.grid, config.shape
    levels = np.linspace(*LEVELS, rows * columns).reshape(rows, columns)
    means = levels.repeat(height // rows, 0).repeat(width // columns, 1)[..., None]
    noise = np.random.default_rng(seed).integers(-20, 21, (n, height, width, channels))
    return (means + noise).astype(np.uint8)


def exact_borders(n, grid, side=12, seed=0):
    """Noise of which neighbouring pieces have equal borders, in [-1, 1]."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, grid[0] * side, grid[1] * side, 3)).astype(np.float32)
    for c in range(side, x.shape[2], side):
        x[:, :, c - 1] = x[:, :, c]
    for r in range(side, x.shape[1], side):
        x[:, r - 1] = x[:, r]
    return x


def solver_run(name: str, folder: pathlib.Path, config: Config | None = None, **train: Any) -> Run:
    """A run of a registered solver on 40 images, with validation and test splits, in a folder."""
    config = config or Config()
    path = folder / "puzzles.npz"
    if not path.exists():
        sizes = {"train": 24, "validation": 10, "test": 6}
        splits = {s: {"x": puzzle_images(k, config, k)} for s, k in sizes.items()}
        save_npz(Dataset("puzzles", splits, 256), path)
    settings: dict[str, Any] = dict(steps=4, batch_size=8, eval_every=2, sample_every=2, samples=6)
    return Run(
        experiment=name,
        family=name,
        model=config,
        data=Data(data=str(path), transform="scale(-1, 1)"),
        optimizer=Optimizer(learning_rate=0.1),
        train=Train(**settings | train),
    )
