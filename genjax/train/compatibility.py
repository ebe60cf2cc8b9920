"""Checks that the settings, the data and the family of a run agree."""

from typing import Any

import jax
import numpy as np

from genjax import checks, evals
from genjax import data as genjax_data
from genjax.core.protocols import TextConditional
from genjax.data.label_subsets import UNKNOWN_LABEL
from genjax.train.run_config import Run, attribute_names, batches_per_step
from genjax.train.splits import batch_transform

LARGE_BATCH = 1024


def check_compatibility(run: Run, family: Any, dataset: genjax_data.Dataset) -> int:
    """Checks that data, settings and family agree.

    Returns:
      the number of axes before the batch axis.

    Raises:
      ValueError: they do not agree; the message says which setting to change.
    """
    output = genjax_data.output_spec(run.data.transform, dataset)
    if output.shape != tuple(run.model.shape):
        images = len(output.shape) == 3 == len(run.model.shape)
        other = ", or --fit crop or pad" if images and output.shape[2] == run.model.shape[2] else ""
        raise ValueError(
            f"{run.data.data} has examples of shape {output.shape}, but the model has shape"
            f" {run.model.shape}; set --shape {' '.join(map(str, output.shape))}{other}."
        )
    _check_text(run, family, dataset)
    has = dataset.entries("train")
    missing = sorted(set(family.batch_spec(run.model, 1)) - has)
    if missing:
        raise ValueError(
            f"{run.family} also trains on {', '.join(missing)}, but {run.data.data} has only"
            f" {', '.join(sorted(has))}; use data that has them."
        )
    _check_attributes(run, family, dataset)
    _check_entries(run, family, dataset)
    low, high = output.low, output.high
    under = f"{run.data.data} with transform '{run.data.transform}'"
    traits = family.traits(run.model)
    if traits.data == "binary":
        grey = (low, high) == (0, 1) and traits.density == "bound"
        if (low, high) != (0, 1) or not (output.levels == 2 or grey):
            raise ValueError(
                f"{run.family} needs values in {{0, 1}}, and {under} gives values from {low:g} to"
                f" {high:g}; set --transform \"binarize('threshold')\", or 'static' or 'dynamic'."
            )
    if traits.data == "images" and (low, high) != traits.sample_range:
        a, b = traits.sample_range
        raise ValueError(
            f"{run.family} generates images from {a:g} to {b:g}, and {under} gives values from"
            f' {low:g} to {high:g}; set --transform "scale({a:g}, {b:g})".'
        )
    if traits.data == "levels" and not (
        output.integers and (low, high) == tuple(traits.sample_range)
    ):
        noise = genjax_data.dequantized(run.data.transform)
        if dataset.levels and not output.discrete and not noise:
            raise ValueError(
                f"{run.family} needs integers, and {under} gives values between them; resize with"
                f" method='nearest', or use sizes that need no resizing."
            )
        raise ValueError(
            f"{run.family} needs integers from 0 to {traits.sample_range[1]:g}, and {under} gives"
            f' values from {low:g} to {high:g}; set --transform "", and the Config\'s levels to'
            f" the data's {dataset.levels}."
        )
    # Interpolation of discrete values gives real numbers, but still finitely many.
    noiseless = dataset.levels and not genjax_data.dequantized(run.data.transform)
    if traits.data == "real" and traits.density != "none" and (output.discrete or noiseless):
        raise ValueError(
            f"{run.family} is a density of real numbers, which grows without bound on discrete"
            f" values, and {under} gives such values ({output.levels or dataset.levels} levels);"
            f' add dequantize() first: set --transform "dequantize()", with other operations after'
            f" it."
        )
    quantity = evals.evaluated_quantity(family, run.model)
    if quantity is not None and not {"test", "train"} & set(dataset.splits):
        raise ValueError(
            f"{run.data.data} has no test split to evaluate on; prepare it with --test N, or read"
            f" it into memory with --stream no."
        )
    _check_conditions(run, family, dataset)
    if traits.fit == "gradient":
        _check_batch_size(run, dataset.counts()["train"])
    # A limited run is a trial: its shares differ from those of the whole data.
    if traits.labelled is not None and "train" in dataset.splits and not run.data.limit:
        check_labelled(traits.labelled, dataset.splits["train"]["label"])
    if run.train.patience and (quantity is None or "validation" not in dataset.splits):
        raise ValueError(
            f"patience needs validation, but {run.family} on {run.data.data} has none; set"
            f" --patience 0, or hold out examples with --validation N."
        )
    for metric in run.train.metrics:
        t, model = run.train, run.model
        evals.check_metric_requirements(
            metric, family, model, dataset, t.fid_weights, t.metric_samples
        )
    if traits.fit == "counting":
        n = dataset.counts()["train"]
        if run.train.steps * run.train.batch_size > n:
            raise ValueError(
                f"{run.family} counts each of the {n} training examples once: steps times"
                f" batch_size must not exceed {n}; set --steps 1 --batch-size {n}."
            )
    return int(batches_per_step(run) > 1)


