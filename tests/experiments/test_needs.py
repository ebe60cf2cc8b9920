"""Runs that experiments train first: those of their recipes, with the options of the run."""

import dataclasses
import importlib

import pytest

from experiments.table import rows
from genjax import families
from genjax.cli.earlier_runs import earlier_runs

ROWS = rows()
NEEDS = {
    name: module.needs
    for name in ROWS
    if hasattr(module := importlib.import_module(f"experiments.{name.partition(':')[0]}"), "needs")
}
COMPOSED = [name for name in NEEDS if families.parts_of(ROWS[name].family, ROWS[name].model)]


@pytest.mark.parametrize("name", NEEDS)
def test_without_options_they_are_recipes(name):
    run, needs = ROWS[name], NEEDS[name]
    needed = earlier_runs(run, needs)
    assert all(other == ROWS[other.experiment] for other in needed)
    named = {*run.train.parts_from, run.train.ranker} - {""}
    assert {other.experiment for other in needed} >= named


@pytest.mark.parametrize("name", COMPOSED)
def test_options_of_the_data_and_the_parts_reach_them(name):
    run, needs = ROWS[name], NEEDS[name]
    ((part, (_, config)),) = families.parts_of(run.family, run.model).items()
    field = {"image_tokenizer": "hidden", "embedding": "embedding"}[part]
    changed = dataclasses.replace(config, **{field: getattr(config, field) * 2})
    data = {"data_dir": "elsewhere", "limit": 500, "validation": 7, "caption": "words"}
    run = dataclasses.replace(
        run,
        model=dataclasses.replace(run.model, **{part: changed}),
        data=dataclasses.replace(run.data, transform=f"random_flip()|{run.data.transform}", **data),
        train=dataclasses.replace(run.train, steps=100),
    )
    needed = {other.experiment: other for other in earlier_runs(run, needs)}
    assert needed[run.train.parts_from[0]].model == changed
    before = run.data.transform.removesuffix("scale(-1, 1)").removesuffix("scale(0, 1)")
    assert before.startswith("random_flip()|")
    for other in needed.values():
        assert {name: getattr(other.data, name) for name in data} == data
        assert other.data.transform == f"{before}scale(0, 1)"
        assert other.train.steps > 0
