"""The real nerfstudio in an environment of its own, which its pinned versions need.

FEWVIEW_NERFSTUDIO_PYTHON names the interpreter of that environment (`pip install 'fewview[nerfstudio]'`).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import fewview
import pytest

VARIABLE = "FEWVIEW_NERFSTUDIO_PYTHON"
METHOD = "fewview-instantsplat=fewview.recon.nerfstudio_plugin.method:fewview_instantsplat"

_PARSE = """
import json, sys
from pathlib import Path
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

parser = NerfstudioDataParserConfig(data=Path(sys.argv[1]), load_3D_points=True).setup()
splits = {}
for split in ("train", "val", "test"):
    out = parser.get_dataparser_outputs(split=split)
    cameras, points, depths = out.cameras, out.metadata.get("points3D_xyz"), out.metadata["depth_filenames"]
    splits[split] = {
        "images": [str(f) for f in out.image_filenames],
        "masks": None if out.mask_filenames is None else [str(f) for f in out.mask_filenames],
        "depths": None if depths is None else [str(f) for f in depths],
        "camera_to_worlds": cameras.camera_to_worlds.tolist(),
        "K": cameras.get_intrinsics_matrices().tolist(),
        "size": [[int(w), int(h)] for w, h in zip(cameras.width, cameras.height)],
        "distortion": cameras.distortion_params.tolist(),
        "model": cameras.camera_type.flatten().tolist(),
        "transform": out.dataparser_transform.tolist(),
        "scale": out.dataparser_scale,
        "points": None if points is None else points.tolist(),
        "rgb": None if points is None else out.metadata["points3D_rgb"].tolist(),
    }
print("RESULT" + json.dumps(splits))
"""


def nerfstudio_python() -> str:
    """The interpreter; skips the test with a reason where none is named."""
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"nerfstudio has an environment of its own (set {VARIABLE} to its interpreter)")
    return python


def run_nerfstudio(*command: str, folder: Path) -> str:
    """Output of the interpreter of nerfstudio's environment, run in `folder` with this checkout as `fewview`."""
    with tempfile.TemporaryDirectory() as path:
        (Path(path) / "fewview").symlink_to(Path(fewview.__file__).resolve().parent)
        environment = {**os.environ, "PYTHONPATH": path, "NERFSTUDIO_METHOD_CONFIGS": METHOD}
        done = subprocess.run(
            [nerfstudio_python(), *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
        )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def parsed(data: Path) -> dict[str, Any]:
    """Every split of a data set as nerfstudio's own data parser gives it, with its default settings."""
    out = run_nerfstudio("-c", _PARSE, str(data), folder=data if data.is_dir() else data.parent)
    result: dict[str, Any] = json.loads(out.split("RESULT", 1)[1])
    return result
