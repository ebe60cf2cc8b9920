"""Where batches come from."""

from genjax.data.data_config import TRANSFORMS, Data
from genjax.data.dataset import Dataset
from genjax.data.order import Order
from genjax.data.sources import load, save_npz
from genjax.data.transforms import (
    binarize_stochastic,
    binarize_threshold,
    dequantize,
    make_transform,
    scale_symmetric,
    scale_unit,
)

__all__ = [
    "TRANSFORMS",
    "Data",
    "Dataset",
    "Order",
    "binarize_stochastic",
    "binarize_threshold",
    "dequantize",
    "load",
    "make_transform",
    "save_npz",
    "scale_symmetric",
    "scale_unit",
]
