"""Training steps of the peers, tuned as in PyTorch, with the optimizers of a row.

Gradients are freed, not zeroed; Adam is fused on CUDA; the learning rate is the row's peak, since a
schedule costs almost nothing; the EMA (of a GAN's generator) is one fused call. Nothing
synchronises with the device.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from genjax import families
from genjax.core import Optimizer, network_names
from genjax.core.derived import gan_objective
from genjax.train import Run
from genjax.train.run_config import batches_per_step

Losses = dict[str, Callable[..., tuple[Tensor, Any]]]  # the mean, and outputs for later losses


def build_optimizer(settings: Optimizer, parameters: Iterable[nn.Parameter]) -> Any:
    """PyTorch's optimizer of the same kind."""
    found: list[Any] = list(parameters)
    rate, decay, s = settings.learning_rate, settings.weight_decay, settings
    fused = found[0].is_cuda
    if s.optimizer == "adam":
        kind: Any = torch.optim.AdamW if decay else torch.optim.Adam
        options = {"betas": (s.b1, s.b2), "eps": s.eps, "fused": fused}
    elif s.optimizer == "sgd":
        kind = torch.optim.SGD
        options = {"momentum": s.momentum, "nesterov": s.nesterov, "fused": fused}
    elif s.optimizer == "rmsprop":
        kind, options = torch.optim.RMSprop, {"alpha": s.b2, "eps": s.eps, "momentum": s.momentum}
    elif s.optimizer == "adagrad":
        kind, options = torch.optim.Adagrad, {"eps": s.eps}
    elif s.optimizer == "adadelta":
        kind, options = torch.optim.Adadelta, {"rho": s.b2, "eps": s.eps}
    else:
        raise ValueError(f"the peers in PyTorch have no optimizer {s.optimizer}.")
    if s.accumulate > 1:
        raise ValueError("the peers in PyTorch do not accumulate gradients.")
    spared = [p for p in found if p.ndim < 2 and not s.decay_biases]
    others = [p for p in found if p.ndim >= 2 or s.decay_biases]
    groups = [{"params": others}, {"params": spared, "weight_decay": 0.0}]
    return kind(groups, lr=rate, weight_decay=decay, **options)


def mean_losses(peer: Any, network: nn.Module, config: Any, dtype: str) -> Losses:
    """Returns mean losses by name, of several networks in order of update, and their outputs."""
    family = families.get(type(config).__module__.split(".")[2])
    names = [f"{name}_loss" for name in network_names(family)] or ["loss"]
    device = next(network.parameters()).device.type

    def mean_of(name: str) -> Callable[..., tuple[Tensor, Any]]:
        def mean(batch: dict[str, Any], noise: Any = None) -> tuple[Tensor, Any]:
            with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
                found = getattr(peer, name)(network, config, batch, noise)
                loss, outputs = found if isinstance(found, tuple) else (found, None)
                return loss.mean(), outputs

        return mean

    return {name: mean_of(name) for name in names}


def ema_network(network: Any) -> Any:
    """Returns the part of a network that has an EMA: generators, or all."""
    parts = (getattr(network, name, None) for name in ("generator", "generators"))
    return next((part for part in parts if part is not None), network)


def make_step(network: nn.Module, run: Run, losses: Losses) -> Callable[..., None]:
    """Returns `step(batch, noise)`; noise, by name of loss, is for comparisons.

    With several critic steps the first loss has as many batches, `[K, B, ...]`, and a list of
    noise; the others see the last batch.
    """
    updates = []
    for name, loss in losses.items():
        own = network if name == "loss" else getattr(network, name.removesuffix("_loss"))
        settings: Any = run.optimizer
        if isinstance(settings, dict):
            settings = settings[name.removesuffix("_loss")]
        optimizer = build_optimizer(settings, own.parameters())
        other = [p for p in network.parameters() if all(p is not q for q in own.parameters())]
        updates.append((name, loss, optimizer, list(own.parameters()), other, settings.clip))
    critics, first = batches_per_step(run), next(iter(losses))
    simultaneous = gan_objective(run.model).update == "simultaneous"
    parameters: list[Any] = list(ema_network(network).parameters())
    averages = [p.detach().clone() for p in parameters] if run.train.ema else []
    count = 0  # steps

    def apply(optimizer: Any, own: list[Any], clip: float) -> None:
        if clip:
            nn.utils.clip_grad_norm_(own, clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def step(batch: dict[str, Tensor], noise: dict[str, Any] | None = None) -> None:
        nonlocal count
        outputs: Any = None
        for name, loss, optimizer, own, other, clip in updates:
            for parameter in other:  # no gradient of the other network
                parameter.requires_grad_(False)
            for k in range(critics if name == first else 1):
                part, drawn = dict[str, Any](batch), (noise or {}).get(name)
                if critics > 1:
                    part = {key: v[k if name == first else -1] for key, v in batch.items()}
                    drawn = drawn[k] if isinstance(drawn, list) and name == first else drawn
                if outputs is not None and name != first:
                    part["outputs"] = outputs
                value, more = loss(part, drawn)
                outputs = outputs if more is None else more
                value.backward()
                if not simultaneous:
                    apply(optimizer, own, clip)
            for parameter in other:
                parameter.requires_grad_(True)
        if simultaneous:
            for _, _, optimizer, own, _, clip in updates:
                apply(optimizer, own, clip)
        if averages:
            with torch.no_grad():
                decay = min(run.train.ema, (1 + count) / (10 + count))
                torch._foreach_lerp_(averages, parameters, 1 - decay)
            count += 1

    return step
