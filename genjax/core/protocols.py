"""Protocols: what a family may offer, and the static facts (`Traits`) of one configuration.

A family is a module of pure functions over plain pytrees. It implements `Family` and any of the
other protocols; code that evaluates families asks `isinstance(family, protocol)`. Quantities that
follow from these functions are derived once, in `genjax.core.derived` and `genjax.evals`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

Variables = dict[str, Any]  # Flax collections by name
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
# Per-example loss `[B]` in nats and auxiliary outputs: entries of aux are logged as means, except
# "updates", which holds new values of collections other than params.
LossOutput = tuple[jax.Array, dict[str, Any]]
LossFn = Callable[..., LossOutput]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traits:
    """Static facts of a family under one Config.

    Attributes:
      data: type of an example: `binary` is {0, 1}, `levels` integers, `real` any number, `tokens`
        integers of a vocabulary, `images` real pixels within `sample_range`.
      density: `exact` implements `ExactDensity`; `bound` implements `LatentVariable` or
        `BoundDensity`; `none` only samples.
      fit: `gradient` needs an optimizer; `counting` (each example is seen exactly once) and `em`
        (expectation maximisation: a step is one iteration over its batch) do not.
      sample_range: lowest and highest value of a sample; infinite for unbounded real numbers.
      semi_supervised: whether examples with an unknown label (-1) are used in training.
      labelled: share of labelled training examples that the loss assumes, or None.
      init_examples: number of training examples that `init` takes as its `batch`; 0 takes none.
      num_parameters: number of free parameters where it differs from the sizes of `params`.
      metric: name of the quantity that a run reports; by default NLL, or NLL bound.
      unit: its unit.
      validation: Config used on the validation split, where the full one is too expensive.
      ema: networks whose parameters are averaged; empty averages all parameters.
      normal_noise: whether the `noise` of an `Implicit` family is standard normal, and therefore
        lies near a sphere.
    """

    data: Literal["binary", "levels", "real", "tokens", "images"]
    density: Literal["exact", "bound", "none"]
    fit: Literal["gradient", "counting", "em"] = "gradient"
    sample_range: tuple[float, float] = (0.0, 1.0)
    semi_supervised: bool = False
    labelled: float | None = None
    init_examples: int = 0
    num_parameters: int | None = None
    metric: str = ""
    unit: str = "nats"
    validation: Any = None
    ema: tuple[str, ...] = ()
    normal_noise: bool = False

    def __post_init__(self) -> None:
        if not self.metric:
            name = "NLL" if self.density == "exact" else "NLL bound"
            object.__setattr__(self, "metric", name)


def family_name(family: Any) -> str:
    """Returns a family's name, the last part of its module's."""
    return family.__name__.rsplit(".", 1)[-1]


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


@runtime_checkable
class Sampler(Family, Protocol):
    """Every family except a `Translator`, a `PuzzleSolver`, and one that only has `CaptionScores`.

    `sample(config, variables, key, n=None, **conditions)` returns `[n, *shape]`, or one example.
    """

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
class ExactDensity(Sampler, Protocol):
    """Evaluates log p(x): `log_prob(config, variables, x, **conditions)` -> `[B]` nats."""

    log_prob: Callable[..., jax.Array]


@runtime_checkable
class BoundDensity(Protocol):
    """Evaluates a lower bound on log p(x) by importance weights.

    `log_weight(config, variables, x, key, **conditions)` returns the log of an unbiased estimate
    of p(x), `[B]` nats. It is derived for a `LatentVariable` whose weight is p(x, z) / q(z | x).
    """

    log_weight: Callable[..., jax.Array]


@runtime_checkable
class ClosedFormBound(Protocol):
    """Evaluates the ELBO by one sample, with some terms in closed form.

    `elbo(config, variables, x, key, **conditions)` -> `[B]` nats.
    """

    elbo: Callable[..., jax.Array]


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
    """Evaluates conditionals that logits alone do not define, such as those of real numbers.

    `log_conditionals(config, variables, x, **conditions)` returns log p(x_d | dimensions before d
    in `order(config)`), `[B, *shape]` nats; for others see `genjax.core.log_conditionals`.
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
class LatentVariable(Protocol):
    """Has latents z, and evaluates p(z), p(x | z) and q(z | x).

    `posterior(config, variables, x, **conditions)` returns q(z | x), with `sample(key)`,
    `sample_and_log_prob(key)`, `log_prob(z)`, `mean()`, and `kl(prior)` and `kl_units(prior)`,
    which are None where they have no closed form. `prior(config, variables)` returns p(z), with
    `event_shape`, `sample(key, n)`, `log_prob(z)`. `likelihood(config, variables, z, **conditions)`
    returns p(x | z), with `sample(key)`, `log_prob(x)`, `mean()`. A family that defines its own
    `log_weight` may omit `log_prob` and `sample_and_log_prob` of q and p.
    """

    posterior: Callable[..., Any]
    prior: Callable[..., Any]
    likelihood: Callable[..., Any]


