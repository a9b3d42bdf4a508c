"""The frames of a video file: their times and key frames, read without decoding, and pixels as they should be seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import av
import cv2
import numpy as np

from ..errors import BadInputError

MAX_PIXEL_ASPECT = 3.0  # anamorphic lenses and old tapes stay below 2


@dataclass(frozen=True)
class FilmIndex:
    """Presentation times of all frames of a video, sorted; a frame's number is its place among them."""

    times: tuple[int, ...]  # in units of `unit_s`
    unit_s: float  # seconds; 0 where the video does not say
    key_times: tuple[int, ...]  # of the frames from which decoding can begin, sorted
    pixel_aspect: float  # width of a pixel over its height

    @property
    def times_s(self) -> list[float]:
        """Seconds since the first frame."""
        return [(time - self.times[0]) * self.unit_s for time in self.times]


def film_index(path: Path, file: IO[bytes], max_megapixels: float) -> FilmIndex:
    """The index of an open video file. Raises BadInputError where it holds no video, or one of too many pixels."""
    if not file.seek(0, os.SEEK_END):
        raise BadInputError(f"{path} is empty; was it copied to the end?")
    file.seek(0)
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
            packets = list(_packet_times(container, stream))
            times = tuple(sorted(time for time, _ in packets))
            keys = tuple(sorted(time for time, is_key in packets if is_key))
            return FilmIndex(times, float(stream.time_base or 0), keys, _pixel_aspect(stream))
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInputError(f"{path} is no video that can be read: {reason}.") from error


def upright_pixels(frame: av.VideoFrame, pixel_aspect: float) -> np.ndarray:
    """uint8 [H, W, 3] of square pixels, with the rotation that phones store beside the picture applied."""
    pixels: np.ndarray = frame.to_ndarray(format="rgb24")
    height, width = pixels.shape[:2]
    size = _squared(width, height, pixel_aspect)
    if size != (width, height):
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def upright_size(frame: av.VideoFrame, pixel_aspect: float) -> tuple[int, int]:
    """(height, width) of `upright_pixels`, without making them."""
    width, height = _squared(frame.width, frame.height, pixel_aspect)
    return (width, height) if _quarter_turns(frame) % 2 else (height, width)


def small_grey(frame: av.VideoFrame, side_px: int) -> np.ndarray:
    """uint8 [h, w]: the frame's brightness as it is stored, its longer side at most `side_px`, by area.

    A tenth of the work that the colours of a large frame are, most of which nobody looks at.
    """
    factor = min(1.0, side_px / max(frame.width, frame.height))
    width, height = (max(1, round(side * factor)) for side in (frame.width, frame.height))
    return frame.reformat(width, height, "gray", interpolation="AREA").to_ndarray()


def _pixel_aspect(stream: Any) -> float:
    """Width of a pixel over its height: 1 where the video says nothing, or what no camera makes."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT else 1.0


def _packet_times(container: Any, stream: Any) -> Iterator[tuple[int, bool]]:
    try:
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                yield packet.pts, bool(packet.is_keyframe)
    except av.error.FFmpegError:  # cut short: what came before it can still be used
        return


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Number of counter-clockwise turns that bring a frame upright, as phones store it beside the picture."""
    return round(frame.rotation / 90) % 4


def _squared(width: int, height: int, pixel_aspect: float) -> tuple[int, int]:
    """(width, height) stretched so that pixels which are `pixel_aspect` times as wide as high become square."""
    return (round(width * pixel_aspect), height) if pixel_aspect > 1 else (width, round(height / pixel_aspect))
