"""Opening photographs, masks and depth maps that strangers made, without trusting their headers or their contents."""

from __future__ import annotations

import contextlib
import importlib
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

from .color_profile import in_srgb
from .errors import BadInputError
from .gps import GeoPosition, position_from_exif

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"}
)
MAX_MEGAPIXELS = 100.0

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_FULL_FRAME_DIAGONAL_MM = math.hypot(36.0, 24.0)  # "35 mm equivalent" is defined by the diagonal (CIPA DCG-001)
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # EXIF FocalPlaneResolutionUnit
_pillow_limit = threading.Lock()


class MissingPlugin(BadInputError):
    """A photograph that can be read once a package is installed."""


@dataclass(frozen=True)
class ImageHeader:
    """Header of a photograph, known before it is decoded; upright (EXIF orientation applied)."""

    width: int  # pixels
    height: int  # pixels
    focal_px: float | None  # from EXIF, at this size
    position: GeoPosition | None = None  # from EXIF
    orientation: int = 1  # from EXIF: 1 where the pixels are stored upright (TIFFs count so: Pillow turns them itself)

    def as_stored(self) -> ImageHeader:
        """The header of the pixels as they lie in the file, the EXIF orientation not applied."""
        turned = self.orientation in _QUARTER_TURNS
        width, height = (self.height, self.width) if turned else (self.width, self.height)
        return replace(self, width=width, height=height, orientation=1)


def is_image_file(path: Path) -> bool:
    """True where the name of a visible file ends like a photograph's (hidden `._IMG.jpg` leftovers do not count)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def read_header(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> ImageHeader:
    """Size, EXIF focal length and EXIF position of a photograph, from its header alone.

    Raises BadInputError that names the file when it is no image of an allowed format, or has too many pixels.
    """
    with _opened(path, max_megapixels) as image:
        width, height = _upright_size(image)
        orientation = 1 if image.format == "TIFF" else _orientation(image)
        return ImageHeader(width, height, _focal_px(path, image), _position(image), orientation)


def check_decodes(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> None:
    """Raise BadInputError when the pixels of a photograph cannot be decoded to the end.

    JPEGs are decoded at 1/8 size, which still reads every byte and takes a fraction of the time.
    """
    with _opened(path, max_megapixels) as image:
        image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()


def load_pixels(path: Path, max_megapixels: float = MAX_MEGAPIXELS, *, as_stored: bool = False) -> np.ndarray:
    """A photograph as uint8 [H, W, 3] sRGB, or [H, W, 4] with straight alpha where the file has transparency.

    Upright, or with `as_stored` without the turn that EXIF asks for. Grey, palette, CMYK and 16-bit files are
    converted, and so are colours of another profile than sRGB. Raises BadInputError that names the file.
    """
    with _opened(path, max_megapixels) as image:
        if as_stored:
            image.load()
        upright = image if as_stored else _transposed(image)
        if upright.mode == "F":
            raise BadInputError(f"{path} holds floating-point pixels; export it with 8 or 16 bits per channel.")
        if upright.mode.startswith("I"):  # "I", "I;16", "I;16B": 16-bit grey
            grey = (np.asarray(upright).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        return np.array(in_srgb(upright.convert("RGBA" if upright.has_transparency_data else "RGB")))


def load_mask(path: Path, width: int, height: int, max_megapixels: float = MAX_MEGAPIXELS) -> np.ndarray:
    """A mask image as bool [height, width]: black means ignore, anything else counts; resized when needed."""
    with _opened(path, max_megapixels) as image:
        upright = _transposed(image)
        counts = np.array(upright if upright.mode.startswith(("I", "F")) else upright.convert("L")) > 0
    return _resized_nearest(counts.astype(np.uint8), width, height).astype(bool)


def load_depth(path: Path, width: int, height: int, max_megapixels: float = MAX_MEGAPIXELS) -> np.ndarray:
    """A depth map in metres, float32 [height, width], 0 where unknown.

    Files hold millimetres along the optical axis (the nerfstudio convention): 16- or 32-bit images, or `.npy`.
    """
    metres = load_numbers(path, max_megapixels) * np.float32(0.001)
    metres[~np.isfinite(metres) | (metres < 0)] = 0
    return _resized_nearest(metres, width, height)


def load_numbers(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> np.ndarray:
    """One number for each pixel, float32 [height, width], of an image or a `.npy` file."""
    if path.suffix.lower() == ".npy":
        numbers = _load_npy(path, max_megapixels)
    else:
        with _opened(path, max_megapixels) as image:
            numbers = np.array(_transposed(image))
    if numbers.ndim == 3 and numbers.shape[2] == 1:
        numbers = numbers[..., 0]
    if numbers.ndim != 2 or numbers.dtype.kind not in "fiu" or numbers.size == 0:
        raise BadInputError(
            f"{path} should be a depth map of one number for each pixel, found shape {numbers.shape} "
            f"of {numbers.dtype}."
        )
    return numbers.astype(np.float32)


def _resized_nearest(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    if pixels.shape[:2] == (height, width):
        return pixels
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def _load_npy(path: Path, max_megapixels: float) -> np.ndarray:
    """An array file, never unpickled, its promised size checked by mapping the file instead of reading it."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise BadInputError(f"{path} is not a NumPy array file: {error}.") from error
    if array.size > max_megapixels * 1e6:
        raise BadInputError(f"{path} holds {array.size} numbers, over the limit of {max_megapixels:g} megapixels.")
    return np.array(array)


