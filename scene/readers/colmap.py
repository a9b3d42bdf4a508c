"""COLMAP sparse models, binary and text, with their photographs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from ..cameras import Cameras
from ..capture import Capture, Frame
from ..errors import BadInputError
from ..geometry import rotation_from_quat, se3_from
from ..images import read_header
from ..point_cloud import PointCloud
from .colmap_files import ColmapImage, ColmapPoints, count_images, read_cameras, read_images, read_points3d
from .image_frames import file_frame
from .lens import Lens
from .nearby_origin import in_single_precision
from .safe_paths import inside, is_file, listed, tidy_name

_IMAGE_FOLDERS = ("images", "images_2", "images_4", "images_8", "input", "")


def model_folder(path: Path) -> Path | None:
    """The model in `path`, `path/sparse` or `path/colmap/sparse`: of several sub-models the one with most images."""
    for base in (path, path / "sparse", path / "colmap" / "sparse"):
        if not base.is_dir():
            continue
        candidates = [base, *sorted(p for p in base.iterdir() if p.is_dir())] if base != path else [base]
        models = [folder for folder in candidates if _is_model(folder)]
        if models:
            return max(models, key=count_images)  # the first of equals
    return None


def read_colmap(
    folder: Path,
    image_folder: Path | None = None,
    *,
    max_megapixels: float = 100.0,
    allow_outside: bool = False,
) -> Capture:
    """A COLMAP reconstruction: photographs, undistorted, with cameras and points, in the order of their names.

    `folder` is the model, or a data set with the model in sparse/ or sparse/0. Photographs are looked for in
    `image_folder`, else in images/ (or images_2/, ...) beside the model or above it, and may be smaller or larger
    than the model's cameras. Raises BadInputError.
    """
    model = model_folder(folder)
    if model is None:
        raise BadInputError(f"{folder} holds no COLMAP model: cameras.bin and images.bin (or .txt) are expected.")
    lenses = read_cameras(model)
    images = sorted(read_images(model, lenses), key=lambda image: image.name)
    _check_names(model, images)
    root = image_folder if image_folder is not None else _find_images(folder, model, images)
    frames: list[Frame] = []
    cameras: list[Cameras] = []
    used: list[ColmapImage] = []
    missing: list[str] = []
    for image in images:
        path = inside(root, image.name, f"{model}, image {image.name!r}", allow_outside)
        if not is_file(path):
            missing.append(image.name)
            continue
        header = read_header(path, max_megapixels)
        lens = lenses[image.camera_id].resized(header.width, header.height)
        frames.append(file_frame(tidy_name(image.name), path, max_megapixels, lens, header=header))
        cameras.append(_camera(image, lens))
        used.append(image)
    if not frames:
        raise BadInputError(
            f"None of the {len(images)} photographs of the model {model} is in {root} (the first is "
            f"{images[0].name!r}); name their folder with --images."
        )
    notes = []
    if missing:
        notes.append(
            f"{len(missing)} of {len(images)} photographs are not in {root} and were left out: {listed(missing)}."
        )
    points, dropped = _point_cloud(read_points3d(model), used)
    if dropped:
        notes.append(f"{dropped} points of {model} are not finite and were left out.")
    return in_single_precision(Capture(tuple(frames), str(folder), Cameras.stack(cameras), points, notes=tuple(notes)))


def _is_model(folder: Path) -> bool:
    return any(is_file(folder / f"cameras{s}") and is_file(folder / f"images{s}") for s in (".bin", ".txt"))


def _check_names(model: Path, images: list[ColmapImage]) -> None:
    if not images:
        raise BadInputError(f"{model} has no registered images; at least one is expected.")
    for before, after in pairwise(images):
        if before.name == after.name:
            raise BadInputError(f"{model} has two images named {after.name!r}; names must differ.")


def _find_images(folder: Path, model: Path, images: list[ColmapImage]) -> Path:
    """The folder beside or above the model that holds most of the photographs; the first of equals."""
    bases = dict.fromkeys([folder, model, model.parent, model.parent.parent])
    candidates = [base / name for base in bases for name in _IMAGE_FOLDERS if (base / name).is_dir()]
    names = [image.name for image in images if not Path(image.name).is_absolute()]
    return max(candidates, key=lambda c: sum(is_file(c / name) for name in names), default=folder / "images")


def _camera(image: ColmapImage, lens: Lens) -> Cameras:
    rotation = rotation_from_quat(torch.tensor(image.quat, dtype=torch.float64))
    cam_from_world = se3_from(rotation, torch.tensor(image.translation, dtype=torch.float64))
    return Cameras(
        cam_from_world,
        torch.from_numpy(lens.K),
        torch.tensor(lens.width),
        torch.tensor(lens.height),
    )


def _point_cloud(points: ColmapPoints | None, images: list[ColmapImage]) -> tuple[PointCloud | None, int]:
    """The finite points with the images that see them, each image once; and how many were not finite."""
    if points is None or len(points.ids) == 0:
        return None, 0
    finite = np.isfinite(points.xyz).all(1)
    ids, xyz, rgb = points.ids[finite], points.xyz[finite], points.rgb[finite]
    order = np.argsort(ids, kind="stable")
    ids, xyz, rgb = ids[order], xyz[order], rgb[order]
    seen_point, seen_view = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for view, image in enumerate(images):
        place = np.searchsorted(ids, image.point_ids)
        place = np.unique(place[(place < len(ids)) & (ids[np.minimum(place, len(ids) - 1)] == image.point_ids)])
        seen_point.append(place)
        seen_view.append(np.full(len(place), view))
    cloud = PointCloud(
        torch.from_numpy(xyz),
        torch.from_numpy(rgb),
        torch.from_numpy(np.concatenate(seen_point)),
        torch.from_numpy(np.concatenate(seen_view)),
    )
    return cloud, int((~finite).sum())