def data_warnings(run: Run, family: Any, dataset: genjax_data.Dataset) -> list[str]:
    """Returns warnings about the splits: one is missing, or has fewer examples than a batch.

    Args:
      run: settings.
      family: module of the family.
      dataset: its data.
    """
    counts, found = dataset.counts(), []
    shape = dataset.shape
    if len(shape) == 3 and shape[0] in (1, 3) and shape[1] > 4 and shape[2] > 4:
        found.append(
            f"the examples of {run.data.data} have shape {shape}, which looks like channels first;"
            f" images are (H, W, C): save x.transpose(0, 2, 3, 1)"
        )
    batch, n = run.train.batch_size, counts["train"]
    if batch > n and family.traits(run.model).fit == "gradient":
        found.append(
            f"`batch_size` {batch:,} is above the {n:,} training examples, so a batch has some"
            f" several times; set --batch-size {n} or lower"
        )
    if evals.evaluated_quantity(family, run.model) is None:
        return found
    if "validation" not in counts:
        found.append(
            f"{run.data.data} has no validation split, so no state is chosen by it and the last one"
            f" is evaluated; hold out training examples with --validation {max(1, n // 10)}"
        )
    if "test" not in counts:
        found.append(
            f"{run.data.data} has no test split, so the figure is that of the training examples,"
            f" which is too good; add `test` to a .npz, prepare files with --test N, or cut a table"
            f" with --folds 10"
        )
    return found


def _check_batch_size(run: Run, examples: int) -> None:
    """Raises ValueError for a batch that is meant for other data: large, and larger than the data.

    Smaller batches than `LARGE_BATCH` may be larger than the data of a trial.
    """
    size = run.train.batch_size
    if size > max(examples, LARGE_BATCH):
        raise ValueError(
            f"`batch_size` {size:,} is above the {examples:,} training examples of {run.data.data};"
            f" set --batch-size to at most {examples}."
        )


def _check_text(run: Run, family: Any, dataset: genjax_data.Dataset) -> None:
    """Checks the tokens of the data against the texts that the family takes."""
    if not isinstance(family, TextConditional):
        return
    spec, tokenizer = family.text_spec(run.model), dataset.tokenizer
    if tokenizer is None:
        raise ValueError(
            f"{run.family} takes texts, and {run.data.data} is loaded without a tokenizer; set"
            f" --tokenizer words, bpe or characters."
        )
    if spec.compared and run.data.bpe_dropout:
        raise ValueError(
            f"{run.family} compares captions by their tokens, and with `bpe_dropout`"
            f" {run.data.bpe_dropout:g} equal captions have different tokens; set --bpe-dropout 0."
        )
    length = dataset.entry_shape("text")[-1]
    if length != spec.length:
        raise ValueError(
            f"the texts of {run.data.data} have {length} tokens, and those of the model"
            f" {spec.length}; set text_length of Data and of the Config to the same."
        )
    if tokenizer.size > spec.vocabulary:
        raise ValueError(
            f"the captions of {run.data.data} have {tokenizer.size} tokens with padding, and the"
            f" vocabulary of the model {spec.vocabulary}; set --vocabulary {tokenizer.size}."
        )


