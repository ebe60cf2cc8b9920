"""The parts of a model with one layer of latents: p(z), p(x | z), q(z | x), each chosen by name.

`config` is a VAE's Config, `params` its parameters; z has a leading axis of samples, `[K, B, Z]`.
Sources are with the layers: `gaussian`, `iaf`, `resnet`, `observation`. The prior that mixes
posteriors: Tomczak and Welling 2018, "VAE with a VampPrior", eq. 9.
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.losses import importance_weighted_bound
from genjax.nn.gaussian import (
    Gaussian,
    draw_gaussian,
    gaussian_log_density,
    gaussian_size,
    noise_log_density,
    split_gaussian,
    standard_log_density,
)
from genjax.nn.iaf import Flow, invert_flow
from genjax.nn.networks import ToEvent, ToVector
from genjax.nn.observation import (
    HEADS,
    observation_bias,
    observation_nll,
    observation_range,
)


def encoder(config: Any) -> ToVector:
    """`x [B, *shape]` -> numbers of q(z | x), and those its flow hears of x by."""
    size = gaussian_size(config.latent, config.posterior == "full")
    return ToVector(config.encoder, size + context_size(config), **_networks(config))


def decoder(config: Any) -> ToEvent:
    """`z [B, Z]` -> as many arrays `[B, *shape]` as p(x | z) has in `HEADS`."""
    return ToEvent(config.decoder, config.shape, HEADS[config.likelihood], **_networks(config))


def flow(config: Any) -> Flow:
    """Of an iaf posterior; and, mapping z to noise, of a flow prior."""
    return Flow(config.flow_steps, config.flow_hidden, jnp.dtype(config.dtype))


def context_size(config: Any) -> int:
    """Numbers that tell an iaf posterior of x: as many as the last hidden layer has units."""
    return (config.hidden or config.flow_hidden)[-1] if config.posterior == "iaf" else 0


def _networks(config: Any) -> dict[str, Any]:
    glorot, lecun = nn.initializers.glorot_uniform(), nn.initializers.lecun_normal()
    return {
        "hidden": config.hidden,
        "activation": getattr(nn, config.activation),
        "channels": config.channels,
        "blocks": config.blocks,
        "dtype": jnp.dtype(config.dtype),
        "kernel_init": glorot if config.weights == "glorot" else lecun,
    }


def init_latent(config: Any, key: jax.Array, x: jax.Array | None = None) -> dict[str, Any]:
    """Parameters of all parts.

    Args:
      config: a VAE's Config.
      key: typed key.
      x: examples `[N, *shape]` for output biases and pseudo-inputs to begin with; without them
        biases are 0 and pseudo-inputs are noise.
    """
    c = config
    encoder_key, decoder_key, flow_key, prior_key = jax.random.split(key, 4)
    event, z = jnp.zeros((1, *c.shape)), jnp.zeros((1, c.latent))
    condition = jnp.zeros((1, c.classes)) if c.classes else None
    params = {
        "encoder": encoder(c).init(encoder_key, event, condition)["params"],
        "decoder": decoder(c).init(decoder_key, z, condition)["params"],
    }
    if c.likelihood == "discretized_logistic":
        params["log_scale"] = jnp.full((c.shape[-1],), -1.0)
    if c.posterior == "iaf":
        context = jnp.zeros((1, context_size(c)))
        params["flow"] = flow(c).init(flow_key, z, context)["params"]
    if c.prior == "flow":
        params["prior"] = flow(c).init(prior_key, z)["params"]
    if c.prior == "vamp":
        free = jax.random.normal(prior_key, (c.pseudo_inputs, *c.shape))
        if x is not None:
            free = _free(c, x[jnp.arange(c.pseudo_inputs) % x.shape[0]])
        params["prior"] = {"pseudo_inputs": free}
    if c.data_bias and x is not None:
        bias = observation_bias(c.likelihood, x, c.levels).ravel()
        params["decoder"]["MLP_0"]["out"]["bias"] = bias
    return params


def _free(config: Any, x: jax.Array) -> jax.Array:
    """Events as numbers without bounds: what pseudo-inputs are learned as."""
    low, high = observation_range(config.likelihood, config.levels)
    if math.isinf(high):
        return x
    share = jnp.clip((x - low) / (high - low), 0.05, 0.95)  # further out they would hardly move
    return jnp.log(share) - jnp.log1p(-share)


def pseudo_inputs(config: Any, params: Any) -> jax.Array:
    """Of a vamp prior, `[pseudo_inputs, *shape]`, within the range of x."""
    low, high = observation_range(config.likelihood, config.levels)
    free = params["prior"]["pseudo_inputs"]
    return free if math.isinf(high) else low + (high - low) * jax.nn.sigmoid(free)


def posterior_of(
    config: Any, params: Any, x: jax.Array, condition: jax.Array | None = None
) -> tuple[Gaussian, jax.Array | None]:
    """q(z | x), before its flow where it has one, and the flow's context `[B, C]` or None."""
    if config.likelihood == "discretized_logistic":
        x = 2 * x / (config.levels - 1) - 1
    out = encoder(config).apply({"params": params["encoder"]}, x, condition)
    full = config.posterior == "full"
    size = gaussian_size(config.latent, full)
    q = split_gaussian(out[:, :size], config.latent, full)
    return q, out[:, size:] if config.posterior == "iaf" else None


def repeat(a: Any, k: int) -> Any:
    """`[B, ...] -> [K B, ...]`, the whole K times over; None stays None."""
    if a is None or k == 1:
        return a
    return jnp.broadcast_to(a[None], (k, *a.shape)).reshape(-1, *a.shape[1:])


