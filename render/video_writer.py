"""Writing films."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace

from ..scene.errors import BadInputError, FewviewError
from ..scene.files import atomic_writer

BT709 = 1  # the code point of ITU-T H.273 for primaries, transfer curve and matrix alike
LIMITED_RANGE = 1
QUALITY_CRF = "18"  # x264's constant rate factor; 18 is taken to be visually lossless


def write_mp4(
    path: Path | str,
    frames: Iterable[np.ndarray],  # uint8 [H, W, 3] each, sRGB
    fps: float = 30,
) -> int:
    """Write an H.264 film (yuv420p, BT.709) that every browser plays; the number of frames written.

    Frames are taken one at a time. Odd sizes are made even by repeating the last row or column, as yuv420p needs.
    Raises BadInputError when there is no frame or the sizes differ, FewviewError when the encoder fails; the
    file then does not appear, and one that was there before stays.
    """
    # Opened first, so that a folder that cannot be written is found before the frames are made. FFmpeg moves the
    # index to the front (so that browsers start at once) by reading the film again by name: hence the second file.
    with atomic_writer(Path(path)) as file, tempfile.TemporaryDirectory(prefix="fewview-film-") as folder:
        film = Path(folder) / "film.mp4"
        try:
            count = _encode(film, frames, fps, str(path))
        except av.FFmpegError as error:
            raise FewviewError(
                f"The film {path} could not be encoded: {error.strerror or error}. "
                "What was there before is untouched; PNG pictures can be written instead."
            ) from error
        with film.open("rb") as encoded:
            shutil.copyfileobj(encoded, file)
    return count


def _encode(film: Path, frames: Iterable[np.ndarray], fps: float, name: str) -> int:
    count = 0
    with av.open(str(film), "w", options={"movflags": "faststart"}) as container:
        stream = None
        for frame in frames:
            picture = _even(frame)
            if stream is None:
                stream = _add_stream(container, picture, fps)
            if picture.shape[:2] != (stream.height, stream.width):
                raise BadInputError(
                    f"Frame {count} of the film {name} has {picture.shape[1]}x{picture.shape[0]} pixels; "
                    f"{stream.width}x{stream.height} as in the first frame is expected."
                )
            video_frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            video_frame = video_frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            video_frame.pts = count
            container.mux(stream.encode(video_frame))
            count += 1
        if stream is None:
            raise BadInputError(f"The film {name} would have no frames; nothing was written.")
        container.mux(stream.encode(None))
    return count


def _add_stream(container: av.container.OutputContainer, picture: np.ndarray, fps: float) -> av.VideoStream:
    rate = Fraction(fps).limit_denominator(1001)
    stream = container.add_stream("libx264", rate=rate, options={"crf": QUALITY_CRF, "preset": "medium"})
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / rate
    # Without these tags players guess the matrix from the picture's size, and colours shift.
    context.color_primaries = context.color_trc = context.colorspace = BT709
    context.color_range = LIMITED_RANGE
    return stream


def _even(frame: np.ndarray) -> np.ndarray:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise BadInputError(f"A film frame must be uint8 [H, W, 3], found {frame.dtype} {list(frame.shape)}.")
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)
