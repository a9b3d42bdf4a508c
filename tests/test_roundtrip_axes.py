"""An L of Gaussians in every format: upright as other viewers take the file, and back in its world frame here.

How a world lies in a file is written down by hand below, for each world's up and for files with y down and y up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fewview.scene.formats import file_for_viewers, load_splat, save_splat, side_path
from fewview.scene.formats import splat_ply as ply
from fewview.scene.gaussians import Gaussians
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat, save_run_splat
from fewview.scene.splat import Axis, StaticSplat
from support.command import assert_one_sentence, fewview
from support.letter_l import Y_DOWN, Y_UP, colours, covariances, in_order_of_red, letter_l
from torch import Tensor

UP_IN_FILE = {
    "a.ply": Y_DOWN, "a.compressed.ply": Y_DOWN, "a.splat": Y_DOWN, "a.sog": Y_DOWN, "meta.json": Y_DOWN,
    "a.spz": Y_UP, "a.glb": Y_UP, "a.gltf": Y_UP,
}  # fmt: skip
# (up in the world, up in the file): where the world's x, y, z lie in the file, as rows of the matrix.
FILE_FROM_WORLD = {
    ((0, 0, 1), Y_DOWN): [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    ((0, 0, 1), Y_UP): [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
    ((0, 1, 0), Y_DOWN): [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
    ((0, 1, 0), Y_UP): [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    ((0, -1, 0), Y_DOWN): [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    ((0, -1, 0), Y_UP): [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
    (None, Y_DOWN): [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    (None, Y_UP): [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
}  # fmt: skip
UPS = [(0, 0, 1), (0, 1, 0), (0, -1, 0), None]
STEP = 2.0 / 1023  # of positions in a compressed PLY, the coarsest: the L is two units tall
SH_STEP = 16 / 128  # of spherical harmonics in SPZ, the coarsest


def assert_same(found: Gaussians, expected: Gaussians, turn: Sequence[Sequence[float]], directions: Tensor) -> None:
    """`found` is `expected` turned, to the steps of the coarsest format."""
    matrix = torch.tensor(turn, dtype=torch.float64)
    found, expected = in_order_of_red(found), in_order_of_red(expected)
    moved = expected.means.double() @ matrix.T
    torch.testing.assert_close(found.means.double(), moved, rtol=0, atol=STEP)
    turned = matrix @ covariances(expected) @ matrix.T
    # The shape of a wrong turn is off by 0.3^2; 8 bits of a quaternion turn the long axis by 0.01.
    torch.testing.assert_close(covariances(found), turned, rtol=0, atol=0.3**2 * 0.15)
    if found.sh_degree:
        # 15 coefficients, each off by half a step at most, times a basis of root mean square 0.28.
        seen = colours(found, directions.double() @ matrix.T)
        assert float((seen - colours(expected, directions)).abs().max()) < 15**0.5 * SH_STEP * 0.5


@pytest.fixture
def directions() -> Tensor:
    return torch.nn.functional.normalize(torch.randn(40, 3, generator=torch.Generator().manual_seed(3)), dim=-1)


@pytest.mark.parametrize("name", UP_IN_FILE)
@pytest.mark.parametrize("up", UPS)
def test_every_format_is_upright_and_comes_back(tmp_path: Path, name: str, up: Axis | None, directions: Tensor) -> None:
    scene = letter_l(up)
    save_splat(tmp_path / name, StaticSplat(scene, up=up))
    back = load_splat(tmp_path / name)
    assert_same(back.gaussians, scene, torch.eye(3).tolist(), directions)
    nothing_to_turn = up is None and name in ("a.splat", "a.sog", "meta.json")  # then there is no side file to say so
    assert back.up == (Y_DOWN if nothing_to_turn else up)
    side_path(tmp_path / name).unlink(missing_ok=True)  # as another viewer sees it
    alone = load_splat(tmp_path / name)
    assert_same(alone.gaussians, scene, FILE_FROM_WORLD[up, UP_IN_FILE[name]], directions)
    assert alone.up == (None if up is None and name.endswith("ply") else UP_IN_FILE[name])


@pytest.mark.parametrize("name", UP_IN_FILE)
def test_a_frame_that_is_kept_is_kept(tmp_path: Path, name: str, directions: Tensor) -> None:
    scene, up = letter_l((0, 0, 1)), (0.0, 0.0, 1.0)
    save_splat(tmp_path / name, StaticSplat(scene, up=up), keep_frame=True)
    assert load_splat(tmp_path / name).up == up
    side_path(tmp_path / name).unlink(missing_ok=True)
    assert_same(load_splat(tmp_path / name).gaussians, scene, torch.eye(3).tolist(), directions)


@pytest.mark.parametrize("up", [(0, 0, 1), (0.6, 0.0, 0.8)])
def test_a_run_has_its_numbers_back(tmp_path: Path, up: Axis) -> None:
    """`eval`, `render` and `view` of a run see what was trained, to the rounding of one turn each way."""
    scene = letter_l(up)
    run = Run.create(tmp_path / "run", {})
    save_run_splat(run, StaticSplat(scene, up=up))
    stored = load_splat(run.splat_path).gaussians
    back = load_run_splat(run)
    assert back.up == pytest.approx(up)
    assert sorted(p.name for p in run.path.iterdir() if p.is_file()) == ["config.json", "splat.ply", "splat.ply.json"]
    for field, value in vars(back.gaussians).items():
        torch.testing.assert_close(getattr(stored, field), value, rtol=0, atol=0)
        # A turn each way: three products of numbers up to 3, each rounded to half an ulp of float32.
        torch.testing.assert_close(value, getattr(scene, field), rtol=0, atol=4 * 3 * 2.0**-24)
    if up == (0, 0, 1):
        assert torch.equal(back.gaussians.means, scene.means)  # a quarter turn only swaps coordinates
        assert torch.equal(back.gaussians.sh[:, :4], scene.sh[:, :4])  # and in degree 1 coefficients
    assert torch.equal(back.gaussians.log_scales, scene.log_scales)
    assert torch.equal(back.gaussians.opacity_logits, scene.opacity_logits)


def test_a_run_from_before_is_in_its_own_frame(tmp_path: Path) -> None:
    """Its `splat.ply` lies in the frame of the cameras and says what is up in a comment."""
    scene = letter_l((0, 0, 1))
    run = Run.create(tmp_path / "run", {})
    ply.write(run.splat_path, StaticSplat(scene, up=(0.0, 0.0, 1.0)))
    back = load_run_splat(run)
    assert back.up == (0, 0, 1)
    assert torch.equal(back.gaussians.means, scene.means)


def test_a_splat_that_another_program_changed_stays_with_its_cameras(tmp_path: Path) -> None:
    """SuperSplat writes a PLY in the frame that it was read in, so the run's frame still holds."""
    scene = letter_l((0, 0, 1))
    run = Run.create(tmp_path / "run", {})
    save_run_splat(run, StaticSplat(scene, up=(0.0, 0.0, 1.0)))
    in_file = ply.read(run.splat_path).gaussians
    ply.write(run.splat_path, StaticSplat(in_file[:6]))
    back = load_run_splat(run)
    torch.testing.assert_close(back.gaussians.means, scene.means[:6], rtol=0, atol=0)
    assert "changed after it was written" in " ".join(back.notes)
    assert "another file" in " ".join(load_splat(run.splat_path).notes)


