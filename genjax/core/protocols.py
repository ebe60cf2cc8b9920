"""Protocols: what a family may offer, and the static facts (`Traits`) of one configuration.

A family is a module of pure functions over plain pytrees. It implements `Family` and any of the
other protocols; code that evaluates families asks `isinstance(family, protocol)`. Quantities that
follow from these functions are derived once, in `genjax.core.derived` and `genjax.evals`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import numpy as np

# Per-example loss `[B]` in nats and auxiliary outputs: entries of aux are logged as means, except
# "updates", which holds new values of collections other than params.
LossFn = Callable[..., tuple[jax.Array, dict[str, Any]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traits:
    """Static facts of a family under one Config.

    Attributes:
      data: type of an example: `binary` is {0, 1}, `levels` integers, `real` any number, `tokens`
        integers of a vocabulary, `images` real pixels within `sample_range`.
      density: `exact` implements `ExactDensity`; `bound` implements `BoundDensity`; `none` only
        samples.
      fit: `gradient` needs an optimizer; `counting` (each example is seen exactly once) and `em`
        (expectation maximisation: a step is one iteration over its batch) do not.
      sample_range: lowest and highest value of a sample; infinite for unbounded real numbers.
      semi_supervised: whether examples with an unknown label (-1) are used in training.
      init_examples: number of training examples that `init` takes as its `batch`; 0 takes none.
      num_parameters: number of free parameters where it differs from the sizes of `params`.
      metric: name of the quantity that a run reports; by default NLL, or NLL bound.
      unit: its unit.
      validation: Config used on the validation split, where the full one is too expensive.
      ema: networks whose parameters are averaged; empty averages all parameters.
    """

    data: Literal["binary", "levels", "real", "tokens", "images"]
    density: Literal["exact", "bound", "none"]
    fit: Literal["gradient", "counting", "em"] = "gradient"
    sample_range: tuple[float, float] = (0.0, 1.0)
    semi_supervised: bool = False
    init_examples: int = 0
    num_parameters: int | None = None
    metric: str = ""
    unit: str = "nats"
    validation: Any = None
    ema: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.metric:
            name = "NLL" if self.density == "exact" else "NLL bound"
            object.__setattr__(self, "metric", name)


@runtime_checkable
class Family(Protocol):
    """Every family."""

    Config: Any

    def traits(self, config: Any) -> Traits:
        """Returns the static facts of a Config."""

    def tiny(self) -> Any:
        """Returns the smallest Config that has every component; used by the tests."""

    def batch_spec(self, config: Any, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns shapes and dtypes of a training batch; entries other than `x` are conditions."""

    def init(self, config: Any, key: jax.Array, batch: Any = None) -> dict[str, Any]:
        """Returns initial Flax collections."""

    # `sample(config, variables, key, n=None, **conditions)` returns `[n, *shape]`, or one example.
    sample: Callable[..., jax.Array]


@runtime_checkable
class Trainable(Family, Protocol):
    """Trained by gradient with one network: `loss(config, variables, batch, key)`."""

    loss: LossFn


@runtime_checkable
class Adversarial(Family, Protocol):
    """Trained by gradient with several named networks.

    `LOSSES` maps a network's name to `loss(config, variables, batch, key)`, in order of update.
    """

    LOSSES: Mapping[str, LossFn]


@runtime_checkable
class Fitted(Family, Protocol):
    """Fitted without an optimizer, by counting or expectation maximisation."""

    def update(self, config: Any, variables: dict[str, Any], batch: Any) -> tuple[Any, Any]:
        """Returns new variables and scalar metrics."""


@runtime_checkable
class ExactDensity(Family, Protocol):
    """Evaluates log p(x): `log_prob(config, variables, x, **conditions)` -> `[B]` nats."""

    log_prob: Callable[..., jax.Array]


@runtime_checkable
class BoundDensity(Family, Protocol):
    """Evaluates a lower bound on log p(x).

    `log_weight(config, variables, x, key, **conditions)` returns log p(x, z) - log q(z | x) of one
    z ~ q(z | x), `[B]` nats. A family may also define `elbo` with the same arguments, where terms of
    it have a closed form.
    """

    log_weight: Callable[..., jax.Array]


@runtime_checkable
class Autoregressive(ExactDensity, Protocol):
    """Evaluates conditionals.

    `logits(config, variables, x, **conditions)` returns logits of every dimension given those
    before it in `order(config)`.
    """

    logits: Callable[..., jax.Array]

    def order(self, config: Any) -> np.ndarray:
        """Returns the order of the dimensions, `[D]`."""


@runtime_checkable
class Conditionals(ExactDensity, Protocol):
    """Evaluates conditionals that logits alone do not define, as those of real numbers.

    `log_conditionals(config, variables, x, **conditions)` returns log p(x_d | dimensions before d
    in `order(config)`), `[B, *shape]` nats. `genjax.core.log_conditionals` derives it elsewhere.
    """

    log_conditionals: Callable[..., jax.Array]

    def order(self, config: Any) -> np.ndarray:
        """Returns the order of the dimensions, `[D]`."""


@runtime_checkable
class Completion(ExactDensity, Protocol):
    """Samples missing values given known ones, by a sampler of its own.

    `complete(config, variables, key, x, known, **conditions)` returns `[B, *shape]`; `known` is a
    bool mask `[*shape]`.
    """

    complete: Callable[..., jax.Array]


@runtime_checkable
class LatentVariable(BoundDensity, Protocol):
    """Has latents z. Each function returns a distribution with `sample`, `log_prob` and `mean`.

    `posterior(config, variables, x, **conditions)` is q(z | x), `prior(config, variables)` is p(z),
    `likelihood(config, variables, z, **conditions)` is p(x | z).
    """

    posterior: Callable[..., Any]
    prior: Callable[..., Any]
    likelihood: Callable[..., Any]


@runtime_checkable
class Implicit(Family, Protocol):
    """Samples by a generator: `generate(config, variables, z, **conditions)` of noise z."""

    generate: Callable[..., jax.Array]

    def noise(self, config: Any, key: jax.Array, n: int) -> jax.Array:
        """Returns n draws of the generator's input, `[n, Z]`."""


@runtime_checkable
class Features(Family, Protocol):
    """Extracts features: `encode(config, variables, x, **conditions)` -> `[B, F]`."""

    encode: Callable[..., jax.Array]


@runtime_checkable
class LatentCodes(Family, Protocol):
    """Has a latent code whose parts are inferred from an image, as in InfoGAN.

    `parts(config)` describes the parts, `infer(config, variables, x)` returns the parameters of
    q(code | x) for each, and `code_information(config, variables, key, n)` the lower bound on the
    mutual information of each part and a sample, `[n]` nats.
    """

    parts: Callable[..., Any]
    infer: Callable[..., Any]
    code_information: Callable[..., Any]
