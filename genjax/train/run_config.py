"""Settings of a run as frozen dataclasses, and their conversion to and from JSON."""

import bisect
import dataclasses
import functools
import itertools
import json
import reprlib
import typing
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from genjax import checks, evals, families
from genjax.core import Optimizer, check_optimizer, critic_steps, network_names, stages_of
from genjax.core.optim import DECAYING
from genjax.core.protocols import AttributeTranslator, TextConditional
from genjax.data import Data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Length of a run, and how often it logs, evaluates, samples and saves."""

    steps: checks.PositiveInt = 1000
    """Training steps."""
    batch_size: checks.PositiveInt = 100
    """Examples per step; per critic step if there are several."""
    steps_per_call: checks.NonNegativeInt = 0
    """Steps joined in one dispatch; 0 is 1 on CPU, and on GPU and TPU the smaller of 100 and
    eval_every. Logs, evaluations, samples and checkpoints are made at the end of a call."""
    ema: checks.UnitInterval = 0.0
    """Decay of the moving average of the parameters; 0 keeps none."""
    log_every: checks.PositiveInt = 100
    """Steps between lines of metrics."""
    eval_every: checks.NonNegativeInt = 0
    """Steps between evaluations on the validation split; 0 evaluates at the end only.
    The noise of a bound depends on eval_batch and on the number of devices."""
    eval_epochs: checks.NonNegativeFloat = 0.0
    """Epochs between evaluations, in place of eval_every, rounded to steps; 0 uses eval_every."""
    eval_batch: checks.PositiveInt = 500
    """Examples evaluated together."""
    eval_samples: checks.PositiveInt = 1
    """Samples per example of a bound in the last evaluation."""
    patience: checks.NonNegativeInt = 0
    """End after so many evaluations without improvement; 0 never ends early."""
    sample_every: checks.NonNegativeInt = 0
    """Steps between grids of samples; 0 samples at the end only."""
    samples: checks.PositiveInt = 64
    """Samples per grid, fewer of large images; of translators and puzzle solvers, images per sheet,
    at most."""
    save_every: checks.NonNegativeInt = 0
    """Steps between checkpoints; 0 saves at the end and on a stop only."""
    compile_stages: Literal["all", "next", "none"] = "all"
    """When the steps of stages compile, of networks that grow: all before the first step, each
    while the stage before it trains, or each when it begins."""
    weights_from: str = ""
    """Run of the same network to take initial weights from (best by validation, or the newest of an
    unfinished run; averaged if it keeps an average): its folder, or the name of its experiment, for
    the folder beside this run's with the same seed. Empty: random weights."""
    parts_from: tuple[str, ...] = ()
    """Runs of the parts of a family that contains others, such as the dVAE of dalle, in the order
    of the parts: each a folder or the name of an experiment, as in weights_from. Empty: random
    weights."""
    ranker: str = ""
    """Run of a family that scores captions, such as joint_embedding, by which metrics re-rank
    samples: a folder or the name of an experiment. Empty: none."""
    keep: checks.PositiveInt = 2
    """Latest checkpoints to keep; the best by validation is kept too. With 1, the one before the
    newest stays until the newest has been evaluated."""
    metric: str = ""
    """Metrics of the finished run's samples for its record: parzen, codes, svm ... (see `genjax
    measure`), several separated by commas, as in "swd,ms_ssim". The first is the figure of a family
    without a density, and of an experiment whose figure is of it. Empty: none."""
    metric_samples: checks.NonNegativeInt = 0
    """Samples for every metric; 0 is each metric's own number."""
    classifier_steps: checks.PositiveInt = 2000
    """Steps of the small classifier that some metrics train on the real images."""
    fid_weights: str = ""
    """File of the standard Inception network, for fid, kid and inception_score."""
    writers: tuple[Literal["csv", "tensorboard", "wandb"], ...] = ()
    """Further outputs of metrics; those to TensorBoard and Weights & Biases have samples too."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if self.patience and not (self.eval_every or self.eval_epochs):
            raise ValueError("`patience` counts evaluations; set `eval_every` too.")
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"`metric` {self.metric!r} names a metric twice; name each once.")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, the figure first."""
        return tuple(name.strip() for name in self.metric.split(",")) if self.metric else ()


