"""Make furnished rooms, scanned as ScanNet is, with posed photographs and sentences, in the files of those data sets.

    python scripts/make_rooms.py OUT [--train 40] [--val 10] [--views 50] [--size 160 120] [--seed 0]

A test bed for readers, detectors and metrics, which says nothing about results on ScanNet. Each room has the points
that fusing noisy depth gives (`NAME_vh_clean_2.ply`), segments and objects, an axis alignment, photographs with their
poses, and the true depth of each pixel in millimetres. The sentences single out one object each by its class, its
looks, what is near, or where one looks from; `sentences.json` counts them. Rooms of train and val differ, and the same
arguments and library versions give the same files. What it makes is in the public domain (CC0).
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fewview.scene.files import write_bytes, write_json
from fewview.scene.ply_file import write_elements
from room_layout import Room, make_room
from room_scanner import Fused, Scanner, View, fuse, walk
from room_sentences import sentences

SEGMENT_M = 0.6  # the edge of a segment of one part
FEWEST_VERTICES = 40  # of an object that is annotated
JPEG_QUALITY = 90
SCANNET = {"other": "otherfurniture"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--train", type=int, default=40)
    parser.add_argument("--val", type=int, default=10)
    parser.add_argument("--views", type=int, default=50)
    parser.add_argument("--size", type=int, nargs=2, default=(160, 120), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--cell", type=float, default=0.03, help="edge in metres of the cells whose points are merged")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args(arguments)
    make_rooms(
        options.output, options.train, options.val, options.views, tuple(options.size), options.cell, options.seed,
        options.processes,
    )  # fmt: skip


def make_rooms(
    output: Path,
    train: int,
    val: int,
    views: int = 50,
    size: tuple[int, int] = (160, 120),
    cell_m: float = 0.03,
    seed: int = 0,
    processes: int = 1,
) -> None:
    """Write the data set into a folder."""
    start = time.perf_counter()
    numbers = {"train": range(train), "val": range(train, train + val)}
    make = partial(_make_one, output, views, size, cell_m, seed)
    everything = [i for part in numbers.values() for i in part]
    if processes > 1:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            said = pool.map(make, everything, chunksize=1)
    else:
        said = [make(i) for i in everything]
    counts = {}
    (output / "ScanRefer").mkdir(parents=True, exist_ok=True)
    for part, within in numbers.items():
        rows = [row for i in within for row in said[i]]
        counts[part] = dict(Counter(row.pop("kind") for row in rows))
        write_json(output / "ScanRefer" / f"ScanRefer_filtered_{part}.json", rows)
        write_bytes(output / f"scannetv2_{part}.txt", "".join(f"{scene_name(i)}\n" for i in within).encode())
    write_json(output / "sentences.json", counts)
    print(f"{len(everything)} rooms, {sum(map(len, said))} sentences in {time.perf_counter() - start:.1f} s: {counts}")


def scene_name(number: int) -> str:
    return f"scene{number:04d}_00"


def _make_one(
    output: Path, views: int, size: tuple[int, int], cell_m: float, seed: int, number: int
) -> list[dict[str, Any]]:
    """Write one room; returns its sentences as ScanRefer has them, with their kind."""
    rng = np.random.default_rng([seed, number])
    room = make_room(rng)
    while len(room.things) < 5:
        room = make_room(rng)
    scanner = Scanner(room, *size)
    seen = [scanner.view(pose) for pose in walk(room, views, rng)]
    scan = fuse(scanner, seen, cell_m, rng)
    name = scene_name(number)
    folder = output / "scans" / name
    aligned_from_raw = _alignment(rng)
    _write_scan(folder, name, room, scanner, scan, aligned_from_raw)
    _write_views(folder, scanner, seen, aligned_from_raw)
    owner = scanner.owner[scan.part]
    enough = np.bincount(owner[owner >= 0], minlength=len(room.things)) >= FEWEST_VERTICES
    rows: list[dict[str, Any]] = []
    for said in sentences(room, enough, rng):
        ann = sum(row["object_id"] == str(said.target) for row in rows)
        rows.append(
            {
                "scene_id": name,
                "object_id": str(said.target),
                "object_name": room.names[said.target].replace(" ", "_"),
                "ann_id": str(ann),
                "description": said.text,
                "token": said.text.split(),
                "kind": said.kind,
            }
        )
    return rows


def _alignment(rng: np.random.Generator) -> np.ndarray:
    """aligned_from_raw [4, 4]: scans lie turned about z and away from the middle, as they are when recorded."""
    angle = rng.uniform(-math.pi, math.pi)
    matrix = np.eye(4)
    matrix[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    matrix[:3, 3] = *rng.uniform(-3, 3, 2), rng.uniform(-0.2, 0.2)
    return matrix


def _write_scan(
    folder: Path, name: str, room: Room, scanner: Scanner, scan: Fused, aligned_from_raw: np.ndarray
) -> None:
    raw = (scan.points - aligned_from_raw[:3, 3]) @ aligned_from_raw[:3, :3]
    rows = np.zeros(len(raw), [(n, "f4") for n in "xyz"] + [(n, "u1") for n in ("red", "green", "blue", "alpha")])
    for i, axis in enumerate("xyz"):
        rows[axis] = raw[:, i]
    for i, channel in enumerate(("red", "green", "blue")):
        rows[channel] = scan.colors[:, i]
    rows["alpha"] = 255
    folder.mkdir(parents=True, exist_ok=True)
    write_elements(folder / f"{name}_vh_clean_2.ply", {"vertex": rows})
    cells = np.floor(scan.points / SEGMENT_M).astype(np.int64)
    _, segment = np.unique(np.column_stack([scan.part, cells]), axis=0, return_inverse=True)
    segment = segment.reshape(-1)
    _write_compact(folder / f"{name}_vh_clean_2.0.010000.segs.json", {"sceneId": name, "segIndices": segment.tolist()})
    owner = scanner.owner[scan.part]
    groups = []
    for i, thing in enumerate(room.things):
        mine = owner == i
        if mine.sum() >= FEWEST_VERTICES:
            label = SCANNET.get(thing.piece.name, thing.piece.name)
            groups.append({"id": i, "objectId": i, "segments": np.unique(segment[mine]).tolist(), "label": label})
    for label, parts in (("floor", [0]), ("wall", [1, 2, 3, 4])):
        number = len(room.things) + (label == "wall")
        mine = np.unique(segment[np.isin(scan.part, parts)]).tolist()
        groups.append({"id": number, "objectId": number, "segments": mine, "label": label})
    _write_compact(folder / f"{name}.aggregation.json", {"sceneId": f"scannet.{name}", "segGroups": groups})
    numbers = " ".join(f"{v:.8f}" for v in aligned_from_raw.reshape(-1))
    write_bytes(folder / f"{name}.txt", f"axisAlignment = {numbers}\nsceneType = {room.kind}\n".encode())


def _write_views(folder: Path, scanner: Scanner, views: list[View], aligned_from_raw: np.ndarray) -> None:
    for sub in ("color", "depth", "pose", "intrinsic"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    matrix = np.eye(4)
    matrix[:3, :3] = scanner.K
    for kind in ("color", "depth"):
        write_bytes(folder / "intrinsic" / f"intrinsic_{kind}.txt", _text(matrix))
    for i, view in enumerate(views):
        bgr = cv2.cvtColor(view.image, cv2.COLOR_RGB2BGR)
        write_bytes(folder / "color" / f"{i}.jpg", _encoded(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]))
        millimetres = (view.depth * 1000 + 0.5).astype(np.uint16)
        write_bytes(folder / "depth" / f"{i}.png", _encoded(".png", millimetres, [cv2.IMWRITE_PNG_COMPRESSION, 1]))
        raw_from_cam = np.linalg.inv(aligned_from_raw) @ np.linalg.inv(view.cam_from_room)
        write_bytes(folder / "pose" / f"{i}.txt", _text(raw_from_cam))


def _encoded(kind: str, pixels: np.ndarray, how: list[int]) -> bytes:
    _, data = cv2.imencode(kind, pixels, how)
    return data.tobytes()


def _text(matrix: np.ndarray) -> bytes:
    return "".join(" ".join(f"{v:.8f}" for v in row) + "\n" for row in matrix).encode()


def _write_compact(path: Path, value: Any) -> None:
    write_bytes(path, json.dumps(value, separators=(",", ":")).encode())


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
