"""PLY files of other programs: the camera that SHARP predicted from, linear light, and values activated already."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.scene.errors import BadInputError
from fewview.scene.formats import load_splat, save_splat, splat_camera
from fewview.scene.formats import splat_ply as ply
from fewview.scene.gaussians import Gaussians
from fewview.scene.ply_file import read_element, read_header, write_elements
from fewview.scene.splat import StaticSplat
from fewview.viewer.subjects.loader import load_subject
from support.command import assert_one_sentence, fewview
from support.datasets import random_gaussians
from support.small_run import small_gaussians

# Half a turn about the camera's x, and a step back: a world with y up, looked at along -z.
EXTRINSIC = [1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 4, 0, 0, 0, 1]
SHARP = {
    "extrinsic": ("<f4", EXTRINSIC),
    "intrinsic": ("<f4", [500, 0, 320, 0, 500, 240, 0, 0, 1]),
    "image_size": ("<u4", [640, 480]),
    "frame": ("<i4", [1, 400]),
    "disparity": ("<f4", [0.1, 0.9]),
    "color_space": ("u1", [0]),
    "version": ("u1", [1, 5, 0]),
}


def write_sharp(path: Path, g: Gaussians, **elements: tuple[str, list[float]] | None) -> None:
    """A PLY with the elements of SHARP after its vertices, some of them replaced or left out."""
    ply.write(path, StaticSplat(g))
    parts = {"vertex": read_element(read_header(path), "vertex")}
    for name, value in {**SHARP, **elements}.items():
        if value is not None:
            parts[name] = np.array(value[1], value[0]).view([(name, value[0])])
    write_elements(path, parts)


def test_a_splat_opens_at_its_camera(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    write_sharp(path, small_gaussians())
    camera, notes = splat_camera(path)
    assert camera is not None
    assert camera.centers.tolist() == [0, 0, 4]
    assert camera.K.tolist() == [[500, 0, 320], [0, 500, 240], [0, 0, 1]]
    assert (int(camera.width), int(camera.height)) == (640, 480)
    assert "640 x 480 pixels, focal length 500" in notes[0]
    subject = load_subject(path)
    assert notes[0] in subject.notes
    _, stage = subject.own_stage()
    assert stage.up.tolist() == pytest.approx([0, 1, 0])
    view = subject.first_view(stage, np.array([0.0, 1, 0]))
    np.testing.assert_allclose(stage.world(view.position).numpy(), [0, 0, 4], atol=1e-4)
    forward = view.look_at - view.position
    np.testing.assert_allclose(forward / np.linalg.norm(forward), [0, 0, -1], atol=1e-6)
    assert view.fov_rad == pytest.approx(2 * math.atan(240 / 500))


def test_a_camera_that_is_lost_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sharp(tmp_path / "a.ply", small_gaussians())
    done = fewview(capsys, "convert", tmp_path / "a.ply", tmp_path / "b.spz", "--json")
    assert done.json["notes"] == ["The camera that a.ply was made for is not kept."]
    done = fewview(capsys, "edit", tmp_path / "a.ply", "-o", tmp_path / "c.ply", "--json")
    assert done.json["notes"] == ["The camera that a.ply was made for is not kept."]


def test_the_older_layout_of_a_camera(tmp_path: Path) -> None:
    """12 numbers with the rotation transposed, and the image size among the intrinsics."""
    path = tmp_path / "a.ply"
    turned = [0, 1, 0, 7, -1, 0, 0, 8, 0, 0, 1, 9]  # by rows; the rotation is its transpose
    write_sharp(
        path, small_gaussians(), image_size=None, intrinsic=("<f4", [300, 310, 64, 48]), extrinsic=("<f4", turned)
    )
    camera, _ = splat_camera(path)
    assert camera is not None
    assert camera.cam_from_world[:3].tolist() == [[0, -1, 0, 7], [1, 0, 0, 8], [0, 0, 1, 9]]
    assert camera.K.tolist() == [[300, 0, 32], [0, 310, 24], [0, 0, 1]]
    assert (int(camera.width), int(camera.height)) == (64, 48)


@pytest.mark.parametrize(
    "damage",
    [
        {"intrinsic": ("<f4", [1, 2, 3])},
        {"intrinsic": ("<f4", [math.nan, 0, 1, 0, 1, 1, 0, 0, 1])},
        {"intrinsic": ("<f4", [-500, 0, 320, 0, 500, 240, 0, 0, 1])},
        {"image_size": None},
        {"image_size": ("<u4", [0, 480])},
        {"extrinsic": ("<f4", [2, *EXTRINSIC[1:]])},
        {"extrinsic": ("<f4", [-1, *EXTRINSIC[1:]])},
    ],
)
def test_a_camera_that_is_none_is_told_and_left_out(
    tmp_path: Path, damage: dict[str, tuple[str, list[float]] | None]
) -> None:
    path = tmp_path / "a.ply"
    write_sharp(path, small_gaussians(), **damage)
    camera, notes = splat_camera(path)
    assert camera is None
    assert "shown without its camera" in notes[0]
    assert len(load_subject(path).splat or ()) == 400


def test_other_files_name_no_camera(tmp_path: Path) -> None:
    for name in ("a.ply", "a.spz"):
        save_splat(tmp_path / name, StaticSplat(small_gaussians()))
        assert splat_camera(tmp_path / name) == (None, ())


def test_linear_light_becomes_srgb(tmp_path: Path) -> None:
    path, g = tmp_path / "a.ply", small_gaussians()
    write_sharp(path, g, color_space=("u1", [1]))
    splat = load_splat(path)
    linear = g.base_colors.double()
    expected = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(0) ** (1 / 2.4) - 0.055)
    torch.testing.assert_close(splat.gaussians.base_colors.double(), expected, rtol=0, atol=1e-5)
    assert "linear light" in splat.notes[0]
    write_sharp(path, g)
    torch.testing.assert_close(load_splat(path).gaussians.sh, g.sh, rtol=0, atol=0)


def activated(g: Gaussians, scales: bool = True, opacities: bool = True) -> Gaussians:
    return Gaussians(
        g.means, g.quats, g.scales if scales else g.log_scales, g.opacities if opacities else g.opacity_logits, g.sh
    )


@pytest.mark.parametrize(("scales", "opacities"), [(True, True), (True, False), (False, True)])
def test_activated_values_are_told_and_mended(
    tmp_path: Path, scales: bool, opacities: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    g = random_gaussians(200, 1)
    g = Gaussians(g.means, g.quats, (g.log_scales - 4).clamp(-6, -0.5), g.opacity_logits.clamp(-8, 8), g.sh)
    ply.write(tmp_path / "a.ply", StaticSplat(activated(g, scales, opacities)))
    (note,) = load_splat(tmp_path / "a.ply").notes
    words = " and ".join(name for name, on in (("scales", scales), ("opacities", opacities)) if on)
    assert f"its {words} look linear" in note
    assert "`fewview convert --linear a.ply NEW.ply`" in note
    done = fewview(capsys, "convert", "--linear", tmp_path / "a.ply", tmp_path / "b.ply")
    assert done.code == 0, done.err
    found = load_splat(tmp_path / "b.ply")
    assert found.notes == ()
    # exp and logit undo each other but for float32: an opacity of 1 - e^-8 has 2^-24 / e^-8 of its logit left.
    torch.testing.assert_close(found.gaussians.log_scales, g.log_scales, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.gaussians.opacity_logits, g.opacity_logits, rtol=0, atol=1e-3)


def test_usual_values_are_not_suspected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    g = random_gaussians(200, 0)
    large = Gaussians(g.means, g.quats, g.log_scales.abs() + 1, g.opacity_logits, g.sh)  # a scene in millimetres
    few = Gaussians(g.means, g.quats, g.scales, g.opacities, g.sh)[:3]
    for name, splat in {"usual": g, "large": large, "few": few}.items():
        ply.write(tmp_path / f"{name}.ply", StaticSplat(splat))
        assert load_splat(tmp_path / f"{name}.ply").notes == ()
        with pytest.raises(BadInputError, match="does not look linear"):
            load_splat(tmp_path / f"{name}.ply", linear=True)
    save_splat(tmp_path / "a.spz", StaticSplat(small_gaussians()))
    refused = fewview(capsys, "convert", "--linear", tmp_path / "a.spz", tmp_path / "b.ply")
    assert_one_sentence(refused, 2, "--linear is for a PLY")
