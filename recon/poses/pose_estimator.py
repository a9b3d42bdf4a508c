"""Contract of pose estimation: photographs go in, `Poses` come out, whichever system computed them.

Structure from motion and the pointmap networks answer it today. A system that proposes several poses for a photograph
(symmetric objects) or that repairs poses by rendering gives the same type: `hypotheses` and `confidence` are for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.capture import Capture
from ...scene.progress import Progress, silent
from ..evidence.depth_maps import Stereo


@dataclass(frozen=True)
class PoseHypotheses:
    """Cameras that explain one photograph, best first, while the placed photographs stay where they are."""

    cameras: Cameras  # [M] at the photograph's own size, in the world of the placed cameras
    score: Tensor  # [M] float32, not ascending; comparable within one photograph alone

    def __post_init__(self) -> None:
        if self.score.shape != (len(self.cameras),) or bool((self.score.diff() > 0).any()):
            raise ValueError(
                f"expected scores [{len(self.cameras)}], the best first, found {tuple(self.score.shape)}: {self.score}"
            )


@dataclass(frozen=True)
class Poses:
    """Placed photographs, and the reasons why the others are not among them.

    The world is right-handed with z up; the first placed camera looks along +y (seen from above), and the origin is the
    median of the points. Where the photographs' own positions give the scale, a unit is a metre and `capture.points`
    says so (`metric`); else the median distance from a camera to a point that it sees is 4. Without points, origin and
    unit are the system's own. Photographs that are held out (`capture.test`) have no part in any of this, see no point
    and get no depth.
    Indices of views are those of the capture that was given. Raises ValueError for fields that contradict each other.
    """

    capture: Capture  # the placed frames only, undistorted, with cameras and, where the system gives any, seen points
    placed: list[int]  # views, ascending; `capture` holds them in this order
    unplaced: dict[int, str]  # view -> a sentence why, which names the photograph; every view that is not placed
    seconds: dict[str, float]  # wall time of each stage
    stats: dict[str, Any]  # figures for reports: photographs, placed, points, focal_px, ..., and scale where metric
    # Belief in [0, 1] in the camera of each placed view; None where the system does not say, by default for all. It
    # is never made up: structure from motion and the networks say nothing.
    confidence: tuple[float | None, ...] = ()
    # Other cameras that explain a photograph, too, by view; also of an unplaced one. Empty where nothing is ambiguous.
    hypotheses: Mapping[int, PoseHypotheses] = field(default_factory=dict)
    depths: Stereo | None = None  # of the placed training views, in order, in the same world; None: without depth
    notes: tuple[str, ...] = ()  # sentences for the report about where the cameras come from
    # Another system's answer for the same photographs, where neither can be believed more; analysis by synthesis makes
    # the object from both.
    other: Poses | None = None

    def __post_init__(self) -> None:
        if not self.confidence:
            object.__setattr__(self, "confidence", (None,) * len(self.placed))
        problem = self._contradiction()
        if problem is not None:
            raise ValueError(f"poses contradict themselves: {problem}")

    @property
    def train_names(self) -> list[str]:
        """Names of the placed training photographs, which `depths` belong to one by one."""
        held_out = set(self.capture.test or ())
        return [name for i, name in enumerate(self.capture.names) if i not in held_out]

    def _contradiction(self) -> str | None:
        views = len(self.placed)
        if self.capture.cameras is None or len(self.capture) != views:
            return f"expected {views} placed frames with cameras"
        if self.placed != sorted(set(self.placed)) or set(self.placed) & set(self.unplaced):
            return f"expected ascending views that are not unplaced, too, found {self.placed}"
        if len(self.confidence) != views or not all(c is None or 0 <= c <= 1 for c in self.confidence):
            return f"expected {views} confidences in [0, 1] or None, found {self.confidence}"
        if self.depths is not None and len(self.depths) != len(self.train_names):
            return f"expected depth of {len(self.train_names)} training views, found {len(self.depths)}"
        seen_view = None if self.capture.points is None else self.capture.points.seen_view
        if seen_view is not None and bool(torch.isin(seen_view, torch.tensor(self.capture.test or ())).any()):
            return "a held-out view sees points"
        return None


class PoseEstimator(Protocol):
    """A system that places photographs, with its settings; nothing but `place` does work that takes long."""

    @property
    def name(self) -> str:
        """The system in a few words, or the file of its weights, for reports."""

    def place(self, capture: Capture, progress: Progress = silent) -> Poses:
        """Cameras for the photographs of a capture; cameras and points that it already has are not looked at.

        Photographs that cannot be placed are named with a reason, and the others go on. Those in `capture.test` change
        nothing in the others' cameras, points, depths or world frame: they are registered to the finished solution.
        Frames keep all that they know besides (names, times, masks, depths, positions). The same capture and settings
        give the same bits. Raises BadInputError for photographs that cannot be used, FewviewError where fewer than two
        can be placed.
        """
