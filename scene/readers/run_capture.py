"""The capture inside a run: working-size photographs, cameras and points, independent of where they came from."""

from __future__ import annotations

import io
import re
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import torch

from ..cameras import Cameras
from ..capture import Capture, Frame, fit_size
from ..errors import BadInputError
from ..files import make_folder, read_json, write_bytes, write_json
from ..geometry import Similarity, se3_inverse
from ..png import write_png
from ..points_ply import read_points, write_points
from ..progress import Progress, silent
from ..run import Run
from .frame_times import all_or_no_times
from .nearby_origin import single_precision
from .safe_paths import listed
from .transforms_json import read_views

_LONGEST_NAME_BYTES = 150  # file systems allow 255, of which endings and temporary files need some
_LARGEST_MEGAPIXELS = 1000.0  # our own files; only a guard against a damaged header


def save_capture(run: Run, capture: Capture, max_side: int, progress: Progress = silent) -> Capture:
    """Write a capture with cameras into the run, photographs at most `max_side` pixels long, and read it back.

    Writes images/*.png, cameras.json (transforms.json layout), masks/, depths/ and points.ply where there are such.
    Raises FewviewError when the disk is full.
    """
    if capture.cameras is None:
        raise ValueError("save_capture needs a capture with cameras")
    files = _file_names(capture.names)
    masked = any(frame.load_mask is not None for frame in capture.frames)
    with_depth = any(frame.load_depth is not None for frame in capture.frames)
    entries = []
    empty: list[str] = []  # photographs of which nothing counts
    with _Writers() as writers:  # compressing takes ten times as long as decoding
        for i, (frame, file) in enumerate(zip(capture.frames, files, strict=True)):
            width, height = fit_size(frame.width, frame.height, max_side)
            pixels = capture.image(i, width, height).numpy()
            writers.write(run.images_path / f"{file}.png", pixels)
            camera = capture.cameras[i].resized(width, height)
            counts = None if frame.load_mask is None else frame.load_mask()
            if (counts is not None and not counts.any()) or (pixels.shape[-1] == 4 and not pixels[..., 3].any()):
                empty.append(frame.name)
            entries.append(
                {"file_path": f"{run.images_path.name}/{file}.png", "name": frame.name, **_camera_entry(camera)}
                | ({} if frame.camera is None else {"camera": frame.camera})
                | (_write_mask(run, counts, file, width, height) if masked else {})
                | (_write_depth(run, frame, file, width, height) if with_depth else {})
            )
            progress("images", i + 1, len(files))
    notes = [*capture.notes, *_empty_notes(capture, empty)]
    table: dict[str, Any] = {"camera_model": "PINHOLE", "source": capture.source, "notes": notes}
    if capture.test is not None:
        held_out = set(capture.test)
        table["train_filenames"] = [e["file_path"] for i, e in enumerate(entries) if i not in held_out]
        table["test_filenames"] = [e["file_path"] for i, e in enumerate(entries) if i in held_out]
        table["val_filenames"] = table["test_filenames"]  # nerfstudio measures on these while it trains
    if capture.points is not None:
        write_points(run.points_path, capture.points)
        table["ply_file_path"] = run.points_path.name
    if any(capture.origin) or capture.unit != 1:
        # nerfstudio's name for the motion that took the source's coordinates to these.
        table["applied_transform"] = [
            [*(float(i == j) / capture.unit for j in range(3)), -capture.origin[i] / capture.unit] for i in range(3)
        ]
    write_json(run.cameras_path, table | {"frames": entries})
    return load_run_capture(run)


class _Writers:
    """Threads that compress and write pictures, as many as PyTorch may use, with few pictures waiting in memory."""

    def __init__(self) -> None:
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads)
        self._waiting: deque[Future[None]] = deque()

    def write(self, path: Path, pixels: np.ndarray) -> None:
        """Take a picture. Raises what writing an earlier one raised, such as FewviewError for a full disk."""
        self._waiting.append(self._pool.submit(write_png, path, pixels))
        while len(self._waiting) > 2 * self._threads:
            self._waiting.popleft().result()

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for written in self._waiting:
                written.result()


def _empty_notes(capture: Capture, empty: list[str]) -> list[str]:
    """A note on photographs of which nothing counts. Raises BadInputError where that is all that are trained on."""
    if not empty:
        return []
    held_out = set(capture.test or ())
    training = {name for i, name in enumerate(capture.names) if i not in held_out}
    if training <= set(empty):
        raise BadInputError(
            f"The masks, or the transparency, of all {len(training)} photographs of {capture.source} leave nothing to "
            "train on: black in a mask, or an alpha of 0, stands for what does not count. Invert or remove them."
        )
    return [f"Masks or transparency leave nothing of {len(empty)} photographs: {listed(empty)}."]


def save_cameras(run: Run, cameras: Cameras, new_from_old: Similarity | None = None) -> None:
    """Replace the cameras of the run's photographs, in their order, by others at the same size, e.g. refined ones.

    `new_from_old` says that they are in another frame than those before. Raises ValueError when their number differs.
    """
    table = read_json(run.cameras_path)
    if len(table["frames"]) != len(cameras):
        raise ValueError(f"expected {len(table['frames'])} cameras, one for each photograph, found {len(cameras)}")
    table["frames"] = [entry | _camera_entry(cameras[i]) for i, entry in enumerate(table["frames"])]
    if new_from_old is not None and "applied_transform" in table:
        move = new_from_old.double()
        old = np.array(table["applied_transform"], np.float64)
        moved = (move.scale * move.rotation).numpy() @ old
        moved[:, 3] += move.translation.numpy()
        table["applied_transform"] = moved.tolist()
    write_json(run.cameras_path, table)


