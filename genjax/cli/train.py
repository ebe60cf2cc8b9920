"""`genjax train FAMILY --data DATA`: trains a family on your own data.

DATA is a folder written by `genjax prepare`, a .npz file, a .csv table, a TFDS name, or digits.
Shape, levels, classes, transform and the folds of a table are chosen from the data and the family,
optimizer and length by the kind of family; every setting is an option, listed by `genjax train
FAMILY --help`. `--fit crop|pad` makes images square, with a side that is a power of two unless
`--shape` is given. Networks that grow reach the size of the data in `--steps`, unless
`--fade-images` or `--stable-images` is given. Puzzles have 3x3 pieces, or another `--grid` that the
images can be cut into. Captions are read as letters where the family takes letters, else by
byte-pair encoding, unless `--tokenizer` is given. The parts of a family that contains others have
the Configs of the runs given by `--parts-from`. The run is written to runs/FAMILY-DATA-seedN; the
same command resumes it.
"""

import dataclasses
from typing import Any

from genjax import data as genjax_data
from genjax import evals, families
from genjax.cli import experiment
from genjax.cli.options import (
    ArgumentParser,
    command,
    given_options,
    option_value,
    option_values,
)
from genjax.core import Optimizer, network_names, stages_of
from genjax.core.protocols import Growing, PuzzleSolver, TextConditional, Traits
from genjax.core.puzzles import Grid
from genjax.data import Data, Dataset, tokenizers
from genjax.train.load_run import RUNS
from genjax.train.named_runs import named_folder
from genjax.train.named_weights import find_weights
from genjax.train.record import dataset_name
from genjax.train.run_config import Run, Train, attribute_names
from genjax.train.run_files import run_files

EVERY = 1000  # steps between evaluations (at most), samples and checkpoints
EPOCHS = 20  # between evaluations of small data
MIN_PIECE = 4  # pixels of the sides of pieces
LETTERS = len(tokenizers.ALPHABET) + 1  # tokens of characters, with padding


@command("--batch-size, --eval-batch")
def main(argv: list[str]) -> None:
    """Chooses defaults from the data, parses the options and trains."""
    parser = ArgumentParser("train", __doc__)
    parser.add_argument("family", metavar="FAMILY", help=", ".join(sorted(families.FAMILIES)))
    name = parser.parse_args(argv[:1]).family
    families.get(name)
    run, chosen = default_run(name, argv[1:])
    experiment.run_experiment(
        {name: run},
        f"Trains {name} on your data.",
        [*argv[1:], *chosen],
        command="train",
        given=argv[1:],
    )


def default_run(name: str, argv: list[str]) -> tuple[Run, list[str]]:
    """Returns the default run of a family, and the options not given that depend on the data.

    Raises:
      ValueError: no data is given, or it cannot be read.
    """
    given = given_options(argv)
    if given & {"--help"} or "-h" in argv:
        return _run(name, Data(), Train()), []
    if "--data" not in given:
        raise ValueError(
            "--data is missing; give a folder written by `genjax prepare`, a .npz file, a .csv"
            " table, a TFDS name, or digits."
        )
    config, texts = with_parts(name, argv)
    settings = experiment.parse_data([*argv, *texts])
    is_table = genjax_data.is_table(settings.data)
    table = ["--folds", "10"] if is_table and "--folds" not in given else []
    settings = experiment.parse_data([*argv, *texts, *table])
    dataset = genjax_data.load(with_tokens(name, config, settings))
    plain = dataclasses.replace(settings, tokenizer="")
    chosen, held_out = data_options(name, plain, dataset)
    chosen |= text_options(name, config, settings, dataset)
    for part, (_, other) in families.parts_of(name, config).items():
        if other.shape == config.shape and "--parts-from" not in given:
            chosen[f"--{part.replace('_', '-')}.shape"] = chosen["--shape"]
    mode = option_value(argv, "--fit")
    if mode in ("crop", "pad") and len(chosen["--shape"]) == 3:
        height, width, channels = map(int, chosen["--shape"])
        side = str(fitted_side(mode, height, width))
        chosen["--shape"] = [side, side, str(channels)]
    given |= {flag.replace("--no-", "--") for flag in given}
    options = table + [
        word for flag, words in chosen.items() if flag not in given for word in (flag, *words)
    ]
    if "--validation" in given:
        held_out = 0  # `load` has held them out
    length = default_train(name, dataset.counts()["train"] - held_out)
    run = dataclasses.replace(_run(name, settings, length), model=config)
    if isinstance(families.get(name), Growing) and not given & {"--fade-images", "--stable-images"}:
        _, parsed = experiment.parse({name: run}, "", [*argv, *options], "train")
        phase = str(images_per_phase(parsed))
        options += ["--fade-images", phase, "--stable-images", phase]
    return run, options


