"""`FilmFrames`: frames of a video by their numbers, decoded when they are asked for."""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from pathlib import Path

import av
import numpy as np

from ..errors import BadInputError
from .film_index import FilmIndex, upright_pixels

KEPT = 4  # decoded frames; threads that share a film ask a few frames out of order


class FilmFrames:
    """The `wanted` frames of one video. Asked for in order, each frame of the file is decoded once.

    Of a jump, what lies between the last key frame before and the frame itself is decoded. At most KEPT frames are in
    memory, and the file is closed behind the last wanted one. Several threads may ask.
    """

    def __init__(self, path: Path, index: FilmIndex, wanted: Collection[int]) -> None:
        self.path, self._index = path, index
        self._wanted, self._last = frozenset(wanted), max(wanted, default=-1)
        self._number_of = {time: number for number, time in enumerate(index.times)}
        self._keys = sorted({self._number_of[time] for time in index.key_times})
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._frames: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._next: int | None = None  # number of the frame that comes next; None where decoding has to begin anew
        self._lock = threading.Lock()
        self.decoded = 0  # frames so far, also those in between

    def pixels(self, number: int) -> np.ndarray:
        """Frame `number`, uint8 [H, W, 3]. Raises BadInputError where it cannot be decoded any more."""
        with self._lock:
            if number not in self._kept:
                self._decode_to(number)
            return self._kept[number].copy()

    def _decode_to(self, number: int) -> None:
        key = self._keys[max(0, bisect.bisect_right(self._keys, number) - 1)] if self._keys else 0
        if self._next is None or number < self._next or key > self._next:
            self._frames, self._next = self._from(key), key
        for found, frame in self._frames:
            self.decoded += 1
            self._next = found + 1
            if found in self._wanted or found == number:
                self._kept[found] = upright_pixels(frame, self._index.pixel_aspect)
                self._kept.move_to_end(found)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            if found == number:
                break
        else:
            self._next = None
            raise BadInputError(f"{self.path} is damaged, or was changed: its frame {number} cannot be decoded.")
        if number >= self._last:
            self._frames, self._next = iter(()), None  # the generator goes, and closes the file

    def _from(self, key: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames from a key frame on, each with its number; those without a known time are passed over."""
        try:
            with self.path.open("rb") as file, av.open(file, "r") as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                if key > 0:
                    container.seek(self._index.times[key], stream=stream)
                for frame in container.decode(stream):
                    number = self._number_of.get(frame.pts) if frame.pts is not None else None
                    if number is not None:
                        yield number, frame
        except OSError as error:
            raise BadInputError(f"{self.path} could not be read: {error.strerror or error}.") from error
        except (av.error.FFmpegError, ValueError):  # damaged from here on
            return
