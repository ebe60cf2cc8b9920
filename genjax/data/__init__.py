"""Data sets, the order of their examples, and transforms of batches."""

from genjax.data.data_config import Data
from genjax.data.dataset import Dataset
from genjax.data.image_operations import CenterCrop, Fit, Pad, RandomCrop, RandomFlip, Resize
from genjax.data.npz_splits import save_npz
from genjax.data.operations import Binarize, Dequantize, OutputSpec, Scale
from genjax.data.order import Order
from genjax.data.sources import example_shape, is_table, load
from genjax.data.tokenizers import Tokenizer, load_tokenizer, save_tokenizer, train_tokenizer
from genjax.data.transforms import (
    OPERATIONS,
    dequantized,
    dequantized_levels,
    make_transform,
    output_spec,
    parse_transform,
    with_fit,
)

__all__ = [
    "OPERATIONS",
    "Binarize",
    "CenterCrop",
    "Data",
    "Dataset",
    "Dequantize",
    "Fit",
    "Order",
    "OutputSpec",
    "Pad",
    "RandomCrop",
    "RandomFlip",
    "Resize",
    "Scale",
    "Tokenizer",
    "dequantized",
    "dequantized_levels",
    "example_shape",
    "is_table",
    "load",
    "load_tokenizer",
    "make_transform",
    "output_spec",
    "parse_transform",
    "save_npz",
    "save_tokenizer",
    "train_tokenizer",
    "with_fit",
]
