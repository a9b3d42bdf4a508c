"""Annotated tables and submissions that try the nuScenes metric where it is easy to get wrong.

All numbers come from Python's `random.Random`, whose sequence is guaranteed, so that the official devkit's results
can be kept (tests/data/devkit_metrics.json, made by scripts/record_devkit_metrics.py).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
from fewview.scene.datasets.nuscenes_classes import ATTRIBUTES, CLASS_OF_CATEGORY, DETECTION_NAMES

VERSION = "v1.0-cases"
Box = dict[str, Any]
Submission = dict[str, list[Box]]
RANGES_M = dict(zip(DETECTION_NAMES, (50, 50, 50, 50, 50, 40, 40, 40, 30, 30), strict=True))
SIZES_WLH = {
    "car": (1.9, 4.6, 1.7), "truck": (2.5, 7.0, 2.8), "bus": (2.9, 11.0, 3.4), "trailer": (2.9, 12.0, 3.8),
    "construction_vehicle": (2.8, 6.4, 3.2), "pedestrian": (0.7, 0.7, 1.8), "motorcycle": (0.8, 2.1, 1.4),
    "bicycle": (0.6, 1.7, 1.3), "traffic_cone": (0.4, 0.4, 1.0), "barrier": (2.5, 0.5, 1.0),
}  # fmt: skip
SCENES, SAMPLES, OBJECTS = 3, 6, 26


def token(*words: Any) -> str:
    return hashlib.md5("/".join(map(str, words)).encode()).hexdigest()


def attribute_of(name: str, rng: Random) -> str:
    if name in ("traffic_cone", "barrier") or rng.random() < 0.1:
        return ""
    kind = {"pedestrian": "pedestrian", "motorcycle": "cycle", "bicycle": "cycle"}.get(name, "vehicle")
    return rng.choice([a for a in ATTRIBUTES if a.startswith(kind)])


def write_tables(root: Path) -> None:
    """Three scenes of six samples; the last one has a sample every 2 s, too rarely for velocities of one side."""
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("scene", "sample", "sample_data", "ego_pose", "sample_annotation", "instance")
    }
    categories = [*CLASS_OF_CATEGORY, "static_object.bicycle_rack", "animal"]
    tables["category"] = [{"token": token(c), "name": c, "description": ""} for c in categories]
    tables["attribute"] = [{"token": token(a), "name": a, "description": ""} for a in ATTRIBUTES]
    tables["visibility"] = [{"token": str(i), "level": "", "description": ""} for i in range(1, 5)]
    tables["sensor"] = [{"token": token("sensor"), "channel": "LIDAR_TOP", "modality": "lidar"}]
    tables["calibrated_sensor"] = [
        {
            "token": token("calibration"), "sensor_token": token("sensor"), "translation": [0.9, 0.0, 1.8],
            "rotation": [1.0, 0.0, 0.0, 0.0], "camera_intrinsic": [],
        }
    ]  # fmt: skip
    tables["log"] = [{"token": token("log"), "logfile": "", "vehicle": "", "date_captured": "", "location": ""}]
    tables["map"] = [{"token": token("map"), "log_tokens": [token("log")], "category": "", "filename": "maps/m.png"}]
    for scene in range(SCENES):
        _add_scene(tables, scene, categories)
    folder = root / VERSION
    folder.mkdir(parents=True)
    (root / "maps").mkdir()
    cv2.imwrite(str(root / "maps" / "m.png"), np.zeros((2, 2), np.uint8))
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))


def _add_scene(tables: dict[str, list[dict[str, Any]]], scene: int, categories: list[str]) -> None:
    rng = Random(100 + scene)
    start, step = 1_531_000_000_123_457 + 10**8 * scene, 2_000_000 if scene == SCENES - 1 else 500_000
    samples = [token("sample", scene, i) for i in range(SAMPLES)]
    tables["scene"].append(
        {
            "token": token("scene", scene), "name": f"scene-{scene}", "description": "", "log_token": token("log"),
            "nbr_samples": SAMPLES, "first_sample_token": samples[0], "last_sample_token": samples[-1],
        }
    )  # fmt: skip
    for i in range(SAMPLES):
        time_us = start + i * step + rng.randrange(2000)
        chain = {"prev": samples[i - 1] if i else "", "next": samples[i + 1] if i + 1 < SAMPLES else ""}
        tables["sample"].append(
            {"token": samples[i], "timestamp": time_us, "scene_token": token("scene", scene), **chain}
        )
        own = token("data", scene, i)
        # Whole numbers, so that distances can be exact.
        pose = {"token": own, "timestamp": time_us, "translation": [600.0 + 4 * i, 1600.0, 0.0]}
        tables["ego_pose"].append({**pose, "rotation": [1.0, 0.0, 0.0, 0.0]})
        tables["sample_data"].append(
            {
                "token": own, "sample_token": samples[i], "ego_pose_token": own,
                "calibrated_sensor_token": token("calibration"), "filename": f"samples/LIDAR_TOP/{own}.pcd.bin",
                "fileformat": "pcd", "width": 0, "height": 0, "timestamp": time_us, "is_key_frame": True,
                "prev": "", "next": "",
            }
        )  # fmt: skip
    for number in range(OBJECTS):
        category = categories[number % len(categories)] if number < len(categories) else rng.choice(categories[:14])
        _add_object(tables, scene, number, category, samples, step / 1e6, rng)
    # A rack of 6 m by 4 m, with bicycles in it, on its faces and edges, and outside.
    _add_object(tables, scene, OBJECTS, "static_object.bicycle_rack", samples, step / 1e6, rng, (612.0, 1606.0))
    for k, (x, y) in enumerate(((0, 0), (3, 0), (-3, 2), (0, -2), (3.25, 0), (0, 2.25), (-1.5, 1))):
        category = "vehicle.motorcycle" if k % 2 else "vehicle.bicycle"
        _add_object(tables, scene, OBJECTS + 1 + k, category, samples, step / 1e6, rng, (612.0 + x, 1606.0 + y))


def _add_object(
    tables: dict[str, list[dict[str, Any]]],
    scene: int,
    number: int,
    category: str,
    samples: list[str],
    step_s: float,
    rng: Random,
    standing_at: tuple[float, float] | None = None,
) -> None:
    name = CLASS_OF_CATEGORY.get(category, "barrier")
    size = [4.0, 6.0, 2.0] if "rack" in category else [s * rng.uniform(0.8, 1.2) for s in SIZES_WLH[name]]
    # A quarter of a metre is exact in binary; some things stand on their class's range.
    at = [600.0 + rng.randrange(-160, 161) / 4, 1600.0 + rng.randrange(-160, 161) / 4, size[2] / 2]
    if number % 7 == 0:
        at[:2] = [600.0 + RANGES_M[name] * (1 if rng.random() < 0.5 else -1), 1600.0]
    speed = [0.0, 0.0] if rng.random() < 0.4 else [rng.uniform(-6, 6), rng.uniform(-6, 6)]
    yaw = rng.uniform(-math.pi, math.pi)
    if standing_at is not None:
        at[:2], speed, yaw = standing_at, [0.0, 0.0], 0.0
    present = [i for i in range(len(samples)) if rng.random() < 0.8] or [0]
    tokens = [token("annotation", scene, number, i) for i in present]
    tables["instance"].append(
        {
            "token": token("instance", scene, number), "category_token": token(category),
            "nbr_annotations": len(tokens), "first_annotation_token": tokens[0], "last_annotation_token": tokens[-1],
        }
    )  # fmt: skip
    for k, i in enumerate(present):
        attribute = attribute_of(name, rng)
        moved = [at[0] + speed[0] * step_s * i, at[1] + speed[1] * step_s * i, at[2]]
        tables["sample_annotation"].append(
            {
                "token": tokens[k], "sample_token": samples[i], "instance_token": token("instance", scene, number),
                "attribute_tokens": [token(attribute)] if attribute else [], "visibility_token": "4",
                "translation": moved, "size": size, "rotation": [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)],
                "num_lidar_pts": rng.choice([0, 1, 5, 100]), "num_radar_pts": rng.choice([0, 0, 2]),
                "prev": tokens[k - 1] if k else "", "next": tokens[k + 1] if k + 1 < len(present) else "",
            }
        )  # fmt: skip


def true_boxes(root: Path) -> Submission:
    """Annotations of the ten classes in the layout of a submission, with the score 1 and no velocity."""
    folder = root / VERSION
    rows = {n: json.loads((folder / f"{n}.json").read_text()) for n in ("sample", "sample_annotation", "instance")}
    category = {token(c): c for c in CLASS_OF_CATEGORY}
    name_of = {row["token"]: CLASS_OF_CATEGORY.get(category.get(row["category_token"], "")) for row in rows["instance"]}
    attribute = {token(a): a for a in ATTRIBUTES}
    out: Submission = {row["token"]: [] for row in rows["sample"]}
    for row in rows["sample_annotation"]:
        if name_of[row["instance_token"]] is not None:
            out[row["sample_token"]].append(
                {
                    "sample_token": row["sample_token"], "translation": row["translation"], "size": row["size"],
                    "rotation": row["rotation"], "velocity": [0.0, 0.0],
                    "detection_name": name_of[row["instance_token"]], "detection_score": 1.0,
                    "attribute_name": attribute[row["attribute_tokens"][0]] if row["attribute_tokens"] else "",
                }
            )  # fmt: skip
    return out


def changed(boxes: Submission, change: Callable[[Box], Box | None]) -> Submission:
    return {t: [new for box in found if (new := change(dict(box))) is not None] for t, found in boxes.items()}


def _noisy(rng: Random, spread_m: float, score: Callable[[], float]) -> Callable[[Box], Box | None]:
    def change(box: Box) -> Box | None:
        if rng.random() < 0.15:
            return None
        x, y, z = box["translation"]
        turn = rng.gauss(0, 0.6)
        w, qx, qy, qz = box["rotation"]
        c, s = math.cos(turn / 2), math.sin(turn / 2)
        box["translation"] = [x + rng.gauss(0, spread_m), y + rng.gauss(0, spread_m), z]
        box["rotation"] = [w * c - qz * s, qx * c + qy * s, qy * c - qx * s, w * s + qz * c]
        box["size"] = [v * rng.uniform(0.7, 1.4) for v in box["size"]]
        box["velocity"] = [rng.uniform(-5, 5), rng.uniform(-5, 5)]
        box["detection_score"] = score()
        if rng.random() < 0.3:
            box["attribute_name"] = attribute_of(box["detection_name"], rng)
        return box

    return change


def _strays(boxes: Submission, rng: Random, score: Callable[[], float], many: int = 8) -> Submission:
    """More boxes where there may be nothing, some beyond their range."""
    out = {}
    for t, found in boxes.items():
        more = []
        for _ in range(many):
            name = rng.choice(DETECTION_NAMES)
            yaw = rng.uniform(-math.pi, math.pi)
            more.append(
                {
                    "sample_token": t, "translation": [600 + rng.uniform(-60, 70), 1600 + rng.uniform(-60, 60), 1.0],
                    "size": list(SIZES_WLH[name]), "rotation": [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)],
                    "velocity": [0.0, 0.0], "detection_name": name, "detection_score": score(), "attribute_name": "",
                }
            )  # fmt: skip
        out[t] = found + more
    return out


def submissions(root: Path) -> dict[str, Submission]:
    """All cases by name, for the tables in `root`."""
    truth = true_boxes(root)
    rng = Random(7)
    near, far = rng.random, (lambda: rng.random() * 0.4)
    cases = {
        "truth itself": truth,
        "nothing": {t: [] for t in truth},
        "noise and strays": _strays(changed(truth, _noisy(rng, 0.7, near)), rng, far),
        "ties": _strays(
            changed(truth, _noisy(rng, 0.9, lambda: rng.randrange(5) / 4)), rng, lambda: rng.randrange(3) / 4
        ),
        "one score": _strays(changed(truth, _noisy(rng, 1.2, lambda: 0.5)), rng, lambda: 0.5),
        "only cars": changed(truth, lambda b: b if b["detection_name"] == "car" else None),
        "crowd": _crowd(truth, Random(8)),
        "exact distances": _on_thresholds(truth, Random(9)),
        "turned and tilted": changed(truth, _turned(Random(10))),
        "one in ten": _one_in_ten(truth, Random(11)),
        "few": changed(truth, _some(Random(12))),
        "no velocities": changed(changed(truth, _noisy(rng, 0.3, near)), _unknown_velocity(Random(13))),
    }
    shuffled = list(cases["ties"])
    Random(14).shuffle(shuffled)
    cases["ties in another order"] = {t: cases["ties"][t] for t in shuffled}
    return cases


def _some(rng: Random) -> Callable[[Box], Box | None]:
    return lambda box: box if rng.random() < 0.13 else None


def _crowd(truth: Submission, rng: Random) -> Submission:
    """Several predictions for each thing, of which many are near several others of their class."""
    return {
        t: [b for _ in range(4) for b in changed({t: found}, _noisy(rng, 2.5, lambda: rng.randrange(50) / 50))[t]]
        for t, found in truth.items()
    }


def _on_thresholds(truth: Submission, rng: Random) -> Submission:
    """Shifted by exactly the matching distances, along an axis or by 3 : 4."""

    def change(box: Box) -> Box:
        far = rng.choice([0.5, 1.0, 2.0, 4.0])
        along = rng.choice([(1, 0), (0, -1), (0.6, 0.8), (-0.8, 0.6)])
        x, y, z = box["translation"]
        return {**box, "translation": [x + far * along[0], y + far * along[1], z], "detection_score": rng.random()}

    return changed(truth, change)


def _turned(rng: Random) -> Callable[[Box], Box]:
    def change(box: Box) -> Box:
        w, x, y, z = box["rotation"]
        if rng.random() < 0.5:
            return {**box, "rotation": [-z, x, y, w], "detection_score": rng.random()}  # by half a turn
        quat = [w, x + rng.gauss(0, 0.2), y + rng.gauss(0, 0.2), z]
        length = math.sqrt(sum(q * q for q in quat))
        return {**box, "rotation": [q / length for q in quat], "detection_score": rng.random()}

    return change


def _one_in_ten(truth: Submission, rng: Random) -> Submission:
    """Of each class exactly a tenth of what counts could be found: the least recall that does not count."""
    out: Submission = {t: [] for t in truth}
    for name in DETECTION_NAMES:
        boxes = [(t, b) for t, found in truth.items() for b in found if b["detection_name"] == name]
        for t, box in rng.sample(boxes, max(1, len(boxes) // 10)):
            out[t].append({**box, "detection_score": rng.random()})
    return out


def _unknown_velocity(rng: Random) -> Callable[[Box], Box]:
    """NaN, which a file may not have, but the metric defines."""
    return lambda box: {**box, "velocity": [math.nan, 0.0]} if rng.random() < 0.5 else box