@runtime_checkable
class LayerMeans(Protocol):
    """A posterior of several layers, or one whose mean is estimated by samples."""

    def layer_means(self, key: jax.Array) -> tuple[jax.Array, ...]:
        """Returns the means of each layer, `[B, Z_l]`, with the same noise for every example."""


@runtime_checkable
class LayeredPosterior(LayerMeans, Protocol):
    """A posterior of several layers of latents."""

    def kl_layers(self, key: jax.Array) -> jax.Array:
        """Returns the term of each layer in the ELBO at one sample, `[B, L]` nats."""


@runtime_checkable
class NoncentredPrior(Protocol):
    """A prior whose samples are a function of standard normal noise."""

    def transform(self, noise: jax.Array) -> Any:
        """Maps noise `[B, *event_shape]` to samples."""


@runtime_checkable
class Classifier(Protocol):
    """Evaluates the posterior of a class, and bounds log p(x, y) of every class y."""

    def classify(self, config: Any, variables: Any, x: jax.Array) -> jax.Array:
        """Returns log q(y | x), `[B, C]` nats."""

    def log_class_weights(
        self, config: Any, variables: Any, x: jax.Array, key: jax.Array
    ) -> jax.Array:
        """Returns the logs of unbiased estimates of p(x, y), `[B, C]` nats."""


@runtime_checkable
class Reported(Protocol):
    """Reports another quantity than log p(x); `Traits` has its name and unit."""

    def report(self, config: Any, variables: Any, batch: Any) -> jax.Array:
        """Returns the quantity per example, `[B]`; lower is better."""


@runtime_checkable
class Implicit(Sampler, Protocol):
    """Samples by a generator: `generate(config, variables, z, **conditions)` of noise z."""

    generate: Callable[..., jax.Array]

    def noise(self, config: Any, key: jax.Array, n: int) -> jax.Array:
        """Returns n draws of the generator's input, `[n, Z]`."""


@runtime_checkable
class ImageParts(Implicit, Protocol):
    """Generates images from parts, each with noise of its own: consecutive columns of `noise`."""

    def image_parts(self, config: Any) -> Sequence[Any]:
        """Returns the parts, in the order of their noise; each has a `name`."""

    def part_masks(self, config: Any) -> np.ndarray:
        """Returns the pixels of each part, bool `[K, H, W]`; each pixel is in one part."""

    def exchange(self, config: Any, z: Any, other: Any, part: int | str) -> jax.Array:
        """Returns noise `z` `[B, Z]` with one part's noise from `other`, `[B, Z]`."""


@runtime_checkable
class Translator(Family, Protocol):
    """Maps images to images.

    `translate(config, variables, images, **conditions)` returns images of the same sizes,
    `[B, H, W, C]` in `Traits.sample_range`; H and W are multiples of `side_multiple`, and need not
    be those of training. Conditions are `to`, one of `targets` (by default the last), or where
    there are none `attributes` `[B, A]`; and `key` for a family that draws noise or dropout.
    """

    translate: Callable[..., jax.Array]

    def targets(self, config: Any) -> tuple[str, ...]:
        """Returns the domains to translate to, `a` (of `x`) or `b` (of `y`); () for attributes."""

    def side_multiple(self, config: Any) -> int:
        """Returns the number that heights and widths are multiples of."""


