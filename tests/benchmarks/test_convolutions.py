"""The table of convolutions in docs/performance.md, and the benchmark that prints it."""

import json
import pathlib
import re

import pytest

from experiments.benchmarks import convolutions
from experiments.benchmarks.convolutions import CASES, FORMS, Case

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "performance.md"


def documented():
    """Returns, per case, three dicts of milliseconds by form, and the marked forms."""
    section = PAGE.read_text().split("## Convolutions on a CPU")[1].split("\n## ")[0]
    lines = [line.split("|")[1:-1] for line in section.splitlines() if line[:1] == "|"]
    found, case = {}, ""
    for cells in lines[2:]:
        name, _, *times = (cell.strip() for cell in cells[: 3 + len(FORMS)])
        case = name or case
        of, marks = found.setdefault(case, ([], []))
        named = dict(zip(("XLA", *FORMS), times, strict=True))
        of.append({n: float(t.removesuffix(" [x]")) for n, t in named.items() if t})
        marks += [n for n, t in named.items() if t.endswith("[x]")]
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_forms_are_those_of_the_measurement(case):
    times, marks = documented()[case.name]
    assert tuple(marks) == convolutions.selected(case)
    total = sum(part[name] for part, name in zip(times, marks, strict=True))
    assert total < 1.3 * sum(part["XLA"] for part in times)


def test_the_table_has_every_case_and_no_other():
    assert set(documented()) == {case.name for case in CASES}


def test_a_small_case_is_measured(tmp_path, monkeypatch, capsys):
    small = (Case(1, 6, 4, 4, (3, 3)), Case(1, 6, 4, 4, (4, 4), 2))
    monkeypatch.setattr(convolutions, "CASES", small)
    monkeypatch.setattr(convolutions, "torch_times", lambda case, seconds: [1.0, 2.0, 3.0])
    out = tmp_path / "out.json"
    assert convolutions.main(["--seconds", "0", "--out", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [set(row["genjax"]) for row in rows] == [
        {"XLA", "direct", "winograd", "patches", "bands", "bands_transposed"},
        {"XLA", "direct", "patches", "phases"},
    ]
    table = capsys.readouterr().out
    assert len(re.findall(r"\[x\]", table)) == 6
    assert "6.00" not in table  # the ratio, not PyTorch's sum


def test_names_without_a_case(capsys):
    with pytest.raises(SystemExit):
        convolutions.main(["--only", "9x9"])
    assert "matches none of" in capsys.readouterr().err
