"""A network's proposals for the photographs of one object that another system could not place.

Where that system is sure of enough photographs to go on from, its cameras stay, and the network says where the others
may have been taken from: `hypotheses` for analysis by synthesis to look at, not places. Where it is not and could not
place all, the network places all of them, and a note says that nothing has confirmed it: of objects whose sides look
alike, cameras that structure from motion is not sure of are wrong more often than the network's. Not always, and of a
room the network knows nothing: the answer of which nobody is sure is kept as `other` beside the one that counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ....scene.capture import Capture
from ....scene.errors import BadInputError, FewviewError
from ....scene.progress import Progress, silent
from ....scene.run import SURE
from ..pose_estimator import PoseEstimator, Poses
from .aden.aden_estimator import AdenEstimator

ENOUGH = 3  # photographs to learn from with cameras that are sure, that an object can be made from


@dataclass(frozen=True)
class WithProposals:
    """A pose estimator, and a network for what it does not place; see `PoseEstimator`."""

    first: PoseEstimator
    network: AdenEstimator

    @classmethod
    def load(cls, first: PoseEstimator, weights: Path, device: torch.device | str = "cpu") -> WithProposals:
        """With the network in a file of `scripts/train_priors/aden.py`. Raises BadInputError."""
        return cls(first, AdenEstimator.load(weights, device))

    @property
    def name(self) -> str:
        return f"{self.first.name}, {self.network.name}"

    def place(self, capture: Capture, progress: Progress = silent) -> Poses:
        """Cameras of the first system where it places all or is sure of enough, with proposals for the others; else the
        network's."""
        try:
            poses = self.first.place(capture, progress)
        except BadInputError:
            raise
        except FewviewError as error:
            return self._alone(capture, str(error), progress)
        held_out = set(capture.test or ())
        learning = [c for view, c in zip(poses.placed, poses.confidence, strict=True) if view not in held_out]
        sure = sum(belief is None or belief >= SURE for belief in learning)
        lost = [view for view in poses.unplaced if view not in held_out]
        if sure < ENOUGH and (lost or len(learning) >= ENOUGH):
            reason = f"{self.first.name} is sure of only {sure} of the photographs that it placed ({len(learning)})"
            try:
                alone = self._alone(capture, reason, progress)
            except FewviewError as error:  # such as of more photographs than it takes; what was placed is there
                return replace(poses, notes=(*poses.notes, str(error)))
            if not lost:
                note = (
                    f"{reason}; all are placed, so its cameras stay, and --synthesis compares them with the network's."
                )
                return replace(poses, other=alone, notes=(*poses.notes, note))
            return replace(alone, other=poses if len(learning) >= ENOUGH else None)
        if not lost:
            return poses
        proposed = self.network.proposals(capture, poses, lost)
        names = ", ".join(capture.names[view] for view in sorted(proposed))
        note = f"{self.network.name} proposes cameras for what was not placed: {names}." if proposed else ""
        return replace(
            poses,
            hypotheses={**poses.hypotheses, **proposed},
            notes=(*poses.notes, *([note] if note else ())),
        )

    def _alone(self, capture: Capture, reason: str, progress: Progress) -> Poses:
        try:
            poses = self.network.place(capture, progress)
        except FewviewError as error:
            raise FewviewError(f"{reason.rstrip('.')}. The network could not help: {error}") from error
        note = f"{reason.rstrip('.')}; so all cameras are the network's, and nothing has confirmed them."
        return replace(poses, notes=(note, *poses.notes))
