"""Checks that the settings, the data and the family of a run agree."""

from typing import Any

from genjax import data as data_room
from genjax import evals
from genjax.train.run_config import Run


def check_compatibility(run: Run, family: Any, dataset: data_room.Dataset) -> int:
    """Hold data and settings against the family; returns the axes before the batch axis."""
    spec = family.batch_spec(run.model, 1)["x"]
    lead = len(spec.shape) - 1 - len(run.model.shape)
    if tuple(dataset.shape) != tuple(run.model.shape):
        raise ValueError(
            f"{run.data.data} holds examples of shape {dataset.shape} and the model is built for"
            f" {run.model.shape}; set --shape {' '.join(map(str, dataset.shape))}."
        )
    in_memory = "train" in dataset.splits
    has = set(dataset.splits["train"] if in_memory else dataset.streams["train"].read([0]))
    missing = sorted(set(family.batch_spec(run.model, 1)) - has)
    if missing:
        raise ValueError(
            f"{run.family} trains on {', '.join(missing)} too, and {run.data.data} has only"
            f" {', '.join(sorted(has))}; bring data that has them."
        )
    low, high, discrete = _range(run.data.transform, dataset.levels)
    traits = family.traits(run.model)
    if traits.data == "binary":
        grey = (low, high) == (0, 1) and traits.density == "bound"
        if (low, high) != (0, 1) or not (discrete or grey):
            raise ValueError(
                f"{run.family} takes 0 and 1, and {run.data.data} under transform"
                f" {run.data.transform} gives {'levels' if discrete else 'numbers'} from {low:g} to"
                f" {high:g}; set --transform threshold, static or dynamic."
            )
    if traits.data == "images" and (low, high) != traits.sample_range:
        named: dict[tuple[float, float], str] = {(0, 1): "unit", (-1, 1): "symmetric"}
        want = named.get(traits.sample_range, "none")
        raise ValueError(
            f"{run.family} makes images from {traits.sample_range[0]:g} to"
            f" {traits.sample_range[1]:g}, and {run.data.data} under transform"
            f" {run.data.transform} goes from {low:g} to {high:g}; set --transform {want}."
        )
    scaled = run.data.transform in ("unit", "dequantize") and not discrete
    if traits.data == "levels" and ((low, high) != traits.sample_range or scaled):
        raise ValueError(
            f"{run.family} takes whole numbers from 0 to {traits.sample_range[1]:g}, and"
            f" {run.data.data} under transform {run.data.transform} goes from {low:g} to {high:g};"
            f" set --transform none, and the Config's levels to the data's {dataset.levels}."
        )
    grows = traits.data == "real" and traits.density != "none"
    if grows and dataset.levels and run.data.transform != "dequantize":
        raise ValueError(
            f"{run.family} is a density of real numbers, which grows without bound on integers, and"
            f" {run.data.data} holds {dataset.levels} levels; set --transform dequantize."
        )
    if traits.density != "none" and not {"test", "train"} & set(dataset.splits):
        raise ValueError(
            f"{run.data.data} has no test split to evaluate on; prepare it with --test N, or read"
            f" it into memory with --stream no."
        )
    _check_conditions(run, family, dataset)
    # A limited run is a rehearsal: shares are not what they will be.
    if hasattr(family, "check_data") and "train" in dataset.splits and not run.data.limit:
        family.check_data(run.model, dataset.splits["train"])
    if run.train.patience and (traits.density == "none" or "validation" not in dataset.splits):
        raise ValueError(
            f"patience stops a run by its validation, and {run.family} on {run.data.data} has none;"
            f" set --patience 0, or hold examples out with --validation N."
        )
    if run.train.metric:
        t, model = run.train, run.model
        evals.check_metric_requirements(
            t.metric, family, model, dataset, t.fid_weights, t.metric_samples
        )
    if family.traits(run.model).fit == "counting":
        n = dataset.counts()["train"]
        if run.train.steps * run.train.batch_size > n:
            raise ValueError(
                f"{run.family} counts each of the {n} training examples once: steps times"
                f" batch_size must not exceed {n}; set --steps 1 --batch-size {n}."
            )
    return lead


def _check_conditions(run: Run, family: Any, dataset: data_room.Dataset) -> None:
    """Hold what a batch has beside `x` against what the data has."""
    names = set(family.batch_spec(run.model, 1))
    rows = dataset.streams.get("train")
    splits = dataset.splits if rows is None else {"train": rows.read([0]), **dataset.splits}
    for split, entries in splits.items():
        missing = sorted(names - set(entries))
        if missing:
            raise ValueError(
                f"{run.family} as it is set is given {missing} with every example, and the {split}"
                f" split of {run.data.data} has {sorted(entries)}; take other data, or set"
                f" --classes 0."
            )
        classes = getattr(run.model, "classes", 0)
        if (
            "label" in names
            and not family.traits(run.model).semi_supervised
            and int(entries["label"].min()) < 0
        ):
            raise ValueError(
                f"{run.data.data} as it is set has unknown labels (-1) in {split}, and"
                f" {run.family} learns from every example's; leave out --labels-per-class, or take"
                f" a family that learns from both, such as m2."
            )
        if "label" in names and (int(entries["label"].max()) >= classes):
            raise ValueError(
                f"{run.data.data} has labels up to {int(entries['label'].max())}, and the model"
                f" is built for {classes} classes; set --classes."
            )


def _range(transform: str, levels: int) -> tuple[float, float, bool]:
    """Lowest and highest number of transformed data, and whether there are just these two."""
    if transform in ("threshold", "static", "dynamic"):
        return 0, 1, True
    if transform in ("unit", "dequantize"):
        return 0, 1, transform == "unit" and levels == 2
    if transform == "symmetric":
        return -1, 1, levels == 2
    if levels == 0:
        return -float("inf"), float("inf"), False
    return 0, levels - 1, levels == 2
