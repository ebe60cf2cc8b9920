"""Whether a layer is traced inside a user's own mapping over devices."""

import jax


def inside_mapping() -> bool:
    """Inside a `shard_map` or `pmap`, where arrays vary over devices and JAX may check how.

    What JAX or XLA spread over devices themselves, and linear functions that are transposed by
    shapes alone, are not for there.
    """
    return jax.sharding.AxisType.Manual in jax.sharding.get_abstract_mesh().axis_types
