"""Optimizers and learning-rate schedules as plain settings."""

import dataclasses
import itertools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from genjax import checks


def _several_axes(params: Any) -> Any:
    """Returns True for leaves of more than one axis."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)


KERNELS = (
    "kernel",
    "v",
)  # Flax's names of a layer's weights, and of their direction in weight norm


def _as_matrix(params: Any) -> Any:
    """Returns how muon reshapes each leaf to `[inputs, outputs]`; None for leaves left to adam."""

    def axes(path: Any, leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
        last, name = jnp.ndim(leaf) - 1, getattr(path[-1], "key", None) if path else None
        # Leaves of more axes under other names may be stacks of arrays, such as biases.
        if last < 1 or (last > 1 and name not in KERNELS):
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(last)), last)

    return jax.tree_util.tree_map_with_path(axes, params)


DECAYING = ("linear", "constant_linear", "cosine")  # schedules that end at decay_steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Settings of an Optax optimizer, which `build` returns."""

    optimizer: Literal["sgd", "adam", "rmsprop", "adagrad", "adadelta", "muon"] = "adam"
    """Update rule. muon orthogonalises the momentum of matrices and scales it to the size of adam's
    updates (Jordan 2024, "Muon"; Liu et al. 2025, arXiv:2502.16982, eq. 4). Convolution kernels are
    reshaped to `[inputs, features]`; other arrays are updated by adam with Nesterov momentum.
    Masked weights are updated too, without effect. adadelta computes the size of its updates itself
    (Zeiler 2012, arXiv:1212.5701); its learning_rate is a factor, 1.0 in the paper."""
    learning_rate: checks.PositiveFloat = 1e-3
    """Peak learning rate."""
    schedule: Literal[
        "constant",
        "linear",
        "constant_linear",
        "cosine",
        "inverse_time",
        "exponential",
        "piecewise",
    ] = "constant"
    """Shape after the warm-up; linear, constant_linear and cosine decay to 0 at decay_steps, cosine
    to `floor`."""
    decay_steps: int | None = None
    """Updates until linear, constant_linear and cosine reach 0 or `floor`; None is the run's first
    length, also on resuming."""
    constant_steps: checks.NonNegativeInt = 0
    """constant_linear: updates, warm-up included, before the linear decay: half of decay_steps in
    Zhu et al. 2017 (arXiv:1703.10593). Their code lowers the rate once per epoch: of 200 epochs of
    n updates, 98 n and decay_steps 199 n give its rate at the first update of every epoch."""
    restarts: tuple[int, ...] = ()
    """linear and cosine: updates, warm-up included, at which the rate has decayed to 0, or `floor`,
    and returns to its value without restarts, so that a finished run can be extended (warm restarts
    with a decaying peak, Loshchilov and Hutter 2017, arXiv:1608.03983). Those beyond the run's
    length are ignored where decay_steps is None."""
    decrease: checks.NonNegativeFloat = 0.0
    """inverse_time: learning_rate / (1 + decrease * t) after t updates; exponential:
    learning_rate / (1 + decrease)^t."""
    floor: checks.NonNegativeFloat = 0.0
    """exponential and cosine: lowest learning rate."""
    boundaries: tuple[int, ...] = ()
    """piecewise: updates, warm-up included, at which the next factor applies."""
    factors: tuple[checks.PositiveFloat, ...] = ()
    """piecewise: factor of the learning rate from each boundary on."""
    warmup: checks.NonNegativeInt = 0
    """Updates of linear warm-up from 0."""
    momentum: checks.UnitInterval = 0.0
    """sgd, rmsprop and muon: momentum; 0 is 0.95 for muon."""
    momentum_end: checks.UnitInterval = 0.0
    """sgd: final momentum of a linear change; 0 keeps it constant."""
    momentum_steps: checks.NonNegativeInt = 0
    """sgd: updates until momentum_end is reached."""
    nesterov: bool = False
    """sgd and rmsprop: Nesterov momentum, which muon always uses."""
    b1: checks.UnitInterval = 0.9
    """adam: decay of the first moment."""
    b2: checks.UnitInterval = 0.999
    """adam: decay of the second moment; rmsprop: decay of the squares; adadelta: decay of the
    squares of gradients and updates, 0.95 in the paper."""
    eps: checks.PositiveFloat = 1e-8
    """adam: added to the denominator; rmsprop and adagrad: added inside its root; adadelta: inside
    both roots; muon: added to the norm of a matrix."""
    orthogonal_steps: checks.PositiveInt = 5
    """muon: Newton-Schulz iterations."""
    weight_decay: checks.NonNegativeFloat = 0.0
    """Decoupled weight decay, multiplied by the learning rate."""
    decay_biases: bool = True
    """Whether weight decay applies to vectors (biases, scales) too."""
    clip: checks.NonNegativeFloat = 0.0
    """Largest global norm of the gradient; 0 does not clip."""
    accumulate: checks.PositiveInt = 1
    """Batches per update, whose gradients are averaged."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if self.decay_steps is not None and self.decay_steps <= self.warmup:
            raise ValueError(
                f"`decay_steps` must be above `warmup`, got {self.decay_steps} and {self.warmup}."
            )
        if self.decay_steps is not None and self.decay_steps <= self.constant_steps:
            raise ValueError(
                f"`decay_steps` must be above `constant_steps`, got {self.decay_steps} and"
                f" {self.constant_steps}."
            )
        if (self.schedule == "piecewise") != bool(self.boundaries):
            raise ValueError("`boundaries` belong to schedule 'piecewise'; set both, or neither.")
        if len(self.factors) != len(self.boundaries):
            raise ValueError(
                f"`boundaries` and `factors` must have one length, got {len(self.boundaries)} and"
                f" {len(self.factors)}."
            )
        if 0 < self.constant_steps <= self.warmup:
            raise ValueError(
                f"`constant_steps` must be above `warmup`, which it includes, got"
                f" {self.constant_steps} and {self.warmup}."
            )
        used = {
            "floor": ("exponential", "cosine"),
            "decrease": ("inverse_time", "exponential"),
            "decay_steps": DECAYING,
            "constant_steps": ("constant_linear",),
            "restarts": ("linear", "cosine"),
        }
        for name, schedules in used.items():
            if getattr(self, name) and self.schedule not in schedules:
                listed = ", ".join((*schedules[:-2], " and ".join(schedules[-2:])))
                raise ValueError(
                    f"`{name}` has no effect for schedule {self.schedule}, only for {listed};"
                    f" {'leave it out' if name in ('decay_steps', 'restarts') else 'set it to 0'}."
                )
        if self.boundaries:
            steps = (self.warmup, *self.boundaries)
            if any(a >= b for a, b in itertools.pairwise(steps)):
                raise ValueError(
                    f"`boundaries` must increase and be above `warmup`, got {self.boundaries}."
                )
        if self.restarts:
            last = self.restarts[-1] + 1 if self.decay_steps is None else self.decay_steps
            if any(a >= b for a, b in itertools.pairwise((self.warmup, *self.restarts, last))):
                raise ValueError(
                    "`restarts` must increase between `warmup` and `decay_steps`, got"
                    f" {self.restarts}, {self.warmup} and {self.decay_steps}."
                )
        if self.momentum and self.optimizer not in ("sgd", "rmsprop", "muon"):
            raise ValueError(
                f"`momentum` has no effect for {self.optimizer}, only for sgd, rmsprop and muon;"
                " set `b1` for adam."
            )
        if bool(self.momentum_end) != bool(self.momentum_steps):
            raise ValueError("set both `momentum_end` and `momentum_steps`, or neither.")
        if self.momentum_end and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError("`momentum_end` needs sgd with `momentum` above 0.")
        if self.floor > self.learning_rate:
            raise ValueError(
                f"`floor` must be at most `learning_rate`, got {self.floor} and"
                f" {self.learning_rate}."
            )
        if self.nesterov and not self.momentum and self.optimizer != "muon":
            raise ValueError("`nesterov` needs `momentum` above 0.")
        if self.orthogonal_steps != 5 and self.optimizer != "muon":
            raise ValueError(
                f"`orthogonal_steps` has no effect for {self.optimizer}, only for muon; leave it at"
                " 5."
            )

    def learning_rate_at(self) -> optax.Schedule:
        """Returns the learning rate as a function of the number of updates."""
        lr = self.learning_rate
        if self.schedule == "constant":
            after = optax.constant_schedule(lr)
        elif self.schedule == "inverse_time":
            decrease = self.decrease
            # join_schedules evaluates this during the warm-up too, at negative counts.
            after = lambda count: lr / (1 + decrease * jnp.maximum(count, 0))  # noqa: E731
        elif self.schedule == "exponential":
            rate, floor = math.log1p(self.decrease), self.floor
            # exp of a product, since 1 + 4e-6 would be rounded in float32.
            after = lambda count: jnp.maximum(  # noqa: E731
                lr * jnp.exp(-rate * jnp.maximum(count, 0)), floor
            )
        elif self.schedule == "piecewise":
            after = self._piecewise
        elif self.decay_steps is None:
            raise ValueError(
                f"schedule {self.schedule} needs `decay_steps`; set it to the run's updates."
            )
        elif self.schedule == "constant_linear":
            constant = max(0, self.constant_steps - self.warmup)
            falling = self.decay_steps - self.warmup - constant
            after = optax.linear_schedule(lr, 0.0, falling, constant)
        else:
            after = self._decaying(max(1, self.decay_steps - self.warmup))
        if not self.warmup:
            return after
        rise = optax.linear_schedule(0.0, lr, self.warmup)
        return optax.join_schedules([rise, after], [self.warmup])

    def _decaying(self, updates: int) -> optax.Schedule:
        """Decays from the peak to 0, or `floor`, after the warm-up and after every restart."""
        lr, floor = self.learning_rate, self.floor

        def decay(peak: float, length: int) -> optax.Schedule:
            if self.schedule == "linear":
                return optax.linear_schedule(peak, 0.0, length)
            return optax.cosine_decay_schedule(peak, length, floor / peak)

        starts = [0, *(restart - self.warmup for restart in self.restarts)]
        left = [1 - start / updates for start in starts]
        if self.schedule == "cosine":
            left = [(1 - math.cos(math.pi * part)) / 2 for part in left]
        lengths = [b - a for a, b in itertools.pairwise((*starts, updates))]
        peaks = [floor + (lr - floor) * part for part in left]
        decays = [decay(peak, length) for peak, length in zip(peaks, lengths, strict=True)]
        return optax.join_schedules(decays, starts[1:])

    def _piecewise(self, count: Any) -> jax.Array:
        """Returns the learning rate after the warm-up, by index instead of a running product, so
        that a resumed run has exactly the same rate."""
        boundaries = jnp.asarray(self.boundaries, jnp.int32) - self.warmup
        rates = self.learning_rate * jnp.asarray((1.0, *self.factors), jnp.float32)
        return rates[jnp.sum(jnp.asarray(count)[None] >= boundaries)]

    def _momentum(self) -> optax.GradientTransformation:
        """v <- m v + g, where m may change during the run."""
        if not self.momentum_end:
            return optax.trace(self.momentum, self.nesterov)
        momentum = optax.linear_schedule(self.momentum, self.momentum_end, self.momentum_steps)
        trace = optax.inject_hyperparams(optax.trace, static_args=("nesterov",))
        return trace(decay=momentum, nesterov=self.nesterov)

    def _muon(self) -> optax.GradientTransformation:
        rule = optax.contrib.muon(
            1.0,  # the learning rate is applied later, which flips the sign again
            beta=self.momentum or 0.95,
            ns_steps=self.orthogonal_steps,
            eps=self.eps,
            consistent_rms=0.2,
            adam_b1=self.b1,
            adam_b2=self.b2,
            muon_weight_dimension_numbers=_as_matrix,
        )
        return optax.chain(rule, optax.scale(-1.0))

    def build(self, *, learning_rate_scale: float | None = None) -> optax.GradientTransformation:
        """Builds the optimizer.

        Args:
          learning_rate_scale: multiplier of the learning rate, kept in the optimizer's state so
            that runs in one `vmap` can differ (`optax.tree.set(opt_state, step_size=...)`).
        """
        momentum = self.momentum or None
        rules = {
            "sgd": lambda: self._momentum() if momentum else optax.identity(),
            "adam": lambda: optax.scale_by_adam(self.b1, self.b2, self.eps),
            "rmsprop": lambda: optax.chain(
                optax.scale_by_rms(self.b2, self.eps),
                optax.trace(self.momentum, self.nesterov) if momentum else optax.identity(),
            ),
            "adagrad": lambda: optax.scale_by_rss(0.0, self.eps),
            "adadelta": lambda: optax.scale_by_adadelta(self.b2, self.eps),
            "muon": self._muon,
        }
        chain = [optax.clip_by_global_norm(self.clip)] if self.clip else []
        chain.append(rules[self.optimizer]())
        if self.weight_decay:
            mask = None if self.decay_biases else _several_axes
            chain.append(optax.add_decayed_weights(self.weight_decay, mask))
        chain.append(optax.scale_by_learning_rate(self.learning_rate_at()))
        if learning_rate_scale is not None:
            chain.append(optax.inject_hyperparams(optax.scale)(step_size=learning_rate_scale))
        built = optax.chain(*chain)
        if self.accumulate > 1:
            multi = optax.MultiSteps(built, every_k_schedule=self.accumulate)
            return multi.gradient_transformation()
        return built
