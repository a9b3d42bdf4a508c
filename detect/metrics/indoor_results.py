"""Files of boxes in rooms: what `detect run --task indoor` writes and `detect eval --task indoor` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...scene.boxes import Boxes
from ...scene.errors import BadInputError
from ...scene.files import read_json, write_json
from ...scene.json_field import JsonField

MAX_BYTES = 1 << 30
MAX_ROOMS, MAX_BOXES = 100_000, 100_000  # boxes of one room


def write_indoor_results(path: Path, found: Mapping[str, Boxes], classes: Sequence[str]) -> None:
    """Boxes with scores by room: centre, size (along the box's own axes) in metres, yaw in radians, class, score."""
    rooms = {token: [_entry(boxes, i) for i in range(len(boxes))] for token, boxes in found.items()}
    write_json(path, {"task": "indoor", "classes": list(classes), "rooms": rooms})


def _entry(boxes: Boxes, i: int) -> dict[str, Any]:
    assert boxes.scores is not None
    return {
        "center": [round(v, 4) for v in boxes.centers[i].tolist()],
        "size": [round(v, 4) for v in boxes.sizes[i].tolist()],
        "yaw": round(float(boxes.yaws[i]), 5),
        "class": boxes.name(i),
        "score": round(float(boxes.scores[i]), 6),
    }


def read_indoor_results(path: Path) -> dict[str, Boxes]:
    """Boxes by room, labels into the file's classes. Raises BadInputError that names the entry that does not fit."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}.") from error
    if size > MAX_BYTES:
        raise BadInputError(f"{path} has {size:,} bytes; files of boxes in rooms have {MAX_BYTES:,} at most.")
    file = JsonField(read_json(path), str(path), "a file of boxes in rooms")
    if file["task"].text() != "indoor":
        raise file["task"].bad('"indoor"')
    classes = tuple(c.text() for c in file["classes"].items(10_000))
    if not classes or len(set(classes)) != len(classes):
        raise file["classes"].bad("one name or more, all different")
    rooms = file["rooms"]
    if not isinstance(rooms.value, dict) or len(rooms.value) > MAX_ROOMS:
        raise rooms.bad(f"an object of at most {MAX_ROOMS:,} rooms")
    return {token: _boxes(rooms[token], classes) for token in rooms.value}


def _boxes(room: JsonField, classes: tuple[str, ...]) -> Boxes:
    rows, labels = [], []
    for entry in room.items(MAX_BOXES):
        size = entry["size"].numbers(3)
        if not bool((size > 0).all()):
            raise entry["size"].bad("three numbers above 0")
        name = entry["class"].text()
        if name not in classes:
            raise entry["class"].bad("one of the file's classes")
        numbers = [entry["yaw"].number(), entry["score"].number()]
        rows.append(torch.cat([entry["center"].numbers(3).double(), size.double(), torch.tensor(numbers).double()]))
        labels.append(classes.index(name))
    table = torch.stack(rows) if rows else torch.zeros(0, 8, dtype=torch.float64)
    return Boxes.upright(
        table[:, :3], table[:, 3:6], table[:, 6], torch.tensor(labels, dtype=torch.int64), classes, scores=table[:, 7]
    )
