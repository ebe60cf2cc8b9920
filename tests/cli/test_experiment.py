"""The command line of an experiment: options, smoke runs, user errors, the table."""

import dataclasses
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from support.helpers import NAMES

from experiments import nade_binarized_mnist
from genjax import families
from genjax.cli import experiment
from genjax.core import Optimizer, network_names
from genjax.data import Data, make_transform
from genjax.families import gan, joint, joint_embedding
from genjax.train import Result, Run, Train
from genjax.train.run_config import differences

RECIPES = nade_binarized_mnist.RECIPES
DEFAULT = next(iter(RECIPES))
BASE = RECIPES[DEFAULT]
TOUR = Run(
    experiment="tour",
    family="gan",
    model=gan.Config(),
    optimizer=dict(generator=Optimizer(), discriminator=Optimizer()),
)
TABLE = Run(experiment="table", family="joint", model=joint.Config(), optimizer=None)


def parse(line, recipes=RECIPES):
    return experiment.parse(recipes, "Doc.", line.split())


def changed(line, recipes=RECIPES, base=BASE):
    """Settings that a command line changes in its recipe: `{name: new}`."""
    return {name: new for name, (_, new) in differences(base, parse(line, recipes)[1]).items()}


def test_without_options_the_first_recipe_is_used():
    options, run = parse("")
    assert run == BASE
    assert (options.recipe, options.smoke, options.resume) == (DEFAULT, False, True)


def test_options_set_model_optimizer_train_and_data():
    assert changed("--hidden 10 --activation sigmoid --shape 8 8 1") == {
        "model.hidden": 10,
        "model.activation": "sigmoid",
        "model.shape": [8, 8, 1],
    }
    assert parse("--shape 8 8 1")[1].model.shape == (8, 8, 1)
    assert changed("--learning-rate 0.25 --decay-steps 7") == {
        "optimizer.learning_rate": 0.25,
        "optimizer.decay_steps": 7,
    }
    assert changed(
        "--steps=12 --ema 0.5 --data digits --transform binarize('static') --seed 3"
    ) == {
        "train.steps": 12,
        "train.ema": 0.5,
        "data.data": "digits",
        "data.transform": "binarize('static')",
        "seed": 3,
    }


@pytest.mark.parametrize(
    "field",
    [
        (group, field)
        for group, settings in {
            "model": BASE.model,
            "data": BASE.data,
            "train": BASE.train,
            "optimizer": BASE.optimizer,
        }.items()
        for field in dataclasses.fields(settings)
    ],
    ids=lambda field: f"{field[0]}.{field[1].name}",
)
def test_each_setting_has_an_option(field):
    # An option that is missing, or sets a field of another group, fails here.
    group, name = field[0], field[1].name
    old = getattr(getattr(BASE, group), name)
    choices = {"optimizer": "rmsprop", "schedule": "cosine", "activation": "sigmoid"}
    choices |= {
        "order": "random" if old == "raster" else "raster",
        "transform": "binarize('dynamic')",
    }
    choices |= {"shape": "5 5 1", "data": "digits", "data_dir": "there", "decay_steps": "33"}
    choices |= {"nesterov": "", "patience": "3", "writers": "csv", "stream": "yes"}
    choices |= {"folds": "10", "fold": "3", "standardize": "", "unpaired": "", "floor": "1e-4"}
    choices |= {"labels_seed": "3", "metric": "parzen", "fid_weights": "there.pth"}
    choices |= {"restarts": "5 9", "boundaries": "5 9", "factors": "0.5 0.1"}
    choices |= {"parts_from": "one two", "ranker": "there"}
    choices |= {"tokenizer": "words", "caption": "there"}
    choices |= {
        "weights_from": "there",
        "attributes": "hat scarf",
        "classes": "3 cat",
        "compile_stages": "none",
    }
    if name in choices:
        value = choices[name]
    elif isinstance(old, float):
        value = str(old / 2 or 0.5)
    else:
        value = str(old + 1)
    flag = "--" + ("data-classes" if name == "classes" else name.replace("_", "-"))
    line = f"{flag} {value}" if old is not True else f"--no-{flag[2:]}"
    # Momentum is for sgd and rmsprop, Nesterov's form for where there is one.
    needs = {"momentum": "--optimizer sgd", "nesterov": "--optimizer sgd --momentum 0.5"}
    needs |= {"fold": "--folds 10", "orthogonal_steps": "--optimizer muon"}
    needs |= {"momentum_end": "--optimizer sgd --momentum 0.5 --momentum-steps 9"}
    needs |= {"momentum_steps": "--optimizer sgd --momentum 0.5 --momentum-end 0.7"}
    needs |= {"restarts": "--schedule cosine", "patience": "--eval-every 5"}
    needs |= {"boundaries": "--schedule piecewise --factors 0.5 0.1"}
    needs |= dict.fromkeys(("decrease", "floor"), "--schedule exponential")
    needs |= {"constant_steps": "--schedule constant_linear"}
    needs |= {"factors": "--schedule piecewise --boundaries 5 9"}
    others = {w[2:].replace("-", "_") for w in needs.get(name, "").split() if w.startswith("--")}
    found = changed(f"{line} {needs.get(name, '')}")
    assert set(found) == {f"{group}.{n}" for n in {name, *others}}
    if isinstance(old, (int, float)) and not isinstance(old, bool):
        assert found[f"{group}.{name}"] == type(old)(value)


