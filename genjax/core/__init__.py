"""What every family stands on: state, random streams, optimizers, the gradient step."""

from genjax.core.adversarial import (
    Method,
    check_slopes,
    discriminator_turn,
    diversity,
    generator_turn,
    method_buffers,
    nearest,
    one_turn,
    own,
)
from genjax.core.fold import fold_rows
from genjax.core.importance import drawn_noise, log_mean_weight
from genjax.core.optim import Optimizer
from genjax.core.raster import (
    binary_only,
    check_given,
    conditional_nats,
    draw_by,
    draw_naive,
    draw_noise,
    draw_parallel,
    draw_values,
    levels_only,
)
from genjax.core.standing import standing_statistics
from genjax.core.state import State, init_state, with_ema
from genjax.core.step import (
    Optimizers,
    adversarial_step,
    gradient_step,
    network_step,
    player_steps,
)
from genjax.core.streams import stream
from genjax.core.traits import Traits, traits_of

__all__ = [
    "Method",
    "Optimizer",
    "Optimizers",
    "State",
    "Traits",
    "adversarial_step",
    "binary_only",
    "check_given",
    "check_slopes",
    "conditional_nats",
    "discriminator_turn",
    "diversity",
    "draw_by",
    "draw_naive",
    "draw_noise",
    "draw_parallel",
    "draw_values",
    "drawn_noise",
    "fold_rows",
    "generator_turn",
    "gradient_step",
    "init_state",
    "levels_only",
    "log_mean_weight",
    "method_buffers",
    "nearest",
    "network_step",
    "one_turn",
    "own",
    "player_steps",
    "standing_statistics",
    "stream",
    "traits_of",
    "with_ema",
]
