"""Damaged and hostile driving data gives one sentence that names the place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewview.scene import json_stream
from fewview.scene.datasets.lidar_files import read_lidar
from fewview.scene.datasets.mmdet3d_info import read_info
from fewview.scene.datasets.nuscenes_log import NuScenes
from fewview.scene.datasets.nuscenes_results import read_results
from fewview.scene.errors import BadInputError
from fewview.scene.json_stream import stream_members, stream_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import write_photo
from support.nuscenes_folder import Drive, write_nuscenes


@pytest.fixture
def drive(tmp_path: Path) -> Drive:
    return write_nuscenes(tmp_path / "data")


def _refused(drive: Drive, match: str) -> None:
    with pytest.raises(BadInputError, match=match) as caught:
        NuScenes(drive.root).frame(1, sweeps=3)
    assert "\n" not in str(caught.value)


class TestTables:
    @pytest.mark.parametrize("name", ["scene", "ego_pose", "calibrated_sensor", "sensor", "category", "instance"])
    def test_missing(self, drive: Drive, name: str) -> None:
        (drive.folder / f"{name}.json").unlink()
        _refused(drive, f"{name}.json is not there; a nuScenes-format folder needs this table")

    def test_no_tables_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(BadInputError, match="holds no nuScenes-format tables"):
            NuScenes(tmp_path)

    def test_several_versions(self, drive: Drive, tmp_path: Path) -> None:
        other = drive.root / "v1.0-other"
        other.mkdir()
        for name in ("sample", "sample_data"):
            (other / f"{name}.json").write_text("[]")
        _refused(drive, r"holds several versions \(v1.0-mini, v1.0-other\); name one of them")
        assert len(NuScenes(drive.folder)) == 4
        with pytest.raises(BadInputError, match=r"scene\.json is not there"):
            NuScenes(other)

    def test_no_samples(self, drive: Drive) -> None:
        drive.tables["sample"] = []
        drive.rewrite("sample")
        _refused(drive, "lists no samples")

    @pytest.mark.parametrize(
        ("table", "field", "target"),
        [
            ("sample", "scene_token", "scene"),
            ("sample_data", "sample_token", "sample"),
            ("sample_data", "ego_pose_token", "ego_pose"),
            ("sample_data", "calibrated_sensor_token", "calibrated_sensor"),
            ("calibrated_sensor", "sensor_token", "sensor"),
            ("sample_annotation", "sample_token", "sample"),
            ("sample_annotation", "instance_token", "instance"),
            ("sample_annotation", "next", "sample_annotation"),
            ("instance", "category_token", "category"),
        ],
    )
    def test_dangling_token(self, drive: Drive, table: str, field: str, target: str) -> None:
        drive.tables[table][0][field] = "f" * 32
        drive.rewrite(table)
        _refused(drive, f"A '{field}' of {table} names the token '{'f' * 32}', which no row of {target}.json has")

    def test_dangling_sweep(self, drive: Drive) -> None:
        row = drive.row("sample_data", is_key_frame=False)
        row["prev"] = "lost"
        drive.rewrite("sample_data")
        _refused(drive, "A 'prev' of LIDAR_TOP in sample_data names the token 'lost'")

    def test_sweep_before_that_is_a_photograph(self, drive: Drive) -> None:
        drive.row("sample_data", is_key_frame=False)["prev"] = drive.row("sample_data", fileformat="jpg")["token"]
        drive.rewrite("sample_data")
        _refused(drive, "A 'prev' of LIDAR_TOP")

    def test_empty_reference(self, drive: Drive) -> None:
        drive.tables["sample"][0]["scene_token"] = ""
        drive.rewrite("sample")
        _refused(drive, "A 'scene_token' of sample names no token")

    def test_token_twice(self, drive: Drive) -> None:
        drive.tables["scene"][1]["token"] = drive.tables["scene"][0]["token"]
        drive.rewrite("scene")
        _refused(drive, "scene.json has two rows with the token")

    def test_two_key_frames(self, drive: Drive) -> None:
        rows = [r for r in drive.tables["sample_data"] if r["filename"].startswith("samples/CAM_BACK/")]
        rows[1]["sample_token"] = rows[0]["sample_token"]
        drive.rewrite("sample_data")
        _refused(drive, "two key frames of CAM_BACK")

    def test_sample_without_lidar(self, drive: Drive) -> None:
        for row in drive.tables["sample_data"]:
            if row["fileformat"] == "pcd":
                row["is_key_frame"] = False
        drive.rewrite("sample_data")
        _refused(drive, "has no key frame of LIDAR_TOP")

    @pytest.mark.parametrize(
        ("table", "field", "value", "match"),
        [
            ("sample", "timestamp", "now", "'timestamp', should be a whole number, found 'now'"),
            ("sample", "timestamp", True, "should be a whole number"),
            ("sample", "timestamp", 1.5, "should be a whole number"),
            ("sample", "token", 7, "'token', should be text, found 7"),
            ("sample", "token", "a\0b", "'token', should be text"),
            ("sample", "token", "x" * 5000, "text of at most 1024 bytes"),
            ("sample_data", "is_key_frame", "yes", "should be true or false"),
            ("sample_data", "filename", None, "'filename', should be text"),
            ("ego_pose", "translation", [1, 2], "'translation', should be 3 finite numbers"),
            ("ego_pose", "translation", [1, 2, "3"], "3 finite numbers"),
            ("ego_pose", "rotation", [0, 0, 0, 0], "w, x, y, z of unit length"),
            ("ego_pose", "rotation", [2, 0, 0, 0], "of unit length"),
            ("calibrated_sensor", "camera_intrinsic", [[1, 0], [0, 1]], "3 x 3 finite numbers"),
            ("calibrated_sensor", "camera_intrinsic", [[0, 0, 1], [0, 1, 0], [0, 0, 1]], "positive focal lengths"),
            ("sample_annotation", "size", [1, 0, 2], "'size', should be 3 positive numbers"),
            ("sample_annotation", "translation", [1, 2, 10**400], "'translation', should be 3 finite numbers"),
            ("sample_annotation", "attribute_tokens", ["a", "b"], "a list of at most one token"),
            ("sample_annotation", "num_lidar_pts", None, "should be a whole number"),
        ],
    )
    def test_values(self, drive: Drive, table: str, field: str, value: Any, match: str) -> None:
        drive.tables[table][0][field] = value
        drive.rewrite(table)
        _refused(drive, f"{table}.json: row 0, .*{match}" if "'" not in match else f"{table}.json: row 0, {match}")

    def test_missing_field(self, drive: Drive) -> None:
        del drive.tables["sample_annotation"][3]["translation"]
        drive.rewrite("sample_annotation")
        _refused(drive, "sample_annotation.json: row 3 has no 'translation'")

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
    def test_boxes_that_are_not_finite(self, drive: Drive, number: str) -> None:
        path = drive.folder / "sample_annotation.json"
        drive.tables["sample_annotation"][5]["translation"] = ["HERE", 0, 0]
        path.write_text(json.dumps(drive.tables["sample_annotation"]).replace('"HERE"', number))
        _refused(drive, f"row 5 cannot be used: the number {number} is not finite")

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("", "the file should hold a list"),
            ("{}", "the file should hold a list"),
            ("[", "row 0 is not JSON"),
            ('[{"token": "x"}', "row 0 should be followed by a comma"),
            ("[1]", "row 0 should be an object, found int"),
            ('[{"token": "x"}] x', "row 0 is followed by something else"),
            ('[{"a": 1, "a": 2}]', "the key 'a' is given twice"),
        ],
    )
    def test_text(self, drive: Drive, text: str, match: str) -> None:
        (drive.folder / "ego_pose.json").write_text(text)
        _refused(drive, match)

    def test_bytes(self, drive: Drive) -> None:
        (drive.folder / "ego_pose.json").write_bytes(b'[{"token": "\xff\xfe"}]')
        _refused(drive, "could not be read further")


class TestFiles:
    def _file(self, drive: Drive, channel: str) -> Path:
        rows = [r for r in drive.tables["sample_data"] if r["filename"].startswith(f"samples/{channel}/")]
        return drive.root / rows[1]["filename"]

    @pytest.mark.parametrize("keep", [-1, -20 * 3 - 4, 7])
    def test_sweep_cut_short(self, drive: Drive, keep: int) -> None:
        path = self._file(drive, "LIDAR_TOP")
        data = path.read_bytes()[:keep]
        path.write_bytes(data)
        _refused(drive, rf"{path.name} has {len(data)} bytes; a multiple of 20 \(5 float32 numbers a point\)")

    def test_sweep_empty_or_gone(self, drive: Drive) -> None:
        path = self._file(drive, "LIDAR_TOP")
        path.write_bytes(b"")
        _refused(drive, "has 0 bytes")
        path.unlink()
        _refused(drive, "The LiDAR sweep .* could not be read")

    def test_points_that_are_not_finite_are_left_out(self, tmp_path: Path) -> None:
        rows = np.arange(20, dtype="<f4").reshape(4, 5)
        rows[1, 0], rows[2, 3], rows[3, 4] = np.nan, np.inf, np.nan  # the last column is not used
        rows.tofile(tmp_path / "a.bin")
        assert read_lidar(tmp_path / "a.bin").xyz.tolist() == [[0, 1, 2], [15, 16, 17]]

    def test_photograph_gone(self, drive: Drive) -> None:
        self._file(drive, "CAM_FRONT").unlink()
        _refused(drive, "The photograph .*CAM_FRONT.* is not there, though v1.0-mini lists it")

    def test_photograph_of_another_size(self, drive: Drive) -> None:
        write_photo(self._file(drive, "CAM_FRONT"), 32, 18)
        _refused(drive, "has 32 x 18 pixels, but sample_data says 64 x 36")

    def test_photograph_without_matrix(self, drive: Drive) -> None:
        drive.tables["calibrated_sensor"][0]["camera_intrinsic"] = []
        drive.rewrite("calibrated_sensor")
        _refused(drive, "CAM_FRONT of .* has no camera_intrinsic")

    @pytest.mark.parametrize("name", ["../outside.jpg", "/etc/passwd"])
    def test_paths_stay_inside(self, drive: Drive, name: str) -> None:
        for row in drive.tables["sample_data"]:
            row["filename"] = name
        drive.rewrite("sample_data")
        _refused(drive, "lies outside of")

    def test_unknown_token(self, drive: Drive) -> None:
        with pytest.raises(BadInputError, match="has no sample with the token 'nobody'"):
            NuScenes(drive.root).frame("nobody")


GOOD = {
    "translation": [1.0, 2.0, 3.0],
    "size": [2.0, 4.0, 1.5],
    "rotation": [1.0, 0.0, 0.0, 0.0],
    "velocity": [0.0, 1.0],
    "detection_name": "car",
    "detection_score": 0.5,
    "attribute_name": "vehicle.moving",
}


class TestResults:
    def _refused(self, tmp_path: Path, value: Any, match: str) -> None:
        (tmp_path / "r.json").write_text(value if isinstance(value, str) else json.dumps(value))
        with pytest.raises(BadInputError, match=match):
            read_results(tmp_path / "r.json")

    def test_a_good_one(self, tmp_path: Path) -> None:
        (tmp_path / "r.json").write_text(json.dumps({"meta": {}, "results": {"t": [GOOD]}}))
        boxes = read_results(tmp_path / "r.json")["t"]
        assert boxes.sizes.tolist() == [[4, 2, 1.5]]  # length first

    @pytest.mark.parametrize(
        ("field", "value", "match"),
        [
            ("detection_name", "tank", "should be one of car, truck"),
            ("detection_name", ["car"], "should be one of car, truck"),
            ("attribute_name", "flying", "should be one of vehicle.moving"),
            ("detection_score", "high", "should be 1 finite numbers"),
            ("size", [1, -1, 1], "should be 3 positive numbers"),
            ("velocity", [1], "should be 2 finite numbers"),
            ("rotation", [0, 0, 0, 0], "unit length"),
        ],
    )
    def test_fields(self, tmp_path: Path, field: str, value: Any, match: str) -> None:
        entry = {"results": {"t": [GOOD, {**GOOD, field: value}]}}
        self._refused(tmp_path, entry, f"sample 't', box 1, '{field}', .*{match}")

    def test_missing_field(self, tmp_path: Path) -> None:
        entry = {k: v for k, v in GOOD.items() if k != "size"}
        self._refused(tmp_path, {"results": {"t": [entry]}}, "sample 't', box 0 has no 'size'")

    @pytest.mark.parametrize(
        ("value", "match"),
        [
            ({"meta": {}}, "has no key 'results'"),
            ([], "the file should hold an object"),
            ({"results": []}, "'results' should be an object"),
            ({"results": {"t": 3}}, "should have a list of boxes, found int"),
            ({"results": {"t": [3]}}, "box 0 should be an object, found int"),
            ('{"results": {"t": [], "t": []}}', "'t' is given twice"),
            ('{"results": {"t": [{"detection_score": NaN}]}}', "the number NaN is not finite"),
            ('{"results": {"t": []', "should be followed by a comma"),
            ('{"results": {3: []}}', "a name in quotes is expected"),
        ],
    )
    def test_forms(self, tmp_path: Path, value: Any, match: str) -> None:
        self._refused(tmp_path, value, match)


class TestInfo:
    @pytest.fixture
    def table(self, drive: Drive) -> dict[str, Any]:
        """An info file's record of the second sample, with two of its cameras."""
        frame = NuScenes(drive.root).frame(1)
        cameras = frame.capture.cameras
        assert cameras is not None
        sample = frame.token
        names = {
            row["filename"].split("/")[1]: row["filename"].split("/")[2]
            for row in drive.tables["sample_data"]
            if row["sample_token"] == sample and row["is_key_frame"]
        }
        images = {
            channel: {
                "img_path": names[channel],
                "cam2img": cameras.K[i].tolist(),
                "lidar2cam": cameras.cam_from_world[i].tolist(),
            }
            for i, channel in enumerate(frame.capture.names[:2])
        }
        record = {
            "token": sample,
            "timestamp": frame.timestamp_us / 1e6,
            "ego2global": frame.global_from_ego.tolist(),
            "images": images,
            "lidar_points": {
                "num_pts_feats": 5,
                "lidar_path": names["LIDAR_TOP"],
                "lidar2ego": frame.ego_from_lidar.tolist(),
            },
            "instances": [
                {"bbox_3d": [1, 2, 0, 4, 2, 1.5, 0.3], "bbox_label_3d": 0, "velocity": [1.0, 2.0], "num_lidar_pts": 3},
                {"bbox_3d": [5, 2, 0, 1, 1, 2, 0.3], "bbox_label_3d": -1, "velocity": [float("nan")] * 2},
            ],
        }
        return {"metainfo": {"categories": {"car": 0, "bus": 1}}, "data_list": [record]}

    def _write(self, drive: Drive, table: Any) -> Path:
        path = drive.root / "info.json"
        path.write_text(json.dumps(table))
        return path

    def test_a_good_one(self, drive: Drive, table: dict[str, Any]) -> None:
        frame = read_info(self._write(drive, table))[0]
        assert frame.truth is not None
        assert frame.truth.name(0) == "car"
        assert frame.truth.name(1) == "other"
        assert frame.truth.velocities is not None
        assert frame.truth.velocities.isnan().any(dim=1).tolist() == [False, True]
        assert frame.timestamp_us == NuScenes(drive.root).frame(1).timestamp_us
        del table["data_list"][0]["instances"]
        assert read_info(self._write(drive, table))[0].truth is None

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda t: t.update(data_list=[]), "a list 'data_list' of at least one record"),
            (lambda t: t.update(metainfo=[]), "should hold an object with 'metainfo'"),
            (lambda t: t["metainfo"].clear(), "should number the classes from 0"),
            (lambda t: t["metainfo"].update(categories={"a": 1}), "should number the classes from 0"),
            (lambda t: t.update(data_list=[3]), "record 0 should be an object"),
            (lambda t: t["data_list"][0].pop("token"), "record 0 has no 'token'"),
            (lambda t: t["data_list"][0].update(timestamp="x"), "'timestamp', should be"),
            (lambda t: t["data_list"][0].pop("lidar_points"), "has no 'lidar_points'"),
            (lambda t: t["data_list"][0]["lidar_points"].update(num_pts_feats=3), "should be 4 to 16, found 3"),
            (lambda t: t["data_list"][0]["lidar_points"].update(num_pts_feats=6), "a multiple of 24"),
            (lambda t: t["data_list"][0]["lidar_points"].update(lidar_path="no.bin"), "no.bin is not there"),
            (lambda t: t["data_list"][0]["lidar_points"].update(lidar_path="../../x"), "lies outside of"),
            (lambda t: t["data_list"][0]["images"].update(CAM_BACK=3), "CAM_BACK should be an object"),
            (lambda t: t["data_list"][0]["images"]["CAM_FRONT"].update(cam2img=[[1]]), "'cam2img', should be 3 x 3"),
            (
                lambda t: t["data_list"][0]["images"]["CAM_FRONT"].update(lidar2cam=np.diag([2.0, 1, 1, 1]).tolist()),
                "'lidar2cam', is no rigid motion",
            ),
            (lambda t: t["data_list"][0].update(instances={}), "'instances', should be a list"),
            (lambda t: t["data_list"][0]["instances"][0].update(bbox_label_3d=2), "should be -1 to 1"),
            (lambda t: t["data_list"][0]["instances"][0].update(velocity=[1]), "'velocity', should be 2 numbers"),
            (
                lambda t: t["data_list"][0]["instances"][1].update(bbox_3d=[float("nan")] * 7),
                "instance 1, 'bbox_3d', should be 7 finite numbers",
            ),
            (
                lambda t: t["data_list"][0]["instances"][1].update(bbox_3d=[0, 0, 0, 1, -1, 1, 0]),
                "a positive length, width and height",
            ),
        ],
    )
    def test_changes(
        self, drive: Drive, table: dict[str, Any], change: Callable[[dict[str, Any]], Any], match: str
    ) -> None:
        change(table)
        with pytest.raises(BadInputError, match=match):
            read_info(self._write(drive, table))[0]

    def test_a_pickle_is_no_info_file(self, tmp_path: Path) -> None:
        (tmp_path / "info.pkl").write_bytes(b"\x80\x04\x95\x10\x00\x00\x00}q\x00.")
        with pytest.raises(BadInputError, match="is a Python pickle, which could run code, so it was not read"):
            read_info(tmp_path / "info.pkl")
        (tmp_path / "info.json").write_bytes((tmp_path / "info.pkl").read_bytes())
        with pytest.raises(BadInputError, match=r"is not (UTF-8 text|JSON)"):
            read_info(tmp_path / "info.json")


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(_VALUES, max_size=5), chunk=st.integers(1, 40), indent=st.sampled_from([None, 1]))
def test_streams_read_what_the_json_module_wrote(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], chunk: int, indent: int | None
) -> None:
    """Whatever the places are at which a file is cut into chunks."""
    path = tmp_path_factory.getbasetemp() / "rows.json"
    members = {f"name {i}": row for i, row in enumerate(rows)}
    before = json_stream.CHUNK_CHARACTERS
    json_stream.CHUNK_CHARACTERS = chunk
    try:
        path.write_text(json.dumps(rows, indent=indent))
        assert list(stream_rows(path)) == rows
        path.write_text(json.dumps({"skipped": rows, "wanted": members, "end": 12}, indent=indent))
        assert dict(stream_members(path, "wanted")) == members
    finally:
        json_stream.CHUNK_CHARACTERS = before


def test_a_row_without_end_is_refused_before_memory_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_CHARACTERS", 100)
    monkeypatch.setattr(json_stream, "MAX_VALUE_CHARACTERS", 1000)
    path = tmp_path / "long.json"
    path.write_text('[{"a": 1}, "' + "x" * 10_000)
    with pytest.raises(BadInputError, match="row 1 has more than 1000 characters"):
        list(stream_rows(path))
