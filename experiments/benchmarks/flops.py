"""Floating-point operations and bytes of a JAX function, counted from what it traces to.

Multiply-adds of matrix products and convolutions count twice, everything else not at all: what a
chip's matrix units would have to do. Bytes are those of the function's arguments and results and of
every product's operands and results: what its memory would have to move if all that lies between
products were computed in passing. Bodies of `scan` count as often as they run; of `while`, whose
length nobody knows, once; of `cond` the dearest branch, but where a platform chooses (as in
`jax.lax.platform_dependent`) that of the platform that is asked for.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

PRODUCTS = ("dot_general", "conv_general_dilated")
Each = Callable[[Any], int]


def here() -> str:
    """The platform of this process, as programs are lowered for it."""
    backend = jax.default_backend()
    return "cuda" if backend == "gpu" else backend


def count(
    function: Callable,
    *args: Any,
    only: Callable = lambda equation: True,
    platform: str | None = None,
) -> int:
    """Operations of `function(*args)`; arguments may be shapes.

    `only` says of a product's equation whether it counts; `platform` is cpu, cuda or tpu, or None
    for the one that is here.
    """
    traced = jax.make_jaxpr(function)(*args).jaxpr
    return of_jaxpr(traced, lambda e: operations(e) if only(e) else 0, platform or here())


def work(function: Callable, *args: Any, platform: str | None = None) -> tuple[int, int, int]:
    """Operations, how many of them in full float32, and bytes; arguments may be shapes."""
    traced = jax.make_jaxpr(function)(*args).jaxpr
    of = functools.partial(of_jaxpr, traced, platform=platform or here())
    full = of(lambda e: operations(e) if exact(e) else 0)
    return of(operations), full, size_of(traced) + of(size_of)


def exact(e: Any) -> bool:
    """Whether a product is asked for in full float32, which a GPU does without its matrix units."""
    asked = e.params["precision"]
    asked = asked if isinstance(asked, tuple) else (asked,)
    return all(p == jax.lax.Precision.HIGHEST for p in asked)


def of_jaxpr(jaxpr: Any, each: Each, platform: str) -> int:
    """Sum of `each` product of a traced function."""
    return sum(of_equation(e, each, platform) for e in jaxpr.eqns)


def of_equation(e: Any, each: Each, platform: str) -> int:
    """The same of one equation, with the functions in it."""
    if e.primitive.name in PRODUCTS:
        return each(e)
    inner = [of_jaxpr(j, each, platform) for j in inside(e.params)]
    if e.primitive.name == "cond":
        places = e.params.get("branches_platforms")
        if places is None:
            return max(inner, default=0)
        # Platforms of each branch; None is the one for all others.
        found = [n for n, p in zip(inner, places, strict=True) if p is None or platform in p]
        if not found:
            raise ValueError(f"a choice between platforms has no branch for {platform}.")
        return found[0]
    return sum(inner) * (e.params["length"] if e.primitive.name == "scan" else 1)


def operations(e: Any) -> int:
    """Of a product."""
    out = math.prod(e.outvars[0].aval.shape)
    if e.primitive.name == "dot_general":
        (contracted, _), _ = e.params["dimension_numbers"]
        return 2 * out * math.prod(e.invars[0].aval.shape[i] for i in contracted)
    # Positions that a dilated input leaves empty are not multiplied.
    kernel = e.invars[1].aval.shape
    each = math.prod(kernel) // kernel[e.params["dimension_numbers"].rhs_spec[0]]
    return 2 * out * each // math.prod(e.params["lhs_dilation"])


def size_of(e: Any) -> int:
    """Bytes of what an equation, or a function, takes and gives."""
    avals = [v.aval for v in (*e.invars, *e.outvars)]
    return sum(a.size * a.dtype.itemsize for a in avals)


def inside(params: dict[str, Any]) -> Iterator[Any]:
    """The functions that an equation holds."""
    for value in params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            one = getattr(one, "jaxpr", one)
            if hasattr(one, "eqns"):
                yield one
