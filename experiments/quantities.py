"""Which entries of final metrics RESULTS.md shows, with their floors and ceilings."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.table import number


@dataclasses.dataclass(frozen=True)
class Quantity:
    """An entry of a final metric, and the entries that it is read beside.

    A reference of NAME is the entry NAME_KEY, or NAME where there is none.
    """

    label: str
    key: str
    """Name of the entry; `{split}` is that of the metric."""
    floors: tuple[str, ...] = ()
    ceilings: tuple[str, ...] = ()
    count: str = "n_fake"
    """Entry with the number of samples or examples, or with a dict of them by split; of the metric,
    or else of the record."""

    def text(self, value: float | None, error: float | None = None) -> str:
        """Returns a value, which is a fraction where the label is of a percentage."""
        if value is None or not self.label.endswith("%"):
            return number(value, error)
        if 0 < value < 5e-5:
            return "<0.01"
        return f"{100 * value:.2f}" + ("" if error is None else f" ± {100 * error:.2f}")

    def value_text(self, values: Sequence[Mapping[str, Any]]) -> str:
        """Returns the mean over seeds, of one seed with its standard error; "" if it is missing."""
        error = mean(values, f"{self.key}_std_error") if len(values) == 1 else None
        return self.text(mean(values, self.key), error)

    def reference_text(self, names: Sequence[str], values: Sequence[Mapping[str, Any]]) -> str:
        """Returns floors or ceilings with their names, those that the records have."""
        found = {name: mean(values, f"{name}_{self.key}") for name in names}
        found = {k: mean(values, k) if v is None else v for k, v in found.items()}
        shown = {REFERENCES.get(k, k): self.text(v) for k, v in found.items() if v is not None}
        return ", ".join(f"{name} {value}" for name, value in shown.items())

    def count_text(self, record: Mapping[str, Any], metric: str) -> str:
        """Returns the number of samples or examples."""
        values = values_of(record, metric)
        count = values.get(self.count, record.get(self.count))
        count = count.get(values.get("split", "test")) if isinstance(count, dict) else count
        return f"{count:,}" if count else ""


REFERENCES = {  # names of floors and ceilings that are not their prefix
    "any": "any of them",
    "area": "share of the area",
    "borders": "borders alone",
    "borders_in_list": "borders in the list",
    "entropy": "entropy of the code",
    "frequencies": "frequencies of tokens",
    "identity": "identity map",
    "mean_image": "mean image",
    "modes": "the data",
    "real": "real images",
    "truth": "true images",
}

MAPS = ("identity", "mean_image", "ridge")
SOLVERS = ("chance", "borders", "borders_in_list")
REAL = ((), ("real",))
QUANTITIES: dict[str, tuple[Quantity, ...]] = {  # the figure of each metric first
    "translation": (
        Quantity("top-1, %", "b_top1", ("identity", "ridge"), ("truth",)),
        Quantity("RMSE of b, levels", "b_rmse", MAPS),
        Quantity("RMSE of a, levels", "a_rmse", MAPS),
    ),
    "attribute_translation": (
        Quantity("wrong attribute, %", "single_attribute_error", ("identity",), ("truth", "real")),
        Quantity("all changed: wrong, %", "multiple_all_attribute_error", *REAL),
        Quantity("top-1, %", "single_top1", ("identity",), ("truth",)),
        Quantity("reconstruction, L1", "single_reconstruction"),
    ),
    "puzzle": (
        Quantity("solved, %", "gap_0_solved", SOLVERS),
        Quantity("with borders: solved, %", "fused_gap_0_solved"),
        Quantity("gap of 2 pixels: solved, %", "gap_2_solved", SOLVERS),
        Quantity("1 piece missing: solved, %", "missing_1_solved", ("chance", "borders")),
    ),
    "part_changes": (Quantity("change inside the part, %", "inside", ("area",)),),
    "caption_accuracy": (
        Quantity(
            "right images, %", "{split}_right_1", ("chance",), ("decoded", "real"), "captions"
        ),
        Quantity("captions of training, %", "test_right_1", ("chance",), ("decoded", "real")),
        Quantity("held-out bindings, %", "bindings_right_1", ("chance",), ("decoded", "real")),
        Quantity("best of 8 by the ranker, %", "ranked_{split}_right_8"),
        Quantity("any of 8, %", "any_{split}_right_8"),
        Quantity("R-precision, %", "{split}_r_precision", ("chance",), ("real",)),
    ),
    "caption_retrieval": (
        Quantity("caption of an image, %", "test_image_to_text", ("chance",), (), "candidates"),
        Quantity("the same, held-out bindings, %", "bindings_image_to_text", ("chance",)),
        Quantity("image of a caption, %", "test_text_to_image", ("chance",)),
    ),
    "token_nats": (
        Quantity("nats per image token", "test_image", ("frequencies",), (), "evaluated"),
        Quantity("held-out captions, nats per token", "unseen_image", ("frequencies",)),
    ),
    "token_usage": (
        Quantity("squared error", "test_squared_error", count="evaluated"),
        Quantity("scenes read back, %", "test_right", *REAL),
        Quantity("perplexity of tokens", "perplexity", (), ("codebook",)),
    ),
    "gaussian_modes": (
        Quantity("modes", "found", (), ("modes",)),
        Quantity("near a mode, %", "high_quality"),
    ),
    "stacked_modes": (Quantity("modes", "found", (), ("modes",)),),
    "codes": (Quantity("error of c1, %", "error"),),
    "information": (Quantity("information, nats", "nats", (), ("entropy",)),),
    "parzen": (Quantity("Parzen window, nats", "nats"),),
    "swd": (Quantity("SWD x 10^3", "average", *REAL),),
    "classifier_frechet": (Quantity("classifier-Frechet", "distance", *REAL),),
    "ms_ssim": (Quantity("MS-SSIM", "mean", *REAL),),
    "fid": (Quantity("FID", "distance", *REAL),),
    "inception_score": (Quantity("Inception score", "mean", *REAL),),
}


def values_of(record: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Returns the entries of a final metric; empty if it is missing or has failed."""
    values = record.get("final_metrics", {}).get(metric)
    return values if isinstance(values, dict) else {}


def mean(values: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Returns the mean over seeds of an entry, None if it is missing or no number."""
    found = [v.get(key.format(split=v.get("split", "test"))) for v in values]
    numbers = [x for x in found if isinstance(x, (int, float))]
    return statistics.fmean(numbers) if numbers and len(numbers) == len(values) else None
