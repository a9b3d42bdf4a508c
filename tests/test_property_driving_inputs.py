"""Driving data as people have it: links, missing sweeps, other columns, any number of cameras, no annotations."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewview.detect.measure import Predictor
from fewview.detect.sparsefusion.driving_detector import SparseFusionDetector
from fewview.detect.sparsefusion.model import SparseFusionModel
from fewview.detect.sparsefusion.prepare import collate, fit_images, prepare
from fewview.detect.sparsefusion.stage_losses import losses
from fewview.detect.tasks.driving_sample import DrivingSample
from fewview.detect.tasks.driving_samples import NuScenesSamples, open_driving_samples
from fewview.scene.datasets.lidar_files import lidar_columns, read_lidar
from fewview.scene.datasets.mmdet3d_info import read_info
from fewview.scene.datasets.nuscenes_log import NuScenes
from fewview.scene.errors import BadInputError
from support.command import assert_one_sentence, fewview
from support.detection import SMALLEST, make_sample
from support.nuscenes_folder import STEP_US, Drive, pose_matrix, sensor_pose, token, write_nuscenes
from support.threads import one_torch_thread as one_torch_thread


@pytest.fixture
def drive(tmp_path: Path) -> Drive:
    return write_nuscenes(tmp_path / "data")


class TestLinks:
    def test_samples_and_sweeps_may_be_links(self, drive: Drive, tmp_path: Path) -> None:
        expected = NuScenes(drive.root).frame(1, sweeps=5).points.xyz
        for name in ("samples", "sweeps"):
            shutil.move(drive.root / name, tmp_path / f"other_disk_{name}")
            (drive.root / name).symlink_to(tmp_path / f"other_disk_{name}")
        frame = NuScenes(drive.root).frame(1, sweeps=5)
        assert torch.equal(frame.points.xyz, expected)
        assert frame.capture.frames[0].load().shape == (36, 64, 3)

    @pytest.mark.parametrize("name", ["samples/../../secret.bin", "samples/LIDAR_TOP/link.bin", "maps/link.bin"])
    def test_nothing_below_them_leads_out(self, drive: Drive, tmp_path: Path, name: str) -> None:
        (tmp_path / "secret.bin").write_bytes(bytes(20))
        (drive.root / "maps").mkdir()
        for folder in ("samples/LIDAR_TOP", "maps"):
            (drive.root / folder / "link.bin").symlink_to(tmp_path / "secret.bin")
        for row in drive.tables["sample_data"]:
            if "LIDAR_TOP" in row["filename"]:
                row["filename"] = name
        drive.rewrite("sample_data")
        with pytest.raises(
            BadInputError, match=r"lies outside of .*only samples and sweeps themselves may be links"
        ) as e:
            NuScenes(drive.root).frame(0)
        assert "--allow-outside" not in str(e.value)  # no command of driving data has it


class TestSweeps:
    def test_key_frames_alone_are_used_and_noted(
        self, drive: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.rmtree(drive.root / "sweeps")
        samples = NuScenesSamples(drive.root, sweeps=2)
        assert len(samples.notes) == 1
        assert samples.notes[0].startswith("2 of 4 key frames lack LiDAR sweeps")
        assert set(samples[1].points[:, 4].tolist()) == {0.0}
        assert NuScenesSamples(drive.root, sweeps=0).notes == ()
        run = ("detect", "run", drive.root, "--preset", "tiny", "--pictures", 0, "--device", "cpu")
        assert "2 of 4 key frames lack LiDAR sweeps" in fewview(capsys, *run, "-o", tmp_path / "a").err
        alone = fewview(capsys, *run, "-o", tmp_path / "b", "--sweeps", 1)
        assert alone.code == 0
        assert "lack LiDAR sweeps" not in alone.err

    def test_earlier_key_sweeps_are_still_found(self, drive: Drive) -> None:
        shutil.rmtree(drive.root / "sweeps")
        lags = NuScenesSamples(drive.root, sweeps=10)[1].points[:, 4].unique()
        assert lags.tolist() == pytest.approx([0.0, STEP_US / 1e6])

    def _info(self, drive: Drive, **others: Any) -> Path:
        """An info file of scene 0's second sample, with the sweep before it."""
        key, before = (
            drive.row("sample_data", token=token("data", "LIDAR_TOP", 0, 1_500_000_000_000_000 + offset))
            for offset in (STEP_US, 350_000)
        )
        world = [
            pose_matrix(*(drive.row("ego_pose", token=row["ego_pose_token"])[k] for k in ("translation", "rotation")))
            @ pose_matrix(*sensor_pose("LIDAR_TOP"))
            for row in (key, before)
        ]
        sweep = {
            "timestamp": before["timestamp"] / 1e6,
            "lidar_points": {
                "lidar_path": before["filename"].split("/")[-1],
                "lidar2sensor": (np.linalg.inv(world[1]) @ world[0]).tolist(),
            },
        }
        record = {
            "token": "one",
            "timestamp": key["timestamp"] / 1e6,
            "ego2global": np.eye(4).tolist(),
            "images": {},
            "lidar_points": {
                "lidar_path": key["filename"].split("/")[-1],
                "lidar2ego": pose_matrix(*sensor_pose("LIDAR_TOP")).tolist(),
            },
            "lidar_sweeps": [sweep],
        } | others
        path = drive.root / "info.json"
        path.write_text(json.dumps({"metainfo": {"categories": {"car": 0}}, "data_list": [record]}))
        return path

    def test_the_sweeps_of_an_info_file_are_used(self, drive: Drive) -> None:
        log = read_info(self._info(drive), sweeps=3)
        assert log.notes == ()
        expected = NuScenes(drive.root).frame(1, sweeps=2).points
        found = log[0].points
        torch.testing.assert_close(found.xyz, expected.xyz, atol=1e-3, rtol=0)  # millimetres of float32 rounding
        torch.testing.assert_close(found.lag_s, expected.lag_s, atol=1e-6, rtol=0)
        assert len(read_info(self._info(drive), sweeps=1)[0].points) == len(expected) / 2

    def test_an_info_file_without_sweeps_says_so(self, drive: Drive) -> None:
        assert "have no earlier LiDAR sweeps" in read_info(self._info(drive, lidar_sweeps=[]), sweeps=3).notes[0]
        shutil.rmtree(drive.root / "sweeps")
        log = read_info(self._info(drive), sweeps=3)
        assert "1 of 1 records" in log.notes[0]
        assert float(log[0].points.lag_s.max()) == 0

    def test_a_sweep_from_the_future_is_refused(self, drive: Drive) -> None:
        log = read_info(self._info(drive, timestamp=1.0), sweeps=2)
        with pytest.raises(BadInputError, match="is later than its key frame"):
            log[0]


