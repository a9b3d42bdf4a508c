"""Every pose estimator answers the same questions about a capture with a held-out photograph and a strange one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from fewview.recon.evidence.depth_maps import DepthMap, Stereo
from fewview.recon.pipeline.first_stage import placed_input
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.recon.poses import PoseEstimator, PoseHypotheses, Poses, PosesConfig, choose_estimator, pose_errors
from fewview.recon.poses.pointmaps.pointmap_estimator import PointmapEstimator
from fewview.recon.poses.pointmaps.providers import PairwiseProvider
from fewview.recon.poses.structure_from_motion import StructureFromMotion
from fewview.scene import Cameras, Capture, Frame
from fewview.scene.geometry import Similarity
from fewview.scene.progress import Progress, silent
from fewview.scene.run import Run
from support.known_depth import HEIGHT, WIDTH, KnownDepth, prepare, wall_and_ball, write_photographs
from support.stereo_scenes import StereoScene
from support.threads import one_torch_thread as one_torch_thread

VIEWS, HELD_OUT, STRANGE = 5, 1, 3
TRAIN = [0, 2, 4]
FOCAL_PX = 352.0  # of the scene's cameras
CONFIG = PosesConfig(features="sift", keypoints=1024)  # the matcher that is always installed
# From the scene's world (y down, z ahead) to an upright one.
UPRIGHT = Similarity(torch.tensor(1.0), torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), torch.zeros(3))


@dataclass(frozen=True)
class KnownCameras:
    """An estimator of a few lines, without points or depth: it knows the scene, and of one view two more cameras."""

    scene: StereoScene
    name: str = "known cameras"

    def place(self, capture: Capture, progress: Progress = silent) -> Poses:
        blank = [i for i in range(len(capture)) if float(capture.image(i).float().std()) == 0]
        placed = [i for i in range(len(capture)) if i not in blank]
        unplaced = {i: f"{capture.names[i]} is blank." for i in blank}
        cameras = self.scene.cameras.transformed(UPRIGHT)
        subset = replace(capture.subset(placed), cameras=cameras[torch.tensor(placed)], points=None)
        others = PoseHypotheses(cameras[torch.tensor([1, 2])], torch.tensor([0.7, 0.2]))
        confidence = tuple(None if i == HELD_OUT else 0.5 for i in placed)
        return Poses(subset, placed, unplaced, {}, {}, confidence, {0: others})


ESTIMATORS: dict[str, Callable[[StereoScene], PoseEstimator]] = {
    "structure from motion": lambda scene: StructureFromMotion(CONFIG),
    "pointmaps": lambda scene: PointmapEstimator(
        PairwiseProvider(KnownDepth(scene, alone=(STRANGE,)), prepare), "weights.pth", CONFIG
    ),
    "known cameras": KnownCameras,
}


def blank() -> torch.Tensor:
    return torch.full((HEIGHT, WIDTH, 3), 90, dtype=torch.uint8)


@pytest.fixture(scope="module")
def scene() -> StereoScene:
    known = wall_and_ball(VIEWS)
    return replace(known, images=[blank() if i == STRANGE else image for i, image in enumerate(known.images)])


@pytest.fixture(scope="module", params=list(ESTIMATORS))
def estimator(request: pytest.FixtureRequest, scene: StereoScene) -> PoseEstimator:
    return ESTIMATORS[request.param](scene)


def capture_of(images: list[torch.Tensor]) -> Capture:
    """Names do not sort as the frames do, and every frame has its time."""
    frames = tuple(
        Frame(f"{9 - i}_{i}.png", WIDTH, HEIGHT, lambda image=image: image.numpy(), FOCAL_PX, time_s=0.1 * i)
        for i, image in enumerate(images)
    )
    return Capture(frames, "a test", test=(HELD_OUT,))


@pytest.fixture(scope="module")
def given(scene: StereoScene) -> Capture:
    return capture_of(scene.images)


@pytest.fixture(scope="module")
def poses(estimator: PoseEstimator, given: Capture) -> Poses:
    return estimator.place(given)


def train_of(poses: Poses) -> torch.Tensor:
    """Indices into the placed capture."""
    return torch.tensor([k for k, view in enumerate(poses.placed) if view in TRAIN])


def test_frames_stay_in_order_and_keep_what_they_know(poses: Poses, given: Capture) -> None:
    assert poses.placed == [*sorted([*TRAIN, HELD_OUT])]
    assert poses.capture.names == [given.names[i] for i in poses.placed]
    assert poses.capture.test == (poses.placed.index(HELD_OUT),)
    assert [f.time_s for f in poses.capture.frames] == [given.frames[i].time_s for i in poses.placed]
    for frame, view in zip(poses.capture.frames, poses.placed, strict=True):
        assert np.array_equal(frame.load(), given.frames[view].load())  # no lens distortion was to be found


def test_every_view_is_placed_or_has_a_reason_that_names_it(poses: Poses, given: Capture) -> None:
    assert sorted([*poses.placed, *poses.unplaced]) == list(range(VIEWS))
    assert list(poses.unplaced) == [STRANGE]
    assert given.names[STRANGE] in poses.unplaced[STRANGE]
    assert poses.unplaced[STRANGE].endswith(".")


def test_cameras_are_finite_rigid_and_of_their_photographs(poses: Poses, scene: StereoScene) -> None:
    cameras = poses.capture.cameras
    assert torch.isfinite(cameras.cam_from_world).all()
    rotation = cameras.cam_from_world[:, :3, :3].double()
    # Products of a few float32 matrices.
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).double().expand_as(rotation), atol=1e-5)
    assert bool((torch.det(rotation) > 0).all())
    assert torch.equal(cameras.cam_from_world[:, 3], torch.tensor([0.0, 0, 0, 1]).expand(len(cameras), 4))
    assert bool((cameras.K[:, [0, 1], [0, 1]] > 0).all())
    assert cameras.width.tolist() == [f.width for f in poses.capture.frames]
    assert cameras.height.tolist() == [f.height for f in poses.capture.frames]
    errors = pose_errors(cameras.cam_from_world, scene.cameras.cam_from_world[poses.placed])
    # Structure from motion has 100 points of 320 pixels to go by, and turns and focal length trade over 17 degrees.
    assert float(errors.pairs.rotation_deg.max()) < 4


def test_the_world_is_upright_and_made_by_the_training_photographs(poses: Poses) -> None:
    cameras, points = poses.capture.cameras, poses.capture.points
    assert float(cameras.world_from_cam[:, 2, 1].mean()) < -0.95  # the y axes, which are down
    assert float(cameras.world_from_cam[0, 1, 2]) > 0.9  # the first one looks ahead
    if points is None:
        return
    held_out = poses.capture.test[0]
    assert held_out not in points.seen_view.tolist()
    distance = (cameras.centers[points.seen_view] - points.xyz[points.seen_point]).norm(dim=1)
    # The frame is made before points that a single view believes in are dropped.
    assert float(distance.median()) == pytest.approx(4.0, rel=0.05)
    assert float(points.xyz.median(dim=0).values.abs().max()) < 0.2


def test_another_held_out_photograph_changes_nothing_but_itself(
    estimator: PoseEstimator, poses: Poses, scene: StereoScene
) -> None:
    images = [blank() if i == HELD_OUT else image for i, image in enumerate(scene.images)]
    images[HELD_OUT][::2] = 91  # not the very photograph that the strange one is
    other = estimator.place(capture_of(images))
    ours, theirs = train_of(poses), train_of(other)
    if HELD_OUT not in other.placed:
        assert capture_of(images).names[HELD_OUT] in other.unplaced[HELD_OUT]
    for field in ("cam_from_world", "K"):
        before, after = (getattr(p.capture.cameras, field)[v] for p, v in ((poses, ours), (other, theirs)))
        assert torch.equal(before, after)
    assert_same_points_and_depths(poses, other)


def test_the_same_settings_give_the_same_bits_whatever_cameras_there_were(
    estimator: PoseEstimator, poses: Poses, given: Capture
) -> None:
    wrong = Cameras.pinhole(torch.eye(4).repeat(VIEWS, 1, 1), 100.0, WIDTH, HEIGHT)
    again = estimator.place(given.with_cameras(wrong, None))
    assert again.placed == poses.placed
    assert again.unplaced == poses.unplaced
    assert again.confidence == poses.confidence
    assert torch.equal(again.capture.cameras.cam_from_world, poses.capture.cameras.cam_from_world)
    assert torch.equal(again.capture.cameras.K, poses.capture.cameras.K)
    assert_same_points_and_depths(poses, again)


def assert_same_points_and_depths(a: Poses, b: Poses) -> None:
    assert (a.capture.points is None) == (b.capture.points is None)
    if a.capture.points is not None:
        assert torch.equal(a.capture.points.xyz, b.capture.points.xyz)
        assert torch.equal(a.capture.points.rgb, b.capture.points.rgb)
    assert (a.depths is None) == (b.depths is None)
    if a.depths is not None:
        for one, other in zip(a.depths.maps, b.depths.maps, strict=True):
            assert torch.equal(one.depth, other.depth)


def test_depth_is_of_the_training_photographs_by_name(poses: Poses, given: Capture, scene: StereoScene) -> None:
    assert poses.train_names == [given.names[i] for i in TRAIN]
    if poses.depths is None:
        return
    assert len(poses.depths) == len(TRAIN)
    train = poses.capture.cameras[train_of(poses)]
    assert torch.equal(poses.depths.cameras.cam_from_world, train.cam_from_world)
    ratios = []
    for name, depth_map in zip(poses.train_names, poses.depths.maps, strict=True):
        trusted = depth_map.confidence > 1
        assert bool(trusted.any())
        ratios.append(float((depth_map.depth / scene.depths[given.names.index(name)])[trusted].median()))
    # Views differ in depth by more than this: the ball is in their middle or not.
    assert ratios == pytest.approx([ratios[0]] * len(TRAIN), rel=0.02)


def test_confidence_is_said_or_not_and_never_made_up(poses: Poses, estimator: PoseEstimator) -> None:
    assert len(poses.confidence) == len(poses.placed)
    assert all(c is None or 0 <= c <= 1 for c in poses.confidence)
    if isinstance(estimator, PointmapEstimator):  # the networks say nothing
        assert set(poses.confidence) == {None}
        assert not poses.hypotheses
    for view, others in poses.hypotheses.items():
        assert 0 <= view < VIEWS
        assert torch.isfinite(others.cameras.cam_from_world).all()


def test_poses_that_contradict_themselves_are_refused(scene: StereoScene, given: Capture) -> None:
    good = KnownCameras(scene).place(given)
    one_map = Stereo(good.capture.cameras[:1], (DepthMap(scene.depths[0], torch.ones(HEIGHT, WIDTH)),))
    for change, found in (
        ({"placed": good.placed[::-1]}, "ascending"),
        ({"unplaced": {0: "0.png is not here."}}, "ascending"),
        ({"placed": good.placed[:-1]}, "placed frames with cameras"),
        ({"capture": replace(good.capture, cameras=None)}, "placed frames with cameras"),
        ({"confidence": (0.5,)}, "confidences"),
        ({"confidence": (1.5, *good.confidence[1:])}, "confidences"),
        ({"depths": one_map}, "depth of 3 training views, found 1"),
    ):
        with pytest.raises(ValueError, match=found):
            replace(good, **change)
    with pytest.raises(ValueError, match="best first"):
        PoseHypotheses(good.capture.cameras[:2], torch.tensor([0.2, 0.7]))


def test_cameras_without_points_get_triangulated_ones_in_a_run(
    tmp_path, scene: StereoScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = write_photographs(tmp_path / "photographs", replace(scene, images=scene.images[:4]))
    monkeypatch.setattr(choose_estimator, "estimator_for", lambda *_: KnownCameras(scene))
    run = Run.create(tmp_path / "run", {})
    capture = placed_input(run, photographs, ReconstructConfig(eval=True), silent)
    assert len(capture.points) > 50
    assert set(capture.points.seen_view.tolist()) <= set(capture.split()[0])
    assert any("estimator gives cameras but no points" in note for note in run.metrics()["notes"])
    assert not run.depth_path.exists()
