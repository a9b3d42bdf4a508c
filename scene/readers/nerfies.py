"""Nerfies, HyperNeRF and NeRF-DS folders: `dataset.json`, `metadata.json`, `scene.json`, camera/ and rgb/."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cameras import Cameras
from ..capture import Capture, Frame
from ..errors import BadInputError
from ..files import read_json
from ..images import ImageHeader, load_mask, read_header
from ..point_cloud import PointCloud
from .frame_times import notes_on_times
from .image_frames import file_frame
from .left_out import decodable, misfit_notes, unreadable_notes
from .lens import Lens, make_lens
from .nearby_origin import in_single_precision
from .orientation import PosedFile, orient, orientation_note
from .safe_paths import inside, is_file, listed, printable
from .transforms_entry import shown

FILE = "dataset.json"
_MOST = 100_000  # frames
_MOST_POINTS = 20_000_000
_RIGID = 1e-2
_RATIO = re.compile(r"(\d{1,3})x$")
_GREY = 160  # of 255: points.npy has no colours
_MAX_SKEW_PX = 1.0  # at the edge of the picture


@dataclass(frozen=True)
class _Item:
    """One frame of the data set."""

    name: str
    time_id: int
    camera_id: int | None
    position: np.ndarray  # float64 [3], of the camera in the source's frame
    rotation: np.ndarray  # float64 [3, 3], cam_from_world
    lens: Lens  # at full resolution
    image: Path


def is_nerfies(folder: Path) -> bool:
    return (
        all((folder / name).is_file() for name in (FILE, "metadata.json", "scene.json"))
        and (folder / "camera").is_dir()
    )


def read_nerfies(folder: Path, *, asked_side_px: int | None = None, max_megapixels: float = 100.0) -> Capture:
    """The frames of `train_ids` and `val_ids`, the latter as the test split, undistorted, with times.

    World coordinates are (x - center) * scale of scene.json, as the methods that came with the data use them; origin
    and unit of the capture lead back. The time of a frame is its time_id over the largest of the frames used. Of the
    sizes in rgb/ the smallest that has `asked_side_px` is read, the largest where none has it or nothing is asked.
    Masks in resized_mask/ say what stands still (black moves): they are for the estimation of points, not for training.
    Raises BadInputError that names the file.
    """
    center, scale = _scene(folder / "scene.json")
    train, val = _splits(folder / FILE)
    metadata = _table(folder / "metadata.json")
    ratio, ratio_note = _ratio(folder, asked_side_px, train + val)
    items, missing = _items(folder, train + val, metadata, ratio)
    notes = [ratio_note]
    if missing:
        notes.append(
            f"{len(missing)} of the {len(train) + len(val)} photographs are not in rgb/{ratio}x and were left out: "
            f"{listed(missing)}."
        )
    items, unreadable = decodable([item.image for item in items], items, max_megapixels)
    notes += unreadable_notes(unreadable, len(items) + len(unreadable), folder)
    posed = [_posed_file(item, center, scale, max_megapixels) for item in items]
    oriented = orient(posed, max_megapixels, prefer_stored=False)
    notes += misfit_notes(posed, oriented, folder) + orientation_note(posed, oriented)
    last = max((item.time_id for item in items), default=0)
    masks = _StillMasks(folder / "resized_mask" / f"{ratio}x", max_megapixels)
    frames: list[Frame] = []
    cameras: list[Cameras] = []
    for item, file, way in zip(items, posed, oriented, strict=True):
        if way is None:
            continue
        lens = file.lens(way.header)
        frame = file_frame(item.name, item.image, max_megapixels, lens, header=way.header, as_stored=way.as_stored)
        frames.append(
            replace(
                frame,
                time_s=item.time_id / max(1, last),
                camera=None if item.camera_id is None else str(item.camera_id),
                load_still=masks.of(item.name, lens),
            )
        )
        pose, K = torch.from_numpy(file.cam_from_world), torch.from_numpy(lens.K)
        cameras.append(Cameras(pose, K, torch.tensor(lens.width), torch.tensor(lens.height)))
    held_out = set(val)
    test = tuple(i for i, frame in enumerate(frames) if frame.name in held_out)
    if len(test) == len(frames):
        raise BadInputError(f"{folder / FILE}: no frame of train_ids is there; at least one to train on is expected.")
    notes += notes_on_times([frame for i, frame in enumerate(frames) if i not in set(test)], folder)
    notes += masks.notes()
    points, point_notes = _points(folder, center, scale)
    return in_single_precision(
        Capture(
            tuple(frames),
            printable(str(folder)),
            Cameras.stack(cameras),
            points,
            test=test if val else None,
            notes=(*notes, *point_notes),
            origin=(float(center[0]), float(center[1]), float(center[2])),
            unit=1 / scale,
        )
    )


def _scene(path: Path) -> tuple[np.ndarray, float]:
    """Center [3] and scale, from the source's coordinates to those that are used."""
    table = _table(path)
    center = _numbers(table, "center", (3,), str(path))
    scale = float(_numbers(table, "scale", (), str(path)))
    if not scale > 0:
        raise BadInputError(f"{path}: 'scale' should be more than 0, found {scale:g}.")
    return center, scale


