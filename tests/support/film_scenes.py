"""Generated films with known truth: textured planes before a moving camera, one of which moves by itself."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from fewview.scene.capture import Capture, Frame

WIDTH, HEIGHT, FOCAL_PX = 480, 320, 420.0
K = np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1]])
BEYOND_PX = 40  # texture a unit


@dataclass(frozen=True)
class Plane:
    """A textured rectangle before the camera, facing it at the start."""

    center: tuple[float, float, float]  # x right, y down, z ahead
    size: tuple[float, float]
    seed: int
    slant: float = 0.0  # radians about y
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)  # a frame
    swing: float = 0.0  # of its size, to and fro, which no rigid motion is
    is_round: bool = False

    @property
    def moves(self) -> bool:
        return any(self.velocity) or self.swing > 0


WALL = Plane((0, 0, 8), (22, 14), seed=1)
# A room's corner, 9 units away: two walls, so that no homography explains all that stands.
CORNER = (Plane((-4.39, 0, 6.6), (10, 14), seed=5, slant=0.5), Plane((4.39, 0, 6.6), (10, 14), seed=6, slant=-0.5))
STANDING = (Plane((-2.2, 0.6, 5), (1.6, 2.2), seed=2, slant=0.4), Plane((2.3, 0.9, 6), (1.8, 1.6), seed=3, slant=-0.5))
MOVING = Plane((0.2, 0.1, 4.4), (1.5, 1.7), seed=4, velocity=(-0.03, 0.05, 0.0), swing=0.12, is_round=True)


@dataclass(frozen=True)
class Film:
    """Frames, true masks of what moves, and true cameras."""

    frames: list[np.ndarray]  # uint8 [H, W, 3]
    moving: list[np.ndarray]  # bool [H, W]
    cam_from_world: list[np.ndarray]  # float64 [4, 4]

    def capture(self, fps: float | None = 10.0) -> Capture:
        frames = tuple(
            Frame(
                name=f"{i:04d}.png",
                width=WIDTH,
                height=HEIGHT,
                load=lambda pixels=pixels: pixels,
                focal_px=FOCAL_PX,
                time_s=None if fps is None else i / fps,
            )
            for i, pixels in enumerate(self.frames)
        )
        return Capture(frames, "a generated film")


def film(
    planes: Sequence[Plane], count: int, step: tuple[float, float, float] = (0.06, 0.01, 0.0), turn_rad: float = 0.004
) -> Film:
    """`count` frames by a camera that moves by `step` and turns by `turn_rad` from one to the next, by a shaky hand."""
    rng = np.random.default_rng(7)
    frames, masks, poses = [], [], []
    still = not any(step) and turn_rad == 0
    for number in range(count):
        shake = np.zeros(3) if still else rng.normal(0, 0.002, 3)
        rotation, _ = cv2.Rodrigues(np.array([0, turn_rad * (number - count / 2), 0]) + shake)
        center = np.array(step) * (number - count / 2)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, -rotation @ center
        frame, mask = _drawn(planes, pose, number)
        noise = rng.normal(0, 1.5, frame.shape)
        frames.append(np.clip(frame + noise, 0, 255).astype(np.uint8))
        masks.append(mask)
        poses.append(pose)
    return Film(frames, masks, poses)


def precision_and_recall(found: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> tuple[float, float]:
    """Over the pixels of all frames; found masks are resized to the true ones'."""
    sized = [
        cv2.resize(f.astype(np.uint8), t.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        for f, t in zip(found, true, strict=True)
    ]
    hits = sum(int((f & t).sum()) for f, t in zip(sized, true, strict=True))
    return hits / max(1, sum(int(f.sum()) for f in sized)), hits / max(1, sum(int(t.sum()) for t in true))


def write_film(path: Path, frames: Sequence[np.ndarray], fps: int = 25) -> None:
    """An H.264 file of good quality."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12", "g": "8"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())


def _drawn(planes: Sequence[Plane], cam_from_world: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    frame = np.full((HEIGHT, WIDTH, 3), 128.0)
    moving = np.zeros((HEIGHT, WIDTH), bool)
    for plane in sorted(planes, key=lambda p: -p.center[2]):
        texture = _texture(plane)
        rows, columns = texture.shape[:2]
        grown = 1 + plane.swing * np.sin(0.5 * number)
        width, height = plane.size[0] * grown, plane.size[1] / grown
        right = np.array([np.cos(plane.slant), 0, np.sin(plane.slant)]) * width / columns
        down = np.array([0, height / rows, 0])
        center = np.array(plane.center) + np.array(plane.velocity) * number
        corner = center - right * columns / 2 - down * rows / 2
        world_from_texture = np.stack([right, down, corner], axis=1)
        in_camera = cam_from_world[:3, :3] @ world_from_texture
        in_camera[:, 2] += cam_from_world[:3, 3]
        # OpenCV counts from the centre of the first pixel.
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        pixel_from_texture = np.linalg.inv(half) @ K @ in_camera @ half
        warped = cv2.warpPerspective(texture, pixel_from_texture, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)
        alpha = warped[..., 3:] / 255
        frame = frame * (1 - alpha) + warped[..., :3] * alpha
        covers = alpha[..., 0] > 0.5
        moving = (moving & ~covers) | (covers & plane.moves)
    return frame, moving


@functools.cache
def _texture(plane: Plane) -> np.ndarray:
    """float32 [h, w, 4]: noise of several sizes and some edges."""
    rng = np.random.default_rng(plane.seed)
    columns, rows = (int(side * BEYOND_PX * 2) for side in plane.size)
    picture = np.zeros((rows, columns, 3), np.float32)
    for cell in (4, 12, 40):
        coarse = rng.uniform(-1, 1, (rows // cell + 2, columns // cell + 2, 3)).astype(np.float32)
        picture += cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC) * (18 + cell)
    picture = np.clip(picture + rng.uniform(90, 160, 3), 0, 255)
    alpha = np.full((rows, columns, 1), 255, np.float32)
    if plane.is_round:
        y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
        alpha[x * x + y * y > 1] = 0
    return np.concatenate([picture, alpha], axis=2)
