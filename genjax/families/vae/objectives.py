"""Training objectives of the VAE; sources are with the losses."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import resample_noise
from genjax.families.vae import densities
from genjax.losses import (
    dreg_loss,
    free_bits,
    iwae_loss,
    normalized_weights,
    resampled_loss,
    score_function_loss,
)

Loss = tuple[jax.Array, dict[str, jax.Array]]  # `[B]` nats, and `[B]` nats to log


class Terms(NamedTuple):
    """log p(x | z), log p(z) and log q(z | x) of samples z: `[K, B]` nats each."""

    log_likelihood: jax.Array
    log_prior: jax.Array
    log_q: jax.Array

    @property
    def log_weights(self) -> jax.Array:
        return self.log_likelihood + self.log_prior - self.log_q

    def means(self) -> dict[str, jax.Array]:
        return {
            "reconstruction": -jnp.mean(self.log_likelihood, axis=0),
            "kl": jnp.mean(self.log_q - self.log_prior, axis=0),
        }


class Model(NamedTuple):
    """The values that all samples of a batch share."""

    config: Any
    params: Any
    x: jax.Array
    condition: jax.Array | None
    q: Any
    prior: Any

    def terms(self, z: jax.Array, log_q: jax.Array) -> Terms:
        """Evaluates the terms at samples z `[K, B, Z]`."""
        k = z.shape[0]
        rows, condition = z.reshape(-1, z.shape[-1]), densities.repeat(self.condition, k)
        p = densities.likelihood(self.config, self.params, rows, condition)
        log_likelihood = p.log_prob(densities.repeat(self.x, k)).reshape(z.shape[:2])
        return Terms(log_likelihood, self.prior.log_prob(z), log_q)

    def sampled_terms(self, noise: jax.Array) -> Terms:
        """Evaluates the terms at reparameterised samples from noise `[K, B, Z]`."""
        return self.terms(*self.q.from_noise(noise))

    def stop_gradient(self) -> "Model":
        return Model(self.config, *jax.lax.stop_gradient(tuple(self[1:])))


def objective_loss(
    config: Any,
    params: Any,
    x: jax.Array,
    condition: jax.Array | None,
    key: jax.Array,
    kl_weight: Any,
) -> Loss:
    """Computes the objective of the Config per example, weighting its KL term by `kl_weight`."""
    q = densities.posterior(config, params, x, condition)
    model = Model(config, params, x, condition, q, densities.prior(config, params))
    noise = jax.random.normal(key, (config.latent_samples, x.shape[0], config.latent))
    if config.gradient_samples:
        return _resampled(model, noise, key)
    if config.objective == "dreg":
        return _dreg(model, noise)
    if config.objective == "score":
        return _score(model, noise, kl_weight)
    terms = model.sampled_terms(noise)
    if config.objective == "iwae":
        return iwae_loss(terms.log_weights), terms.means()
    groups = _kl_groups(model, terms)
    penalty = free_bits(groups, config.free_bits) if config.free_bits else jnp.sum(groups, axis=1)
    aux = terms.means() | {"kl": jnp.sum(groups, axis=1)}
    return aux["reconstruction"] + kl_weight * penalty, aux


def _kl_groups(model: Model, terms: Terms) -> jax.Array:
    """KL(q(z | x) || p(z)) by groups of latents, `[B, G]`, in closed form where there is one."""
    if model.config.objective != "sampled":
        if (units := model.q.kl_units(model.prior)) is not None:
            return units
        if (kl := model.q.kl(model.prior)) is not None:
            return kl[:, None]
    return jnp.mean(terms.log_q - terms.log_prior, axis=0)[:, None]


def _score(model: Model, noise: jax.Array, kl_weight: Any) -> Loss:
    z = jax.lax.stop_gradient(model.q.transform(noise))
    terms = model.terms(z, model.q.log_prob(z))
    kl = jax.lax.stop_gradient(terms.log_q) - terms.log_prior  # grad log q has mean 0
    bound = terms.log_likelihood - kl_weight * kl  # [K, B]
    score = score_function_loss(bound.ravel(), terms.log_q.ravel()).reshape(bound.shape)
    return jnp.mean(score, axis=0), terms.means()


def _dreg(model: Model, noise: jax.Array) -> Loss:
    z = model.q.transform(noise)

    def log_weights(z: jax.Array) -> tuple[jax.Array, Terms]:
        terms = model.terms(z, jax.lax.stop_gradient(model.q).log_prob(z))
        return jnp.sum(terms.log_weights), terms

    # Each weight depends on its own z only, so the gradient of their sum holds all gradients.
    slopes, terms = jax.grad(log_weights, has_aux=True)(jax.lax.stop_gradient(z))
    return dreg_loss(terms.log_weights, z, slopes), terms.means()


def _resampled(model: Model, noise: jax.Array, key: jax.Array) -> Loss:
    """Objectives iwae and dreg, differentiated at `gradient_samples` of the samples."""
    count = model.config.gradient_samples
    terms = model.stop_gradient().sampled_terms(noise)
    weights = normalized_weights(terms.log_weights)
    noise, weights = resample_noise(key, terms.log_weights, (noise, weights), count)
    if model.config.objective == "iwae":
        chosen = model.sampled_terms(noise)
    else:
        # Gradients of dreg have squared weights: one factor by resampling, the other by scaling the
        # differentiable part of z.
        q = jax.lax.stop_gradient(model.q)
        z = q.transform(noise)
        z += weights[..., None] * (model.q.transform(noise) - z)
        chosen = model.terms(z, q.log_prob(z))
    return resampled_loss(terms.log_weights, chosen.log_weights), terms.means()
