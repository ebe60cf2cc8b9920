"""README, BUILD.md and docs: commands, code, figures, links and lengths are as stated."""

import functools
import importlib
import json
import re

import jax
import pytest
from PIL import Image
from support.helpers import ROOT, run_program

from experiments import table
from genjax.cli import experiment
from genjax.cli.main import COMMANDS, main
from genjax.train.record import read_records, summarize

README = (ROOT / "README.md").read_text()
BUILD = (ROOT / "BUILD.md").read_text()
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "BUILD.md", *DOCS]
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def test_readme_opens_with_pictures_and_code_before_the_two_commands():
    head = README.split("\n## ")[0]
    assert re.match(r"# genjax\n\n!\[[^]]{20,}\]\(docs/strip\.png\)\n\n", head)
    code, commands = (block.strip() for block in head.split("```")[1::2])
    assert code.startswith("python\n")
    assert len([line for line in code.splitlines()[1:] if line]) <= 6
    assert [re.sub(r"\s+#.*", "", line) for line in commands.splitlines()] == [
        "pip install -e . && python -m experiments.examples.tour",
        "pip install -e '.[test]' && pytest",
    ]


def test_the_figures_of_the_readme_are_those_of_the_records():
    records, known = read_records(table.RECORDS), table.rows()
    pattern = r"^\| `(\w+(?::\w+)?)` \| .+ \| ([\d.]+) \| ([\w-]+) \| (.+) \|$"
    lines = re.findall(pattern, README, re.MULTILINE)
    assert len(lines) > 10
    for name, paper, evidence, here in lines:
        mine = [record for record in records if record["experiment"] == name]
        row = summarize(mine, known[name].figure)
        assert (paper, evidence) == (f"{row['paper']:.2f}", known[name].figure.tag), name
        if row["std_error"] is None:  # a median of seeds: between which they lie
            assert here == f"{row['obtained']:.2f} ({row['lowest']:.2f} to {row['highest']:.2f})"
        else:
            assert here == f"{row['obtained']:.2f} ± {row['std_error']:.2f}", name


TRANSLATION_COLUMNS = {
    "top-1 %": "b_top1",
    "top-5 %": "b_top5",
    "L1": "b_l1",
    "ink IoU": "b_ink_iou",
    "wrong face %": "b_face_error",
    "photo RMSE": "a_rmse",
    "photo within 10 %": "a_within_10",
    "map RMSE": "b_rmse",
    "map within 5 %": "b_within_5",
    "map within 10 %": "b_within_10",
    "one: error %": "single_attribute_error",
    "one: L1": "single_l1",
    "one: top-1 %": "single_top1",
    "all: error %": "multiple_all_attribute_error",
    "all: L1": "multiple_all_l1",
    "ink: top-1 %": "single_exclusive_top1",
    "hair: error %": "single_Hair_attribute_error",
    "gender: error %": "single_Male_attribute_error",
    "age: error %": "single_Young_attribute_error",
    "reconstruction L1": "single_reconstruction",
    "unlabelled: error %": "unlabelled_attribute_error",
}


def test_the_figures_of_translations_are_those_of_the_records():
    records = {
        r["experiment"]: next(iter(r.get("final_metrics", {}).values()), {})
        for r in read_records(table.RECORDS)
    }
    prefixes = {"identity map": "identity_", "mean image": "mean_image_", "true images": "truth_"}
    prefixes |= {"ridge on validation pairs": "ridge_", "ridge": "ridge_", "real images": "real_"}
    tables = (ROOT / "docs" / "translation.md").read_text().split("## Figures")[1].split("\n\n")
    checked = 0
    for lines in (t.splitlines() for t in tables if t.startswith("| row |")):
        columns = [TRANSLATION_COLUMNS[name] for name in lines[0].strip("| ").split(" | ")[1:]]
        names = re.findall(r"^\| `([\w:]+)` \|", "\n".join(lines), re.MULTILINE)
        for line in lines[2:]:
            name, *cells = (cell.strip() for cell in line.strip().removesuffix("|")[1:].split("|"))
            found = name.strip("`") if name.startswith("`") else names[0]
            prefix = "" if name.startswith("`") else prefixes[name.split(": ")[1]]
            for column, cell in zip(columns, cells, strict=True):
                value = records[found].get(prefix + column)
                if value is None:
                    assert not cell, (name, column)
                else:
                    decimals = len(cell.partition(".")[2])
                    factor = 1 if "l1" in column or decimals == 3 or "rmse" in column else 100
                    if column.endswith("reconstruction"):
                        factor = 1
                    assert cell == f"{factor * value:.{decimals}f}", (name, column)
                    checked += 1
    assert checked > 50


