"""The pieces of a puzzle: read from files or cut from an image, and joined to one image again."""

import collections
import dataclasses
import math
import pathlib
import zlib
from collections.abc import Sequence

import numpy as np

from genjax.core.puzzles import Grid, cut, join
from genjax.data.file_io import is_file, list_folder, natural_sort_key, read_bytes, safe
from genjax.data.image_decoding import (
    Picture,
    convert_channels,
    decode_picture,
    has_image_suffix,
    resize,
)
from genjax.data.image_encoding import output_name
from genjax.data.image_grid import GREY

MAX_PIXELS = 2**26  # of a whole image


@dataclasses.dataclass(frozen=True)
class Puzzle:
    """Where the pieces of a puzzle are, and where the restored image is written.

    Attributes:
      source: folder of pieces, or an image to cut.
      files: names of the pieces in the folder; empty for an image.
      skipped: number of other files and folders beside them.
      target: restored image.
    """

    source: pathlib.Path
    files: tuple[str, ...]
    skipped: int
    target: pathlib.Path

    @property
    def order_file(self) -> pathlib.Path:
        """JSON file of the order found."""
        return self.target.with_suffix(".json")


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Pieces of one size, with the pixels of their files.

    Attributes:
      names: of the files; of pieces of one image numbers.
      pixels: uint8 `[K, h, w, 1 or 3]`.
      alpha: opacity, uint8 `[K, h, w]`; None if all pieces are opaque.
      profile: ICC colour profile if it is that of all pieces.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index: np.ndarray) -> "Pieces":
        """Returns the pieces of some indices, in their order."""
        alpha = None if self.alpha is None else self.alpha[index]
        names = tuple(self.names[i] for i in index)
        return Pieces(names, self.pixels[index], alpha, self.profile)

    def on_white(self) -> np.ndarray:
        """Returns what networks see: the pixels blended with white."""
        if self.alpha is None:
            return self.pixels
        weight = self.alpha[..., None] / np.float32(255)
        return np.round(self.pixels * weight + 255 * (1 - weight)).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class CutImage:
    """An image cut into pieces, and the order in which some of them are to be solved.

    Attributes:
      whole: all pieces by position.
      positions: of the pieces to solve, `[K]`.
      size: height and width of the image before it was cropped.
    """

    whole: Pieces
    positions: np.ndarray
    size: tuple[int, int]

    def shuffled(self) -> Pieces:
        """Returns the pieces to solve, numbered."""
        names = tuple(str(k) for k in range(len(self.positions)))
        return dataclasses.replace(self.whole.take(self.positions), names=names)

    def right(self, order: np.ndarray) -> np.ndarray:
        """Returns whether pieces at `order` `[K]` show what belongs there; some may be equal."""
        same = (self.whole.pixels[order] == self.whole.pixels[self.positions]).all((1, 2, 3))
        if self.whole.alpha is not None:
            same &= (self.whole.alpha[order] == self.whole.alpha[self.positions]).all((1, 2))
        return same


def find_puzzles(source: pathlib.Path, out: pathlib.Path) -> tuple[list[Puzzle], int]:
    """Returns the puzzles of INPUT, and the number of other entries beside folders of puzzles.

    INPUT is an image, a folder of pieces, or a folder without images whose subfolders have pieces.

    Raises:
      ValueError: there is no image, or OUT does not fit INPUT.
    """
    if not source.is_dir():
        if not is_file(source):
            raise ValueError(f"there is no file or folder {safe(source)}; check the path.")
        return [Puzzle(source, (), 0, target_of(out, source.stem))], 0
    files, folders, _ = list_folder(source)
    if any(map(has_image_suffix, files)):
        target = target_of(out, source.name or source.resolve().name)
        if target.parent.resolve() == source.resolve():
            raise ValueError(
                f"{safe(target)} would be in the folder of the pieces; write to another folder."
            )
        return [pieces_in(source, target)], 0
    if out.exists() and not out.is_dir():
        raise ValueError(f"{safe(source)} has puzzles and {safe(out)} is a file; give a folder.")
    if out.resolve() == source.resolve():
        raise ValueError(f"{safe(out)} is the folder of the inputs; write to another folder.")
    inside = [source / name for name in sorted(folders, key=natural_sort_key)]
    found = [
        pieces_in(folder, out / f"{folder.name}.png")
        for folder in inside
        if folder.resolve() != out.resolve()
    ]
    puzzles = [puzzle for puzzle in found if puzzle.files]
    if not puzzles:
        raise ValueError(f"{safe(source)} holds no images of pieces; check the path.")
    if has_image_suffix(out.name) and not out.is_dir():
        raise ValueError(
            f"{safe(source)} has {len(puzzles)} folders of pieces and {safe(out)} is the name of an"
            f" image; give a folder."
        )
    return puzzles, len(files) + len(found) - len(puzzles)