def load_run_capture(run: Run) -> Capture:
    """The capture that `save_capture` wrote. Raises BadInputError when it is not there or damaged."""
    path = run.cameras_path
    if not path.is_file():
        raise BadInputError(f"{run.path} has no {path.name}: its cameras were not found yet; continue the run first.")
    views = read_views(path, run.path, max_megapixels=_LARGEST_MEGAPIXELS, allow_outside=False, as_written=True)
    gone = (*views.missing, *views.missing_extras)
    if gone:
        raise BadInputError(f"{run.path} is incomplete: {gone[0]} and {len(gone) - 1} more files are not there.")
    cameras = single_precision(Cameras.stack(list(views.cameras)))
    named = {name: i for i, name in enumerate(views.named)}
    test = views.table.get("test_filenames")
    notes = views.table.get("notes", [])
    try:
        test_indices = None if test is None else tuple(named[name] for name in test)
    except (KeyError, TypeError) as error:
        raise BadInputError(f"{path}: 'test_filenames' names a photograph that is none of its frames.") from error
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise BadInputError(f"{path}: 'notes' should be a list of sentences.")
    named_frames = [
        replace(f, name=_text(e, "name") or f.name, camera=_text(e, "camera"))
        for f, e in zip(views.frames, views.entries, strict=True)
    ]
    frames = all_or_no_times(named_frames, path)
    points = read_points(run.points_path, exact=True) if "ply_file_path" in views.table else None
    if points is not None and points.seen_view is not None and (points.seen_view >= len(frames)).any():
        raise BadInputError(f"{run.points_path} has observations of views that {path.name} does not list.")
    source = str(views.table.get("source", run.path))
    return Capture(
        tuple(frames),
        source,
        cameras,
        points,
        test_indices,
        tuple(notes),
        run.cameras_are_estimated(),
        *_origin_and_unit(views.table, path),
    )


def _origin_and_unit(table: dict[str, Any], path: Path) -> tuple[tuple[float, float, float], float]:
    """`Capture.origin` and `Capture.unit`: what `save_capture` wrote as `applied_transform`."""
    given = table.get("applied_transform")
    if given is None:
        return (0.0, 0.0, 0.0), 1.0
    try:
        applied = np.array(given, np.float64)
    except (TypeError, ValueError, OverflowError):
        applied = np.zeros(0)
    if applied.shape not in ((3, 4), (4, 4)) or not np.isfinite(applied).all():
        raise BadInputError(f"{path}: 'applied_transform' should be 3 rows of 4 finite numbers.")
    volume = abs(float(np.linalg.det(applied[:3, :3])))
    if volume < 1e-30:
        return (0.0, 0.0, 0.0), 1.0
    x, y, z = (-np.linalg.inv(applied[:3, :3]) @ applied[:3, 3]).tolist()
    # The cube root of a rotation's determinant need not be 1 to the last bit.
    unit = volume ** (-1 / 3)
    return (x, y, z), unit if abs(unit - 1) > 1e-12 else 1.0


def _text(entry: dict[str, Any], key: str) -> str | None:
    text = entry.get(key)
    return text if isinstance(text, str) and text else None


def _file_names(names: list[str]) -> list[str]:
    """One flat file name without extension for each frame name, all different even where case is ignored."""
    files: list[str] = []
    taken: set[str] = set()
    for name in names:
        path = PurePosixPath(name)
        base = re.sub(r"[^\w.-]+", "_", "_".join(path.with_suffix("").parts).strip("/")).lstrip(".") or "image"
        base = base.encode()[:_LONGEST_NAME_BYTES].decode(errors="ignore")
        file, number = base, 2
        while file.lower() in taken:
            file, number = f"{base}_{number}", number + 1
        taken.add(file.lower())
        files.append(file)
    return files


def _camera_entry(camera: Cameras) -> dict[str, Any]:
    world_from_cam = se3_inverse(camera.unrounded_poses.detach().cpu())
    world_from_cam[:3, 1:3] *= -1  # OpenCV to OpenGL axes
    K = camera.K.detach().cpu().double()
    entry: dict[str, Any] = {
        "w": int(camera.width),
        "h": int(camera.height),
        "fl_x": float(K[0, 0]),
        "fl_y": float(K[1, 1]),
        "cx": float(K[0, 2]),
        "cy": float(K[1, 2]),
        "transform_matrix": world_from_cam.tolist(),
    }
    if camera.times_s is not None:
        entry["time"] = float(camera.times_s)
    return entry


def _write_mask(run: Run, counts: np.ndarray | None, file: str, width: int, height: int) -> dict[str, str]:
    """The mask at working size, and the key that names it; nerfstudio wants one for every photograph, or for none."""
    full = np.ones((height, width), np.uint8) if counts is None else counts.astype(np.uint8)
    mask = cv2.resize(full, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    write_png(run.masks_path / f"{file}.png", mask * np.uint8(255))
    return {"mask_path": f"{run.masks_path.name}/{file}.png"}


def _write_depth(run: Run, frame: Frame, file: str, width: int, height: int) -> dict[str, str]:
    """The depth map likewise, in millimetres, as the layout wants; 0 where unknown."""
    metres = np.zeros((height, width), np.float32) if frame.load_depth is None else frame.load_depth()
    depth = cv2.resize(metres, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    buffer = io.BytesIO()
    np.save(buffer, depth * np.float32(1000), allow_pickle=False)
    make_folder(run.depths_path)
    write_bytes(run.depths_path / f"{file}.npy", buffer.getvalue())
    return {"depth_file_path": f"{run.depths_path.name}/{file}.npy"}
