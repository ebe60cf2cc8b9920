"""Mixtures of discretised logistics, as `genjax.losses.logistic_mixture`."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genjax.families.pixelcnn_pp import LOWEST_LOG_SCALE


def mixture_of(config: Any, out: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`[..., outputs]` -> logits `[..., K]`, means and log scales `[..., C, K]`, coefficients."""
    channels, k = config.shape[2], config.components
    rest = out[..., k:].unflatten(-1, (-1, k))
    means, log_scales = rest[..., :channels, :], rest[..., channels : 2 * channels, :]
    coefficients = torch.tanh(rest[..., 2 * channels :, :])
    return out[..., :k], means, log_scales.clamp(min=LOWEST_LOG_SCALE), coefficients


def conditional_means(mean: Tensor, coefficients: Tensor, x: Tensor, c: int) -> Tensor:
    """Means of channel c given the earlier channels of the pixel, `[..., K]`; `x` in [-1, 1]."""
    first = c * (c - 1) // 2
    for j in range(c):
        mean = mean + coefficients[..., first + j, :] * x[..., j, None]
    return mean


def discretised_nats(x: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """-log p of levels, elementwise; see `genjax.losses.logistic` for the formula."""
    half = 1 / (levels - 1)
    centred = (2 * x - (levels - 1)) * half - mean
    inverse = torch.exp(-log_scale)
    above = F.logsigmoid((centred + half) * inverse)
    below = F.logsigmoid((half - centred) * inverse)
    width = 2 * half * inverse
    narrow = width < 1e-2
    series = math.log(2 * half) - log_scale - width / 2 + width**2 / 24
    direct = torch.log(-torch.expm1(-torch.where(narrow, 1.0, width)))
    first, last = x <= 0, x >= levels - 1
    inside = torch.where(first | last, 0.0, torch.where(narrow, series, direct))
    return -(torch.where(last, 0.0, above) + torch.where(first, 0.0, below) + inside)


def mixture_nats(
    x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor, coefficients: Tensor, levels: int
) -> Tensor:
    """-log p(x), `[B]`: all channels of a pixel share one component."""
    unit = 2 * x / (levels - 1) - 1
    each = [conditional_means(m, coefficients, unit, c) for c, m in enumerate(means.unbind(-2))]
    nats = discretised_nats(x[..., None], torch.stack(each, -2), log_scales, levels)
    joint = F.log_softmax(logits, -1) - nats.sum(-2)  # [B, H, W, K]
    return -torch.logsumexp(joint, -1).flatten(1).sum(1)


def draw(
    logits: Tensor, means: Tensor, log_scales: Tensor, coefficients: Tensor, levels: int
) -> Tensor:
    """One pixel of every image, `[B, C]` levels: a component, then its channels one by one."""
    pick = torch.multinomial(F.softmax(logits, -1), 1)[:, None]  # [B, 1, 1]
    mean, log_scale, coefficient = (
        t.gather(-1, pick.expand(-1, t.shape[1], -1)) for t in (means, log_scales, coefficients)
    )
    u = torch.rand_like(mean[..., 0]).clamp(1e-5, 1 - 1e-5)
    noise = torch.exp(log_scale[..., 0]) * (torch.log(u) - torch.log1p(-u))  # [B, C]
    x = torch.zeros_like(noise)
    for c in range(x.shape[1]):
        value = conditional_means(mean[:, c], coefficient, x, c)[:, 0] + noise[:, c]
        level = ((value + 1) * (levels - 1) / 2).round().clamp(0, levels - 1)
        x[:, c] = 2 * level / (levels - 1) - 1
    return ((x + 1) * (levels - 1) / 2).round()
