"""The command line of an experiment: every setting is an option."""

import dataclasses
import os
import pathlib
import re
import shlex
import shutil
import sys
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

import jax

from genjax import families
from genjax.cli import options as cli_options
from genjax.cli.earlier_runs import Needs, earlier_runs, smoke_folder, with_folders
from genjax.core import Optimizer
from genjax.data import Data, example_shape, load, with_fit
from genjax.data.json_files import read_object
from genjax.train.diverged import Diverged
from genjax.train.layouts import Layouts
from genjax.train.load_run import RUNS
from genjax.train.loop import Result, fit
from genjax.train.record import dataset_name, run_name, write_record
from genjax.train.resume import RECORD_FIX, FinishedRecord
from genjax.train.run_config import (
    Run,
    attribute_names,
    changes,
    optimizers_by_network,
    resolve,
    run_from_json,
    settings_without_effect,
)
from genjax.train.sharding import memory_before, parameter_rules, parse_mesh

SMOKE: dict[str, Any] = {
    "steps": 20,
    "batch_size": 16,
    "log_every": 5,
    "eval_every": 10,
    "eval_epochs": 0.0,
    "eval_batch": 50,
    "eval_samples": 2,
    "patience": 0,
    "sample_every": 10,
    "samples": 16,
    "save_every": 10,
    "metric_samples": 64,
    "classifier_steps": 10,
    "weights_from": "",
    "parts_from": (),
    "ranker": "",
}

MESH_MEMORY = "Print the memory of a mesh such as data=64,model=8, without its devices, and end."

# Settings of texts, which a Config and the data have.
SHARED = {"text_length", "vocabulary"}

# Options that change the shape of an example.
SHAPED_BY = {"--data", "--transform", "--fit", "--drop-correlated", "--drop-discrete"}

FIT = (
    "Crop or pad images to height and width of the model's shape: puts fit(height, width, mode=FIT)"
    " before the transform."
)


def smoke(run: Run, given: Collection[str] = ()) -> Run:
    """Returns the run with few steps on few images, as a check; its figures are meaningless.

    Options in `given` keep their values. A counted family sees each image at most once.
    """
    counted = families.get(run.family).traits(run.model).fit == "counting"
    train = {**SMOKE, "steps": 1} if counted else SMOKE
    # 100 images may not have ten of each class.
    data = {"limit": 100, "labels_per_class": min(run.data.labels_per_class, 1)}

    def changed(settings: Any, small: dict[str, Any]) -> Any:
        small = {k: v for k, v in small.items() if cli_options.option_name(k) not in given}
        return dataclasses.replace(settings, **small)

    return dataclasses.replace(
        run, train=changed(run.train, train), data=changed(run.data, data), phases=()
    )


def main(
    recipes: Mapping[str, Run],
    doc: str,
    argv: list[str] | None = None,
    *,
    needs: Needs | None = None,
) -> int:
    """Runs an experiment file and returns the exit status; see `run_experiment`."""
    cli_options.set_up_process()
    argv = sys.argv[1:] if argv is None else argv
    return cli_options.run_command(
        lambda: run_experiment(recipes, doc, argv, needs=needs), "--batch-size, --eval-batch"
    )


def run_experiment(
    recipes: Mapping[str, Run],
    doc: str,
    argv: list[str],
    command: str = "",
    given: list[str] | None = None,
    needs: Needs | None = None,
) -> None:
    """Parses the options, trains, and stores the record of a finished run; see `parse`.

    Runs that the settings name, of parts or a ranker, are trained before where they are not
    finished, and their records are stored too; with `--smoke` as smoke runs.

    Args:
      recipes: settings by name.
      doc: shown by `--help`.
      argv: options.
      command: command of `genjax`, or "" for an experiment file.
      given: options as the user gave them, if others are added.
      needs: `needs(run)` returns the settings of the runs that can be trained before, each after
        those that it names itself. The run has the options given; the seed of all is the run's.

    Raises:
      FloatingPointError: the run diverged; the message ends with a command to start from its
        weights.
    """
    recipe = recipes[next(iter(recipes)) if command else _recipe(tuple(recipes), argv)]
    words = [*argv, *shape_options(recipe, argv)]
    options, run = parse(recipes, doc, words, command)
    if options.smoke or not same_quantity(recipe, run):
        run = without_figure(run)
    if options.mesh_memory:
        print(memory_on_mesh(run, options.mesh_memory, fsdp=options.fsdp))
        return
    if options.distributed:
        join_cluster()
    name = run.experiment + ("-smoke" if options.smoke else "")
    workdir = options.workdir or RUNS / run_name(name, run.seed)
    if needs is not None:
        whole = parse(recipes, doc, [*words, "--no-smoke"])[1] if options.smoke else run
        run, finished = train_earlier(run, whole, recipe, needs, options, workdir.absolute().parent)
        if not finished:
            return
    settings = {
        name: getattr(options, name)
        for name in ("resume", "from_best", "commit", "profile", "fsdp", "tensor_parallel")
    }
    try:
        result = fit(run, workdir, **settings)
    except Diverged as error:
        if error.phase:  # options change the last phase only
            raise
        words = [*program(), *([command, next(iter(recipes))] if command else [])]
        given = argv if given is None else given
        remedy = lower_rate(run, words, given, workdir, error.saved, error.options)
        raise FloatingPointError(f"{error}{remedy}") from None
    if result.finished and jax.process_index() == 0 and not command:
        store_record(result, recipe, run, options.records, workdir)


