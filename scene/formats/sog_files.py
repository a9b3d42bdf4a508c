"""The files of one SOG scene, in a folder or bundled in a ZIP, and their lossless 8-bit images.

Nothing here trusts the input: names stay inside the folder or the bundle, sizes are checked before anything is
unpacked, and an image is only decoded when its header promises as many pixels as the scene can use.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from PIL import Image, features

from ..errors import BadInputError, FewviewError
from ..files import atomic_writer, write_bytes

META = "meta.json"
ZIP_MAGIC = b"PK\x03\x04"
MAX_META_BYTES = 2**20  # three codebooks of 256 numbers take 20 KB
MAX_PIXELS = 80_000_000  # below the number from which Pillow itself warns of a bomb
_MAX_ENTRIES = 64  # a scene has eight files
_MAX_DIRECTORY_BYTES = 64 * 1024
_MAX_RATIO = 20  # unpacked to packed: WebP does not shrink, and JSON by less
_END_RECORD = b"PK\x05\x06"
_END_RECORD_BYTES, _MAX_COMMENT_BYTES = 22, 65535
_ZIP64_LOCATOR, _ZIP64_LOCATOR_BYTES = b"PK\x06\x07", 20
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a ZIP can say: equal scenes give equal bytes


class SogFiles:
    """Reads the files of one scene by name: `where` is the bundle or the meta.json."""

    def __init__(self, where: Path, sizes: dict[str, int], bundle: zipfile.ZipFile | None) -> None:
        self.where = where
        self._sizes = sizes
        self._bundle = bundle

    @property
    def bundled(self) -> bool:
        return self._bundle is not None

    def holds(self, file: str) -> bool:
        """True where a bundle has a file of this name."""
        return file in self._sizes

    def name(self, file: str) -> str:
        """A file of the scene, for sentences."""
        return f"{self.where}, {file[:60]}"

    def read(self, file: str, max_bytes: int | None = None) -> bytes:
        """The bytes of one file of the scene. Raises BadInputError when it is not there, damaged or too large."""
        self._require_plain(file)
        if self._bundle is None:
            return self._read_beside(file, max_bytes)
        size = self._sizes.get(file)
        if size is None:
            raise BadInputError(f"{self.where} has no file '{file[:60]}' inside, though it names it.")
        _check_size(self.name(file), size, max_bytes)
        try:
            with self._bundle.open(file) as entry:
                data = entry.read(size)  # a number, or zipfile would inflate more than the directory promises
            if len(data) != size:
                raise BadInputError(f"{self.name(file)} is cut short; the bundle is damaged.")
            return data
        except BadInputError:
            raise
        except Exception as error:  # zipfile raises half a dozen kinds for damaged entries
            raise BadInputError(f"{self.name(file)} is damaged and cannot be unpacked: {error}.") from error

    def _read_beside(self, file: str, max_bytes: int | None) -> bytes:
        path = self.where if file == META else self.where.parent / file
        try:
            if path.resolve().parent != self.where.parent.resolve():
                raise BadInputError(f"{self.where} names '{file[:60]}', which leads outside of its folder.")
            size = path.stat().st_size
            _check_size(str(path), size, max_bytes)
            return path.read_bytes()
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
            raise BadInputError(f"{path} could not be read: {getattr(error, 'strerror', None) or error}.") from error

    def _require_plain(self, file: str) -> None:
        plain = PurePosixPath(file).name == file and not set(file) & set("\\:\0") and file not in ("", ".", "..")
        if not plain or len(file) > 255:
            raise BadInputError(f"{self.where} names the file {file[:60]!r}; a plain name without folders is expected.")

    def total_bytes(self, files: list[str]) -> int:
        """Total size of the named files in bytes, before any of them is read."""
        if self._bundle is None:
            for file in files:
                self._require_plain(file)
                with contextlib.suppress(OSError, ValueError):  # `read` says what is wrong with it
                    self._sizes[file] = (self.where.parent / file).stat().st_size
        return sum(self._sizes.get(file, 0) for file in set(files))


@contextlib.contextmanager
def open_scene(path: Path) -> Iterator[SogFiles]:
    """The files of a bundle, or of the folder of a `meta.json`, whichever `path` is. Raises BadInputError."""
    try:
        with path.open("rb") as file:
            if file.read(4) != ZIP_MAGIC:
                yield SogFiles(path, {META: path.stat().st_size}, None)
                return
            _check_directory(path, file)
            with _opened_zip(path, file) as bundle:
                yield SogFiles(path, _checked_sizes(path, bundle), bundle)
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error


def _check_size(name: str, size: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size > max_bytes:
        raise BadInputError(f"{name} has {size} bytes; at most {max_bytes} are expected.")


def _check_directory(path: Path, file: IO[bytes]) -> None:
    """Refuse a ZIP whose directory is large before `zipfile` makes an object of each of its entries."""
    size = path.stat().st_size
    file.seek(max(0, size - _END_RECORD_BYTES - _MAX_COMMENT_BYTES - _ZIP64_LOCATOR_BYTES))
    tail = file.read()
    end = tail.rfind(_END_RECORD)
    if end < 0 or len(tail) - end < _END_RECORD_BYTES:
        raise BadInputError(f"{path} is a ZIP without an end; the file is damaged or cut short.")
    entries, directory_bytes = struct.unpack_from("<HI", tail, end + 10)
    zip64 = tail[max(0, end - _ZIP64_LOCATOR_BYTES) :].startswith(_ZIP64_LOCATOR)
    if zip64 or entries > _MAX_ENTRIES or directory_bytes > _MAX_DIRECTORY_BYTES:
        raise BadInputError(f"{path} is no SOG bundle: a ZIP with at most {_MAX_ENTRIES} files is expected.")


def _opened_zip(path: Path, file: IO[bytes]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except Exception as error:  # zipfile raises half a dozen kinds for damaged directories
        raise BadInputError(f"{path} is a damaged ZIP: {error}.") from error


def _checked_sizes(path: Path, bundle: zipfile.ZipFile) -> dict[str, int]:
    entries = bundle.infolist()
    sizes = {entry.filename: entry.file_size for entry in entries}
    if len(sizes) != len(entries):
        raise BadInputError(f"{path} has two files of one name inside; the bundle is damaged.")
    for entry in entries:
        if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadInputError(
                f"{path}: '{entry.filename[:60]}' is encrypted or compressed in an unusual way; stored or deflated "
                "files are expected."
            )
        if entry.file_size > _MAX_RATIO * entry.compress_size + 64 * 1024:
            raise BadInputError(
                f"{path}: '{entry.filename[:60]}' would grow from {entry.compress_size} to {entry.file_size} bytes, "
                "which no SOG file does; it was not unpacked."
            )
    total, size = sum(sizes.values()), path.stat().st_size
    if total > _MAX_RATIO * size + 64 * 1024:
        raise BadInputError(f"{path} has {size} bytes and would grow to {total}; it was not unpacked.")
    if META not in sizes:
        raise BadInputError(f"{path} is a ZIP without a {META}, so it is no SOG bundle.")
    return sizes


def write_scene(path: Path, files: dict[str, bytes], meta: bytes) -> None:
    """Write a bundle, or, when `path` ends in `.json`, that file and the others beside it.

    Loose files are written one after another, so the old meta.json goes first: a crash never leaves a mixture.
    """
    if path.suffix.lower() == ".json":
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        for name, data in files.items():
            write_bytes(path.parent / name, data)
        write_bytes(path, meta)
        return
    with atomic_writer(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as bundle:
        for name, data in {META: meta, **files}.items():
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.create_system, info.external_attr = 3, 0o644 << 16  # the same on every system
            bundle.writestr(info, data)


def encode_image(pixels: np.ndarray) -> bytes:  # uint8 [H, W, 4]
    """Lossless WebP; the colour of transparent pixels is kept."""
    require_webp()
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "WEBP", lossless=True, exact=True, method=4, quality=75)
    return data.getvalue()


def require_webp() -> None:
    if not features.check("webp"):
        raise FewviewError(
            "SOG files are made of WebP images, and the installed Pillow cannot read or write them; "
            "install a Pillow with WebP (`pip install --upgrade --force-reinstall pillow`)."
        )


def decode_image(name: str, data: bytes, max_pixels: int) -> tuple[np.ndarray, bool]:
    """(uint8 [H, W, 4], whether it was stored with losses) of a WebP or PNG of at most `max_pixels`.

    Raises BadInputError that names the image.
    """
    width, height, lossy = _image_header(name, data)
    if width * height > max_pixels:
        raise BadInputError(
            f"{name} has {width} x {height} pixels, but the scene can use {max_pixels} at most; the file is damaged."
        )
    require_webp()
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP", "PNG")) as image:
            size, mode = image.size, image.mode
            pixels = np.array(image.convert("RGBA")) if mode in ("RGB", "RGBA") and size == (width, height) else None
    except Exception as error:  # Pillow's plug-ins raise almost any kind for damaged data
        raise BadInputError(f"{name} is damaged and cannot be decoded: {error or type(error).__name__}.") from error
    if pixels is None:
        raise BadInputError(f"{name} is no image of 8-bit RGB or RGBA as its header promises (found {mode}, {size}).")
    return pixels, lossy


def _image_header(name: str, data: bytes) -> tuple[int, int, bool]:
    """(width, height, lossy) from the first bytes, without a decoder that would set memory aside for them."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return max(1, width), max(1, height), False
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        kind = data[12:16]
        if kind == b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, False
        if kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF, True
        if kind == b"VP8X" and not data[20] & 2:  # bit 1: an animation
            width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
            return width, height, b"VP8 " in data[30:]
    raise BadInputError(f"{name} is no WebP or PNG image of the kinds that SOG uses.")
