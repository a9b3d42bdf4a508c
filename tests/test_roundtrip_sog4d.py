"""A splat that control points move comes back from one 4D SOG file, at all moments and in its world frame."""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fewview.render import render
from fewview.render.paths import look_at
from fewview.scene.cameras import Cameras
from fewview.scene.control_points import ControlPointMotion
from fewview.scene.errors import BadInputError
from fewview.scene.formats import format_name, holds_motion, load_splat, save_splat, side_path, sog, sog4d
from fewview.scene.splat import MovingSplat, StaticSplat
from support.bending_splat import FIRST_S, LAST_S, bending_splat
from support.command import fewview
from support.random_gaussians import random_gaussians
from support.small_run import small_run
from support.small_splats import moving_splat

MOMENTS = (FIRST_S, 3.123, LAST_S)  # at a stored one, between two, and the last


def reread(path: Path, splat: MovingSplat) -> MovingSplat:
    save_splat(path, splat)
    read = load_splat(path)
    assert isinstance(read, MovingSplat)
    return read


def order_of(read: MovingSplat, written: MovingSplat) -> torch.Tensor:
    """For each Gaussian that was written, the row where it was read."""
    rows = torch.cdist(written.gaussians.means.double(), read.gaussians.means.double()).argmin(1)
    assert len(rows.unique()) == len(written)
    return rows


