"""State, random streams, optimizers, train steps, and what follows from a family's functions."""

from genjax.core.adversarial import (
    GanObjective,
    apply_network,
    check_gradient_penalties,
    discriminator_objective,
    gan_losses,
    generator_objective,
    merge_networks,
    objective_buffers,
    train_network,
)
from genjax.core.autoregressive import (
    conditional_nats,
    draw_images,
    draw_naive,
    draw_noise,
    draw_parallel,
    draw_values,
    image_samplers,
    log_odds,
    nan_unless_binary,
    nan_unless_level,
)
from genjax.core.batch_norm import batch_norm_statistics
from genjax.core.batches import batch_spec, check_batch, flat_events
from genjax.core.chunked import chunked_sum
from genjax.core.derived import (
    check_optimizer,
    critic_steps,
    elbo,
    gan_objective,
    kl_units,
    log_conditionals,
    log_prob_bound,
    log_weight,
    make_step,
    network_names,
    sample_images,
    sample_mean,
    step_batch_spec,
)
from genjax.core.importance import log_mean_weight, resample_noise
from genjax.core.keys import named_key
from genjax.core.optim import Optimizer
from genjax.core.protocols import Batch, LossOutput, Metrics, Traits, Variables
from genjax.core.sample_diversity import diversity, nearest_distance
from genjax.core.state import State, init_state, with_ema
from genjax.core.step import adversarial_step, gradient_step, network_step

__all__ = [
    "Batch",
    "GanObjective",
    "LossOutput",
    "Metrics",
    "Optimizer",
    "State",
    "Traits",
    "Variables",
    "adversarial_step",
    "apply_network",
    "batch_norm_statistics",
    "batch_spec",
    "check_batch",
    "check_gradient_penalties",
    "check_optimizer",
    "chunked_sum",
    "conditional_nats",
    "critic_steps",
    "discriminator_objective",
    "diversity",
    "draw_images",
    "draw_naive",
    "draw_noise",
    "draw_parallel",
    "draw_values",
    "elbo",
    "flat_events",
    "gan_losses",
    "gan_objective",
    "generator_objective",
    "gradient_step",
    "image_samplers",
    "init_state",
    "kl_units",
    "log_conditionals",
    "log_mean_weight",
    "log_odds",
    "log_prob_bound",
    "log_weight",
    "make_step",
    "merge_networks",
    "named_key",
    "nan_unless_binary",
    "nan_unless_level",
    "nearest_distance",
    "network_names",
    "network_step",
    "objective_buffers",
    "resample_noise",
    "sample_images",
    "sample_mean",
    "step_batch_spec",
    "train_network",
    "with_ema",
]
