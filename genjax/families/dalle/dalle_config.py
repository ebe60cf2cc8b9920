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
    """Discrete VAE, trained before in a run of its own, which makes the image tokens."""
    vocabulary: Annotated[int, Bounds(2)] = 16384
    """Number of text tokens, among them 0, the padding."""
    text_length: PositiveInt = 256
    """Tokens of a text, T; shorter ones end with padding."""
    width: PositiveInt = 3968
    """Features of a token."""
    layers: PositiveInt = 64
    """Transformer blocks."""
    heads: PositiveInt = 62
    """Heads of their attention, a divisor of `width`."""
    attention: Literal["sparse", "dense"] = "sparse"
    """Which earlier image tokens an image token attends to. sparse: those of a row, a column or, in
    the last layer, a convolution's kernel, in the paper's order of layers; dense: all."""
    kernel: PositiveInt = 11
    """Side of the convolution's kernel, odd."""
    text_weight: Annotated[float, Bounds(0, 1)] = 0.125
    """Weight of the mean nats of a text token; those of an image token have the rest to 1."""
    qk_norm: bool = False
    """Whether queries and keys are normalised in every head."""
    null_captions: UnitInterval = 0.0
    """Share of texts that training replaces by padding alone, the text of guided sampling."""
    dropout: UnitInterval = 0.0
    """Dropout rate of the residual branches."""
    remat: bool = False
    """Whether the backward pass computes the blocks again, to save memory."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Computation of the blocks; embeddings, residual stream and logits stay float32. float16
    scales the gradients of every block."""

    attention_kernel: Literal["xla", "cudnn"] = "xla"
    """Implementation of attention in training: cudnn is that of NVIDIA GPUs, for 16 bit alone."""

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
