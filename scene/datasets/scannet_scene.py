"""One scene of ScanNet: vertices, segments, objects and axis alignment, from the files of its folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..boxes import Boxes
from ..errors import BadInputError
from ..files import read_json
from ..json_field import JsonField
from ..ply_file import COLORS, columns, read_element, read_header, rgb
from ..readers.safe_paths import printable
from ..scan import Scan, boxes_of_points
from .scannet_classes import plain_word
from .scannet_views import read_views

MAX_VERTICES = 40_000_000  # of a scan; ScanNet's have up to half a million
MAX_OBJECTS = 10_000
_ALIGNED_TOLERANCE = 1e-3  # of the rotation, which is written with six digits


@dataclass(frozen=True)
class SceneObjects:
    """Objects of a scan, and the numbers that sentences call them by."""

    boxes: Boxes  # [M] axis-aligned, around the points of each
    of_point: Tensor  # [N] int64
    row_of_id: dict[int, int]  # the data set's objectId -> row; those with the points of an earlier one have its row


def is_scannet_scene(folder: Path) -> bool:
    return mesh_path(folder).is_file()


def mesh_path(folder: Path) -> Path:
    return folder / f"{folder.name}_vh_clean_2.ply"


def read_scannet_scene(folder: Path, photographs: bool = True) -> tuple[Scan, dict[int, int]]:
    """(the scan without sentences, rows of its objects by their objectId) of a folder such as scans/scene0000_00.

    Vertices that are not finite are left out. Annotations, photographs and axis alignment may be absent.
    Raises BadInputError for files that are damaged or do not fit together.
    """
    name, path = folder.name, mesh_path(folder)
    header = read_header(path)
    vertex = header.element("vertex")
    if vertex is None or not {"x", "y", "z"} <= set(vertex.properties):
        raise BadInputError(f"{path} has no points: an element 'vertex' with x, y and z is expected.")
    if not 0 < vertex.count <= MAX_VERTICES:
        raise BadInputError(f"{path} has {vertex.count:,} vertices; 1 to {MAX_VERTICES:,} are expected of a scan.")
    rows = read_element(header, "vertex")
    colored = set(COLORS) <= set(vertex.properties)
    raw = torch.from_numpy(columns(rows, ("x", "y", "z")))
    finite = torch.isfinite(raw).all(1)
    if not bool(finite.any()):
        raise BadInputError(f"{path} has no vertex with a finite position.")
    aligned_from_raw, notes = _alignment(folder / f"{name}.txt")
    points = raw @ aligned_from_raw[:3, :3].T.float() + aligned_from_raw[:3, 3].float()
    colors = torch.from_numpy(rgb(rows)).float() / 255 if colored else None
    objects = _objects(folder, points, finite)
    if objects is None:
        notes.append(f"{name} has no annotated objects ({name}.aggregation.json is not there).")
    scan = Scan(
        name,
        points,
        colors,
        None if objects is None else objects.boxes,
        None if objects is None else objects.of_point,
        aligned=not any("axis alignment" in note for note in notes),
    )
    if not bool(finite.all()):
        notes.append(f"{int((~finite).sum()):,} of {len(finite):,} vertices of {name} are not finite and are left out.")
        scan = scan[finite]
    if photographs:
        frames, cameras, left_out = read_views(folder, aligned_from_raw)
        notes += left_out
        scan = replace(scan, frames=frames, cameras=cameras)
    return replace(scan, notes=tuple(notes)), {} if objects is None else objects.row_of_id


def _alignment(path: Path) -> tuple[Tensor, list[str]]:
    """aligned_from_raw [4, 4] float64, and a note where the file has none."""
    identity = torch.eye(4, dtype=torch.float64)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    words = next((line.partition("=")[2].split() for line in lines if line.strip().startswith("axisAlignment")), None)
    if words is None:
        sentence = f"{path.name} has no axis alignment, so the scan is used as it lies; boxes along its axes fit worse."
        return identity, [sentence]
    try:
        matrix = torch.tensor([float(word) for word in words], dtype=torch.float64).reshape(4, 4)
    except (ValueError, RuntimeError) as error:
        raise BadInputError(f"{path}: axisAlignment should have 16 numbers, found {len(words)} words.") from error
    turn = matrix[:3, :3]
    if not bool(torch.isfinite(matrix).all()) or float((turn @ turn.T - identity[:3, :3]).abs().max()) > (
        _ALIGNED_TOLERANCE
    ):
        raise BadInputError(f"{path}: axisAlignment is no rigid motion, so the file is damaged.")
    return matrix, []


def _objects(folder: Path, points: Tensor, finite: Tensor) -> SceneObjects | None:
    """The annotated objects; those of whose vertices none is there are left out. None without annotations."""
    name = folder.name
    groups_path = folder / f"{name}.aggregation.json"
    if not groups_path.is_file():
        return None
    segments_path = folder / f"{name}_vh_clean_2.0.010000.segs.json"
    segment = _segments(segments_path, len(points))
    groups = JsonField(read_json(groups_path), str(groups_path), "a table of objects")["segGroups"].items(MAX_OBJECTS)
    numbers, segment_row = np.unique(segment[finite.numpy()], return_inverse=True)
    known = {number: row for row, number in enumerate(numbers.tolist())}
    owner = np.full(len(numbers), -1)  # the object of each segment
    kept: dict[tuple[int, ...], int] = {}
    row_of_id: dict[int, int] = {}
    labels: list[str] = []
    tokens: list[str] = []
    for group in groups:
        number, label, own = group["objectId"].whole(), group["label"].text(), _segment_list(group["segments"])
        if number in row_of_id:
            raise BadInputError(f"{groups_path} names the objectId {number} twice.")
        key = tuple(sorted(known[s] for s in own if s in known))
        if not key:
            continue
        if key in kept:  # annotated twice: the same points under two numbers
            row_of_id[number] = kept[key]
            continue
        row_of_id[number] = kept[key] = len(labels)
        owner[list(key)] = len(labels)
        labels.append(plain_word(printable(label)))
        tokens.append(str(number))
    of_point = torch.full((len(points),), -1, dtype=torch.int64)
    of_point[finite] = torch.from_numpy(owner[segment_row.reshape(-1)])
    names = tuple(dict.fromkeys(labels))
    label_rows = torch.tensor([names.index(label) for label in labels], dtype=torch.int64)
    return SceneObjects(_around(points, of_point, label_rows, names, tuple(tokens)), of_point, row_of_id)


def _around(points: Tensor, of_point: Tensor, labels: Tensor, names: tuple[str, ...], tokens: tuple[str, ...]) -> Boxes:
    """Boxes around the points of each object. An object all of whose points a later one took is a point box at 0."""
    ends, counts = boxes_of_points(points, of_point, len(labels))
    ends = torch.where((counts > 0)[:, None, None], ends, 0.0)
    middle, size = ends.mean(1), ends[:, 1] - ends[:, 0]
    return Boxes.upright(middle, size, torch.zeros(len(labels)), labels, names, tokens=tokens)


def _segments(path: Path, vertices: int) -> np.ndarray:
    """The segment of each vertex, int64 [N]."""
    field = JsonField(read_json(path), str(path), "a table of segments")["segIndices"]
    values: Any = field.value
    if not isinstance(values, list) or len(values) != vertices:
        found = f"{len(values):,} entries" if isinstance(values, list) else type(values).__name__
        raise BadInputError(f"{path} has {found} in segIndices; {vertices:,} are expected, one for each vertex.")
    try:
        if set(map(type, values)) == {int}:  # a loop over a quarter of a million of them would be half of the reading
            return np.asarray(values, np.int64)
    except OverflowError:
        pass
    raise BadInputError(f"{path}: segIndices should hold whole numbers only.")


def _segment_list(field: JsonField) -> list[int]:
    values: Any = field.value
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise field.bad("a list of whole numbers")
    return values
