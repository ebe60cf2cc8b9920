"""Named keys: distinct, stateless, and equal on every machine."""

import chex
import jax
import numpy as np
import pytest

from genjax.core import named_key


def bits(key):
    return tuple(jax.random.key_data(key).tolist())


def test_keys_differ_by_key_step_and_name():
    """Without the step, for instance, dropout would repeat in every step."""
    found = {
        bits(named_key(jax.random.key(seed), step, name))
        for seed in (0, 1)
        for step in (0, 1, 2)
        for name in ("init", "loss", "data", "generator", "discriminator", "a", "b", "ab", "ba")
    }
    assert len(found) == 2 * 3 * 9


@pytest.mark.parametrize(
    ("step", "name", "crc", "golden"),
    [
        (0, "init", 3329549428, (2764000862, 1852361740)),
        (3, "data", 2918445923, (3037640418, 4257749327)),
        (2**31 - 1, "loss", 3726709001, (2736492134, 2892769449)),
    ],
)
def test_golden_values(step, name, crc, golden):
    """Checkpoints depend on these values; Python's hash() of a name differs between processes."""
    key = jax.random.key(0)
    assert bits(named_key(key, step, name)) == golden
    # CRC-32 of the name, above 2^31, where a signed integer would overflow.
    folded = jax.random.fold_in(jax.random.fold_in(key, step), np.uint32(crc))
    assert bits(folded) == golden


def test_adding_a_name_changes_no_other_key():
    """A counter, or a sequence of splits, would change later draws."""
    key = jax.random.key(7)
    alone = {name: bits(named_key(key, 5, name)) for name in ("dropout", "noise")}
    joined = {name: bits(named_key(key, 5, name)) for name in ("dropout", "new", "noise", "more")}
    assert {name: joined[name] for name in alone} == alone


def test_a_traced_step_gives_the_key_of_its_value():
    """Under jit and vmap the step is an int32 tracer; resuming starts from a Python int."""
    key = jax.random.key(3)
    steps = np.arange(4, dtype=np.int32)
    traced = jax.jit(jax.vmap(lambda step: named_key(key, step, "loss")))(steps)
    chex.assert_shape(traced, (4,))
    assert [bits(k) for k in traced] == [bits(named_key(key, i, "loss")) for i in range(4)]


def test_draws_of_two_names_are_uncorrelated():
    a, b = (jax.random.normal(named_key(jax.random.key(0), 1, n), (4096,)) for n in ("a", "b"))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.08  # 5 standard errors
