"""`INDOOR`: furniture and fixtures of a room, as boxes along its walls or turned about the vertical axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ...scene.boxes import Boxes
from ...scene.datasets.scannet_classes import DETECTION_CLASSES, class_of, plain_word
from ..detector import BoxCode, Task

ARKIT_CLASSES = (
    "cabinet", "refrigerator", "shelf", "stove", "bed", "sink", "washer", "toilet", "bathtub", "oven", "dishwasher",
    "fireplace", "stool", "chair", "table", "tv monitor", "sofa",
)  # fmt: skip
INDOOR = Task("indoor", DETECTION_CLASSES, None, BoxCode())


def in_classes(boxes: Boxes, classes: Sequence[str], meaning: Callable[[str], str | None] = class_of) -> Boxes:
    """The boxes of the classes, with labels into them; all others are left out.

    A data set's word that is none of the classes may have a `meaning` that is one.

    >>> boxes = Boxes.upright(torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(2), torch.arange(2), ["lamp", "Couch"])
    >>> in_classes(boxes, ["table", "sofa"]).labels.tolist()
    [1]
    """
    rows = {name: row for row, name in enumerate(classes)}
    words = [plain_word(name) for name in boxes.names]
    found = [rows.get(word, rows.get(meaning(word) or "", -1)) for word in words]
    labels = torch.tensor([*found, -1])[boxes.labels]  # -1 takes the last
    return replace(boxes, labels=labels, names=tuple(classes))[labels >= 0]
