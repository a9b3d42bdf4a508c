"""Pictures of textures: in files beside a mesh, and in bytes within one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from ..errors import BadInputError
from ..images import MAX_MEGAPIXELS, load_pixels
from ..readers.safe_paths import inside


def texture_from_file(mesh_path: Path, named: str, where: str) -> np.ndarray:
    """uint8 [H, W, 3] sRGB of the picture that a mesh file names, which must lie in its folder or below.

    Raises BadInputError for one that lies elsewhere, or cannot be decoded.
    """
    advice = "put it beside the mesh"
    return load_pixels(inside(mesh_path.parent, named, where, advice=advice), MAX_MEGAPIXELS, as_stored=True)[..., :3]


def texture_from_bytes(data: bytes | memoryview, where: str) -> np.ndarray:
    """uint8 [H, W, 3] sRGB of a PNG, JPEG or WebP in memory; `where` names it in errors. Raises BadInputError."""
    with tempfile.TemporaryDirectory(prefix="fewview_") as folder:
        path = Path(folder) / "texture"
        path.write_bytes(data)
        try:
            return load_pixels(path, MAX_MEGAPIXELS, as_stored=True)[..., :3]
        except BadInputError as error:
            raise BadInputError(str(error).replace(str(path), where)) from None
