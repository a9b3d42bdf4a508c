"""Rooms of a few boxes of points with sentences, small TSP3D networks, and ScanNet's files of such rooms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fewview.detect.tasks.grounding_samples import GroundingSample, sample_of_sentence
from fewview.detect.tsp3d.config import TSP3DConfig, preset
from fewview.detect.tsp3d.grounding_prepare import GroundingPreparation
from fewview.detect.tsp3d.scene_batch import Batch, collate
from fewview.scene.boxes import Boxes
from fewview.scene.ply_file import write_elements
from fewview.scene.scan import Scan, Sentence, boxes_of_points
from torch import Tensor

NAMES = ("chair", "table", "bed")
# The first room of tests: name, centre, size, colour.
THINGS = (
    ("chair", (1.0, 1.0, 0.45), (0.5, 0.5, 0.9), (0.7, 0.1, 0.1)),
    ("chair", (-1.5, 1.2, 0.45), (0.5, 0.5, 0.9), (0.1, 0.1, 0.7)),
    ("table", (1.2, -1.0, 0.4), (1.2, 0.8, 0.8), (0.5, 0.3, 0.1)),
    ("bed", (-1.3, -1.0, 0.3), (2.0, 1.4, 0.6), (0.9, 0.9, 0.9)),
)
SENTENCES = (
    ("the red chair", 0),
    ("the chair left of the bed", 1),
    ("the table", 2),
    ("the bed next to the blue chair", 3),
)
SMALLEST = replace(
    preset("tiny"),
    text="words",
    points=4000,
    voxel_m=0.08,
    stem_channels=8,
    blocks=(1, 1, 1, 1),
    stage_channels=(8, 16, 16, 16),
    attention_layers=1,
    attention_heads=2,
    ffn_channels=16,
    coarse_cap=60,
    middle_cap=120,
    middle_top=150,
    fine_top_range=(80, 160),
    completion_cap=80,
    epochs=2,
    batch_size=2,
)


def surface(center: tuple[float, ...], size: tuple[float, ...], count: int, random: np.random.Generator) -> np.ndarray:
    """Points [count, 3] on the faces of a box."""
    unit = random.uniform(-1, 1, (count, 3))
    axis = random.integers(0, 3, count)
    unit[np.arange(count), axis] = np.sign(unit[np.arange(count), axis])
    return np.asarray(center) + unit * np.asarray(size) / 2


def room_scan(seed: int = 0, count: int = 6000, shift: tuple[float, float] = (0.0, 0.0)) -> Scan:
    """A floor of 6 x 6 m, two walls, and THINGS on it, with SENTENCES."""
    random = np.random.default_rng(seed)
    parts, colors, owner = [], [], []
    floor = random.uniform(-3, 3, (count // 3, 3)) * (1, 1, 0)
    walls = random.uniform(-3, 3, (count // 6, 3))
    walls[:, 2] = np.abs(walls[:, 2])
    walls[::2, 0], walls[1::2, 1] = 3, -3
    for points, color in ((floor, (0.5, 0.5, 0.5)), (walls, (0.9, 0.9, 0.8))):
        parts.append(points)
        colors.append(np.tile(color, (len(points), 1)))
        owner.append(np.full(len(points), -1))
    for i, (_, center, size, color) in enumerate(THINGS):
        own = surface((center[0] + shift[0], center[1] + shift[1], center[2]), size, count // 8, random)
        parts.append(own)
        colors.append(np.tile(color, (len(own), 1)))
        owner.append(np.full(len(own), i))
    points = torch.from_numpy(np.concatenate(parts)).float()
    of_point = torch.from_numpy(np.concatenate(owner))
    ends, _ = boxes_of_points(points, of_point, len(THINGS))
    labels = torch.tensor([NAMES.index(thing[0]) for thing in THINGS])
    objects = Boxes.upright(ends.mean(1), ends[:, 1] - ends[:, 0], torch.zeros(len(THINGS)), labels, NAMES)
    sentences = tuple(
        Sentence(text, target, frozenset(), f"room{seed}/{i}") for i, (text, target) in enumerate(SENTENCES)
    )
    return Scan(
        f"room{seed}", points, torch.from_numpy(np.concatenate(colors)).float(), objects, of_point, sentences=sentences
    )


def sample(seed: int = 0, sentence: int = 0) -> GroundingSample:
    return sample_of_sentence(room_scan(seed), sentence)


class TwoRooms:
    """Eight sentences about two rooms, as samples for the trainer."""

    tokens = tuple(f"room{seed}/{i}" for seed in range(2) for i in range(4))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> GroundingSample:
        return sample(index // 4, index % 4)


def batch(config: TSP3DConfig, sentences: tuple[int, ...] = (0, 1), seeds: tuple[int, ...] = (0, 1)) -> Batch:
    preparation = GroundingPreparation(config)
    made = [preparation.prepare(preparation.read(sample(seed, i))) for seed, i in zip(seeds, sentences, strict=True)]
    return collate(made)


def write_scannet(root: Path, scans: dict[str, Scan], aligned_from_raw: np.ndarray | None = None) -> Path:
    """ScanNet's files of scans, and ScanRefer's of their sentences, all in the split `train`."""
    rows = []
    for name, scan in scans.items():
        folder = root / "scans" / name
        folder.mkdir(parents=True)
        assert scan.object_of_point is not None
        move = np.eye(4) if aligned_from_raw is None else aligned_from_raw
        raw = (scan.points.numpy() - move[:3, 3]) @ move[:3, :3]
        write_vertices(folder / f"{name}_vh_clean_2.ply", raw, scan.colors)
        segment = scan.object_of_point + 10
        _json(folder / f"{name}_vh_clean_2.0.010000.segs.json", {"segIndices": segment.tolist()})
        groups = [{"id": i, "objectId": i, "label": THINGS[i][0], "segments": [i + 10]} for i in range(len(THINGS))]
        _json(folder / f"{name}.aggregation.json", {"segGroups": groups})
        numbers = " ".join(f"{v:.9f}" for v in move.reshape(-1))
        (folder / f"{name}.txt").write_text(f"axisAlignment = {numbers}\nsceneType = Office\n")
        rows += [
            {"scene_id": name, "object_id": str(s.target), "object_name": THINGS[s.target][0], "ann_id": "0",
             "description": s.text, "token": s.text.split()}
            for s in scan.sentences
        ]  # fmt: skip
    (root / "ScanRefer").mkdir()
    _json(root / "ScanRefer" / "ScanRefer_filtered_train.json", rows)
    (root / "scannetv2_train.txt").write_text("\n".join(scans))
    return root


def write_vertices(path: Path, points: np.ndarray, colors: Tensor | None) -> None:
    kinds = [(axis, "f4") for axis in "xyz"] + [
        (c, "u1") for c in (("red", "green", "blue") if colors is not None else ())
    ]
    rows = np.zeros(len(points), kinds)
    for i, axis in enumerate("xyz"):
        rows[axis] = points[:, i]
    if colors is not None:
        for i, channel in enumerate(("red", "green", "blue")):
            rows[channel] = (colors[:, i].numpy() * 255).round()
    write_elements(path, {"vertex": rows})


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
