"""The photographs of an exported ScanNet scene: color/, depth/, pose/ and intrinsic/ in its folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..cameras import Cameras
from ..capture import Frame
from ..errors import BadInputError
from ..geometry import se3_inverse
from ..images import MAX_MEGAPIXELS, read_header
from ..readers.image_frames import FileFrame

MAX_VIEWS = 100_000
_RIGID_TOLERANCE = 1e-2  # poses are written with six digits


def read_views(folder: Path, aligned_from_raw: Tensor) -> tuple[tuple[Frame, ...], Cameras | None, list[str]]:
    """(photographs in the order of their numbers, their cameras in the aligned frame, notes on those left out).

    A pose file holds world_from_cam; ScanNet writes infinities where tracking was lost, and such views are left out.
    Raises BadInputError for photographs without intrinsics or with damaged ones.
    """
    images = sorted((p for p in (folder / "color").glob("*.[jp][pn]g") if p.stem.isdigit()), key=lambda p: int(p.stem))
    if not images:
        return (), None, []
    if len(images) > MAX_VIEWS:
        raise BadInputError(f"{folder / 'color'} has {len(images):,} photographs; at most {MAX_VIEWS:,} are possible.")
    intrinsics = folder / "intrinsic" / "intrinsic_color.txt"
    if not intrinsics.is_file():
        raise BadInputError(f"{folder} has photographs without intrinsics; {intrinsics} is expected, a 4 x 4 matrix.")
    K = _matrix(intrinsics)[:3, :3]
    if not bool(torch.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0 and K[2, 2] == 1):
        raise BadInputError(f"{intrinsics} holds no camera matrix with positive focal lengths.")
    header = read_header(images[0])
    frames, poses = [], []
    lost = absent = 0
    for path in images:
        pose_path = folder / "pose" / f"{path.stem}.txt"
        if not pose_path.is_file():
            absent += 1
            continue
        pose = _matrix(pose_path)
        if not bool(torch.isfinite(pose).all()):
            lost += 1
            continue
        turn = pose[:3, :3]
        if float((turn @ turn.T - torch.eye(3, dtype=torch.float64)).abs().max()) > _RIGID_TOLERANCE:
            raise BadInputError(f"{pose_path} holds no rigid pose, so it is damaged.")
        depth = folder / "depth" / f"{path.stem}.png"
        file = FileFrame(path, header.width, header.height, MAX_MEGAPIXELS, depth=depth if depth.is_file() else None)
        frames.append(
            Frame(
                f"color/{path.name}",
                header.width,
                header.height,
                file.pixels,
                load_depth=None if file.depth is None else file.metres,
            )
        )
        poses.append(se3_inverse(aligned_from_raw @ pose))
    notes = [
        f"{count} of {len(images)} photographs of {folder.name} {why} and are left out."
        for count, why in ((lost, "were taken where tracking was lost"), (absent, "have no pose"))
        if count
    ]
    if not frames:
        return (), None, notes
    size = torch.ones(len(frames), dtype=torch.int64)
    cameras = Cameras(
        torch.stack(poses).float(), K.float().expand(len(frames), 3, 3), size * header.width, size * header.height
    )
    return tuple(frames), cameras, notes


def _matrix(path: Path) -> Tensor:
    """[4, 4] float64, which may hold infinities."""
    try:
        words = path.read_text(encoding="ascii").split() if path.stat().st_size < 4096 else []
        numbers = [float(word) for word in words]
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} could not be read as a 4 x 4 matrix: {error}.") from error
    if len(numbers) != 16:
        raise BadInputError(f"{path} has {len(numbers)} numbers; 16 are expected, a 4 x 4 matrix.")
    return torch.tensor(numbers, dtype=torch.float64).reshape(4, 4)
