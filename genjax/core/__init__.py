"""What every family stands on: state, random streams, optimizers, the gradient step."""

from genjax.core.adversarial import (
    GanObjective,
    check_gradient_penalties,
    discriminator_objective,
    diversity,
    generator_objective,
    nearest_distance,
    network_variables,
    objective_buffers,
    single_critic_step,
)
from genjax.core.autoregressive import (
    check_known,
    conditional_nats,
    draw_images,
    draw_naive,
    draw_noise,
    draw_parallel,
    draw_values,
    nan_unless_binary,
    nan_unless_level,
)
from genjax.core.batch_norm import batch_norm_statistics
from genjax.core.chunked import chunked_sum
from genjax.core.derived import (
    elbo,
    kl_units,
    log_conditionals,
    log_prob_bound,
    log_weight,
    make_step,
    sample_images,
    sample_mean,
)
from genjax.core.importance import log_mean_weight, resample_noise
from genjax.core.keys import named_key
from genjax.core.optim import Optimizer
from genjax.core.protocols import Traits
from genjax.core.state import State, init_state, with_ema
from genjax.core.step import (
    Optimizers,
    adversarial_step,
    gradient_step,
    network_step,
    player_steps,
)

__all__ = [
    "GanObjective",
    "Optimizer",
    "Optimizers",
    "State",
    "Traits",
    "adversarial_step",
    "batch_norm_statistics",
    "check_gradient_penalties",
    "check_known",
    "chunked_sum",
    "conditional_nats",
    "discriminator_objective",
    "diversity",
    "draw_images",
    "draw_naive",
    "draw_noise",
    "draw_parallel",
    "draw_values",
    "elbo",
    "generator_objective",
    "gradient_step",
    "init_state",
    "kl_units",
    "log_conditionals",
    "log_mean_weight",
    "log_prob_bound",
    "log_weight",
    "make_step",
    "named_key",
    "nan_unless_binary",
    "nan_unless_level",
    "nearest_distance",
    "network_step",
    "network_variables",
    "objective_buffers",
    "player_steps",
    "resample_noise",
    "sample_images",
    "sample_mean",
    "single_critic_step",
    "with_ema",
]
