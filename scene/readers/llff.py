"""`poses_bounds.npy` of LLFF (Mildenhall et al. 2019), with the photographs in images/."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..cameras import Cameras
from ..capture import Capture, Frame
from ..errors import BadInputError
from ..images import ImageHeader, read_header
from .image_frames import file_frame
from .left_out import decodable, misfit_notes, unreadable_notes
from .lens import Lens, make_lens
from .nearby_origin import in_single_precision
from .orientation import PosedFile, orient, orientation_note
from .photo_folders import photo_files
from .safe_paths import printable, tidy_name

FILE = "poses_bounds.npy"
_FOLDERS = ("images", "images_4", "images_8", "images_2", "")
_MOST = 100_000  # photographs
_RIGID = 1e-2


def read_llff(folder: Path, *, max_megapixels: float = 100.0) -> Capture:
    """The photographs of an LLFF folder with their cameras, which belong to them in the order of their names.

    A row of the file is 3 x 5 numbers and two depths: the world's coordinates of the camera's axes (down, right,
    backwards), its centre, and (height, width, focal length in pixels). The depths, which bound the scene, are not
    used. Raises BadInputError.
    """
    path = folder / FILE
    rows = _rows(path)
    files = _photographs(folder, path, len(rows))
    notes = [f"The near and far depths in {FILE} are not used."]
    kept, unreadable = decodable(files, list(zip(files, rows, strict=True)), max_megapixels)
    notes += unreadable_notes(unreadable, len(files), folder)
    posed = [_posed_file(path, file, row, read_header(file, max_megapixels)) for file, row in kept]
    oriented = orient(posed, max_megapixels, prefer_stored=False)
    notes += misfit_notes(posed, oriented, folder) + orientation_note(posed, oriented)
    frames: list[Frame] = []
    cameras: list[Cameras] = []
    for file, way in zip(posed, oriented, strict=True):
        if way is None:
            continue
        lens, name = file.lens(way.header), tidy_name(file.path.relative_to(folder).as_posix())
        frames.append(file_frame(name, file.path, max_megapixels, lens, header=way.header, as_stored=way.as_stored))
        pose, K = torch.from_numpy(file.cam_from_world), torch.from_numpy(lens.K)
        cameras.append(Cameras(pose, K, torch.tensor(lens.width), torch.tensor(lens.height)))
    capture = Capture(tuple(frames), printable(str(folder)), Cameras.stack(cameras), notes=tuple(notes))
    return in_single_precision(capture)


def _rows(path: Path) -> np.ndarray:
    """float64 [N, 17]. The size is checked before anything is read, and nothing is unpickled."""
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise BadInputError(f"{path} is not a NumPy array file: {error}.") from error
    if mapped.ndim != 2 or mapped.shape[1] != 17 or not 0 < len(mapped) <= _MOST or mapped.dtype.kind not in "fiu":
        raise BadInputError(f"{path} should hold N x 17 numbers, found shape {mapped.shape} of {mapped.dtype}.")
    rows = np.array(mapped, np.float64)
    if not np.isfinite(rows[:, :15]).all():
        raise BadInputError(f"{path} holds numbers that are not finite.")
    return rows


def _photographs(folder: Path, path: Path, count: int) -> list[Path]:
    found = {name: photo_files(folder / name) for name in _FOLDERS if (folder / name).is_dir()}
    for files in found.values():
        if len(files) == count:
            return files
    counts = ", ".join(f"{len(files)} in {folder / name}" for name, files in found.items())
    raise BadInputError(f"{path} has cameras for {count} photographs, found {counts}; as many are expected in images/.")


def _posed_file(path: Path, file: Path, row: np.ndarray, header: ImageHeader) -> PosedFile:
    matrix = row[:15].reshape(3, 5)
    down, right, backwards, center, (height, width, focal_px) = matrix.T
    world_from_cam = np.stack([right, down, -backwards], axis=1)
    where = f"{path}, the camera of {file.name}"
    if np.abs(world_from_cam.T @ world_from_cam - np.eye(3)).max() > _RIGID or np.linalg.det(world_from_cam) < 0:
        raise BadInputError(f"{where} has no rotation in its first three columns.")
    if not (1 <= height < 2**31 and 1 <= width < 2**31):
        raise BadInputError(f"{where} has an image size of {width:g} x {height:g} pixels.")
    u, _, vt = np.linalg.svd(world_from_cam)
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = (u @ vt).T
    cam_from_world[:3, 3] = -cam_from_world[:3, :3] @ center
    lens = make_lens("PINHOLE", (focal_px, focal_px, width / 2, height / 2), round(width), round(height), where)

    def taken(header: ImageHeader) -> Lens:
        return lens.resized(header.width, header.height)

    return PosedFile(file, header, width, height, cam_from_world, taken)
