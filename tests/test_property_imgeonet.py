"""ImGeoNet's promises: views in any order, no depth to predict, ImVoxelNet inside of it, true occupancy, targets."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.detect.imgeonet.config import preset
from fewview.detect.imgeonet.feature_pyramid import FeaturePyramid
from fewview.detect.imgeonet.imgeonet_detector import ImGeoNetDetector
from fewview.detect.imgeonet.model import ImGeoNet
from fewview.detect.imgeonet.occupancy_labels import occupancy_labels
from fewview.detect.imgeonet.room_batch import RoomBatch
from fewview.detect.imgeonet.room_preparation import RoomPreparation, spread_views, views_by_chance
from fewview.detect.imgeonet.voxel_decode import detections
from fewview.detect.imgeonet.voxel_targets import voxel_targets
from fewview.detect.imgeonet.voxel_volume import Grid, cells_seen
from fewview.scene.errors import BadInputError
from support.rooms import (
    HIGH_M,
    LOW_M,
    SMALLEST_ROOMS,
    cameras_inside,
    made_room,
    random_rows,
    small_config,
    wall_depth,
)
from support.threads import one_torch_thread as one_torch_thread
from torch import nn


def batch_of(seed: int = 0, config=SMALLEST_ROOMS) -> RoomBatch:
    preparation = RoomPreparation(config)
    return preparation.collate([preparation.prepare(preparation.read(made_room(seed)))])


def settled(config=SMALLEST_ROOMS) -> ImGeoNet:
    """A network whose batch norms have seen something, so that its outputs differ from voxel to voxel."""
    torch.manual_seed(0)
    network = ImGeoNet(config).train()
    with torch.no_grad():
        for seed in range(3):
            network(batch_of(seed, config))
    return network.eval()


@torch.no_grad()
def answers(network: ImGeoNet, batch: RoomBatch) -> torch.Tensor:
    output = network(batch)
    return torch.cat([torch.cat([s.classes, s.distances.flatten(2)], dim=2) for s in output.scales], dim=1)


def test_a_voxel_is_seen_by_the_cell_whose_middle_is_nearest():
    """Cells of stride 1 are pixels: the cell's middle is within half a pixel of the projection."""
    cameras = cameras_inside()
    points = Grid((16, 16, 8), 0.2).points(torch.tensor([[0.0, 0, 1.2]]))[0]
    valid = torch.tensor([[64.0, 48.0]]).expand(len(cameras), 2)
    cells, depths, seen = cells_seen(points, cameras.cam_from_world, cameras.K, valid, 1, 0.0)
    assert bool(seen.any(dim=1).all())
    for v in range(len(cameras)):
        local = points @ cameras.cam_from_world[v, :3, :3].T + cameras.cam_from_world[v, :3, 3]
        pixels = (local / local[:, 2:]) @ cameras.K[v].T
        off = (pixels[:, :2] - (cells[v] + 0.5))[seen[v]]
        assert float(off.abs().max()) <= 0.5 + 1e-3  # float32 pixels of about a hundred
        assert bool((depths[v][seen[v]] > 0).all())


def test_views_in_another_order_change_nothing():
    network, batch = settled(), batch_of()
    order = torch.randperm(batch.images.shape[1], generator=torch.Generator().manual_seed(3))
    shuffled = replace(
        batch,
        images=batch.images[:, order],
        valid_px=batch.valid_px[:, order],
        cam_from_room=batch.cam_from_room[:, order],
        K=batch.K[:, order],
    )
    found, again = answers(network, batch), answers(network, shuffled)
    torch.testing.assert_close(again, found, atol=1e-4, rtol=1e-4)  # sums in another order
    assert float(found.std()) > 1e-4
    few = ImGeoNet(replace(network.config, views_at_once=1)).eval()
    few.load_state_dict(network.state_dict())
    torch.testing.assert_close(answers(few, batch), found, atol=1e-4, rtol=1e-4)


