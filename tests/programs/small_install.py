"""`small_install.py`: genjax where nothing but JAX, Flax, chex and what they need can be imported.

Prints the blocked packages, the number of families, and the losses of 20 steps.
"""

import importlib.abc
import importlib.metadata
import re
import sys

FIRST = ("jax", "flax", "chex")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies(names):
    """Returns the distributions that these need without extras, and these."""
    found, waiting = set(), list(names)
    while waiting:
        name = normal(re.match(r"[\w.-]+", waiting.pop())[0])
        if name not in found:
            found.add(name)
            try:
                needed = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:  # of another platform
                continue
            waiting += [text for text in needed if "extra ==" not in text]
    return found


KEPT = dependencies(FIRST) | {"genjax-zoo"}
BLOCKED = {
    package
    for package, distributions in importlib.metadata.packages_distributions().items()
    if not KEPT & {normal(name) for name in distributions}
}


class Blocker(importlib.abc.MetaPathFinder):
    """Refuses the import of blocked packages, as if they were not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


sys.meta_path.insert(0, Blocker())

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

import genjax  # noqa: E402
import genjax.nn  # noqa: E402
from genjax import families  # noqa: E402
from genjax.core import init_state  # noqa: E402
from genjax.losses import bernoulli_nll  # noqa: E402

print(*sorted(BLOCKED))
print(len({families.get(name) for name in families.FAMILIES}))
nade, optimizer = families.get("nade"), optax.adam(1e-2)
config = nade.Config(shape=(4, 4, 1), hidden=8)
state = jax.jit(lambda key: init_state(nade, config, optimizer, key))(jax.random.key(0))
step = genjax.jitted_step("nade", config, optimizer)
x = jnp.ones((8, 4, 4, 1)).at[:, 0].set(0)
for _ in range(20):
    state, metrics = step(state, {"x": x})
    print(float(metrics["loss"]))
assert nade.sample(config, state.variables, jax.random.key(1), 2).shape == (2, 4, 4, 1)
assert bernoulli_nll(jnp.zeros((2, 3)), jnp.ones((2, 3))).shape == (2,)
