"""The networks and training steps of the families in PyTorch, to be timed beside them.

A peer is what a PyTorch user would write and tune. Its module has `build(config, variables)`, which
returns the network, with the weights of a family's variables if they are given; `loss` (several
networks: `NAME_loss` of each, alone or with outputs for the losses after it), and `sample` and
`evaluate` if the family has them. A network's `leaves` maps its
tensors to Flax arrays, so that weights and gradients can be compared; `loops` names functions that
loop in Python, and `pieces` the parts of those that are compiled. Batches and samples are NHWC,
maps inside are NCHW. bfloat16 is autocast around these functions, whatever `dtype` the Config has.
"""

import importlib
import importlib.util
from typing import Any

FAMILIES = {
    name: f"experiments.benchmarks.peers.torch_{name}"
    for name in (
        *("fvsbn", "nade", "made", "orderless_nade", "rnade", "pixelcnn", "pixelrnn"),
        *("pixelcnn_pp", "vae", "hierarchical_vae", "m2", "gan", "dcgan", "infogan"),
        *("cyclegan", "stargan", "progressive", "jigsaw_assignment", "jigsaw"),
        *("dvae", "dalle", "joint_embedding", "gan_cls"),
    )
}
FAMILIES["puzzle_gan"] = FAMILIES["progressive"]
# Fitted without gradients: a peer has `update` for `loss`.
FITTED = {name: f"experiments.benchmarks.peers.torch_{name}" for name in ("markov", "mixture")}
KINDS = ("step", "sample", "evaluate")  # calls that are timed
# Peers that run the whole network for every value, where the families use caches: a ratio of their
# samples compares two algorithms.
WHOLE_NETWORK_PER_VALUE = ("made", "pixelcnn", "pixelrnn", "pixelcnn_pp")


def get(family: str) -> Any:
    """Returns the module of a family's peer.

    Raises:
      ValueError: the family has none, or PyTorch is not installed.
    """
    modules = FAMILIES | FITTED
    if family not in modules:
        raise ValueError(f"{family} has no peer in PyTorch; choose one of {', '.join(modules)}.")
    check_installed()
    return importlib.import_module(modules[family])


def check_installed() -> None:
    """Checks that PyTorch is installed.

    Raises:
      ValueError: it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise ValueError("a peer needs PyTorch: pip install -e '.[torch]'.")