class Everywhere(nn.Module):
    """An occupancy network that is sure of a surface in every voxel."""

    def forward(self, mean, variance, seen):
        return torch.full(seen.shape, torch.inf)


def test_with_an_occupancy_of_one_it_is_imvoxelnet():
    network, batch = settled(), batch_of()
    plain = ImGeoNet(replace(SMALLEST_ROOMS, geometry=False)).eval()
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("occupancy.")}
    assert set(plain.state_dict()) == set(state)
    plain.load_state_dict(state)
    assert not torch.equal(answers(network, batch), answers(plain, batch))
    network.occupancy = Everywhere()
    assert torch.equal(answers(network, batch), answers(plain, batch))
    assert plain(batch).occupancy is None


def test_occupied_voxels_lie_at_the_walls_and_free_space_is_free():
    cameras = cameras_inside(12)
    depths = torch.from_numpy(np.stack([wall_depth(cameras[i]) for i in range(12)]))
    points = Grid((32, 32, 20), 0.16).points(torch.tensor([[0.0, 0, 1.1]]))[0]
    occupied = occupancy_labels(points, cameras.cam_from_world, cameras.K, depths, 0.32)
    low, high = torch.tensor(LOW_M), torch.tensor(HIGH_M)
    to_wall = torch.minimum((points - low).abs(), (points - high).abs()).min(dim=1).values
    # 0.32 m along the optical axis are more along the ray of a corner pixel, and half a pixel is 5 cm at 4 m.
    reach = 0.32 * math.hypot(1, 32 / 40, 24 / 40) + 0.05
    assert float(to_wall[occupied].max()) < reach
    inside = ((points > low + reach) & (points < high - reach)).all(dim=1)
    assert int(inside.sum()) > 1000
    assert not bool(occupied[inside].any())
    close = (to_wall < 0.1) & ((points > low - 0.1) & (points < high + 0.1)).all(dim=1)
    _, _, seen = cells_seen(
        points, cameras.cam_from_world, cameras.K, torch.tensor([[64.0, 48.0]]).expand(12, 2), 1, 0.0
    )
    assert float(occupied[close & seen.any(dim=0)].float().mean()) > 0.98


def test_no_depth_is_read_to_predict():
    room = made_room()

    def fail():
        raise AssertionError("depth was read")

    blind = replace(room, frames=tuple(replace(frame, load_depth=fail) for frame in room.frames))
    preparation = RoomPreparation(SMALLEST_ROOMS)
    batch = preparation.collate([preparation.prepare(preparation.read(blind))])
    assert batch.depths is None
    assert torch.equal(answers(settled(), batch), answers(settled(), batch_of()))
    with pytest.raises(AssertionError, match="depth was read"):
        preparation.prepare(preparation.read(blind), np.random.default_rng(0))
    plain = RoomPreparation(replace(SMALLEST_ROOMS, geometry=False))
    assert plain.prepare(plain.read(blind), np.random.default_rng(0)).depths is None


def test_a_box_has_at_most_eighteen_anchors_and_small_ones_are_on_the_finest_scale():
    random = np.random.default_rng(0)
    grid = Grid((24, 24, 12), 0.2)
    points = [grid.points(torch.zeros(1, 3), scale)[0] for scale in range(3)]
    sizes = [len(p) for p in points]
    seen_scales = set()
    for side in (0.3, 0.5, 0.7, 1.3, 2.6):
        boxes = random_rows(random, 1).float()
        boxes[:, 3:6] = side
        found = (voxel_targets(points, boxes, 27, 18).boxes == 0).split(sizes)
        counts = [int(part.sum()) for part in found]
        assert sum(counts) <= 18
        assert sum(c > 0 for c in counts) <= 1
        inside = [int(((p - boxes[0, :3]).abs() < side).all(dim=1).sum()) for p in points]  # a turned box lies in this
        scale = next((i for i, c in enumerate(counts) if c), None)
        if scale is not None:
            seen_scales.add(scale)
        if inside[0] < 27:
            assert scale in (0, None)
    assert {0, 1, 2} & seen_scales == seen_scales
    assert len(seen_scales) >= 2
    # The coarsest of all scales that have 27 anchors inside: a box of 2.6 m has 3 x 3 x 3 of 0.8 m, just so.
    whole = torch.tensor([[0.4, 0.4, 0.1, 2.5, 2.5, 2.3, 0]])
    parts = (voxel_targets(points, whole, 27, 18).boxes == 0).split(sizes)
    assert [int(p.sum()) > 0 for p in parts] == [False, False, True]


