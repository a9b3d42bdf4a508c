"""`PngCompression` of `fewview.gsplat`: gsplat's files, written and read."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.gsplat.compression import PngCompression
from fewview.scene.errors import BadInputError
from PIL import Image
from torch import Tensor

SIDE = 9
CHANNELS = {"means": 3, "scales": 3, "quats": 4, "opacities": 1, "sh0": 3}


@pytest.fixture
def splats() -> dict[str, Tensor]:
    """81 Gaussians as a trainer holds them, one of them far away, with a parameter of its own."""
    g = torch.Generator().manual_seed(0)
    values = {
        "means": torch.randn(SIDE * SIDE, 3, generator=g),
        "scales": torch.randn(SIDE * SIDE, 3, generator=g) - 3,
        "quats": torch.randn(SIDE * SIDE, 4, generator=g),
        "opacities": torch.randn(SIDE * SIDE, generator=g),
        "sh0": torch.randn(SIDE * SIDE, 1, 3, generator=g),
        "shN": torch.randn(SIDE * SIDE, 15, 3, generator=g) * 0.2,
        "features": torch.randn(SIDE * SIDE, 5, generator=g),
    }
    values["means"][4] = torch.tensor([900.0, -40.0, 0.0])
    return values


def plainly_read(folder: Path) -> dict[str, np.ndarray]:
    """The files by their description alone: levels between bounds, a palette with labels, arrays as they are."""
    found = {}
    for name, meta in json.loads((folder / "meta.json").read_text()).items():
        if name in CHANNELS:
            files = [f"{name}_l", f"{name}_u"] if name == "means" else [name]
            level = sum(np.asarray(Image.open(folder / f"{f}.png")).astype(float) * 256**i for i, f in enumerate(files))
            low, high = np.array(meta["mins"]), np.array(meta["maxs"])
            level = level.reshape(-1, CHANNELS[name]) / (256 ** len(files) - 1)
            found[name] = (low + level * (high - low)).reshape(meta["shape"])
        elif name == "shN":
            table = np.load(folder / "shN.npz")
            level = table["centroids"].astype(float) / (2 ** meta["quantization"] - 1)
            assert table["labels"].dtype == np.uint16
            found[name] = (meta["mins"] + level * (meta["maxs"] - meta["mins"]))[table["labels"]].reshape(meta["shape"])
        else:
            found[name] = np.load(folder / f"{name}.npz")["arr"]
    found["means"] = np.sign(found["means"]) * np.expm1(np.abs(found["means"]))
    return found


@pytest.mark.parametrize("use_sort", [False, True])
def test_what_is_written_is_read_back(splats: dict[str, Tensor], use_sort: bool, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in splats.items()}
    method = PngCompression(use_sort=use_sort, verbose=False)
    method.compress(str(tmp_path), splats)
    assert all(torch.equal(splats[name], before[name]) for name in splats)  # the trainer's own stay as they are
    found = method.decompress(str(tmp_path))
    for name, value in plainly_read(tmp_path).items():
        # Half a step of float32 for what was computed in float64 twice.
        torch.testing.assert_close(found[name].double().numpy(), value, rtol=2e-6, atol=1e-6, check_dtype=False)
        assert found[name].shape == splats[name].shape
        assert found[name].dtype == splats[name].dtype
    assert found["features"].shape == splats["features"].shape
    row = (found["features"][:, None] == splats["features"]).all(-1).int().argmax(1)  # kept exactly: tells the order
    assert row.unique().numel() == SIDE * SIDE
    assert use_sort or torch.equal(row, torch.arange(SIDE * SIDE))
    unit = torch.nn.functional.normalize(splats["quats"], dim=-1)
    for name, value in (splats | {"quats": unit}).items():
        if name == "means":
            # 16 bits of the logarithm: half a step of it, times the distance.
            step = (math.log1p(900) + math.log1p(40)) / 65535
            error = (found[name] - value[row]).abs() / (1 + value[row].abs())
            assert error.max() <= 0.51 * step
        elif name in CHANNELS:
            span = value.reshape(len(value), -1).amax(0) - value.reshape(len(value), -1).amin(0)
            error = (found[name] - value[row]).reshape(len(value), -1).abs()
            assert (error <= 0.501 * span / 255).all()
        elif name == "shN":
            span = value.max() - value.min()  # as many entries as Gaussians: only the palette's 6 bits are lost
            assert (found[name] - value[row]).abs().max() <= 0.501 * span / 63


def test_the_least_opaque_are_left_out_of_a_square(
    splats: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = {name: value[:70] for name, value in splats.items()}
    PngCompression().compress(str(tmp_path), fewer)
    assert "6 Gaussians of the least opacity are left out" in capsys.readouterr().out
    found = PngCompression().decompress(str(tmp_path))
    assert len(found["means"]) == 64
    kept = fewer["features"][fewer["opacities"].argsort(descending=True)[:64]]
    assert torch.equal(found["features"].sort(dim=0).values, kept.sort(dim=0).values)


def test_equal_values_and_no_harmonics(tmp_path: Path) -> None:
    splats = {
        "means": torch.zeros(4, 3),
        "scales": torch.full((4, 3), -2.0),
        "quats": torch.tensor([[1.0, 0, 0, 0]]).expand(4, 4),
        "opacities": torch.full((4,), 0.7),
        "sh0": torch.ones(4, 1, 3),
        "shN": torch.zeros(4, 0, 3),
    }
    PngCompression(verbose=False).compress(str(tmp_path), splats)
    for name, value in PngCompression().decompress(str(tmp_path)).items():
        torch.testing.assert_close(value, splats[name].contiguous(), rtol=0, atol=1e-7)


def test_what_cannot_be_written_is_said(splats: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="scales has values that are not numbers"):
        PngCompression().compress(str(tmp_path), splats | {"scales": splats["scales"] / 0})
    with pytest.raises(BadInputError, match="no 'quats'"):
        PngCompression().compress(str(tmp_path), {"means": splats["means"], "opacities": splats["opacities"]})
    with pytest.raises(BadInputError, match="as many as means"):
        PngCompression().compress(str(tmp_path), splats | {"sh0": splats["sh0"][:5]})
    assert not (tmp_path / "meta.json").exists()


def bytes_of(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


DAMAGES = {
    "no list": ("meta.json", b"[]", "does not list the parameters"),
    "no such shape": ("meta.json", b'{"means": {"shape": "x", "dtype": "float32"}}', "list of sizes"),
    "too large": ("meta.json", b'{"means": {"shape": [4000000000, 3], "dtype": "float32"}}', "at most"),
    "no such type": ("meta.json", b'{"means": {"shape": [81, 3], "dtype": "load"}}', "dtype 'load' is not known"),
    "no square": ("meta.json", b'{"means": {"shape": [80, 3], "dtype": "float32"}}', "do not fill a square"),
    "no bounds": ("meta.json", b'{"means": {"shape": [81, 3], "dtype": "float32"}}', "3 numbers are expected as mins"),
    "another place": ("meta.json", b'{"means": {"shape": [0, 3], "dtype": "float32"}, "../x": {"shape": [1], "dtype": '
                      b'"float32"}}', "no name of a file"),
    "cut picture": ("scales.png", b"\x89PNG\r\n\x1a\n", "scales.png"),
    "labels beyond": ("shN.npz", bytes_of(labels=np.full(81, 9, np.uint16), centroids=np.zeros((3, 45), np.uint8)),
                      "do not make"),
    "a bomb": ("features.npz", bytes_of(arr=np.zeros(1 << 20)), "larger than 405 values"),
    "no archive": ("features.npz", b"PK\x03\x04", "cannot be read"),
    "pickled": ("features.npz", bytes_of(arr=np.array([print] * 5, dtype=object)), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named(splats: dict[str, Tensor], tmp_path: Path, damage: str) -> None:
    file, content, sentence = DAMAGES[damage]
    PngCompression(verbose=False).compress(str(tmp_path), splats)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(BadInputError, match=sentence):
        PngCompression().decompress(str(tmp_path))


def test_a_missing_file_is_named(splats: dict[str, Tensor], tmp_path: Path) -> None:
    PngCompression(verbose=False).compress(str(tmp_path), splats)
    (tmp_path / "shN.npz").unlink()
    with pytest.raises(BadInputError, match=r"shN\.npz is missing"):
        PngCompression().decompress(str(tmp_path))
