"""The JSON reader accepts one object of valid JSON, with bounds, and nothing else."""

import pathlib
import re
import typing

import pytest
from support.reading import time_limit

import genjax
from genjax.data.json_files import check_entries, parse_json, read_object

DEEP = 100_000
REJECTED = {
    "[" * DEEP: "it is nested deeper than 64 levels",
    '{"a": ' * DEEP: "it is nested deeper than 64 levels",
    '{"a": ' + "[" * 64 + "]" * 64 + "}": "it is nested deeper than 64 levels",
    '{"a": 1' + "0" * 400 + "}": "the number 100000000000000000000000000... is not finite",
    '{"a": -9223372036854775809}': "is not finite or above 64 bits",
    '{"a": 1e999}': "the number 1e999 is not finite",
    '{"a": NaN}': "the number NaN is not finite",
    '{"a": [-Infinity]}': "the number -Infinity is not finite",
    '{"a": 1, "a": 2}': "'a' occurs twice in one object",
    '{"a": {"b": "\\ud800"}}': "'\\ud800' is not valid Unicode",
    '{"\\udc80": 1}': "'\\udc80' is not valid Unicode",
    "null": "it holds null, not an object",
    "[]": "it holds a list, not an object",
    "3": "it holds a number, not an object",
    '"a"': "it holds a string, not an object",
    "true": "it holds a truth value, not an object",
    "": "line 1 is not JSON: Expecting value",
    '{"a": 1,\n}': "line 2 is not JSON",
    '{"a": "\0"}': "line 1 is not JSON: Invalid control character at",
}


@pytest.mark.parametrize("text", REJECTED, ids=range(len(REJECTED)))
def test_rejects_with_a_reason(text):
    with pytest.raises(ValueError, match=re.escape(REJECTED[text])) as error:
        parse_json(text)
    assert type(error.value) is ValueError
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 200


def test_a_repeated_name_is_found_in_linear_time():
    names = [*map(str, range(200_000)), "last", "last"]
    text = "{" + ", ".join(f'"{name}": 0' for name in names) + "}"
    with time_limit(10), pytest.raises(ValueError, match="'last' occurs twice in one object"):
        parse_json(text)


def test_rejects_other_encodings():
    with pytest.raises(ValueError, match="byte 6 is not UTF-8 text"):
        parse_json('{"a":"é"}'.encode("latin-1"))
    with pytest.raises(ValueError, match="is not JSON"):
        parse_json('{"a": 1}'.encode("utf-16-le"))


def test_values_are_those_of_json():
    text = '{"a": [1, -2.5e3, true, null, "é\\ud83d\\ude00", {"b": {}}], "c": 9223372036854775807}'
    want = {"a": [1, -2500.0, True, None, "é\U0001f600", {"b": {}}], "c": 2**63 - 1}
    assert parse_json(text) == want
    assert parse_json(b"\xef\xbb\xbf" + text.encode()) == want  # with a byte order mark
    levels = "[" * 63 + "]" * 63
    assert list(parse_json('{"a": ' + levels + "}")) == ["a"]


def test_non_finite_numbers_may_be_replaced():
    text = '{"a": NaN, "b": 1e999, "c": 1' + "0" * 400 + ', "d": [-Infinity, 2]}'
    assert parse_json(text, non_finite=True) == {"a": None, "b": None, "c": None, "d": [None, 2]}


class Entries(typing.TypedDict):
    name: str
    counts: dict[str, int]
    parts: typing.NotRequired[list[dict]]
    figure: typing.NotRequired[float | None]


VALID = {"name": "a", "counts": {"train": 1}, "other": object()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "`name` must be a string, got 3"),
        ({"name": "\ud800"}, "`name` must be a string, got '\\ud800'"),
        ({"counts": {"train": 1.5}}, "`counts` must be a dict, each value an integer"),
        ({"counts": []}, r"`counts` must be a dict, each value an integer, got []"),
        ({"parts": [{}, 3]}, "`parts` must be a list, each entry a dict, got [{}, 3]"),
        ({"figure": 10**400}, "`figure` must be a number or None, got 1"),
        ({"figure": True}, "`figure` must be a number or None, got True"),
    ],
    ids=str,
)
def test_entries_must_have_their_types(changes, message):
    check_entries(VALID, Entries)
    check_entries(VALID | {"parts": [{}], "figure": None}, Entries)
    with pytest.raises(ValueError, match=re.escape(message)):
        check_entries(VALID | changes, Entries)


def test_entries_may_be_missing_only_if_not_required():
    with pytest.raises(ValueError, match="`counts` is missing"):
        check_entries({"name": "a"}, Entries)


def test_error_names_the_file_and_the_fix(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"name": 3}')
    assert read_object(path, fix="remove it") == {"name": 3}
    with pytest.raises(ValueError, match="must be a string") as error:
        read_object(path, Entries, problem="is no list", fix="remove it")
    assert str(error.value) == f"{path} is no list (`name` must be a string, got 3); remove it."
    with pytest.raises(ValueError, match=r"a\.json has 11 bytes, and at most 5 are supported"):
        read_object(path, fix="remove it", limit=5)
    with pytest.raises(ValueError, match=r"there is no file .*b\.json"):
        read_object(tmp_path / "b.json", fix="remove it")


def test_no_other_module_parses_json():
    root = pathlib.Path(genjax.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        # A round trip of own values, `json.loads(json.dumps(...))`, reads no file, nor does the
        # text of a tokenizer in memory.
        if re.search(r"json\.loads?\((?!json\.dumps|library\.to_str)", path.read_text())
    }
    assert found == {"data/json_files.py"}