def test_voxels_that_no_view_sees_are_empty_and_give_no_box():
    network = settled()
    batch = batch_of()
    away = replace(batch, middles=batch.middles + torch.tensor([0.0, 0, 100]))
    with torch.no_grad():
        mean, variance, seen = network.lift(away)
        assert not bool(seen.any())
        assert not bool(mean.any())
        assert not bool(variance.any())
        output = network(away)
        assert not bool(output.occupancy.any())
        (boxes,) = detections(output, replace(SMALLEST_ROOMS, min_score=0.0))
    assert len(boxes) == 0


def test_boxes_come_with_falling_scores_above_the_limit():
    config = replace(SMALLEST_ROOMS, min_score=1e-4)
    with torch.no_grad():
        (boxes,) = detections(settled()(batch_of()), config)
    assert len(boxes) > 3
    assert boxes.names == config.classes
    scores = boxes.scores.tolist()
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 1e-4
    with torch.no_grad():
        (few,) = detections(settled()(batch_of()), replace(config, candidates=2))
    assert len(few) <= 6


@pytest.mark.parametrize("backbone", ["light", "efficientnet-lite0", "resnet50"])
def test_a_cell_looks_around_its_own_middle(backbone: str):
    """The pixels that reach a cell of the backbone's finest map lie evenly around the one that `first_px` names."""
    config = small_config(image_backbone=backbone, image_frozen="none")
    torch.manual_seed(0)
    pyramid = FeaturePyramid(config).eval()
    image = torch.randn(1, 3, 128, 128, requires_grad=True)
    pyramid.backbone(image)[0][0, :, 16, 12].abs().sum().backward()
    reached = image.grad[0].abs().sum(dim=0) > 0
    for axis, cell in ((1, 16), (0, 12)):
        places = reached.any(dim=axis).nonzero()
        assert float(places[0] + places[-1]) / 2 == 4 * cell + pyramid.first_px


def test_a_frozen_backbone_keeps_its_weights_and_statistics():
    network = ImGeoNet(small_config(image_backbone="efficientnet-lite0", image_frozen="all"))
    before = {k: v.clone() for k, v in network.pyramid.backbone.state_dict().items()}
    network.train()
    batch = batch_of()
    output = network(batch)
    sum(s.classes.sum() for s in output.scales).backward()
    after = network.pyramid.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in network.pyramid.backbone.parameters())
    assert network.pyramid.smooth.weight.grad is not None
    groups = ImGeoNetDetector(network).optimizer().param_groups
    assert [group["lr"] for group in groups] == [network.config.learning_rate]


def test_the_backbone_learns_slower_and_rates_fall_twice():
    detector = ImGeoNetDetector(ImGeoNet(small_config(learning_rate=1e-4, backbone_lr_factor=0.1)))
    optimizer = detector.optimizer()
    rates = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    backbone = rates[id(next(detector.network.pyramid.backbone.parameters()))]
    pyramid = rates[id(detector.network.pyramid.smooth.weight)]
    found = []
    for step in (0, 7, 8, 10, 11):
        detector.set_rates(optimizer, step, 12)
        found.append(pyramid["lr"])
        assert backbone["lr"] == pytest.approx(0.1 * pyramid["lr"])
    assert found == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6])