def with_parts(name: str, argv: list[str]) -> tuple[Any, list[str]]:
    """Returns the default Config of a family, with the parts of the runs given by `--parts-from`.

    Returns:
      the Config, and the options of the tokens that a part takes.
    """
    config, texts = families.get(name).Config(), []
    sources = option_values(argv, "--parts-from")
    seed = option_value(argv, "--seed") or "0"
    changes: dict[str, Any] = {}
    for part, source in zip(families.parts_of(name, config), sources, strict=False):
        folder = named_folder(source, int(seed) if seed.isdigit() else 0, RUNS)
        if not (folder / "config.json").is_file() and find_weights(str(folder)) is None:
            continue  # `fit` says what is missing
        other = run_files(folder).settings()
        changes[part] = other.model
        if config.shape == getattr(config, part).shape:
            changes["shape"] = other.model.shape
        if other.data.tokenizer and isinstance(families.get(other.family), TextConditional):
            texts = ["--tokenizer", other.data.tokenizer]
    try:
        return dataclasses.replace(config, **changes), texts
    except (TypeError, ValueError):  # a run of another family, as `fit` says
        return config, texts


def with_tokens(name: str, config: Any, settings: Data) -> Data:
    """Returns the settings of data with the tokens that a family takes by default, or none."""
    family = families.get(name)
    if not isinstance(family, TextConditional):
        return dataclasses.replace(settings, tokenizer="")
    spec = family.text_spec(config)
    kind = settings.tokenizer or ("characters" if spec.vocabulary == LETTERS else "bpe")
    return dataclasses.replace(settings, tokenizer=kind, text_length=spec.length)


def text_options(name: str, config: Any, settings: Data, dataset: Dataset) -> dict[str, list[str]]:
    """Returns the options of the texts of a family: its tokens, their number, and the longest text.

    Args:
      name: of the family.
      config: its Config.
      settings: of the data.
      dataset: loaded by `with_tokens`.
    """
    family = families.get(name)
    if not isinstance(family, TextConditional):
        return {}
    kind = with_tokens(name, config, settings).tokenizer
    chosen: dict[str, list[str]] = {"--tokenizer": [kind]}
    owners = {"": config} | {f"{p}.": c for p, (_, c) in families.parts_of(name, config).items()}
    prefix = next((p for p, c in owners.items() if hasattr(c, "text_length")), "")
    trained = prefix and owners[prefix] != getattr(family.Config(), prefix[:-1])
    if trained or (kind == "characters" and family.text_spec(config).vocabulary == LETTERS):
        return chosen
    assert dataset.tokenizer is not None
    chosen[f"--{prefix}vocabulary"] = [str(dataset.tokenizer.size)]
    if "text" in dataset.splits.get("train", {}):
        lengths = [(split["text"] != 0).sum(-1).max() for split in dataset.splits.values()]
        chosen[f"--{prefix}text-length"] = [str(int(max(lengths)))]
    if kind != "characters" and hasattr(owners[prefix], "text_encoder"):
        chosen[f"--{prefix}text-encoder"] = ["transformer"]
    return chosen


