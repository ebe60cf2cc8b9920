"""Files are replaced whole, and nothing is written through a link."""

import os
import stat

import pytest

from genjax.data.file_writing import remove_parts, replacing, write_file


def test_a_file_is_replaced_whole_with_the_usual_permissions(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with replacing(path, sync=True) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    (tmp_path / "b").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "b"]


def test_an_error_leaves_the_old_file_and_no_part(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def fail():
        with replacing(path) as file:
            file.write(b"ne")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("target", ["file", "missing"])
def test_links_at_the_file_and_at_its_part_are_not_followed(tmp_path, target):
    other = tmp_path / "other"
    if target == "file":
        other.write_bytes(b"kept")
    for link in ("a.json", "a.json.part", f"a.json.{os.getpid()}.part"):
        (tmp_path / link).symlink_to(other)
    write_file(tmp_path / "a.json", b"new")
    assert not (tmp_path / "a.json").is_symlink()
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert other.exists() == (target == "file")
    assert target == "missing" or other.read_bytes() == b"kept"


def test_rejects_folders_and_special_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(ValueError, match=f"{name} is not a regular file; give the name of"):
            write_file(tmp_path / name, b"")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_parts_of_killed_processes_are_removed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("new.1.part", "old.2.part", "record.json", "elsewhere/kept.part"):
        (tmp_path / name).write_bytes(b"x")
    os.utime(tmp_path / "old.2.part", (1, 1))
    (tmp_path / "link.part").symlink_to(tmp_path / "record.json")
    (tmp_path / "samples").symlink_to(tmp_path / "elsewhere")
    remove_parts(tmp_path)
    assert (tmp_path / "new.1.part").exists()
    assert not (tmp_path / "old.2.part").exists()
    remove_parts(tmp_path, 0)
    remove_parts(tmp_path / "samples", 0)
    assert not list(tmp_path.glob("*.part"))
    assert (tmp_path / "record.json").read_bytes() == b"x"
    assert (tmp_path / "elsewhere/kept.part").exists()
