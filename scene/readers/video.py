"""A video: the sharpest frames, spread over its time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import av
import cv2
import numpy as np

from ..capture import Capture, Frame
from ..errors import BadInputError
from ..progress import Progress, silent
from .film_cuts import CutFinder, cut_notes
from .film_index import FilmIndex, film_index, small_grey, upright_pixels, upright_size
from .safe_paths import printable

SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".3gp", ".wmv", ".flv"})
_SHARPNESS_SIDE = 640  # pixels of the longer side on which sharpness is judged: sensor noise is averaged away


@dataclass(frozen=True)
class _Candidate:
    number: int  # of the frame in the video, from 0
    sharpness: float  # variance of the Laplacian
    picture: av.VideoFrame
    time_s: float | None  # since the first frame


def is_video_file(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def read_video(
    path: Path, *, n_frames: int = 24, max_megapixels: float = 100.0, progress: Progress = silent
) -> Capture:
    """`n_frames` frames of a video: its time is cut into as many windows, and the sharpest of each is taken.

    The chosen frames are kept in memory as they were decoded, which is 1.5 bytes for each pixel of most videos.
    Raises BadInputError when the file holds no video that can be decoded.
    """
    if n_frames < 1:
        raise BadInputError(f"{n_frames} frames of {path} were asked for; at least 1 is expected.")
    try:
        with path.open("rb") as file:  # an open file, not a name: FFmpeg then follows no links to other files
            index = film_index(path, file, max_megapixels)
            file.seek(0)
            chosen, decoded, cuts_s = _sharpest(path, file, index, n_frames, progress)
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    if not chosen:
        raise BadInputError(f"{path} holds no frame that can be decoded; is the video complete?")
    notes = [f"{len(chosen)} sharp frames of {decoded} were taken from {printable(path.name)}."]
    notes += cut_notes(cuts_s, printable(path.name))
    if index.pixel_aspect != 1:
        notes.append(
            f"The pixels of {printable(path.name)} are {index.pixel_aspect:.3g} times as wide as high; they were "
            "squared."
        )
    if decoded < len(index.times):
        notes.append(f"{printable(path.name)} is damaged: {decoded} of {len(index.times)} frames could be decoded.")
    return Capture(tuple(chosen), printable(str(path)), notes=tuple(notes))


def _sharpest(
    path: Path, file: IO[bytes], index: FilmIndex, n_frames: int, progress: Progress
) -> tuple[list[Frame], int, list[float]]:
    """The sharpest frame of each window, how many frames were decoded, and the times in seconds of cuts."""
    times, first = index.times, index.times[0] if index.times else 0
    span = max(1, times[-1] - first + 1) if times else 1
    best: dict[int, _Candidate] = {}
    frames: list[Frame] = []
    since_first: list[float | None] = []
    cuts = CutFinder()
    for number, (time, frame) in enumerate(_decoded(path, file)):
        # A video of no more frames than windows gives all of them.
        fraction = ((number if time is None else time) - first) / span
        window = number if len(times) <= n_frames else min(n_frames - 1, max(0, int(fraction * n_frames)))
        for done in [w for w in best if w < window]:
            frames.append(_frame(path, best.pop(done), index.pixel_aspect))
        grey = small_grey(frame, _SHARPNESS_SIDE)
        cuts.add(grey)
        since_first.append(None if time is None or index.unit_s == 0 else (time - first) * index.unit_s)
        sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).var())
        if window not in best or sharpness > best[window].sharpness:
            best[window] = _Candidate(number, sharpness, frame, since_first[-1])
        progress("reading the film", number + 1, len(times))
    frames += [_frame(path, best[w], index.pixel_aspect) for w in sorted(best)]
    cuts_s = [at for number in cuts.cuts if (at := since_first[number]) is not None]
    return frames, len(since_first), cuts_s


def _decoded(path: Path, file: IO[bytes]) -> Iterator[tuple[int | None, av.VideoFrame]]:
    try:
        with av.open(file, "r") as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                yield frame.pts, frame
    except (av.error.FFmpegError, ValueError):  # what was decoded before the damage is used
        return


def _frame(path: Path, candidate: _Candidate, pixel_aspect: float) -> Frame:
    picture, lock = candidate.picture, threading.Lock()  # a picture's converter serves one thread at a time

    def load() -> np.ndarray:
        with lock:
            return upright_pixels(picture, pixel_aspect)

    height, width = upright_size(picture, pixel_aspect)
    name = f"{printable(path.stem)}_{candidate.number:06d}.png"
    return Frame(name, width, height, load, time_s=candidate.time_s)