@contextlib.contextmanager
def _opened(path: Path, max_megapixels: float) -> Iterator[Image.Image]:
    """A Pillow image whose header passed the checks; whatever goes wrong inside the block is the file's fault.

    Pillow's plug-ins raise almost any exception on damaged data, which is why all of them are caught here.
    """
    try:
        _require_file(path)
        Image.init()  # a Pillow that was built without AVIF does not know its name
        formats = (*(name for name in FORMATS if name in Image.OPEN), *_heif_formats(path))
        with _without_pillow_limit(), path.open("rb") as probe:
            image = Image.open(probe, formats=formats)
            _check_size(path, image, max_megapixels)
        with path.open("rb") as file, _without_pillow_limit():
            image = Image.open(file, formats=formats)
            yield image
    except BadInputError:
        raise
    except Image.UnidentifiedImageError as error:
        raise BadInputError(
            f"{path} is not a photograph that can be opened: {', '.join(FORMATS)} or HEIC is expected."
        ) from error
    except MemoryError as error:
        raise BadInputError(f"{path} needs more memory than there is; make the photograph smaller.") from error
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadInputError(f"{path} is damaged and cannot be decoded: {reason}. Replace or remove it.") from error


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise BadInputError(f"{path} is not there, or is no file; a photograph is expected.")
    if path.stat().st_size == 0:
        raise BadInputError(f"{path} is empty (0 bytes); a photograph is expected.")


def _check_size(path: Path, image: Image.Image, max_megapixels: float) -> None:
    width, height = image.size
    if width <= 0 or height <= 0:
        raise BadInputError(f"{path} says that it has {width} x {height} pixels; replace or remove it.")
    if width * height > max_megapixels * 1e6:
        raise BadInputError(
            f"{path} has {width} x {height} pixels, over the limit of {max_megapixels:g} megapixels; "
            "make it smaller or raise --max-megapixels."
        )


class _without_pillow_limit(contextlib.AbstractContextManager["_without_pillow_limit"]):
    """Switch off Pillow's own pixel warning: our limit is checked from the header, and the person can raise it."""

    depth = 0
    saved: int | None = None

    def __enter__(self) -> _without_pillow_limit:
        with _pillow_limit:
            if type(self).depth == 0:
                type(self).saved, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            type(self).depth += 1
        return self

    def __exit__(self, *exc: object) -> None:
        with _pillow_limit:
            type(self).depth -= 1
            if type(self).depth == 0:
                Image.MAX_IMAGE_PIXELS = type(self).saved


def _heif_formats(path: Path) -> tuple[str, ...]:
    """("HEIF",) for a HEIC photo when its plug-in is installed, a sentence when it is not, () for other files."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF_BRANDS:
        return ()
    try:
        plugin: Any = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise MissingPlugin(
            f"{path} is a HEIC photo, which needs a plug-in: run `pip install pillow-heif`, or export it as JPEG."
        ) from error
    plugin.register_heif_opener()
    return ("HEIF",)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF block does not make the photograph unusable
        return 1


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    # Pillow turns TIFFs by itself and already reports the turned size.
    turned = image.format != "TIFF" and _orientation(image) in _QUARTER_TURNS
    return (height, width) if turned else (width, height)


def _transposed(image: Image.Image) -> Image.Image:
    image.load()
    if image.format == "TIFF" or _orientation(image) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _focal_px(path: Path, image: Image.Image) -> float | None:
    """Focal length in pixels from EXIF: the 35 mm equivalent, else sensor resolution, else the camera's name."""
    try:
        base = image.getexif()
        exif = base.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # a damaged EXIF block does not make the photograph unusable
        return None
    width, height = image.size
    equivalent_mm = _positive(exif.get(ExifTags.Base.FocalLengthIn35mmFilm))
    focal_mm = _positive(exif.get(ExifTags.Base.FocalLength))
    focal: float | None = None
    if equivalent_mm is not None:
        focal = equivalent_mm / _FULL_FRAME_DIAGONAL_MM * math.hypot(width, height)
    elif focal_mm is not None:
        focal = _from_sensor(exif, focal_mm, width, height) or _from_camera_name(path, base)
    # Outside of 10 to 150 degrees the entry is a mistake, and no prior is better than a wrong one.
    plausible = focal is not None and 0.13 < focal / max(width, height) < 5.8
    return focal if plausible else None


def _position(image: Image.Image) -> GeoPosition | None:
    try:
        return position_from_exif(image.getexif().get_ifd(ExifTags.IFD.GPSInfo))
    except Exception:  # a damaged EXIF block does not make the photograph unusable
        return None


def _from_sensor(exif: Any, focal_mm: float, width: int, height: int) -> float | None:
    """Focal length through FocalPlaneXResolution, which is for the size the camera wrote, not a resized copy's."""
    resolution = _positive(exif.get(ExifTags.Base.FocalPlaneXResolution))
    unit_mm = _MM_PER_UNIT.get(exif.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))
    if resolution is None or unit_mm is None:
        return None
    written = [_positive(exif.get(tag)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    longer_written = max((side for side in written if side is not None), default=float(max(width, height)))
    return focal_mm * resolution / unit_mm * max(width, height) / longer_written


def _from_camera_name(path: Path, base: Any) -> float | None:
    """Focal length through COLMAP's table of sensor widths; None where it does not know the camera."""
    if not base.get(ExifTags.Base.Model):
        return None
    import pycolmap

    try:
        camera = pycolmap.infer_camera_from_image(path)
    except (RuntimeError, ValueError):
        return None
    return float(camera.focal_length) if camera.has_prior_focal_length else None


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None
