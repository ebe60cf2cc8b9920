"""Variety of generated images relative to the data: logged in training, to detect collapse."""

import jax
import jax.numpy as jnp


def diversity(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Computes the spread of generated images relative to the spread of the data.

    Returns:
      `[]`: root mean squared distance between two generated images over that between two real
      ones; about 1 for samples of the data's distribution, 0 if all are the same image, and 1 for
      a batch of one.
    """

    def spread(x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        return jnp.sum(jnp.mean((x - jnp.mean(x, axis=0, keepdims=True)) ** 2, axis=0))

    of_data = spread(real)
    ratio = jnp.sqrt(spread(fake) / jnp.where(of_data > 0, of_data, 1))
    return jnp.where(of_data > 0, ratio, 1.0)


def nearest_distance(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Computes the distance to the nearest other image in the batch, relative to the data's.

    It is near 0 for a generator of few distinct images, even where `diversity` is near 1, if the
    batch is several times larger than the number of distinct images.

    Returns:
      `[]`: mean distance from a generated image to its nearest neighbour, divided by that of real
      images; 1 for a batch of one, and for data whose images are all duplicates.
    """

    def nearest(x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        x = x - jnp.mean(x, axis=0, keepdims=True)
        squares = jnp.sum(x**2, axis=1)
        products = jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)
        distances = jnp.where(jnp.eye(len(x), dtype=bool), jnp.inf, squares[None] - 2 * products)
        # Products find the neighbour; the difference gives its distance without cancellation.
        neighbour = x[jnp.argmin(distances, axis=1)]
        return jnp.mean(jnp.sqrt(jnp.sum((x - neighbour) ** 2, axis=1)))

    if real.shape[0] < 2 or fake.shape[0] < 2:
        return jnp.ones(())
    of_data = nearest(real)
    return jnp.where(of_data > 0, nearest(fake) / jnp.where(of_data > 0, of_data, 1), 1.0)
