"""From photographs by a pointmap network to a run: what goes in is a perfect network, so what comes out is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.recon.evidence import Stereo
from fewview.recon.evidence.depth_file import load_stereo
from fewview.recon.evidence.depth_maps import DepthMap
from fewview.recon.evidence.stereo import stereo_depth
from fewview.recon.methods.method_contract import Inputs
from fewview.recon.methods.registry import choose
from fewview.recon.pipeline.first_stage import placed_input
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.recon.pipeline.run_folder import open_run
from fewview.recon.poses import pose_errors
from fewview.recon.poses.pointmaps import providers
from fewview.recon.poses.pointmaps.dust3r import Dust3r
from fewview.recon.poses.pointmaps.pair_prediction import PairPrediction
from fewview.recon.poses.pointmaps.pointmap_estimator import PointmapEstimator
from fewview.recon.poses.pointmaps.providers import MAX_PAIRWISE, JointProvider, PairwiseProvider
from fewview.recon.poses.pointmaps.sample_points import SAME_DEPTH
from fewview.scene import BadInputError, Cameras, Capture, FewviewError, Frame
from fewview.scene.geometry import Similarity, so3_exp, transform_points
from fewview.scene.gps import GeoPosition
from fewview.scene.progress import silent
from fewview.scene.run import Run
from PIL import Image
from support.command import fewview
from support.known_depth import HEIGHT, PREPARED, WIDTH, KnownDepth, prepare, wall_and_ball, write_photographs
from support.pointmap_networks import random_network
from support.training import capture_of as capture_with_cameras
from support.training import tiny_dataset

CROPPED = (HEIGHT - PREPARED[0]) // 2


@pytest.fixture(scope="module")
def scene():
    return wall_and_ball(5)


def capture_of(scene) -> Capture:
    frames = tuple(
        Frame(f"photo_{i}.png", WIDTH, HEIGHT, lambda image=image: image.numpy())
        for i, image in enumerate(scene.images)
    )
    return Capture(frames, "a test")


@pytest.fixture(scope="module")
def placed(scene):
    return PairwiseProvider(KnownDepth(scene), prepare).place(capture_of(scene))


def assert_depth_is_known(stereo: Stereo, scene, views: list[int]) -> None:
    """Inside the crop the depth is the true one but for one scale, and outside it is marked as a guess."""
    ratios = []
    for k, view in enumerate(views):
        found = stereo.maps[k]
        assert found.depth.shape == (HEIGHT, WIDTH)
        inside = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        inside[CROPPED:-CROPPED] = True
        assert bool((found.confidence[inside] > 1).all())
        assert bool((found.confidence[~inside] == 1).all())
        assert torch.equal(found.depth[0], found.depth[CROPPED])
        ratios.append((found.depth / scene.depths[view])[inside])
    ratio = torch.cat(ratios)
    # The alignment starts from a perfect solution but for the focal length, which is measured to a few thousandths.
    assert float((ratio / ratio.median() - 1).abs().max()) < 0.02


def test_cameras_and_depth_are_those_of_the_scene(scene, placed) -> None:
    assert not placed.unplaced
    cameras = placed.capture.cameras
    errors = pose_errors(cameras.cam_from_world, scene.cameras.cam_from_world)
    assert float(errors.pairs.rotation_deg.max()) < 0.2
    assert cameras.width.tolist() == [WIDTH] * 5
    assert cameras.height.tolist() == [HEIGHT] * 5
    assert torch.allclose(cameras.K, scene.cameras.K, rtol=0.01)  # the focal length is the network's, not given
    assert_depth_is_known(placed.depths, scene, [0, 1, 2, 3, 4])


def test_depth_points_and_cameras_share_one_upright_world(scene, placed) -> None:
    cameras, points = placed.capture.cameras, placed.capture.points
    true_centers = scene.cameras.centers
    assert torch.equal(placed.depths.cameras.cam_from_world, cameras.cam_from_world)
    # Up is z: the photographs were held level, their y axis is down.
    assert float(cameras.world_from_cam[:, 2, 1].mean()) < -0.95
    distance = (cameras.centers[points.seen_view] - points.xyz[points.seen_point]).norm(dim=1)
    assert float(distance.median()) == pytest.approx(4.0, rel=0.05)  # of the points before those of one view went
    assert len(points) > 1000
    assert int(torch.bincount(points.seen_point, minlength=len(points)).min()) >= 2
    # What a point says about the views that see it holds in their maps, unless rounding takes it to the next pixel.
    for view, (camera, depth_map) in enumerate(zip((cameras[v] for v in range(5)), placed.depths.maps, strict=True)):
        xyz = transform_points(camera.cam_from_world, points.xyz[points.seen_point[points.seen_view == view]])
        column, row = ((xyz @ camera.K.T)[:, :2] / xyz[:, 2:]).long().unbind(1)
        off = (xyz[:, 2] / depth_map.depth[row.clamp(0, HEIGHT - 1), column.clamp(0, WIDTH - 1)] - 1).abs()
        assert float((off < SAME_DEPTH).float().mean()) > 0.99
    ratio = (cameras.centers[4] - cameras.centers[0]).norm() / (true_centers[4] - true_centers[0]).norm()
    depths = [
        m.depth[CROPPED:-CROPPED] / d[CROPPED:-CROPPED] for m, d in zip(placed.depths.maps, scene.depths, strict=True)
    ]
    # One unit for both; the focal length that the pairs agree on is off by less than a hundredth, and so is depth.
    assert float(torch.stack(depths).median()) == pytest.approx(float(ratio), rel=0.02)


@pytest.mark.parametrize("side", [224, 512])
@pytest.mark.parametrize("size", [(247, 320), (500, 333), (333, 333), (20, 600), (480, 641)])
def test_what_was_cropped_comes_back_and_no_ray_moves(size: tuple[int, int], side: int) -> None:
    """(height, width) that leave crops of all kinds: none, odd ones, a square's, the 224 network's."""
    image = Dust3r(random_network(), side).prepare(torch.zeros(*size, 3, dtype=torch.uint8))
    height, width = image.pixels.shape[:2]
    camera = Cameras.pinhole(torch.eye(4), 300.0, width, height)
    depth = 2 + torch.rand(height, width, generator=torch.Generator().manual_seed(0))
    small = Stereo(Cameras.stack([camera]), (DepthMap(depth, torch.full_like(depth, 3.0)),))
    whole = providers._whole(small, [image])
    confidence = whole.maps[0].confidence
    left, top = (-round(float(x)) for x in image.prepared_from_image[:2, 2])
    inside = slice(top, top + height), slice(left, left + width)
    assert torch.allclose(whole.points(0)[inside], small.points(0), atol=1e-4)  # float32 of numbers up to 6
    assert int((confidence > 1).sum()) == int((confidence[inside] == 3).sum()) == height * width
    assert (confidence.shape[1] - width - left) - left in (0, 1)
    assert (confidence.shape[0] - height - top) - top in (0, 1)
    # The map has the photograph's shape, up to rounding, or up to the one patch that a strip is widened to.
    if min(size) * 16 > max(size):
        assert confidence.shape[1] / confidence.shape[0] == pytest.approx(size[1] / size[0], rel=0.02)
    at_photograph = whole.cameras.resized(size[1], size[0])
    middle = at_photograph.K[0, :2, 2] - torch.tensor([size[1], size[0]]) / 2
    assert float(middle.abs().max()) <= 0.51 * max(size) / min(confidence.shape)


class Joint:
    """Depth and cameras of the whole scene at half the size of the photographs, in another world and unit."""

    def __init__(self, scene) -> None:
        self._scene = scene

    def predict(self, images: list[torch.Tensor]) -> Stereo:
        assert [tuple(image.shape) for image in images] == [(HEIGHT, WIDTH, 3)] * 5
        turn = so3_exp(torch.tensor([0.4, -0.3, 1.0]))
        moved = Similarity(torch.tensor(3.0), turn, torch.tensor([1.0, 2.0, 3.0]))
        maps = tuple(DepthMap(d[::2, ::2], torch.full_like(d[::2, ::2], 4.0)) for d in self._scene.depths)
        return Stereo(self._scene.cameras.resized(WIDTH // 2, HEIGHT // 2), maps).transformed(moved)


def test_a_network_of_all_photographs_at_once_places_them(scene) -> None:
    found = JointProvider(Joint(scene)).place(capture_of(scene))
    assert not found.unplaced
    # Rigid motions there and back in float32.
    errors = pose_errors(found.capture.cameras.cam_from_world, scene.cameras.cam_from_world)
    assert float(errors.pairs.rotation_deg.max()) < 0.01
    assert torch.allclose(found.capture.cameras.K, scene.cameras.K)
    ratio = torch.stack([m.depth / d[::2, ::2] for m, d in zip(found.depths.maps, scene.depths, strict=True)])
    assert torch.allclose(ratio, ratio[0, 0, 0].expand_as(ratio), rtol=1e-5)


def test_a_photograph_that_shares_nothing_is_named_and_left_out(scene) -> None:
    found = PairwiseProvider(KnownDepth(scene, alone=(3,)), prepare).place(capture_of(scene))
    assert found.capture.names == [f"photo_{i}.png" for i in (0, 1, 2, 4)]
    assert len(found.depths) == 4
    assert list(found.unplaced) == [3]
    assert "photo_3.png" in found.unplaced[3]


def test_pixels_that_do_not_count_are_not_trusted(scene) -> None:
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[:, :100] = False
    capture = capture_of(scene)
    masked = replace(capture, frames=tuple(replace(frame, load_mask=lambda: mask) for frame in capture.frames))
    found = PairwiseProvider(KnownDepth(scene), prepare).place(masked)
    for depth_map in found.depths.maps:
        assert bool((depth_map.confidence[:, :100] == 1).all())
        assert bool((depth_map.confidence[CROPPED:-CROPPED, 100:] > 1).all())


def test_what_cannot_be_placed_is_explained(scene) -> None:
    capture = capture_of(scene)
    provider = PairwiseProvider(KnownDepth(scene), prepare)
    with pytest.raises(BadInputError, match=f"1 of its photographs .* 2 to {MAX_PAIRWISE}"):
        provider.place(capture.subset([0]))
    many = replace(capture, frames=capture.frames * 5)
    with pytest.raises(BadInputError, match="--views"):
        provider.place(many)
    nothing = KnownDepth(scene, alone=(0, 1, 2, 3, 4))
    with pytest.raises(FewviewError, match="overlap"):
        PairwiseProvider(nothing, prepare).place(capture)

    class HardlySure(KnownDepth):
        def predict(self, image_i, image_j) -> PairPrediction:
            pair = super().predict(image_i, image_j)
            confidence = torch.ones(PREPARED)
            confidence[100, 100:104] = 3
            return replace(pair, confidence_i=confidence, confidence_j=confidence)

    with pytest.raises(FewviewError, match="sure of next to nothing"):
        PairwiseProvider(HardlySure(scene), prepare).place(capture)


def test_depth_follows_the_photographs_positions_into_metres(scene) -> None:
    metres = 60 * scene.cameras.centers  # y is down there; x and z are east and north
    positions = [GeoPosition(55.7 + float(z) / 111_340, 13.2 + float(x) / 62_880, 30.0, 4.0) for x, _, z in metres]
    capture = capture_of(scene)
    frames = tuple(replace(f, position=p) for f, p in zip(capture.frames, positions, strict=True))
    poses = PointmapEstimator(JointProvider(Joint(scene)), "weights.pth").place(replace(capture, frames=frames))
    stereo = poses.depths
    assert poses.capture.points.metric
    assert poses.stats["scale"]["source"] == "GPS"
    assert torch.allclose(stereo.cameras.centers, poses.capture.cameras.centers, atol=1e-4)  # metres, float32
    ratio = torch.stack([m.depth / d[::2, ::2] for m, d in zip(stereo.maps, scene.depths, strict=True)])
    assert torch.allclose(ratio, torch.tensor(60.0), rtol=0.01)  # the positions are exact, degrees to metres nearly so


def test_indices_survive_when_some_are_held_out_and_some_left_out(scene) -> None:
    capture = replace(capture_of(scene), test=(1,))
    provider = PairwiseProvider(KnownDepth(scene, alone=(3,)), prepare)
    poses = PointmapEstimator(provider, "weights.pth").place(capture)
    stereo = poses.depths
    assert poses.placed == [0, 1, 2, 4]
    assert list(poses.unplaced) == [3]
    assert poses.capture.names == [f"photo_{i}.png" for i in (0, 1, 2, 4)]
    assert poses.capture.test == (1,)
    assert set(poses.capture.points.seen_view.tolist()) == {0, 2, 3}
    train = poses.capture.cameras[torch.tensor([0, 2, 3])]
    assert torch.equal(train.cam_from_world, stereo.cameras.cam_from_world)
    assert_depth_is_known(stereo, scene, [0, 2, 4])
    assert any("photo_3.png" in note for note in poses.capture.notes)


@pytest.fixture
def photographs(tmp_path: Path, scene) -> Path:
    return write_photographs(tmp_path / "photographs", scene)


def test_a_run_keeps_the_networks_cameras_and_depth(
    tmp_path: Path, photographs: Path, scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = KnownDepth(scene)
    monkeypatch.setattr(providers, "load_provider", lambda path, device: PairwiseProvider(known, prepare))
    config = ReconstructConfig(stereo=tmp_path / "weights.pth", eval=True, resolution=160)
    with open_run(photographs, tmp_path / "run", config, resume=False, command="reconstruct") as (run, _):
        capture = placed_input(run, photographs, config, silent)
    train, test = capture.split()
    assert [capture.names[i] for i in test] == ["photo_0.png"]
    assert known.seen == {1, 2, 3, 4}  # the held-out one was never shown
    assert capture.cameras.width.tolist() == [160] * 5
    errors = pose_errors(capture.cameras.cam_from_world, scene.cameras.cam_from_world)
    # The training cameras are exact; the held-out one comes from some hundred matches, good to half a pixel each.
    assert float(errors.pairs.rotation_deg.max()) < 0.5
    assert set(capture.points.seen_view.tolist()) == set(train)
    stereo = load_stereo(run.depth_path, capture.cameras[torch.tensor(train)], [capture.names[i] for i in train])
    assert_depth_is_known(stereo, scene, train)
    metrics = run.metrics()
    assert metrics["unplaced"] == {}
    assert metrics["placed"] == 5
    assert any("registered" in note for note in metrics["notes"])
    assert any("weights.pth" in note for note in metrics["notes"])


def test_a_held_out_photograph_without_matches_is_named_and_left_out(
    tmp_path: Path, photographs: Path, scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).save(photographs / "photo_0.png")
    monkeypatch.setattr(providers, "load_provider", lambda path, device: PairwiseProvider(KnownDepth(scene), prepare))
    config = ReconstructConfig(stereo=tmp_path / "weights.pth", eval=True, resolution=160)
    run = Run.create(tmp_path / "run", {})
    capture = placed_input(run, photographs, config, silent)
    assert capture.names == [f"photo_{i}.png" for i in (1, 2, 3, 4)]
    assert capture.test == ()
    assert "photo_0.png is held out" in run.metrics()["unplaced"]["photo_0.png"]


def test_the_command_trains_on_the_networks_depth(
    tmp_path: Path, photographs: Path, scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def load(path: Path, device: str) -> PairwiseProvider:
        asked.append((path, device))
        return PairwiseProvider(KnownDepth(scene), prepare)

    monkeypatch.setattr(providers, "load_provider", load)
    monkeypatch.setattr(stereo_depth, "estimate_depths", None)  # Fewview's own stereo has no part in it
    output = tmp_path / "run"
    options = ("--stereo", "weights.pth", "--eval", "--steps", 40, "--device", "cpu", "--resolution", 160)
    outcome = fewview(capsys, "reconstruct", photographs, "-o", output, *options, "--json")
    assert outcome.code == 0, outcome.err
    assert asked == [(Path("weights.pth"), "cpu")]
    assert outcome.json["eval"]["split"] == "test"
    # 21.3 dB when this was written; 18.1 dB with mirrored depth, 12.6 dB for a picture of the mean.
    assert outcome.json["eval"]["psnr"] > 19.5
    again = fewview(capsys, "reconstruct", photographs, "-o", output, "--resume", "--json")
    assert again.code == 0, again.err
    assert len(asked) == 1


def test_the_method_is_instantsplat() -> None:
    dataset = tiny_dataset(30)
    choice = choose("auto", Inputs(dataset, capture_with_cameras(dataset), depth_is_given=True), lambda _: {})
    assert choice.method.name == "instantsplat"
    assert "depth" in choice.reason
    with pytest.raises(BadInputError, match="--method 3dgs"):
        ReconstructConfig(stereo=Path("weights.pth"), method="3dgs")
