"""What every family stands on: state, random streams, optimizers, the gradient step."""

from genjax.core.adversarial import (
    Method,
    discriminator_turn,
    diversity,
    generator_turn,
    method_buffers,
)
from genjax.core.fold import fold_rows
from genjax.core.optim import Optimizer
from genjax.core.state import State, init_state, with_ema
from genjax.core.step import adversarial_step, gradient_step, network_step
from genjax.core.streams import stream
from genjax.core.traits import Traits, traits_of

__all__ = [
    "Method",
    "Optimizer",
    "State",
    "Traits",
    "adversarial_step",
    "discriminator_turn",
    "diversity",
    "fold_rows",
    "generator_turn",
    "gradient_step",
    "init_state",
    "method_buffers",
    "network_step",
    "stream",
    "traits_of",
    "with_ema",
]
