"""Counts floating-point operations and bytes of a JAX function from its jaxpr.

Multiply-adds of matrix products and convolutions count as two operations, everything else as none.
Bytes are those of arguments, results, and the operands and results of every product: the traffic
with memory if everything between products were fused. Bodies of `scan` count as often as they run,
bodies of `while` once, and `cond` as its most expensive branch, or as the branch of the requested
platform under `jax.lax.platform_dependent`.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

PRODUCTS = ("dot_general", "conv_general_dilated")
Each = Callable[[Any], int]


def here() -> str:
    """Returns the platform of this process, by the name used for lowering."""
    backend = jax.default_backend()
    return "cuda" if backend == "gpu" else backend


def count(
    function: Callable,
    *args: Any,
    only: Callable = lambda equation: True,
    platform: str | None = None,
) -> int:
    """Counts the operations of `function(*args)`; arguments may be shapes.

    Args:
      function: traced once.
      *args: of the function.
      only: predicate of the equations of products that count.
      platform: cpu, cuda or tpu; None is the platform of this process.
    """
    traced = jax.make_jaxpr(function)(*args).jaxpr
    return of_jaxpr(traced, lambda e: operations(e) if only(e) else 0, platform or here())


def work(function: Callable, *args: Any, platform: str | None = None) -> tuple[int, int, int]:
    """Counts operations, those in full float32, and bytes; arguments may be shapes."""
    traced = jax.make_jaxpr(function)(*args).jaxpr
    of = functools.partial(of_jaxpr, traced, platform=platform or here())
    full = of(lambda e: operations(e) if exact(e) else 0)
    return of(operations), full, size_of(traced) + of(size_of)


def exact(e: Any) -> bool:
    """Returns whether a product is in full float32, which a GPU computes without tensor cores."""
    precision = e.params["precision"]
    precision = precision if isinstance(precision, tuple) else (precision,)
    return all(p == jax.lax.Precision.HIGHEST for p in precision)


def of_jaxpr(jaxpr: Any, each: Each, platform: str) -> int:
    """Sums `each` over the products of a jaxpr."""
    return sum(of_equation(e, each, platform) for e in jaxpr.eqns)


def of_equation(e: Any, each: Each, platform: str) -> int:
    """Sums `each` over the products of an equation and of the jaxprs inside it."""
    if e.primitive.name in PRODUCTS:
        return each(e)
    inner = [of_jaxpr(j, each, platform) for j in inside(e.params)]
    if e.primitive.name == "cond":
        places = e.params.get("branches_platforms")
        if places is None:
            return max(inner, default=0)
        # Platforms of each branch; None is the default.
        found = [n for n, p in zip(inner, places, strict=True) if p is None or platform in p]
        if not found:
            raise ValueError(f"a platform-dependent branch has no implementation for {platform}.")
        return found[0]
    return sum(inner) * (e.params["length"] if e.primitive.name == "scan" else 1)


def operations(e: Any) -> int:
    """Returns the operations of a product."""
    out = math.prod(e.outvars[0].aval.shape)
    if e.primitive.name == "dot_general":
        (contracted, _), _ = e.params["dimension_numbers"]
        return 2 * out * math.prod(e.invars[0].aval.shape[i] for i in contracted)
    # Zeros of a dilated input are not counted.
    kernel = e.invars[1].aval.shape
    each = math.prod(kernel) // kernel[e.params["dimension_numbers"].rhs_spec[0]]
    return 2 * out * each // math.prod(e.params["lhs_dilation"])


def size_of(e: Any) -> int:
    """Returns the bytes of inputs and outputs of an equation or a jaxpr."""
    avals = [v.aval for v in (*e.invars, *e.outvars)]
    return sum(a.size * a.dtype.itemsize for a in avals)


def inside(params: dict[str, Any]) -> Iterator[Any]:
    """Yields the jaxprs in an equation's parameters."""
    for value in params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            one = getattr(one, "jaxpr", one)
            if hasattr(one, "eqns"):
                yield one