GROWING_COLUMNS = {
    "SWD": ("swd", "average"),
    "SWD at 64": ("swd", "levels", "64"),
    "SWD at 32": ("swd", "levels", "32"),
    "SWD at 16": ("swd", "levels", "16"),
    "classifier-Frechet": ("classifier_frechet", "distance"),
    "MS-SSIM": ("ms_ssim", "mean"),
    "change inside the part": ("part_changes", "inside"),
}


def test_the_figures_of_growing_networks_are_those_of_the_records():
    records = {r["experiment"]: r for r in read_records(table.RECORDS)}
    checked = 0
    for header, rows in figure_tables("growing.md", "| row |"):
        names = [row[0].strip("`") for row in rows if row[0].startswith("`")]
        for name, *cells in rows:
            real = not name.startswith("`")
            record = records[names[0] if real else name.strip("`")]
            for column, cell in zip(header[1:], cells, strict=True):
                decimals = len(cell.partition(".")[2])
                if column == "paper":
                    want = "" if real else f"{table.rows()[name.strip('`')[:-4]].figure.paper:.2f}"
                    assert cell == want, (name, column)
                    continue
                metric, quantity, *level = GROWING_COLUMNS[column]
                value = record["final_metrics"][metric]["real_" * real + quantity]
                value = value[level[0]] if level else value
                assert cell == f"{value:.{decimals}f}", (name, column)
                checked += 1
    assert checked > 30


def figure_tables(page, *starts):
    """Yields the header and the rows of each table below Figures whose first line starts so."""
    blocks = (ROOT / "docs" / page).read_text().split("## Figures")[1].split("\n\n")
    for lines in (block.splitlines() for block in blocks if block.startswith(starts)):
        header, _, *rows = ([c.strip() for c in line.strip().split("|")[1:-1]] for line in lines)
        yield header, rows


PUZZLE_COLUMNS = {
    **{f"gap {gap}": f"gap_{gap}_solved" for gap in range(3)},
    **{f"{missing} missing": f"missing_{missing}_solved" for missing in (1, 2)},
    "pieces": "gap_0_pieces",
}


def test_the_figures_of_puzzles_are_those_of_the_records():
    """Tables have one run and a row per solver, or a row per run and a column per solver."""
    records = {r["experiment"]: r for r in read_records(table.RECORDS)}
    checked = 0
    for (kind, *columns), rows in figure_tables("puzzles.md", "| row |", "| recipe |"):
        names = [name.strip("`") for name, *_ in rows if name.startswith("`")]
        for first, *cells in rows:
            run = first.strip("`") if kind == "recipe" else names[0]
            found = records[run]["final_metrics"]["puzzle"]
            for column, cell in zip(columns, cells, strict=True):
                if column == "paper":
                    paper = table.rows()[run].figure.paper
                    assert cell == ("" if paper is None else f"{paper:.1f}"), run
                    continue
                by_solver = column if kind == "recipe" and column != "pieces" else first
                model = by_solver.startswith("`") or by_solver == "model"
                solver = "" if model else by_solver.replace(" ", "_") + "_"
                own = "gap_0_solved" if by_solver == column else column.strip("`") + "_solved"
                value = found.get(solver + PUZZLE_COLUMNS.get(column, own))
                assert cell == ("" if value is None else f"{100 * value:.1f}"), (run, first, column)
                checked += value is not None
    assert checked > 15