def memory_on_mesh(run: Run, mesh: str, *, fsdp: bool) -> str:
    """Returns the table of the memory of a run on a mesh, which this machine need not have.

    Args:
      run: settings.
      mesh: such as `data=64,model=8`.
      fsdp: whether parameters are divided over `data`.

    Raises:
      ValueError: the mesh does not fit the run.
    """
    devices = parse_mesh(mesh)
    rules = parameter_rules(run.family, run.model, devices, fsdp=fsdp)
    layouts = Layouts(resolve(run, "cpu"), devices, rules)
    return memory_before(layouts, fsdp=fsdp)


def train_earlier(
    run: Run, whole: Run, recipe: Run, needs: Needs, options: Any, runs: pathlib.Path
) -> tuple[Run, bool]:
    """Trains the runs that another one names, unless they are finished.

    Args:
      run: settings.
      whole: the same without `--smoke`.
      recipe: whose settings the options change.
      needs: of `run_experiment`.
      options: from `parse`.
      runs: folder of the runs.

    Returns:
      the run, which names folders of smoke runs if it is one, and whether all are finished.

    Raises:
      ValueError: a finished run has other settings or data than the one that is needed.
    """
    unchanged = {other.experiment: other for other in needs(recipe)}
    folders: dict[str, pathlib.Path] = {}
    for other in earlier_runs(whole, needs):
        folder, settings = runs / run_name(other.experiment, other.seed), other
        if options.smoke:
            folder = smoke_folder(other, runs)
            settings = with_folders(smoke(other), other, folders)
            folders[other.experiment] = folder
        if (folder / "record.json").is_file():
            check_finished(settings, folder)
            continue
        original = unchanged.get(other.experiment, other)
        if options.smoke or not same_quantity(original, other):
            settings = without_figure(settings)
        if jax.process_index() == 0:
            print(f"{other.experiment} is trained first, in {folder}", file=sys.stderr)
        result = fit(settings, folder, commit=options.commit)
        if not result.finished or result.signalled:
            return run, False
        if jax.process_index() == 0:
            store_record(result, original, settings, options.records, folder)
    return with_folders(run, whole, folders), True


def check_finished(run: Run, folder: pathlib.Path) -> None:
    """Raises ValueError if a folder holds a finished run with other settings or data than these."""
    record = read_object(folder / "record.json", FinishedRecord, fix=RECORD_FIX)
    different = recipe_differences(run, run, record)
    same_path = record["config"]["data"]["data"] == run.data.data
    if not (same_path or different) and load(run.data).checksum() != record["data_checksum"]:
        different = ["the data"]
    if different:
        raise ValueError(
            f"{folder} holds a finished run that differs in {', '.join(different)} from the one"
            f" that is needed; move it, use another folder of runs by --workdir, or name the runs"
            f" to use by --parts-from and --ranker."
        )


