"""Moving splats: their moments, their frames, and their way through a run folder."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from fewview.scene.control_points import ControlPointMotion
from fewview.scene.errors import BadInputError
from fewview.scene.formats import load_splat
from fewview.scene.frame_motion import FrameMotion
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import Similarity, quat_from_rotation, quat_multiply, so3_exp
from fewview.scene.mesh_bound import MeshBoundMotion
from fewview.scene.mesh_formats import load_mesh, save_mesh
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat, save_run_splat
from fewview.scene.splat import MovingSplat, StaticSplat
from support.random_gaussians import random_gaussians

TURN = Similarity(torch.tensor(2.0), so3_exp(torch.tensor([0.4, -0.2, 1.0])), torch.tensor([1.0, -2.0, 0.5]))


def moving(count: int = 7, moments: int = 3) -> MovingSplat:
    """Gaussians that drift and turn over moments 1, 1.5, 2, ... s."""
    g = random_gaussians(0, count, 1)
    steps = torch.arange(moments, dtype=torch.float32)
    means = g.means + steps[:, None, None] * torch.tensor([0.1, 0.0, -0.2])
    turns = torch.stack([quat_from_rotation(so3_exp(torch.tensor([0.0, 0.3, 0.0]) * t)) for t in steps])
    quats = quat_multiply(turns[:, None].float(), torch.nn.functional.normalize(g.quats, dim=-1))
    sizes = g.log_scales + 0.1 * steps[:, None, None]
    motion = FrameMotion(1 + 0.5 * steps.double(), means, quats, sizes)
    return MovingSplat(g, antialiased=True, up=(0.0, 0.0, 1.0), background=(1.0, 1.0, 1.0), motion=motion)


def controlled(residuals: bool, count: int = 7, moments: int = 3) -> MovingSplat:
    """Gaussians that control points carry, some of them held back, over moments 1, 1.5, 2, ... s."""
    g, points = random_gaussians(0, count, 1), 5
    draw = torch.Generator().manual_seed(0)
    weights = torch.rand(count, 2, generator=draw)
    weights = weights / weights.sum(-1, keepdim=True) * torch.linspace(0, 1, count)[:, None]
    motion = ControlPointMotion(
        1 + 0.5 * torch.arange(moments, dtype=torch.float64),
        torch.randn(points, 3, generator=draw),
        0.3 * torch.randn(moments, points, 3, generator=draw),
        torch.randn(moments, points, 4, generator=draw),
        torch.randint(points, (count, 2), generator=draw).int(),
        weights,
        quat_residuals=0.1 * torch.randn(moments, points, 4, generator=draw) if residuals else None,
        scale_residuals=0.01 * torch.rand(moments, points, 3, generator=draw) if residuals else None,
    )
    return MovingSplat(g, antialiased=True, up=(0.0, 0.0, 1.0), background=(1.0, 1.0, 1.0), motion=motion)


def on_a_mesh(count: int = 7, moments: int = 3) -> MovingSplat:
    """Gaussians on the faces of a tetrahedron whose corners wander and turn, over moments 1, 1.5, 2, ... s."""
    g, draw = random_gaussians(0, count, 1), torch.Generator().manual_seed(0)
    corners = torch.randn(4, 3, generator=draw)
    weights = torch.rand(count, 3, generator=draw)
    motion = MeshBoundMotion(
        1 + 0.5 * torch.arange(moments, dtype=torch.float64),
        corners + 0.3 * torch.randn(moments, 4, 3, generator=draw),
        torch.randn(moments, 4, 3, generator=draw),
        corners,
        torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]).int(),
        torch.arange(count).int() % 4,
        weights / weights.sum(1, keepdim=True),
    )
    return MovingSplat(g, antialiased=True, up=(0.0, 0.0, 1.0), background=(1.0, 1.0, 1.0), motion=motion)


KINDS = {
    "frames": moving,
    "on a mesh": on_a_mesh,
    "turning points": lambda: controlled(False),
    "points and residuals": lambda: controlled(True),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def test_moments_lie_between_their_neighbours() -> None:
    splat = moving()
    assert splat.time_range_s == (1.0, 2.0)
    assert torch.equal(splat.at(1.5).means, splat.motion.tensors()["means"][1])
    halfway = splat.at(1.25)
    expected = (splat.at(1.0).means + splat.at(1.5).means) / 2
    torch.testing.assert_close(halfway.means, expected)
    torch.testing.assert_close(halfway.quats.norm(dim=-1), torch.ones(len(splat)))
    assert torch.equal(splat.at().means, splat.at(1.0).means)
    for outside, end in ((-5.0, 1.0), (9.0, 2.0)):
        assert torch.equal(splat.at(outside).means, splat.at(end).means)


def test_a_quaternion_and_its_negative_are_one_rotation() -> None:
    splat = moving(moments=2)
    tensors = splat.motion.tensors()
    flipped = tensors["quats"].clone()
    flipped[1] *= -1
    other = MovingSplat(splat.gaussians, motion=FrameMotion(tensors["times_s"], tensors["means"], flipped))
    torch.testing.assert_close(other.at(1.2).quats, splat.at(1.2).quats)


@every_kind
def test_moving_the_frame_and_taking_rows_commute_with_time(kind: str) -> None:
    splat = KINDS[kind]()
    keep = torch.tensor([True, False, True, True, False, False, True])
    for moment in (1.0, 1.7):
        ours, theirs = splat.moved(TURN).at(moment), splat.at(moment).moved(TURN)
        torch.testing.assert_close(ours.means, theirs.means)
        torch.testing.assert_close(ours.scales, theirs.scales)
        cosines = torch.nn.functional.cosine_similarity(ours.quats, theirs.quats, dim=-1)
        assert cosines.abs() == pytest.approx(torch.ones(len(splat)), abs=1e-5)
        assert torch.equal(splat.rows(keep).at(moment).means, splat.at(moment).means[keep])


@every_kind
def test_a_run_gives_back_its_moving_splat_and_its_first_moment_to_others(tmp_path: Path, kind: str) -> None:
    run = Run.create(tmp_path / "run", {})
    run.update_metrics(training={"background": [1.0, 1.0, 1.0]})
    splat = KINDS[kind]()
    save_run_splat(run, splat)
    read = load_run_splat(run)
    assert isinstance(read, MovingSplat)
    assert (read.antialiased, read.up, read.background) == (True, (0.0, 0.0, 1.0), (1.0, 1.0, 1.0))
    for moment in (1.0, 1.3, 2.0):
        for field in fields(Gaussians):
            assert torch.equal(getattr(read.at(moment), field.name), getattr(splat.at(moment), field.name))
    assert torch.equal(load_splat(run.splat_path).gaussians.means, splat.at(1.0).means)


def test_a_still_run_has_no_motion(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    save_run_splat(run, StaticSplat(random_gaussians(0, 3, 0)))
    assert isinstance(load_run_splat(run), StaticSplat)
    assert not run.motion_path.exists()
    with pytest.raises(BadInputError, match="no splat yet"):
        load_run_splat(Run.create(tmp_path / "other", {}))


@pytest.mark.parametrize("damage", ["kind", "version", "cut", "rows", "name", "order"])
def test_a_damaged_motion_is_one_sentence(tmp_path: Path, damage: str) -> None:
    run = Run.create(tmp_path / "run", {})
    save_run_splat(run, moving())
    description = json.loads(run.motion_description_path.read_text())
    if damage in ("kind", "version"):
        run.motion_description_path.write_text(json.dumps(description | {damage: "pickle"}))
    elif damage == "cut":
        run.motion_path.write_bytes(run.motion_path.read_bytes()[:-40])
    else:
        import safetensors.torch

        tensors = safetensors.torch.load_file(run.motion_path)
        if damage == "rows":
            tensors["motion/quats"] = tensors["motion/quats"][:, :-1].contiguous()
        elif damage == "name":
            del tensors["motion/means"]
        else:
            tensors["motion/times_s"] = tensors["motion/times_s"].flip(0).contiguous()
        safetensors.torch.save_file(tensors, run.motion_path)
    with pytest.raises(BadInputError, match=r"motion\.(json|safetensors)"):
        load_run_splat(run)


def test_neighbours_beyond_the_control_points_are_refused() -> None:
    splat = controlled(False)
    tensors = splat.motion.tensors()
    for wrong in (5, -1):
        damaged = tensors | {"neighbours": torch.full_like(tensors["neighbours"], wrong)}
        with pytest.raises(ValueError, match="below the 5 control points"):
            ControlPointMotion.from_tensors(damaged, len(splat))


def test_faces_and_corners_that_are_not_there_are_refused() -> None:
    splat = on_a_mesh()
    tensors = splat.motion.tensors()
    for name, wrong, words in (("face", 4, "0 to 3"), ("faces", 4, "0 to 3"), ("face", -1, "0 to 3")):
        damaged = tensors | {name: torch.full_like(tensors[name], wrong)}
        with pytest.raises(ValueError, match=f"{name} should hold numbers from {words}"):
            MeshBoundMotion.from_tensors(damaged, len(splat))
    with pytest.raises(ValueError, match="it moves 7 Gaussians, and there are 8"):
        MeshBoundMotion.from_tensors(tensors, 8)
    with pytest.raises(ValueError, match="'turns' is missing"):
        MeshBoundMotion.from_tensors({n: t for n, t in tensors.items() if n != "turns"}, 7)
    with pytest.raises(ValueError, match=r"turns: expected shape \(3, 4, 3\)"):
        MeshBoundMotion.from_tensors(tensors | {"turns": tensors["turns"][:2]}, 7)


def test_the_mesh_of_a_splat_moves_with_it_and_is_written_as_morph_targets(tmp_path: Path) -> None:
    splat = on_a_mesh()
    mesh = splat.motion.mesh(splat.gaussians)
    assert torch.equal(mesh.faces, splat.motion.faces.long())
    save_mesh(tmp_path / "mesh.glb", mesh)
    read = load_mesh(tmp_path / "mesh.glb")
    assert read.times_s is not None
    for moment in (1.0, 1.3, 2.0):
        torch.testing.assert_close(read.at(moment).vertices, mesh.at(moment).vertices, rtol=0, atol=1e-5)
        corners = mesh.at(moment).vertices[mesh.faces[splat.motion.face.long()]]
        on_face = (splat.motion.barycentric[..., None] * corners).sum(1)
        torch.testing.assert_close(splat.at(moment).means, on_face, rtol=0, atol=1e-5)


def test_one_rigid_motion_of_all_control_points_moves_every_gaussian_by_it() -> None:
    splat = controlled(False)
    turn, shift = so3_exp(torch.tensor([0.3, 1.0, -0.2])), torch.tensor([0.5, -1.0, 2.0])
    tensors = splat.motion.tensors()
    points, moments = tensors["points"], len(tensors["times_s"])
    tensors |= {
        "shifts": (points @ turn.T + shift - points).expand(moments, -1, -1),
        "turns": quat_from_rotation(turn).float().expand(moments, len(points), 4),
        "weights": tensors["weights"] / tensors["weights"].sum(-1, keepdim=True).clamp_min(1e-9),
    }
    carried = torch.arange(len(splat)) > 0  # the first has no weights at all
    moved = ControlPointMotion.from_tensors(tensors, len(splat)).at(splat.gaussians, 1.3)
    expected = splat.gaussians.moved(Similarity(torch.tensor(1.0), turn, shift))
    torch.testing.assert_close(moved.means[carried], expected.means[carried])
    assert torch.equal(moved.means[~carried], splat.gaussians.means[~carried])
    cosines = torch.nn.functional.cosine_similarity(moved.quats, expected.quats, dim=-1).abs()
    torch.testing.assert_close(cosines[carried], torch.ones(int(carried.sum())))
