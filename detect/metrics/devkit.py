"""The official nuscenes-devkit, where it is installed: its metrics and plots, from a process of its own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...scene.datasets.nuscenes_log import NuScenes
from ...scene.errors import BadInputError, FewviewError
from ...scene.files import read_json, write_json
from ..tasks.nuscenes_splits import is_official
from . import devkit_runner

INSTALL = "python3 -m venv devkit && devkit/bin/pip install nuscenes-devkit"


def find_devkit(python: Path | None = None) -> Path | None:
    """The interpreter that has the devkit: `python`, or this one if it has it; else None.

    Raises BadInputError when `python` is none or lacks the devkit.
    """
    if python is None:
        here = importlib.util.find_spec("nuscenes") is not None
        return Path(sys.executable) if here and _numpy_before_2() else None
    try:
        found = subprocess.run([str(python), "-c", "import nuscenes.nuscenes"], capture_output=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadInputError(f"{python} could not be started as a Python interpreter: {error}.") from error
    if found.returncode:
        reason = (found.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise BadInputError(f"{python} cannot load the nuscenes-devkit ({reason}); make one that can: {INSTALL}")
    return python


def _numpy_before_2() -> bool:
    return int(importlib.metadata.version("numpy").split(".")[0]) < 2


def run_devkit(
    python: Path, data: NuScenes, submission: Path, tokens: Sequence[str], split: str, output: Path, plots: bool
) -> dict[str, Any]:
    """Evaluate a checked submission for `tokens` (in its own order) officially; returns the metrics summary.

    `output` gets metrics_summary.json, metrics_details.json and plots. Raises FewviewError with the devkit's own words
    when it fails.
    """
    output.mkdir(parents=True, exist_ok=True)
    request = {
        "dataroot": str(data.root.resolve()),
        "version": data.folder.name,
        "submission": str(submission.resolve()),
        "split": split,
        "official_split": is_official(data, split),
        "tokens": list(tokens),
        "output": str(output.resolve()),
        "plots": plots,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "request.json"
        write_json(path, request)
        # Plots need no window, and no thread pool helps loops in Python.
        environment = {**os.environ, "MPLBACKEND": "Agg", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [str(python), str(Path(devkit_runner.__file__)), str(path)], capture_output=True, env=environment
        )
    if done.returncode:
        said = (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise FewviewError(f"The nuscenes-devkit of {python} failed, and said: {said}")
    return read_json(output / "metrics_summary.json", allow_nan=True)


def largest_difference(ours: Mapping[str, Any], official: Mapping[str, Any]) -> float:
    """Between all numbers of two metrics summaries; infinite where one lacks what the other has."""
    keys = ("label_aps", "mean_dist_aps", "mean_ap", "label_tp_errors", "tp_errors", "tp_scores", "nd_score")
    return max(_difference(ours[key], official[key]) for key in keys)


def _difference(a: Any, b: Any) -> float:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return max((_difference(a[k], b[k]) for k in a), default=0.0) if set(a) == set(b) else math.inf
    a, b = (math.nan if value is None else float(value) for value in (a, b))
    return 0.0 if math.isnan(a) and math.isnan(b) else math.inf if math.isnan(a) or math.isnan(b) else abs(a - b)