@runtime_checkable
class AttributeTranslator(Translator, Protocol):
    """Translates to other attributes: named columns of `[B, A]` in {0, 1}."""

    def attribute_names(self, config: Any) -> tuple[str, ...]:
        """Returns the names of the columns."""

    def exclusive_groups(self, config: Any) -> list[np.ndarray]:
        """Returns the columns of each group of attributes of which exactly one is 1."""

    def target_attributes(
        self, config: Any, attributes: np.ndarray, changes: Mapping[str, int]
    ) -> np.ndarray:
        """Returns attributes with changes by name; a 1 clears the attributes that exclude it."""

    def predict_attributes(self, config: Any, variables: Any, images: jax.Array) -> jax.Array:
        """Returns the attributes that are seen in images, uint8 `[B, A]`."""


@runtime_checkable
class PuzzleSolver(Family, Protocol):
    """Finds the positions of the shuffled pieces of an image; see `genjax.core.puzzles`.

    It implements `PositionScores` or `PermutationLogits`. Batches have whole images, `x`
    `[B, *shape]`; the losses shuffle their pieces. Nothing but the pixels of the pieces tells
    their positions.
    """

    def grid(self, config: Any) -> tuple[int, int]:
        """Returns the rows and columns of pieces of an image."""


@runtime_checkable
class PositionScores(PuzzleSolver, Protocol):
    """Scores every piece at every position.

    `position_scores(config, variables, pieces, present=None)` returns log probabilities of the
    positions (last axis) of each piece, `[B, N, N]` nats, of pieces `[B, N, h, w, C]` in any order.
    `present` is bool `[B, N]`, False for missing pieces; None is all True.
    """

    position_scores: Callable[..., jax.Array]


@runtime_checkable
class PermutationLogits(PuzzleSolver, Protocol):
    """Classifies the order of the pieces among a list of permutations.

    `permutation_logits(config, variables, pieces)` returns logits `[B, P]` of the orders in
    `permutations(config)`, of pieces `[B, N, h, w, C]`.
    """

    permutation_logits: Callable[..., jax.Array]

    def permutations(self, config: Any) -> np.ndarray:
        """Returns the orders that can be found, int32 `[P, N]`."""


@runtime_checkable
class ImageTokenizer(Family, Protocol):
    """Encodes images as tokens, which are indices into a codebook, and decodes tokens.

    `encode_tokens(config, variables, images)` returns int32 `[B, h, w]` in 0 .. K - 1, without
    noise, of images `[B, *shape]`; `decode_tokens(config, variables, tokens)` returns images.
    """

    encode_tokens: Callable[..., jax.Array]
    decode_tokens: Callable[..., jax.Array]

    def token_grid(self, config: Any) -> tuple[int, int]:
        """Returns the rows and columns of an image's tokens."""

    def codebook_size(self, config: Any) -> int:
        """Returns the number of codes, K."""


class TextSpec(NamedTuple):
    """Shape of the texts that a family takes.

    length: tokens of a text, T; shorter ones end with 0, the token of padding.
    vocabulary: number of tokens, padding included.
    captions: texts of one image, K; 0 is one, without an axis.
    compared: whether the loss compares the captions of a batch by their tokens.
    """

    length: int
    vocabulary: int
    captions: int = 0
    compared: bool = False


@runtime_checkable
class TextConditional(Family, Protocol):
    """Takes `text` with an image: int32 tokens `[B, T]`, or `[B, K, T]` with several captions.

    `genjax.data.tokenizers` makes the tokens.
    """

    def text_spec(self, config: Any) -> TextSpec:
        """Returns the shape of the texts."""


@runtime_checkable
class TextToImage(TextConditional, Sampler, Protocol):
    """Draws images of texts: `sample(config, variables, key, n, text=text, **options)`.

    `text` is int32 `[n, T]`, also where training has several captions per image. Options are the
    family's own, such as `guidance`; each has a default.
    """

    def sampling_options(self, config: Any) -> Mapping[str, Any]:
        """Returns the names of the options and their defaults."""


@runtime_checkable
class CaptionScores(TextConditional, Protocol):
    """Scores how well texts describe images; higher is better.

    `caption_scores(config, variables, images, text)` -> `[B]`, of image i with text i: a log
    density of the image given the text in nats, or a similarity.
    """

    caption_scores: Callable[..., jax.Array]


