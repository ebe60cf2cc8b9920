"""CycleGAN: translates images between two domains from unpaired examples.

Zhu et al. 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks"
(arXiv:1703.10593). Generators ab: a -> b and ba: b -> a, discriminators a and b of real and
translated images. The defaults are the networks at 256x256.

The paper leaves the following open; the conventions are those of the authors' code.

* Updates are simultaneous: images are translated once; the generators' gradient uses the old
  discriminators, that of the discriminators translations of the old generators, exchanged with a
  pool of past ones per domain (`genjax.core.image_pool`).
* One optimizer for both generators, one for both discriminators. The EMA averages the generators.
* Losses are means over logits and pixels; that of each discriminator is halved.
* The identity loss |ba(x) - x| has `identity` times the weight of the cycle a -> b -> a.
* Instance normalisation uses the statistics of each image in training and translation, so images
  pass through a network together.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.checks import Dtype, NonNegativeFloat, NonNegativeInt, PositiveInt, PositiveInts
from genjax.core import Batch, GanObjective, LossOutput, Traits, Variables, compiled_init
from genjax.core.batches import check_translation
from genjax.core.image_pool import ImagePool, init_pool, query_pool
from genjax.core.protocols import LossFn
from genjax.nn.translation import PatchDiscriminator, PixelDiscriminator, ResnetGenerator
from genjax.nn.unet import UNet

DOMAINS = ("a", "b")
SMALLEST_MAP = 2  # side of the generator's smallest map
SMALLEST_PATCHES = 3  # side of the discriminator's map before its last two convolutions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Networks and weights of the losses; the defaults are the paper's at 256x256."""

    shape: PositiveInts = (256, 256, 3)
    """Event shape (H, W, C) of both domains."""
    generator: Literal["resnet", "unet"] = "resnet"
    """Kind of the generators: residual, or U-Net (without dropout)."""
    width: PositiveInt = 64
    """Channels of the generators' first map."""
    blocks: NonNegativeInt = 9
    """resnet: residual blocks, 9 at 256x256, 6 at 128x128."""
    downs: NonNegativeInt = 2
    """Halvings of the side in a generator; a U-Net at 256x256 has 8."""
    kernel: PositiveInt = 7
    """resnet: side of the first and last convolution, odd."""
    upsampling: Literal["transposed", "resize"] = "transposed"
    """Transposed convolutions, or nearest neighbours before a convolution, which leaves no
    checkerboard pattern."""
    discriminator: Literal["patch", "pixel"] = "patch"
    """Discriminators of overlapping patches, or of single pixels."""
    discriminator_width: PositiveInt = 64
    """Channels of the discriminators' first map."""
    discriminator_layers: PositiveInt = 3
    """patch: halvings of the side; patches have 70 pixels a side with 3, 34 with 2."""
    cycle_a: NonNegativeFloat = 10.0
    """Weight of the L1 distance between x and ba(ab(x)); 0 does not compute it."""
    cycle_b: NonNegativeFloat = 10.0
    """Weight of the L1 distance between y and ab(ba(y)); 0 does not compute it."""
    identity: NonNegativeFloat = 0.5
    """Weight of |ba(x) - x| and |ab(y) - y|, times `cycle_a` and `cycle_b`."""
    adversarial: NonNegativeFloat = 1.0
    """Weight of the adversarial loss of the generators; with 0 only the discriminators have one."""
    pool: NonNegativeInt = 50
    """Past translations per domain for the discriminators; 0 shows them the newest ones."""
    objective: GanObjective = dataclasses.field(
        default_factory=lambda: GanObjective(loss="least_squares", update="simultaneous")
    )
    """Adversarial loss; updates are simultaneous."""
    dtype: Dtype = "float32"
    """Computation of the hidden layers; images and logits stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if len(self.shape) != 3:
            raise ValueError(checks.no_image_shape(self.shape))
        if self.kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd, got {self.kernel}.")
        if self.generator == "unet":
            if self.downs < 2:
                raise ValueError(f"a U-Net needs `downs` of at least 2, got {self.downs}.")
            for name in ("blocks", "kernel"):
                default = Config.__dataclass_fields__[name].default
                if getattr(self, name) != default:
                    raise ValueError(
                        f"{name} is a setting of the resnet generator; leave it at {default}, or"
                        " set generator to resnet."
                    )
        multiple, smallest = side_multiple(self), smallest_side(self)
        if any(side % multiple or side < smallest for side in self.shape[:2]):
            raise ValueError(
                f"the sides of `shape` must be multiples of {multiple} and at least {smallest} for"
                f" a {self.generator} generator with {self.downs} downs, got"
                f" {self.shape[0]}x{self.shape[1]}; resize the images, or lower downs or kernel."
            )
        left = min(self.shape[:2]) // 2**self.discriminator_layers
        if self.discriminator == "patch" and left < SMALLEST_PATCHES:
            raise ValueError(
                f"a patch discriminator of {self.discriminator_layers} layers needs sides of at"
                f" least {SMALLEST_PATCHES * 2**self.discriminator_layers}, got"
                f" {self.shape[0]}x{self.shape[1]}; lower discriminator_layers, or set"
                " discriminator to pixel."
            )
        if not (self.adversarial or self.cycle_a or self.cycle_b):
            raise ValueError("the generators have no loss; set adversarial or a cycle above 0.")
        objective = self.objective
        if objective.update != "simultaneous":
            raise ValueError("cyclegan has simultaneous updates; set update to simultaneous.")
        if objective.loss == "relativistic" or objective.has_gradient_penalty or objective.drift:
            raise ValueError(
                "cyclegan has no relativistic loss and no penalties; choose another loss, and set"
                " gradient_penalty, r1, r2 and drift to 0."
            )


def tiny() -> Config:
    return Config(
        shape=(3, 3, 1),
        width=4,
        blocks=1,
        downs=0,
        kernel=3,
        discriminator="pixel",
        discriminator_width=4,
        pool=5,
    )


def traits(config: Config) -> Traits:
    del config
    return Traits(data="images", density="none", sample_range=(-1.0, 1.0), ema=("generators",))


def targets(config: Config) -> tuple[str, ...]:
    """Returns the domains that `translate` translates to."""
    del config
    return DOMAINS


def side_multiple(config: Config) -> int:
    """Returns the number that heights and widths of images are multiples of."""
    return 2**config.downs


def smallest_side(config: Config) -> int:
    """Returns the smallest height and width of a generator, a multiple of `side_multiple`."""
    multiple = side_multiple(config)
    if config.generator == "unet":
        return multiple
    return multiple * max(SMALLEST_MAP, -(-(config.kernel // 2 + 1) // multiple))


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns `x` of domain a and `y` of domain b, unpaired: float32 `[B, *shape]`."""
    spec = jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)
    return {"x": spec, "y": spec}