def _splits(path: Path) -> tuple[list[str], list[str]]:
    """Names of the training and of the validation frames; all of `ids` are trained on where there is no split."""
    table = _table(path)
    lists: dict[str, list[str]] = {}
    for key in ("ids", "train_ids", "val_ids"):
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
            raise BadInputError(f"{path}: '{key}' should be a list of frame names, found {shown(value)}.")
        lists[key] = list(dict.fromkeys(value))
    train, val = lists["train_ids"] or lists["ids"], lists["val_ids"]
    if not lists["train_ids"]:
        train = [name for name in train if name not in set(val)]
    both = set(train) & set(val)
    if both:
        raise BadInputError(f"{path}: {min(both)!r} is in train_ids and in val_ids; one of them is expected.")
    if not train or len(train) + len(val) > _MOST:
        raise BadInputError(f"{path} names {len(train)} training frames; 1 to {_MOST} are expected.")
    return train, val


def _ratio(folder: Path, asked_side_px: int | None, names: Sequence[str]) -> tuple[int, str]:
    """The divisor K of the folder rgb/Kx that is read, and a note on the choice."""
    root = folder / "rgb"
    children = [p for p in root.iterdir() if p.is_dir()] if root.is_dir() else []
    ratios = sorted(int(m[1]) for p in children if (m := _RATIO.match(p.name)) and any(p.glob("*.*")))
    if not ratios or ratios[0] < 1:
        raise BadInputError(f"{root} holds no photographs; folders 1x, 2x, 4x, ... are expected in it.")
    chosen = ratios[0]
    if asked_side_px is not None and len(ratios) > 1:
        full = max(_camera_size(folder / "camera" / f"{names[0]}.json"))
        enough = [ratio for ratio in ratios if full / ratio >= asked_side_px]
        chosen = enough[-1] if enough else chosen
    why = "the largest there is" if chosen == ratios[0] else f"the smallest with {asked_side_px} pixels a side"
    there = "" if len(ratios) == 1 else f", of {', '.join(f'{ratio}x' for ratio in ratios)}"
    return chosen, f"The photographs are those of rgb/{chosen}x, {why}{there}."


def _camera_size(path: Path) -> tuple[int, int]:
    width, height = _numbers(_table(path), "image_size", (2,), str(path))
    if not (1 <= width < 2**31 and 1 <= height < 2**31):
        raise BadInputError(f"{path} has an image size of {width:g} x {height:g} pixels.")
    return round(float(width)), round(float(height))


def _items(
    folder: Path, names: Sequence[str], metadata: Mapping[str, Any], ratio: int
) -> tuple[list[_Item], list[str]]:
    """The frames whose photographs are there, and the names of the others."""
    items: list[_Item] = []
    missing: list[str] = []
    for name in names:
        where = f"{folder / FILE}, frame {name!r}"
        image = inside(folder, f"rgb/{ratio}x/{name}.png", where)
        if not is_file(image):
            missing.append(printable(name))
            continue
        entry = metadata.get(name)
        if not isinstance(entry, dict):
            raise BadInputError(f"{folder / 'metadata.json'} says nothing of the frame {name!r}.")
        where = f"{folder / 'metadata.json'}, frame {name!r}"
        time_id = _whole(entry, "time_id", where)
        time_id = _whole(entry, "warp_id", where) if time_id is None else time_id
        if time_id is None:
            raise BadInputError(f"{where} has no 'time_id' and no 'warp_id', so that its time is not known.")
        camera_id = _whole(entry, "camera_id", where)
        path = inside(folder, f"camera/{name}.json", f"{folder / FILE}, frame {name!r}")
        items.append(_Item(name, time_id, camera_id, *_camera(path), image))
    if not items:
        raise BadInputError(
            f"None of the {len(missing)} photographs that {folder / FILE} names is in {folder / 'rgb' / f'{ratio}x'}, "
            f"e.g. {missing[0]}.png."
        )
    # A camera_id of every frame that is the same says nothing of several cameras.
    if len({item.camera_id for item in items}) == 1:
        items = [replace(item, camera_id=None) for item in items]
    return items, missing