def test_a_frame_never_outlives_its_splat(tmp_path: Path) -> None:
    """A person removes `splat.ply` to train again, now in another world."""
    run = Run.create(tmp_path / "run", {})
    save_run_splat(run, StaticSplat(letter_l((0, 0, 1)), up=(0.0, 0.0, 1.0)))
    run.splat_path.unlink()
    save_run_splat(run, StaticSplat(letter_l(None)))
    assert torch.equal(load_run_splat(run).gaussians.means, letter_l(None).means)


def test_the_frame_is_there_before_the_splat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`splat.ply` without its frame would pass for a finished one in the cameras' frame after a crash."""
    run = Run.create(tmp_path / "run", {})
    seen: list[list[str]] = []
    replace = Path.replace

    def crash(source: Path, target: Path) -> Path:
        if target.name == "splat.ply":
            seen.append(sorted(p.name for p in run.path.glob("splat.ply*")))
            raise KeyboardInterrupt
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save_run_splat(run, StaticSplat(letter_l((0, 0, 1)), up=(0.0, 0.0, 1.0)))
    assert seen == [["splat.ply.json"]]


def test_what_is_handed_on_is_upright(tmp_path: Path, directions: Tensor) -> None:
    """The download of a PLY that was written before, or kept in its frame; another file goes as it is."""
    scene, path = letter_l((0, 0, 1)), tmp_path / "a.ply"
    save_splat(path, StaticSplat(scene, up=(0.0, 0.0, 1.0)), keep_frame=True)
    handed = tmp_path / "downloads" / "a.ply"
    handed.parent.mkdir()
    handed.write_bytes(file_for_viewers(path)[1])
    found = load_splat(handed)
    assert found.up == Y_DOWN
    assert_same(found.gaussians, scene, FILE_FROM_WORLD[(0, 0, 1), Y_DOWN], directions)
    save_splat(path, StaticSplat(scene, up=(0.0, 0.0, 1.0)))
    assert file_for_viewers(path) == (path.name, path.read_bytes()) == (path.name, handed.read_bytes())


def test_convert_and_edit_keep_a_frame_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = letter_l((0, 1, 0))
    save_splat(tmp_path / "a.glb", StaticSplat(scene, up=Y_UP))
    for command in (
        ("convert", tmp_path / "a.glb", tmp_path / "b.ply"),
        ("edit", tmp_path / "a.glb", "-o", tmp_path / "c.ply"),
    ):
        assert fewview(capsys, *command).code == 0
        upright = ply.read(command[-1])
        assert upright.up == Y_DOWN
        assert float(upright.gaussians.means[:, 1].min()) == pytest.approx(-2)  # the stem's top
        assert torch.equal(load_splat(command[-1]).gaussians.means, scene.means)
        assert fewview(capsys, *command, "--keep-frame").code == 0
        kept = ply.read(command[-1])
        assert kept.up == Y_UP
        assert float(kept.gaussians.means[:, 1].max()) == pytest.approx(2)
        assert not side_path(command[-1]).exists()


def test_a_run_needs_no_keep_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.create(tmp_path / "run", {})
    save_run_splat(run, StaticSplat(letter_l(None)))
    done = fewview(capsys, "edit", run.path, "-o", tmp_path / "new", "--keep-frame")
    assert_one_sentence(done, 2, "a run keeps its frame anyway")
