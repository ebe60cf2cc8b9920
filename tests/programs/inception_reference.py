"""`inception_reference.py [OUT]`: writes activations of the Inception network in PyTorch, float64.

The reference is torchvision's `inception_v3` (1008 classes, no auxiliary head) with the pooling of
FID's network: averages exclude the padding, and the last block takes a maximum. Needs torch and
torchvision; `tests/evals/inception/reference.npz` was written with torch 2.13.0 and torchvision
0.28.0.
"""

import pathlib
import sys
import types

import numpy as np
import torch
import torch.nn.functional as F
import torchvision

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from support.inception_numbers import STAGES, images, random_tensors, summary


class Pooling(types.SimpleNamespace):
    """torch.nn.functional with FID's pooling, for torchvision's blocks."""

    maximum = False

    def __getattr__(self, name):
        return getattr(F, name)

    def avg_pool2d(self, x, kernel_size, stride, padding):
        if self.maximum:
            return F.max_pool2d(x, kernel_size, stride, padding)
        return F.avg_pool2d(x, kernel_size, stride, padding, count_include_pad=False)


def network():
    """Returns the network in float64 with the shared random weights."""
    model = torchvision.models.inception_v3(
        num_classes=1008, aux_logits=False, weights=None, init_weights=False
    )
    state = model.state_dict()
    shapes = {k: tuple(v.shape) for k, v in state.items() if not k.endswith("batches_tracked")}
    numbers = {k: torch.from_numpy(v) for k, v in random_tensors(shapes).items()}
    model.load_state_dict({**state, **numbers})
    return model.double().eval()


def activations(model, x):
    """Returns every stage `[B, H, W, C]`, features and logits of `[B, H, W, 3]` in [0, 1]."""
    pooling, outputs = Pooling(), {}
    inception = torchvision.models.inception
    original, inception.F = inception.F, pooling

    def record(name):
        def hook(module, inputs, output):
            outputs[name] = output.permute(0, 2, 3, 1).numpy()

        return hook

    def begin(module, inputs):
        pooling.maximum = True

    def end(module, inputs, output):
        pooling.maximum = False

    hooks = [getattr(model, name).register_forward_hook(record(name)) for name in STAGES]
    hooks.append(model.Mixed_7c.register_forward_pre_hook(begin))
    hooks.append(model.Mixed_7c.register_forward_hook(end))
    hooks.append(
        model.avgpool.register_forward_hook(
            lambda module, inputs, output: outputs.update(features=output.flatten(1).numpy())
        )
    )
    try:
        with torch.no_grad():
            images = torch.from_numpy(np.float64(x)).permute(0, 3, 1, 2)
            images = F.interpolate(images, (299, 299), mode="bilinear", align_corners=False)
            images = 2 * images - 1
            outputs["prepared"] = images.permute(0, 2, 3, 1).numpy()
            outputs["logits"] = model(images).numpy()
    finally:
        inception.F = original
        for hook in hooks:
            hook.remove()
    return outputs


def main(out):
    """Writes summaries of all stages, and the whole features and logits."""
    outputs = activations(network(), images())
    arrays = {name: outputs[name].astype(np.float32) for name in ("features", "logits")}
    for name in ("prepared", *STAGES):
        arrays |= {f"{name}/{k}": np.float32(v) for k, v in summary(outputs[name]).items()}
    np.savez_compressed(out, allow_pickle=False, **arrays)


if __name__ == "__main__":
    default = pathlib.Path(__file__).parent.parent / "evals" / "inception" / "reference.npz"
    main(sys.argv[1] if len(sys.argv) > 1 else default)
