"""On 8 virtual devices: statistics of a sharded batch and their gradient. Prints JSON.

Run by tests/nn/test_minibatch.py, since the number of devices is fixed when JAX starts.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np

from genjax.nn.minibatch import MinibatchDiscrimination, minibatch_stddev
from genjax.train import make_mesh
from genjax.train.compile import batch_sharding


def main() -> None:
    assert jax.device_count() == 8
    x = np.random.default_rng(0).normal(size=(16, 2, 2, 3)).astype(np.float32)
    x = jax.device_put(x, batch_sharding(make_mesh()))
    assert len({shard.device for shard in x.addressable_shards}) == 8
    assert x.addressable_shards[0].data.shape[0] == 2
    layer = MinibatchDiscrimination(7, 2)

    @jax.jit
    def everything(x):
        gradient = jax.grad(lambda x: (minibatch_stddev(x, 4) ** 2).sum())(x)
        discrimination = layer.init_with_output(jax.random.key(0), x)[0]
        return {
            "value": minibatch_stddev(x, 4),
            "gradient": gradient,
            "discrimination": discrimination,
        }

    print(json.dumps({k: jnp.asarray(v).tolist() for k, v in everything(x).items()}))


if __name__ == "__main__":
    main()
