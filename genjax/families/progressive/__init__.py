"""Progressive GAN: both networks grow from small images to the full side during one run.

    L_D = D(G(z)) - D(x) + 10 (||grad D(x_mix)|| - 1)^2 + 0.001 D(x)^2,    L_G = -D(G(z))

Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and Variation"
(arXiv:1710.10196). The losses are those of WGAN-GP with drift by default; `Config.objective` has
others, such as non_saturating with r1.

A run is a sequence of stages, each with twice the side of the one before. The networks are as
large as their variables: `init` gives those of the first stage, `grow` those of the next. Batches,
samples and the input of `discriminate` and `encode` have the full side in every stage; images are
averaged to the networks' side, and generated ones repeat their pixels. In a fade, the weight alpha
of the new layers rises from 0 to 1. It is a part of the variables, `buffers/fade/alpha`, and 1 in
the first stage. Real images are blended in the same way, by the losses only. RGB layers of earlier
sides stay in the variables; they have no gradient.

With `architecture="skip_residual"` the networks are those of `skip_residual.py`. They have the same
losses, and the full side in the only stage of a run.

What the paper leaves open follows the authors' code:

* A stage fades in first and is then stable. All numbers of images are of those shown to the
  discriminator, also in repeated critic updates. Optimizers are reset at both ends of a fade.
* The discriminator is updated first, with other noise than the generator. The EMA tracks the
  generator; it is updated once per step.
* With classes, noise and one-hot labels are pixel-normalised together. The discriminator does not
  see labels; it classifies real and generated images (AC-GAN, Odena et al. 2017, arXiv:1610.09585),
  and both networks minimise its cross-entropy. Images are generated with the labels of the batch.
* The minibatch standard deviation makes D(x) depend on the other images of its batch, so a gradient
  penalty is of the sum over the batch. Groups have images at equal distances in the batch.
* Pixel norm has epsilon 1e-8, in half precision 1e-4. The discriminator has none.
* The batch-norm statistics of `generator_norm="batch"` are treated as `genjax.core.adversarial`
  describes.

Losses take the generator's images as they are; `generate` and `sample` clip them to [-1, 1].
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core import (
    Batch,
    LossOutput,
    Traits,
    Variables,
    apply_network,
    compiled_init,
    discriminator_objective,
    generator_objective,
    merge_networks,
    train_network,
    with_alpha,
)
from genjax.core.protocols import LossFn
from genjax.families.progressive.growing_networks import Discriminator, Generator
from genjax.families.progressive.settings import Config as Config
from genjax.families.progressive.settings import sides
from genjax.families.progressive.skip_residual import ResidualDiscriminator, SkipGenerator
from genjax.families.progressive.stage_schedule import stages as stages
from genjax.losses import categorical_nll
from genjax.nn import one_hot_condition, random_label
from genjax.nn.image_pyramid import blend, box_downsample
from genjax.nn.resampling import upsample_nearest


def traits(config: Config) -> Traits:
    del config
    return Traits(
        data="images",
        density="none",
        sample_range=(-1.0, 1.0),
        ema=("generator",),
        normal_noise=True,
    )


def tiny() -> Config:
    return Config(
        shape=(8, 8, 1),
        latent=4,
        base=8,
        max_width=6,
        classes=3,
        fade_images=48,
        stable_images=48,
        refresh=2,
    )


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns `x` `[B, *shape]` in [-1, 1], at the full side, and with classes `label` `[B]`."""
    spec = {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}
    if config.classes:
        spec["label"] = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    return spec


def side(variables: Variables) -> int:
    """Returns the side of the networks' images, that of their largest block."""
    found = [
        int(name.split("x")[0])
        for network in variables["params"].values()
        for name in network
        if name[0].isdigit()
    ]
    return max(found)


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    """Returns the variables of the first stage."""
    del batch
    return with_alpha(_networks(config, sides(config)[0], key), 1.0)


def grow(config: Config, variables: Variables, key: jax.Array) -> Variables:
    """Returns the variables of the next stage, with alpha 0; existing leaves are unchanged.

    Args:
      config: the Config.
      variables: of a stage.
      key: of the new parameters.

    Raises:
      ValueError: the networks have their full side.
    """
    old = side(variables)
    if old >= config.shape[0]:
        raise ValueError(
            f"the networks have their full side, {old}x{old}; set a larger `shape` to grow them."
        )
    grown = dict(variables)
    for collection, networks in _networks(config, 2 * old, key).items():
        own = variables.get(collection, {})
        merged = {name: {**new, **own.get(name, {})} for name, new in networks.items()}
        grown[collection] = {**own, **merged}
    return with_alpha(grown, 0.0)


def noise(config: Config, key: jax.Array, n: int) -> jax.Array:
    """Draws noise from N(0, I): `[n, Z]`."""
    return jax.random.normal(key, (n, config.latent))


def generate(
    config: Config, variables: Variables, z: jax.Array, label: jax.Array | None = None
) -> jax.Array:
    """Computes G(z), `[B, Z] -> [B, *shape]` in [-1, 1]; with classes, given `label` `[B]`."""
    condition = one_hot_condition(config.FAMILY, config.classes, label, z.shape[0])
    network = _generator(config, side(variables))
    x = apply_network(network, variables, "generator", z, condition, _alpha(variables))
    while x.shape[1] < config.shape[0]:
        x = upsample_nearest(x)
    return jnp.clip(x, -1, 1)


