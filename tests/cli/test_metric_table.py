"""The table that `genjax measure` prints of metrics with floors and ceilings."""

import io

from genjax.cli.metric_table import print_table, table_rows
from genjax.evals.paired_translation import TranslationResult

CELLS = {
    "model": {"top1": (0.5, 0.1), "rmse": (12.34, 1.0), "cycle": (0.0123, 0.0)},
    "truth": {"top1": (1.0, 0.0), "rmse": (0.0, 0.0)},
}
RESULT = TranslationResult(
    split="test", top1=0.5, std_error=0.1, classifier_error=0.0, ridge_pairs="none",
    tables={"a": CELLS, "b": {"model": {"top1": (0.25, 0.1)}}},
    n_real=9, n_fake=9, extractor="pixels", seed=0,
)  # fmt: skip


def test_fractions_are_in_percent_and_absent_quantities_empty():
    assert table_rows(RESULT) == (
        ["", "", "top1 %", "rmse", "cycle"],
        [
            ["a", "model", "50.0", "12.3", "0.012"],
            ["a", "truth", "100.0", "0.000", ""],
            ["b", "model", "25.0", "", ""],
        ],
    )


def test_prints_every_row_under_the_name_of_the_metric():
    file = io.StringIO()
    print_table("translation", RESULT, file)
    lines = [line.replace("│", " ").split() for line in file.getvalue().splitlines()]
    assert lines[0] == ["translation"]
    assert ["a", "model", "50.0", "12.3", "0.012"] in lines
    assert ["truth", "100.0", "0.000"] in lines  # the direction is named once
    assert ["b", "model", "25.0"] in lines
