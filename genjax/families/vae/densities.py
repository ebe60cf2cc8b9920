"""q(z | x), p(z) and p(x | z) of the VAE.

Sources: Kingma et al. 2016, "Improved Variational Inference with Inverse Autoregressive Flow"
(`FlowPosterior`); Tomczak and Welling 2018, "VAE with a VampPrior", eq. 9 (`VampPrior`); Chen et
al. 2017, "Variational Lossy Autoencoder", section 3.2 (`FlowPrior`).
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from genjax.families.vae import networks
from genjax.families.vae.flow import Flow, invert_flow
from genjax.losses import importance_weighted_bound
from genjax.nn import (
    Bernoulli,
    DiscretizedLogistic,
    Gaussian,
    Normal,
    Posterior,
    StandardNormal,
    standard_log_prob,
)


class FlowPosterior(Posterior):
    """A diagonal Gaussian transformed by an inverse autoregressive flow."""

    base: Gaussian  # the Gaussian, parameters `[B, Z]`
    context: jax.Array  # of the flow, `[B, C]`
    params: Any  # of the flow
    flow: Flow = struct.field(pytree_node=False)

    def from_noise(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps `[..., B, Z]` of standard normal noise to samples and their log densities."""
        z, log_q = self.base.from_noise(noise)
        rows = z.reshape(-1, z.shape[-1])
        context = repeat(self.context, rows.shape[0] // self.context.shape[0])
        out, log_det = self.flow.apply({"params": self.params}, rows, context)
        return out.reshape(z.shape), log_q - log_det.reshape(log_q.shape)

    def sample_and_log_prob(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self.from_noise(jax.random.normal(key, self.base.loc.shape))

    def mean(self) -> jax.Array:
        """Returns the flow at the Gaussian's mean; the mean has no closed form."""
        return self.from_noise(jnp.zeros_like(self.base.loc))[0]

    def layer_means(self, key: jax.Array) -> tuple[jax.Array]:
        """Estimates the mean `[B, Z]` by 100 samples, with the same noise for every example."""

        def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            noise = jax.random.normal(key, (1, total.shape[-1]))
            return total + self.from_noise(jnp.broadcast_to(noise, total.shape))[0], None

        keys = jax.random.split(key, 100)
        return (jax.lax.scan(add, 0 * self.base.loc, keys)[0] / len(keys),)


class VampPrior(struct.PyTreeNode):
    """The mixture of the posteriors of learned pseudo-inputs, with equal weights."""

    components: Gaussian  # parameters `[P, Z]`

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.components.loc.shape[1:]

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        component_key, key = jax.random.split(key)
        noise = jax.random.normal(key, (n, *self.event_shape))
        k = jax.random.randint(component_key, (n,), 0, self.components.loc.shape[0])
        return jax.tree.map(lambda a: a[k], self.components).transform(noise)

    def log_prob(self, z: jax.Array) -> jax.Array:
        rows = z.reshape(-1, 1, z.shape[-1])
        shape = (rows.shape[0], *self.components.loc.shape)  # [R, P, Z]
        each = self.components.log_prob(jnp.broadcast_to(rows, shape))
        return importance_weighted_bound(each.T).reshape(z.shape[:-1])  # log of the mean density


class FlowPrior(struct.PyTreeNode):
    """Density of z whose image under a flow is standard normal noise of `event_shape` (Z,)."""

    params: Any
    flow: Flow = struct.field(pytree_node=False)
    event_shape: tuple[int, ...] = struct.field(pytree_node=False)

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        _, key = jax.random.split(key)
        noise = jax.random.normal(key, (n, *self.event_shape))
        return invert_flow(self.flow, self.params, noise)

    def log_prob(self, z: jax.Array) -> jax.Array:
        noise, log_det = self.flow.apply({"params": self.params}, z.reshape(-1, z.shape[-1]))
        return (log_det + standard_log_prob(noise)).reshape(z.shape[:-1])


def repeat(a: Any, k: int) -> Any:
    """Repeats the whole batch, `[B, ...] -> [k B, ...]`; None stays None."""
    if a is None or k == 1:
        return a
    return jnp.broadcast_to(a[None], (k, *a.shape)).reshape(-1, *a.shape[1:])


def posterior(
    config: Any, params: Any, x: jax.Array, condition: jax.Array | None = None
) -> Gaussian | FlowPosterior:
    """Returns q(z | x) for x `[B, *shape]`."""
    if config.likelihood == "discretized_logistic":
        x = 2 * x / (config.levels - 1) - 1
    out = networks.encoder(config).apply({"params": params["encoder"]}, x, condition)
    full = config.posterior == "full"
    size = Gaussian.num_outputs(config.latent, full)
    q = Gaussian.from_outputs(out[:, :size], config.latent, full)
    if config.posterior != "iaf":
        return q
    return FlowPosterior(q, out[:, size:], params["flow"], networks.flow(config))


def prior(config: Any, params: Any) -> StandardNormal | VampPrior | FlowPrior:
    """Returns p(z)."""
    if config.prior == "vamp":
        return VampPrior(posterior(config, params, networks.pseudo_inputs(config, params)))
    if config.prior == "flow":
        return FlowPrior(params["prior"], networks.flow(config), (config.latent,))
    return StandardNormal((config.latent,))


def likelihood(
    config: Any, params: Any, z: jax.Array, condition: jax.Array | None = None
) -> Bernoulli | Normal | DiscretizedLogistic:
    """Returns p(x | z) for z `[B, Z]`."""
    heads = networks.Decoder(config).apply({"params": params["decoder"]}, z, condition)
    if config.likelihood == "bernoulli":
        return Bernoulli(*heads)
    loc = heads[0]
    scale = heads[1] if len(heads) == 2 else jnp.broadcast_to(params["log_scale"], loc.shape)
    log_scale = config.min_log_scale + jax.nn.softplus(scale - config.min_log_scale)
    if config.likelihood == "gaussian":
        return Normal(loc=loc, log_std=log_scale)
    return DiscretizedLogistic(loc=loc, log_scale=log_scale, levels=config.levels)
