"""Splats and point clouds come back from PLY files as they went in, whatever other tools made of the layout."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.scene.formats import splat_ply as ply
from fewview.scene.gaussians import Gaussians
from fewview.scene.points_ply import read_points, write_points
from fewview.scene.splat import StaticSplat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.datasets import random_gaussians, random_points


def _same(a: Gaussians, b: Gaussians) -> None:
    for field in fields(a):
        assert torch.equal(getattr(a, field.name), getattr(b, field.name)), field.name


def _rows(g: Gaussians) -> dict[str, np.ndarray]:
    """The columns of the interchange format, from its definition: `f_rest` is channel-major."""
    columns = {axis: g.means[:, i] for i, axis in enumerate("xyz")}
    columns |= {f"f_dc_{c}": g.sh[:, 0, c] for c in range(3)}
    per_channel = g.sh.shape[1] - 1
    columns |= {f"f_rest_{c * per_channel + k}": g.sh[:, 1 + k, c] for c in range(3) for k in range(per_channel)}
    columns |= {"opacity": g.opacity_logits}
    columns |= {f"scale_{i}": g.log_scales[:, i] for i in range(3)}
    columns |= {f"rot_{i}": g.quats[:, i] for i in range(4)}
    return {name: column.numpy() for name, column in columns.items()}


def _binary(
    columns: dict[str, np.ndarray], types: dict[str, str] | None = None, end: str = "\n", order: str = "<"
) -> bytes:
    """A binary PLY written by hand; `types` gives PLY types of columns other than float."""
    kinds = {"float": "f4", "double": "f8", "uchar": "u1", "int32": "i4"}
    names = list(columns)
    types = {name: (types or {}).get(name, "float") for name in names}
    rows = np.zeros(len(columns[names[0]]), [(name, order + kinds[types[name]]) for name in names])
    for name in names:
        rows[name] = columns[name]
    layout = "binary_little_endian" if order == "<" else "binary_big_endian"
    header = ["ply", f"format {layout} 1.0", "comment made by hand", f"element vertex  {len(rows)} "]
    header += [f"property  {types[name]} {name} " for name in names] + ["end_header", ""]
    return end.join(header).encode() + rows.tobytes()


@pytest.mark.parametrize("degree", range(5))
@pytest.mark.parametrize("n", [0, 1, 5])
def test_splats_come_back_bit_for_bit(tmp_path: Path, degree: int, n: int) -> None:
    gaussians = random_gaussians(n, degree)
    ply.write(tmp_path / "a.ply", StaticSplat(gaussians))
    read = ply.read(tmp_path / "a.ply")
    _same(read.gaussians, gaussians)
    assert not read.antialiased
    assert read.notes == ()
    ply.write(tmp_path / "b.ply", StaticSplat(read.gaussians))
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=23, max_size=23),
    opacity=st.floats(width=32, allow_nan=False),
)
def test_every_finite_value_survives(tmp_path: Path, values: list[float], opacity: float) -> None:
    v = torch.tensor(values)
    gaussians = Gaussians(
        v[None, :3], v[None, 3:7], v[None, 7:10], torch.tensor([opacity]), v[None, 10:22].reshape(1, 4, 3)
    )
    ply.write(tmp_path / "a.ply", StaticSplat(gaussians))
    _same(ply.read(tmp_path / "a.ply").gaussians, gaussians)


@pytest.mark.parametrize("comment", ["antialiased 1", "SplatRenderMode: mip", "SplatRenderMode:  MIP"])
def test_antialiased_is_read_from_either_comment(tmp_path: Path, comment: str) -> None:
    ply.write(tmp_path / "a.ply", StaticSplat(random_gaussians(2, 0)), comments=[comment])
    assert ply.read(tmp_path / "a.ply").antialiased


def test_antialiased_is_written(tmp_path: Path) -> None:
    ply.write(tmp_path / "a.ply", StaticSplat(random_gaussians(2, 0), antialiased=True), comments=["SH degree: 0"])
    assert ply.read(tmp_path / "a.ply").antialiased
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header")[0]
    assert b"comment antialiased 1\ncomment SplatRenderMode: mip\ncomment SH degree: 0\n" in header


def test_a_comment_cannot_smuggle_in_header_lines(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one line"):
        ply.write(tmp_path / "a.ply", StaticSplat(random_gaussians(2, 0)), comments=["x\nelement vertex 1"])


class TestOtherWriters:
    """Layouts of other programs hold the same splat."""

    g = random_gaussians(4, 3)

    def _check(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        _same(ply.read(path).gaussians, self.g)

    def test_brush_order(self, tmp_path: Path) -> None:
        rows = _rows(self.g)
        order = ("x", "y", "z", "scale", "opacity", "rot", "f_dc", "f_rest")
        names = sorted(rows, key=lambda name: order.index(next(o for o in order if name.startswith(o))))
        assert names != list(rows)
        self._check(tmp_path / "a.ply", _binary({name: rows[name] for name in names}))

    def test_normals_and_extra_columns_of_other_types(self, tmp_path: Path) -> None:
        rows = _rows(self.g)
        zero = np.zeros(4)
        columns = {"nx": zero, **rows, "ny": zero, "label": np.arange(4), "red": np.arange(4)}
        self._check(tmp_path / "a.ply", _binary(columns, {"nx": "double", "label": "int32", "red": "uchar"}))

    def test_double_positions(self, tmp_path: Path) -> None:
        self._check(tmp_path / "a.ply", _binary(_rows(self.g), dict.fromkeys("xyz", "double")))

    def test_windows_line_ends(self, tmp_path: Path) -> None:
        self._check(tmp_path / "a.ply", _binary(_rows(self.g), end="\r\n"))

    def test_big_endian(self, tmp_path: Path) -> None:
        self._check(tmp_path / "a.ply", _binary(_rows(self.g), order=">"))

    def test_extra_elements_before_and_after(self, tmp_path: Path) -> None:
        data = _binary(_rows(self.g))
        head, body = data.split(b"element vertex")[0], data.split(b"element vertex")[1]
        properties, rows = body.split(b"end_header\n", 1)
        extra = b"element camera 2\nproperty uchar id\nproperty double f\n"
        faces = b"element face 1\nproperty list uchar int vertex_indices\n"
        data = (
            head
            + extra
            + b"element vertex"
            + properties
            + faces
            + b"end_header\n"
            + b"\1" * 18
            + rows
            + b"\3"
            + b"\0" * 12
        )
        self._check(tmp_path / "a.ply", data)

    def test_ascii(self, tmp_path: Path) -> None:
        rows = _rows(self.g)
        header = [
            "ply",
            "format ascii 1.0",
            "element vertex 4",
            *(f"property float {name}" for name in rows),
            "end_header",
        ]
        lines = [" ".join(repr(float(rows[name][i])) for name in rows) for i in range(4)]
        self._check(tmp_path / "a.ply", "\n".join([*header, *lines, ""]).encode())

    def test_colours_instead_of_the_constant_harmonic(self, tmp_path: Path) -> None:
        rows = {name: column for name, column in _rows(random_gaussians(2, 0)).items() if not name.startswith("f_dc")}
        rows |= {"red": np.array([255, 0]), "green": np.array([0, 51]), "blue": np.array([0, 255])}
        (tmp_path / "a.ply").write_bytes(_binary(rows, dict.fromkeys(("red", "green", "blue"), "uchar")))
        colors = ply.read(tmp_path / "a.ply").gaussians.base_colors
        torch.testing.assert_close(colors, torch.tensor([[1.0, 0, 0], [0, 0.2, 1]]), rtol=0, atol=1e-6)  # float32

    def test_flat_splats_get_a_thickness(self, tmp_path: Path) -> None:
        rows = _rows(self.g)
        del rows["scale_2"]
        (tmp_path / "a.ply").write_bytes(_binary(rows))
        read = ply.read(tmp_path / "a.ply")
        ratio = read.gaussians.scales[:, 2] / read.gaussians.scales[:, :2].amin(1)
        torch.testing.assert_close(ratio, torch.full((4,), 1e-3), rtol=1e-5, atol=0)  # exp and ln in float32
        assert "2DGS" in read.notes[0]


class TestPoints:
    @pytest.mark.parametrize("n", [0, 1, 9])
    def test_points_and_observations_come_back(self, tmp_path: Path, n: int) -> None:
        cloud = random_points(n, 3)
        write_points(tmp_path / "a.ply", cloud)
        read = read_points(tmp_path / "a.ply")
        for field in fields(cloud):
            a, b = getattr(cloud, field.name), getattr(read, field.name)
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field.name
        write_points(tmp_path / "b.ply", read)
        assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()

    def test_points_that_are_not_finite_take_their_observations_along(self, tmp_path: Path) -> None:
        cloud = random_points(6, 4)
        cloud.xyz[2, 1] = torch.nan
        write_points(tmp_path / "a.ply", cloud)
        read = read_points(tmp_path / "a.ply")
        keep = torch.tensor([0, 1, 3, 4, 5])
        expected = cloud[keep]
        assert torch.equal(read.xyz, expected.xyz)
        assert expected.seen_point is not None
        assert read.seen_point is not None
        assert torch.equal(read.seen_point, expected.seen_point)

    def test_text_with_colours(self, tmp_path: Path) -> None:
        (tmp_path / "a.ply").write_text(
            "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
            "property uint8 red\nproperty uint8 green\nproperty uint8 blue\nend_header\n"
            "1 2 3 10 20 30\n4 5 6 40 50 60\n"
        )
        read = read_points(tmp_path / "a.ply")
        assert read.xyz.tolist() == [[1, 2, 3], [4, 5, 6]]
        assert read.rgb.tolist() == [[10, 20, 30], [40, 50, 60]]
        assert read.seen_point is None

    def test_a_splat_is_also_a_point_cloud(self, tmp_path: Path) -> None:
        g = random_gaussians(3, 1)
        ply.write(tmp_path / "a.ply", StaticSplat(g))
        assert torch.equal(read_points(tmp_path / "a.ply").xyz, g.means)
