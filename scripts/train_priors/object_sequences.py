"""Sequences of pictures of one object: cameras all round it through one lens, under one light."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fewview.scene.files import write_json
from fewview.scene.png import write_png
from object_meshes import Model, compose
from object_renderer import Light, ObjectScene
from object_symmetry import turn_distance

FIELD_OF_VIEW_DEG = (25.0, 60.0)
ELEVATION_DEG = (-10.0, 70.0)
AIM_JITTER, ROLL_DEG = 0.12, 10.0  # of the object's radius; standard deviation
SURFACE_PLACES = 64  # along each side of a picture, at which it is known what point of the object is seen


@dataclass(frozen=True)
class Sequence:
    """Pictures of one object and their true cameras."""

    name: str
    pictures: np.ndarray  # [N, side, side, 4] uint8
    surface: np.ndarray  # [N, SURFACE_PLACES, SURFACE_PLACES, 3] float16, the points that are seen; NaN for none
    cam_from_world: np.ndarray  # [N, 4, 4] float64; the object's radius is 1
    focal_px: float
    turn_distance: float | None = None  # see `object_symmetry`; None where it was not asked for


def render_sequence(
    name: str,
    models: list[Model],  # to choose from; the first one where not `is_wild`
    views: int,
    side_px: int,
    rng: np.random.Generator,
    is_wild: bool,
    measures_symmetry: bool = False,
) -> Sequence:
    """A sequence whose azimuths are spread over the circle, one in each of `views` equal parts, in random order."""
    parts = compose(rng, models, is_wild)
    scene = ObjectScene(parts, Light.random(rng))
    fov = np.radians(rng.uniform(*FIELD_OF_VIEW_DEG))
    focal_px = side_px / 2 / np.tan(fov / 2)
    azimuths = (rng.permutation(views) + rng.random(views)) * (2 * np.pi / views)
    # Even in height over the zone of the sphere, so that low and high views have equal areas.
    low, high = np.sin(np.radians(ELEVATION_DEG))
    elevations = np.arcsin(rng.uniform(low, high, views))
    distance = rng.uniform(1.05, 1.4) / np.sin(fov / 2)
    poses = np.stack(
        [_pose(rng, a, e, distance * rng.uniform(0.9, 1.15)) for a, e in zip(azimuths, elevations, strict=True)]
    )
    pictures = np.stack([scene.draw(pose, focal_px, side_px) for pose in poses])
    surface = np.stack([scene.surface(pose, focal_px, side_px, SURFACE_PLACES) for pose in poses])
    return Sequence(name, pictures, surface, poses, focal_px, turn_distance(parts) if measures_symmetry else None)


def _pose(rng: np.random.Generator, azimuth: float, elevation: float, distance: float) -> np.ndarray:
    """cam_from_world [4, 4] of a camera that looks roughly at the origin."""
    flat = np.cos(elevation)
    centre = distance * np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
    forward = rng.uniform(-AIM_JITTER, AIM_JITTER, 3) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    roll = np.radians(rng.normal(0, ROLL_DEG))
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ np.stack([right, down, forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ centre
    return pose


def write_sequence(sequence: Sequence, folder: Path) -> None:
    """The sequence as a folder with a nerfstudio `transforms.json` and RGBA pictures."""
    side = sequence.pictures.shape[1]
    frames = []
    for number, (picture, pose) in enumerate(zip(sequence.pictures, sequence.cam_from_world, strict=True)):
        name = f"images/{number:03d}.png"
        write_png(folder / name, picture)
        world_from_cam = np.linalg.inv(pose) @ np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL axes
        frames.append({"file_path": name, "transform_matrix": world_from_cam.tolist()})
    lens = {"fl_x": sequence.focal_px, "fl_y": sequence.focal_px, "cx": side / 2, "cy": side / 2, "w": side, "h": side}
    write_json(folder / "transforms.json", {"camera_model": "OPENCV", **lens, "frames": frames})
    if sequence.turn_distance is not None:
        write_json(folder / "symmetry.json", {"turn_distance": sequence.turn_distance})
