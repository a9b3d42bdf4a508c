"""A depth camera in a room of boxes and cylinders: pictures, depth, and the points that fusing noisy depth gives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from room_layout import HEIGHT_M, Room
from room_textures import brightness

FIELD_OF_VIEW_DEG = 68.0  # across
MAX_DEPTH_M, GRAZING = 5.0, 0.08  # farther, or seen flatter than this cosine, the sensor gives nothing
FACE_LIGHT = np.array([0.80, 0.92, 1.0])  # of faces across x, y and z
_AXES = np.array([0, 1, 2])


@dataclass(frozen=True)
class View:
    """A picture with what each pixel shows."""

    cam_from_room: np.ndarray  # [4, 4]
    image: np.ndarray  # uint8 [H, W, 3]
    depth: np.ndarray  # float32 [H, W] metres along z, 0 for none
    part: np.ndarray  # int [H, W] row of the scanner's parts, -1 for none
    slant: np.ndarray  # float32 [H, W] cosine between ray and surface


class Scanner:
    """Casts the rays of pinhole cameras; each part is looked for only within its own rectangle of the picture."""

    def __init__(self, room: Room, width: int, height: int) -> None:
        self.room, self.width, self.height = room, width, height
        self.focal_px = width / 2 / math.tan(math.radians(FIELD_OF_VIEW_DEG) / 2)
        placed = [(part, 0.0, 0.0, 0.0, -1) for part in room.shell]
        placed += [(p, t.x, t.y, t.yaw_rad, i) for i, t in enumerate(room.things) for p in t.piece.parts]
        self.parts = [p[0] for p in placed]
        self.owner = np.array([p[4] for p in placed])
        self.half = np.array([np.divide(p.size, 2) for p in self.parts])
        self.local_from_room = np.stack([_local_from_room(*p[:4]) for p in placed])
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * self.half[:, None]
        turn, shift = self.local_from_room[:, :3, :3], self.local_from_room[:, :3, 3]
        self.corners = np.einsum("pji,pcj->pci", turn, corners - shift[:, None])  # [P, 8, 3] in the room
        v, u = np.mgrid[:height, :width]
        self.rays = np.stack(
            [(u + 0.5 - width / 2) / self.focal_px, (v + 0.5 - height / 2) / self.focal_px, np.ones_like(u, float)], -1
        )

    @property
    def K(self) -> np.ndarray:
        return np.array([[self.focal_px, 0, self.width / 2], [0, self.focal_px, self.height / 2], [0, 0, 1]])

    def view(self, cam_from_room: np.ndarray) -> View:
        """The picture from one place."""
        turn = cam_from_room[:3, :3]
        eye = -turn.T @ cam_from_room[:3, 3]
        rays = self.rays @ turn  # in the room, one metre of depth long
        depth = np.full((self.height, self.width), np.inf)
        part = np.full(depth.shape, -1)
        face = np.zeros(depth.shape, np.int64)
        for i, (rows, columns) in enumerate(self._rectangles(cam_from_room)):
            if rows.start >= rows.stop or columns.start >= columns.stop:
                continue
            to_local = self.local_from_room[i]
            origin = to_local[:3, :3] @ eye + to_local[:3, 3]
            directions = rays[rows, columns] @ to_local[:3, :3].T
            hit = _hit_cylinder if self.parts[i].round else _hit_box
            t, axis = hit(origin, directions, self.half[i])
            nearer = t < depth[rows, columns]
            depth[rows, columns][nearer] = t[nearer]
            face[rows, columns][nearer] = axis[nearer]
            part[rows, columns][nearer] = i
        depth[part < 0] = 0
        image, slant = self._shade(eye, rays, depth, part, face)
        return View(cam_from_room, image, depth.astype(np.float32), part, slant)

    def _rectangles(self, cam_from_room: np.ndarray) -> list[tuple[slice, slice]]:
        """The rows and columns in which each part can be seen; all of them for what reaches behind the camera."""
        in_camera = self.corners @ cam_from_room[:3, :3].T + cam_from_room[:3, 3]
        z = in_camera[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            u = in_camera[..., 0] / z * self.focal_px + self.width / 2
            v = in_camera[..., 1] / z * self.focal_px + self.height / 2
        found = []
        for i in range(len(self.parts)):
            if z[i].max() <= 0.05:
                found.append((slice(0, 0), slice(0, 0)))
            elif z[i].min() <= 0.05:
                found.append((slice(0, self.height), slice(0, self.width)))
            else:
                low_u, high_u = max(0, math.floor(u[i].min())), min(self.width, math.ceil(u[i].max()) + 1)
                low_v, high_v = max(0, math.floor(v[i].min())), min(self.height, math.ceil(v[i].max()) + 1)
                found.append((slice(low_v, high_v), slice(low_u, high_u)))
        return found

    def _shade(
        self, eye: np.ndarray, rays: np.ndarray, depth: np.ndarray, part: np.ndarray, face: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        image = np.zeros((self.height, self.width, 3))
        slant = np.zeros((self.height, self.width), np.float32)
        points = eye + rays * depth[..., None]
        for i in np.unique(part[part >= 0]):
            seen = part == i
            to_local, shape = self.local_from_room[i], self.parts[i]
            local = points[seen] @ to_local[:3, :3].T + to_local[:3, 3]
            directions = rays[seen] @ to_local[:3, :3].T
            axis = face[seen]
            if shape.round:  # axis 0 is the mantle there
                normal = np.where((axis == 0)[:, None], local / self.half[i] ** 2 * (1, 1, 0), (0.0, 0.0, 1.0))
                normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
            else:
                normal = (axis[:, None] == _AXES).astype(float)
            light = np.abs(normal) ** 2 @ FACE_LIGHT
            look = brightness(shape.texture, local + self.half[i], int(i))
            image[seen] = np.asarray(shape.color) * (look * light)[:, None]
            slant[seen] = np.abs((normal * directions).sum(1)) / np.linalg.norm(directions, axis=1)
        return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8), slant


def _local_from_room(part, x: float, y: float, yaw: float) -> np.ndarray:
    c, s = math.cos(yaw), math.sin(yaw)
    matrix = np.eye(4)
    matrix[:2, :2] = [[c, s], [-s, c]]
    matrix[:3, 3] = matrix[:3, :3] @ (-x, -y, 0.0) - np.asarray(part.center)
    return matrix


def _hit_box(origin: np.ndarray, directions: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth [h, w] at which rays enter a box, inf for those that miss it, and the axis [h, w] of the face."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / directions
        a, b = (-half - origin) * inverse, (half - origin) * inverse
    near = np.minimum(a, b)
    enter, leave = near.max(-1), np.maximum(a, b).min(-1)
    return np.where((enter <= leave) & (enter > 0.05), enter, np.inf), near.argmax(-1)


def _hit_cylinder(origin: np.ndarray, directions: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `_hit_box` for an upright elliptic cylinder: axis 0 is its mantle, 2 an end."""
    o, d = origin / half, directions / half
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b, c = (d[..., :2] ** 2).sum(-1), (o[:2] * d[..., :2]).sum(-1), (o[:2] ** 2).sum() - 1
        root = np.sqrt(np.maximum(b * b - a * c, 0))
        mantle = np.where(b * b >= a * c, (-b - root) / a, np.inf)
        on_mantle = (mantle > 0.05) & (np.abs(o[2] + mantle * d[..., 2]) <= 1)
        end = np.minimum((-1 - o[2]) / d[..., 2], (1 - o[2]) / d[..., 2])
        on_end = (end > 0.05) & (((o[:2] + end[..., None] * d[..., :2]) ** 2).sum(-1) <= 1)
    t = np.minimum(np.where(on_mantle, mantle, np.inf), np.where(on_end, end, np.inf))
    return t, np.where(on_mantle, 0, 2)


