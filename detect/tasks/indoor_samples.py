"""Rooms with posed photographs as samples: of ScanNet, ARKitScenes, SUN RGB-D, or any posed capture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...scene.boxes import Boxes
from ...scene.datasets.arkit_scenes import ARKitScenes, is_arkit_scenes
from ...scene.datasets.scannet_folder import ScanNet, is_scannet
from ...scene.datasets.sunrgbd_frame import is_sunrgbd_info, read_sunrgbd
from ...scene.errors import BadInputError
from ...scene.files import read_json
from ...scene.readers import read_capture
from ...scene.scan import Scan
from .indoor_task import in_classes
from .room_sample import RoomSample, room_sample

ROOM_KINDS = (
    "a folder of ScanNet's or ARKitScenes' scenes, an info file of SUN RGB-D, or posed photographs in metres with z up"
)


@dataclass(frozen=True)
class RoomSamples:
    """Rooms, each read only when asked for; may be sent to other processes."""

    tokens: tuple[str, ...]
    read: Callable[[str], Scan]
    classes: tuple[str, ...]  # that the detector knows; other objects are left out
    meaning: Callable[[str], str | None]  # from the data set's words to classes
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> RoomSample:
        """Raises BadInputError for files of the room that are absent or damaged, and without posed photographs."""
        return room_sample(self.read(self.tokens[index]), self.classes, self.meaning)

    def truth(self) -> dict[str, Boxes]:
        """The true boxes of the rooms by token. Raises BadInputError for a room without annotations."""
        found = {}
        for token in self.tokens:
            objects = self.read(token).objects
            if objects is None:
                raise BadInputError(f"{token} has no annotated objects, so nothing can be learnt or measured there.")
            found[token] = in_classes(objects, self.classes, self.meaning)
        return found


def open_rooms(path: Path, classes: Sequence[str], split: str = "all") -> RoomSamples:
    """The rooms at `path`; only folders of ScanNet's and ARKitScenes' scenes have splits. Raises BadInputError."""
    names = tuple(classes)
    if is_scannet(path):
        data = ScanNet.open(path, split)
        return RoomSamples(data.names, data.scan, names, data.class_of)
    if is_arkit_scenes(path):
        rooms = ARKitScenes.open(path, split)
        return RoomSamples(rooms.names, rooms.scan, names, _no_other_meaning)
    if split != "all":
        raise BadInputError(
            f"{path} is no folder of ScanNet's or ARKitScenes' scenes, so it has no split {split!r}; leave it out."
        )
    is_info = path.is_file() and path.suffix == ".json" and is_sunrgbd_info(read_json(path))
    scan = read_sunrgbd(path) if is_info else scan_of_capture(path)
    return RoomSamples((scan.name,), _Held({scan.name: scan}), names, _no_other_meaning, scan.notes)


def scan_of_capture(path: Path) -> Scan:
    """Photographs with cameras, as any reader gives them, as a scan without annotations."""
    capture = read_capture(path)
    if capture.cameras is None:
        raise BadInputError(
            f"The photographs in {path} have no cameras (poses and intrinsics), which a detector of rooms needs; give "
            f"{ROOM_KINDS}, or place them first with `fewview poses`."
        )
    points = torch.zeros(0, 3) if capture.points is None else capture.points.xyz
    name = path.resolve().name
    note = f"The cameras of {name} are taken to be in metres with z up; nothing in the files says so."
    return Scan(name, points, frames=capture.frames, cameras=capture.cameras, notes=(*capture.notes, note))


@dataclass(frozen=True)
class _Held:
    """Scans that are read already."""

    scans: Mapping[str, Scan]

    def __call__(self, token: str) -> Scan:
        return self.scans[token]


def _no_other_meaning(name: str) -> str | None:
    return None
