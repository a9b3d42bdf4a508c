"""The most useful photographs: sharp, joined to each other, from different places, and showing much."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fewview.recon.pipeline.first_stage import placed_input
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.recon.poses.matchers import is_available
from fewview.recon.poses.overlap import Overlap, _from_cameras
from fewview.recon.poses.view_selection import choose, most_useful
from fewview.scene import BadInputError, Cameras, Capture, Frame, PointCloud
from fewview.scene.capture import evenly_spaced
from fewview.scene.readers import read_capture
from fewview.scene.run import Run
from fewview.scene.sample import sample_path
from support.posed_photos import FOCAL_PX, HEIGHT, WIDTH, arc


def along_a_wall(positions: list[float], width: float = 3.0) -> Overlap:
    """Views that each see 30 things a metre over `width` metres of a wall 10 m long."""
    things = np.linspace(0, 10, 300, endpoint=False)
    at = np.array(positions)
    seen = np.abs(things[None] - at[:, None]) <= width / 2
    angle_deg = 10 * np.abs(at[:, None] - at[None])
    return Overlap.of_points(seen, angle_deg)


def seen_twice(overlap: Overlap, chosen: list[int]) -> int:
    return int((overlap.seen[chosen].sum(0) >= 2).sum())


def test_the_choice_shows_more_than_an_even_one_and_hangs_together() -> None:
    rng = np.random.default_rng(0)
    # Most photographs are of one corner, as when somebody lingers there.
    overlap = along_a_wall([*rng.uniform(0, 2, 30), *np.linspace(2, 10, 12)])
    for count in (3, 5, 8, 12):
        chosen = choose(overlap, count)
        assert len(set(chosen)) == count
        assert chosen == sorted(chosen)
        assert chosen == choose(overlap, count)
        assert seen_twice(overlap, chosen) >= seen_twice(overlap, evenly_spaced(range(42), count))
        linked = overlap.linked[np.ix_(chosen, chosen)]
        reach = np.linalg.matrix_power(linked.astype(np.int64).clip(0, 1) + np.eye(count, dtype=np.int64), count)
        assert (reach > 0).all()
    assert seen_twice(overlap, choose(overlap, 8)) > 1.2 * seen_twice(overlap, evenly_spaced(range(42), 8))


def test_no_two_are_from_one_place_while_there_are_others() -> None:
    overlap = along_a_wall([1.0, 1.01, 1.02, 2.0, 2.01, 3.0, 3.01, 4.0])
    chosen = choose(overlap, 4)
    assert [sum(c in group for c in chosen) for group in ((0, 1, 2), (3, 4), (5, 6), (7,))] == [1, 1, 1, 1]
    assert len(choose(overlap, 7)) == 7


def test_a_second_scene_is_not_mixed_in() -> None:
    overlap = along_a_wall([0.0, 0.8, 1.6, 2.4, 8.0, 9.0], width=3.0)
    assert choose(overlap, 4) == [0, 1, 2, 3]


def ring(n: int) -> Capture:
    """Cameras along an arc with a cloud that each sees the facing half of."""
    poses = arc(n, seed=3, span_deg=180.0).float()
    K = torch.tensor([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1.0]]).repeat(n, 1, 1)
    cameras = Cameras(poses, K, torch.full((n,), WIDTH), torch.full((n,), HEIGHT))
    xyz = torch.nn.functional.normalize(torch.randn(400, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    facing = (cameras.centers @ xyz.T) > 1.0  # [V, P] on a sphere of radius 1
    view, point = facing.nonzero().unbind(1)
    texture = np.random.default_rng(0).integers(0, 255, (HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8)
    picture = cv2.resize(texture, (WIDTH, HEIGHT))
    frames = tuple(Frame(f"{i:02d}.jpg", WIDTH, HEIGHT, lambda: picture) for i in range(n))
    cloud = PointCloud(xyz, torch.zeros(400, 3, dtype=torch.uint8), point, view)
    return Capture(frames, "a ring", cameras, cloud)


def test_cameras_and_points_are_used_where_there_are_some() -> None:
    capture = ring(24)
    crowded = capture.subset([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 18, 21, 23])  # most at one end
    even = evenly_spaced(range(15), 5)
    for given in (crowded, replace(crowded, points=None)):
        chosen = most_useful(given, 5, range(15))
        assert len(crowded.points.in_views(chosen)) > 1.1 * len(crowded.points.in_views(even))
    assert _from_cameras(capture.cameras).linked[0, 1]
    assert not _from_cameras(capture.cameras).linked[0, 23]  # from opposite sides


def test_only_candidates_are_chosen_and_all_of_too_few() -> None:
    capture = ring(12)
    assert set(most_useful(capture, 4, [1, 3, 5, 7, 9, 11])) < {1, 3, 5, 7, 9, 11}
    assert most_useful(capture, 9, [5, 1, 3]) == [1, 3, 5]
    assert len(most_useful(capture, 1, range(12))) == 1


@pytest.fixture(scope="module")
def with_blurred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's photographs, and three of them again as if the hand had shaken."""
    folder = tmp_path_factory.mktemp("photos")
    for file in sorted(sample_path().glob("*.jpg")):
        shutil.copy(file, folder / file.name)
    for file in sorted(folder.glob("*.jpg"))[2::4]:
        picture = cv2.imread(str(file))
        length = picture.shape[1] // 40
        cv2.imwrite(str(folder / f"{file.stem}_blurred.jpg"), cv2.blur(picture, (length, 1)))
    return folder


@pytest.mark.parametrize("count", [4, 9])
def test_blurred_photographs_are_not_chosen(with_blurred: Path, count: int) -> None:
    if not is_available("xfeat"):
        pytest.skip("the package with the weights of xfeat is not installed")
    capture = read_capture(with_blurred)
    assert len(capture) == 15
    chosen = [capture.names[i] for i in most_useful(capture, count, range(15))]
    assert len(chosen) == count
    assert not [name for name in chosen if "blurred" in name]


def test_a_run_takes_the_useful_ones_on_request(with_blurred: Path, tmp_path: Path) -> None:
    if not is_available("xfeat"):
        pytest.skip("the package with the weights of xfeat is not installed")
    config = ReconstructConfig(views=4, choose="useful", resolution=160)
    capture = placed_input(Run.create(tmp_path / "run", {}), with_blurred, config)
    assert len(capture) == 4
    assert not [name for name in capture.names if "blurred" in name]


def test_choosing_needs_a_number() -> None:
    with pytest.raises(BadInputError, match="--choose useful needs --views"):
        ReconstructConfig(choose="useful")
