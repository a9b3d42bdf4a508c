"""`Run`: the folder that a reconstruction lives in.

run/
  config.json     what was asked for: command, options, input, versions
  cameras.json    every placed view, transforms.json layout; images beside it
  images/         the photographs at working size, so that nothing outside the folder is needed
  masks/, depths/ the same of masks and depth maps, where the input has some
  poses.json      where the cameras come from; written when the first stage is done
  cameras_estimated.json  the cameras as they were before training refined them
  points.ply      the sparse points
  evidence/       what the method asked for besides cameras, e.g. depth and confidence of the training views
  splat.ply       the result with y down, as other viewers take it; the first moment where it moves
  splat.ply.json  how it lies in the run's world frame, the one of the cameras
  motion.safetensors, motion.json  how it moves, where it does
  checkpoints/    state to continue from, bit for bit
  metrics.json    held-out figures and timings
  report.html     pictures and figures for people
  mesh.glb        the surface as a mesh, where somebody has asked for it; mesh.glb.json beside it as with the splat
  renders/        images and films
  .lock           held by the program that works in the folder
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BadInputError
from .files import read_json, write_json

# Confidence from which a camera is taken as right; below it the photograph is named. Of cameras between 0.7 and 0.9
# about half were right, on 39 generated scenes full of look-alikes and 46 choices of real and rendered photographs.
SURE = 0.9


@dataclass(frozen=True)
class Run:
    path: Path

    @classmethod
    def create(cls, path: Path | str, config: dict[str, Any]) -> Run:
        """Start a run in a new or empty folder.

        Raises BadInputError when the folder holds something else, or cannot be written.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise BadInputError(f"{path} is a file; name a folder for the run with -o.")
        if path.is_dir() and any(path.iterdir()):
            what = "holds another run" if (path / "config.json").is_file() else "is not empty"
            raise BadInputError(
                f"The output folder {path} {what}; nothing was changed. "
                "Choose another with -o, or add --resume to continue that run."
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / "checkpoints").mkdir(exist_ok=True)
        except OSError as error:
            raise BadInputError(
                f"The output folder {path} cannot be made: {error.strerror}. Choose another with -o."
            ) from error
        if not os.access(path, os.W_OK):
            raise BadInputError(f"The output folder {path} is not writable. Choose another with -o.")
        run = cls(path)
        write_json(run.config_path, config)
        return run

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """A run that exists. Raises BadInputError when the folder is none."""
        path = Path(path)
        if not (path / "config.json").is_file():
            raise BadInputError(
                f"{path} is not a run: it has no config.json. A folder made by `fewview reconstruct` is expected."
            )
        return cls(path)

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def cameras_path(self) -> Path:
        return self.path / "cameras.json"

    @property
    def images_path(self) -> Path:
        return self.path / "images"

    @property
    def lock_path(self) -> Path:
        return self.path / ".lock"

    @property
    def masks_path(self) -> Path:
        return self.path / "masks"

    @property
    def depths_path(self) -> Path:
        return self.path / "depths"

    @property
    def points_path(self) -> Path:
        return self.path / "points.ply"

    @property
    def poses_path(self) -> Path:
        return self.path / "poses.json"

    @property
    def estimated_cameras_path(self) -> Path:
        return self.path / "cameras_estimated.json"

    @property
    def depth_path(self) -> Path:
        return self.evidence_path("depth")

    def evidence_path(self, kind: str) -> Path:
        """The file of a kind of evidence."""
        return self.path / "evidence" / f"{kind.replace(' ', '_')}.safetensors"

    @property
    def matches_path(self) -> Path:
        """Features and matches of photographs, kept until their cameras are known."""
        return self.path / "evidence" / "matches.sqlite"

    @property
    def splat_path(self) -> Path:
        return self.path / "splat.ply"

    @property
    def motion_path(self) -> Path:
        return self.path / "motion.safetensors"

    @property
    def motion_description_path(self) -> Path:
        return self.path / "motion.json"

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.json"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def mesh_path(self) -> Path:
        return self.path / "mesh.glb"

    @property
    def renders_path(self) -> Path:
        return self.path / "renders"

    def config(self) -> dict[str, Any]:
        config = read_json(self.config_path)
        if not isinstance(config, dict):
            raise BadInputError(f"{self.config_path} should hold a JSON object, found {type(config).__name__}.")
        return config

    def metrics(self) -> dict[str, Any]:
        metrics = read_json(self.metrics_path) if self.metrics_path.is_file() else {}
        if not isinstance(metrics, dict):
            raise BadInputError(f"{self.metrics_path} should hold a JSON object, found {type(metrics).__name__}.")
        return metrics

    def add_metrics(self, *, notes: Sequence[str] = (), seconds: Mapping[str, float] = {}, **values: Any) -> None:
        """Merge into metrics.json: notes are appended once, seconds are set by stage."""
        metrics = self.metrics()
        known = metrics.get("notes", [])
        self.update_metrics(
            notes=[*known, *(n for n in notes if n not in known)],
            seconds={**metrics.get("seconds", {}), **seconds},
            **values,
        )

    def cameras_are_estimated(self) -> bool:
        """True where the cameras were found from the photographs, and not given."""
        return self._poses_stage().get("cameras") == "estimated"

    def camera_confidence(self) -> dict[str, float]:
        """Belief in [0, 1] in the estimated camera of each photograph, by name; only those of which something is said.

        Raises BadInputError where poses.json is no JSON.
        """
        said = self._poses_stage().get("confidence")
        pairs = said.items() if isinstance(said, dict) else ()
        return {name: float(c) for name, c in pairs if isinstance(c, int | float) and 0 <= c <= 1}

    def unsure_cameras(self) -> dict[str, float]:
        """Those of `camera_confidence` that are below SURE; none where poses.json cannot be read."""
        try:
            return {name: c for name, c in self.camera_confidence().items() if c < SURE}
        except BadInputError:
            return {}

    def _poses_stage(self) -> dict[str, Any]:
        stage = read_json(self.poses_path) if self.poses_path.is_file() else None
        return stage if isinstance(stage, dict) else {}

    def update_metrics(self, **values: Any) -> None:
        """Merge top-level entries into metrics.json."""
        write_json(self.metrics_path, {**self.metrics(), **values})
