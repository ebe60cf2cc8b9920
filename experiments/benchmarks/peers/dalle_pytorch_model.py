"""The package dalle-pytorch at the size of a row of `dalle`: its step and its sampling of tokens.

It has the row's width, layers, heads, order of attention patterns and lengths, with learned
positions and without shifted tokens, as in the paper. Its two-layer networks are gated and have
half as many weights again. Its step begins from tokens, without an encoder, and has no EMA; its
samples are not decoded.

    pip install --no-deps dalle-pytorch axial-positional-embedding rotary-embedding-torch \\
        torch-einops-utils einops einx frozendict loguru
"""

import functools
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

from torch import Tensor, nn

from experiments.benchmarks.peers.torch_steps import build_optimizer
from genjax.train import Run

PACKAGE = "dalle_pytorch"
PATTERNS = {"row": "axial_row", "column": "axial_col", "conv": "conv_like", "dense": "full"}
# Imported by its pretrained tokenizers alone; their versions cannot be installed any more.
UNUSED = ("omegaconf", "taming", "taming.models", "taming.models.vqgan")


def build(config: Any, cached: bool = False) -> Any:
    """Builds its network.

    Args:
      config: of the family `dalle`.
      cached: whether row and column attention are dense with a mask, which it can cache.
    """
    for name in UNUSED:
        sys.modules.setdefault(name, mock.MagicMock())
    package = __import__(PACKAGE)
    halvings = config.image_tokenizer.groups - 1
    tokenizer = package.DiscreteVAE(
        image_size=config.shape[0], num_tokens=config.codes, num_layers=halvings, hidden_dim=1
    )
    tokenizer.decode = nn.Identity()  # samples are tokens
    return package.DALLE(
        dim=config.width,
        vae=tokenizer,
        num_text_tokens=config.vocabulary,
        text_seq_len=config.text_length,
        depth=config.layers,
        heads=config.heads,
        dim_head=config.width // config.heads,
        attn_dropout=config.dropout,
        ff_dropout=config.dropout,
        attn_types=tuple(PATTERNS[kind] for kind in config.patterns),
        loss_img_weight=(1 - config.text_weight) / config.text_weight,
        rotary_emb=False,
        shift_tokens=False,
        optimize_for_inference=cached,
    )


def make_step(run: Run, text: Tensor, tokens: Tensor) -> Callable[[], None]:
    """Returns a call of its training step, with the optimizer of a row."""
    network = build(run.model)
    settings: Any = run.optimizer
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = build_optimizer(settings, parameters)

    def step() -> None:
        share = run.model.null_captions
        loss = network(text.clone(), tokens, return_loss=True, null_cond_prob=share)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def make_sample(config: Any, text: Tensor, guidance: float, cached: bool) -> Callable[[], Tensor]:
    """Returns a call that draws image tokens, int64 `[B, N]`; it caches only with guidance."""
    network = build(config, cached).eval()
    draw = functools.partial(network.generate_images, cond_scale=guidance, use_cache=cached)
    return lambda: draw(text.clone())
