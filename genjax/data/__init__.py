"""Data sets, the order of their examples, and transforms of batches."""

from genjax.data.data_config import Data
from genjax.data.dataset import Dataset
from genjax.data.npz_splits import save_npz
from genjax.data.operations import (
    OPERATIONS,
    Binarize,
    CenterCrop,
    Dequantize,
    OutputSpec,
    RandomCrop,
    RandomFlip,
    Resize,
    Scale,
)
from genjax.data.order import Order
from genjax.data.sources import example_shape, is_table, load
from genjax.data.transforms import (
    dequantized,
    dequantized_levels,
    make_transform,
    output_spec,
    parse_transform,
)

__all__ = [
    "OPERATIONS",
    "Binarize",
    "CenterCrop",
    "Data",
    "Dataset",
    "Dequantize",
    "Order",
    "OutputSpec",
    "RandomCrop",
    "RandomFlip",
    "Resize",
    "Scale",
    "dequantized",
    "dequantized_levels",
    "example_shape",
    "is_table",
    "load",
    "make_transform",
    "output_spec",
    "parse_transform",
    "save_npz",
]