def discriminate(
    config: Config, variables: Variables, x: jax.Array, label: jax.Array | None = None
) -> jax.Array:
    """Computes D(x), `[B]`, which depends on the other images of the batch; `label` is not used."""
    del label
    return _discriminate(config, variables, x)[0]


def classify(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes the discriminator's logits of the labels, `[B, K]`."""
    return _discriminate(config, variables, x)[1]


def encode(
    config: Config, variables: Variables, x: jax.Array, label: jax.Array | None = None
) -> jax.Array:
    """Returns the discriminator's smallest maps, flat: `[B, F]`; `label` is not used."""
    del label
    features = _discriminate(config, variables, x)[2]
    return features.reshape(x.shape[0], -1).astype(jnp.float32)


def sample(
    config: Config,
    variables: Variables,
    key: jax.Array,
    n: int | None = None,
    *,
    label: jax.Array | None = None,
) -> jax.Array:
    """Draws samples, float32 `[n, *shape]` in [-1, 1]; one image without `n`.

    With classes, given `label` `[n]`, or labels drawn uniformly without it.
    """
    checks.sampling(Config, config, variables, key)
    count = checks.sample_count(n)
    noise_key, label_key = jax.random.split(key)
    label = random_label(config.FAMILY, config.classes, label, label_key, count)
    x = generate(config, variables, noise(config, noise_key, count), label)
    return x if n else x[0]


def discriminator_loss(
    config: Config, variables: Variables, batch: Batch, key: jax.Array
) -> LossOutput:
    """Computes the discriminator's loss with penalties and classification, `[B]`."""
    discriminate, inputs, _ = _prepare(config, variables, batch, key)
    loss, aux, (on_real, on_fake) = discriminator_objective(config.objective, discriminate, *inputs)
    if config.classes:
        real, fake = (categorical_nll(logits, batch["label"]) for logits in (on_real, on_fake))
        loss += config.class_weight * (real + fake)
        aux |= {"real_classification": real, "fake_classification": fake}
    return loss, aux


def generator_loss(
    config: Config, variables: Variables, batch: Batch, key: jax.Array
) -> LossOutput:
    """Computes the generator's loss with the classification of its images, `[B]`."""
    discriminate, inputs, statistics = _prepare(config, variables, batch, key)
    loss, aux, on_fake = generator_objective(
        config.objective, discriminate, *inputs, statistics=statistics
    )
    if config.classes:
        classification = categorical_nll(on_fake, batch["label"])
        loss += config.class_weight * classification
        aux["classification"] = classification
    return loss, aux


LOSSES: Mapping[str, LossFn] = {"discriminator": discriminator_loss, "generator": generator_loss}


def _prepare(
    config: Config, variables: Variables, batch: Batch, key: jax.Array
) -> tuple[Any, Any, Any]:
    """Returns the discriminator, the other arguments of an objective, and new statistics."""
    checks.batch(config.FAMILY, batch, functools.partial(batch_spec, config))
    at, alpha, count = side(variables), _alpha(variables), batch["x"].shape[0]
    real = box_downsample(batch["x"], at)
    if at > sides(config)[0]:
        real = blend(real, alpha)
    noise_key, objective_key = jax.random.split(key)
    condition = one_hot_condition(config.FAMILY, config.classes, batch.get("label"), count)
    z = noise(config, noise_key, count)
    fake, statistics = train_network(
        _generator(config, at), variables, "generator", z, condition, alpha
    )

    def discriminate(x: jax.Array, key: jax.Array, stats: Any) -> tuple[jax.Array, Any, Any]:
        del key
        network = _discriminator(config, at)
        (logits, labels, _), new = train_network(
            network, variables, "discriminator", x, alpha, statistics=stats
        )
        return logits, new, labels

    return discriminate, (variables, real, fake, objective_key), statistics


def _discriminate(
    config: Config, variables: Variables, x: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    checks.events(config.FAMILY, x, config.shape)
    at = side(variables)
    network, x = _discriminator(config, at), box_downsample(x, at)
    return apply_network(network, variables, "discriminator", x, _alpha(variables))


def _alpha(variables: Variables) -> jax.Array:
    return variables["buffers"]["fade"]["alpha"]


def _generator(config: Config, at: int) -> Any:
    kind = Generator if config.architecture == "growing" else SkipGenerator
    return kind(config, at)


def _discriminator(config: Config, at: int) -> Any:
    kind = Discriminator if config.architecture == "growing" else ResidualDiscriminator
    return kind(config, at)


def _networks(config: Config, at: int, key: jax.Array) -> Variables:
    """Returns initial variables of networks for images of a side."""
    generator_key, discriminator_key = jax.random.split(key)
    condition = jnp.zeros((1, config.classes)) if config.classes else None
    z, x = jnp.zeros((1, config.latent)), jnp.zeros((1, at, at, config.shape[-1]))
    networks = {
        "generator": _generator(config, at).init(generator_key, z, condition),
        "discriminator": _discriminator(config, at).init(discriminator_key, x),
    }
    return merge_networks(networks, config.objective)