def test_options_accept_underscores():
    assert changed("--learning_rate 0.25") == {"optimizer.learning_rate": 0.25}


def test_options_that_are_not_settings(tmp_path):
    line = f"--workdir {tmp_path} --no-resume --profile --commit abc --records {tmp_path}/r"
    options, run = parse(line)
    assert run == BASE
    assert options.workdir == tmp_path
    assert options.records == tmp_path / "r"
    assert (options.resume, options.profile, options.commit) == (False, True, "abc")


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("line", ["--recipe {} --seed 5", "--seed 5 --recipe={}"])
def test_a_recipe_brings_its_own_defaults(name, line):
    options, run = parse(line.format(name))
    assert options.recipe == name
    assert run == dataclasses.replace(RECIPES[name], seed=5)


def test_options_of_texts_set_model_and_data():
    base = Run(experiment="texts", family="joint_embedding", model=joint_embedding.Config())
    found = changed("--text-length 210 --vocabulary 90", {"texts": base}, base)
    names = {f"{group}.{name}" for group in ("model", "data") for name in experiment.SHARED}
    assert set(found) == names


def test_each_network_has_its_own_optimizer_options():
    recipes = {"gan": TOUR}
    found = changed("--optimizer.generator.learning-rate 0.5 --latent 3", recipes, TOUR)
    assert found == {"optimizer.generator.learning_rate": 0.5, "model.latent": 3}
    # How they are trained is a part of the model, and its options need no prefix either.
    found = changed("--loss hinge --critic-steps 5 --r1 0.5", recipes, TOUR)
    method = {"loss": "hinge", "critic_steps": 5, "r1": 0.5}
    assert found == {f"model.objective.{name}": value for name, value in method.items()}


def test_a_counted_family_has_no_optimizer():
    recipes = {"joint": TABLE}
    assert changed("--alpha 0.5", recipes, TABLE) == {"model.alpha": 0.5}
    with pytest.raises(ValueError, match="there is no option --learning-rate"):
        parse("--learning-rate 0.1", recipes)


@pytest.mark.parametrize("name", NAMES)
def test_config_fields_do_not_collide_with_other_options(name):
    # All settings stand in one row of options; of two optimizers, each has a prefix.
    family = families.get(name)
    others = [Train, Data] + ([] if network_names(family) else [Optimizer])
    others_names = {field.name for other in others for field in dataclasses.fields(other)}
    others_names |= {"workdir", "recipe", "smoke", "seed", "resume", "profile", "commit", "records"}
    mine = {field.name for field in dataclasses.fields(family.Config)}
    # Options of both model and data, and the one called --data-classes.
    assert not mine & (others_names - {"attributes", "classes"} - experiment.SHARED)


# --smoke.


def test_smoke_is_small():
    options, run = parse("--smoke")
    assert options.smoke
    assert run.train.steps <= 50
    assert run.train.batch_size <= 32
    assert run.data.limit == 100
    # The model and the optimizer are what is looked at, so they stay.
    assert (run.model, run.optimizer) == (BASE.model, BASE.optimizer)
    assert (run.train.ema, run.train.keep) == (BASE.train.ema, BASE.train.keep)