def _camera(path: Path) -> tuple[np.ndarray, np.ndarray, Lens]:
    """Position [3] and cam_from_world rotation [3, 3] in the source's frame, and the lens at full resolution."""
    table, where = _table(path), str(path)
    rotation = _numbers(table, "orientation", (3, 3), where)
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > _RIGID or np.linalg.det(rotation) < 0:
        raise BadInputError(f"{where}: 'orientation' is no rotation.")
    u, _, vt = np.linalg.svd(rotation)
    width, height = _camera_size(path)
    focal = float(_numbers(table, "focal_length", (), where))
    cx, cy = _numbers(table, "principal_point", (2,), where)
    aspect = float(_numbers(table, "pixel_aspect_ratio", (), where, 1.0))
    k1, k2, k3 = _numbers(table, "radial_distortion", (3,), where, (0.0, 0.0, 0.0))
    tangential = "tangential_distortion" if "tangential_distortion" in table else "tangential"
    p1, p2 = _numbers(table, tangential, (2,), where, (0.0, 0.0))
    skew_px = abs(float(_numbers(table, "skew", (), where, 0.0))) * height / 2 / max(focal, 1e-9)
    if skew_px > _MAX_SKEW_PX:
        raise BadInputError(f"{where} has a skew of {skew_px:.3g} pixels at its edge, which is not supported.")
    params = (focal, focal * aspect, cx, cy)
    if any((k1, k2, k3, p1, p2)):
        lens = make_lens("FULL_OPENCV", (*params, k1, k2, p1, p2, k3, 0, 0, 0), width, height, where)
    else:
        lens = make_lens("PINHOLE", params, width, height, where)
    return _numbers(table, "position", (3,), where), u @ vt, lens


def _posed_file(item: _Item, center: np.ndarray, scale: float, max_megapixels: float) -> PosedFile:
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = item.rotation
    cam_from_world[:3, 3] = -item.rotation @ ((item.position - center) * scale)

    def taken(header: ImageHeader) -> Lens:
        return item.lens.resized(header.width, header.height)

    header = read_header(item.image, max_megapixels)
    return PosedFile(item.image, header, item.lens.width, item.lens.height, cam_from_world, taken)


class _StillMasks:
    """Masks in resized_mask/Kx, named NAME.png.png as COLMAP wants them: black is what moves."""

    def __init__(self, folder: Path, max_megapixels: float) -> None:
        self._folder, self._max_megapixels = folder, max_megapixels
        self._used = 0

    def of(self, name: str, lens: Lens) -> _StillMask | None:
        for ending in (".png.png", ".png"):
            path = self._folder / f"{name}{ending}"
            if not is_file(path):
                continue
            load_mask(path, 1, 1, self._max_megapixels)  # raises for what is no mask, before anything takes long
            self._used += 1
            return _StillMask(path, lens, self._max_megapixels)
        return None

    def notes(self) -> list[str]:
        if not self._used:
            return []
        return [
            f"{self._used} masks in {self._folder} say what moves (black); points are estimated without it, and "
            "training sees it."
        ]


@dataclass(frozen=True)
class _StillMask:
    """bool [H, W] of the undistorted photograph, loaded when called."""

    path: Path
    lens: Lens
    max_megapixels: float

    def __call__(self) -> np.ndarray:
        still = load_mask(self.path, self.lens.width, self.lens.height, self.max_megapixels)
        return self.lens.undistort(still.astype(np.uint8), nearest=True).astype(bool)


def _points(folder: Path, center: np.ndarray, scale: float) -> tuple[PointCloud | None, list[str]]:
    """Points of the background, without colours; and a note where some are not finite."""
    path = folder / "points.npy"
    if not path.is_file():
        return None, []
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise BadInputError(f"{path} is not a NumPy array file: {error}.") from error
    if mapped.ndim != 2 or mapped.shape[1] != 3 or mapped.dtype.kind not in "fiu" or len(mapped) > _MOST_POINTS:
        raise BadInputError(f"{path} should hold N x 3 numbers, found shape {mapped.shape} of {mapped.dtype}.")
    xyz = np.array(mapped, np.float64)
    finite = np.isfinite(xyz).all(1)
    xyz = (xyz[finite] - center) * scale
    notes = [] if finite.all() else [f"{int((~finite).sum())} points of {path} are not finite and were left out."]
    if not len(xyz):
        return None, notes
    return PointCloud(torch.from_numpy(xyz), torch.full(xyz.shape, _GREY, dtype=torch.uint8)), notes


def _table(path: Path) -> dict[str, Any]:
    table = read_json(path)
    if not isinstance(table, dict):
        raise BadInputError(f"{path} should hold an object, found {type(table).__name__}.")
    return table


def _numbers(
    table: Mapping[str, Any], key: str, shape: tuple[int, ...], where: str, otherwise: object = None
) -> np.ndarray:
    """float64 of this shape. Raises BadInputError for anything else, or what is not finite."""
    value = table.get(key, otherwise)
    try:
        numbers = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.zeros(0)
    if value is None or numbers.shape != shape or not np.isfinite(numbers).all():
        wanted = " x ".join(map(str, shape)) + " finite numbers" if shape else "a finite number"
        raise BadInputError(f"{where}: '{key}' should be {wanted}, found {shown(value)}.")
    return numbers


def _whole(entry: Mapping[str, Any], key: str, where: str) -> int | None:
    value = entry.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise BadInputError(f"{where}: '{key}' should be a whole number from 0 on, found {shown(value)}.")
    return value