def test_gradients_of_the_boxes_flow_through_the_occupancy():
    config = SMALLEST_ROOMS
    network = ImGeoNet(config).train()
    output = network(batch_of())
    sum(s.classes.square().sum() for s in output.scales).backward()
    assert float(network.occupancy.after.weight.grad.abs().max()) > 0


def test_views_are_spread_or_drawn_in_order():
    assert spread_views(5, 50) == [0, 1, 2, 3, 4]
    assert spread_views(100, 4) == [0, 33, 66, 99]
    drawn = views_by_chance(30, 20, np.random.default_rng(0))
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 20
    again = views_by_chance(3, 20, np.random.default_rng(0))
    assert len(again) == 20
    assert set(again) <= {0, 1, 2}


def test_the_volume_is_shifted_by_chance_in_training_alone():
    config = small_config(origin="scene", origin_m=(0.0, 0.0, 0.5), shift_std_m=(0.5, 0.5, 0.0))
    preparation = RoomPreparation(config)
    read = preparation.read(made_room())
    assert preparation.prepare(read).middle.tolist() == [0.0, 0.0, 0.5]
    shifted = preparation.prepare(read, np.random.default_rng(0)).middle
    assert float(shifted[2]) == 0.5
    assert float(shifted[:2].abs().min()) > 0
    around = RoomPreparation(small_config(origin="cameras", origin_m=(0.0, 0.0, -0.3), look_ahead_m=0.0))
    expected = made_room().cameras.centers.mean(dim=0) - torch.tensor([0.0, 0.0, 0.3])
    torch.testing.assert_close(around.prepare(read).middle, expected)


def test_one_camera_puts_the_volume_before_it():
    config = small_config(origin="cameras", origin_m=(0.0, 0.0, 0.0), look_ahead_m=2.0)
    preparation = RoomPreparation(config)
    room = made_room(views=1)
    middle = preparation.prepare(preparation.read(room)).middle
    camera = room.cameras[0]
    off = middle - camera.centers
    forward = camera.world_from_cam[:3, 2]
    assert float(off[2]) == 0
    assert float(off.norm()) == pytest.approx(2.0 * float(forward[:2].norm()), abs=1e-4)


def test_photographs_of_any_size_fit_the_network():
    config = small_config(image_width_px=96, image_height_px=64)
    preparation = RoomPreparation(config)
    prepared = preparation.prepare(preparation.read(made_room()), np.random.default_rng(0))
    assert prepared.images.shape == (4, 3, 64, 96)
    assert prepared.valid_px[0].tolist() == [85.0, 64.0]  # 64 x 48, enlarged by 4 / 3
    assert not bool(prepared.images[..., 85:].any())
    torch.testing.assert_close(prepared.K[0, 0, 0], torch.tensor(40.0 * 85 / 64))
    assert prepared.depths.shape == (4, 64, 96)
    assert float(prepared.depths[..., :85].min()) > 0
    assert not bool(prepared.depths[..., 85:].any())


def test_configs_that_cannot_be_are_refused():
    for change, words in (
        ({"voxels": (40, 40, 15)}, "multiples of 4"),
        ({"image_width_px": 100}, "multiples of 32"),
        ({"classes": ("a", "a")}, "all different"),
        ({"train_views": 0}, "train_views is 0"),
    ):
        with pytest.raises(BadInputError, match=words):
            replace(preset("tiny"), **change)


def test_presets_have_the_papers_numbers():
    paper, arkit = preset("paper"), preset("paper-arkit")
    assert (paper.voxels, paper.voxel_m, paper.feature_channels) == ((40, 40, 16), 0.16, 256)
    assert (len(paper.classes), len(arkit.classes)) == (18, 17)
    assert (arkit.yaw, arkit.origin, arkit.min_score, arkit.nms_iou) == (True, "cameras", 0.0, 0.15)
    with torch.device("meta"):
        network = ImGeoNet(paper)
    assert network.occupancy.before[0].in_channels == 512
    assert network.neck.down[2].second[0].out_channels == 1024