CAPTION_SPLITS = {"seen": "test", "unseen": "unseen", "bindings": "bindings"}
CAPTION_ROWS = {
    "one image": "{}_right_1",
    **{f"best of {n} by the ranker": f"ranked_{{}}_right_{n}" for n in (8, 32)},
    **{f"best of {n} by its density": f"own_scores_{{}}_right_{n}" for n in (8, 32)},
    **{f"any of {n}": f"any_{{}}_right_{n}" for n in (8, 32)},
    **{f"guidance {scale}": f"guidance_{scale}_{{}}_right_1" for scale in (2, 3)},
    "real images, encoded and decoded": "decoded_{}_right_1",
    "real images": "real_{}_right_1",
    "chance": "chance_{}_right_1",
}
CAPTION_COLUMNS = {  # metric, quantity and factor; a split is written behind the column's name
    "squared error": ("token_usage", "squared_error", 1),
    "perplexity": ("token_usage", "perplexity", 1),
    "unused %": ("token_usage", "dead", 100),
    "read %": ("token_usage", "{}_right", 100),
    "nats per image token": ("token_nats", "{}_image", 1),
    "nats per text token": ("token_nats", "{}_text", 1),
    "correct %": ("caption_accuracy", "{}_right_1", 100),
    "best of 8 %": ("caption_accuracy", "ranked_{}_right_8", 100),
    "best of 32 %": ("caption_accuracy", "ranked_{}_right_32", 100),
    "R-precision %": ("caption_accuracy", "{}_r_precision", 100),
    "distance": ("caption_accuracy", "{}_distance", 1),
    "caption of an image %": ("caption_retrieval", "{}_image_to_text", 100),
    "image of a caption %": ("caption_retrieval", "{}_text_to_image", 100),
}


def test_the_figures_of_text_to_image_are_those_of_the_records():
    """Tables have a row per run, or a row per way to draw of one run and a column per split."""
    records = {r["experiment"]: r for r in read_records(table.RECORDS)}
    checked = 0
    for (kind, *columns), rows in figure_tables("text_to_image.md", "| recipe |", "| `"):
        for first, *cells in rows:
            metrics = records[(first if kind == "recipe" else kind).strip("`")]["final_metrics"]
            for column, cell in zip(columns, cells, strict=True):
                name, _, split = column.partition(": ")
                if kind == "recipe":
                    metric, quantity, factor = CAPTION_COLUMNS[name]
                else:
                    metric, quantity, factor = "caption_accuracy", CAPTION_ROWS[first], 100
                    split = column
                if cell:
                    value = metrics[metric][quantity.format(CAPTION_SPLITS.get(split, ""))]
                    decimals = len(cell.partition(".")[2])
                    assert cell == f"{factor * value:.{decimals}f}", (first, column)
                    checked += 1
                else:  # a metric that the run does not have
                    assert metric not in metrics, (first, column)
    assert checked > 100


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawing, training = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope = {}
    exec(drawing, scope)
    assert scope["x"].shape == (64, 8, 8, 1)
    with Image.open("digits.png") as image:
        assert image.size == (466, 466)
    scope = {"x": jax.random.bernoulli(jax.random.key(1), 0.2, (3, 784)).astype("float32")}
    exec(training, scope)
    assert scope["nats"].shape == (3,)
    assert int(scope["state"].step) == 1
    assert float(scope["metrics"]["loss"]) > 0


def test_pages_keep_their_length():
    assert len(README.splitlines()) <= 150
    assert len(BUILD.split()) <= 400
    decisions = (ROOT / "docs" / "decisions.md").read_text()
    entries = re.split(r"^### ", decisions.split("## Old and new names")[0], flags=re.MULTILINE)[1:]
    assert len(entries) > 30
    long = {entry.splitlines()[0]: len(entry.split()) for entry in entries}
    assert {title: words for title, words in long.items() if words > 150} == {}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "RESULTS.md"], ids=lambda page: page.name)