def target_of(out: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the image to write: OUT, with .png if it has no suffix of an image, or in OUT.

    Raises:
      ValueError: the suffix is that of a format without all colours.
    """
    if out.is_dir():
        return out / f"{name}.png"
    if not has_image_suffix(out.name):
        return out.with_name(f"{out.name}.png")
    if output_name(out.name) != out.name:
        raise ValueError(
            f"{safe(out)} is of a format without all colours; write {safe(output_name(out.name))}."
        )
    return out


def pieces_in(folder: pathlib.Path, target: pathlib.Path) -> Puzzle:
    """Returns the puzzle of the images of a folder, without its subfolders."""
    files, folders, _ = list_folder(folder)
    images = sorted(filter(has_image_suffix, files), key=natural_sort_key)
    return Puzzle(folder, tuple(images), len(files) + len(folders) - len(images), target)


def read_pieces(puzzle: Puzzle, number: int) -> tuple[Pieces, list[str]]:
    """Reads the pieces of a folder.

    Args:
      puzzle: of a folder.
      number: pieces of a whole puzzle.

    Returns:
      The readable pieces, and an error message for each of the others.

    Raises:
      ValueError: no piece is readable, or sizes differ.
    """
    pictures: dict[str, Picture] = {}
    errors = []
    for name in puzzle.files:
        path = puzzle.source / name
        try:
            pictures[name] = decode_picture(
                read_bytes(path), str(path), background=None, max_pixels=MAX_PIXELS // number
            )
        except ValueError as error:
            errors.append(str(error))
    if not pictures:
        raise ValueError(f"no piece in {safe(puzzle.source)} can be read: {errors[0]}")
    check_sizes({name: picture.pixels.shape[:2] for name, picture in pictures.items()}, puzzle)
    return stack(pictures), errors


def check_sizes(sizes: dict[str, tuple[int, ...]], puzzle: Puzzle) -> None:
    """Raises ValueError unless all pieces have one size."""
    usual, count = collections.Counter(sizes.values()).most_common(1)[0]
    odd = [name for name, size in sizes.items() if size != usual]
    if odd:
        listed = ", ".join(f"{safe(name)} is {as_size(sizes[name])}" for name in odd[:3])
        more = f", and {len(odd) - 3} more differ" if len(odd) > 3 else ""
        raise ValueError(
            f"the pieces in {safe(puzzle.source)} have different sizes: {listed}{more}, where"
            f" {count} of {len(sizes)} are {as_size(usual)} (height x width); crop or resize them"
            f" to one size."
        )


def as_size(size: Sequence[int]) -> str:
    """Returns a size as text.

    >>> as_size((3, 4))
    '3 x 4'
    """
    return " x ".join(map(str, size))


def stack(pictures: dict[str, Picture]) -> Pieces:
    """Joins pictures of one size to `Pieces`: colour if one has colours, with opacity if one has.

    Grey pieces and opaque ones become what they are among the others without loss.
    """
    colour = any(picture.pixels.shape[2] == 3 for picture in pictures.values())
    pixels = [convert_channels(p.pixels, "rgb" if colour else "grey") for p in pictures.values()]
    alpha = None
    if any(picture.alpha is not None for picture in pictures.values()):
        opaque = np.full(pixels[0].shape[:2], 255, np.uint8)
        alpha = np.stack([opaque if p.alpha is None else p.alpha for p in pictures.values()])
    profiles = {picture.profile for picture in pictures.values()}
    profile = profiles.pop() if len(profiles) == 1 else None
    return Pieces(tuple(pictures), np.stack(pixels), alpha, profile)


def cut_image(path: pathlib.Path, grid: Grid, positions: np.ndarray) -> CutImage:
    """Reads an image and cuts it, without the rows and columns that are left over.

    Args:
      path: file of the image.
      grid: rows and columns of pieces.
      positions: of the pieces to solve, `[K]`.

    Raises:
      ValueError: the image cannot be read, or is smaller than the grid.
    """
    picture = decode_picture(read_bytes(path), str(path), background=None, max_pixels=MAX_PIXELS)
    height, width = picture.pixels.shape[:2]
    side = height // grid[0], width // grid[1]
    if not min(side):
        raise ValueError(
            f"{safe(path)} is {as_size((height, width))} (height x width), too small for"
            f" {as_size(grid)} pieces; give a larger image."
        )

    def pieces(image: np.ndarray) -> np.ndarray:
        return cut(image[None, : grid[0] * side[0], : grid[1] * side[1]], grid)[0]

    alpha = None if picture.alpha is None else pieces(picture.alpha[..., None])[..., 0]
    names = tuple(str(i) for i in range(math.prod(grid)))
    whole = Pieces(names, pieces(picture.pixels), alpha, picture.profile)
    return CutImage(whole, positions, (height, width))


def order_of_contents(pieces: Pieces) -> np.ndarray:
    """Returns indices `[K]` that sort pieces by the checksum of what networks see."""
    return np.argsort([zlib.crc32(pixels.tobytes()) for pixels in pieces.on_white()], kind="stable")


def network_input(
    pieces: Pieces, number: int, side: tuple[int, int], channels: int, limits: tuple[float, float]
) -> np.ndarray:
    """Returns what a solver takes, float32 `[N, h, w, C]`: resized, with its channels.

    Args:
      pieces: that are present; the entries after them are grey.
      number: N.
      side: height and width.
      channels: 1 or 3.
      limits: values of black and white.
    """
    out = np.full((number, *side, channels), sum(limits) / 2, np.float32)
    for i, pixels in enumerate(pieces.on_white()):
        shown = convert_channels(pixels, "grey" if channels == 1 else "rgb")
        levels = resize(shown, side, "stretch").astype(np.float32) / 255
        out[i] = levels * (limits[1] - limits[0]) + limits[0]
    return out


def restored_picture(pieces: Pieces, order: np.ndarray, grid: Grid) -> Picture:
    """Returns the image of pieces at positions `order` `[K]`, made of their own pixels.

    Other positions are grey, and transparent if pieces have opacity.
    """

    def whole(values: np.ndarray, missing: int) -> np.ndarray:
        out = np.full((math.prod(grid), *values.shape[1:]), missing, np.uint8)
        out[order] = values
        return join(out[None], grid)[0]

    alpha = None if pieces.alpha is None else whole(pieces.alpha[..., None], 0)[..., 0]
    return Picture(whole(pieces.pixels, GREY), alpha, pieces.profile)
