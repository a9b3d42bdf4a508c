"""`transforms.json` of instant-ngp and nerfstudio: camera-to-world matrices with OpenGL axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from ..cameras import Cameras
from ..capture import Capture, Frame
from ..errors import BadInputError
from ..files import read_json
from ..images import load_depth, load_mask, read_header
from ..point_cloud import PointCloud
from ..points_ply import read_points
from .frame_times import all_or_no_times, notes_on_times
from .image_frames import file_frame
from .left_out import centre_notes, decodable, misfit_notes, unreadable_notes
from .named_photographs import NamedPhotographs
from .nearby_origin import in_single_precision
from .orientation import PosedFile, orient, orientation_note
from .safe_paths import inside, is_file, listed, printable, tidy_name
from .transforms_entry import ROTATION_TOLERANCE, TransformsEntry, shown


@dataclass(frozen=True)
class Views:
    """Views that one transforms file lists, in its order."""

    frames: tuple[Frame, ...]
    cameras: tuple[Cameras, ...]  # float64
    named: tuple[str, ...]  # `file_path` of each frame, tidied
    entries: tuple[dict[str, Any], ...]  # of the frames in the file
    missing: tuple[str, ...]  # photographs that are not there
    missing_extras: tuple[str, ...]  # masks and depth maps that are not there
    notes: tuple[str, ...]  # sentences on what was left out or understood otherwise than it is written
    table: dict[str, Any]


def read_transforms(path: Path, *, max_megapixels: float = 100.0, allow_outside: bool = False) -> Capture:
    """A transforms.json (or the folder that holds it): photographs, undistorted, with cameras in its own world.

    `applied_transform` says how this world came from an older one and changes nothing here; initial points
    (`ply_file_path`) are in this world. Frames of `val_filenames` are left out where there are `test_filenames`.
    Raises BadInputError that names the key and the frame.
    """
    path = path / "transforms.json" if path.is_dir() else path
    views = read_views(path, path.parent, max_megapixels=max_megapixels, allow_outside=allow_outside)
    notes = [*missing_notes(views, path)]
    keep, test, split_note = _split(views, path)
    points, points_note = _points(views, path, allow_outside)
    notes += [note for note in (split_note, points_note) if note]
    frames = with_cameras_named(all_or_no_times([views.frames[i] for i in keep], path))
    notes += notes_on_times([frame for i, frame in enumerate(frames) if i not in (test or ())], path)
    cameras = Cameras.stack([views.cameras[i] for i in keep])
    return in_single_precision(
        Capture(tuple(frames), printable(str(path)), cameras, points, test=test, notes=tuple(notes))
    )


@dataclass(frozen=True)
class _Listed:
    """One frame of the file whose photograph is there."""

    view: TransformsEntry
    name: str
    file: PosedFile
    time_s: float | None
    mask: Path | None
    depth: Path | None


def read_views(
    path: Path, root: Path, *, max_megapixels: float, allow_outside: bool, as_written: bool = False
) -> Views:
    """The frames of one transforms file whose photographs exist, undistorted, and their cameras.

    Photographs, masks and depth maps that cannot be decoded are left out and named; `as_written` is for Fewview's own
    files, where that is not looked for. Raises BadInputError when the file is malformed, or none of its photographs can
    be used.
    """
    table = read_json(path)
    if not isinstance(table, dict) or not isinstance(table.get("frames"), list) or not table["frames"]:
        raise BadInputError(f"{path} should hold an object with a list 'frames' of at least one frame.")
    photographs = NamedPhotographs(root, allow_outside)
    kept, missing, missing_extras, notes = _listed_frames(path, table, photographs, max_megapixels, allow_outside)
    if not kept and missing:
        raise BadInputError(
            f"None of the {len(missing)} photographs that {path} lists is there, e.g. {root / missing[0]}."
        )
    notes += photographs.notes()
    if not as_written:
        kept, unreadable = decodable([item.file.path for item in kept], kept, max_megapixels)
        notes += unreadable_notes(unreadable, len(kept) + len(unreadable), path)
        kept, extra_notes = _with_readable_extras(kept, max_megapixels)
        notes += extra_notes
    files = [item.file for item in kept]
    oriented = orient(files, max_megapixels, prefer_stored=False)
    notes += misfit_notes(files, oriented, path) + orientation_note(files, oriented)
    frames, cameras, named, entries, odd = [], [], [], [], []
    for item, way in zip(kept, oriented, strict=True):
        if way is None:
            continue
        lens = item.view.lens(way.header)
        frame = file_frame(
            item.name, item.file.path, max_megapixels, lens, item.mask, item.depth, way.header, way.as_stored
        )
        frames.append(replace(frame, time_s=item.time_s))
        pose, K = torch.from_numpy(item.file.cam_from_world), torch.from_numpy(lens.K)
        cameras.append(Cameras(pose, K, torch.tensor(lens.width), torch.tensor(lens.height)))
        named.append(item.name)
        entries.append(item.view.entry)
        odd += [] if lens.centre_is_inside else [item.name]
    notes += centre_notes(odd)
    return Views(
        tuple(frames), tuple(cameras), tuple(named), tuple(entries), tuple(missing), tuple(missing_extras),
        tuple(notes), table,
    )  # fmt: skip


def _listed_frames(
    path: Path, table: dict[str, Any], photographs: NamedPhotographs, max_megapixels: float, allow_outside: bool
) -> tuple[list[_Listed], list[str], list[str], list[str]]:
    """The frames whose photographs are there, those that are not, masks and depths that are not, and notes."""
    kept: list[_Listed] = []
    missing: list[str] = []
    missing_extras: list[str] = []
    scaled: list[str] = []
    repeated: list[str] = []
    unreadable: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for i, entry in enumerate(table["frames"]):
        view = TransformsEntry(path, i, entry, table)
        name = tidy_name(view.text("file_path", required=True))
        if name in numbers:
            first = table["frames"][numbers[name]]
            if entry | {"file_path": name} == first | {"file_path": name}:
                repeated.append(name)
                continue
            raise BadInputError(f"{view.where} has the same file_path {name!r} as frame {numbers[name]}.")
        numbers[name] = i
        pose, scale = view.cam_from_world()  # checked even where the photograph is missing
        scaled += [name] if abs(scale - 1) > ROTATION_TOLERANCE else []
        time = view.number("time")
        image = photographs.find(name, view.where)
        if image is None:
            missing.append(name)
            continue
        mask, depth = (
            _extra(view, key, photographs.root, allow_outside, missing_extras)
            for key in ("mask_path", "depth_file_path")
        )
        try:
            header = read_header(image, max_megapixels)
        except BadInputError as error:
            unreadable[name] = str(error)
            continue
        view.lens(header)  # checked even where the photograph will not fit
        width, height = view.size(header)
        kept.append(_Listed(view, name, PosedFile(image, header, width, height, pose, view.lens), time, mask, depth))
    notes = unreadable_notes(unreadable, len(kept) + len(unreadable), path)
    if repeated:
        notes.append(f"{len(repeated)} frames of {path.name} are listed twice and were taken once: {listed(repeated)}.")
    if scaled:
        notes.append(
            f"The 'transform_matrix' of {len(scaled)} frames of {path.name} scales as well as moves; the scale was "
            f"left out: {listed(scaled)}."
        )
    return kept, missing, missing_extras, notes


def _with_readable_extras(kept: list[_Listed], max_megapixels: float) -> tuple[list[_Listed], list[str]]:
    """The frames without the masks and depth maps that cannot be read, and a note on these."""
    gone: list[str] = []

    def readable(file: Path | None, load: Callable[[Path, int, int, float], np.ndarray]) -> Path | None:
        try:
            if file is not None:
                load(file, 1, 1, max_megapixels)
        except BadInputError:
            gone.append(file.name if file is not None else "")
            return None
        return file

    kept = [replace(item, mask=readable(item.mask, load_mask), depth=readable(item.depth, load_depth)) for item in kept]
    note = f"{len(gone)} masks or depth maps could not be read and were left out: {listed(gone)}."
    return kept, [note] if gone else []


def with_cameras_named(frames: list[Frame]) -> list[Frame]:
    """The frames with `camera` set where the folders of the photographs say it, each that of a camera that films.

    That is so where several folders have photographs, of the same moments as others but of none twice.
    """
    folders = [str(PurePosixPath(frame.name).parent) for frame in frames]
    moments = {frame.time_s for frame in frames}
    several = 1 < len(moments) < len(frames) and len(set(folders)) > 1
    if not several or len({(f, frame.time_s) for f, frame in zip(folders, frames, strict=True)}) < len(frames):
        return frames
    return [replace(frame, camera=folder) for frame, folder in zip(frames, _ends(folders), strict=True)]


def _ends(folders: list[str]) -> list[str]:
    """The folders without the part that is the same of all."""
    parts = [PurePosixPath(folder).parts for folder in folders]
    common = next((i for i, same in enumerate(zip(*parts, strict=False)) if len(set(same)) > 1), min(map(len, parts)))
    return ["/".join(part[common:]) or folder for part, folder in zip(parts, folders, strict=True)]


def missing_notes(views: Views, path: Path) -> tuple[str, ...]:
    total = len(views.frames) + len(views.missing)
    notes = list(views.notes)
    if views.missing:
        names = listed(list(views.missing))
        notes.append(
            f"{len(views.missing)} of the {total} photographs in {path.name} are not there and were left out: {names}."
        )
    if views.missing_extras:
        names = listed(list(views.missing_extras))
        notes.append(f"{len(views.missing_extras)} masks or depth maps in {path.name} are not there: {names}.")
    return tuple(notes)


def _extra(view: TransformsEntry, key: str, root: Path, allow_outside: bool, missing: list[str]) -> Path | None:
    name = view.text(key)
    if not name:
        return None
    path = inside(root, name, f"{view.where}, '{key}'", allow_outside)
    if is_file(path):
        return path
    missing.append(name)
    return None


def _split(views: Views, path: Path) -> tuple[list[int], tuple[int, ...] | None, str | None]:
    """Frames to keep, positions of the test frames among them, and a note on what was left out."""
    lists = {key: _names(views.table, f"{key}_filenames", path) for key in ("train", "val", "test")}
    if all(names is None for names in lists.values()):
        return list(range(len(views.frames))), None, None
    held_out = lists["test"] or lists["val"] or set()
    train = lists["train"]
    left_out = (lists["val"] or set()) - held_out
    keep = [
        i
        for i, name in enumerate(views.named)
        if name in held_out or (name not in left_out if train is None else name in train)
    ]
    if not keep:
        raise BadInputError(f"{path}: none of the photographs is in train_filenames or test_filenames.")
    test = tuple(position for position, i in enumerate(keep) if views.named[i] in held_out)
    dropped = len(views.frames) - len(keep)
    note = f"{dropped} photographs that {path.name} keeps for validation, or for nothing, were left out."
    return keep, test, note if dropped else None


def _names(table: dict[str, Any], key: str, path: Path) -> set[str] | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadInputError(f"{path}: '{key}' should be a list of file names, found {shown(value)}.")
    return {tidy_name(name) for name in value}


def _points(views: Views, path: Path, allow_outside: bool) -> tuple[PointCloud | None, str | None]:
    name = views.table.get("ply_file_path")
    if name is None or name == "":
        return None, None
    if not isinstance(name, str):
        raise BadInputError(f"{path}: 'ply_file_path' should be a file name, found {shown(name)}.")
    file = inside(path.parent, name, f"{path}, 'ply_file_path'", allow_outside)
    if not is_file(file):
        return None, f"The initial points {name} that {path.name} names are not there."
    cloud = read_points(file, double=True)
    return PointCloud(cloud.xyz, cloud.rgb, metric=cloud.metric), None
