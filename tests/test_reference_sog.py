"""Contents of SOG files, checked with a decoder of one Gaussian after another that shares no code with the package."""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.scene.formats import sog
from fewview.scene.splat import StaticSplat
from PIL import Image
from support.random_gaussians import random_gaussians

OTHERS = {252: (1, 2, 3), 253: (0, 2, 3), 254: (0, 1, 3), 255: (0, 1, 2)}
COEFFICIENTS = {1: 3, 2: 8, 3: 15}


def decoded(path: Path) -> list[dict[str, list[float]]]:
    """The Gaussians of a bundle of version 2, by the tables of "The SOG Format"."""
    with zipfile.ZipFile(path) as bundle:
        meta = json.loads(bundle.read("meta.json"))
        images = {
            name: [Image.open(io.BytesIO(bundle.read(file))).convert("RGBA") for file in meta[name]["files"]]
            for name in ("means", "scales", "quats", "sh0", "shN")
            if name in meta
        }
    return [gaussian(meta, images, i) for i in range(meta["count"])]


def gaussian(meta: dict, images: dict, i: int) -> dict[str, list[float]]:
    def pixel(name: str, k: int = 0) -> tuple[int, ...]:
        image = images[name][k]
        return image.getpixel((i % image.width, i // image.width))

    low, high = pixel("means"), pixel("means", 1)
    means = []
    for axis in range(3):
        t = (low[axis] + 256 * high[axis]) / 65535
        start, end = meta["means"]["mins"][axis], meta["means"]["maxs"][axis]
        u = start + (end - start) * t
        means.append(math.copysign(math.exp(abs(u)) - 1, u))
    *packed, tag = pixel("quats")
    quat = [0.0] * 4
    for index, byte in zip(OTHERS[tag], packed, strict=True):
        quat[index] = (byte / 255 * 2 - 1) / math.sqrt(2)
    quat[tag - 252] = math.sqrt(max(0, 1 - sum(c * c for c in quat)))
    *color, alpha = pixel("sh0")
    share = min(max(alpha / 255, 1e-6), 1 - 1e-6)
    sh = [[meta["sh0"]["codebook"][byte] for byte in color]]
    if "shN" in meta:
        label = pixel("shN", 1)
        entry = label[0] + 256 * label[1]
        assert entry < meta["shN"]["count"]
        n = COEFFICIENTS[meta["shN"]["bands"]]
        for j in range(n):
            centroid = images["shN"][0].getpixel((entry % 64 * n + j, entry // 64))
            sh.append([meta["shN"]["codebook"][byte] for byte in centroid[:3]])
    return {
        "means": means,
        "quats": quat,
        "log_scales": [meta["scales"]["codebook"][byte] for byte in pixel("scales")[:3]],
        "opacity_logits": math.log(share / (1 - share)),
        "sh": sh,
    }


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_reader_and_format_agree(tmp_path: Path, degree: int) -> None:
    path = tmp_path / "a.sog"
    sog.write(path, StaticSplat(random_gaussians(degree, 83, degree)))
    truth, read = decoded(path), sog.read(path).gaussians
    assert len(truth) == len(read) == 83
    for name in truth[0]:
        expected = torch.tensor([g[name] for g in truth], dtype=torch.float64)
        # Both are float64 arithmetic rounded to float32 once.
        torch.testing.assert_close(getattr(read, name).double(), expected, rtol=2e-6, atol=1e-6)


def test_images_are_laid_out_as_the_format_says(tmp_path: Path) -> None:
    path = tmp_path / "a.sog"
    sog.write(path, StaticSplat(random_gaussians(0, 1500, 3)))
    with zipfile.ZipFile(path) as bundle:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in bundle.infolist())
        meta = json.loads(bundle.read("meta.json"))
        sizes = {name: Image.open(io.BytesIO(bundle.read(name))).size for name in bundle.namelist() if "webp" in name}
        assert all(bundle.read(name)[12:16] == b"VP8L" for name in sizes), "lossless"
    n = 1500
    width = math.ceil(math.sqrt(n) / 4) * 4
    size = (width, math.ceil(n / width / 4) * 4)
    assert {name for name, found in sizes.items() if found == size} == {
        "means_l.webp", "means_u.webp", "scales.webp", "quats.webp", "sh0.webp", "shN_labels.webp",
    }  # fmt: skip
    assert sizes["shN_centroids.webp"] == (64 * 15, math.ceil(meta["shN"]["count"] / 64))
    assert meta["version"] == 2
    assert meta["count"] == n
    assert all(len(meta[name]["codebook"]) <= 256 for name in ("scales", "sh0", "shN"))


def webp(*pixels: tuple[int, int, int, int], width: int = 2) -> bytes:
    image = Image.fromarray(np.array(pixels, np.uint8).reshape(-1, width, 4))
    data = io.BytesIO()
    image.save(data, "WEBP", lossless=True, exact=True)
    return data.getvalue()


def write_folder(folder: Path, meta: dict, images: dict[str, bytes]) -> Path:
    for name, data in images.items():
        (folder / name).write_bytes(data)
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder / "meta.json"


GREY = (0, 0, 0, 255)
COMMON = {
    "l.webp": webp((0, 255, 0, 255), (255, 255, 255, 255), GREY, GREY),
    "u.webp": webp((0, 255, 128, 255), (255, 255, 255, 255), GREY, GREY),
    "q.webp": webp((255, 0, 255, 252), (0, 0, 0, 255), (9, 9, 9, 251), GREY),
}


def test_version_1_has_bounds_instead_of_codebooks(tmp_path: Path) -> None:
    palette = [(0, 255, 51, 255)] * 3 + [(0, 0, 0, 255)] * 189
    images = {
        **COMMON,
        "s.webp": webp((0, 255, 51, 255), GREY, GREY, GREY),
        "c.webp": webp((0, 255, 102, 255), (255, 255, 255, 0), GREY, GREY),
        "p.webp": webp(*palette, width=192),
        "n.webp": webp(GREY, (1, 0, 0, 255), (64, 0, 0, 255), GREY),
    }
    meta = {
        "means": {"shape": [3, 3], "mins": [-1.0, 0.0, 0.0], "maxs": [1.0, 2.0, 1.0], "files": ["l.webp", "u.webp"]},
        "scales": {"mins": [-8, -4, -10], "maxs": [0, -2, 0], "files": ["s.webp"]},
        "quats": {"files": ["q.webp"]},
        "sh0": {"mins": [-1, -2, 0, -6], "maxs": [1, 2, 10, 14], "files": ["c.webp"]},
        "shN": {"mins": -2, "maxs": 3, "files": ["p.webp", "n.webp"]},
    }
    g = sog.read(write_folder(tmp_path, meta, images)).gaussians
    assert len(g) == 3
    close = {"rtol": 1e-5, "atol": 1e-6}  # float32
    e = math.e
    torch.testing.assert_close(g.means[0], torch.tensor([1 - e, e**2 - 1, math.exp(32768 / 65535) - 1]), **close)
    torch.testing.assert_close(g.log_scales[0], torch.tensor([-8.0, -2, -8]), **close)
    torch.testing.assert_close(g.sh[0, 0], torch.tensor([-1.0, 2, 4]), **close)
    torch.testing.assert_close(g.opacity_logits[:2], torch.tensor([14.0, -6]), **close)
    torch.testing.assert_close(g.sh[0, 1:], torch.tensor([[-2.0, 3, -1]]).expand(3, 3), **close)
    torch.testing.assert_close(g.sh[1, 1:], torch.full((3, 3), -2.0), **close)
    assert not g.sh[2, 1:].any(), "a label beyond the palette has no view-dependent colour"
    h = 2**-0.5
    torch.testing.assert_close(g.quats[0], torch.tensor([0, h, -h, h]), **close)
    torch.testing.assert_close(g.quats[1], torch.tensor([-h, -h, -h, 0]), **close)
    torch.testing.assert_close(g.quats[2], torch.tensor([1.0, 0, 0, 0]), **close)


def test_version_2_reads_files_of_other_writers(tmp_path: Path) -> None:
    """A codebook whose first level an old writer lost, PNG beside WebP, labels beyond the palette, a tag of 2DGS."""
    png = io.BytesIO()
    Image.fromarray(np.array([[[3, 2, 1], [0, 0, 0]]], np.uint8)).save(png, "PNG")
    levels = [None, *(0.5 * i for i in range(1, 256))]
    images = {
        **COMMON,
        "s.png": png.getvalue(),
        "c.webp": webp((0, 1, 2, 0), (5, 5, 5, 255), GREY, GREY),
        "p.webp": webp(*[(1, 2, 3, 255)] * 192, width=192),
        "n.webp": webp(GREY, (1, 0, 0, 255), GREY, GREY),
    }
    meta = {
        "version": 2,
        "count": 2,
        "model": "2dgs",
        "means": {"mins": [0, 0, 0], "maxs": [0, 0, 0], "files": ["l.webp", "u.webp"]},
        "scales": {"codebook": [-3, -2, -1, 0], "files": ["s.png"]},
        "quats": {"files": ["q.webp"]},
        "sh0": {"codebook": levels, "files": ["c.webp"]},
        "shN": {"count": 1, "bands": 1, "codebook": [0, 1, 2, 4], "files": ["p.webp", "n.webp"]},
    }
    splat = sog.read(write_folder(tmp_path, meta, images))
    g = splat.gaussians
    assert any("2dgs" in note for note in splat.notes)
    assert not g.means.any()
    assert g.log_scales.tolist() == [[0, -1, -2], [-3, -3, -3]]
    lost = 0.5 + (0.5 - 127.5) / 255
    torch.testing.assert_close(g.sh[0, 0], torch.tensor([lost, 0.5, 1.0]))
    torch.testing.assert_close(g.sh[0, 1:], torch.tensor([[1.0, 2, 4]]).expand(3, 3))
    assert not g.sh[1, 1:].any()
    assert g.opacity_logits.tolist() == pytest.approx([-math.log(1e6 - 1), math.log(1e6 - 1)], rel=1e-3)