@pytest.mark.parametrize("line", ["--smoke --steps 7 --hidden 9", "--steps=7 --hidden=9 --smoke"])
def test_smoke_keeps_given_options(line):
    run, small = parse(line)[1], parse("--smoke")[1]
    assert {k: new for k, (_, new) in differences(small, run).items()} == {
        "train.steps": 7,
        "model.hidden": 9,
    }


def test_smoke_keeps_a_given_value_that_equals_the_recipes():
    # It is given, so it is kept, though it changes nothing.
    assert parse(f"--smoke --batch-size {BASE.train.batch_size}")[1].train.batch_size == (
        BASE.train.batch_size
    )
    assert parse("--smoke --eval_batch 77")[1].train.eval_batch == 77


def test_smoke_keeps_a_label_of_each_class():
    few = {"few": dataclasses.replace(BASE, data=Data(data="digits", labels_per_class=10))}
    assert parse("--smoke", few)[1].data.labels_per_class == 1  # of a hundred images
    assert experiment.smoke(few["few"]) == parse("--smoke", few)[1]
    assert parse("--smoke --labels-per-class 3", few)[1].data.labels_per_class == 3
    assert parse("--smoke")[1].data.labels_per_class == 0


@pytest.mark.parametrize("limit", [30, 0])
def test_smoke_keeps_a_given_limit(limit):
    assert parse(f"--smoke --limit {limit}")[1].data.limit == limit


def test_no_smoke_is_the_whole_run():
    assert parse("--no-smoke")[1] == BASE


# Mistakes.


def one_line(error):
    """Returns the message, which must be one short line without tyro's frame."""
    message = str(error.value)
    assert "\n" not in message, message
    assert not set("╭╮╰╯│─") & set(message), message
    assert len(message) < 250, message
    # Without help text, titles and lists of attempts.
    doubled = ("Invalid choice invalid", "argument Missing", "options Unrecognized")
    for left in ("helptext", "Got errors", *doubled):
        assert left not in message, message
    assert message.endswith("."), message
    return message


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--hiden 3", ["--hiden", "did you mean --hidden?"]),
        ("--hidden 3 --lerning-rate 1", ["--lerning-rate", "did you mean --learning-rate?"]),
        ("--lerning_rate=1", ["--lerning-rate", "did you mean --learning-rate?"]),
        ("--no-smok", ["--no-smok", "did you mean --no-smoke?"]),
        ("--qqqqqqqqq 1", ["there is no option --qqqqqqqqq", "--help"]),
        ("--hidden x", ["--hidden", "'x'"]),
        ("--hidden 1.5", ["--hidden", "'1.5'"]),
        ("--hidden=", ["--hidden"]),
        ("--learning-rate fast", ["--learning-rate", "'fast'"]),
        ("--shape a b", ["--shape", "a"]),
        ("--decay-steps soon", ["--decay-steps", "'soon'"]),
        ("--activation foo", ["--activation", "'foo'", "relu", "sigmoid"]),
        ("--fit stretch", ["--fit", "'stretch'", "crop", "pad"]),
        ("--fit crop --shape 64", ["--fit crop needs a model of images", "[64]; leave it out"]),
        ("--transform foo", ["transform", "'foo'", "dequantize"]),
        ("--hidden", ["--hidden"]),
        ("--data", ["--data"]),
        ("--recipe", ["--recipe"]),
        ("word", ["word"]),
        ("--hidden -3", ["`hidden` must be a positive integer, got -3"]),
        ("--shape 8 8 0", ["`shape` must be a non-empty tuple, each entry a positive integer"]),
        ("--steps 0", ["`steps` must be a positive integer, got 0"]),
        ("--ema 1.5", ["`ema` must be a number in [0, 1), got 1.5"]),
        ("--learning-rate -1", ["`learning_rate` must be a positive number, got -1.0"]),
        ("--seed -1", ["`seed` must be non-negative, got -1"]),
        (f"--seed {2**32}", ["`seed` must be below 2^32"]),
        ("--limit -5", ["`limit` must be a non-negative integer, got -5"]),
        ("--recipe foo", ["there is no recipe 'foo'", DEFAULT]),
    ],
)
def test_a_user_error_is_one_line_that_names_the_option(line, words):
    with pytest.raises(ValueError, match=r".") as error:
        parse(line)
    message = one_line(error)
    for word in words:
        assert word in message, message


