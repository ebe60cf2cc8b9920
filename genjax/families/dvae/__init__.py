"""dvae: a discrete VAE, which encodes an image as a grid of tokens, indices into a codebook.

    z = encoder(x);   tokens [h, w] = quantizer(z);   p(x | tokens) = decoder(codes of the tokens)

Stage 1 of DALL-E: Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation" (arXiv:2102.12092),
section 2.1 and appendix A. The quantizers:

* `gumbel`, the paper's: q(token | x) is the softmax of the encoder's logits, training decodes a
  Gumbel-softmax draw, and the loss is -log p(x | draw) + beta KL(softmax || uniform), divided by
  the number of subpixels H W C. beta rises and the temperature falls by cosine schedules.
* `vq`: the nearest code of a codebook of running averages (`ema_codebook.py`), with gradients
  straight through. The loss has `commitment` times the mean squared distance to the code. The
  codebook is in `variables["buffers"]["codebook"]`.
* `fsq`: finite scalar quantisation (`quantizers.py`), whose codes are a fixed grid.

What the paper leaves open follows the authors' answers:

* The KL is that of the encoder's softmax, without Gumbel noise and temperature.
* The loss is divided by H W C, so the mean KL per token has weight beta h w / (H W C): beta / 192
  for 256x256x3 images of 32x32 tokens, beta / 48 for 32x32x3 images of 8x8 tokens.
* The input of the encoder is phi(x) = 0.8 x + 0.1, as in the likelihood.
* `encode_tokens` returns the most probable tokens. A decoded image is the location of p(x | z).

Densities are those of phi(x), per example in nats, for both likelihoods; a density of x follows by
log p(x) = log p(phi(x)) + H W C log 0.8, which is lower by 0.22 nats per subpixel. The prior is
uniform over the K^(h w) grids of tokens. For `gumbel`, z ~ q(z | x) are one-hot, and
exp(`log_weight`) is an unbiased estimate of p(phi(x)). For `vq` and `fsq`, q has one point, and
log p(phi(x) | z) - h w log K is a lower bound of log p(phi(x)). With `likelihood="normal"` the
scale is fixed, and the loss is a constant plus a multiple of the squared error of x.
`buffers/steps` is the number of training batches, which determines beta and the temperature.
"""

import dataclasses
import math
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.checks import Bounds, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from genjax.core import Batch, LossOutput, Traits, Variables, check_batch, compiled_init
from genjax.core.batches import batch_spec as batch_spec
from genjax.families.dvae import ema_codebook, quantizers
from genjax.families.dvae.coder_networks import Decoder, Encoder
from genjax.losses import (
    categorical_nll,
    gaussian_nll,
    logit_laplace_nll,
    map_pixels,
    sum_event,
    unmap_pixels,
)
from genjax.losses.logit_laplace import EPSILON

