"""Record what the official nuscenes-devkit says about the metric's test cases.

    python scripts/record_devkit_metrics.py DEVKIT_PYTHON [--output tests/data/devkit_metrics.json]

DEVKIT_PYTHON is an interpreter that has nuscenes-devkit 1.2 or newer. Tests compare our evaluation with these numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fewview.detect.metrics.devkit import run_devkit
from fewview.scene.datasets.nuscenes_log import NuScenes
from fewview.scene.files import write_bytes

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.metric_cases import submissions, write_tables

VERSIONS = "import importlib.metadata as m, numpy; print(m.version('nuscenes-devkit'), numpy.__version__)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devkit_python", type=Path)
    parser.add_argument("--output", type=Path, default=Path("tests/data/devkit_metrics.json"))
    args = parser.parse_args()
    said = subprocess.run([str(args.devkit_python), "-c", VERSIONS], capture_output=True, check=True, text=True)
    devkit, numpy = said.stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        cases = _measured(Path(folder), args.devkit_python)
    made_by = f"scripts/record_devkit_metrics.py with nuscenes-devkit {devkit} and NumPy {numpy}"
    lines = [f"{json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items()]
    text = f'{{"made_by": {json.dumps(made_by)},\n"cases": {{\n' + ",\n".join(lines) + "\n}}\n"
    write_bytes(args.output, text.encode())


def _measured(folder: Path, python: Path) -> dict[str, Any]:
    root = folder / "data"
    write_tables(root)
    data, out = NuScenes(root), {}
    for name, submission in submissions(root).items():
        path = folder / "submission.json"
        path.write_text(json.dumps({"meta": {}, "results": submission}))
        summary = run_devkit(python, data, path, list(submission), "all", folder / "out", plots=False)
        keys = ("label_aps", "mean_dist_aps", "mean_ap", "label_tp_errors", "tp_errors", "tp_scores", "nd_score")
        out[name] = _without_nan({key: summary[key] for key in keys})
    return out


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    main()
