"""Model cards: what a trained model is, in Markdown, from its record."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from genjax import families
from genjax.core.protocols import PuzzleSolver, TextConditional, TextToImage, Translator
from genjax.train.run_config import WITHOUT_EFFECT, Optimizer, Run, differences

NOT_SHOWN = ("figure.", "seed")
"""Settings that are elsewhere on the card; those without effect on a number are not on it."""
SHOWN_METRICS = 12
"""Values of a metric on a card, at most."""


def model_card(
    run: Run,
    record: Mapping[str, Any],
    *,
    name: str,
    rounding: str = "float32",
    rounded_figure: Mapping[str, Any] | None = None,
) -> str:
    """Returns the card of a trained model: what it is, its figures, data, settings and limits.

    Its first lines are those that the Hugging Face Hub reads.

    Args:
      run: settings.
      record: of the run.
      name: by which `genjax.from_pretrained` finds the model.
      rounding: dtype of the weights in the file.
      rounded_figure: figure computed with them; see `weights_file.Metadata`.
    """
    family = families.get(run.family)
    title, *rest = (family.__doc__ or run.family).split("\n\n")
    formula = [block for block in rest[:1] if block.startswith("    ")]
    sections = [
        "---\nlibrary_name: genjax\ntags:\n- jax\n- genjax\n- " + run.family + "\n---",
        f"# {name}",
        " ".join(title.split()),
        *formula,
        f"Family `{run.family}` of genjax, experiment `{run.experiment}`, seed {run.seed}:"
        f" {_count(record.get('parameters'))} parameters, weights in {rounding}.",
        "## How to use it",
        _usage(run, family, name),
        "## Figures",
        _figures(record, rounding, rounded_figure),
        "## Data",
        _data(run, family, record),
        "## Training",
        _training(record),
        "Settings that differ from the defaults:",
        _table(("setting", "value"), _settings(run, family)),
        "## Limits",
        _limits(run, family, record),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _usage(run: Run, family: Any, name: str) -> str:
    arguments = "model.config, model.variables"
    call = {
        Translator: f"y = model.family.translate({arguments}, x)  # x [B, H, W, C]",
        PuzzleSolver: "",
        TextToImage: 'text = model.tokenizer.encode(["a caption"], {length})\n'
        f"x = model.family.sample({arguments}, jax.random.key(0), 1, text=text)",
    }
    commands = {
        Translator: f"genjax translate {name} photos out",
        PuzzleSolver: f"genjax solve {name} pieces restored.png",
        TextToImage: f'genjax draw {name} "a caption" --out grid.png',
    }
    kind = next((protocol for protocol in call if isinstance(family, protocol)), None)
    code = f"x = model.family.sample({arguments}, jax.random.key(0), 16)"
    command = f"genjax sample {name}"
    if kind is not None:
        code, command = call[kind], commands[kind]
        if kind is TextToImage:
            code = code.format(length=family.text_spec(run.model).length)
    elif isinstance(family, TextConditional):
        code, command = "", f"genjax draw RUN --ranker {name}"
    lines = ["import jax", "", "import genjax", "", f'model = genjax.from_pretrained("{name}")']
    return "\n".join(["```python", *lines, *filter(None, [code]), "```", "", f"    {command}"])


def _figures(
    record: Mapping[str, Any], rounding: str, rounded_figure: Mapping[str, Any] | None
) -> str:
    rows = [(record.get("metric", ""), _figure(record.get("obtained"), record.get("std_error")))]
    if rounded_figure is not None:
        value = _figure(rounded_figure.get("obtained"), rounded_figure.get("std_error"))
        rows.append((f"{record.get('metric', '')}, weights in {rounding}", value))
    if record.get("paper") is not None:
        tag = record.get("paper_tag") or "unknown"
        rows.append((f"the paper's, evidence: {tag}", _number(record["paper"])))
    for key, what in (("bits_per_dim", "bits per dimension"), ("validation", "validation")):
        if record.get(key) is not None:
            rows.append((what, _number(record[key])))
    for metric, values in record.get("final_metrics", {}).items():
        rows += [(f"{metric}: {name}", value) for name, value in _scalars(values)]
    unit = f" in {record['unit']}" if record.get("unit") else ""
    words = [_table(("quantity", f"value{unit} ± standard error"), rows)]
    if record.get("paper_source"):
        words.append(f"Paper: {record['paper_source']}.")
    if record.get("difference"):
        words.append(f"Differences from the paper: {record['difference']}.")
    return "\n\n".join(words)


def _scalars(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns numbers of a metric with their standard errors, the first ones."""
    found = []
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        beside = name.endswith("std_error") or name.startswith(("real_", "n_", "seed"))
        if number and not beside:
            error = values.get(f"{name}_std_error")
            found.append((name, _figure(value, error)))
    return found[:SHOWN_METRICS]


def _data(run: Run, family: Any, record: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{n:,} {split}" for split, n in record.get("examples", {}).items())
    shape = "x".join(map(str, run.model.shape))
    words = f"`{record.get('dataset', '')}`, examples of shape {shape}"
    words += f": {counts}." if counts else "."
    low, high = family.traits(run.model).sample_range
    if math.isfinite(low + high):
        words += f" Values are from {low:g} to {high:g}."
    if run.data.transform:
        words += f" Transform: `{run.data.transform}`."
    if record.get("data_checksum"):
        words += f" Checksum of the data: `{record['data_checksum']}`."
    return words


def _training(record: Mapping[str, Any]) -> str:
    steps = record.get("chosen_step", record.get("steps"))
    words = [f"{_count(steps)} steps, chosen by {record.get('chosen_by', 'nothing')}"]
    words += [f"{record['minutes']:.4g} minutes"] if "minutes" in record else []
    words += [f"{key} {record[key]}" for key in ("device", "commit", "date") if record.get(key)]
    versions = ", ".join(
        f"{name} {version}" for name, version in record.get("versions", {}).items()
    )
    return "; ".join(words) + "." + (f" Versions: {versions}." if versions else "")


def _settings(run: Run, family: Any) -> list[tuple[str, str]]:
    optimizer: Any = Optimizer()
    if isinstance(run.optimizer, dict):
        optimizer = dict.fromkeys(run.optimizer, Optimizer())
    default = Run(
        experiment=run.experiment, family=run.family, model=family.Config(), optimizer=optimizer
    )
    if run.optimizer is None:
        default = dataclasses.replace(default, optimizer=None)
    found = differences(default, run).items()
    return [
        (name, f"`{value}`")
        for name, (_, value) in found
        if not (name.startswith(NOT_SHOWN) or name in WITHOUT_EFFECT)
    ]


def _limits(run: Run, family: Any, record: Mapping[str, Any]) -> str:
    density = family.traits(run.model).density
    words = [
        f"It was trained on `{record.get('dataset', '')}` alone, and its figures say nothing about"
        " other data.",
        "Its figure is of one seed; the standard error is over test examples, not over seeds.",
    ]
    if density == "none":
        words.append("It evaluates no density, so it cannot tell how probable an image is.")
    if density == "bound":
        words.append("Its likelihoods are bounds.")
    words += [f"During training: {warning}." for warning in record.get("warnings", [])]
    return "\n".join(f"* {line}" for line in words)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return "None."
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )


def _figure(value: Any, error: Any) -> str:
    return _number(value) + (f" ± {_number(error)}" if error is not None else "")


def _number(value: Any) -> str:
    if value is None or not math.isfinite(value):
        return "none"
    return f"{value:.5g}"


def _count(value: Any) -> str:
    return "an unknown number of" if value is None else f"{value:,}"