def test_suggests_options_of_one_network():
    with pytest.raises(ValueError, match=r"did you mean --optimizer\.generator\.learning-rate\?"):
        parse("--optimizer.generator.lerning-rate 1", {"gan": TOUR})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("--shape 8 8 1 --data digits", []),
        ("--data digits", ["--shape", "8", "8", "1"]),
        ("--data=digits --limit 5 --labels-per-class 9", ["--shape", "8", "8", "1"]),
        ("--data digits --transform center_crop(4)", ["--shape", "4", "4", "1"]),
        ("--data digits --fit pad", []),  # the recipe's, 28 28 1
        ("--data glyphs_attributes --fit crop", ["--shape", "28", "28", "3"]),
        ("--data digits --fit stretch", []),  # `parse` says why
        ("--data nowhere.npz --help", []),
    ],
)
def test_the_shape_is_that_of_the_data_given(line, expected):
    assert experiment.shape_options(BASE, line.split()) == expected


def test_a_run_on_other_data_needs_no_shape(monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(experiment, "fit", lambda run, *_, **__: trained.append(run) or SKIPPED)
    line = f"--data digits --transform binarize('threshold') --workdir {tmp_path}"
    experiment.run_experiment(RECIPES, "Doc.", line.split())
    assert trained[0].model.shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("line", "transform"),
    [
        ("--fit pad", "fit(28, mode='pad')|binarize('threshold')"),
        ("--fit=crop --shape 16 8 1", "fit(16, 8, mode='crop')|binarize('threshold')"),
        ("--data digits", "binarize('threshold')"),
    ],
)
def test_images_of_any_size_fit_the_model(line, transform):
    run = parse(f"--transform binarize('threshold') {line}")[1]
    assert run.data.transform == transform
    batch = {"x": np.zeros((2, 30, 17, 1), np.uint8)}
    found = make_transform(run.data.transform, 256)(batch, jax.random.key(0))["x"].shape[1:]
    assert found == (run.model.shape if "fit" in line else (30, 17, 1))


SKIPPED = Result(finished=False, step=0, reason="")


@pytest.fixture
def main(monkeypatch, capsys):
    """`main` in this process: status, stdout, stderr. It must never come to training."""
    monkeypatch.setattr(experiment.cli_options, "set_up_process", lambda: None)
    monkeypatch.setattr(experiment, "fit", lambda *args, **kwargs: pytest.fail("training began"))

    def run(line):
        status = experiment.main(RECIPES, nade_binarized_mnist.__doc__, line.split())
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    "line", ["--hiden 3", "--hidden -3", "--hidden x", "--activation foo", "--hidden"]
)
def test_main_prints_user_errors_to_stderr_and_returns_2(main, line):
    status, out, err = main(line)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1


def test_process_count_and_index_come_from_the_environment(monkeypatch):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **given: calls.append(given))
    for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    experiment.join_cluster()
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "0")
    experiment.join_cluster()
    assert calls == [
        {"num_processes": None, "process_id": None},
        {"num_processes": 4, "process_id": 0},
    ]
    monkeypatch.setenv("JAX_PROCESS_ID", "first")
    with pytest.raises(ValueError, match="`JAX_PROCESS_ID` must be a non-negative integer, got"):
        experiment.join_cluster()


