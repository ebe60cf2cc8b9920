"""Solutions of puzzles: orders of the pieces found by a family, and their probabilities."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from genjax.core import puzzles
from genjax.core.protocols import PermutationLogits, PositionScores, family_name
from genjax.evals.batching import map_split
from genjax.evals.border_solvers import beam_search, normalised_costs, total_costs

BATCH_SIZE = 100


@dataclasses.dataclass(frozen=True)
class Solution:
    """Orders of the pieces of B puzzles.

    Attributes:
      orders: position of every piece, `[B, N]`; missing pieces have those left over.
      probabilities: of each piece at its position, by the family alone, `[B, N]`; 0 for missing
        pieces.
      confidence: mean of the probabilities of the present pieces, `[B]`.
    """

    orders: np.ndarray
    probabilities: np.ndarray
    confidence: np.ndarray


def solve(
    family: Any,
    config: Any,
    variables: Any,
    pieces: Any,
    present: Any = None,
    *,
    border_weight: float = 0.0,
    costs: Any = None,
) -> Solution:
    """Finds the positions of shuffled pieces.

    Scores of positions are solved by the exact assignment; with a border weight by `beam_search`,
    which maximises the sum of log probabilities minus `border_weight` times that of
    `normalised_costs`. Of a list of permutations the best one is chosen, by logits minus the same
    costs.

    Args:
      family: module that implements `PositionScores` or `PermutationLogits`.
      config, variables: of the family.
      pieces: `[B, N, h, w, C]`, in the range of the family's data.
      present: bool `[B, N]`, False for missing pieces; None is all True.
      border_weight: of the costs; 0 is the family alone.
      costs: `[B, 2, N, N]`; by default `border_costs` of the pieces.

    Raises:
      ValueError: the family does not solve puzzles, or not with missing pieces.
    """
    check_solver(family)
    predictions = predict(family, config, variables, pieces, present)
    if border_weight and costs is None:
        costs = border_costs(pieces)
    return decode(family, config, predictions, present, border_weight=border_weight, costs=costs)


def check_solver(family: Any) -> None:
    """Raises ValueError if a family does not solve puzzles."""
    if not isinstance(family, (PositionScores, PermutationLogits)):
        raise ValueError(
            f"{family_name(family)} does not solve puzzles; use a run of a family with"
            f" `position_scores` or `permutation_logits`."
        )


def predict(
    family: Any, config: Any, variables: Any, pieces: Any, present: Any = None
) -> np.ndarray:
    """Computes scores `[B, N, N]` or logits `[B, P]` of puzzles, batch by batch, on the host.

    Raises:
      ValueError: pieces are missing, and the family only knows complete puzzles.
    """
    listed = not isinstance(family, PositionScores)
    if listed and present is not None and not np.all(present):
        raise ValueError(
            f"{family_name(family)} chooses among orders of complete puzzles and cannot solve one"
            f" with missing pieces; use a family with `position_scores`."
        )
    call = _compiled(family, config)
    arrays = {"pieces": pieces}
    if not listed and present is not None:
        arrays["present"] = present
    out = map_split(
        lambda key, **batch: call(variables, **batch), arrays, jax.random.key(0), BATCH_SIZE
    )
    return np.asarray(out, np.float32)


@functools.lru_cache(maxsize=8)
def _compiled(family: Any, config: Any) -> Callable[..., jax.Array]:
    scores = isinstance(family, PositionScores)
    method = family.position_scores if scores else family.permutation_logits
    return jax.jit(functools.partial(method, config))


_border_costs = jax.jit(puzzles.border_costs)


def border_costs(pieces: Any) -> np.ndarray:
    """Computes `genjax.core.puzzles.border_costs` batch by batch, on the host."""
    call = lambda key, pieces: _border_costs(pieces)  # noqa: E731
    out = map_split(call, {"pieces": pieces}, jax.random.key(0), BATCH_SIZE)
    return np.asarray(out, np.float32)


def decode(
    family: Any,
    config: Any,
    predictions: np.ndarray,
    present: Any = None,
    *,
    border_weight: float = 0.0,
    costs: Any = None,
) -> Solution:
    """Returns the orders of the best total score, see `solve`.

    Args:
      family, config: the solver.
      predictions: of `predict`.
      present: bool `[B, N]`; None is all True.
      border_weight: of the costs.
      costs: `[B, 2, N, N]`; may be None if the weight is 0.
    """
    grid = family.grid(config)
    n = grid[0] * grid[1]
    known = np.ones((len(predictions), n), bool) if present is None else np.asarray(present)
    if isinstance(family, PositionScores):
        orders = assign(predictions, known)
        if border_weight:
            orders = beam_search(costs, grid, known, predictions, border_weight)
        chosen = np.take_along_axis(predictions, orders[..., None], -1)[..., 0]
        probabilities = np.where(known, np.exp(np.minimum(chosen, 0)), 0)
    else:
        listed = np.asarray(family.permutations(config))
        total = predictions
        if border_weight:
            total = total - border_weight * total_costs(normalised_costs(costs), listed, grid)
        orders = listed[total.argmax(1)].astype(np.int64)
        from scipy.special import softmax

        probability = softmax(predictions, axis=1)
        same = listed[None] == orders[:, None]  # [B, P, N]
        probabilities = np.einsum("bp,bpn->bn", probability, same)
    confidence = probabilities.sum(1) / np.maximum(known.sum(1), 1)
    return Solution(orders, probabilities, confidence)


def assign(scores: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Returns the orders of the highest sum of scores of present pieces, `[B, N, N]` -> `[B, N]`.

    Raises:
      ValueError: a score is not a number.
    """
    if np.isnan(scores[present]).any():
        raise ValueError("scores of positions are NaN; the run has diverged.")
    from scipy.optimize import linear_sum_assignment

    values = np.where(present[..., None], np.maximum(scores, -1e9), 0)
    return np.stack([linear_sum_assignment(x, maximize=True)[1] for x in values])
