"""`HeldMesh`: the mesh under the Gaussians of a frozen moment, which control points deform."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..control_points import ControlPointMotion
from ..gaussians import Gaussians
from ..geometry import quat_log
from ..mesh_bound import MeshBoundMotion


@dataclass(frozen=True)
class HeldMesh:
    """V vertices at the moment, and the control points that carry each."""

    motion: MeshBoundMotion  # of one moment
    supports: Tensor  # [V, 8] int32
    weights: Tensor  # [V, 8] float32, each row summing to one

    def carried(self, motion: ControlPointMotion) -> MeshBoundMotion:
        """The mesh's motion under that of the control points, at the same moments."""
        rest = self.motion.vertices
        still = rest.new_tensor([1.0, 0, 0, 0]).expand(len(rest), 4)
        marks = Gaussians(rest, still, rest, rest[:, 0], rest[:, None])  # a Gaussian for each vertex, to be carried
        carriers = replace(motion, neighbours=self.supports, weights=self.weights)
        moments = [carriers.at(marks, float(time_s)) for time_s in motion.times_s]
        positions = torch.stack([moment.means for moment in moments])
        turns = torch.stack([quat_log(torch.nn.functional.normalize(moment.quats, dim=-1)) for moment in moments])
        return replace(self.motion, times_s=motion.times_s, positions=positions, turns=turns)