def picture(splat: MovingSplat, moment: float) -> torch.Tensor:
    pose = look_at(torch.tensor([0.4, -2.6, 0.7]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    camera = Cameras.pinhole(pose, 160.0, 192, 128)
    under = torch.tensor(splat.background)
    return render(splat.at(moment), camera, background=under, antialiased=splat.antialiased).rgb.clamp(0, 1)


@pytest.mark.parametrize("residuals", [False, True])
@pytest.mark.parametrize("degree", [0, 2])
def test_all_moments_come_back_in_the_world(tmp_path: Path, residuals: bool, degree: int) -> None:
    written = bending_splat(degree=degree, residuals=residuals, antialiased=True)
    read = reread(tmp_path / "a.sog4d", written)
    assert (read.antialiased, read.background, read.time_range_s) == (True, written.background, (FIRST_S, LAST_S))
    assert read.up == pytest.approx(written.up, abs=1e-9)
    assert read.notes == ()
    rows = order_of(read, written)
    for moment in MOMENTS:
        ours, theirs = read.at(moment), written.at(moment)
        # Half a step of 16 bits of every place, shift and weight over a scene of size 2, added up, is 1e-4 of it.
        assert float((ours.means[rows] - theirs.means).norm(dim=-1).max()) < 2e-4
        # Codebook cells of a size: 256 over the five units between the extremes of 600 Gaussians; small ones and
        # residuals of a hundredth do not change that they are a part of the size.
        torch.testing.assert_close(ours.scales[rows], theirs.scales, rtol=0.04, atol=1e-4)
        cosines = torch.nn.functional.cosine_similarity(ours.quats[rows], theirs.quats, dim=-1).abs()
        assert float(cosines.min()) > math.cos((math.sqrt(3) + 3) * 0.5 * math.sqrt(2) / 255)  # as in SOG
    assert torch.equal(read.motion.tensors()["times_s"], written.motion.tensors()["times_s"])


def test_without_its_side_file_it_stands_upright_and_still_moves(tmp_path: Path) -> None:
    written = bending_splat()
    save_splat(tmp_path / "a.sog4d", written)
    side_path(tmp_path / "a.sog4d").unlink()
    read = load_splat(tmp_path / "a.sog4d")
    assert read.up == (0, -1, 0)
    x, y, z = written.at(3.3).means.unbind(-1)
    expected = torch.stack([x, -z, y], dim=-1)
    assert float(torch.cdist(expected.double(), read.at(3.3).means.double()).min(1).values.max()) < 3e-4


def test_pictures_stay_the_same(tmp_path: Path) -> None:
    written = bending_splat(3000, degree=3)
    read = reread(tmp_path / "a.sog4d", written)
    for moment in MOMENTS:
        error = (picture(read, moment) - picture(written, moment)).square().mean()
        assert -10 * math.log10(float(error)) > 40


def test_the_sign_of_a_quaternion_that_residuals_are_added_to_is_kept(tmp_path: Path) -> None:
    """SOG keeps one of q and -q; to -q a residual would be added the wrong way round."""
    written = bending_splat(residuals=True)
    read = reread(tmp_path / "a.sog4d", written)
    rows = order_of(read, written)
    for moment in MOMENTS:
        ours, theirs = read.at(moment).quats[rows], written.at(moment).quats
        assert float((ours.norm(dim=-1) - theirs.norm(dim=-1)).abs().max()) < 0.02  # lengths tell a wrong sign


def test_points_that_carry_nothing_are_left_out(tmp_path: Path) -> None:
    splat = bending_splat()
    tensors = splat.motion.tensors()
    far = torch.full((1, 3), 1e6)
    tensors["points"] = torch.cat([far, tensors["points"]])
    for name, value in (("shifts", 1e7), ("turns", 1.0)):
        more = torch.full_like(tensors[name][:, :1], value)
        tensors[name] = torch.cat([more, tensors[name]], dim=1)
    tensors["neighbours"] = tensors["neighbours"] + 1
    wild = replace(splat, motion=ControlPointMotion.from_tensors(tensors, len(splat)))
    read = reread(tmp_path / "a.sog4d", wild)
    assert isinstance(read.motion, ControlPointMotion)
    assert len(read.motion) == 24
    rows = order_of(read, splat)
    assert float((read.at(3.0).means[rows] - splat.at(3.0).means).norm(dim=-1).max()) < 2e-4


@pytest.mark.parametrize("moments", [1, 2])
def test_a_gaussian_a_point_and_a_moment_are_enough(tmp_path: Path, moments: int) -> None:
    splat = bending_splat(1, points=2, moments=moments, near=1, degree=0)
    read = reread(tmp_path / "a.sog4d", splat)
    assert len(read.motion.tensors()["times_s"]) == moments
    torch.testing.assert_close(read.at(LAST_S).means, splat.at(LAST_S).means, rtol=0, atol=2e-4)


def test_what_nothing_carries_stands_still(tmp_path: Path) -> None:
    splat = bending_splat()
    tensors = splat.motion.tensors() | {"weights": torch.zeros(600, 3)}
    still = replace(splat, motion=ControlPointMotion.from_tensors(tensors, 600))
    read = reread(tmp_path / "a.sog4d", still)
    torch.testing.assert_close(read.at(LAST_S).means, read.at(FIRST_S).means, rtol=0, atol=0)


def test_equal_splats_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_splat(tmp_path / f"{name}.sog4d", bending_splat(residuals=True))
    assert (tmp_path / "a.sog4d").read_bytes() == (tmp_path / "b.sog4d").read_bytes()


def test_others_read_it_as_a_still_sog_scene(tmp_path: Path) -> None:
    splat = bending_splat()
    sog4d.write(tmp_path / "a.sog4d", splat)
    assert sog.read(tmp_path / "a.sog4d").gaussians.means.shape == (600, 3)
    shutil.copyfile(tmp_path / "a.sog4d", tmp_path / "a.sog")
    assert isinstance(load_splat(tmp_path / "a.sog"), MovingSplat), "content decides, not the name"
    assert format_name("a.sog4d") == "4D SOG"
    assert holds_motion("a.SOG4D")


def test_gaussians_that_are_no_numbers_go_with_their_motion(tmp_path: Path) -> None:
    splat = bending_splat()
    splat.gaussians.means[5] = torch.nan
    assert "1 of 600 Gaussians are not numbers" in save_splat(tmp_path / "a.sog4d", splat)[0]
    keep = torch.arange(600) != 5
    read = load_splat(tmp_path / "a.sog4d")
    rows = order_of(read, splat.rows(keep))
    assert float((read.at(3.0).means[rows] - splat.at(3.0).means[keep]).norm(dim=-1).max()) < 2e-4


def test_a_run_becomes_one_file_and_is_looked_at_edited_and_rendered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fewview.scene.run_splat import save_run_splat

    run = small_run(tmp_path / "run")
    save_run_splat(run, bending_splat())
    done = fewview(capsys, "convert", run.path, tmp_path / "a.sog4d", "--json")
    assert done.code == 0, done.err
    assert (done.json["output"]["format"], done.json["notes"]) == ("4D SOG", [])
    crop = ("--crop-box", "-2 -2 -2 0.3 2 2")
    done = fewview(capsys, "edit", tmp_path / "a.sog4d", *crop, "-o", tmp_path / "b.sog4d", "--json")
    assert done.code == 0, done.err
    assert done.json["notes"] == []
    left = load_splat(tmp_path / "b.sog4d")
    assert len(left) == done.json["after"] < 600
    assert left.time_range_s == (FIRST_S, LAST_S)
    done = fewview(capsys, "convert", tmp_path / "b.sog4d", tmp_path / "c.ply", "--time", "3.5", "--json")
    assert done.code == 0, done.err
    torch.testing.assert_close(load_splat(tmp_path / "c.ply").gaussians.means, left.at(3.5).means, rtol=0, atol=1e-5)
    out = ("-o", tmp_path / "film", "--frames", 2, "--size", 32)
    assert fewview(capsys, "render", tmp_path / "b.sog4d", *out).code == 0


def test_a_splat_of_frames_is_carried_by_control_points(tmp_path: Path) -> None:
    written = moving_splat()
    (note,) = save_splat(tmp_path / "a.sog4d", written)
    assert note.startswith("Here 400 control points carry the Gaussians")
    read = load_splat(tmp_path / "a.sog4d")
    start = replace(written, gaussians=written.at())
    rows = order_of(replace(read, gaussians=read.at()), start)
    for moment in MOMENTS:
        torch.testing.assert_close(read.at(moment).means[rows], written.at(moment).means, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("splat", "words"),
    [
        (StaticSplat(random_gaussians(0, 5, 0)), "does not move"),
        (bending_splat(20, near=17), "17 of them for a Gaussian"),
    ],
    ids=["still", "neighbours"],
)
def test_what_it_cannot_hold_is_one_sentence(tmp_path: Path, splat: StaticSplat | MovingSplat, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        save_splat(tmp_path / "a.sog4d", splat)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "value"), [("shifts", math.nan), ("turns", math.inf), ("weights", -0.1)])
def test_motions_of_wild_numbers_are_not_written(tmp_path: Path, name: str, value: float) -> None:
    splat = bending_splat(50)
    splat.motion.tensors()[name].view(-1)[3] = value
    with pytest.raises(BadInputError, match=r"no numbers|negative"):
        save_splat(tmp_path / "a.sog4d", splat)
    assert not list(tmp_path.iterdir())


def test_the_file_says_what_the_page_on_it_says(tmp_path: Path) -> None:
    """Read by the tables of docs/sog4d.md with no code of the package but its images."""
    import io

    import numpy as np
    from PIL import Image

    splat = bending_splat(40, points=5, moments=3)
    sog4d.write(tmp_path / "a.sog4d", splat)
    with zipfile.ZipFile(tmp_path / "a.sog4d") as bundle:
        motion = json.loads(bundle.read("motion.json"))
        assert {e.compress_type for e in bundle.infolist()} == {zipfile.ZIP_STORED}

        def image(name: str) -> np.ndarray:
            return np.array(Image.open(io.BytesIO(bundle.read(name))).convert("RGBA")).astype(int)

        low, high = (image(name)[..., :3] for name in motion["shifts"]["files"])
        pixel = [image(name).reshape(-1, 4)[0] for name in motion["weights"]["files"]]
    assert low.shape == (3, 5, 3)
    mins, maxs = np.array(motion["shifts"]["mins"]), np.array(motion["shifts"]["maxs"])
    shifts = mins + (maxs - mins) * (low + 256 * high) / 65535
    np.testing.assert_allclose(shifts, splat.motion.tensors()["shifts"].numpy(), atol=1e-4)
    weights = [(p[2] + 256 * p[3]) / 65535 * motion["weights"]["max"] for p in pixel]
    assert sum(weights) == pytest.approx(1, abs=1e-4)
    assert [p[0] + 256 * (p[1] & 127) < 5 for p in pixel] == [True] * 3