def _rows(z: jax.Array) -> jax.Array:
    return z.reshape(-1, z.shape[-1])  # [K B, Z]


def observation(
    config: Any, params: Any, z: jax.Array, condition: jax.Array | None = None
) -> tuple[jax.Array, ...]:
    """Parameters of p(x | z), for z `[B, Z]`: logits, or means and log scales; `[B, *shape]`."""
    heads = decoder(config).apply({"params": params["decoder"]}, z, condition)
    if config.likelihood == "bernoulli":
        return heads
    mean = heads[0]
    scale = heads[1] if len(heads) == 2 else jnp.broadcast_to(params["log_scale"], mean.shape)
    return mean, config.min_log_scale + jax.nn.softplus(scale - config.min_log_scale)


def log_likelihood_of(
    config: Any, params: Any, x: jax.Array, z: jax.Array, condition: jax.Array | None = None
) -> jax.Array:
    """log p(x | z) for x `[B, *shape]`, z `[K, B, Z]`: `[K, B]` nats."""
    k = z.shape[0]
    found = observation(config, params, _rows(z), repeat(condition, k))
    nats = observation_nll(config.likelihood, found, repeat(x, k), config.levels)
    return -nats.reshape(z.shape[:2])


def components_of(config: Any, params: Any) -> Gaussian | None:
    """The posteriors that a vamp prior mixes, computed once for all z of a call; else None."""
    if config.prior != "vamp":
        return None
    return posterior_of(config, params, pseudo_inputs(config, params))[0]


def log_prior_of(config: Any, params: Any, z: jax.Array, components: Gaussian | None) -> jax.Array:
    """log p(z) for z `[K, B, Z]`: `[K, B]` nats."""
    rows = _rows(z)
    if components is not None:
        shape = (rows.shape[0], *components.mean.shape)  # [K B, pseudo-inputs, Z]
        each = gaussian_log_density(components, jnp.broadcast_to(rows[:, None], shape))
        return importance_weighted_bound(each.T).reshape(z.shape[:2])  # log of the mean density
    log_det = 0 * rows[:, 0]
    if config.prior == "flow":
        rows, log_det = flow(config).apply({"params": params["prior"]}, rows)
    return (log_det + standard_log_density(rows)).reshape(z.shape[:2])


def draw_prior(config: Any, params: Any, key: jax.Array, n: int) -> jax.Array:
    """Samples of p(z): `[n, Z]`."""
    choose, draw = jax.random.split(key)
    noise = jax.random.normal(draw, (n, config.latent))
    components = components_of(config, params)
    if components is not None:
        k = jax.random.randint(choose, (n,), 0, config.pseudo_inputs)
        mine = jax.tree.map(lambda a: a[k], components)
        return draw_gaussian(mine, noise[None])[0]
    return invert_flow(flow(config), params["prior"], noise) if config.prior == "flow" else noise


class Shared(NamedTuple):
    """What all samples of z for one batch share: a pytree.

    x: `[B, *shape]`.
    q: q(z | x), before its flow where it has one.
    context: of the flow, or None.
    components: of a vamp prior, or None.
    condition: label as numbers `[B, classes]`, or None.
    """

    x: jax.Array
    q: Gaussian
    context: jax.Array | None
    components: Gaussian | None
    condition: jax.Array | None


class Terms(NamedTuple):
    """Samples z `[K, B, Z]`, and log p(x | z), log p(z) and log q(z | x) of each: `[K, B]` nats."""

    z: jax.Array
    log_likelihood: jax.Array
    log_prior: jax.Array
    log_q: jax.Array

    @property
    def log_weights(self) -> jax.Array:
        """log p(x, z) - log q(z | x): `[K, B]` nats."""
        return self.log_likelihood + self.log_prior - self.log_q

    def means(self) -> dict[str, jax.Array]:
        """-log p(x | z) and log q(z | x) - log p(z), averaged over the samples: `[B]` nats."""
        return {
            "reconstruction": -jnp.mean(self.log_likelihood, axis=0),
            "kl": jnp.mean(self.log_q - self.log_prior, axis=0),
        }


def prepare(config: Any, params: Any, x: jax.Array, condition: jax.Array | None) -> Shared:
    """Encode a batch, once for all samples."""
    q, context = posterior_of(config, params, x, condition)
    return Shared(x, q, context, components_of(config, params), condition)


def draw_shared(
    config: Any, params: Any, shared: Shared, noise: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """z ~ q(z | x) from noise `[K, B, Z]`: z `[K, B, Z]` and log q(z | x) `[K, B]` nats."""
    z, log_q = draw_gaussian(shared.q, noise), noise_log_density(shared.q, noise)
    if shared.context is None:
        return z, log_q
    context = repeat(shared.context, z.shape[0])
    out, log_det = flow(config).apply({"params": params["flow"]}, _rows(z), context)
    return out.reshape(z.shape), log_q - log_det.reshape(log_q.shape)


def terms_at(config: Any, params: Any, shared: Shared, z: jax.Array, log_q: jax.Array) -> Terms:
    """The terms at given samples."""
    log_p = log_likelihood_of(config, params, shared.x, z, shared.condition)
    return Terms(z, log_p, log_prior_of(config, params, z, shared.components), log_q)


def draw_terms(config: Any, params: Any, shared: Shared, noise: jax.Array) -> Terms:
    """The terms at reparameterised samples, made of noise `[K, B, Z]`."""
    z, log_q = draw_shared(config, params, shared, noise)
    return terms_at(config, params, shared, z, log_q)