def lower_rate(
    run: Run,
    words: list[str],
    argv: list[str],
    workdir: pathlib.Path,
    saved: int | None,
    options: Sequence[str] = (),
) -> str:
    """Returns the command to start from the weights of a diverged run at a tenth of its rate.

    Args:
      run: settings.
      words: program and command.
      argv: options that the run was started with.
      workdir: folder of the run.
      saved: step of its newest checkpoint; None if the same folder can be used again.
      options: with which a run begins with its weights, of networks that have grown.
    """
    if not run.optimizer:
        return ""
    rates = {
        f"--optimizer.{name}.learning-rate" if name else "--learning-rate": o.learning_rate / 10
        for name, o in optimizers_by_network(run.optimizer).items()
    }
    replaced = set(rates)
    changed = [word for flag, rate in rates.items() for word in (flag, f"{rate:g}")]
    if saved is not None:
        if workdir.name in ("", ".."):  # a folder without a name of its own, as "."
            workdir = workdir.resolve()
        number = 2
        while (new := workdir.with_name(f"{workdir.name}-{number}")).exists():
            number += 1
        replaced |= {"--workdir", "--weights-from"}
        changed += ["--workdir", str(new)]
        changed += [] if run.phases else ["--weights-from", str(workdir)]
        replaced |= {word for word in options if word.startswith("--")}
        changed += options
    kept = cli_options.without(argv, replaced)
    return f" With a tenth of the learning rate:\n{shlex.join([*words, *kept, *changed])}"


def program() -> list[str]:
    """Returns the words that started this program."""
    main_module = sys.modules["__main__"]
    spec = getattr(main_module, "__spec__", None)
    if spec is None and os.access(sys.argv[0], os.X_OK):
        name = os.path.basename(sys.argv[0])  # a console script
        return [name if shutil.which(name) == sys.argv[0] else sys.argv[0]]
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    if spec is None:
        return [python, sys.argv[0]]
    return [python, "-m", spec.name.removesuffix(".__main__")]


def same_quantity(recipe: Run, run: Run) -> bool:
    """Returns whether a run measures the same quantity as the paper's figure.

    `fit` compares checksums of the data. If the recipe has none, names of the data are compared.
    """
    names = {dataset_name(r.data.data) for r in (recipe, run)}
    known = bool(recipe.figure.data_checksum) or len(names) == 1
    return known and run.train.metrics[:1] == recipe.train.metrics[:1]


def without_figure(run: Run) -> Run:
    """Returns a run without the paper's figure."""
    return dataclasses.replace(run, figure=dataclasses.replace(run.figure, paper=None))


def join_cluster() -> None:
    """Joins the other processes of a cluster that JAX detects or that the environment describes.

    The variables are `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`.

    Raises:
      ValueError: JAX detects no cluster, and a variable is missing or invalid.
    """
    numbers: list[int | None] = []
    for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        value = os.environ.get(name)
        if value is not None and not value.isdigit():
            raise ValueError(f"`{name}` must be a non-negative integer, got '{value}'.")
        numbers.append(None if value is None else int(value))
    jax.distributed.initialize(num_processes=numbers[0], process_id=numbers[1])


def store_record(result: Result, recipe: Run, run: Run, folder: Any, workdir: Any) -> None:
    """Adds the record to the table if the run followed its recipe."""
    if result.record is None:
        return
    why = recipe_differences(recipe, run, result.record)
    if why:
        print(
            f"{workdir}/record.json is written; it is not added to the table, since it differs from"
            f" the recipe in {', '.join(why)}.",
            file=sys.stderr,
        )
    else:
        print(f"{write_record(folder, result.record)} is written.", file=sys.stderr)


def recipe_differences(recipe: Run, run: Run, record: Mapping[str, Any]) -> list[str]:
    """Returns the settings with effect on numbers in which a run differs from its recipe.

    The seed may differ. The record's settings are compared, since a resumed run keeps some of its
    first ones, such as the length of its schedule.
    """
    free = settings_without_effect(recipe) | {"seed", "train.steps_per_call"}
    if "config" in record:
        run = run_from_json(record["config"])
    expected = resolve(dataclasses.replace(recipe, seed=run.seed), "cpu")
    found = list(changes(expected, resolve(run, "cpu"), free))
    known, seen = recipe.figure.data_checksum, record.get("data_checksum")
    if known and seen not in known.split():
        found.append(f"the data (checksum {seen}, not {known})")
    elif not known and dataset_name(run.data.data) != dataset_name(recipe.data.data):
        found.append("the data")
    return found