def test_relative_links_resolve(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", FENCE.sub("", page.read_text()))
    links = [link for link in links if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_documented_rows_exist():
    text = "".join(page.read_text().replace("\\\n", " ") for page in PAGES)
    names = set(re.findall(r"\b[a-z]\w+_\w+:[a-z0-9]\w*\b(?!\*)", text))
    for values in re.findall(r"--rows(?! all\b)((?: [a-z][\w:]*(?=\s))+)", text):
        names |= set(values.split())
    assert len(names) > 30
    assert names <= table.rows().keys()


def documented_commands():
    """`genjax COMMAND` and `python -m MODULE` of all pages, each with the options used with it."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        if page.name == "decisions.md":  # it lists former commands too
            continue
        text = page.read_text()
        blocks = [block.replace("\\\n", " ") for block in FENCE.findall(text)]
        code = [line for block in blocks if block[3] == "\n" for line in block.splitlines()]
        for line in code + re.findall(r"`([^`]+)`", FENCE.sub("", text)):
            for part in re.sub(r"\s#.*", "", line.replace("\n", " ")).split("&&"):
                match = re.match(
                    r"(?:\w+=\S+ )*(python -m (?:experiments|genjax)[\w.]*"
                    r"|genjax (?:train [a-z_]+|[a-z]+))\b(.*)",
                    part.strip(),
                )
                if match:
                    options = re.findall(r"(?<![\w-])--[\w.-]+", match[2])
                    found.setdefault(match[1], set()).update(options)
    return found


DOCUMENTED = documented_commands()


def test_every_command_is_documented():
    documented = {" ".join(command.split()[:2]) for command in DOCUMENTED}
    assert {f"genjax {name}" for name in COMMANDS} <= documented
    names = {path.stem for path in (ROOT / "experiments/benchmarks").glob("*.py")}
    modules = {f"python -m experiments.benchmarks.{n}" for n in names - {"__init__"}}
    assert modules - LIBRARIES <= DOCUMENTED.keys()


LIBRARIES = {
    f"python -m experiments.benchmarks.{name}"
    for name in ("comparison", "flops", "growth", "kernels", "reporting")
}


@pytest.mark.parametrize("command", DOCUMENTED)
def test_documented_commands_have_their_options(command, capsys):
    name = command.split()[-1]
    if command.startswith("genjax"):  # options of `train` are those of the family
        call = functools.partial(main, [*command.split()[1:], "--help"])
    else:
        module = importlib.import_module(name)
        if hasattr(module, "__path__"):  # a package, run by its __main__
            module = importlib.import_module(f"{name}.__main__")
        recipes = getattr(module, "RECIPES", None)
        whole = functools.partial(experiment.main, recipes, module.__doc__) if recipes else None
        call = functools.partial(whole or module.main, ["--help"])
    with pytest.raises(SystemExit) as end:
        call()
    assert not end.value.code
    text = capsys.readouterr().out
    assert [option for option in sorted(DOCUMENTED[command]) if option not in text] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_genjax_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert not end.value.code
    assert f"genjax {name}" in capsys.readouterr().out


def test_reproduce_needs_no_more_than_jax_has(tmp_path):
    done = run_program("bare.py", str(tmp_path))
    assert "left to run: nothing" in done.stderr
    assert "validation nll" in done.stderr  # the table of experiments.select
    assert "80.500" in done.stderr
    workdir = tmp_path / "runs" / "nade_binarized_mnist-paper-seed0"
    assert json.loads((workdir / "record.json").read_text())["commit"] == "abc"
    assert (tmp_path / "pack" / "pack.json").exists()
    # One step is not the recipe: it makes no row.
    assert not (tmp_path / "records").exists()
