"""`ARKitScenes`: rooms recorded with a tablet, in the files of the data set's "3dod" part.

    3dod/{Training,Validation}/ID/
        ID_3dod_annotation.json          upright boxes
        ID_3dod_mesh.ply                 the mesh that ARKit made, metres, z up
        ID_frames/lowres_wide/ID_TIME.png, lowres_depth/ID_TIME.png (millimetres),
        ID_frames/lowres_wide_intrinsics/ID_TIME.pincam, lowres_wide.traj

Source: G. Baruch et al., "ARKitScenes", NeurIPS 2021, and its released loaders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ..boxes import Boxes
from ..cameras import Cameras
from ..capture import Frame
from ..errors import BadInputError
from ..files import read_json
from ..geometry import se3_from
from ..images import MAX_MEGAPIXELS
from ..json_field import JsonField
from ..points_ply import read_points
from ..readers.image_frames import FileFrame
from ..readers.safe_paths import printable
from ..scan import Scan
from .scannet_classes import plain_word

SPLITS = {"train": "Training", "val": "Validation"}
MAX_OBJECTS = 10_000
MAX_VIEWS = 100_000
MAX_TEXT_BYTES = 1 << 28  # of a trajectory
LATE_S = 0.005  # between a photograph and the pose that is taken for it, at most
UPRIGHT = 0.99  # least part of a box's vertical axis along z


@dataclass(frozen=True)
class ARKitScenes:
    """Scenes by name, read only when asked for; may be sent to other processes."""

    root: Path
    folders: dict[str, Path]

    @classmethod
    def open(cls, root: Path | str, split: str = "all") -> ARKitScenes:
        """The scenes of a `split` (train, val), or all. Raises BadInputError where there are none."""
        root = Path(root)
        if split not in ("all", *SPLITS):
            raise BadInputError(f"ARKitScenes has no split {split!r}; expected all, {', '.join(SPLITS)}.")
        found = _folders(root, tuple(SPLITS) if split == "all" else (split,))
        if not found:
            raise BadInputError(f"{root} has no scene of ARKitScenes in {split}; {SPLITS['train']}/ID is expected.")
        return cls(root, found)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.folders)

    def __len__(self) -> int:
        return len(self.folders)

    def scan(self, name: str) -> Scan:
        """Raises BadInputError for damaged files."""
        return read_arkit_scene(self.folders[name])


def is_arkit_scene(folder: Path) -> bool:
    return (folder / f"{folder.name}_3dod_mesh.ply").is_file() or (folder / f"{folder.name}_frames").is_dir()


def is_arkit_scenes(root: Path) -> bool:
    """True for a folder of scenes."""
    return root.is_dir() and bool(_folders(root, tuple(SPLITS)))


def read_arkit_scene(folder: Path, photographs: bool = True) -> Scan:
    """The scan of a folder such as 3dod/Training/40753679: points, boxes with a yaw, and posed photographs.

    Each of the three may be absent. Raises BadInputError for files that are damaged.
    """
    name = folder.name
    notes: list[str] = []
    mesh = folder / f"{name}_3dod_mesh.ply"
    cloud = read_points(mesh) if mesh.is_file() else None
    annotation = folder / f"{name}_3dod_annotation.json"
    objects = _objects(annotation) if annotation.is_file() else None
    if objects is None:
        notes.append(f"{name} has no annotated objects ({annotation.name} is not there).")
    frames: tuple[Frame, ...] = ()
    cameras = None
    if photographs and (folder / f"{name}_frames").is_dir():
        frames, cameras, left_out = _views(folder / f"{name}_frames", name)
        notes += left_out
    points = torch.zeros(0, 3) if cloud is None else cloud.xyz
    colors = None if cloud is None else cloud.rgb.float() / 255
    return Scan(name, points, colors, objects, frames=frames, cameras=cameras, aligned=False, notes=tuple(notes))


def _folders(root: Path, splits: tuple[str, ...]) -> dict[str, Path]:
    base = root / "3dod" if (root / "3dod").is_dir() else root
    parts = [base / SPLITS[split] for split in splits]
    return {
        path.name: path
        for part in parts
        if part.is_dir()
        for path in sorted(part.iterdir())
        if path.is_dir() and is_arkit_scene(path)
    }


# -- boxes --------------------------------------------------------------------------------------------------------


def _objects(path: Path) -> Boxes:
    """Upright boxes; the rows of `normalizedAxes` are a box's axes, of which one is vertical."""
    centers, sizes, yaws, labels = [], [], [], []
    tokens: list[str] = []
    for row in JsonField(read_json(path), str(path), "a table of objects")["data"].items(MAX_OBJECTS):
        box = row["segments"]["obbAligned"]
        lengths, axes = box["axesLengths"].numbers(3), box["normalizedAxes"].numbers(9).reshape(3, 3)
        if not bool(((lengths >= 0) & torch.isfinite(lengths)).all()):
            raise BadInputError(f"{path}: a box has the axesLengths {lengths.tolist()}; positive metres are expected.")
        vertical = int(axes[:, 2].abs().argmax())
        if float(axes[vertical, 2].abs()) < UPRIGHT:
            raise BadInputError(
                f"{path}: a box of 'obbAligned' is not upright; its normalizedAxes are {axes.tolist()}."
            )
        first, second = (i for i in range(3) if i != vertical)
        centers.append(box["centroid"].numbers(3))
        sizes.append(lengths[[first, second, vertical]])
        yaws.append(math.atan2(float(axes[first, 1]), float(axes[first, 0])))
        labels.append(_word(row["label"].text()))
        tokens.append(printable(row["uid"].text()) if row.has("uid") else str(len(tokens)))
    names = tuple(dict.fromkeys(labels))
    rows = torch.tensor([names.index(label) for label in labels], dtype=torch.int64)
    if not centers:
        return Boxes.empty()
    turned = torch.tensor(yaws, dtype=torch.float64).float()
    return Boxes.upright(
        torch.stack(centers).float(), torch.stack(sizes).float(), turned, rows, names, tokens=tuple(tokens)
    )


