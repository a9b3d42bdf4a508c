"""Boxes for sentences as a file: a JSON object with a centre, a size and a score for each sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ...scene.boxes import Boxes
from ...scene.errors import BadInputError
from ...scene.files import read_json, write_json
from ...scene.json_field import JsonField
from ..tasks.grounding_task import GROUNDING

MAX_SENTENCES = 1_000_000


def write_grounding_results(path: Path, found: Mapping[str, Boxes]) -> None:
    """Boxes [0 or 1] by sentence, in metres along the axes of the scan."""
    rows = {}
    for token, boxes in found.items():
        scores = boxes.scores
        rows[token] = [
            {
                "center": [round(float(v), 5) for v in boxes.centers[i]],
                "size": [round(float(v), 5) for v in boxes.sizes[i]],
                "score": None if scores is None else round(float(scores[i]), 6),
            }
            for i in range(len(boxes))
        ]
    write_json(path, {"boxes": rows})


def read_grounding_results(path: Path) -> dict[str, Boxes]:
    """The boxes of a file of `write_grounding_results`. Raises BadInputError that names sentence and field."""
    table = JsonField(read_json(path), str(path), "a table of boxes for sentences")["boxes"]
    if not isinstance(table.value, dict) or len(table.value) > MAX_SENTENCES:
        raise table.bad(f"an object with at most {MAX_SENTENCES:,} sentences")
    found = {}
    for token in table.value:
        rows = table[token].items(1000)
        centers = torch.stack([row["center"].numbers(3) for row in rows]).float() if rows else torch.zeros(0, 3)
        sizes = torch.stack([row["size"].numbers(3) for row in rows]).float() if rows else torch.zeros(0, 3)
        if bool((sizes < 0).any()):
            raise BadInputError(f"{path}: a box of {token!r} has a negative size.")
        scores = torch.tensor([row.get("score", 0.0).number_or_none() or 0.0 for row in rows])
        label = torch.zeros(len(rows), dtype=torch.int64)
        found[token] = Boxes.upright(centers, sizes, torch.zeros(len(rows)), label, GROUNDING.classes, scores=scores)
    return found
