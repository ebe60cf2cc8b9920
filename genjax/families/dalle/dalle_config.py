"""Settings of DALL-E's transformer."""

import dataclasses
import math
from typing import Annotated, Literal

from genjax import checks
from genjax.checks import Bounds, PositiveInt, PositiveInts, UnitInterval
from genjax.families import dvae
from genjax.families.dalle.masks import layer_patterns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Tokenizers, transformer and loss; the defaults are the paper's model of 12 billion."""

    shape: PositiveInts = (256, 256, 3)
    """Event shape (H, W, C) of images in [0, 1], that of `image_tokenizer`."""
    image_tokenizer: dvae.Config = dataclasses.field(default_factory=dvae.Config)
    """Discrete VAE that encodes images as tokens, trained in an earlier run."""
    vocabulary: Annotated[int, Bounds(2)] = 16384
    """Size of the vocabulary of texts, padding included."""
    text_length: PositiveInt = 256
    """Tokens of a text, T; shorter texts end with padding."""
    width: PositiveInt = 3968
    """Features of a token."""
    layers: PositiveInt = 64
    """Transformer blocks."""
    heads: PositiveInt = 62
    """Attention heads of a block, a divisor of `width`."""
    attention: Literal["sparse", "dense"] = "sparse"
    """Attention of image tokens to earlier image tokens. sparse: the paper's order of layers with
    row attention, column attention and, in the last layer, convolutional attention (`masks.py`);
    dense: all earlier tokens."""
    kernel: PositiveInt = 11
    """Side of the kernel of convolutional attention, odd."""
    text_weight: Annotated[float, Bounds(0, 1)] = 0.125
    """Weight w of the mean nats of text tokens; those of image tokens have weight 1 - w."""
    qk_norm: bool = False
    """Whether queries and keys are normalised in every head."""
    null_captions: UnitInterval = 0.0
    """Share of training texts that are replaced by padding alone, for classifier-free guidance."""
    dropout: UnitInterval = 0.0
    """Dropout rate of the residual branches."""
    remat: bool = False
    """Whether the backward pass recomputes the blocks, which saves memory."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Computation of the blocks; embeddings, residual stream and logits stay float32. float16
    scales the gradients of every block."""
    attention_kernel: Literal["xla", "cudnn"] = "xla"
    """Implementation of attention in training; cudnn is for NVIDIA GPUs and 16 bit only."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if self.shape != self.image_tokenizer.shape:
            raise ValueError(
                f"`shape` must be that of `image_tokenizer`, got {self.shape} and"
                f" {self.image_tokenizer.shape}; set both."
            )
        if self.width % self.heads:
            raise ValueError(
                f"`width` must be a multiple of `heads`, got {self.width} and {self.heads}."
            )
        if self.attention_kernel == "cudnn" and self.dtype == "float32":
            raise ValueError(
                "`attention_kernel` cudnn computes in 16 bit; set `dtype` to bfloat16 or float16."
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd, got {self.kernel}.")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the image tokens."""
        return dvae.token_grid(self.image_tokenizer)

    @property
    def image_length(self) -> int:
        """Number of image tokens, N."""
        return math.prod(self.grid)

    @property
    def codes(self) -> int:
        """Number of values of an image token, K."""
        return dvae.codebook_size(self.image_tokenizer)

    @property
    def patterns(self) -> tuple[str, ...]:
        """Attention pattern of each layer."""
        return layer_patterns(self.layers, self.attention)