# Location of the data and how it is read; a checksum identifies the data themselves.
DATA_LOCATION = {"data.data", "data.data_dir", "data.stream", "data.workers"}
# Settings that may change on resuming: length, logging, evaluation.
MAY_CHANGE = {
    f"train.{field.name}"
    for field in dataclasses.fields(Train)
    if field.name not in ("batch_size", "steps_per_call", "ema", "weights_from", "parts_from")
} | DATA_LOCATION
# Settings that change no number.
WITHOUT_EFFECT = DATA_LOCATION | {
    f"train.{name}"
    for name in (
        "log_every",
        "sample_every",
        "samples",
        "save_every",
        "compile_stages",
        "keep",
        "fid_weights",
        "writers",
    )
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """The paper's figure that a run reproduces."""

    paper: float | None = None
    """The figure; None if the paper has none."""
    tag: str = ""
    """Evidence: seen (in the paper), seen-code, seen-2nd (quoted), figure (plot), calc, memory."""
    source: str = ""
    """Paper, table and row."""
    difference: str = ""
    """Differences between the recipe and the paper."""
    data_checksum: str = ""
    """Checksum of the data; a run on other data omits the figure and is not in the table. Several
    (one per fold) are separated by spaces."""
    metric: str = ""
    """The one of the run's metrics that the figure is of. Empty: the density where there is one,
    else the first metric."""
    aggregate: Literal["mean", "median"] = "mean"
    """Summary of several seeds."""
    show_seed_by: str = ""
    """Entry of the first final metric whose highest value selects the seed to show."""

    def __post_init__(self) -> None:
        checks.validate(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """Optimizer and length of an earlier phase of a run, which has the run's network and data."""

    optimizer: Optimizer | dict[str, Optimizer] = dataclasses.field(hash=False)
    train: Train

    def __post_init__(self) -> None:
        checks.validate(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """All settings of a run."""

    experiment: str
    """Name of the experiment, with its recipe after a colon."""
    family: str
    """Name of the family."""
    model: Any
    """The family's Config."""
    data: Data = dataclasses.field(default_factory=Data)
    optimizer: Optimizer | dict[str, Optimizer] | None = dataclasses.field(
        default_factory=Optimizer, hash=False
    )
    """Of the network, or by name of each network that trains against others."""
    train: Train = dataclasses.field(default_factory=Train)
    seed: int = 0
    """Seed of the parameters, the order of the data and every other random number."""
    figure: Figure = dataclasses.field(default_factory=Figure)
    phases: tuple[Phase, ...] = ()
    """Earlier phases, each trained from the best weights of the one before, as this run is. Their
    folders are inside its workdir."""

    def __post_init__(self) -> None:
        checks.validate(self)
        checks.seed(seed=self.seed)
        later = [*(phase.train for phase in self.phases), self.train][1:]
        if any(train.weights_from for train in later):
            raise ValueError(
                "a phase starts from the weights of the one before; set weights_from in the first"
                " phase only."
            )


def figure_metric(run: Run) -> tuple[str, ...]:
    """Returns the metric that is the figure of a run; () where it is the density, or none."""
    metrics = run.train.metrics
    if run.figure.metric:
        return (run.figure.metric,) if run.figure.metric in metrics else ()
    return metrics[:1] if families.get(run.family).traits(run.model).density == "none" else ()


def attribute_names(family: Any, config: Any) -> tuple[str, ...]:
    """Returns the attributes that a family translates to; () of other families."""
    return family.attribute_names(config) if isinstance(family, AttributeTranslator) else ()


def batches_per_step(run: Run) -> int:
    """Returns the number of batches per step, one per update of the first network."""
    return critic_steps(run.model)


def optimizers_by_network(optimizer: Any) -> dict[str, Optimizer]:
    """Returns the settings of each network's optimizer; those of a single network by ""."""
    if isinstance(optimizer, dict):
        return optimizer
    return {} if optimizer is None else {"": optimizer}


def map_optimizers(function: Callable[[str, Optimizer], Any], optimizer: Any) -> Any:
    """Applies `function(network, settings)` to every optimizer; the network may be ""."""
    results = {name: function(name, o) for name, o in optimizers_by_network(optimizer).items()}
    return results if isinstance(optimizer, dict) else results.get("")


def network_batches(run: Run, network: str, steps: int) -> int:
    """Returns the batches of a network in so many steps: the first of several may have several per
    step, and other numbers of them in later stages."""
    family = families.get(run.family)
    first = next(iter(network_names(family)), None)
    stages = stages_of(family, run.model, run.train.batch_size, steps)
    return sum(s.steps * (critic_steps(s.config) if network == first else 1) for s in stages)


def check_parts(run: Run) -> None:
    """Checks that family, Config and optimizer belong together.

    Raises:
      ValueError: they do not.
    """
    family = families.of(run.family, run.model)
    if family.traits(run.model).fit == "gradient" and run.optimizer is not None:
        check_optimizer(family, run.model, run.optimizer, "Optimizer(...)")


def build_optimizer(run: Run) -> Any:
    """Returns the Optax optimizer, a dict of them by network, or None where none is used."""
    family = families.get(run.family)
    if family.traits(run.model).fit != "gradient":
        return None
    check_optimizer(family, run.model, run.optimizer, "Optimizer(...)")
    return map_optimizers(lambda _, optimizer: optimizer.build(), run.optimizer)


def resolve(run: Run, backend: str) -> Run:
    """Fills in settings that depend on others: decay_steps, steps_per_call, fold, labels_seed, and
    text_length and vocabulary of the data, which are those of the texts that the family takes.

    Raises:
      ValueError: family, Config and optimizer do not belong together.
    """
    check_parts(run)
    # An evaluation is made at the end of a call, so a call is not longer than eval_every.
    longest = min(100, run.train.eval_every or 100)
    per_call = run.train.steps_per_call or (1 if backend == "cpu" else longest)

    def filled(name: str, optimizer: Optimizer) -> Optimizer:
        batches = network_batches(run, name, run.train.steps)
        if optimizer.decay_steps is not None or optimizer.schedule not in DECAYING:
            return optimizer
        least = 1 + max(optimizer.warmup, optimizer.constant_steps)
        updates = max(least, batches // optimizer.accumulate)
        reached = tuple(restart for restart in optimizer.restarts if restart < updates)
        return dataclasses.replace(optimizer, decay_steps=updates, restarts=reached)

    optimizer = map_optimizers(filled, run.optimizer)
    train = dataclasses.replace(run.train, steps_per_call=per_call)
    data = run.data
    if data.folds and data.fold is None:  # seeds are folds
        data = dataclasses.replace(data, fold=run.seed % data.folds)
    if data.labels_per_class and data.labels_seed is None:  # each seed has other labels
        data = dataclasses.replace(data, labels_seed=run.seed)
    family = families.get(run.family)
    if data.tokenizer and isinstance(family, TextConditional):
        spec = family.text_spec(run.model)
        data = dataclasses.replace(data, text_length=spec.length, vocabulary=spec.vocabulary)
    return dataclasses.replace(run, optimizer=optimizer, train=train, data=data)


def evaluated_by_steps(run: Run, examples: int) -> Run:
    """Returns the run with `eval_epochs` as `eval_every`.

    Args:
      run: the settings, resolved.
      examples: number of training examples.
    """
    train = run.train
    if not train.eval_epochs:
        return run
    steps = train.eval_epochs * examples / (train.batch_size * batches_per_step(run))
    every = max(1, round(steps))
    per_call = min(train.steps_per_call, every)
    train = dataclasses.replace(train, eval_every=every, eval_epochs=0.0, steps_per_call=per_call)
    return dataclasses.replace(run, train=train)


def schedule_warnings(run: Run) -> list[tuple[int, str]]:
    """Returns the step and words of every schedule that ends before the run, or that does not
    begin to fall.

    Args:
      run: the settings, resolved.
    """
    found = []
    several = isinstance(run.optimizer, dict)
    for name, optimizer in optimizers_by_network(run.optimizer).items():
        if optimizer.decay_steps is None:
            continue
        updates = network_batches(run, name, run.train.steps) // optimizer.accumulate
        flag = f"--optimizer.{name}.decay-steps" if several else "--decay-steps"
        which = f"the {name}'s learning rate" if several else "the learning rate"
        if optimizer.constant_steps >= updates:
            words = (
                f"{which} does not fall in {updates:,} updates, as constant_steps is"
                f" {optimizer.constant_steps:,}; set"
                f" {flag.replace('decay', 'constant')} {updates // 2}"
            )
            found.append((0, words))
        if optimizer.decay_steps < updates:
            batches = functools.partial(network_batches, run, name)
            needed = optimizer.decay_steps * optimizer.accumulate
            end = bisect.bisect_left(range(run.train.steps + 1), needed, key=batches)
            words = (
                f"{which} is {optimizer.floor:g} after step {end:,} of {run.train.steps:,}; to"
                f" extend its schedule, train in a new --workdir with {flag} {updates}, from the"
                f" start or with --weights-from this run"
            )
            found.append((end, words))
    return found


def continue_from(run: Run, saved: Run) -> Run:
    """Fills in decay_steps and steps_per_call from the saved settings of a resumed run.

    A longer run keeps its schedule, and a run on another kind of device keeps its calls, so that
    the steps already made would be the same.
    """

    before = optimizers_by_network(saved.optimizer)

    def kept(name: str, new: Optimizer) -> Optimizer:
        old = before.get(name)
        # Restarts beyond the length of the saved run are kept, and reported as a difference.
        reached = old is not None and all(r < (old.decay_steps or 0) for r in new.restarts)
        if old is not None and reached and new.decay_steps is None and new.schedule == old.schedule:
            return dataclasses.replace(new, decay_steps=old.decay_steps)
        return new

    optimizer = map_optimizers(kept, run.optimizer)
    per_call = run.train.steps_per_call or saved.train.steps_per_call
    train = dataclasses.replace(run.train, steps_per_call=per_call)
    return dataclasses.replace(run, optimizer=optimizer, train=train)


def to_json(settings: Any) -> dict[str, Any]:
    """Returns a dataclass as plain JSON values; NumPy scalars become numbers."""
    return json.loads(json.dumps(dataclasses.asdict(settings), default=_plain_number))


def _plain_number(value: Any) -> Any:
    """Converts a NumPy scalar for JSON.

    Raises:
      TypeError: the value is not a NumPy scalar.
    """
    if not isinstance(value, np.number):
        raise TypeError(f"{value!r} is not a setting that JSON can hold.")
    return value.item()


def run_from_json(values: dict[str, Any]) -> Run:
    """Returns the Run that `to_json` wrote.

    Raises:
      ValueError: an entry is unknown or of the wrong kind.
    """
    if not isinstance(values, dict) or not isinstance(values.get("family"), str):
        raise ValueError("the settings of a run are an object that names a family")
    config = families.get(values["family"]).Config
    return _from_json(Run, {"model": {}, **values}, model=config)


def _from_json(kind: Any, values: dict[str, Any], **known: Any) -> Any:
    """Returns a dataclass; `known` are types of fields whose annotation is Any."""
    hints = typing.get_type_hints(kind) | known
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(
            f"{kind.__name__} has no setting {unknown}; the file is from another version."
        )
    required = (dataclasses.MISSING, dataclasses.MISSING)
    for field in dataclasses.fields(kind):
        if field.name not in values and (field.default, field.default_factory) == required:
            raise ValueError(f"{kind.__name__} lacks `{field.name}`")
    return kind(**{n: _convert(n, hints[n], value) for n, value in values.items()})


def _convert(name: str, hint: Any, value: Any) -> Any:
    """Returns a JSON value as a setting of the annotated type: lists become tuples."""
    options = typing.get_args(hint)
    if Optimizer in options and isinstance(value, dict):
        by_network = all(isinstance(v, dict) for v in value.values())
        hint = dict[str, Optimizer] if by_network else Optimizer
        options = typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _from_json(hint, value)
    if typing.get_origin(hint) is dict and isinstance(value, dict):
        value = {key: _convert(name, options[-1], inner) for key, inner in value.items()}
    if isinstance(value, list):
        entries = options[:1] * len(value) if options[-1:] == (Ellipsis,) else ()
        value = tuple(
            _convert(name, entry, inner)
            for entry, inner in itertools.zip_longest(entries, value, fillvalue=Any)
        )
    if not checks.matches(hint, value):
        raise ValueError(f"`{name}` must be {checks.expected(hint)}, got {reprlib.repr(value)}")
    return value


def settings_without_effect(run: Run) -> set[str]:
    """Returns settings that change no number; eval_batch changes the noise of a bound."""
    exact = not evals.is_bound(families.get(run.family), run.model)
    return WITHOUT_EFFECT | {"train.eval_batch"} if exact else WITHOUT_EFFECT


def changes(saved: Run, new: Run, free: set[str]) -> dict[str, tuple[Any, Any]]:
    """Returns settings that differ, except the free ones and those of the figure."""
    found = differences(saved, new).items()
    return {k: v for k, v in found if k not in free and not k.startswith("figure.")}


def differences(saved: Any, new: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Returns the settings in which two dataclasses differ: `{"train.steps": (saved, new)}`."""
    saved = to_json(saved) if dataclasses.is_dataclass(saved) else saved
    new = to_json(new) if dataclasses.is_dataclass(new) else new
    if not (isinstance(saved, dict) and isinstance(new, dict)):
        same = list(saved) == list(new) if _both_lists(saved, new) else saved == new
        return {} if same else {prefix: (saved, new)}
    out: dict[str, tuple[Any, Any]] = {}
    for name in sorted(set(saved) | set(new)):
        path = f"{prefix}.{name}" if prefix else name
        out |= differences(saved.get(name), new.get(name), path)
    return out


def _both_lists(a: Any, b: Any) -> bool:
    return isinstance(a, (list, tuple)) and isinstance(b, (list, tuple))
