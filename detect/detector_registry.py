"""The detectors by name, each imported when it is chosen."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from .detector import Detector


@dataclass(frozen=True)
class Row:
    """A detector. Its module has `new(preset)` and `load(path)`, which give a `Detector`."""

    summary: str
    task: str
    presets: tuple[str, ...]
    module: str  # in this folder


DETECTORS = {
    "sparsefusion": Row(
        "LiDAR and six cameras, fused as a few hundred queries (ICCV 2023)",
        "driving",
        ("paper", "paper-swin", "tiny"),
        "sparsefusion.driving_detector",
    ),
    "tsp3d": Row(
        "a sentence and an indoor scan, pruned by the text to the voxels of one box (CVPR 2025)",
        "grounding",
        ("paper", "tiny"),
        "tsp3d.grounding_detector",
    ),
    "imgeonet": Row(
        "posed photographs of a room, to voxels that know where surfaces are (ICCV 2023)",
        "indoor",
        ("paper", "paper-arkit", "tiny"),
        "imgeonet.imgeonet_detector",
    ),
}


def new_detector(name: str, preset: str) -> Detector:
    """A detector with random weights, on the CPU."""
    made: Detector = _module(name).new(preset)
    return made


def load_detector(name: str, path: Path) -> Detector:
    """A trained detector, on the CPU. Raises BadInputError for a file that is not one of its own."""
    loaded: Detector = _module(name).load(path)
    return loaded


def _module(name: str):  # type: ignore[no-untyped-def]
    return importlib.import_module(f".{DETECTORS[name].module}", __package__)
