"""Photographs of a box with painted sides, with true cameras: a thing whose sides can be alike, or mirrored."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from fewview.scene.capture import Capture, Frame

WIDTH, HEIGHT, FOCAL_PX = 480, 360, 460.0
SIDE, TALL = 1.0, 1.3  # of the box, which stands in the origin; z is up
TEXELS = 260  # a unit


def paint(seed: int, height: float = TALL, width: float = SIDE) -> np.ndarray:
    """uint8 [h, w, 3] picture with corners and edges that is like no other of another seed."""
    rng = np.random.default_rng(seed)
    size = int(width * TEXELS), int(height * TEXELS)
    picture = cv2.resize(rng.uniform(60, 190, (7, 6, 3)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    for _ in range(int(90 * height * width)):
        center = rng.uniform(0, 1, 2) * size
        box = cv2.boxPoints((center.tolist(), rng.uniform(8, 34, 2).tolist(), float(rng.uniform(0, 180))))
        cv2.fillPoly(picture, [box.astype(np.int32)], rng.uniform(0, 255, 3).tolist(), cv2.LINE_AA)
    return picture.clip(0, 255).astype(np.uint8)


def sides(seeds: Sequence[int]) -> list[np.ndarray]:
    """Pictures of the four sides, in the order in which one walks around, and of the top."""
    return [*(paint(seed) for seed in seeds[:4]), paint(seeds[4], SIDE, SIDE)]


def around(azimuth_deg: float, elevation_deg: float = 25.0, distance: float = 3.2) -> np.ndarray:
    """cam_from_world [4, 4] of a camera that looks at the box, standing before side 0 at azimuth 0."""
    a, e = np.radians(azimuth_deg), np.radians(elevation_deg)
    target = np.array([0, 0, TALL / 2])
    center = target + distance * np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
    forward = (target - center) / distance
    right = np.array([np.cos(a), np.sin(a), 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ center
    return pose


def photograph(
    pictures: Sequence[np.ndarray],  # of the four sides and the top
    cam_from_world: np.ndarray,  # [4, 4]
    background: np.ndarray | None = None,  # [HEIGHT, WIDTH, 3]; grey without one
    focal_px: float = FOCAL_PX,
    seed: int = 0,
) -> np.ndarray:
    """uint8 [HEIGHT, WIDTH, 3] with a little noise."""
    frame = np.full((HEIGHT, WIDTH, 3), 120.0) if background is None else background.astype(np.float64)
    center = -cam_from_world[:3, :3].T @ cam_from_world[:3, 3]
    K = np.array([[focal_px, 0, WIDTH / 2], [0, focal_px, HEIGHT / 2], [0, 0, 1]])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV counts from the centre of the first pixel
    for number, picture in enumerate(pictures):
        rows, columns = picture.shape[:2]
        a = np.radians(90 * number)
        right, outward = np.array([np.cos(a), np.sin(a), 0]), np.array([np.sin(a), -np.cos(a), 0])
        down, middle = np.array([0, 0, -1.0]), SIDE / 2 * outward + np.array([0, 0, TALL / 2])
        size = np.array([SIDE, TALL])
        if number == 4:
            right, down, outward = np.array([1.0, 0, 0]), np.array([0, -1.0, 0]), np.array([0, 0, 1.0])
            middle, size = np.array([0, 0, TALL]), np.array([SIDE, SIDE])
        if outward @ (center - middle) <= 0:
            continue
        right, down = right * size[0] / columns, down * size[1] / rows
        world_from_picture = np.stack([right, down, middle - right * columns / 2 - down * rows / 2], axis=1)
        in_cam = cam_from_world[:3, :3] @ world_from_picture
        in_cam[:, 2] += cam_from_world[:3, 3]
        warp = np.linalg.inv(half) @ K @ in_cam @ half
        opaque = np.dstack([picture, np.full((rows, columns), 255, np.uint8)])
        drawn = cv2.warpPerspective(opaque, warp, (WIDTH, HEIGHT), flags=cv2.INTER_AREA).astype(np.float64)
        alpha = drawn[..., 3:] / 255
        frame = frame * (1 - alpha) + drawn[..., :3] * alpha
    noise = np.random.default_rng(seed).normal(0, 1.5, frame.shape)
    return np.clip(frame + noise, 0, 255).astype(np.uint8)


def capture_of(images: Sequence[np.ndarray], focal_px: Sequence[float | None] | None = None) -> Capture:
    """The photographs by number, with these focal lengths in their EXIF."""
    known = focal_px or [None] * len(images)
    return Capture(
        tuple(
            Frame(f"{i}.png", image.shape[1], image.shape[0], lambda image=image: image, known[i])
            for i, image in enumerate(images)
        ),
        "photographs of a box",
    )
