"""`MOTIONS`: the kinds of motion that files hold, by the name that stands there."""

from __future__ import annotations

from .control_points import ControlPointMotion
from .frame_motion import FrameMotion
from .mesh_bound import MeshBoundMotion
from .motion import Motion

MOTIONS: dict[str, type[Motion]] = {kind.kind: kind for kind in (FrameMotion, ControlPointMotion, MeshBoundMotion)}
