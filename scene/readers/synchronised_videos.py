"""Several calibrated videos of the same moments: a folder with a calibration and a video of each camera."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..cameras import Cameras
from ..capture import Capture, Frame, evenly_spaced
from ..errors import BadInputError
from .film_frames import FilmFrames
from .film_index import FilmIndex, film_index
from .lens import Lens
from .nearby_origin import in_single_precision
from .qualisys import SUFFIX, CalibratedCamera, read_qualisys
from .safe_paths import listed, printable
from .video import is_video_file

SAME_RATE = 0.01  # relative; players' and cameras' clocks agree far better
_BLACK = 48  # of 255: a coded black bar has noise, and its last row some of the picture
_RESIZED_PX = 1.0  # a resize keeps the aspect but for rounding


def calibration_file(path: Path) -> Path | None:
    """The Qualisys calibration in a folder or a folder in it. Raises BadInputError where there are several."""
    found = sorted(f for folder in _places(path) for f in folder.iterdir() if f.name.lower().endswith(SUFFIX))
    if len(found) > 1:
        raise BadInputError(
            f"{path} holds {len(found)} calibrations ({listed([f.name for f in found])}); leave the one that belongs "
            "to the videos."
        )
    return found[0] if found else None


def read_synchronised_videos(path: Path, *, n_moments: int, max_megapixels: float = 100.0) -> Capture:
    """Frames of all cameras at `n_moments` moments, evenly spaced in time, undistorted and decoded when asked for.

    The n-th frames of all videos are of one moment, its time n over the frame rate. Videos belong to cameras by their
    names: that of the serial number, or one that ends with it. Frames are in the order of cameras, then of time, in
    which they are decoded once each. Raises BadInputError.
    """
    if n_moments < 1:
        raise BadInputError(f"{n_moments} moments of {path} were asked for; at least 1 is expected.")
    calibration = calibration_file(path)
    assert calibration is not None
    cameras = read_qualisys(calibration)
    videos = sorted(f for folder in _places(path) for f in folder.iterdir() if is_video_file(f))
    paired, notes = _paired(path, calibration, cameras, videos)
    films = [_film(video, max_megapixels) for _, video in paired]
    rate, count, film_notes = _common_part(path, paired, films)
    notes += film_notes
    chosen = evenly_spaced(range(count), n_moments)
    frames: list[Frame] = []
    views: list[Cameras] = []
    for (camera, video), film in zip(paired, films, strict=True):
        source = FilmFrames(video, film, chosen)
        shown = _ShownPart.of(camera, video, source.pixels(chosen[0]))
        notes += shown.notes(video)
        lens, mask = shown.lens, None if shown.lens.covers_all else shown.lens.covered
        for number in chosen:
            frames.append(
                Frame(
                    name=f"{printable(camera.name)}/{number:06d}.png",
                    width=lens.width,
                    height=lens.height,
                    load=_Undistorted(source, number, shown),
                    load_mask=mask,  # type: ignore[arg-type]  # None only where everything is covered
                    time_s=number / rate,
                    camera=printable(camera.name),
                )
            )
            pose, K = torch.from_numpy(camera.cam_from_world), torch.from_numpy(lens.K)
            views.append(Cameras(pose, K, torch.tensor(lens.width), torch.tensor(lens.height)))
    notes.insert(
        0,
        f"{len(chosen)} of {count} moments of {len(paired)} cameras were taken, at {rate:.4g} frames a second; a unit "
        "is a metre.",
    )
    return in_single_precision(Capture(tuple(frames), printable(str(path)), Cameras.stack(views), notes=tuple(notes)))


def _places(path: Path) -> list[Path]:
    """The folder, and the visible folders in it."""
    try:
        return [path, *sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))]
    except OSError:
        return [path]


def _paired(
    path: Path, calibration: Path, cameras: list[CalibratedCamera], videos: list[Path]
) -> tuple[list[tuple[CalibratedCamera, Path]], list[str]]:
    """Cameras with their videos, in the order of the calibration, and notes on those that have no partner."""
    taken: dict[Path, str] = {}
    paired: list[tuple[CalibratedCamera, Path]] = []
    for camera in cameras:
        name = camera.name.lower()
        exact = [v for v in videos if v.stem.lower() == name]
        fitting = exact or [v for v in videos if v.stem.lower().endswith(name)]
        if len(fitting) > 1 or any(v in taken for v in fitting):
            raise BadInputError(
                f"{path}: more than one video, or camera, fits {camera.name} ({listed([v.name for v in fitting])}); "
                "name each video like its camera."
            )
        if fitting:
            taken[fitting[0]] = camera.name
            paired.append((camera, fitting[0]))
    without_video = [camera.name for camera in cameras if camera.name not in taken.values()]
    without_camera = [printable(v.name) for v in videos if v not in taken]
    if not paired:
        raise BadInputError(
            f"None of the videos of {path} ({listed([v.name for v in videos]) or 'there are none'}) is named like a "
            f"camera of {calibration.name} ({listed([c.name for c in cameras])}); name each video like its camera."
        )
    notes = []
    if without_video:
        notes.append(f"{calibration.name} has cameras without a video, which are not used: {listed(without_video)}.")
    if without_camera:
        notes.append(f"{calibration.name} has no camera for some videos, which are not used: {listed(without_camera)}.")
    return paired, notes


def _film(video: Path, max_megapixels: float) -> FilmIndex:
    try:
        with video.open("rb") as file:
            film = film_index(video, file, max_megapixels)
    except OSError as error:
        raise BadInputError(f"{video} could not be read: {error.strerror or error}.") from error
    if len(set(film.times)) < max(2, len(film.times)) or film.unit_s == 0:
        raise BadInputError(f"{video} has no time stamps, or fewer than two frames; write it anew as MP4.")
    return film


def _common_part(
    path: Path, paired: list[tuple[CalibratedCamera, Path]], films: list[FilmIndex]
) -> tuple[float, int, list[str]]:
    """The frame rate and the number of frames that all videos have, and a note where some have more."""
    rates = [(len(film.times) - 1) / film.times_s[-1] for film in films]
    names = [printable(video.name) for _, video in paired]
    if max(rates) > (1 + SAME_RATE) * min(rates):
        slow, fast = rates.index(min(rates)), rates.index(max(rates))
        raise BadInputError(
            f"{path}: {names[slow]} has {min(rates):.4g} frames a second and {names[fast]} {max(rates):.4g}; "
            "synchronised videos of one rate are expected."
        )
    counts = [len(film.times) for film in films]
    longer = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count > min(counts)]
    note = (
        f"The videos differ in length; the first {min(counts)} frames, which all have, are used. Longer are: "
        f"{listed(longer)}."
    )
    return float(np.median(rates)), min(counts), [note] if longer else []


@dataclass(frozen=True)
class _ShownPart:
    """The part of a video's frame that the calibrated camera's picture fills, and the lens for it."""

    lens: Lens
    bars_px: tuple[int, int]  # cut off left and right, above and below

    @classmethod
    def of(cls, camera: CalibratedCamera, video: Path, pixels: np.ndarray) -> _ShownPart:
        """From the first frame [H, W, 3]: as it is calibrated, resized, or resized between black bars.

        Raises BadInputError for any other crop or shape.
        """
        height, width = pixels.shape[:2]
        lens = camera.lens
        scale = min(width / lens.width, height / lens.height)
        bar_x, bar_y = (width - scale * lens.width) / 2, (height - scale * lens.height) / 2
        if max(bar_x, bar_y) * 2 <= _RESIZED_PX:
            return cls(lens.resized(width, height), (0, 0))
        cut = (int(np.ceil(bar_x)), int(np.ceil(bar_y)))
        # Of a bar that is no whole number of pixels wide the last row shows some of the picture.
        dark = [int(bar_x), int(bar_y)]
        bars = [pixels[:, : dark[0]], pixels[:, width - dark[0] :], pixels[: dark[1]], pixels[height - dark[1] :]]
        if any(bar.size and np.percentile(bar, 90) > _BLACK for bar in bars):
            raise BadInputError(
                f"{video} has frames of {width} x {height} pixels and its camera {lens.width} x {lens.height}: that is "
                "a crop, of which nothing says where it lies; the video as the camera took it is expected."
            )
        fx, fy, cx, cy, *distortion = lens.params
        params = (fx * scale, fy * scale, cx * scale + bar_x - cut[0], cy * scale + bar_y - cut[1], *distortion)
        shown = Lens(lens.model, params, width - 2 * cut[0], height - 2 * cut[1])
        return cls(shown, cut)

    def pixels(self, frame: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] of a whole frame, without the bars and without distortion."""
        x, y = self.bars_px
        return self.lens.undistort(np.ascontiguousarray(frame[y : frame.shape[0] - y, x : frame.shape[1] - x]))

    def notes(self, video: Path) -> list[str]:
        if not any(self.bars_px):
            return []
        return [
            f"{printable(video.name)} has black bars of {max(self.bars_px)} pixels around the picture that the camera "
            "is calibrated for; they were cut off."
        ]


@dataclass(frozen=True)
class _Undistorted:
    """One frame of a video, decoded when called."""

    source: FilmFrames
    number: int
    shown: _ShownPart

    def __call__(self) -> np.ndarray:
        return self.shown.pixels(self.source.pixels(self.number))
