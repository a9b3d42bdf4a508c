"""A folder of photographs, or one photograph: no cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..capture import Capture, Frame
from ..errors import BadInputError
from ..images import SUFFIXES, MissingPlugin, check_decodes, read_header
from ..panorama import panorama_reason
from .film_cuts import CutFinder, cut_notes
from .image_frames import file_frame
from .mask_files import MaskFiles
from .photo_folders import PhotoFolder, find_photographs
from .safe_paths import listed, printable, tidy_name


def read_film_of_photos(path: Path, fps: float, *, max_megapixels: float = 100.0) -> Capture:
    """The photographs of a folder as the frames of one film, in the order of their names, `fps` a second.

    Raises BadInputError where they are of different sizes, which frames of one film are not.
    """
    capture = read_photos(path, max_megapixels=max_megapixels)
    first = capture.frames[0]
    other = next((f for f in capture.frames if (f.width, f.height) != (first.width, first.height)), None)
    if other is not None:
        raise BadInputError(
            f"{path} holds frames of different sizes: {first.name} has {first.width} x {first.height} pixels, "
            f"{other.name} {other.width} x {other.height}; frames of one film, for --fps, have one size."
        )
    cuts = CutFinder()
    for frame in capture.frames:
        cuts.add(frame.load())
    notes = cut_notes([number / fps for number in cuts.cuts], printable(str(path)))
    frames = tuple(replace(frame, time_s=number / fps) for number, frame in enumerate(capture.frames))
    return replace(capture, frames=frames, notes=(*capture.notes, *notes))


def read_photos(path: Path, *, max_megapixels: float = 100.0) -> Capture:
    """The photographs of a folder in the order of their names, or one photograph; with masks from masks/ beside them.

    Photographs that cannot be decoded, and stitched panoramas, are left out and named in the notes.
    Raises BadInputError when none can be used.
    """
    found = PhotoFolder(path.parent, (path,), ()) if path.is_file() else find_photographs(path)
    files, masks = found.files, MaskFiles(found.root, max_megapixels)
    if not files:
        raise BadInputError(f"{path} holds no photographs; files ending in {', '.join(sorted(SUFFIXES))} are expected.")
    frames: list[Frame] = []
    unreadable: list[str] = []
    panoramas: list[str] = []
    first_reason = ""
    heic_reason: str | None = None
    for file in files:
        try:
            header = read_header(file, max_megapixels)
            check_decodes(file, max_megapixels)
            panorama = panorama_reason(file, header, max_megapixels)
        except BadInputError as error:
            unreadable.append(printable(file.name))
            first_reason = first_reason or str(error)
            heic_reason = heic_reason or (str(error) if isinstance(error, MissingPlugin) else None)
            continue
        if panorama is not None:
            panoramas.append(printable(file.name))
            first_reason = first_reason or panorama
            continue
        mask = masks.find(found.name(file), header.width, header.height)
        frames.append(file_frame(tidy_name(found.name(file)), file, max_megapixels, mask=mask, header=header))
    if not frames:
        if len(files) == 1:
            raise BadInputError(first_reason)
        raise BadInputError(f"None of the {len(files)} photographs in {path} can be used. The first: {first_reason}")
    notes = [*found.notes]
    if unreadable:
        notes.append(
            f"{len(unreadable)} of {len(files)} photographs could not be read and were left out: {listed(unreadable)}."
        )
        notes += [] if heic_reason is None else [heic_reason]  # the one that the person can mend
    if panoramas:
        notes.append(
            f"{len(panoramas)} of {len(files)} photographs are stitched panoramas and were left out: "
            f"{listed(panoramas)}."
        )
    return Capture(tuple(frames), printable(str(path)), notes=(*notes, *masks.notes()))