def images_per_phase(run: Run) -> int:
    """Returns the images per fade and per size with which networks reach their full size.

    The last of the stages has what is left: a fade, and at least twice as many images after it.
    """
    family, batch = families.get(run.family), run.train.batch_size
    short = dataclasses.replace(run.model, fade_images=1, stable_images=1)
    stages = stages_of(family, short, batch, run.train.steps)
    each = min(stage.examples_per_step for stage in stages)
    return max(1, run.train.steps * each // (2 * len(stages)))


def data_options(name: str, settings: Data, dataset: Dataset) -> tuple[dict[str, list[str]], int]:
    """Returns options that fit a family to data, and the examples held out for validation."""
    family = families.get(name)
    config = family.Config()
    traits = family.traits(config)
    transform = settings.transform or default_transform(traits, dataset.levels)
    shape = genjax_data.output_spec(transform, dataset).shape
    chosen = {"--shape": [str(size) for size in shape], "--transform": [transform]}
    if traits.data == "real" and settings.folds and not dataset.levels:
        chosen["--standardize"] = []
    if traits.data == "levels":
        chosen["--levels"] = [str(dataset.levels)]
    if isinstance(family, PuzzleSolver):
        rows, columns = default_grid(family.grid(config), *shape[:2])
        chosen["--grid"] = [str(rows), str(columns)]
    names, known = attribute_names(family, config), dataset.names.get("attributes", ())
    if names and known and set(names) <= set(known):
        chosen["--attributes"] = list(config.attributes)
    elif names and known:
        chosen["--attributes"] = list(known)
        chosen["--exclusive"] = []
    counts, held_out = dataset.counts(), 0
    evaluated = evals.evaluated_quantity(family, config) is not None
    if evaluated and "validation" not in counts and not settings.folds:
        held_out = min(counts["train"] // 10, 10_000)
        chosen["--validation"] = [str(held_out)]
    if getattr(config, "classes", 0):
        labels = dataset.splits.get("train", {}).get("label")
        if labels is not None:
            chosen["--classes"] = [str(int(labels.max()) + 1)]
            if hasattr(config, "labelled"):  # the share of training examples with a known label
                if held_out:  # labels are kept among the examples that remain
                    remaining = dataclasses.replace(settings, validation=held_out)
                    labels = genjax_data.load(remaining).splits["train"]["label"]
                chosen["--labelled"] = [repr(float((labels >= 0).mean()))]
    return chosen, held_out


def default_grid(grid: Grid, height: int, width: int) -> Grid:
    """Returns rows and columns of pieces: those given, or others that images can be cut into.

    >>> default_grid((3, 3), 72, 72), default_grid((3, 3), 28, 28), default_grid((3, 3), 8, 8)
    ((3, 3), (4, 4), (2, 2))
    """
    candidates = (grid, (3, 3), (4, 4), (2, 2))
    whole = [g for g in candidates if height % g[0] == 0 == width % g[1]]
    large = [g for g in whole if min(height // g[0], width // g[1]) >= MIN_PIECE]
    return (large or whole or [grid])[0]


def fitted_side(mode: str, height: int, width: int) -> int:
    """Returns the power of two that images are cropped or padded to by default.

    It is the one that enlarges no image: for 'crop' the largest that a window of the image has,
    and for 'pad' the smallest that holds the image.

    >>> fitted_side("crop", 218, 178), fitted_side("pad", 28, 28)
    (128, 32)
    """
    if mode == "crop":
        return 2 ** (min(height, width).bit_length() - 1)
    return 2 ** (max(height, width) - 1).bit_length()


def default_transform(traits: Traits, levels: int) -> str:
    """Returns the transform from data of `levels` (0: real numbers) to what a family models."""
    if traits.data == "images":
        return "scale({:g}, {:g})".format(*traits.sample_range)
    if traits.data == "binary" and levels != 2:
        return "binarize('dynamic')"
    if traits.data == "real" and levels:
        return "dequantize()"
    return ""


def default_train(name: str, examples: int) -> Train:
    """Returns length and batch size by the kind of family."""
    family = families.get(name)
    traits = family.traits(family.Config())
    if traits.fit == "counting":
        return Train(steps=1, batch_size=examples)
    if traits.fit == "em":
        every: dict[str, Any] = dict(log_every=1, eval_every=5, sample_every=5, save_every=10)
        return Train(steps=50, batch_size=examples, **every)
    often: dict[str, Any] = dict(log_every=100, sample_every=EVERY, save_every=EVERY)
    if isinstance(family, Growing):
        size = min(16, examples - examples % 4 or examples)  # of groups for statistics of a batch
        return Train(steps=50_000, batch_size=size, ema=0.999, **often)
    if evals.evaluated_quantity(family, family.Config()) is None:
        return Train(steps=50_000, batch_size=min(64, examples), ema=0.999, **often)
    samples = 100 if traits.density == "bound" else 1
    size = min(100, examples)
    return Train(
        steps=20_000,
        batch_size=size,
        eval_every=min(EVERY, max(10, EPOCHS * examples // size)),
        eval_samples=samples,
        **often,
    )


def _run(name: str, settings: Data, length: Train) -> Run:
    family = families.get(name)
    config = family.Config()
    optimizer: Any = None
    if networks := network_names(family):
        adam = Optimizer(learning_rate=2e-4, b1=0.5)
        if isinstance(family, Growing):
            adam = Optimizer(learning_rate=1e-3, b1=0.0, b2=0.99)
        optimizer = dict.fromkeys(networks, adam)
    elif family.traits(config).fit == "gradient":
        optimizer = Optimizer(learning_rate=1e-3, schedule="linear")
    return Run(
        experiment=f"{name}-{dataset_name(settings.data)}",
        family=name,
        model=config,
        data=dataclasses.replace(settings, transform=""),
        optimizer=optimizer,
        train=length,
    )
