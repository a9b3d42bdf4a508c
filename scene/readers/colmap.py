"""COLMAP sparse models, binary and text, with their photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..cameras import Cameras
from ..capture import Capture, Frame
from ..errors import BadInputError
from ..geometry import rotation_from_quat, se3_from
from ..images import ImageHeader, check_decodes, read_header
from ..point_cloud import PointCloud
from .colmap_files import ColmapImage, ColmapPoints, count_images, read_cameras, read_images, read_points3d
from .image_frames import file_frame
from .left_out import centre_notes, misfit_notes, unreadable_notes
from .lens import Lens
from .mask_files import MaskFiles
from .named_photographs import NamedPhotographs
from .nearby_origin import in_single_precision
from .orientation import PosedFile, orient, orientation_note
from .photo_folders import photo_files
from .safe_paths import is_file, listed, printable, tidy_name

_IMAGE_FOLDERS = ("images", "images_2", "images_4", "images_8", "input", "")


def model_folder(path: Path) -> Path | None:
    """The model in `path`, `path/sparse`, `path/colmap/sparse` or a dense workspace's `dense/0/sparse`.

    Of several sub-models the one with most images.
    """
    dense = [found for inner in ("dense/0", "dense", "0") if (found := path / inner / "sparse").is_dir()]
    for base in (path, path / "sparse", path / "colmap" / "sparse", *dense):
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
    images, notes = different_images(model, sorted(read_images(model, lenses), key=lambda image: image.name))
    root = image_folder if image_folder is not None else _find_images(folder, model, images)
    capture = posed_photographs(
        folder, model, images, lenses, root, max_megapixels=max_megapixels, allow_outside=allow_outside
    )
    return replace(capture, notes=(*notes, *capture.notes))


def posed_photographs(
    folder: Path,
    model: Path,
    images: Sequence[ColmapImage],
    lenses: Mapping[int, Lens],
    root: Path,
    *,
    max_megapixels: float,
    allow_outside: bool,
) -> Capture:
    """The photographs in `root` of these images, which have different names, with the model's points.

    Raises BadInputError where none can be used.
    """
    photographs = NamedPhotographs(root, allow_outside)
    files: list[PosedFile] = []
    used: list[ColmapImage] = []
    missing: list[str] = []
    unreadable: dict[str, str] = {}
    for image in images:
        path = photographs.find(image.name, f"{model}, image {image.name!r}")
        if path is None:
            missing.append(image.name)
            continue
        try:
            header = read_header(path, max_megapixels)
            check_decodes(path, max_megapixels)
        except BadInputError as error:
            unreadable[image.name] = str(error)
            continue
        files.append(_posed_file(image, path, header, lenses[image.camera_id]))
        used.append(image)
    if len(missing) == len(images):
        raise BadInputError(
            f"None of the {len(images)} photographs of the model {model} is in {root} (the first is "
            f"{images[0].name!r}); name their folder with --images."
        )
    notes = unreadable_notes(unreadable, len(images) - len(missing), root)
    if missing:
        notes.append(
            f"{len(missing)} of {len(images)} photographs are not in {root} and were left out: {listed(missing)}."
        )
    oriented = orient(files, max_megapixels, prefer_stored=True)  # COLMAP ignores the EXIF orientation
    notes += [*photographs.notes(), *misfit_notes(files, oriented, root), *orientation_note(files, oriented)]
    masks = MaskFiles(root, max_megapixels)
    frames: list[Frame] = []
    cameras: list[Cameras] = []
    views: list[ColmapImage] = []
    odd: list[str] = []
    for image, file, way in zip(used, files, oriented, strict=True):
        if way is None:
            continue
        lens = file.lens(way.header)
        name = tidy_name(image.name)
        mask = masks.find(image.name.replace("\\", "/"), way.header.width, way.header.height)
        frames.append(file_frame(name, file.path, max_megapixels, lens, mask, None, way.header, way.as_stored))
        cameras.append(_camera(file.cam_from_world, lens))
        views.append(image)
        odd += [] if lens.centre_is_inside else [image.name]
    notes += [*centre_notes(odd), *masks.notes()]
    points, dropped = _point_cloud(read_points3d(model), views)
    if dropped:
        notes.append(f"{dropped} points of {model} are not finite and were left out.")
    return in_single_precision(
        Capture(tuple(frames), printable(str(folder)), Cameras.stack(cameras), points, notes=tuple(notes))
    )


def _is_model(folder: Path) -> bool:
    return any(is_file(folder / f"cameras{s}") and is_file(folder / f"images{s}") for s in (".bin", ".txt"))


def different_images(model: Path, images: list[ColmapImage]) -> tuple[list[ColmapImage], list[str]]:
    """The images, sorted by name, without repeated equal ones; and a note on these."""
    if not images:
        raise BadInputError(f"{model} has no registered images; at least one is expected.")
    repeated: list[str] = []
    kept = images[:1]
    for image in images[1:]:
        if image.name != kept[-1].name:
            kept.append(image)
        elif _pose(image) == _pose(kept[-1]):
            repeated.append(image.name)
        else:
            raise BadInputError(f"{model} has two images named {image.name!r}; names must differ.")
    note = f"{len(repeated)} images of {model} are listed twice and were taken once: {listed(repeated)}."
    return kept, [note] if repeated else []


def _pose(image: ColmapImage) -> tuple[object, ...]:
    return image.camera_id, image.quat, image.translation


def _find_images(folder: Path, model: Path, images: list[ColmapImage]) -> Path:
    """The folder beside or above the model that holds most of the photographs; the first of equals.

    The nearest to the model comes first: `dense/0/images` are the undistorted ones of `dense/0/sparse`. Where no name
    fits as it is, the first folder with photographs.
    """
    bases = dict.fromkeys([model, model.parent, model.parent.parent, folder])
    candidates = [base / name for base in bases for name in _IMAGE_FOLDERS if (base / name).is_dir()]
    names = [image.name.replace("\\", "/") for image in images if not Path(image.name).is_absolute()]
    counts = [sum(is_file(c / name) for name in names) for c in candidates]
    if not any(counts):
        counts = [int(bool(photo_files(c))) for c in candidates]
    best = max(range(len(candidates)), key=lambda i: counts[i], default=None)
    return folder / "images" if best is None or not counts[best] else candidates[best]


def _posed_file(image: ColmapImage, path: Path, header: ImageHeader, lens: Lens) -> PosedFile:
    rotation = rotation_from_quat(torch.tensor(image.quat, dtype=torch.float64))
    cam_from_world = se3_from(rotation, torch.tensor(image.translation, dtype=torch.float64))

    def taken(header: ImageHeader) -> Lens:
        return lens.resized(header.width, header.height)

    return PosedFile(path, header, lens.width, lens.height, cam_from_world.numpy(), taken)


def _camera(cam_from_world: np.ndarray, lens: Lens) -> Cameras:
    return Cameras(
        torch.from_numpy(cam_from_world),
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