def parse(
    recipes: Mapping[str, Run], doc: str, argv: list[str], command: str = ""
) -> tuple[Any, Run]:
    """Parses options and returns them, and the run they describe.

    Args:
      recipes: settings by name; the first is the default.
      doc: the file's docstring, shown by `--help`.
      argv: options.
      command: command of `genjax`, or "" for an experiment file. Runs of a command have no
        recipe and no row in the table.

    Raises:
      ValueError: an option is unknown, or its value is out of range.
      SystemExit: after `--help`.
    """
    tyro = _tyro()
    recipe_names = tuple(recipes)
    chosen = recipe_names[0] if command else _recipe(recipe_names, argv)
    base = recipes[chosen]
    flat = tyro.conf.OmitArgPrefixes
    model = _model_options(base)

    def option(name: str, kind: Any, text: str, default: Any) -> tuple[str, Any, Any]:
        return name, Annotated[kind, tyro.conf.arg(help=text)], default

    data = _without_options_of(base.model, base.data)
    records = pathlib.Path("experiments/records")
    table = [
        option("recipe", Literal[recipe_names], "Settings to start from.", chosen),
        option("records", pathlib.Path, "Folder of the table's records.", records),
    ]
    fields: list[Any] = [
        option("workdir", pathlib.Path | None, "Folder of the run, under runs/.", None),
        *([] if command else table),
        option("smoke", bool, "A run of seconds on a CPU, as a check.", False),
        option("seed", int, "Seed of the whole run.", base.seed),
        option("fit", Literal["crop", "pad"] | None, FIT, None),
        option("resume", bool, "Resume in a used workdir.", True),
        option("from_best", bool, "Resume from the best where latest has no checkpoint.", False),
        option("profile", bool, "Trace some steps to WORKDIR/profile.", False),
        option("commit", str | None, "Commit for the record; else git's.", None),
        option("distributed", bool, "One of several processes: wait for all.", False),
        option("fsdp", bool, "Divide parameters and optimizer state over the devices.", False),
        option("tensor_parallel", int, "Devices that share each layer.", 1),
        option("mesh_memory", str | None, MESH_MEMORY, None),
        model,
        ("data_settings", Annotated[type(data), flat], data),
        ("train", Annotated[type(base.train), flat], base.train),
    ]
    if base.optimizer is not None:
        kind: Any = Annotated[Optimizer, flat]
        default: Any = base.optimizer
        if isinstance(default, dict):  # a prefix for each network
            several = [(name, Optimizer, settings) for name, settings in default.items()]
            kind = dataclasses.make_dataclass("Optimizers", several, kw_only=True, frozen=True)
            default = kind(**default)
        fields.append(("optimizer", kind, default))
    options_class = dataclasses.make_dataclass("Options", fields, kw_only=True, frozen=True)
    options_class.__doc__ = doc
    prog = f"genjax {command} {chosen}" if command else None
    try:
        options = cli_options.parse(options_class, doc, argv, prog)
    except ValueError as error:
        raise ValueError(with_owners(str(error), base.family)) from None
    optimizer = getattr(options, "optimizer", None)
    if isinstance(base.optimizer, dict):
        optimizer = {name: getattr(optimizer, name) for name in base.optimizer}
    names = {field.name for field in dataclasses.fields(base.data)}
    values = {name: getattr(options.data_settings, name) for name in names}
    config = type(base.model)(**vars(options.model))
    if cli_options.given_options(argv) & {"--attributes", "--second-attributes"}:
        chosen_names = attribute_names(families.get(base.family), config)
        values["attributes"] = chosen_names or values["attributes"]
    for name in SHARED & set(vars(config)):
        if cli_options.option_name(name) in cli_options.given_options(argv):
            values[name] = getattr(config, name)
    if options.fit:
        values["transform"] = with_fit(values["transform"], options.fit, config.shape)
    run = dataclasses.replace(
        base,
        model=config,
        data=type(base.data)(**values),
        train=options.train,
        optimizer=optimizer,
        seed=options.seed,
    )
    return options, smoke(run, cli_options.given_options(argv)) if options.smoke else run


def with_owners(message: str, family: str) -> str:
    """Adds to the error of an unknown option the families that have it, if others do."""
    unknown = re.match(r"there is no option --([a-z0-9-]+);", message)
    if unknown is None or "did you mean" in message:
        return message
    name = unknown[1].replace("-", "_")
    owners = [
        other
        for other in families.FAMILIES
        if name in families.get(other).Config.__dataclass_fields__
    ]
    if not owners:
        return message
    return (
        f"there is no option --{unknown[1]} of {family}; it is one of {', '.join(owners)}. Leave it"
        f" out, or choose another family."
    )