INIT_IMAGES = 16  # encoded at a time by `init`
VECTORS_PER_CODE = 16  # of k-means


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Networks, quantizer and schedules; the defaults are those of DALL-E."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (256, 256, 3)
    """Event shape (H, W, C) of images in [0, 1]; H and W are multiples of 2^(groups - 1)."""
    quantizer: Literal["gumbel", "vq", "fsq"] = "gumbel"
    codes: Annotated[int, Bounds(2)] = 8192
    """gumbel and vq: number of codes, K."""
    levels: Annotated[tuple[Annotated[int, Bounds(2)], ...], checks.NonEmpty()] = (8, 5, 5, 5)
    """fsq: levels of each dimension; K is their product."""
    code_width: PositiveInt = 64
    """vq: dimensions of a code (Razavi et al. 2019)."""
    hidden: Annotated[int, Bounds(4)] = 256
    """Width of the encoder's first and the decoder's last group, a multiple of 4."""
    groups: PositiveInt = 4
    """Groups of residual blocks; the sides of the maps are halved, or doubled, between groups."""
    blocks: PositiveInt = 2
    """Residual blocks per group."""
    width: PositiveInt = 128
    """Width of the decoder's first layer."""
    likelihood: Literal["logit_laplace", "normal"] = "logit_laplace"
    """p(x | z): logit_laplace with a learned scale per pixel and channel, or normal."""
    min_log_scale: float | None = None
    """logit_laplace: lower bound of the log of the scale, by a softplus. None has no bound; the
    density then grows without limit on constant pixels, such as those of a black background."""
    scale: PositiveFloat = 0.5**0.5
    """normal: standard deviation of x; at sqrt(1/2) the loss is the squared error per subpixel plus
    a constant."""
    beta: NonNegativeFloat = 6.6
    """gumbel: final weight of the KL, which increases from 0."""
    beta_steps: NonNegativeInt = 5_000
    """gumbel: updates until beta is final."""
    temperature: tuple[PositiveFloat, PositiveFloat] = (1.0, 1 / 16)
    """gumbel: first and final temperature."""
    temperature_steps: NonNegativeInt = 150_000
    """gumbel: updates until the temperature is final."""
    commitment: NonNegativeFloat = 0.25
    """vq: weight of the mean squared distance of the encoder's vectors to their codes."""
    decay: checks.UnitInterval = 0.99
    """vq: decay of the running averages."""
    k_means: bool = True
    """vq: whether the initial codes are k-means of encoded training images, or N(0, 1) draws."""
    restart: NonNegativeFloat = 1.0
    """vq: codes with a running count below this, in vectors per batch, are replaced by vectors of
    the batch; 0 replaces none. If a batch of M vectors has fewer than two per code, M < 2 K, the
    limit is `restart` M / (2 K)."""
    dtype: checks.Dtype = "float32"
    """Computation of the hidden layers; quantizer, output layers and losses stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        multiple = 2 ** (self.groups - 1)
        if any(side % multiple for side in self.shape[:2]):
            raise ValueError(
                f"dvae: with {self.groups} groups the sides of `shape` must be multiples of"
                f" {multiple}, got {self.shape[0]}x{self.shape[1]}; change `shape` or `groups`."
            )
        if self.hidden % 4:
            raise ValueError(
                f"dvae: `hidden` must be a multiple of 4, got {self.hidden}: residual branches have"
                " a quarter of the width."
            )


def tiny() -> Config:
    return Config(
        shape=(8, 8, 1),
        codes=3,
        levels=(3, 2),
        code_width=2,
        hidden=16,
        groups=2,
        blocks=1,
        width=6,
        min_log_scale=-4.0,
        beta_steps=10,
        temperature_steps=20,
    )


def traits(config: Config) -> Traits:
    init_examples = 0
    if config.quantizer == "vq" and config.k_means:
        init_examples = math.ceil(VECTORS_PER_CODE * config.codes / _positions(config))
    return Traits(data="images", density="bound", init_examples=init_examples)


def token_grid(config: Config) -> tuple[int, int]:
    """Returns the rows and columns of an image's tokens."""
    multiple = 2 ** (config.groups - 1)
    return config.shape[0] // multiple, config.shape[1] // multiple


