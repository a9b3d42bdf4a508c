"""NeRF-synthetic (Blender) and D-NeRF folders: `transforms_train.json` and its companions."""

from __future__ import annotations

from pathlib import Path

from ..cameras import Cameras
from ..capture import Capture, Frame
from .frame_times import all_or_no_times, note_on_range, notes_on_times
from .nearby_origin import in_single_precision
from .transforms_json import missing_notes, read_views


def read_blender(folder: Path, *, max_megapixels: float = 100.0, allow_outside: bool = False) -> Capture:
    """The training and test frames of a NeRF-synthetic or D-NeRF scene; transparency and times are kept.

    Raises BadInputError when a file is malformed.
    """
    frames: list[Frame] = []
    cameras: list[Cameras] = []
    notes: list[str] = []
    test: tuple[int, ...] | None = None
    for split in ("train", "test"):
        path = folder / f"transforms_{split}.json"
        if not path.is_file():
            continue
        views = read_views(path, folder, max_megapixels=max_megapixels, allow_outside=allow_outside)
        if split == "test":
            test = tuple(range(len(frames), len(frames) + len(views.frames)))
        frames += views.frames
        cameras += views.cameras
        notes += missing_notes(views, path)
    if (folder / "transforms_val.json").is_file():
        notes.append("The validation frames (transforms_val.json) are not used.")
    frames = all_or_no_times(frames, folder)
    notes += notes_on_times([frame for i, frame in enumerate(frames) if i not in (test or ())], folder)
    notes += note_on_range(frames, folder)
    return in_single_precision(
        Capture(tuple(frames), str(folder), Cameras.stack(cameras), test=test, notes=tuple(notes))
    )