def _model_options(run: Run) -> tuple[str, Any, Any]:
    """Returns the field of a Config's options, which have no prefix but that of a part.

    The options of a part are `--PART.name`: it may have fields of the same name.
    """
    conf, model, parts = _tyro().conf, run.model, families.parts_of(run.family, run.model)
    kind = type(model)
    if not parts:
        return "model", Annotated[kind, conf.OmitArgPrefixes], model
    nested = [
        (f.name, Annotated[type(getattr(model, f.name)), conf.arg(name="")], getattr(model, f.name))
        for f in dataclasses.fields(model)
        if dataclasses.is_dataclass(getattr(model, f.name)) and f.name not in parts
    ]
    kind = dataclasses.make_dataclass(
        kind.__name__, nested, bases=(kind,), kw_only=True, frozen=True
    )
    return "model", Annotated[kind, conf.arg(name="")], kind(**vars(model))


def _without_options_of(model: Any, data: Data) -> Data:
    """Returns the settings of the data, whose fields that the Config has too are not options."""
    tyro = _tyro()
    both = {f.name for f in dataclasses.fields(model)} & {f.name for f in dataclasses.fields(data)}
    fixed = Annotated[Any, tyro.conf.Fixed, tyro.conf.Suppress]
    hidden = [
        (f.name, fixed, f.default)
        for f in dataclasses.fields(_data_options())
        if f.name in both - {"classes"}
    ]
    kind = dataclasses.make_dataclass(
        "Data", hidden, bases=(_data_options(),), kw_only=True, frozen=True
    )
    return kind(**vars(data))


def _data_options() -> type[Data]:
    """Returns the class of the options of the data.

    `classes` is `--data-classes`: `--classes` is the number of classes of a model.
    """
    hint = Annotated[tuple[str, ...], _tyro().conf.arg(name="data-classes")]
    classes = [("classes", hint, ())]
    kind = dataclasses.make_dataclass("Data", classes, bases=(Data,), kw_only=True, frozen=True)
    return typing.cast(type[Data], kind)


def parse_data(argv: list[str], default: Data = Data()) -> Data:  # noqa: B008 (frozen)
    """Returns the settings of the data among all options."""
    kind = _data_options()
    flat = _tyro().conf.OmitArgPrefixes[kind]  # type: ignore[valid-type]
    found = cli_options.parse(flat, "", argv, ignore_unknown=True, default=kind(**vars(default)))
    return Data(**vars(found))


def shape_options(recipe: Run, argv: list[str]) -> list[str]:
    """Returns `--shape` for the data given, unless it is given itself or the recipe's; and that of
    parts which take the same images.

    With `--fit`, height and width are the recipe's, and the channels those of the data.
    """
    given = cli_options.given_options(argv)
    if not given & SHAPED_BY or given & {"--shape", "--help"} or "-h" in argv:
        return []
    settings = parse_data(argv, recipe.data)
    mode: Any = cli_options.option_value(argv, "--fit")
    try:
        if mode:
            fitted = with_fit(settings.transform, mode, recipe.model.shape)
            settings = dataclasses.replace(settings, transform=fitted)
        shape = example_shape(settings)
    except ValueError:  # `parse` or `fit` says why
        return []
    if shape == tuple(recipe.model.shape):
        return []
    words = list(map(str, shape))
    parts = [
        part
        for part, (_, config) in families.parts_of(recipe.family, recipe.model).items()
        if tuple(config.shape) == tuple(recipe.model.shape)
    ]
    flags = [f"--{part.replace('_', '-')}.shape" for part in parts]
    return ["--shape", *words] + [word for f in flags if f not in given for word in (f, *words)]


def _tyro() -> Any:
    try:
        import tyro
    except ImportError:
        raise ValueError(
            "tyro is not installed, and it parses the options; pip install tyro, or run a recipe"
            " unchanged by python -m experiments.reproduce, which does not need it."
        ) from None
    return tyro


def _recipe(names: tuple[str, ...], argv: list[str]) -> str:
    """Returns the recipe given, whose settings are the defaults of all other options."""
    name = cli_options.option_value(argv, "--recipe")
    if name is None:
        return names[0]
    if name not in names:
        raise ValueError(f"there is no recipe '{name}'; there are {', '.join(names)}.")
    return name
