"""The short version of the reliability campaign; the fuzzer has a test of its own."""

import json

from support.helpers import ROOT, run_python

CHECKPOINTS = ["kills", "extensions", "damage", "foreign", "unreadable", "clock"]
OTHERS = ["links", "packs", "disk", "signals", "imports"]


def test_attacks_break_no_promise(tmp_path):
    out = tmp_path / "out.json"
    arguments = ["--scale", "0.05", "--seed", "1", "--out", str(out)]
    program = str(ROOT / "tests" / "programs" / "attack.py")
    done = run_python(program, *arguments, "--only", *CHECKPOINTS, *OTHERS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["attack"] for row in rows] == CHECKPOINTS + OTHERS
    for row in rows:
        if row["kept"] is None:  # only the full disk needs rights that a user may not have
            print(row["notes"])
            assert row["attack"] == "disk"
