"""Inputs told apart by what they hold: splats, points, meshes, photographs, and what other programs read."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.scene.errors import BadInputError
from fewview.scene.formats import file_for_viewers, load_splat, save_splat, splat_file
from fewview.scene.formats.format_table import OTHER_FORMATS
from fewview.scene.ply_file import write_elements
from fewview.scene.point_cloud import PointCloud
from fewview.scene.points_input import holds_points, read_any_points
from fewview.scene.points_ply import write_points
from fewview.scene.readers import read_capture
from fewview.scene.splat import StaticSplat
from fewview.viewer.edit_session import Session
from fewview.viewer.subjects.capture_subject import CaptureSubject
from fewview.viewer.subjects.loader import load_subject
from fewview.viewer.subjects.mesh_subject import MeshSubject
from fewview.viewer.subjects.points_subject import PointsSubject
from fewview.viewer.subjects.splat_subject import SplatSubject
from PIL import Image
from support.command import assert_one_sentence, fewview
from support.gltf_builder import Builder
from support.small_run import small_gaussians, small_run


@pytest.fixture
def sog_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "statue"
    folder.mkdir()
    save_splat(folder / "meta.json", StaticSplat(small_gaussians(60)))
    return folder


def test_a_sog_folder_is_a_splat(tmp_path: Path, sog_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert splat_file(sog_folder) == sog_folder / "meta.json"
    subject = load_subject(sog_folder)
    assert isinstance(subject, SplatSubject)
    assert (subject.title, len(subject.splat or ())) == ("statue", 60)
    assert len(load_splat(sog_folder)) == 60
    done = fewview(capsys, "convert", sog_folder, tmp_path / "a.ply", "--json")
    assert done.code == 0, done.err
    assert done.json["input"]["path"] == str(sog_folder / "meta.json")
    assert fewview(capsys, "edit", sog_folder, "-o", tmp_path / "b.ply").code == 0
    with pytest.raises(BadInputError, match=r"statue is a splat or points, which `fewview view` shows"):
        read_capture(sog_folder)


def test_a_sog_folder_is_handed_on_whole(tmp_path: Path, sog_folder: Path) -> None:
    name, data = file_for_viewers(sog_folder / "meta.json")
    assert name == "statue.sog"
    (tmp_path / name).write_bytes(data)
    found, expected = load_splat(tmp_path / name).gaussians, load_splat(sog_folder).gaussians
    for field, value in vars(expected).items():
        assert torch.equal(getattr(found, field), value)
    session = Session(StaticSplat(expected), lambda g: g.base_colors, splat_path=sog_folder / "meta.json")
    assert session.new_name() == "edited.sog"


@pytest.mark.parametrize("text", ["{}", "[]", "not JSON", json.dumps({"means": {}, "quats": 3, "scales": {}})])
def test_photographs_beside_another_meta_json_are_photographs(tmp_path: Path, text: str) -> None:
    (tmp_path / "meta.json").write_text(text)
    for i in range(3):
        Image.fromarray(np.full((40, 60, 3), 50 * i, np.uint8)).save(tmp_path / f"{i}.png")
    assert splat_file(tmp_path) is None
    assert len(read_capture(tmp_path)) == 3
    assert isinstance(load_subject(tmp_path), CaptureSubject)


def test_a_zip_that_converts_is_shown(tmp_path: Path, sog_folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scene.zip", "w") as bundle:
        for path in sog_folder.iterdir():
            bundle.write(path, path.name)
    assert isinstance(load_subject(tmp_path / "scene.zip"), SplatSubject)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as bundle:
        bundle.writestr("a.jpg", b"")
    with pytest.raises(BadInputError, match=r"ZIP without a meta\.json"):
        load_subject(tmp_path / "photos.zip")


@pytest.mark.parametrize("ending", OTHER_FORMATS)
def test_what_others_read_gets_advice(tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / (ending if ending.endswith("json") else f"scene{ending}")
    path.write_bytes(b'{"a": 1}' * 20)
    what, advice = OTHER_FORMATS[ending]
    expected = advice.format(name=path.name)
    for command in (("convert", path, tmp_path / "a.ply"), ("render", path), ("edit", path, "-o", tmp_path / "b.ply")):
        assert_one_sentence(fewview(capsys, *command), 2, str(path), what, expected)
    with pytest.raises(BadInputError, match=what):
        load_subject(path)
    if not ending.endswith("json"):  # which is read as a transforms.json where photographs are expected
        with pytest.raises(BadInputError, match=what):
            read_capture(path)


def test_a_splat_where_photographs_are_expected(tmp_path: Path) -> None:
    save_splat(tmp_path / "a.ply", StaticSplat(small_gaussians(5)))
    with pytest.raises(BadInputError, match=r"a\.ply is a splat or points, which `fewview view` shows"):
        read_capture(tmp_path / "a.ply")


def test_content_comes_before_a_name_that_gets_advice(tmp_path: Path) -> None:
    save_splat(tmp_path / "a.sog", StaticSplat(small_gaussians(20)))
    (tmp_path / "a.sog").rename(tmp_path / "a.sogs")
    assert len(load_splat(tmp_path / "a.sogs")) == 20


# -- points -------------------------------------------------------------------------------------------------------


def test_the_sparse_points_of_a_run_are_shown_upright(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    subject = load_subject(run.points_path)
    assert isinstance(subject, PointsSubject)
    assert torch.equal(subject.points(), small_gaussians().means)
    rank, stage = subject.own_stage()
    assert rank > load_subject(run).own_stage()[0]
    assert float(stage.up @ load_subject(run).own_stage()[1].up) > 0.99


def test_points_and_vertices_of_ply(tmp_path: Path) -> None:
    xyz = torch.rand(7, 3, generator=torch.Generator().manual_seed(1))
    rgb = torch.arange(21, dtype=torch.uint8).reshape(7, 3)
    write_points(tmp_path / "a.ply", PointCloud(xyz, rgb))
    cloud, notes = read_any_points(tmp_path / "a.ply")
    assert torch.equal(cloud.xyz, xyz)
    assert torch.equal(cloud.rgb, rgb)
    assert notes == ()
    text = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    text += "element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    (tmp_path / "mesh.ply").write_text(text)
    subject = load_subject(tmp_path / "mesh.ply")
    assert isinstance(subject, MeshSubject)
    assert subject.points().tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert subject.mesh.faces.tolist() == [[0, 1, 2]]
    (tmp_path / "none.ply").write_text(text.replace("vertex 3", "vertex 0").replace("face 1", "face 0"))
    with pytest.raises(BadInputError, match="no points with finite positions"):
        load_subject(tmp_path / "none.ply")


def test_a_splat_is_no_point_cloud(tmp_path: Path) -> None:
    for name in ("a.ply", "a.compressed.ply", "a.glb", "a.spz"):
        save_splat(tmp_path / name, StaticSplat(small_gaussians(5)))
        assert not holds_points(tmp_path / name)
    rows = np.zeros(3, [(name, "<f4") for name in ("x", "y", "z", "opacity", "scale_0")])
    write_elements(tmp_path / "half.ply", {"vertex": rows})  # a splat that lacks something, and says what
    assert not holds_points(tmp_path / "half.ply")
    with pytest.raises(BadInputError, match="scale_1, rot_0"):
        load_subject(tmp_path / "half.ply")


def test_vertices_of_gltf_meshes(tmp_path: Path) -> None:
    builder = Builder()
    corners = [(0, 0, 0), (1, 0, 0), (0, 2, 0)]
    attributes = {
        "POSITION": builder.attribute("VEC3", 5126, corners),
        "COLOR_0": builder.attribute("VEC4", 5123, [(65535, 0, 0, 65535), (0, 14030, 0, 0), (0, 0, 0, 0)], True),
    }
    builder.root |= {"extensionsUsed": [], "meshes": [{"primitives": [{"attributes": attributes}]}]}
    builder.root["nodes"][0]["translation"] = [5, 0, 0]
    path = tmp_path / "a.gltf"
    path.write_text(json.dumps(builder.root))
    assert isinstance(load_subject(path), MeshSubject)
    builder.root["meshes"][0]["primitives"][0]["mode"] = 0
    path.write_text(json.dumps(builder.root))
    assert isinstance(load_subject(path), PointsSubject)
    cloud, notes = read_any_points(path)
    assert cloud.xyz.tolist() == [[5, 0, 0], [6, 0, 0], [5, 2, 0]]
    # 14030 / 65535 is linear light; sRGB has half of its range for it (IEC 61966-2-1).
    assert cloud.rgb.tolist() == [[255, 0, 0], [0, 128, 0], [0, 0, 0]]
    assert notes == ()