def codebook_size(config: Config) -> int:
    """Returns the number of codes, K."""
    return math.prod(config.levels) if config.quantizer == "fsq" else config.codes


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    """Returns initial variables; with `k_means` the codes of vq are means of encoded images.

    The images are `batch["x"]`, of at least `traits(config).init_examples`.
    """
    encoder_key, decoder_key, code_key = jax.random.split(key, 3)
    params = {
        "encoder": _encoder(config).init(encoder_key, jnp.zeros((1, *config.shape)))["params"],
        "decoder": _decoder(config).init(
            decoder_key, jnp.zeros((1, *token_grid(config), _inputs(config)))
        )["params"],
    }
    buffers: dict[str, Any] = {"steps": jnp.zeros((), jnp.int32)}
    if config.quantizer == "vq":
        codes = jax.random.normal(code_key, (config.codes, config.code_width))
        if config.k_means and batch is not None:
            z = jax.lax.map(
                lambda x: _encode(config, {"params": params}, x[None])[0],
                jnp.asarray(batch["x"]),
                batch_size=INIT_IMAGES,
            )
            vectors = z.reshape(-1, config.code_width)[: VECTORS_PER_CODE * config.codes]
            codes = ema_codebook.k_means(code_key, vectors, config.codes)
        buffers["codebook"] = ema_codebook.codebook_of(codes)
    return {"params": params, "buffers": buffers}


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes the loss in nats per subpixel, `[B]`.

    For gumbel it is (-log p(phi(x) | z) + beta KL) / (H W C) with one relaxed draw z; for fsq
    -log p(phi(x) | z) / (H W C), and for vq the same plus the weighted commitment.

    aux has `reconstruction`, -log p(phi(x) | z) per subpixel; `mse`, the squared error per subpixel
    of the image decoded from the same z, in [0, 1]; `perplexity` of the batch's tokens; for gumbel
    `kl` per token, `beta` and `temperature`; for vq `commitment`, without its weight.
    """
    check_batch("dvae", config, batch)
    x, steps = batch["x"], variables["buffers"]["steps"]
    z = _encode(config, variables, x)
    buffers: dict[str, Any] = {"steps": steps + 1}
    aux: dict[str, Any] = {}
    penalty: Any = 0.0
    if config.quantizer == "gumbel":
        beta = quantizers.cosine_schedule(steps, 0.0, config.beta, config.beta_steps)
        heat = quantizers.cosine_schedule(steps, *config.temperature, config.temperature_steps)
        kl = quantizers.uniform_kl(z)  # [B, h, w]
        code, tokens = quantizers.gumbel_softmax(key, z, heat), _tokens(config, variables, z)
        penalty = beta * sum_event(kl) / math.prod(config.shape)
        aux = {"kl": jnp.mean(kl, axis=(1, 2)), "beta": beta, "temperature": heat}
    elif config.quantizer == "vq":
        book = variables["buffers"]["codebook"]
        tokens = _tokens(config, variables, z)
        nearest = jax.lax.stop_gradient(book["codes"][tokens])
        code = quantizers.straight_through(nearest, z)
        aux["commitment"] = jnp.mean((z - nearest) ** 2, axis=(1, 2, 3))
        penalty = config.commitment * aux["commitment"]
        buffers["codebook"] = ema_codebook.update_codebook(
            book,
            jax.lax.stop_gradient(z).reshape(-1, config.code_width),
            tokens.ravel(),
            key,
            decay=config.decay,
            restart=config.restart,
        )
    else:
        code = quantizers.fsq_code(z, config.levels)
        tokens = quantizers.fsq_tokens(code, config.levels)
    decoded = _decode(config, variables, code)
    nats = _nll(config, decoded, x) / math.prod(config.shape)
    aux |= {
        "reconstruction": nats,
        "mse": jnp.mean((_image(config, decoded) - x) ** 2, axis=(1, 2, 3)),
        "perplexity": quantizers.perplexity(tokens, codebook_size(config)),
        "updates": {"buffers": buffers},
    }
    return nats + penalty, aux


def encode_tokens(config: Config, variables: Variables, images: jax.Array) -> jax.Array:
    """Computes tokens of images `[B, *shape]` in [0, 1]: int32 `[B, h, w]`, without noise."""
    checks.events("dvae", images, config.shape)
    return _tokens(config, variables, _encode(config, variables, images))


def decode_tokens(config: Config, variables: Variables, tokens: jax.Array) -> jax.Array:
    """Computes images of tokens `[B, h, w]`: float32 `[B, *shape]` in [0, 1].

    Images with a token outside 0 .. K - 1 have NaN.

    Raises:
      ValueError: tokens have another shape, or are not integers.
    """
    return _image(config, _decode(config, variables, _codes(config, variables, tokens)))


def log_weight(config: Config, variables: Variables, x: jax.Array, key: jax.Array) -> jax.Array:
    """Computes log p(phi(x) | z) + log p(z) - log q(z | x) of tokens z drawn from q, `[B]` nats."""
    tokens, log_q = draw_tokens(config, variables, x, key)
    log_prior = -_positions(config) * math.log(codebook_size(config))
    return log_likelihood(config, variables, x, tokens) + log_prior - log_q


def draw_tokens(
    config: Config, variables: Variables, x: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Draws tokens z from q(z | x): int32 `[B, h, w]`, and log q(z | x), `[B]` nats.

    For vq and fsq they are those of `encode_tokens`, and log q is 0.
    """
    checks.events("dvae", x, config.shape)
    z = _encode(config, variables, x)
    if config.quantizer != "gumbel":
        return _tokens(config, variables, z), jnp.zeros(len(x))
    tokens = jax.random.categorical(key, z).astype(jnp.int32)
    return tokens, -categorical_nll(z, tokens)


def log_likelihood(
    config: Config, variables: Variables, x: jax.Array, tokens: jax.Array
) -> jax.Array:
    """Computes log p(phi(x) | tokens): `[B, *shape]`, `[B, h, w]` -> `[B]` nats."""
    checks.events("dvae", x, config.shape)
    return -_nll(config, _decode(config, variables, _codes(config, variables, tokens)), x)


def sample(config: Config, variables: Variables, key: jax.Array, n: int | None = None) -> jax.Array:
    """Decodes tokens drawn uniformly: float32 `[n, *shape]` in [0, 1]; one image without `n`."""
    checks.sampling(Config, config, variables, key)
    shape = (checks.sample_count(n), *token_grid(config))
    tokens = jax.random.randint(key, shape, 0, codebook_size(config))
    x = decode_tokens(config, variables, tokens)
    return x if n else x[0]