def generator(config: Config) -> nn.Module:
    """Returns the network of both generators."""
    channels, width, downs = config.shape[-1], config.width, config.downs
    common: dict[str, Any] = {"upsampling": config.upsampling, "dtype": jnp.dtype(config.dtype)}
    if config.generator == "unet":
        return UNet(channels, width, downs, "instance", **common)
    return ResnetGenerator(channels, width, config.blocks, downs, config.kernel, **common)


def discriminator(config: Config) -> nn.Module:
    """Returns the network of both discriminators."""
    dtype = jnp.dtype(config.dtype)
    if config.discriminator == "pixel":
        return PixelDiscriminator(config.discriminator_width, dtype=dtype)
    return PatchDiscriminator(config.discriminator_width, config.discriminator_layers, dtype=dtype)


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    x, keys = jnp.zeros((1, *config.shape)), jax.random.split(key, 4)

    def params(module: nn.Module, names: tuple[str, ...], keys: jax.Array) -> dict[str, Any]:
        return {name: module.init(k, x)["params"] for name, k in zip(names, keys, strict=True)}

    networks = {
        "generators": params(generator(config), ("ab", "ba"), keys[:2]),
        "discriminators": params(discriminator(config), DOMAINS, keys[2:]),
    }
    if not config.pool:
        return {"params": networks}
    pools = {domain: init_pool(config.pool, config.shape) for domain in DOMAINS}
    return {"params": networks, "buffers": {"discriminators": pools}}


def _apply(module: nn.Module, params: Any, **inputs: jax.Array) -> dict[str, jax.Array]:
    """Applies a network to several batches `[B, ...]` in one pass."""
    if not inputs:
        return {}
    # Side by side, not one after another: sharded batches stay on their devices.
    joined = jnp.stack(list(inputs.values()), 1)  # [B, number, H, W, C]
    out = module.apply({"params": params}, joined.reshape(-1, *joined.shape[2:]))
    out = out.reshape(*joined.shape[:2], *out.shape[1:])
    return {name: out[:, i] for i, name in enumerate(inputs)}


def _mean(x: jax.Array) -> jax.Array:
    """Returns the mean of each example, `[B, ...] -> [B]`."""
    return x.reshape(x.shape[0], -1).mean(1)


