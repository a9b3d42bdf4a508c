"""`export_splats`: a trainer's Gaussians as a file, by gsplat's name."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from ..scene.errors import BadInputError
from ..scene.files import write_bytes
from ..scene.formats import antimatter15, compressed_ply, splat_ply
from ..scene.formats.clean import arrays, usable
from ..scene.gaussians import Gaussians
from ..scene.splat import StaticSplat

WRITERS = {"ply": splat_ply.write, "splat": antimatter15.write, "ply_compressed": compressed_ply.write}


def export_splats(
    means: Tensor,  # [N, 3]
    scales: Tensor,  # [N, 3] logarithms
    quats: Tensor,  # [N, 4] wxyz
    opacities: Tensor,  # [N] logits
    sh0: Tensor,  # [N, 1, 3]
    shN: Tensor,  # [N, K, 3]
    format: str = "ply",
    save_to: str | None = None,
) -> bytes:
    """The bytes of a splat file, also written to `save_to`; in the frame the Gaussians are in.

    Gaussians that are not numbers are left out. Arguments of gsplat 1.5.3, its formats "ply", "splat" and
    "ply_compressed".
    """
    if format not in WRITERS:
        raise BadInputError(f"format: expected one of {', '.join(WRITERS)}, found {format!r}.")
    gaussians = Gaussians(means, quats, scales, opacities, torch.cat([sh0, shN], dim=1)).detach()
    gaussians = gaussians[torch.from_numpy(usable(*arrays(gaussians)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "splat"
        WRITERS[format](path, StaticSplat(gaussians))
        data = path.read_bytes()
    if save_to is not None:
        write_bytes(Path(save_to), data)
    return data
