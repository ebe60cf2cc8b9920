"""Images with captions: captions.csv or metadata.csv beside them, or in every split folder."""

import csv
import io
import pathlib
from typing import Any

from genjax.data.file_io import SPLIT_FOLDERS, is_file, list_folder, read_text, safe
from genjax.data.image_decoding import has_image_suffix
from genjax.data.readers.base import Contents, Field, ReadOptions
from genjax.data.readers.columns import ImageFiles, inspect_images
from genjax.data.readers.image_folders import split_folders

TABLES = ("captions.csv", "metadata.csv")
_FILE_COLUMNS = ("file_name", "filename", "file", "image")
_CAPTION_COLUMNS = ("caption", "text")
_MAX_LENGTH = 2**16
LAYOUT = (
    "captions.csv or metadata.csv with a header line, a column file_name (or filename, file, image)"
    " and a column caption (or text), beside the images or in folders train, validation and test"
)


def table(folder: pathlib.Path) -> str:
    """Returns the name of the table in a folder, "" if there is none."""
    return next((name for name in TABLES if is_file(folder / name)), "")


def has_tables(path: pathlib.Path) -> bool:
    """Returns whether a folder has this layout."""
    return bool(table(path)) or any(
        table(path / name) for name in list_folder(path)[1] if name.lower() in SPLIT_FOLDERS
    )


def read(path: pathlib.Path, reading: ReadOptions) -> Contents:
    """Reads images with captions: `image` and `caption`, one example per image of the table.

    Where an image has several rows, every example has a list of captions, of the same length, with
    empty ones at the end. Images are in the order of their first rows; those without are ignored.

    Raises:
      ValueError: a table is missing or invalid, or a row names an image that does not exist or is
        outside the folder.
    """
    folders = {"train": ""} if table(path) else split_folders(path)
    rows: dict[str, dict[str, list[str]]] = {}
    tables: list[str] = []
    for split, folder in folders.items():
        name = table(path / folder)
        if not name:
            raise ValueError(f"{safe(path / folder)} has no captions.csv; use {LAYOUT}.")
        start = f"{folder}/" if folder else ""
        rows[split] = {start + file: own for file, own in _rows(path / folder / name).items()}
        tables.append(start + name)
    names = sorted({file for members in rows.values() for file in members})
    most = max(len(own) for members in rows.values() for own in members.values())
    spec = inspect_images(path, names, reading)
    columns = {}
    for split, members in rows.items():
        captions: list[Any] = [own + [""] * (most - len(own)) for own in members.values()]
        captions = captions if most > 1 else [own[0] for own in captions]
        columns[split] = {"image": ImageFiles(path, tuple(members), spec), "caption": captions}
    shape = (most,) if most > 1 else ()
    fields = {"image": spec.field(), "caption": Field(kind="text", shape=shape)}
    return Contents(fields, columns, names + tables)


def _rows(path: pathlib.Path) -> dict[str, list[str]]:
    """Returns the captions of every file, in order."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    rows: dict[str, list[str]] = {}
    header: list[str] | None = None
    try:
        for row in reader:
            where = f"{safe(path)} line {reader.line_num}"
            if not row:
                continue
            if header is None:
                header = [cell.strip().lower() for cell in row]
                name_at = _column(path, header, _FILE_COLUMNS)
                text_at = _column(path, header, _CAPTION_COLUMNS)
                continue
            if len(row) != len(header):
                raise ValueError(
                    f"{where} has {len(row)} columns and the header {len(header)}; put captions"
                    f" with commas in double quotes."
                )
            file, caption = str(pathlib.PurePosixPath(row[name_at])), row[text_at]
            if len(caption) > _MAX_LENGTH:
                raise ValueError(
                    f"{where} has a caption of {len(caption)} characters, above {_MAX_LENGTH};"
                    f" close an open quote, or shorten it."
                )
            if not caption.strip():
                raise ValueError(
                    f"{where} has an empty caption of {safe(file, 60)}; write one, or remove the"
                    f" row."
                )
            if file not in rows:
                _check_image_path(path.parent, file, where)
            rows.setdefault(file, []).append(caption)
    except csv.Error as error:
        raise ValueError(
            f"{safe(path)} line {reader.line_num} is not valid CSV ({safe(error, 80).rstrip('.')});"
            f" close an open quote."
        ) from None
    if not rows:
        raise ValueError(f"{safe(path)} has no rows below a header; use {LAYOUT}.")
    return rows


def _column(path: pathlib.Path, header: list[str], names: tuple[str, ...]) -> int:
    matching = [name for name in names if name in header]
    if not matching or header.count(matching[0]) > 1:
        what = f"two columns {matching[0]}" if matching else f"no column {' or '.join(names)}"
        raise ValueError(
            f"{safe(path)} has {what} in its header {safe(header, 100)}; use {LAYOUT}."
        )
    return header.index(matching[0])


def _check_image_path(folder: pathlib.Path, file: str, where: str) -> None:
    """Raises unless there is an image of this path in the folder or below."""
    pure = pathlib.PurePosixPath(file)
    if pure.is_absolute() or pathlib.PureWindowsPath(file).drive or ".." in pure.parts:
        raise ValueError(
            f"{where} names {safe(file, 60)}, which is outside the folder; use paths relative to"
            f" the table."
        )
    if not has_image_suffix(file) or not is_file(folder / file):
        raise ValueError(
            f"{where} names {safe(file, 60)}, which is not an image in {safe(folder)}; add it or"
            f" remove the row."
        )