class TestColumns:
    def points(self, columns: int, count: int = 40) -> np.ndarray:
        """`count` is a multiple of 20, so that the size fits both."""
        random = np.random.default_rng(0)
        rows = np.c_[random.uniform(-50, 50, (count, 3)), random.uniform(0, 1, count)]
        extra = random.integers(0, 32, (count, max(columns - 4, 0)))
        return np.c_[rows, extra].astype("<f4")

    @pytest.mark.parametrize("columns", [4, 5])
    def test_they_are_told_apart_where_the_size_fits_both(self, tmp_path: Path, columns: int) -> None:
        rows = self.points(columns)
        rows.tofile(tmp_path / "a.bin")
        assert (tmp_path / "a.bin").stat().st_size % 80 == 0
        assert lidar_columns(tmp_path / "a.bin") == columns
        assert np.array_equal(read_lidar(tmp_path / "a.bin").xyz.numpy(), rows[:, :3])

    def test_a_fifth_number_that_is_no_ring(self, tmp_path: Path) -> None:
        rows = self.points(5)
        rows[:, 4] = np.linspace(0, 0.1, len(rows))  # a time
        rows.tofile(tmp_path / "a.bin")
        assert np.array_equal(read_lidar(tmp_path / "a.bin").xyz.numpy(), rows[:, :3])

    def test_five_cut_to_the_size_of_four_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.bin").write_bytes(self.points(5).tobytes()[:-16])
        with pytest.raises(BadInputError, match="a multiple of 20"):
            read_lidar(tmp_path / "a.bin")

    def test_a_data_set_with_four_says_so(self, drive: Drive) -> None:
        for path in (*drive.root.glob("s*/LIDAR_TOP/*.bin"),):
            np.fromfile(path, "<f4").reshape(-1, 5)[:, :4].tofile(path)
        samples = NuScenesSamples(drive.root, sweeps=1)
        assert any("four numbers a point" in note for note in samples.notes)
        assert len(samples[0].points) == 70

    def test_an_info_file_that_says_five_of_four_is_refused(self, drive: Drive) -> None:
        path = TestSweeps()._info(drive)
        rows = self.points(4)
        for file in drive.root.glob("samples/LIDAR_TOP/*.bin"):
            rows.tofile(file)
        with pytest.raises(BadInputError, match=r"says 5 numbers a point, but .* looks like 4"):
            read_info(path)[0]


