"""Floating-point operations of a JAX function, counted from what it traces to.

Multiply-adds of matrix products and convolutions count twice, everything else not at all: what a
chip's matrix units would have to do. Bodies of `scan` count as often as they run; of `while`, whose
length nobody knows, once; of `cond` the dearest branch.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

Only = Callable[[Any], bool]


def count(function: Callable, *args: Any, only: Only = lambda equation: True) -> int:
    """Operations of `function(*args)`; arguments may be shapes.

    `only` says of a product's equation whether it counts.
    """
    return of_jaxpr(jax.make_jaxpr(function)(*args).jaxpr, only)


def exact(e: Any) -> bool:
    """Whether a product is asked for in full float32, which a GPU does without its matrix units."""
    asked = e.params["precision"]
    asked = asked if isinstance(asked, tuple) else (asked,)
    return all(p == jax.lax.Precision.HIGHEST for p in asked)


def of_jaxpr(jaxpr: Any, only: Only) -> int:
    """Operations of a traced function."""
    return sum(of_equation(e, only) for e in jaxpr.eqns)


def of_equation(e: Any, only: Only) -> int:
    """Operations of one equation, with those of the functions in it."""
    name = e.primitive.name
    if name in ("dot_general", "conv_general_dilated") and not only(e):
        return 0
    if name == "dot_general":
        (contracted, _), _ = e.params["dimension_numbers"]
        shape = e.invars[0].aval.shape
        return 2 * math.prod(e.outvars[0].aval.shape) * math.prod(shape[i] for i in contracted)
    if name == "conv_general_dilated":
        # Positions that a dilated input leaves empty are not multiplied.
        kernel = e.invars[1].aval.shape
        numbers = e.params["dimension_numbers"]
        each = math.prod(kernel) // kernel[numbers.rhs_spec[0]]
        empty = math.prod(e.params["lhs_dilation"])
        return 2 * math.prod(e.outvars[0].aval.shape) * each // empty
    inner = [of_jaxpr(j, only) for j in inside(e.params)]
    if name == "cond":
        return max(inner, default=0)
    return sum(inner) * (e.params["length"] if name == "scan" else 1)


def inside(params: dict[str, Any]) -> Iterator[Any]:
    """The functions that an equation holds."""
    for value in params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            one = getattr(one, "jaxpr", one)
            if hasattr(one, "eqns"):
                yield one