def test_a_user_error_in_a_new_process():
    # The same through the shell: exit status, no traceback, no warnings of JAX before it.
    done = subprocess.run(
        [sys.executable, "-m", "experiments.nade_binarized_mnist", "--hiden", "3"],
        cwd=pathlib.Path(experiment.__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(
        r"error: there is no option --hiden; did you mean --hidden\?.*\n", done.stderr
    )


def test_help_lists_every_option_and_exits_with_0(main, capsys):
    with pytest.raises(SystemExit) as stop:
        main("--help")
    assert not stop.value.code
    shown = capsys.readouterr().out
    listed = set(re.findall(r"--[a-z][a-z0-9-]*", shown))
    assert {"--workdir", "--data", "--steps", "--seed", "--smoke", "--no-resume"} <= listed
    for settings in (BASE.model, BASE.data, BASE.train, BASE.optimizer):
        names = {"--" + field.name.replace("_", "-") for field in dataclasses.fields(settings)}
        if settings is BASE.data:
            names = names - {"--classes"} | {"--data-classes"}
        assert names <= listed, names - listed
    # The recipe's own values are the defaults shown, and the file's docstring stands above.
    assert f"(default: {BASE.train.steps})" in shown
    assert nade_binarized_mnist.__doc__.split("\n")[0] in shown


def test_errors_of_the_run_itself_are_one_line(monkeypatch, capsys, main):
    def fail(error):
        def fit(*args, **kwargs):
            raise error

        monkeypatch.setattr(experiment, "fit", fit)
        return main("--hidden 5")

    assert fail(ValueError("no such data.")) == (2, "", "error: no such data.\n")
    # A run that diverged is no mistake of the command line: another status.
    assert fail(FloatingPointError("loss is nan.")) == (1, "", "error: loss is nan.\n")


# What becomes of a finished run.


@pytest.fixture
def finished(monkeypatch, tmp_path, main):
    """`main` with a training that is over at once; keeps what it was called with."""
    calls = []

    def fit(run, workdir, **options):
        calls.append((run, workdir, options))
        record = {"experiment": run.experiment, "seed": run.seed}
        record["data_checksum"] = run.figure.data_checksum
        return experiment.Result(True, run.train.steps, "end of schedule", record)

    monkeypatch.setattr(experiment, "fit", fit)

    def run(line):
        status, _, err = main(f"{line} --records {tmp_path}")
        assert status == 0
        return calls[-1], err, sorted(p.name for p in tmp_path.iterdir())

    return run


def test_a_run_of_the_recipe_is_added_to_the_table(finished):
    # Where the data lie, the seed and how often something is written make no other numbers.
    line = "--seed 4 --data elsewhere.npz --data-dir there --log-every 7 --save-every 3"
    (run, workdir, options), _, files = finished(line + " --commit abc --no-resume")
    name = BASE.experiment.replace(":", "-")
    assert files == [f"{name}-seed4.json"]
    assert workdir == pathlib.Path("runs") / f"{name}-seed4"
    assert run.train.log_every == 7
    assert (options["commit"], options["resume"]) == ("abc", False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--smoke", "train.steps"),
        ("--hidden 9", "model.hidden"),
        ("--steps 9", "train.steps"),
        ("--batch-size 9", "train.batch_size"),
        ("--limit 9", "data.limit"),
        ("--learning-rate 0.5", "optimizer.learning_rate"),
        ("--eval-samples 9", "train.eval_samples"),
        ("--eval-every 9", "train.eval_every"),  # decides which weights are chosen
    ],
)
def test_a_run_that_differs_from_its_recipe_is_not_added_to_the_table(finished, line, message):
    (_, workdir, _), err, files = finished(line)
    assert files == []
    assert message in err
    assert "not added to the table" in err
    assert workdir.name.endswith("-smoke-seed0") == ("smoke" in line)


def test_other_data_without_a_checksum_drop_the_papers_figure(finished, monkeypatch):
    cited = dataclasses.replace(BASE, figure=dataclasses.replace(BASE.figure, data_checksum=""))
    monkeypatch.setitem(RECIPES, DEFAULT, cited)
    assert finished("")[0][0].figure.paper == BASE.figure.paper
    assert finished("--data here/binarized_mnist.npz")[0][0].figure.paper == BASE.figure.paper
    assert finished("--data digits")[0][0].figure.paper is None


def test_an_unfinished_run_is_not_added_to_the_table(monkeypatch, tmp_path, main):
    monkeypatch.setattr(experiment, "fit", lambda *a, **k: experiment.Result(False, 3, "SIGTERM"))
    assert main(f"--records {tmp_path}")[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_smoke_sizes_are_settings_of_train():
    # A renamed field would otherwise fail only with --smoke.
    assert set(experiment.SMOKE) <= {f.name for f in dataclasses.fields(Train)}
    assert isinstance(experiment.smoke(TABLE).data, Data)
    assert isinstance(BASE.optimizer, Optimizer)


def test_smoke_of_a_counted_family_sees_each_image_once():
    run = parse("--smoke", {"joint": TABLE})[1]
    assert run.train.steps * run.train.batch_size <= run.data.limit
    assert experiment.smoke(TABLE) == run
