"""Every stage against PyTorch: from a committed file, and live if torch is installed."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.inception_numbers import STAGES, images, random_tensors, summary

from genjax.evals.inception import InceptionV3, prepare
from genjax.evals.inception.pretrained import from_tensors, table

REFERENCE = pathlib.Path(__file__).parent / "reference.npz"


@pytest.fixture(scope="module")
def network():
    return from_tensors(random_tensors({k: shape for k, (_, shape) in table().items()}), "0" * 64)


@pytest.fixture(scope="module")
def activations(network):
    """Every stage, features and logits of two images, computed once for all tests."""

    @jax.jit
    def run(variables, x):
        x = prepare(x)
        (features, logits), kept = InceptionV3().apply(variables, x, mutable=["intermediates"])
        return x, features, logits, kept["intermediates"]

    x, features, logits, kept = run(network.variables, jnp.asarray(images()))
    result = {name: np.float64(kept[f"{name}_out"][0]) for name in STAGES}
    return result | {"prepared": np.float64(x), "features": features, "logits": logits}


@pytest.mark.parametrize("stage", ["prepared", *STAGES])
def test_every_stage_equals_pytorch(activations, stage):
    with np.load(REFERENCE, allow_pickle=False) as reference:
        scale = reference[f"{stage}/deviations"].min()
        assert scale > 0.1, "a dead stage would agree with anything"
        for name, got in summary(activations[stage]).items():
            want = reference[f"{stage}/{name}"]
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize("end", ["features", "logits"])
def test_features_and_logits_equal_pytorch(activations, end):
    with np.load(REFERENCE, allow_pickle=False) as reference:
        want = reference[end]
        assert want.std(axis=0).mean() > 1e-3  # the images differ
        scale = np.abs(want).max()
        np.testing.assert_allclose(activations[end], want, rtol=1e-4, atol=1e-4 * scale)


def test_all_activations_equal_torch(activations):
    reason = "torch and torchvision are not installed (pip install -e '.[torch]')"
    pytest.importorskip("torch", reason=reason)
    pytest.importorskip("torchvision", reason=reason)
    from programs import inception_reference

    want = inception_reference.activations(inception_reference.network(), images())
    assert set(want) == set(activations)
    for name, numbers in want.items():
        scale = np.abs(numbers).max()
        np.testing.assert_allclose(
            activations[name], numbers, rtol=1e-4, atol=1e-4 * scale, err_msg=name
        )
