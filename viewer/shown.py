"""`Shown`: what an input is for the viewer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..recon.evidence.depth_file import load_stereo
from ..recon.evidence.depth_maps import Stereo
from ..scene.capture import Capture
from ..scene.driving import DrivingFrame, DrivingLog
from ..scene.gaussians import Gaussians
from ..scene.run import Run
from ..scene.splat import Axis


@dataclass(frozen=True)
class Shown:
    """A scene to look at; at least one of `gaussians`, `capture` and `drive` is there."""

    title: str
    gaussians: Gaussians | None = None
    capture: Capture | None = None
    splat_path: Path | None = None  # offered for download
    antialiased: bool = False  # how the splat was trained, and so has to be rendered
    background: tuple[float, ...] = (0.0, 0.0, 0.0)  # sRGB that it was trained over
    up: Axis | None = None  # of the world, where a splat file says it
    run: Run | None = None
    drive: tuple[DrivingLog, DrivingFrame] | None = None  # and the key frame that is seen first
    notes: tuple[str, ...] = ()

    @property
    def stereo(self) -> Callable[[], Stereo] | None:
        """Reads the depth maps of a run that has some; they belong to `stereo_views()`."""
        if (
            self.run is None
            or self.capture is None
            or self.capture.cameras is None
            or not self.run.stereo_path.is_file()
        ):
            return None
        return lambda: _stereo(self)

    def stereo_views(self) -> list[int]:
        """The photographs that dense stereo has looked at: those that were not held out."""
        held_out = set(() if self.capture is None else self.capture.test or ())
        return [i for i in range(0 if self.capture is None else len(self.capture)) if i not in held_out]


def _stereo(shown: Shown) -> Stereo:
    assert shown.run is not None
    assert shown.capture is not None
    assert shown.capture.cameras is not None
    views = shown.stereo_views()
    names = [shown.capture.names[i] for i in views]
    return load_stereo(shown.run.stereo_path, shown.capture.cameras[torch.tensor(views)], names)
