"""PNG files come back as they were written, also in a process where pycolmap has spoiled zlib."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fewview.scene import png
from fewview.scene.zlib_order import zlib_is_safe
from PIL import Image


def picture(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 1, 3), (37, 53), (37, 53, 3), (37, 53, 4), (300, 400, 3)])
@pytest.mark.parametrize("safe", [True, False])
def test_every_shape_comes_back(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], safe: bool) -> None:
    monkeypatch.setattr(png, "can_compress", lambda: safe)
    pixels = picture(shape)
    image = Image.open(io.BytesIO(png.encode_png(pixels)))
    image.load()  # Pillow checks both sums
    assert image.format == "PNG"
    assert np.array_equal(np.asarray(image), pixels)


def test_the_order_of_imports_tells_if_zlib_is_safe() -> None:
    assert zlib_is_safe(["os", "zlib", "pycolmap"])
    assert zlib_is_safe(["os", "numpy"])
    assert zlib_is_safe(["cv2", "pycolmap", "zlib"])
    assert not zlib_is_safe(["os", "pycolmap", "zlib", "cv2"])


@pytest.mark.parametrize(
    "imports", ["import pycolmap, fewview", "import fewview, pycolmap", "import pycolmap, cv2, zlib"]
)
def test_either_order_of_imports_writes_whole_pictures(tmp_path: Path, imports: str) -> None:
    code = f"""{imports}
import numpy as np, sys
from pathlib import Path
from fewview.scene.png import write_png
write_png(Path(sys.argv[1]), np.random.default_rng(3).integers(0, 256, (300, 400, 3), dtype=np.uint8))
"""
    path = tmp_path / "folder" / "a.png"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.asarray(Image.open(path)), picture((300, 400, 3)))


def test_what_needs_compression_says_that_pycolmap_came_first() -> None:
    code = """import pycolmap
from fewview.scene.zlib_order import require_zlib
require_zlib("An SPZ file")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("import fewview first.")
