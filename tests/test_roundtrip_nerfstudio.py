"""Runs open in nerfstudio and its data sets open here, with the same cameras, points and splits."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import fewview
import numpy as np
import pytest
import torch
from fewview.scene.capture import Capture
from fewview.scene.errors import BadInputError
from fewview.scene.formats import load_splat
from fewview.scene.points_ply import write_points
from fewview.scene.readers import load_run_capture, read_capture, save_capture
from fewview.scene.run import Run
from support.datasets import random_points, rewrite, ring_cameras, transforms_table, write_photo, write_transforms
from support.nerfstudio import nerfstudio_python, parsed, run_nerfstudio
from support.small_run import HEIGHT, WIDTH, small_capture, small_run

PACKAGE = Path(fewview.__file__).parent
PLUGIN = PACKAGE / "recon" / "nerfstudio_plugin"

# nerfstudio computes in float32, and undoing its orientation and scale twice more; coordinates are up to 4 units.
WORLD = {"rtol": 0, "atol": 2e-5}
APPLIED = [[0.0, 1, 0, 0.5], [1, 0, 0, -1], [0, 0, -1, 2]]  # a quarter turn, a reflection undone, and a shift
DISTORTION = {"k1": 0.03, "k2": -0.01, "k3": 0.0, "k4": 0.0, "p1": 0.001, "p2": -0.002}


class TestOurRuns:
    def test_the_held_out_photographs_are_named_for_both_of_its_evaluations(self, tmp_path: Path) -> None:
        table = json.loads(small_run(tmp_path / "run").cameras_path.read_text())
        assert table["val_filenames"] == table["test_filenames"] == ["images/photo_1.png", "images/photo_3.png"]
        assert len(table["train_filenames"]) == 3

    def test_masks_and_depths_are_there_for_all_or_none(self, tmp_path: Path) -> None:
        run = _half_masked_run(tmp_path / "run")
        frames = json.loads(run.cameras_path.read_text())["frames"]
        assert all("mask_path" in frame and "depth_file_path" in frame for frame in frames)
        seen = load_run_capture(run).frames
        assert not seen[0].load_mask()[0, 0]
        assert seen[0].load_mask().sum() == WIDTH * HEIGHT - 1
        assert seen[1].load_mask().all()
        assert np.allclose(seen[0].load_depth(), 2.5)
        assert not seen[1].load_depth().any()
        plain = json.loads(small_run(tmp_path / "plain").cameras_path.read_text())["frames"]
        assert not any("mask_path" in frame or "depth_file_path" in frame for frame in plain)

    def test_as_nerfstudio_reads_them(self, tmp_path: Path) -> None:
        nerfstudio_python()
        run = _half_masked_run(tmp_path / "run")
        capture, splits = load_run_capture(run), parsed(run.cameras_path)
        train, test = capture.split()
        for split, chosen in (("train", train), ("val", test), ("test", test)):
            _assert_same(splits[split], capture, chosen, run.path)
            assert [Path(f).parent.name for f in splits[split]["masks"]] == ["masks"] * len(chosen)
            assert [Path(f).parent.name for f in splits[split]["depths"]] == ["depths"] * len(chosen)
        assert capture.points is not None
        xyz = _undone_points(splits["train"], np.eye(4))
        torch.testing.assert_close(xyz, capture.points.xyz.double(), **WORLD)
        assert splits["train"]["rgb"] == capture.points.rgb.tolist()

    def test_without_a_split_all_are_trained_on(self, tmp_path: Path) -> None:
        nerfstudio_python()
        run = Run.create(tmp_path / "run", {})
        save_capture(run, replace(small_capture(), test=()), 96)
        splits = parsed(run.cameras_path)
        assert len(splits["train"]["images"]) == 5
        assert splits["val"]["images"] == splits["test"]["images"] == []


class TestItsDataSets:
    def test_distortion_as_a_list(self, tmp_path: Path) -> None:
        write_transforms(tmp_path / "keys", **DISTORTION)
        _, listed = write_transforms(tmp_path / "list", distortion_params=list(DISTORTION.values()))
        one, other = (read_capture(tmp_path / name).image(0) for name in ("keys", "list"))
        assert torch.equal(one, other)
        write_transforms(tmp_path / "plain")
        plain = read_capture(tmp_path / "plain").image(0)
        assert not torch.equal(one, plain)
        for frame in listed["frames"]:
            frame["distortion_params"] = [0.0] * 6
        rewrite(tmp_path / "list" / "transforms.json", listed)
        assert torch.equal(read_capture(tmp_path / "list").image(0), plain)

    @pytest.mark.parametrize("found", [[0.1, 0.2], [0.0] * 5 + ["x"], 0.1, [0.0] * 5 + [True]])
    def test_a_list_that_is_none(self, tmp_path: Path, found: Any) -> None:
        write_transforms(tmp_path, distortion_params=found)
        with pytest.raises(BadInputError, match=r"frame 0: 'distortion_params' should be the 6 numbers k1"):
            read_capture(tmp_path)

    def test_smaller_copies_beside_the_photographs(self, tmp_path: Path) -> None:
        cameras, table = write_transforms(tmp_path)
        for i in range(4):
            write_photo(tmp_path / "images_2" / f"{i:02d}.png", 20, 15, seed=i)
        assert read_capture(tmp_path).image(0).shape == (30, 40, 3)
        for frame in table["frames"]:
            frame["file_path"] = frame["file_path"].replace("images/", "images_2/")
        rewrite(tmp_path / "transforms_2.json", table)
        small = read_capture(tmp_path / "transforms_2.json")
        assert small.image(0).shape == (15, 20, 3)
        assert small.cameras is not None
        torch.testing.assert_close(small.cameras.K, cameras.resized(20, 15).K)

    @pytest.mark.parametrize("kind", ["shared", "each", "fisheye"])
    def test_as_nerfstudio_reads_them(self, tmp_path: Path, kind: str) -> None:
        nerfstudio_python()
        _write_data_set(tmp_path, kind)
        capture, splits = read_capture(tmp_path), parsed(tmp_path)
        train, test = capture.split()
        _assert_same(splits["train"], capture, train, tmp_path, np.array([*APPLIED, [0, 0, 0, 1]]))
        _assert_same(splits["test"], capture, test, tmp_path, np.array([*APPLIED, [0, 0, 0, 1]]))
        assert capture.points is not None
        xyz = _undone_points(splits["train"], np.array([*APPLIED, [0, 0, 0, 1]]))
        torch.testing.assert_close(xyz, capture.points.xyz.double(), **WORLD)
        assert len(splits["train"]["masks"]) == len(train)
        assert capture.frames[0].load_mask is not None
        found = torch.tensor(splits["train"]["distortion"])
        torch.testing.assert_close(found, torch.tensor(list(_lens(kind).values())).expand_as(found))


class TestMethod:
    def test_the_entry_point_names_what_is_there(self) -> None:
        entry = 'fewview-instantsplat = "fewview.recon.nerfstudio_plugin.method:fewview_instantsplat"'
        assert entry in (PACKAGE / "pyproject.toml").read_text(encoding="utf-8")
        assert '"fewview.recon.nerfstudio_plugin",' in (PACKAGE / "pyproject.toml").read_text(encoding="utf-8")
        body = ast.parse((PLUGIN / "method.py").read_text(encoding="utf-8")).body
        assigned = {t.id for n in body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
        assert "fewview_instantsplat" in assigned

    def test_nothing_else_imports_nerfstudio(self) -> None:
        rooms = ("scene", "render", "recon", "detect", "viewer", "commands")
        files = [f for room in rooms for f in (PACKAGE / room).rglob("*.py")] + list(PACKAGE.glob("*.py"))
        importing = {f.relative_to(PACKAGE) for f in files if any(m == "nerfstudio" for m in _imported(f))}
        assert importing
        assert all(f.parent == PLUGIN.relative_to(PACKAGE) for f in importing)

    def test_it_trains_evaluates_and_exports(self, tmp_path: Path) -> None:
        nerfstudio_python()
        run = small_run(tmp_path / "run")
        train = ("fewview-instantsplat", "--data", str(run.cameras_path), "--vis", "tensorboard")
        run_nerfstudio("-m", "nerfstudio.scripts.train", *train, "--max-num-iterations", "12", folder=tmp_path)
        (config,) = (tmp_path / "outputs").rglob("config.yml")
        load = ("--load-config", str(config.relative_to(tmp_path)))
        run_nerfstudio("-m", "nerfstudio.scripts.eval", *load, "--output-path", "eval.json", folder=tmp_path)
        assert 5 < json.loads((tmp_path / "eval.json").read_text())["results"]["psnr"] < 60
        run_nerfstudio(
            "-m", "nerfstudio.scripts.exporter", "gaussian-splat", *load, "--output-dir", "out", folder=tmp_path
        )
        gaussians = load_splat(tmp_path / "out" / "splat.ply").gaussians
        assert gaussians.sh_degree == 1
        (checkpoint,) = config.parent.rglob("*.ckpt")
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)["pipeline"]
        assert 100 < len(gaussians) <= len(saved["_model.start"])  # those that nobody sees are left out


def _half_masked_run(folder: Path) -> Run:
    """A run whose first photograph alone has a mask and depth."""
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[0, 0] = False
    capture = small_capture()
    first = replace(
        capture.frames[0], load_mask=lambda: mask, load_depth=lambda: np.full((HEIGHT, WIDTH), 2.5, np.float32)
    )
    run = Run.create(folder, {})
    save_capture(run, replace(capture, frames=(first, *capture.frames[1:])), 96)
    return run


def _lens(kind: str) -> dict[str, float]:
    if kind == "fisheye":
        return {"k1": 0.01, "k2": -0.02, "k3": 0.003, "k4": 0.001, "p1": 0.0, "p2": 0.0}
    return DISTORTION if kind == "shared" else dict.fromkeys(DISTORTION, 0.0)


def _write_data_set(folder: Path, kind: str) -> None:
    """As ns-process-data leaves them: applied_transform, masks, points, smaller copies, a split by names."""
    n = 6
    cameras = ring_cameras(n)
    if kind == "each":
        cameras.K[:, 0, 0] += torch.arange(n)
    names = [f"images/frame_{i:05d}.png" for i in range(n)]
    table = transforms_table(cameras, names, applied_transform=APPLIED, ply_file_path="sparse_pc.ply", **_lens(kind))
    table["camera_model"] = "OPENCV_FISHEYE" if kind == "fisheye" else "OPENCV"
    if kind != "each":  # in nerfstudio's files what all photographs share stands at the top, and not with each
        table |= {key: table["frames"][0][key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
        for frame in table["frames"]:
            for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
                del frame[key]
    mask = np.full((30, 40), 255, np.uint8)
    mask[:5] = 0
    (folder / "masks").mkdir()
    for i, frame in enumerate(table["frames"]):
        write_photo(folder / names[i], seed=i)
        write_photo(folder / "images_2" / Path(names[i]).name, 20, 15, seed=i)
        frame["mask_path"] = f"masks/frame_{i:05d}.png"
        cv2.imwrite(str(folder / frame["mask_path"]), mask)
    table |= {"train_filenames": names[:4], "val_filenames": names[4:], "test_filenames": names[4:]}
    points = random_points(20, n)
    write_points(folder / "sparse_pc.ply", replace(points, seen_point=None, seen_view=None))
    rewrite(folder / "transforms.json", table)


def _assert_same(
    found: dict[str, Any], capture: Capture, chosen: list[int], folder: Path, applied: np.ndarray | None = None
) -> None:
    """One split of nerfstudio's against the chosen frames of a capture: files, poses, intrinsics and sizes."""
    assert capture.cameras is not None
    table = json.loads(next(folder.glob("[tc]*s.json")).read_text())["frames"]
    assert found["images"] == [str(folder / table[i]["file_path"]) for i in chosen]
    world_from_cam = capture.cameras.world_from_cam[chosen].double()
    torch.testing.assert_close(_undone_poses(found, np.eye(4) if applied is None else applied), world_from_cam, **WORLD)
    torch.testing.assert_close(torch.tensor(found["K"]), capture.cameras.K[chosen])
    sizes = torch.stack([capture.cameras.width, capture.cameras.height], dim=-1)[chosen]
    assert found["size"] == sizes.tolist()


def _undone_poses(found: dict[str, Any], applied: np.ndarray) -> torch.Tensor:
    """nerfstudio's camera-to-world [N, 4, 4] with its scale, orientation and OpenGL axes taken back."""
    poses = np.tile(np.eye(4), (len(found["camera_to_worlds"]), 1, 1))
    poses[:, :3] = found["camera_to_worlds"]
    poses[:, :3, 3] /= found["scale"]
    back = applied @ np.linalg.inv(np.array([*found["transform"], [0, 0, 0, 1]]))
    return torch.from_numpy(back @ poses @ np.diag([1.0, -1, -1, 1]))


def _undone_points(found: dict[str, Any], applied: np.ndarray) -> torch.Tensor:
    """Its points [N, 3] in the world of the file."""
    back = applied @ np.linalg.inv(np.array([*found["transform"], [0, 0, 0, 1]]))
    xyz = np.array(found["points"]) / found["scale"]
    return torch.from_numpy(xyz @ back[:3, :3].T + back[:3, 3])


def _imported(file: Path) -> list[str]:
    """First names of the absolute imports of a file."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    plain = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    named = [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.level == 0 and n.module]
    return [name.split(".")[0] for name in (*plain, *named)]
