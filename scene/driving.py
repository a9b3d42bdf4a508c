"""`DrivingFrame` and `DrivingLog`: what a car with cameras and a LiDAR recorded at its key frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .boxes import Boxes
from .capture import Capture


@dataclass(frozen=True)
class LidarPoints:
    """N LiDAR returns in one frame, in metres. Unlike a `PointCloud` they have no colour, but a strength and a time."""

    xyz: Tensor  # [N, 3] float32
    intensity: Tensor  # [N] float32, 0 to 255
    lag_s: Tensor  # [N] float32: how long before the key frame the point was measured; 0 for the key frame's own

    def __post_init__(self) -> None:
        n = self.xyz.shape[0]
        if self.xyz.shape != (n, 3) or self.intensity.shape != (n,) or self.lag_s.shape != (n,):
            raise ValueError(
                f"expected xyz [N, 3], intensity [N] and lag_s [N], found {tuple(self.xyz.shape)}, "
                f"{tuple(self.intensity.shape)} and {tuple(self.lag_s.shape)}"
            )

    def __len__(self) -> int:
        return self.xyz.shape[0]

    def __getitem__(self, index: slice | Tensor) -> LidarPoints:
        return LidarPoints(self.xyz[index], self.intensity[index], self.lag_s[index])

    @classmethod
    def cat(cls, parts: list[LidarPoints]) -> LidarPoints:
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in ("xyz", "intensity", "lag_s")))


@dataclass(frozen=True)
class DrivingFrame:
    """One key frame. Everything is in the LiDAR's frame at the time of its key sweep (z up, metres).

    The cameras fired some milliseconds before or after: their poses account for how far the car moved meanwhile,
    so `capture.cameras.cam_from_world` is camera at its own time from LiDAR at the key time.
    """

    token: str
    timestamp_us: int
    capture: Capture  # the surrounding cameras, named by channel
    points: LidarPoints
    ego_from_lidar: Tensor  # [4, 4] float64; ego: x forward, y left, z up, on the ground under the rear axle
    global_from_ego: Tensor  # [4, 4] float64, at the key time
    truth: Boxes | None = None  # annotated
    detections: Boxes | None = None  # with scores
    title: str = ""  # for people

    @property
    def global_from_lidar(self) -> Tensor:
        """[4, 4] float64: coordinates in the global frame are kilometres, too large for float32."""
        return self.global_from_ego @ self.ego_from_lidar


@dataclass(frozen=True)
class DrivingLog:
    """Key frames in the order of their scenes and times, read only when asked for."""

    tokens: tuple[str, ...]
    source: str  # what it was read from, for people
    load: Callable[[int], DrivingFrame]
    notes: tuple[str, ...] = ()  # sentences that the person should see

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> DrivingFrame:
        return self.load(index)

    def with_detections(self, detections: Mapping[str, Boxes]) -> DrivingLog:
        """Each frame with its token's boxes, given in the global frame; no boxes where the token is not listed."""

        def load(index: int) -> DrivingFrame:
            frame = self.load(index)
            lidar_from_global = torch.linalg.inv(frame.global_from_lidar)
            found = detections.get(frame.token, Boxes.empty())
            return replace(frame, detections=found.moved(lidar_from_global).to(torch.float32))

        return replace(self, load=load)