def _positions(config: Config) -> int:
    """Number of tokens of an image."""
    return math.prod(token_grid(config))


def _inputs(config: Config) -> int:
    """Channels per token of the encoder's output and the decoder's input."""
    dimensions = {"gumbel": config.codes, "vq": config.code_width, "fsq": len(config.levels)}
    return dimensions[config.quantizer]


def _encoder(config: Config) -> Encoder:
    return Encoder(
        features=_inputs(config),
        hidden=config.hidden,
        groups=config.groups,
        blocks=config.blocks,
        dtype=jnp.dtype(config.dtype),
    )


def _decoder(config: Config) -> Decoder:
    maps = 2 if config.likelihood == "logit_laplace" else 1  # location and log scale
    return Decoder(
        inputs=_inputs(config),
        features=maps * config.shape[-1],
        width=config.width,
        hidden=config.hidden,
        groups=config.groups,
        blocks=config.blocks,
        dtype=jnp.dtype(config.dtype),
    )


def _encode(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Returns logits, or vectors before quantisation, `[B, h, w, D]`."""
    params = {"params": variables["params"]["encoder"]}
    z: jax.Array = _encoder(config).apply(params, map_pixels(x))
    return z


def _tokens(config: Config, variables: Variables, z: jax.Array) -> jax.Array:
    """Returns the tokens of what the encoder returns, int32 `[B, h, w]`."""
    if config.quantizer == "gumbel":
        return jnp.argmax(z, axis=-1).astype(jnp.int32)
    if config.quantizer == "vq":
        codes = variables["buffers"]["codebook"]["codes"]
        z = jax.lax.stop_gradient(z)
        return ema_codebook.nearest_code(z.reshape(-1, z.shape[-1]), codes).reshape(z.shape[:-1])
    return quantizers.fsq_tokens(quantizers.fsq_code(z, config.levels), config.levels)


def _codes(config: Config, variables: Variables, tokens: jax.Array) -> jax.Array:
    """Returns the decoder's input of tokens: vectors, or for gumbel the tokens themselves."""
    rows, columns = token_grid(config)
    if jnp.ndim(tokens) != 3 or jnp.shape(tokens)[1:] != (rows, columns):
        raise ValueError(
            f"dvae: tokens must be int32[B, {rows}, {columns}], got {checks.describe(tokens)};"
            " reshape them."
        )
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ValueError(
            f"dvae: tokens must be int32[B, {rows}, {columns}], got {checks.describe(tokens)};"
            " cast them with .astype('int32')."
        )
    size = codebook_size(config)
    if config.quantizer == "fsq":
        return quantizers.fsq_from_tokens(tokens, config.levels)
    tokens = jnp.where(tokens < 0, size, tokens)  # negative ones would count from the end
    if config.quantizer == "gumbel":
        return tokens
    codes = variables["buffers"]["codebook"]["codes"]
    found: jax.Array = codes.at[tokens].get(mode="fill", fill_value=jnp.nan)
    return found


def _decode(config: Config, variables: Variables, code: jax.Array) -> jax.Array:
    """Returns the decoder's maps, `[B, H, W, C or 2 C]`."""
    params = {"params": variables["params"]["decoder"]}
    maps: jax.Array = _decoder(config).apply(params, code)
    return maps


def _nll(config: Config, maps: jax.Array, x: jax.Array) -> jax.Array:
    """Computes -log p(phi(x) | z), `[B]` nats."""
    if config.likelihood == "normal":
        # The decoder's maps are of x; phi narrows it, so the density of phi(x) is higher.
        log_std = jnp.full_like(maps, math.log(config.scale))
        stretch = math.log(1 - 2 * EPSILON) * math.prod(config.shape)
        return gaussian_nll(x, maps, log_std=log_std) + stretch
    location, log_scale = jnp.split(maps, 2, axis=-1)
    if config.min_log_scale is not None:
        log_scale = config.min_log_scale + jax.nn.softplus(log_scale - config.min_log_scale)
    return logit_laplace_nll(x, location, log_scale=log_scale)


def _image(config: Config, maps: jax.Array) -> jax.Array:
    """Returns the location of p(x | z), `[B, H, W, C]` in [0, 1]."""
    if config.likelihood == "normal":
        return jnp.clip(maps, 0, 1)
    return unmap_pixels(jax.nn.sigmoid(jnp.split(maps, 2, axis=-1)[0]))
