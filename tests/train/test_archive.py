"""Archives are restored bit for bit, or rejected."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
import tracemalloc

import pytest

from genjax.train.archive import PART_BYTES, create_archive, extract_archive


def make_run(root, name, *, finished=False, best=True, size=5000):
    """Returns a run folder with checkpoints of random bytes, which do not compress."""
    files = {"config.json": b"{}", "checkpoints/latest/20/state": os.urandom(size)}
    files["metrics.jsonl"] = b'{"step": 1}\n'
    files["profile/trace"] = b"large and of no use elsewhere"
    if best:
        files["checkpoints/best/10/state"] = os.urandom(size)
    if finished:
        files["record.json"] = b"{}"
    for path, data in files.items():
        (root / name / path).parent.mkdir(parents=True, exist_ok=True)
        (root / name / path).write_bytes(data)
    return root / name


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def without_profile(run):
    return {k: v for k, v in contents(run).items() if not k.startswith("profile")}


def write_pack(folder, data):
    """Writes an archive with a valid SHA-256 around any bytes, as after deliberate changes."""
    folder.mkdir()
    (folder / "pack.000").write_bytes(data)
    part = {"name": "pack.000", "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "pack.json").write_text(json.dumps({"parts": [part], "bytes": len(data)}))
    return folder


def write_tar(folder, *names, kind=tarfile.REGTYPE, link=""):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            member.size = 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"evil") if member.size else None)
    return write_pack(folder, file.getvalue())


def test_round_trip_bit_for_bit(tmp_path):
    runs = [make_run(tmp_path / "runs", name) for name in ("a-seed0", "b-seed1")]
    create_archive(runs, tmp_path / "out")
    assert extract_archive(tmp_path / "out", tmp_path / "back") == ["a-seed0", "b-seed1"]
    for run in runs:
        # Everything except the profiler's trace.
        assert contents(tmp_path / "back" / run.name) == without_profile(run)
        assert len(without_profile(run)) == 4


@pytest.mark.parametrize("part_bytes", [1000, 4096, 10**7])
def test_parts_are_bounded_and_listed(tmp_path, part_bytes):
    run = make_run(tmp_path, "run")
    files = create_archive([run], tmp_path / "out", part_bytes=part_bytes)
    *parts, manifest = files
    assert manifest.name == "pack.json"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in files)
    sizes = [p.stat().st_size for p in parts]
    # As few as possible: all except the last are full.
    assert set(sizes[:-1]) <= {part_bytes}
    assert 0 < sizes[-1] <= part_bytes
    assert (len(parts) > 1) == (part_bytes < 10**7)
    assert json.loads(manifest.read_text())["bytes"] == sum(sizes)
    extract_archive(tmp_path / "out", tmp_path / "back")
    assert contents(tmp_path / "back" / "run") == without_profile(run)


def test_a_part_is_below_16_mib():
    assert PART_BYTES <= 16 * 2**20


def test_packing_again_removes_old_parts(tmp_path):
    run = make_run(tmp_path, "run")
    assert len(create_archive([run], tmp_path / "out", part_bytes=500)) > 5
    files = create_archive([run], tmp_path / "out")
    assert sorted((tmp_path / "out").iterdir()) == sorted(files)


def test_a_missing_part_is_named(tmp_path):
    *parts, _ = create_archive([make_run(tmp_path, "run")], tmp_path / "out", part_bytes=2000)
    parts[1].unlink()
    with pytest.raises(ValueError, match=r"lacks the part pack-\w+\.001; copy all \d+ parts"):
        extract_archive(tmp_path / "out", tmp_path / "back")
    # Rejected before anything is written.
    assert not (tmp_path / "back").exists()


def test_an_unprintable_name_of_a_part_is_escaped(tmp_path):
    *_, manifest = create_archive([make_run(tmp_path, "run")], tmp_path / "out")
    listed = json.loads(manifest.read_text())
    listed["parts"][0]["name"] = "pack\x7f.000"
    manifest.write_text(json.dumps(listed))
    with pytest.raises(ValueError, match=r"lacks the part pack\\x7f\.000"):
        extract_archive(tmp_path / "out", tmp_path / "back")


@pytest.mark.parametrize("where", [0, 1000, -1])
def test_a_damaged_part_is_named(tmp_path, where):
    *parts, _ = create_archive([make_run(tmp_path, "run")], tmp_path / "out", part_bytes=2000)
    data = bytearray(parts[2].read_bytes())
    data[where] ^= 1
    parts[2].write_bytes(data)
    with pytest.raises(ValueError, match=r"pack-\w+\.002 is damaged \(its SHA-256 differs\)"):
        extract_archive(tmp_path / "out", tmp_path / "back")
    parts[2].write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"pack-\w+\.002 is damaged"):
        extract_archive(tmp_path / "out", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_rejects_a_missing_or_damaged_manifest(tmp_path):
    with pytest.raises(ValueError, match="holds no archive"):
        extract_archive(tmp_path / "none", tmp_path / "back")
    create_archive([make_run(tmp_path, "run")], tmp_path / "out")
    manifest = tmp_path / "out" / "pack.json"
    whole = manifest.read_text()
    for text in (whole[: len(whole) // 2], "", "[]", '{"parts": 3}', '{"parts": [{"name": "x"}]}'):
        manifest.write_text(text)
        with pytest.raises(ValueError, match=r"pack\.json is damaged"):
            extract_archive(tmp_path / "out", tmp_path / "back")


def test_rejects_two_runs_of_one_name(tmp_path):
    runs = [make_run(tmp_path / folder, "run") for folder in ("a", "b")]
    with pytest.raises(ValueError, match="two runs are called run; rename one"):
        create_archive(runs, tmp_path / "out")


def test_an_existing_run_is_not_changed(tmp_path):
    runs = [make_run(tmp_path / "runs", name) for name in ("a", "b")]
    create_archive(runs, tmp_path / "out")
    here = make_run(tmp_path / "back", "a")
    (here / "checkpoints/latest/20/state").unlink()  # missing files are not added
    before = contents(here)
    assert extract_archive(tmp_path / "out", tmp_path / "back") == ["b"]
    assert contents(here) == before
    assert contents(tmp_path / "back" / "b") == without_profile(runs[1])


def test_latest_checkpoints_of_a_finished_run_are_omitted(tmp_path):
    run = make_run(tmp_path, "run", finished=True)
    create_archive([run], tmp_path / "out")
    extract_archive(tmp_path / "out", tmp_path / "back")
    found = set(contents(tmp_path / "back" / "run"))
    assert found == {"config.json", "metrics.jsonl", "record.json", "checkpoints/best/10/state"}
    # The folder itself is included, since readers of checkpoints expect it.
    assert (tmp_path / "back/run/checkpoints/latest").is_dir()


@pytest.mark.parametrize(("finished", "best"), [(False, True), (True, False), (False, False)])
def test_latest_checkpoints_are_kept_where_they_are_needed(tmp_path, finished, best):
    # To resume from, and as the only weights where validation selected none.
    run = make_run(tmp_path, "run", finished=finished, best=best)
    if not best:
        (run / "checkpoints/best").mkdir()  # made by the manager even when it stays empty
    create_archive([run], tmp_path / "out")
    extract_archive(tmp_path / "out", tmp_path / "back")
    assert (tmp_path / "back/run/checkpoints/latest/20/state").is_file()


HOSTILE = ["../evil", "run/../../evil", "run/sub/../../../evil", "{tmp}/evil"]


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_written_outside_the_root(tmp_path, name):
    out = write_tar(tmp_path / "out", name.format(tmp=tmp_path))
    before = set(tmp_path.rglob("*"))
    with contextlib.suppress(ValueError, tarfile.TarError):
        extract_archive(out, tmp_path / "back")
    new = set(tmp_path.rglob("*")) - before
    assert all(p.is_relative_to(tmp_path / "back") for p in new)


@pytest.mark.parametrize("name", HOSTILE)
def test_rejects_a_malicious_archive(tmp_path, name):
    # An error and not a silent omission, so that it does not seem complete.
    out = write_tar(tmp_path / "out", name.format(tmp=tmp_path))
    with pytest.raises(ValueError, match=r".") as error:
        extract_archive(out, tmp_path / "back")
    assert "\n" not in str(error.value)
    assert str(out) in str(error.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_rejects_links_to_the_outside(tmp_path, kind):
    (tmp_path / "secret").write_text("secret")
    out = write_tar(tmp_path / "out", "run/link", kind=kind, link="../../secret")
    with pytest.raises((ValueError, tarfile.TarError)):
        extract_archive(out, tmp_path / "back")
    assert not (tmp_path / "back/run/link").exists()


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "../other"),
        (tarfile.SYMTYPE, "metrics.jsonl"),
        (tarfile.LNKTYPE, "run/config.json"),
        (tarfile.FIFOTYPE, ""),
        (tarfile.CHRTYPE, ""),
        (tarfile.GNUTYPE_SPARSE, ""),
    ],
)
def test_rejects_links_and_special_files_inside_a_run(tmp_path, kind, link):
    """A link to the run beside it would let the next write change that run."""
    other = make_run(tmp_path / "back", "other", finished=True)
    before = contents(other)
    out = write_tar(tmp_path / "out", "run/samples", kind=kind, link=link)
    with pytest.raises(ValueError, match=r"holds run/samples, which is a link or a special file"):
        extract_archive(out, tmp_path / "back")
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["other"]
    assert contents(other) == before


def test_links_are_left_out_with_a_warning(tmp_path):
    run = make_run(tmp_path, "run")
    (run / "secret").symlink_to("/etc/hostname")
    (run / "folder").symlink_to(tmp_path)
    os.mkfifo(run / "pipe")
    os.link(run / "config.json", run / "second name")
    (run / "record.json.7.part").write_bytes(b"of a killed process")
    with pytest.warns(UserWarning, match="is left out") as caught:
        create_archive([run], tmp_path / "out")
    assert sorted(str(w.message).split(" is no")[0] for w in caught) == [
        *("run/folder", "run/pipe", "run/secret")
    ]
    extract_archive(tmp_path / "out", tmp_path / "back")
    found = contents(tmp_path / "back" / "run")
    assert found.pop("second name") == found["config.json"]
    left_out = {"pipe", "secret", "record.json.7.part", "second name"}
    assert found == {k: v for k, v in without_profile(run).items() if k not in left_out}


def test_a_link_to_a_run_is_archived_as_the_run(tmp_path):
    run = make_run(tmp_path / "disk", "long name", finished=True)
    (tmp_path / "a").symlink_to(run)
    create_archive([tmp_path / "a"], tmp_path / "out")
    assert extract_archive(tmp_path / "out", tmp_path / "back") == ["a"]
    expected = {k: v for k, v in without_profile(run).items() if "latest" not in k}
    assert contents(tmp_path / "back" / "a") == expected
    assert len(expected) == 4


def test_an_archive_is_not_replaced_by_an_empty_one(tmp_path):
    create_archive([make_run(tmp_path, "run")], tmp_path / "out", part_bytes=1000)
    before = contents(tmp_path / "out")
    (tmp_path / "empty" / "profile").mkdir(parents=True)
    (tmp_path / "broken").symlink_to("nowhere")
    for runs in ([], [tmp_path / "empty"]):
        with pytest.raises(ValueError, match="no run has a file to archive; start a run first"):
            create_archive(runs, tmp_path / "out")
    for name in ("none", "broken"):
        with pytest.raises(ValueError, match=f"{name} is not a run folder"):
            create_archive([tmp_path / "run", tmp_path / name], tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_rejects_a_file_in_place_of_a_run(tmp_path):
    out = write_tar(tmp_path / "out", "run/config.json", "./nade-seed0")
    with pytest.raises(ValueError, match=r"the file nade-seed0, which is not inside a run folder"):
        extract_archive(out, tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


def test_a_link_in_place_of_a_run_is_not_replaced(tmp_path):
    create_archive([make_run(tmp_path / "runs", "a")], tmp_path / "out")
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "a").symlink_to("nowhere")
    assert extract_archive(tmp_path / "out", tmp_path / "back") == []
    assert (tmp_path / "back" / "a").is_symlink()


def bomb(member):
    """Returns a gzipped tar of zeros, 400 MiB in 400 kB: in a file, in a name, or after a file."""
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as zipped:
        info = tarfile.TarInfo("run/a")
        if member == "name":
            info.name, info.type = "././@LongLink", tarfile.GNUTYPE_LONGNAME
        info.size = 400 * 2**20
        zipped.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(400):
            zipped.write(bytes(2**20))
    return file.getvalue()


@pytest.mark.parametrize("member", ["file", "name"])
def test_an_archive_unpacks_with_a_bound(tmp_path, member):
    out = write_pack(tmp_path / "out", bomb(member))
    tracemalloc.start()
    with pytest.raises(ValueError, match="unpacks to more than 268435456 bytes, 100 times its"):
        extract_archive(out, tmp_path / "back")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (2**24 if member == "file" else 2**30)
    assert list((tmp_path / "back").iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"no tar at all", b"\x1f\x8b\x08 cut"])
def test_rejects_parts_that_are_not_an_archive(tmp_path, data):
    out = write_pack(tmp_path / "out", data)
    with pytest.raises(ValueError, match=r".") as error:
        extract_archive(out, tmp_path / "back")
    assert str(out) in str(error.value)


def test_parts_are_read_from_the_folder_of_the_manifest_only(tmp_path):
    # A manifest must not be able to name a file elsewhere.
    *_, manifest = create_archive([make_run(tmp_path, "run")], tmp_path / "out")
    part = next((tmp_path / "out").glob("*.000"))
    part.rename(tmp_path / "pack.000")
    listed = json.loads(manifest.read_text())
    listed["parts"][0]["name"] = "../pack.000"
    manifest.write_text(json.dumps(listed))
    with pytest.raises(ValueError, match="lacks the part"):
        extract_archive(tmp_path / "out", tmp_path / "back")