@runtime_checkable
class ScoreTable(CaptionScores, Protocol):
    """Scores all pairs of images and texts for the cost of encoding each once.

    `score_table(config, variables, images, text)` returns the `caption_scores` of M images with N
    texts, `[M, N]`.
    """

    score_table: Callable[..., jax.Array]


@runtime_checkable
class TokenDensity(CaptionScores, Protocol):
    """Evaluates log p(text) and log p(tokens of the image | text), token by token, in nats.

    * `image_tokens(config, variables, images)` returns the tokens of images `[B, *shape]`, int32
      `[B, N]`; `token_images(config, variables, tokens)` returns images of tokens.
    * `token_log_prob(config, variables, tokens, text)` returns log p of each image token given the
      text and the tokens before it, `[B, N]`.
    * `text_log_prob(config, variables, text)` returns log p of each token of a text `[B, T]` given
      those before it, `[B, T]`; those of padding are 0.
    """

    image_tokens: Callable[..., jax.Array]
    token_images: Callable[..., jax.Array]
    token_log_prob: Callable[..., jax.Array]
    text_log_prob: Callable[..., jax.Array]


@runtime_checkable
class Composed(Family, Protocol):
    """Contains networks of other families, which are trained in runs of their own and stay fixed.

    `variables["buffers"][part]` are the variables of a part. `init` draws them at random; the
    setting `parts_from` of a run loads them.
    """

    def parts(self, config: Any) -> Mapping[str, tuple[str, Any]]:
        """Returns the family's name and the Config of each part, by its name."""


@runtime_checkable
class Sharded(Family, Protocol):
    """Says how its parameters are divided over the axes `data` and `model` of a mesh.

    Averages and the optimizer's state, whose paths end with those of the parameters, follow them.
    An entry of a PartitionSpec is one axis or None.
    """

    def sharding_rules(self, config: Any) -> Sequence[tuple[str, jax.sharding.PartitionSpec]]:
        """Returns (regular expression, PartitionSpec) pairs, tried in order on a leaf's path."""


@runtime_checkable
class Growing(Family, Protocol):
    """Trains networks that grow during a run, in stages (`genjax.core.growing`).

    Variables tell the size of the networks: those of `init` are of the first stage. Batches and
    samples have the full `config.shape` in every stage. The weight of the newest layers, in [0, 1],
    is in `variables["buffers"]["fade"]["alpha"]`; `grow` sets it to 0.
    """

    def stages(self, config: Any, batch_size: int, steps: int) -> tuple[Any, ...]:
        """Returns the `Stage`s that begin before `steps`; the last one ends there.

        `batch_size` is that of stages for which the Config has none.
        """

    def grow(self, config: Any, variables: Variables, key: jax.Array) -> Variables:
        """Returns the variables of the next stage; existing leaves are unchanged.

        Raises:
          ValueError: the networks have their full size.
        """

    def side(self, variables: Variables) -> int:
        """Returns the side of the networks' images; of arrays or their shapes."""


@runtime_checkable
class Features(Family, Protocol):
    """Extracts features: `encode(config, variables, x, **conditions)` -> `[B, F]`."""

    encode: Callable[..., jax.Array]


class LatentCode(Protocol):
    """One latent code."""

    @property
    def kind(self) -> Literal["categorical", "uniform", "gaussian"]:
        """Distribution of the code: uniform over categories or on (-1, 1), or N(0, 1)."""

    @property
    def size(self) -> int:
        """Number of categories, or of dimensions."""


@runtime_checkable
class LatentCodes(Implicit, Protocol):
    """Generates from noise followed by latent codes, and infers the codes, as InfoGAN.

    `code_posterior(config, variables, x)` returns q(c | x) for each code: logits `[B, K]` of a
    categorical one; mean and log standard deviation, `[B, size]` each, of a continuous one.
    """

    code_posterior: Callable[..., tuple[Any, ...]]

    def codes(self, config: Any) -> Sequence[LatentCode]:
        """Returns the codes in the order in which they follow the noise."""
