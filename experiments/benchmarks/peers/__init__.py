"""The same networks and the same steps in PyTorch, to be timed beside this library's.

Each family's module is what a user of PyTorch would write and tune: `build` makes the network,
with a family's own weights where they are given; `leaves` says which tensor is which Flax array,
so that weights and gradients can be compared; `loss` (two players: `discriminator_loss`,
`generator_loss`), `sample` and `evaluate` are its work. Batches and samples are NHWC as in JAX,
maps inside are NCHW. Computation in bfloat16 is autocast's, around these functions: a Config's
`dtype` is not looked at. What loops in Python says so in its network's `loops`, and `pieces` names
what a compiler is given of it. `experiments.benchmarks.peers.time_peer` times one row, and
`experiments.benchmarks.speed --peer torch` each beside this library's own.
"""

import importlib
import importlib.util
from typing import Any

FAMILIES = {
    name: f"experiments.benchmarks.peers.torch_{name}"
    for name in (
        *("fvsbn", "nade", "made", "orderless_nade", "rnade", "pixelcnn", "pixelrnn"),
        *("pixelcnn_pp", "vae", "hierarchical_vae", "m2", "gan", "dcgan", "infogan"),
    )
}
KINDS = ("step", "sample", "evaluate")  # calls that are timed of a row
# Peers that run the whole network for every value they draw. The families keep what earlier values
# gave, so a ratio of samples compares two algorithms and not two frameworks.
WHOLE_NETWORK_A_VALUE = ("made", "pixelcnn", "pixelrnn", "pixelcnn_pp")


def get(family: str) -> Any:
    """The module of a family's peer.

    Raises:
      ValueError: the family has none, or PyTorch is not installed.
    """
    if family not in FAMILIES:
        raise ValueError(f"{family} has no peer in PyTorch; there are {', '.join(FAMILIES)}.")
    check_installed()
    return importlib.import_module(FAMILIES[family])


def check_installed() -> None:
    """Refuse to go on without PyTorch.

    Raises:
      ValueError: it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise ValueError("a peer needs PyTorch: pip install -e '.[torch]'.")