def _check_attributes(run: Run, family: Any, dataset: genjax_data.Dataset) -> None:
    """Checks that the attributes of the data are those of the Config, in its order."""
    names, known = attribute_names(family, run.model), dataset.names.get("attributes")
    if names and known and known != names:
        raise ValueError(
            f"the attributes of the model are {', '.join(names)}, and those of {run.data.data}"
            f" {', '.join(known)}; set --attributes (and `exclusive`) to names of the data, or in"
            f" Python Data(attributes=...) to those of the model."
        )


def label_range(run: Run, family: Any) -> range:
    """Returns the labels that a family accepts, including -1 where they may be unknown.

    With a second set of attributes they are 0 and 1, the set that is known.
    """
    first = UNKNOWN_LABEL if family.traits(run.model).semi_supervised else 0
    sets = 2 if attribute_names(family, run.model) else 0
    return range(first, getattr(run.model, "classes", sets))


def _check_entries(run: Run, family: Any, dataset: genjax_data.Dataset) -> None:
    """Checks shape, dtype and range of the transformed entries other than `x`."""
    spec = family.batch_spec(run.model, 1)
    names = set(spec)
    one = dataset.read("train", [0], tuple(names))
    batch = jax.eval_shape(batch_transform(run, dataset), one, jax.random.key(0))
    for name in sorted(names - {"x"}):
        got, want = batch[name], spec[name]
        if got.shape[1:] != want.shape[len(want.shape) - got.ndim + 1 :] or got.dtype != want.dtype:
            raise ValueError(
                f"{run.family} needs {name} of {checks.describe(want)}, and {run.data.data} with"
                f" transform '{run.data.transform}' gives {checks.describe(got)}; prepare the data"
                f" in that shape, or change the Config."
            )
    if "y" in names:
        x, y = (genjax_data.output_spec(run.data.transform, dataset, name) for name in ("x", "y"))
        if (x.low, x.high, x.levels) != (y.low, y.high, y.levels):
            raise ValueError(
                f"transform '{run.data.transform}' gives x from {x.low:g} to {x.high:g} and y from"
                f" {y.low:g} to {y.high:g}; apply each operation to both."
            )


def check_labelled(labelled: float, label: np.ndarray) -> None:
    """Checks the share of examples with a label against the share that a loss assumes.

    Raises:
      ValueError: it differs by more than 10 %.
    """
    share = float((label >= 0).mean())
    if not share:
        raise ValueError("no training example has a label; semi-supervised training needs some.")
    if abs(labelled / share - 1) > 0.1:
        raise ValueError(
            f"`labelled` is {labelled:g}, but {share:g} of the training examples have a label; set"
            f" --labelled {share:g}, or the classification loss has {share / labelled:.3g} times"
            f" its weight."
        )


def _check_conditions(run: Run, family: Any, dataset: genjax_data.Dataset) -> None:
    """Checks the labels of every split against the Config's classes."""
    names = set(family.batch_spec(run.model, 1))
    splits = {"train": dataset.read("train", [0]), **dataset.splits}
    for split, entries in splits.items():
        missing = sorted(names - set(entries))
        if missing:
            raise ValueError(
                f"{run.family} with these settings is conditioned on {', '.join(missing)}, but the"
                f" {split} split of {run.data.data} has only {', '.join(sorted(entries))}; use"
                f" other data{', or set --classes 0' if hasattr(run.model, 'classes') else ''}."
            )
        if "label" not in names:
            continue
        accepted, label = label_range(run, family), entries["label"]
        if int(label.min()) < accepted.start:
            raise ValueError(
                f"{run.data.data} has unknown labels (-1) in {split}, but {run.family} needs all"
                f" labels; leave out --labels-per-class, or use a semi-supervised family such as"
                f" m2."
            )
        if int(label.max()) >= accepted.stop:
            classes = f"the model has {accepted.stop} classes; set --classes."
            sets = "they are 0 and 1, the set of attributes that is known; correct the labels."
            raise ValueError(
                f"{run.data.data} has labels up to {int(label.max())}, but"
                f" {classes if hasattr(run.model, 'classes') else sets}"
            )