def walk(room: Room, count: int, rng: Generator) -> list[np.ndarray]:
    """cam_from_room [4, 4] of views by somebody who walks about and looks at things and walls."""
    views = []
    boxes = room.boxes
    limits = np.array(room.size) / 2 - 0.35
    for i in range(count):
        for _ in range(30):
            eye = np.array([*rng.uniform(-limits, limits), rng.uniform(1.15, 1.75)])
            inside = (np.abs(eye[:2] - boxes[:, :, :2].mean(1)) < (boxes[:, 1, :2] - boxes[:, 0, :2]) / 2 + 0.25).all(1)
            if not (inside & (boxes[:, 1, 2] > 0.9)).any():
                break
        if i % 3:
            target = boxes[rng.integers(len(boxes))].mean(0) + rng.normal(0, 0.2, 3)
        else:
            angle = rng.uniform(0, 2 * math.pi)
            target = np.array(
                [math.cos(angle) * room.size[0] / 2, math.sin(angle) * room.size[1] / 2, rng.uniform(0, 1.8)]
            )
        views.append(_looking(eye, target, rng.normal(0, 0.05)))
    return views


def _looking(eye: np.ndarray, target: np.ndarray, roll_rad: float) -> np.ndarray:
    forward = target - eye
    if np.linalg.norm(forward[:2]) < 0.3:  # straight down: look a little ahead
        forward[0] += 0.5
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = math.cos(roll_rad), math.sin(roll_rad)
    turn = np.stack([c * right + s * down, c * down - s * right, forward])
    return np.block([[turn, (-turn @ eye)[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])


@dataclass(frozen=True)
class Fused:
    """Vertices of a scan: the mean of what fell into each cell."""

    points: np.ndarray  # float32 [N, 3] in the room
    colors: np.ndarray  # uint8 [N, 3]
    part: np.ndarray  # int [N] row of the scanner's parts


def fuse(scanner: Scanner, views: list[View], cell_m: float, rng: Generator) -> Fused:
    """Back-project depth with a sensor's noise and holes, and merge it by cells."""
    points, colors, parts = [], [], []
    for view in views:
        z = view.depth.astype(np.float64)
        noisy = z + rng.normal(0, 1, z.shape) * (0.002 + 0.0015 * z * z)
        lattice = rng.normal(0, 1, (max(2, scanner.height // 12), max(2, scanner.width // 12)))
        blobs = cv2.resize(lattice, (scanner.width, scanner.height), interpolation=cv2.INTER_CUBIC)
        dark = view.image.max(-1) < 40
        kept = (z > 0.3) & (z < MAX_DEPTH_M) & (view.slant > GRAZING) & (blobs < np.where(dark, 0.6, 1.7))
        turn, shift = view.cam_from_room[:3, :3], view.cam_from_room[:3, 3]
        points.append((scanner.rays[kept] * noisy[kept][:, None] - shift) @ turn)
        colors.append(view.image[kept])
        parts.append(view.part[kept])
    xyz, rgb, part = np.concatenate(points), np.concatenate(colors).astype(np.float64), np.concatenate(parts)
    inside = (xyz[:, 2] > -0.15) & (xyz[:, 2] < HEIGHT_M + 0.1)
    xyz, rgb, part = xyz[inside], rgb[inside], part[inside]
    cells = np.floor(xyz / cell_m).astype(np.int64) + 4096
    _, first, row, count = np.unique(
        (cells[:, 0] << 26) | (cells[:, 1] << 13) | cells[:, 2],
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    mean = np.stack([np.bincount(row, values) for values in (*xyz.T, *rgb.T)], axis=1) / count[:, None]
    return Fused(mean[:, :3].astype(np.float32), (mean[:, 3:] + 0.5).astype(np.uint8), part[first])
