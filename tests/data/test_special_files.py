"""Pipes, devices and sockets are rejected where a file is expected; opening a pipe would hang."""

import os
import pathlib
import socket

import numpy as np
import pytest
from support.reading import assert_error_message, time_limit

from genjax.cli.prepare import main
from genjax.cli.train import default_run
from genjax.data import Data, is_table, load
from genjax.data.file_io import BinaryFile, file_crc, file_size, open_file, read_bytes
from genjax.data.npz import read_npz
from genjax.evals import load_classifier


@pytest.fixture(autouse=True)
def _no_hang():
    with time_limit(20):  # a read of a pipe would never end
        yield


def pipe(folder, name):
    """Returns the path of a pipe to which nothing writes."""
    os.mkfifo(folder / name)
    return folder / name


@pytest.mark.parametrize(
    "read", [open_file, read_bytes, file_size, file_crc, BinaryFile, read_npz, load_classifier]
)
def test_every_reader_rejects_a_pipe_and_a_device(tmp_path, read):
    (tmp_path / "link.npz").symlink_to("/dev/zero")
    for path in (pipe(tmp_path, "pipe.npz"), tmp_path / "link.npz", pathlib.Path("/dev/null")):
        with pytest.raises(ValueError, match="is a pipe, a device or a socket") as error:
            read(path)
        assert_error_message(str(error.value), path)


@pytest.mark.parametrize("end", ["npz", "csv"])
def test_defaults_of_training_reject_a_pipe(tmp_path, end):
    path = pipe(tmp_path, f"pipe.{end}")
    assert is_table(str(path)) == (end == "csv")  # by its name
    with pytest.raises(ValueError, match="is a pipe, a device or a socket") as error:
        default_run("nade", ["--data", str(path)])
    assert_error_message(str(error.value), path)


def test_defaults_of_training_reject_a_zip_of_an_unknown_version(tmp_path):
    np.savez(tmp_path / "x.npz", data=np.zeros((20, 3)))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[data.rindex(b"PK\x01\x02") + 6] = 200  # the version that is needed to extract
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.npz cannot be read \(NotImplementedError"):
        default_run("nade", ["--data", str(tmp_path / "x.npz")])


def test_rejects_a_socket_a_folder_and_a_name_with_nul(tmp_path):
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(tmp_path / "s"))  # the path has at most 107 bytes
        with pytest.raises(ValueError, match="is a pipe, a device or a socket"):
            open_file(tmp_path / "s")
    with pytest.raises(ValueError, match="is a folder; give a file"):
        open_file(tmp_path)
    with pytest.raises(ValueError, match="there is no file"):
        open_file("a\0b")
    with pytest.raises(ValueError, match="there is no file"):
        open_file(tmp_path / "none" / "a")


def test_a_rejected_file_is_closed(tmp_path):
    path, before = pipe(tmp_path, "pipe"), len(os.listdir("/proc/self/fd"))
    for bad in (path, tmp_path):
        with pytest.raises(ValueError, match="is a"):
            open_file(bad)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["pipe", "pipe.npz", "pipe.csv", "pipe.amat"])
def test_data_in_a_pipe_is_one_error_message(tmp_path, name, capsys):
    path = pipe(tmp_path, name)
    with pytest.raises(ValueError, match="is a pipe, a device or a socket") as error:
        load(Data(data=str(path)))
    assert_error_message(str(error.value), path)
    if name.endswith(".csv"):  # not prepared, but read as it is
        return
    assert main([str(path), str(tmp_path / "out"), "--name", "a"]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {path} is a pipe, a device or a socket")
    assert message.count("\n") == 1
