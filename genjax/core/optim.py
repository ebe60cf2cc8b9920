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
    """True for the leaves that are no vectors."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)


KERNELS = ("kernel", "v")  # what Flax calls a layer's weights, and weight norm their direction


def _as_matrix(params: Any) -> Any:
    """For muon, how a leaf is a matrix, a kernel's last axis being what comes out; None if none."""

    def axes(path: Any, leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
        last, name = jnp.ndim(leaf) - 1, getattr(path[-1], "key", None) if path else None
        # Leaves of more axes under other names may be anything, such as a bias by dimension.
        if last < 1 or (last > 1 and name not in KERNELS):
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(last)), last)

    return jax.tree_util.tree_map_with_path(axes, params)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Settings of one Optax optimizer; `build` makes it."""

    optimizer: Literal["sgd", "adam", "rmsprop", "adagrad", "muon"] = "adam"
    """Update rule. muon: a matrix's momentum made orthogonal, scaled so that its entries move by as
    much as adam's do (Jordan 2024, "Muon"; Liu et al. 2025, arXiv:2502.16982, eq. 4). A
    convolution's kernel is a matrix too, of all it reads by its features, groups together; the rest
    goes by adam in Nesterov's form. Weights that a mask forbids move too, without effect."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    schedule: Literal[
        "constant", "linear", "cosine", "inverse_time", "exponential", "piecewise"
    ] = "constant"
    """Shape after the warm-up; linear and cosine fall to 0 at decay_steps."""
    decay_steps: int | None = None
    """Updates until linear and cosine reach 0; None is the run's first length, kept on resuming."""
    restarts: tuple[int, ...] = ()
    """linear and cosine: updates, warm-up included, by which the rate has fallen to 0 before, and
    rises at once to where it would have been without: so a run that has come to its end goes on
    (warm restarts, Loshchilov and Hutter 2017, arXiv:1608.03983, with a peak that falls). A run
    whose length is its decay_steps leaves out those that it does not reach."""
    decrease: float = 0.0
    """inverse_time: learning_rate / (1 + decrease * t) after t updates; exponential:
    learning_rate / (1 + decrease)^t."""
    floor: float = 0.0
    """exponential: the learning rate falls no further."""
    boundaries: tuple[int, ...] = ()
    """piecewise: updates, warm-up included, from which on the next of the factors holds."""
    factors: tuple[float, ...] = ()
    """piecewise: what the learning rate is multiplied by from each boundary on."""
    warmup: int = 0
    """Updates of linear rise from 0."""
    momentum: float = 0.0
    """sgd, rmsprop and muon: momentum; muon's is 0.95 where this is 0."""
    momentum_end: float = 0.0
    """sgd: what the momentum moves to, linearly; 0 keeps it."""
    momentum_steps: int = 0
    """sgd: updates until the momentum is there."""
    nesterov: bool = False
    """sgd and rmsprop: Nesterov's form of the momentum, which muon always has."""
    b1: float = 0.9
    """adam: decay of the first moment."""
    b2: float = 0.999
    """adam: decay of the second moment; rmsprop: decay of the squares."""
    eps: float = 1e-8
    """adam: added to the denominator; rmsprop and adagrad: added under its root; muon: added to the
    norm that a matrix is divided by."""
    orthogonal_steps: int = 5
    """muon: Newton-Schulz steps towards an orthogonal matrix."""
    weight_decay: float = 0.0
    """Decoupled weight decay, times the learning rate."""
    decay_biases: bool = True
    """Whether weight decay takes vectors (biases, scales) too, or only leaves with more axes."""
    clip: float = 0.0
    """Largest global norm of the gradient; 0 is no limit."""
    accumulate: int = 1
    """Batches whose mean gradient makes one update."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.choices(self)
        checks.positive(
            learning_rate=self.learning_rate,
            eps=self.eps,
            orthogonal_steps=self.orthogonal_steps,
            accumulate=self.accumulate,
        )
        checks.not_negative(
            decrease=self.decrease,
            floor=self.floor,
            momentum_steps=self.momentum_steps,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            clip=self.clip,
        )
        checks.fraction(
            momentum=self.momentum, momentum_end=self.momentum_end, b1=self.b1, b2=self.b2
        )
        if self.decay_steps is not None and self.decay_steps <= self.warmup:
            raise ValueError(
                f"decay_steps must be above warmup, got {self.decay_steps} and {self.warmup}."
            )
        if (self.schedule == "piecewise") != bool(self.boundaries):
            raise ValueError("boundaries are for the piecewise schedule, which needs them.")
        if len(self.factors) != len(self.boundaries):
            raise ValueError(
                f"boundaries and factors go together, got {len(self.boundaries)} and"
                f" {len(self.factors)}."
            )
        used = {
            "floor": ("exponential",),
            "decrease": ("inverse_time", "exponential"),
            "decay_steps": ("linear", "cosine"),
            "restarts": ("linear", "cosine"),
        }
        for name, schedules in used.items():
            if getattr(self, name) and self.schedule not in schedules:
                raise ValueError(
                    f"{name} is for schedule {' and '.join(schedules)}, not for {self.schedule};"
                    f" {'set it to 0' if name in ('floor', 'decrease') else 'leave it out'}."
                )
        if self.boundaries:
            checks.positive(factors=self.factors)
            steps = (self.warmup, *self.boundaries)
            if any(a >= b for a, b in itertools.pairwise(steps)):
                raise ValueError(
                    f"boundaries must rise, the first above warmup, got {self.boundaries}."
                )
        if self.restarts:
            last = self.restarts[-1] + 1 if self.decay_steps is None else self.decay_steps
            if any(a >= b for a, b in itertools.pairwise((self.warmup, *self.restarts, last))):
                raise ValueError(
                    "restarts must rise, the first above warmup and the last below decay_steps; got"
                    f" {self.restarts}, {self.warmup} and {self.decay_steps}."
                )
        if self.momentum and self.optimizer not in ("sgd", "rmsprop", "muon"):
            raise ValueError(
                f"momentum is for sgd, rmsprop and muon, not for {self.optimizer}; set b1 for adam."
            )
        if bool(self.momentum_end) != bool(self.momentum_steps):
            raise ValueError("momentum_end and momentum_steps go together: where to, and when.")
        if self.momentum_end and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError("momentum_end is for sgd with a momentum to begin with.")
        if self.floor > self.learning_rate:
            raise ValueError(
                f"floor must not be above learning_rate, got {self.floor} and {self.learning_rate}."
            )
        if self.nesterov and not self.momentum and self.optimizer != "muon":
            raise ValueError("nesterov needs a momentum above 0.")
        if self.orthogonal_steps != 5 and self.optimizer != "muon":
            raise ValueError(
                f"orthogonal_steps are for muon, not for {self.optimizer}; leave it at 5."
            )

    def learning_rate_at(self) -> optax.Schedule:
        """Learning rate as a function of the updates done."""
        lr = self.learning_rate
        if self.schedule == "constant":
            after = optax.constant_schedule(lr)
        elif self.schedule == "inverse_time":
            decrease = self.decrease
            # join_schedules asks for this during the warm-up too, at counts below 0.
            after = lambda count: lr / (1 + decrease * jnp.maximum(count, 0))  # noqa: E731
        elif self.schedule == "exponential":
            rate, floor = math.log1p(self.decrease), self.floor
            # exp of a product: (1 + 4e-6)^t in float32 would begin with 1.000004 rounded.
            after = lambda count: jnp.maximum(  # noqa: E731
                lr * jnp.exp(-rate * jnp.maximum(count, 0)), floor
            )
        elif self.schedule == "piecewise":
            after = self._piecewise
        elif self.decay_steps is None:
            raise ValueError(
                f"the {self.schedule} schedule needs decay_steps; set it to the run's updates."
            )
        else:
            after = self._falling(max(1, self.decay_steps - self.warmup))
        if not self.warmup:
            return after
        rise = optax.linear_schedule(0.0, lr, self.warmup)
        return optax.join_schedules([rise, after], [self.warmup])

    def _falling(self, updates: int) -> optax.Schedule:
        """From the peak to 0 in so many updates after the warm-up, and before that at restarts."""

        def fall(peak: float, length: int) -> optax.Schedule:
            if self.schedule == "linear":
                return optax.linear_schedule(peak, 0.0, length)
            return optax.cosine_decay_schedule(peak, length)

        begins = [0, *(restart - self.warmup for restart in self.restarts)]
        left = [1 - begin / updates for begin in begins]
        if self.schedule == "cosine":
            left = [(1 - math.cos(math.pi * part)) / 2 for part in left]
        lengths = [b - a for a, b in itertools.pairwise((*begins, updates))]
        falls = [fall(self.learning_rate * p, n) for p, n in zip(left, lengths, strict=True)]
        return optax.join_schedules(falls, begins[1:])

    def _piecewise(self, count: Any) -> jax.Array:
        """Learning rate so many updates after the warm-up; an index, not a product of factors, so
        that a resumed run finds the very same number."""
        boundaries = jnp.asarray(self.boundaries, jnp.int32) - self.warmup
        rates = self.learning_rate * jnp.asarray((1.0, *self.factors), jnp.float32)
        return rates[jnp.sum(jnp.asarray(count)[None] >= boundaries)]

    def _momentum(self) -> optax.GradientTransformation:
        """v <- m v + g, with an m that may move along the run."""
        if not self.momentum_end:
            return optax.trace(self.momentum, self.nesterov)
        moving = optax.linear_schedule(self.momentum, self.momentum_end, self.momentum_steps)
        trace = optax.inject_hyperparams(optax.trace, static_args=("nesterov",))
        return trace(decay=moving, nesterov=self.nesterov)

    def _muon(self) -> optax.GradientTransformation:
        rule = optax.contrib.muon(
            1.0,  # the learning rate follows, and turns the sign once more
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
        """The optimizer.

        Args:
          learning_rate_scale: keep a multiplier of the learning rate in the optimizer's state,
            so that several runs in one `vmap` can each have their own
            (`optax.tree.set(opt_state, step_size=...)`).
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
