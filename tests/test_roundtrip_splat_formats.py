"""Splats come back from every format as near as its steps allow, in the frame that they came from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fewview.render import render
from fewview.render.metrics import psnr
from fewview.scene.errors import BadInputError
from fewview.scene.formats import antimatter15, compressed_ply, load_splat, save_splat, side_path, spz
from fewview.scene.formats import splat_ply as ply
from fewview.scene.gaussians import SH_C0, Gaussians
from fewview.scene.splat import Axis, StaticSplat
from support.datasets import random_gaussians
from support.small_run import small_cameras, small_gaussians
from torch import Tensor

# Largest errors by format: half of the step of each number; a rotation's is an angle in radians.
# Three of four components are rounded by at most e; the fourth follows from them and is at least 1/2, so that the
# quaternion is off by at most 2 sqrt(3) e, and the rotation by twice as much.
ANGLE_OF_10_BITS = 2 * 2 * math.sqrt(3) * 0.5 * math.sqrt(2) / 1022
# w = sqrt(1 - |xyz|^2) of version 2 is at its worst where it is 0 and |xyz| is short by sqrt(3) / 255.
ANGLE_OF_VERSION_2 = 2 * math.asin(math.sqrt(2 * math.sqrt(3) / 255)) + 0.02
# Four components by half of 1/128, one of them perhaps by a whole step (+1 does not fit).
ANGLE_OF_DOT_SPLAT = 2 * math.sqrt(3 * 0.5**2 + 1) / 128
FLOAT32 = 2e-6


def tame(count: int, degree: int, seed: int = 0) -> Gaussians:
    """Gaussians within what every format can hold."""
    g = random_gaussians(count, degree, seed)
    return Gaussians(
        g.means, g.quats, g.log_scales.clamp(-9, 5), g.opacity_logits.clamp(-5, 5), (0.2 * g.sh).clamp(-0.9, 0.9)
    )


def in_order_of(found: Gaussians, original: Gaussians) -> Gaussians:
    """`found` sorted like `original`, by the nearest positions, which must be a permutation."""
    nearest = torch.cdist(original.means, found.means, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
    assert sorted(nearest.tolist()) == list(range(len(original)))
    return found[nearest]


def angles(a: Tensor, b: Tensor) -> Tensor:
    a, b = (q.double() / q.double().norm(dim=1, keepdim=True) for q in (a, b))
    return 2 * ((a - b).norm(dim=1).minimum((a + b).norm(dim=1)) / 2).clamp(max=1).asin() * 2


def assert_within(
    found: Gaussians, original: Gaussians, *, means: Tensor | float, angle: float, log_scales: Tensor | float,
    dc: Tensor | float, sh: list[float],
) -> None:  # fmt: skip
    assert len(found) == len(original)
    assert found.sh_degree == original.sh_degree
    assert bool(((found.means - original.means).abs() <= means + FLOAT32).all())
    assert float(angles(found.quats, original.quats).max()) <= angle
    assert bool(((found.log_scales - original.log_scales).abs() <= log_scales + FLOAT32).all())
    assert float((found.opacities - original.opacities).abs().max()) <= 0.5 / 255 + FLOAT32
    assert bool(((found.sh[:, 0] - original.sh[:, 0]).abs() <= dc + FLOAT32).all())
    for l in range(1, original.sh_degree + 1):
        block = slice(l * l, (l + 1) ** 2)
        assert float((found.sh[:, block] - original.sh[:, block]).abs().max()) <= sh[l - 1] + FLOAT32


SPZ_CASES = [(v, d) for v in (2, 3, 4) for d in range(4)] + [(4, 4)]


@pytest.mark.parametrize(("version", "degree"), SPZ_CASES)
@pytest.mark.parametrize("count", [1, 300])
def test_spz(tmp_path: Path, version: int, degree: int, count: int) -> None:
    g = tame(count, degree, degree)
    assert spz.write(tmp_path / "a.spz", StaticSplat(g), version=version) == ()
    found = spz.read(tmp_path / "a.spz")
    assert found.notes == ()
    # A coefficient is rounded to 1/128 and then to the middle of a bucket of 8 or 16 of these.
    fine, coarse = 4.5 / 128, 8.5 / 128
    angle = ANGLE_OF_VERSION_2 if version == 2 else ANGLE_OF_10_BITS
    assert_within(
        found.gaussians, g, means=2**-13, angle=angle, log_scales=1 / 32, dc=0.5 / (0.15 * 255),
        sh=[fine, coarse, coarse, coarse],
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 300])
def test_dot_splat(tmp_path: Path, count: int) -> None:
    g = tame(count, 0)
    assert antimatter15.write(tmp_path / "a.splat", StaticSplat(g)) == ()
    found = in_order_of(antimatter15.read(tmp_path / "a.splat").gaussians, g)
    assert_within(found, g, means=0, angle=ANGLE_OF_DOT_SPLAT, log_scales=1e-5, dc=0.5 / 255 / SH_C0, sh=[])


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("count", [1, 300])
def test_compressed_ply(tmp_path: Path, degree: int, count: int) -> None:
    g = tame(count, degree)
    up = (0.0, 0.6, 0.8)
    assert compressed_ply.write(tmp_path / "a.ply", StaticSplat(g, antialiased=True, up=up)) == ()
    read = compressed_ply.read(tmp_path / "a.ply")
    assert read.antialiased
    assert read.up == pytest.approx(up, abs=1e-8)  # nine digits
    found = in_order_of(read.gaussians, g)
    steps = torch.tensor([2047.0, 1023.0, 2047.0])
    extent = lambda values: (values.amax(0) - values.amin(0)) / 2  # noqa: E731 - half; of a chunk it is less
    # A byte of the harmonics is 1/32; it is cut off, and read as the middle.
    assert_within(
        found, g, means=extent(g.means) / steps, angle=ANGLE_OF_10_BITS, log_scales=extent(g.log_scales) / steps,
        dc=extent(g.sh[:, 0]) / 255, sh=[1 / 64] * 3,
    )  # fmt: skip


def test_compressed_ply_of_nothing(tmp_path: Path) -> None:
    save_splat(tmp_path / "a.compressed.ply", StaticSplat(tame(0, 2)))
    assert len(load_splat(tmp_path / "a.compressed.ply").gaussians) == 0


@pytest.mark.parametrize("name", ["a.spz", "a.splat"])
def test_formats_that_cannot_hold_nothing_say_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError, match="no Gaussians"):
        save_splat(tmp_path / name, StaticSplat(tame(0, 1)))
    assert list(tmp_path.iterdir()) == []


ALL = {"a.ply": None, "a.compressed.ply": None, "a.splat": None, "2.spz": 2, "3.spz": 3, "4.spz": 4}


@pytest.mark.parametrize(("name", "version"), ALL.items())
def test_equal_splats_give_equal_bytes(tmp_path: Path, name: str, version: int | None) -> None:
    splat = StaticSplat(tame(300, 2), up=(0.0, -1.0, 0.0))
    written = []
    for folder in (tmp_path / "x", tmp_path / "y"):
        folder.mkdir()
        save_splat(folder / name, splat, spz_version=version)
        written.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert written[0] == written[1]


@pytest.mark.parametrize(("name", "version"), ALL.items())
def test_values_at_the_edge(tmp_path: Path, name: str, version: int | None) -> None:
    """Values of cleaned files, opacities of 0 and 1, sizes and quaternions of zero, stays usable in every format."""
    g = tame(8, 1)
    g.opacity_logits[:2] = torch.tensor([torch.inf, -torch.inf])
    g.log_scales[2, 1] = -torch.inf
    g.quats[3] = 0
    save_splat(tmp_path / name, StaticSplat(g), spz_version=version)
    found = in_order_of(load_splat(tmp_path / name).gaussians, g)
    torch.testing.assert_close(found.opacities[:2], torch.tensor([1.0, 0.0]), rtol=0, atol=2e-6)
    assert found.log_scales[2, 1] <= -9.9  # SPZ has nothing smaller than e^-10
    assert bool(torch.isfinite(found.quats).all())
    cameras = small_cameras(1)
    assert bool(torch.isfinite(render(found, cameras[0]).rgb).all())


def test_what_is_lost_is_told(tmp_path: Path) -> None:
    g = tame(10, 4)
    g.means[0, 0], g.log_scales[1, 0], g.log_scales[2, 2] = 5000.0, 7.0, -30.0
    g.sh[3, 0, 1], g.sh[4, 2, 0], g.means[5, 1] = 4.0, -1.5, torch.nan
    notes = " ".join(save_splat(tmp_path / "a.spz", StaticSplat(g), spz_version=3))
    assert "1 of 10 Gaussians are not numbers" in notes
    assert "degree 4 was cut down" in notes
    assert "Positions of 1 of 9 Gaussians were clamped to -2048 to 2048" in notes
    assert "Sizes of 2 of 9 Gaussians" in notes
    assert "Colours of 1 of 9 Gaussians" in notes
    assert "Spherical harmonics of 1 of 9 Gaussians were clamped to -1 to 1" in notes
    found = load_splat(tmp_path / "a.spz").gaussians
    assert len(found) == 9
    assert float(found.means[0, 0]) == pytest.approx(2048, abs=2**-11)
    notes = " ".join(save_splat(tmp_path / "a.compressed.ply", StaticSplat(g)))
    assert "degree 4 was cut down" in notes
    assert "Log-scales of 1 of 9 Gaussians were clamped to -20 to 20" in notes
    notes = " ".join(save_splat(tmp_path / "a.splat", StaticSplat(g)))
    assert "one colour for all directions" in notes


UPS: list[Axis | None] = [
    None, (0.0, -1.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.48, -0.6, 0.64)
]  # fmt: skip


def colourful(count: int = 80) -> Gaussians:
    """Long Gaussians whose colour depends much on the direction."""
    g = small_gaussians(count)
    turned = random_gaussians(count, 3, 1)
    sh = torch.cat([g.sh[:, :1], 0.2 * turned.sh[:, 1:]], dim=1)
    return Gaussians(g.means, turned.quats, g.log_scales + torch.tensor([0.7, 0.0, -0.7]), g.opacity_logits, sh)


@pytest.mark.parametrize("up", UPS)
@pytest.mark.parametrize(("name", "version"), ALL.items())
def test_the_frame_comes_back(tmp_path: Path, name: str, version: int | None, up: Axis | None) -> None:
    g = colourful(60)
    save_splat(tmp_path / name, StaticSplat(g, antialiased=True, up=up), spz_version=version)
    found = load_splat(tmp_path / name)
    assert found.antialiased
    assert found.up is None if up is None else found.up == pytest.approx(up, abs=1e-8)
    ordered = in_order_of(found.gaussians, g)
    # Half steps of positions: 2^-13 of SPZ; of a compressed PLY 1/1023 of half the box in y and 1/2047 in x and z, of a
    # box that has grown from 2 to 2 sqrt 3 when it was turned, and that the way back mixes.
    half = 3**0.5 / 1023
    torch.testing.assert_close(ordered.means, g.means, rtol=0, atol=half * (1 + 2 / 4) ** 0.5)
    assert float(angles(ordered.quats, g.quats).max()) < ANGLE_OF_VERSION_2
    if ordered.sh_degree:
        # A turn mixes at most seven coefficients, each off by 8.5/128; those of a wrong turn differ by about 1.
        assert float((ordered.sh - g.sh).abs().max()) < 8.5 / 128 * 7**0.5 + FLOAT32


@pytest.mark.parametrize("up", UPS)
def test_a_file_with_axes_of_its_own_is_upright(tmp_path: Path, up: Axis | None) -> None:
    """Without its side file: +y is up, and a camera that was turned along sees the same picture."""
    g = colourful()
    save_splat(tmp_path / "a.spz", StaticSplat(g, up=up))
    side_path(tmp_path / "a.spz").unlink(missing_ok=True)
    found = load_splat(tmp_path / "a.spz")
    assert found.up == (0.0, 1.0, 0.0)
    # The file's positions are the world's, turned: found = R world.
    file_from_world = torch.linalg.lstsq(g.means.double(), found.gaussians.means.double()).solution.T
    torch.testing.assert_close(file_from_world @ file_from_world.T, torch.eye(3).double(), rtol=0, atol=1e-3)  # steps
    assert torch.det(file_from_world) > 0
    expected_up = torch.tensor((0.0, -1.0, 0.0) if up is None else up, dtype=torch.float64)
    torch.testing.assert_close(file_from_world @ expected_up, torch.tensor([0, 1, 0.0]).double(), rtol=0, atol=1e-3)
    if up in (None, (0.0, -1.0, 0.0)):  # as the reference library turns a PLY
        torch.testing.assert_close(file_from_world, torch.diag(torch.tensor([1.0, -1, -1])).double(), rtol=0, atol=1e-3)
    camera = small_cameras(3)[1]
    pose = camera.cam_from_world.clone()
    pose[:3, :3] = pose[:3, :3] @ file_from_world.T.float()
    picture = render(found.gaussians, replace(camera, cam_from_world=pose)).rgb.clamp(0, 1)
    assert (
        psnr(picture, render(g, camera).rgb.clamp(0, 1)) > 33
    )  # steps leave 38 dB; colours or axes turned wrongly, or not at all, leave less than 27


def test_no_side_file_where_the_file_says_it_all(tmp_path: Path) -> None:
    g = tame(5, 1)
    for name, splat in {
        "a.ply": StaticSplat(g, antialiased=True, up=(0.0, -1.0, 0.0)),
        "a.compressed.ply": StaticSplat(g, antialiased=True, up=(0.0, -1.0, 0.0)),
        "a.spz": StaticSplat(g, antialiased=True, up=(0.0, 1.0, 0.0)),
        "a.splat": StaticSplat(g),
    }.items():
        save_splat(tmp_path / name, splat)
        assert not side_path(tmp_path / name).exists()


def test_a_side_file_that_is_needed_no_more_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.spz"
    save_splat(path, StaticSplat(tame(5, 1), up=(0.0, -1.0, 0.0)))
    assert json.loads(side_path(path).read_text())["world_from_file"][1] == [0, -1, 0, 0]
    save_splat(path, StaticSplat(tame(5, 1), up=(0.0, 1.0, 0.0)))
    assert not side_path(path).exists()


def test_content_decides(tmp_path: Path) -> None:
    """Files under another format's name, as downloads often are."""
    g = tame(5, 1)
    for name, other in (("a.compressed.ply", "b.ply"), ("a.spz", "c.ply"), ("a.ply", "d.spz"), ("a.spz", "e.splat")):
        save_splat(tmp_path / name, StaticSplat(g, up=(0.0, 1.0, 0.0)))
        (tmp_path / other).write_bytes((tmp_path / name).read_bytes())
        assert len(load_splat(tmp_path / other).gaussians) == 5


@pytest.mark.parametrize(
    ("comment", "up"),
    [
        ("Vertical axis: y", (0, -1, 0)),  # Brush: y points down in its frame
        ("Vertical Axis: z", (0, 0, 1)),  # nerfstudio
        ("Vertical axis: 0 -1 0", (0, -1, 0)),
        ("vertical axis:  0, 3, 4", (0, 0.6, 0.8)),
        ("Vertical axis: upwards", None),
        ("Vertical axis: 0 0 0", None),
        ("Vertical axis: nan 0 1", None),
    ],
)
@pytest.mark.parametrize("write", [ply.write, None])
def test_comments_say_what_is_up(
    tmp_path: Path, comment: str, up: Axis | None, write: Callable[..., object] | None
) -> None:
    path = tmp_path / "a.ply"
    (write or compressed_ply.write)(path, StaticSplat(tame(3, 0)))
    path.write_bytes(path.read_bytes().replace(b"1.0\n", b"1.0\ncomment " + comment.encode() + b"\n", 1))
    found = load_splat(path).up
    assert found is None if up is None else found == pytest.approx(up, abs=1e-9)