def _per_logit(objective: GanObjective, loss: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns the mean over logits of a sum, in the authors' unit: least squares without 1/2."""
    unit = 2.0 if objective.loss == "least_squares" else 1.0
    return unit * loss * logits.shape[0] / logits.size


def generators_loss(
    config: Config, variables: Variables, batch: Batch, key: jax.Array
) -> LossOutput:
    """Computes the loss of both generators, `[B]`; equation 3 with the identity loss.

    aux has `cycle_a`, `cycle_b`, `identity_a`, `identity_b`, L1 distances of the range [0, 2], and
    `adversarial_a`, `adversarial_b`, by discriminator, without their weights; those with weight 0
    are absent. Its `outputs` are the translations, `a` and `b`.
    """
    del key
    checks.batch("cyclegan", batch, functools.partial(batch_spec, config))
    real, params = {"a": batch["x"], "b": batch["y"]}, variables["params"]
    weights = {f"cycle_{d}": getattr(config, f"cycle_{d}") for d in DOMAINS}
    weights |= {f"identity_{d}": config.identity * weights[f"cycle_{d}"] for d in DOMAINS}

    def apply(direction: str, **inputs: jax.Array) -> dict[str, jax.Array]:
        inputs = {name: x for name, x in inputs.items() if weights.get(name, 1)}
        return _apply(generator(config), params["generators"][direction], **inputs)

    out = apply("ab", b=real["a"], identity_b=real["b"])
    out |= apply("ba", a=real["b"], identity_a=real["a"], cycle_a=out["b"])
    out |= apply("ab", cycle_b=out["a"])
    aux: dict[str, Any] = {n: _mean(jnp.abs(out[n] - real[n[-1]])) for n in weights if n in out}
    total = sum((weights[n] * aux[n] for n in aux), jnp.zeros(real["a"].shape[0]))
    for domain in DOMAINS if config.adversarial else ():
        network = params["discriminators"][domain]
        logits = _apply(discriminator(config), network, fake=out[domain])["fake"]
        loss = config.objective.generator_loss(logits)
        aux[f"adversarial_{domain}"] = _per_logit(config.objective, loss, logits)
        total = total + config.adversarial * aux[f"adversarial_{domain}"]
    return total, {**aux, "outputs": {domain: out[domain] for domain in DOMAINS}}


def discriminators_loss(
    config: Config, variables: Variables, batch: Batch, key: jax.Array
) -> LossOutput:
    """Computes the loss of both discriminators, `[B]`.

    Translations are those in `batch["outputs"]`, if any, after the exchange with the pools. aux has
    by domain `loss_a`, `real_logit_a` and `fake_logit_a`.
    """
    checks.batch("cyclegan", batch, functools.partial(batch_spec, config))
    real, params = {"a": batch["x"], "b": batch["y"]}, variables["params"]
    fakes: Any = batch.get("outputs")
    if fakes is None:
        fakes = {
            "a": translate(config, variables, real["b"], to="a"),
            "b": translate(config, variables, real["a"], to="b"),
        }
    fakes = jax.lax.stop_gradient(fakes)
    total, aux, pools = jnp.zeros(real["a"].shape[0]), dict[str, Any](), dict[str, ImagePool]()
    for domain, domain_key in zip(DOMAINS, jax.random.split(key), strict=True):
        fake = fakes[domain]
        if config.pool:
            pool = variables["buffers"]["discriminators"][domain]
            fake, pools[domain] = query_pool(pool, fake, domain_key)
        network = params["discriminators"][domain]
        logits = _apply(discriminator(config), network, real=real[domain], fake=fake)
        loss = config.objective.discriminator_loss(logits["real"], logits["fake"])
        loss = _per_logit(config.objective, loss, logits["real"]) / 2
        total = total + loss
        named = {"loss": loss, "real_logit": logits["real"], "fake_logit": logits["fake"]}
        aux |= {f"{name}_{domain}": value for name, value in named.items()}
    updates = {"updates": {"buffers": {"discriminators": pools}}} if pools else {}
    return total, {**aux, **updates}


LOSSES: Mapping[str, LossFn] = {
    "generators": generators_loss,
    "discriminators": discriminators_loss,
}


def translate(
    config: Config,
    variables: Variables,
    images: jax.Array,
    *,
    to: str = "b",
    key: jax.Array | None = None,
) -> jax.Array:
    """Translates images to a domain, float32 `[B, H, W, C] -> [B, H, W, C]` in [-1, 1].

    Args:
      config: of the networks.
      variables: of `init`, a train state or its average.
      images: of the other domain, in [-1, 1]; H and W are multiples of `side_multiple`. Images
        smaller than `smallest_side` are padded with copies of their edges.
      to: `a` or `b`.
      key: ignored, since translations are not random.

    Raises:
      ValueError: `to` is no domain, or the images have the wrong shape or dtype.
    """
    del key
    if to not in DOMAINS:
        raise ValueError(f"cyclegan: `to` must be a or b, got {to!r}.")
    check_translation("cyclegan", images, config.shape[-1], side_multiple(config))
    height, width = images.shape[1:3]
    missing = [max(0, smallest_side(config) - side) for side in (height, width)]
    # Of smaller images reflection and instance normalisation are undefined.
    x = jnp.pad(images, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    params = variables["params"]["generators"]["ab" if to == "b" else "ba"]
    return _apply(generator(config), params, x=x)["x"][:, :height, :width]
