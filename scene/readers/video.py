"""A video: the sharpest frames, spread over its time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import av
import cv2
import numpy as np
from PIL import Image

from ..capture import Capture, Frame
from ..errors import BadInputError
from .safe_paths import printable

SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".3gp", ".wmv", ".flv"})
MAX_PIXEL_ASPECT = 3.0  # anamorphic lenses and old tapes stay below 2
_SHARPNESS_SIDE = 640  # pixels of the longer side on which sharpness is judged: sensor noise is averaged away


@dataclass(frozen=True)
class _Candidate:
    number: int  # of the frame in the video, from 0
    sharpness: float  # variance of the Laplacian
    pixels: np.ndarray  # uint8 [H, W, 3]
    time_s: float | None  # since the first frame


def is_video_file(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def read_video(path: Path, *, n_frames: int = 24, max_megapixels: float = 100.0) -> Capture:
    """`n_frames` frames of a video: its time is cut into as many windows, and the sharpest of each is taken.

    The chosen frames are kept in memory, compressed without loss: about 1.5 bytes for each pixel.
    Raises BadInputError when the file holds no video that can be decoded.
    """
    if n_frames < 1:
        raise BadInputError(f"{n_frames} frames of {path} were asked for; at least 1 is expected.")
    try:
        with path.open("rb") as file:  # an open file, not a name: FFmpeg then follows no links to other files
            times, unit_s, pixel_aspect = _frame_times(path, file, max_megapixels)
            file.seek(0)
            chosen, decoded = _sharpest(path, file, times, unit_s, pixel_aspect, n_frames)
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    if not chosen:
        raise BadInputError(f"{path} holds no frame that can be decoded; is the video complete?")
    notes = [f"{len(chosen)} sharp frames of {decoded} were taken from {printable(path.name)}."]
    if pixel_aspect != 1:
        notes.append(
            f"The pixels of {printable(path.name)} are {pixel_aspect:.3g} times as wide as high; they were squared."
        )
    if decoded < len(times):
        notes.append(f"{printable(path.name)} is damaged: {decoded} of {len(times)} frames could be decoded.")
    return Capture(tuple(chosen), printable(str(path)), notes=tuple(notes))


def _frame_times(path: Path, file: IO[bytes], max_megapixels: float) -> tuple[list[int], float, float]:
    """Presentation times of all frames, sorted, and their unit in seconds; and how wide a pixel is for its height.

    Read without decoding.
    """
    try:
        with av.open(file, "r") as container:
            if not container.streams.video or container.format.name in ("image2", "png_pipe", "jpeg_pipe"):
                raise BadInputError(f"{path} holds no video.")
            stream = container.streams.video[0]
            if stream.width * stream.height > max_megapixels * 1e6:
                raise BadInputError(
                    f"{path} has frames of {stream.width} x {stream.height} pixels, over the limit of "
                    f"{max_megapixels:g} megapixels; make it smaller or raise --max-megapixels."
                )
            return sorted(_packet_times(container, stream)), float(stream.time_base or 0), _pixel_aspect(stream)
    except (av.error.FFmpegError, ValueError) as error:
        raise BadInputError(f"{path} is no video that can be read: {_reason(error)}.") from error


def _pixel_aspect(stream: Any) -> float:
    """Width of a pixel over its height: 1 where the video says nothing, or what no camera makes."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT else 1.0


def _packet_times(container: Any, stream: Any) -> Iterator[int]:
    try:
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                yield packet.pts
    except av.error.FFmpegError:  # cut short: what came before it can still be used
        return


def _sharpest(
    path: Path, file: IO[bytes], times: list[int], unit_s: float, pixel_aspect: float, n_frames: int
) -> tuple[list[Frame], int]:
    """The sharpest frame of each window, and how many frames were decoded."""
    first = times[0] if times else 0
    span = max(1, times[-1] - first + 1) if times else 1
    best: dict[int, _Candidate] = {}
    frames: list[Frame] = []
    number = -1
    for number, (time, frame) in enumerate(_decoded(path, file)):
        # A video of no more frames than windows gives all of them.
        fraction = ((number if time is None else time) - first) / span
        window = number if len(times) <= n_frames else min(n_frames - 1, max(0, int(fraction * n_frames)))
        for done in [w for w in best if w < window]:
            frames.append(_frame(path, best.pop(done)))
        pixels = _upright(frame, pixel_aspect)
        sharpness = _sharpness(pixels)
        if window not in best or sharpness > best[window].sharpness:
            since_first = None if time is None or unit_s == 0 else (time - first) * unit_s
            best[window] = _Candidate(number, sharpness, pixels, since_first)
    frames += [_frame(path, best[w]) for w in sorted(best)]
    return frames, number + 1


def _decoded(path: Path, file: IO[bytes]) -> Iterator[tuple[int | None, av.VideoFrame]]:
    try:
        with av.open(file, "r") as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                yield frame.pts, frame
    except (av.error.FFmpegError, ValueError):  # what was decoded before the damage is used
        return


def _squared(pixels: np.ndarray, pixel_aspect: float) -> np.ndarray:
    """uint8 [H, W, 3] stretched so that pixels which are `pixel_aspect` times as wide as high become square."""
    if pixel_aspect == 1:
        return pixels
    height, width = pixels.shape[:2]
    size = (round(width * pixel_aspect), height) if pixel_aspect > 1 else (width, round(height / pixel_aspect))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)


def _upright(frame: av.VideoFrame, pixel_aspect: float) -> np.ndarray:
    """uint8 [H, W, 3] of square pixels, with the rotation that phones store beside the picture applied."""
    pixels = _squared(frame.to_ndarray(format="rgb24"), pixel_aspect)
    turns = round(frame.rotation / 90) % 4  # counter-clockwise quarter turns
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _sharpness(pixels: np.ndarray) -> float:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    factor = _SHARPNESS_SIDE / max(grey.shape)
    if factor < 1:
        grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def _frame(path: Path, candidate: _Candidate) -> Frame:
    packed = BytesIO()
    Image.fromarray(candidate.pixels).save(packed, "PNG", compress_level=1)
    data = packed.getvalue()
    height, width = candidate.pixels.shape[:2]
    return Frame(
        name=f"{printable(path.stem)}_{candidate.number:06d}.png",
        width=width,
        height=height,
        load=lambda: np.array(Image.open(BytesIO(data)).convert("RGB")),
        time_s=candidate.time_s,
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