class TestCameras:
    def _some(self, sample: DrivingSample, views: int) -> DrivingSample:
        images = sample.load_images()[:views]
        assert sample.boxes is not None
        assert sample.camera_objects is not None
        seen = sample.camera_objects[sample.camera_objects.views < views]
        return replace(sample, cameras=sample.cameras[:views], load_images=lambda: images, camera_objects=seen)

    @pytest.mark.parametrize("views", [0, 1, 4])
    def test_a_fused_network_takes_any_number(self, views: int) -> None:
        torch.manual_seed(0)
        detector = SparseFusionDetector(SparseFusionModel(SMALLEST))
        boxes = Predictor(detector, torch.device("cpu"))(self._some(make_sample(0), views))
        assert len(boxes)
        assert bool(boxes.centers.isfinite().all())

    def test_blank_views_give_no_scores(self) -> None:
        torch.manual_seed(0)
        model = SparseFusionModel(SMALLEST).eval()
        sample = self._some(make_sample(0), 0)
        batch = collate([prepare(sample, fit_images(sample.load_images(), SMALLEST), SMALLEST)], SMALLEST)
        output = model(batch)
        assert batch.images.shape[:2] == (1, 1)
        assert output.image_queries is not None
        assert float(output.image_queries.scores.abs().max()) == 0

    def test_padding_with_blank_views_changes_no_other_sample(self) -> None:
        """A sample of four cameras gives the same boxes beside one of six as alone."""
        torch.manual_seed(0)
        model = SparseFusionModel(SMALLEST).eval()
        few, many = self._some(make_sample(0), 4), make_sample(1)
        prepared = [prepare(s, fit_images(s.load_images(), SMALLEST), SMALLEST) for s in (few, many)]
        with torch.no_grad():
            alone = model(collate(prepared[:1], SMALLEST)).final.codes[0]
            together = model(collate(prepared, SMALLEST)).final.codes[0]
        # Sums run in another order in larger batches.
        torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)

    def test_samples_of_different_numbers_train_together(self) -> None:
        torch.manual_seed(0)
        model = SparseFusionModel(SMALLEST)
        samples = [self._some(make_sample(i), views) for i, views in enumerate((0, 3, 6))]
        prepared = [prepare(s, fit_images(s.load_images(), SMALLEST), SMALLEST) for s in samples]
        batch = collate(prepared, SMALLEST)
        found = losses(model(batch), batch, SMALLEST)
        sum(found.values()).backward()
        assert all(bool(value.isfinite()) for value in found.values())
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)

    def test_a_lidar_network_needs_no_photographs(self, drive: Drive) -> None:
        shutil.rmtree(drive.root / "samples" / "CAM_FRONT")
        with pytest.raises(BadInputError, match="CAM_FRONT"):
            NuScenesSamples(drive.root)[0]
        sample = open_driving_samples(drive.root, 1, photographs=False)[0]
        assert len(sample.cameras) == 0
        detector = SparseFusionDetector(SparseFusionModel(replace(SMALLEST, use_images=False)))
        assert len(Predictor(detector, torch.device("cpu"))(sample))


class TestTestSplit:
    @pytest.fixture
    def unannotated(self, tmp_path: Path) -> Drive:
        """As the official test split is: the tables of annotations are there and empty."""
        drive = write_nuscenes(tmp_path / "test", "v1.0-test")
        drive.tables["sample_annotation"], drive.tables["instance"] = [], []
        drive.rewrite("sample_annotation", "instance")
        return drive

    def test_eval_and_train_refuse(
        self, unannotated: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = tmp_path / "found.json"
        found.write_text(json.dumps({"meta": {}, "results": {t: [] for t in unannotated.tokens}}))
        outcome = fewview(capsys, "detect", "eval", unannotated.root, found, "--quiet")
        assert_one_sentence(outcome, 2, "has no annotations", "nothing can be measured")
        outcome = fewview(capsys, "detect", "train", unannotated.root, "-o", tmp_path / "run", "--quiet")
        assert_one_sentence(outcome, 2, "has no annotation", "nothing to learn")
        assert not (tmp_path / "run").exists()
        outcome = fewview(
            capsys, "detect", "run", unannotated.root, "--preset", "tiny", "-o", tmp_path / "out", "--pictures", 0
        )
        assert outcome.code == 0
        assert "detect eval" not in outcome.out

    def test_a_split_without_annotations_of_an_annotated_data_set(
        self, drive: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        second = [s["token"] for s in drive.tables["sample"] if s["scene_token"] == token("scene", 1)]
        rows = drive.tables["sample_annotation"]
        drive.tables["sample_annotation"] = [row for row in rows if row["sample_token"] not in second]
        drive.rewrite("sample_annotation")
        scenes = tmp_path / "scenes.txt"
        scenes.write_text("scene-0001\n")
        found = tmp_path / "found.json"
        found.write_text(json.dumps({"meta": {}, "results": {t: [] for t in second}}))
        outcome = fewview(capsys, "detect", "eval", drive.root, found, "--split", scenes, "--quiet")
        assert_one_sentence(outcome, 2, "None of the 2 samples", "has an annotation")
