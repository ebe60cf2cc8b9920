"""The objectives of a model with one layer of latents, each chosen by name.

`config` is a VAE's Config, `params` its parameters. Sources are with the losses and in the VAE.
"""

from typing import Any

import jax
import jax.numpy as jnp

from genjax.core import resample_noise
from genjax.losses import (
    dreg_loss,
    free_bits,
    iwae_loss,
    normalized_weights,
    resampled_loss,
    score_function_loss,
)
from genjax.nn import latent
from genjax.nn.gaussian import (
    Gaussian,
    draw_gaussian,
    gaussian_log_density,
    kl_from_standard,
    kl_units_from_standard,
)

Loss = tuple[jax.Array, dict[str, jax.Array]]  # `[B]` nats, and `[B]` nats to log


def objective_loss(
    config: Any, params: Any, shared: latent.Shared, key: jax.Array, kl_weight: Any
) -> Loss:
    """What the Config's objective has to minimise, from samples of q(z | x) drawn here.

    `kl_weight`: of the KL, where the objective has one.
    """
    noise = jax.random.normal(key, (config.latent_samples, *shared.q.mean.shape))
    if config.gradient_samples:
        return _resampled(config, params, shared, noise, key)
    if config.objective == "dreg":
        return _dreg(config, params, shared, noise)
    if config.objective == "score":
        return _score(config, params, shared, noise, kl_weight)
    found = latent.draw_terms(config, params, shared, noise)
    if config.objective == "iwae":
        return iwae_loss(found.log_weights), found.means()
    groups = _kl_groups(config, shared.q, found)
    charged = free_bits(groups, config.free_bits) if config.free_bits else jnp.sum(groups, axis=1)
    aux = found.means() | {"kl": jnp.sum(groups, axis=1)}
    return aux["reconstruction"] + kl_weight * charged, aux


def closed_form(config: Any) -> bool:
    """Whether KL(q(z | x) || p(z)) has one."""
    return config.prior == "normal" and config.posterior in ("diagonal", "full")


def _kl_groups(config: Any, q: Gaussian, found: latent.Terms) -> jax.Array:
    """KL(q(z | x) || p(z)) by groups of latents that add up: `[B, G]` nats."""
    if config.objective == "sampled" or not closed_form(config):
        return jnp.mean(found.log_q - found.log_prior, axis=0)[:, None]
    if config.posterior == "full":
        return kl_from_standard(q)[:, None]
    return kl_units_from_standard(q)


def _score(
    config: Any, params: Any, shared: latent.Shared, noise: jax.Array, kl_weight: Any
) -> Loss:
    """Objective score."""
    z = jax.lax.stop_gradient(draw_gaussian(shared.q, noise))
    found = latent.terms_at(config, params, shared, z, gaussian_log_density(shared.q, z))
    kl = jax.lax.stop_gradient(found.log_q) - found.log_prior  # grad log q has mean 0
    gained = found.log_likelihood - kl_weight * kl  # [K, B]
    score = score_function_loss(gained.ravel(), found.log_q.ravel()).reshape(gained.shape)
    return jnp.mean(score, axis=0), found.means()


def _dreg(config: Any, params: Any, shared: latent.Shared, noise: jax.Array) -> Loss:
    """Objective dreg."""
    z = draw_gaussian(shared.q, noise)

    def log_weights(z: jax.Array) -> tuple[jax.Array, latent.Terms]:
        log_q = gaussian_log_density(jax.lax.stop_gradient(shared.q), z)
        found = latent.terms_at(config, params, shared, z, log_q)
        return jnp.sum(found.log_weights), found

    # A weight depends on its own z alone, so the gradient of their sum is that of each.
    slopes, found = jax.grad(log_weights, has_aux=True)(jax.lax.stop_gradient(z))
    return dreg_loss(found.log_weights, z, slopes), found.means()


def _resampled(
    config: Any, params: Any, shared: latent.Shared, noise: jax.Array, key: jax.Array
) -> Loss:
    """Objectives iwae and dreg, differentiated at `gradient_samples` of the samples."""
    fixed = jax.lax.stop_gradient((params, shared))
    found = latent.draw_terms(config, *fixed, noise)
    weights = normalized_weights(found.log_weights)
    noise, weights = resample_noise(
        key, found.log_weights, (noise, weights), config.gradient_samples
    )
    if config.objective == "iwae":
        drawn = latent.draw_terms(config, params, shared, noise)
    else:
        # Squared weights move q: one power by being drawn, the other by a z that moves by so much.
        q = jax.lax.stop_gradient(shared.q)
        z = draw_gaussian(q, noise)
        z += weights[..., None] * (draw_gaussian(shared.q, noise) - z)
        drawn = latent.terms_at(config, params, shared, z, gaussian_log_density(q, z))
    return resampled_loss(found.log_weights, drawn.log_weights), found.means()
