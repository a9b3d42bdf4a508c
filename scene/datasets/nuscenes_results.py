"""Detections in the nuScenes submission layout: boxes in the global frame for each sample's token."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..boxes import Boxes
from ..errors import BadInputError
from ..files import atomic_writer
from ..json_stream import stream_members
from .box_conventions import from_nuscenes, to_nuscenes
from .nuscenes_classes import ATTRIBUTES, DETECTION_NAMES
from .table_columns import checked, numbers, rotation, sizes

MODALITIES = ("use_camera", "use_lidar", "use_radar", "use_map", "use_external")


class Results(Mapping[str, Boxes]):
    """All boxes of a submission in one batch, taken apart by sample token; global frame, float64."""

    def __init__(self, boxes: Boxes, rows: Mapping[str, slice]) -> None:
        self.boxes, self.rows = boxes, rows

    def __getitem__(self, token: str) -> Boxes:
        return self.boxes[self.rows[token]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def read_results(path: Path | str) -> Results:
    """A submission or result file; labels are into DETECTION_NAMES.

    Read one sample at a time, as those of the full data set have hundreds of megabytes. Raises BadInputError that
    names sample, box and field.
    """
    path = Path(path)
    columns: dict[str, list[torch.Tensor]] = {name: [] for name in ("numbers", "labels")}
    attributes: list[str] = []
    rows: dict[str, slice] = {}
    for token, entries in stream_members(path, "results"):
        where = f"{path}: sample {token[:60]!r}"
        if not isinstance(entries, list):
            raise BadInputError(f"{where} should have a list of boxes, found {type(entries).__name__}.")
        parsed = [_box(entry, token, f"{where}, box {i}") for i, entry in enumerate(entries)]
        rows[token] = slice(len(attributes), len(attributes) + len(parsed))
        columns["numbers"].append(torch.tensor([p[0] for p in parsed], dtype=torch.float64).reshape(-1, 13))
        columns["labels"].append(torch.tensor([p[1] for p in parsed], dtype=torch.int64))
        attributes += [p[2] for p in parsed]
    table = torch.cat([torch.zeros(0, 13, dtype=torch.float64), *columns["numbers"]])
    boxes = from_nuscenes(
        table[:, :3],
        table[:, 3:6],
        table[:, 6:10],
        torch.cat([torch.zeros(0, dtype=torch.int64), *columns["labels"]]),
        DETECTION_NAMES,
        scores=table[:, 12],
        velocities=torch.cat([table[:, 10:12], torch.zeros(len(table), 1, dtype=torch.float64)], dim=1),
        attributes=tuple(attributes),
    )
    return Results(boxes, rows)


def write_results(path: Path | str, results: Mapping[str, Boxes], used: tuple[str, ...] = ()) -> None:
    """Write boxes of the global frame with scores as a submission; `used` lists those of MODALITIES that were.

    Labels are into DETECTION_NAMES; an unknown velocity is written as 0, as the layout has no other way.
    """
    meta = json.dumps({name: name in used for name in MODALITIES})
    with atomic_writer(Path(path)) as file:
        file.write(f'{{"meta": {meta}, "results": {{'.encode())
        for i, (token, boxes) in enumerate(results.items()):
            rows = json.dumps(_rows(token, boxes), allow_nan=False)
            file.write(f"{',' if i else ''}\n{json.dumps(token)}: {rows}".encode())
        file.write(b"\n}}\n")


def _rows(token: str, boxes: Boxes) -> list[dict[str, Any]]:
    if boxes.names != DETECTION_NAMES or boxes.scores is None or (len(boxes) and int(boxes.labels.min()) < 0):
        raise ValueError("expected boxes with scores and labels into DETECTION_NAMES")
    translations, sizes_wlh, rotations = (t.double().tolist() for t in to_nuscenes(boxes))
    velocities = torch.zeros_like(boxes.centers) if boxes.velocities is None else boxes.velocities.nan_to_num()
    return [
        {
            "sample_token": token,
            "translation": translations[i],
            "size": sizes_wlh[i],
            "rotation": rotations[i],
            "velocity": velocities[i, :2].tolist(),
            "detection_name": DETECTION_NAMES[int(boxes.labels[i])],
            "detection_score": float(boxes.scores[i]),
            "attribute_name": "" if boxes.attributes is None else boxes.attributes[i],
        }
        for i in range(len(boxes))
    ]


def _box(entry: Any, token: str, where: str) -> tuple[list[float], int, str]:
    """(translation, size, rotation, velocity, score; label; attribute)"""
    if not isinstance(entry, dict):
        raise BadInputError(f"{where} should be an object, found {type(entry).__name__}.")

    def get(key: str, convert: Callable[[Any], Any]) -> Any:
        if key not in entry:
            raise BadInputError(f"{where} has no '{key}'.")
        return checked(entry[key], convert, f"{where}, '{key}',")

    if entry.get("sample_token", token) != token:
        raise BadInputError(f"{where} belongs to another sample, {str(entry['sample_token'])[:60]!r}.")
    row = [
        *get("translation", numbers(3)),
        *get("size", sizes),
        *get("rotation", rotation),
        *get("velocity", numbers(2)),
        *get("detection_score", lambda value: numbers(1)([value])),
    ]
    label = get("detection_name", lambda value: _one_of(value, DETECTION_NAMES))
    return row, label, ("", *ATTRIBUTES)[get("attribute_name", lambda value: _one_of(value, ("", *ATTRIBUTES)))]


def _one_of(value: Any, names: tuple[str, ...]) -> int:
    if value not in names:
        raise ValueError(f"one of {', '.join(filter(None, names))}")
    return names.index(value)