def _word(label: str) -> str:
    """A class as a person would write it. All separators count; the released converter misses "tv monitor" by them."""
    return plain_word(printable(label).replace("-", " ").replace("/", " "))


# -- photographs --------------------------------------------------------------------------------------------------


def _views(folder: Path, name: str) -> tuple[tuple[Frame, ...], Cameras | None, list[str]]:
    """(photographs in the order of their times, their cameras, notes on those left out)"""
    images = sorted((folder / "lowres_wide").glob(f"{name}_*.png"), key=lambda path: _time_s(path, name))
    if not images:
        return (), None, []
    if len(images) > MAX_VIEWS:
        raise BadInputError(f"{folder} has {len(images):,} photographs; at most {MAX_VIEWS:,} are possible.")
    times, poses = _trajectory(folder / "lowres_wide.traj")
    frames, cam_from_world, Ks, sizes = [], [], [], []
    lost = 0
    for path in images:
        moment = _time_s(path, name)
        nearest = int(np.abs(times - moment).argmin())
        if abs(times[nearest] - moment) > LATE_S:
            lost += 1
            continue
        intrinsics = folder / "lowres_wide_intrinsics" / f"{path.stem}.pincam"
        width, height, K = _pincam(intrinsics)
        depth = folder / "lowres_depth" / path.name
        file = FileFrame(path, width, height, MAX_MEGAPIXELS, depth=depth if depth.is_file() else None)
        load_depth = None if file.depth is None else file.metres
        frames.append(Frame(f"lowres_wide/{path.name}", width, height, file.pixels, load_depth=load_depth))
        cam_from_world.append(poses[nearest])
        Ks.append(K)
        sizes.append((width, height))
    notes = [f"{lost} of {len(images)} photographs of {name} have no pose and are left out."] if lost else []
    if not frames:
        return (), None, notes
    widths, heights = torch.tensor(sizes, dtype=torch.int64).unbind(1)
    return tuple(frames), Cameras(torch.stack(cam_from_world).float(), torch.stack(Ks), widths, heights), notes


def _time_s(path: Path, name: str) -> float:
    text = path.stem.removeprefix(f"{name}_")
    try:
        return float(text)
    except ValueError as error:
        raise BadInputError(f"{path} should be named by its time in seconds, as {name}_123.456.png.") from error


def _trajectory(path: Path) -> tuple[np.ndarray, Tensor]:
    """(times [T] in seconds, cam_from_world [T, 4, 4] float64) of lines of time, axis times angle, translation."""
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise BadInputError(f"{path} is larger than {MAX_TEXT_BYTES >> 20} MB, so it is no trajectory.")
        rows = [[float(word) for word in line.split()] for line in path.read_text("ascii").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} could not be read as a trajectory: {error}.") from error
    if not rows or any(len(row) != 7 or not all(map(math.isfinite, row)) for row in rows):
        raise BadInputError(f"{path} should have seven numbers in each line: time, axis times angle, translation.")
    table = np.array(rows)
    turns = torch.from_numpy(Rotation.from_rotvec(table[:, 1:4]).as_matrix())
    return table[:, 0], se3_from(turns, torch.from_numpy(table[:, 4:7].copy()))


def _pincam(path: Path) -> tuple[int, int, Tensor]:
    """(width, height, K [3, 3]) of a line of width, height, two focal lengths, the principal point."""
    try:
        numbers = [float(word) for word in path.read_text("ascii").split()] if path.stat().st_size < 4096 else []
    except (OSError, ValueError) as error:
        raise BadInputError(f"The intrinsics {path} could not be read: {error}.") from error
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)) or min(numbers[:4]) <= 0:
        raise BadInputError(f"{path} should have six numbers: width, height, two focal lengths, the principal point.")
    width, height, fx, fy, cx, cy = numbers
    return int(width), int(height), torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
