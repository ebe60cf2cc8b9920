"""What every family stands on: state, random streams, optimizers, the gradient step."""

from genjax.core.fold import fold_rows
from genjax.core.optim import Optimizer
from genjax.core.state import State, init_state, with_ema
from genjax.core.step import adversarial_step, gradient_step, network_step
from genjax.core.streams import stream
from genjax.core.traits import Traits, traits_of

__all__ = [
    "Optimizer",
    "State",
    "Traits",
    "adversarial_step",
    "fold_rows",
    "gradient_step",
    "init_state",
    "network_step",
    "stream",
    "traits_of",
    "with_ema",
]
