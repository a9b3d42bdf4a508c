"""Flow between the frames of a film, and the loss of SC-GS on it, against plain definitions and differences."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fewview.recon.evidence.dense_flow import FlowField
from fewview.recon.evidence.evidence_kinds import FILM_FLOW, gather
from fewview.recon.evidence.film_flow import FilmFlow, dis_flow, load_film_flow, save_film_flow
from fewview.recon.methods.method_contract import Inputs
from fewview.recon.methods.registry import method
from fewview.recon.methods.sc_gs.flow_loss import flow_by_view, flow_loss, rendered_flow
from fewview.recon.methods.sc_gs.model import DENSE
from fewview.recon.optimise.dataset import Dataset, View
from fewview.recon.optimise.trainer import Trainer
from fewview.render import rasterization
from fewview.scene.capture import Capture
from fewview.scene.errors import BadInputError
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import transform_points
from fewview.scene.run import Run
from support.training import HEIGHT, WIDTH, capture_of, ring, tiny_dataset, truth
from torch import Tensor

SIDE = 64


def texture(shift_px: int) -> Tensor:
    """A soft random picture [64, 64, 3] uint8 that has moved to the right."""
    noise = np.random.default_rng(0).random((SIDE, 2 * SIDE, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 3)
    soft = (soft - soft.min()) / (soft.max() - soft.min())
    return torch.from_numpy((255 * soft[:, SIDE // 2 - shift_px : 3 * SIDE // 2 - shift_px]).astype(np.uint8))


def film(cameras: list[str | None], shifts: list[int]) -> tuple[Dataset, Capture]:
    """Frames at times 0, 1, 2, ... of pictures that slide; one camera's place for all."""
    count = len(cameras)
    placed = ring(1)[[0] * count].resized(torch.tensor([SIDE] * count), torch.tensor([SIDE] * count))
    times = [float(i) for i in range(count)]
    placed = replace(placed, times_s=torch.tensor(times))
    views = tuple(View(texture(s), None, placed.K[i]) for i, s in enumerate(shifts))
    dataset = Dataset(views, placed, tuple(f"{i}.png" for i in range(count)), tuple(range(count)))
    capture = capture_of(dataset, times)
    frames = tuple(replace(f, camera=c) for f, c in zip(capture.frames, cameras, strict=True))
    return dataset, replace(capture, frames=frames)


def test_dis_follows_what_slides() -> None:
    flow = dis_flow(texture(0), texture(3))[16:-16, 16:-16]
    torch.testing.assert_close(flow.mean((0, 1)), torch.tensor([3.0, 0.0]), atol=0.2, rtol=0)
    assert dis_flow(texture(0)[:8, :8], texture(1)[:8, :8]).abs().max() == 0  # too small for its patches


def test_frames_that_follow_each_other_in_one_camera_are_the_pairs(tmp_path: Path) -> None:
    dataset, capture = film(["a", "b", "a", "b"], [0, 0, 2, 4])
    run = Run.create(tmp_path / "run", {})
    found = gather(FILM_FLOW, run, capture, dataset, 0)
    assert sorted(found.fields) == [(0, 2), (1, 3), (2, 0), (3, 1)]
    field = found.fields[0, 2]
    assert float(field.weight[20:-20, 20:-20].mean()) > 0.8
    torch.testing.assert_close(field.flow[20:-20, 20:-20].mean((0, 1)), torch.tensor([2.0, 0.0]), atol=0.2, rtol=0)
    again = gather(FILM_FLOW, run, capture, dataset, 0)  # from its file
    assert torch.equal(again.fields[3, 1].flow, found.fields[3, 1].flow)


def test_a_cut_and_two_frames_of_one_moment_are_no_film(tmp_path: Path) -> None:
    dataset, capture = film([None, None, None], [0, 1, 2])
    poses = dataset.cameras.cam_from_world.clone()
    poses[2] = ring(5).cam_from_world[4]  # turned by more than CUT_DEG
    cut = replace(dataset, cameras=replace(dataset.cameras, cam_from_world=poses))
    assert sorted(gather(FILM_FLOW, Run.create(tmp_path / "cut", {}), capture, cut, 0).fields) == [(0, 1), (1, 0)]
    once = replace(dataset, cameras=replace(dataset.cameras, times_s=torch.tensor([0.0, 0.0, 1.0])))
    assert sorted(gather(FILM_FLOW, Run.create(tmp_path / "once", {}), capture, once, 0).fields) == [(1, 2), (2, 1)]
    timeless = replace(dataset, cameras=replace(dataset.cameras, times_s=None))
    with pytest.raises(BadInputError, match="have no times"):
        gather(FILM_FLOW, Run.create(tmp_path / "none", {}), capture, timeless, 0)


def test_files_of_other_views_are_one_sentence(tmp_path: Path) -> None:
    dataset, _ = film([None, None], [0, 1])
    there, back = (FlowField(torch.full((SIDE, SIDE, 2), way), torch.ones(SIDE, SIDE)) for way in (1.0, -1.0))
    save_film_flow(tmp_path / "flow", FilmFlow({(0, 1): there, (1, 0): back}), ["0.png", "1.png"], "key")
    assert sorted(load_film_flow(tmp_path / "flow", dataset.cameras, ["0.png", "1.png"]).fields) == [(0, 1), (1, 0)]
    with pytest.raises(BadInputError, match="other views"):
        load_film_flow(tmp_path / "flow", dataset.cameras, ["0.png", "2.png"])


def scene() -> tuple[Gaussians, Tensor]:
    """Gaussians, and their means a moment later."""
    now = truth()
    return now, now.means + 0.1 * torch.randn(now.means.shape, generator=torch.Generator().manual_seed(3))


def plain_rendered_flow(now: Gaussians, means_now: Tensor, means_then: Tensor) -> tuple[Tensor, Tensor]:
    """The rendered flow by its definition: the mean way of the Gaussians, by their share [H, W, N] of each pixel."""
    cameras = ring(2)
    shares, alpha, _ = rasterization(
        now.means, now.quats, now.scales, now.opacities, torch.eye(len(now)), cameras.cam_from_world[:1],
        cameras.K[:1], WIDTH, HEIGHT, packed=False,
    )  # fmt: skip

    def placed(means: Tensor, camera: int) -> Tensor:
        x, y, z = transform_points(cameras.cam_from_world[camera], means).unbind(-1)
        K = cameras.K[camera]
        return 2 * torch.stack([(K[0, 0] * x / z + K[0, 2]) / WIDTH, (K[1, 1] * y / z + K[1, 2]) / HEIGHT], dim=-1)

    opacity = alpha[0, ..., 0]
    way = placed(means_then, 1) - placed(means_now, 0)
    return shares[0] @ way / opacity.clamp_min(1e-3)[..., None], opacity


def plain_flow_loss(flow: Tensor, opacity: Tensor, field: FlowField, error: Tensor, apart: float) -> Tensor:
    total = torch.zeros(())
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if opacity[y, x] > 0.9:
                weight = field.weight[y, x] * math.cos(math.pi / 2 * float(error[y, x]))
                wanted = 2 * field.flow[y, x] / torch.tensor([WIDTH, HEIGHT])
                total = total + weight * (flow[y, x] - wanted).abs().sum()
    return max(0.2, math.cos(math.pi / 2 * apart)) * total / (2 * HEIGHT * WIDTH)


def known_field() -> tuple[FlowField, Tensor]:
    g = torch.Generator().manual_seed(5)
    field = FlowField(2 * torch.randn(HEIGHT, WIDTH, 2, generator=g), torch.rand(HEIGHT, WIDTH, generator=g))
    return field, 0.3 * torch.rand(HEIGHT, WIDTH, generator=g)


@pytest.mark.parametrize("apart", [0.0, 0.4, 1.0])
def test_the_loss_and_its_gradients_are_those_of_the_plain_definition(apart: float) -> None:
    now, then = scene()
    cameras, (field, error) = ring(2), known_field()
    found, wanted = [], []
    for plain, into in ((False, found), (True, wanted)):
        means_now, means_then = (means.clone().requires_grad_() for means in (now.means, then))
        if plain:
            flow, opacity = plain_rendered_flow(now, means_now, means_then)
            loss = plain_flow_loss(flow, opacity, field, error, apart)
        else:
            flow, opacity = rendered_flow(replace(now, means=means_now), means_then, cameras[0], cameras[1])
            loss = flow_loss(flow, opacity, field, error, apart)
        loss.backward()
        assert means_now.grad is not None
        assert means_then.grad is not None
        into += [loss.detach(), means_now.grad, means_then.grad]
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)
    assert float(found[0]) > 1e-4


def test_the_gradient_is_that_of_finite_differences() -> None:
    now, then = scene()
    cameras, (field, error) = ring(2), known_field()

    def loss(means: Tensor) -> Tensor:
        flow, opacity = rendered_flow(now, means, cameras[0], cameras[1])
        return flow_loss(flow, opacity, field, error, 0.1)

    leaf = then.clone().requires_grad_()
    loss(leaf).backward()
    assert leaf.grad is not None
    for row in range(0, len(then), 3):
        for axis in range(3):
            step = torch.zeros_like(then)
            step[row, axis] = 2e-3
            difference = (loss(then + step) - loss(then - step)) / 4e-3
            torch.testing.assert_close(leaf.grad[row, axis], difference, atol=2e-3, rtol=0.05)


def test_what_moves_as_the_film_says_costs_nothing_at_any_size() -> None:
    """Everything slides by the same way over the screen, before a halved picture as before the whole one."""
    now, cameras = truth(), ring(1)
    flat = replace(now, means=now.means * torch.tensor([1.0, 1.0, 0.0]))  # at one depth of the middle camera
    camera = replace(cameras, cam_from_world=torch.eye(4)[None])[0]
    camera.cam_from_world[2, 3] = 3.0
    field = FlowField(torch.tensor([1.5, -1.0]).expand(HEIGHT, WIDTH, 2), torch.ones(HEIGHT, WIDTH))
    slid = flat.means + torch.tensor([1.5, -1.0, 0.0]) * 3.0 / 30.0
    for side in ((WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2)):
        small = camera.resized(*(torch.tensor(s) for s in side))
        flow, opacity = rendered_flow(flat, slid, small, small)
        assert float((opacity > 0.9).float().mean()) > 0.05
        error = torch.zeros(side[1], side[0])
        assert float(flow_loss(flow, opacity, field, error, 0.0)) < 1e-5
        still, _ = rendered_flow(flat, flat.means, small, small)
        assert float(flow_loss(still, opacity, field, error, 0.0)) > 1e-3


def test_sc_gs_asks_for_flow_where_it_weighs_something_and_learns_by_it() -> None:
    chosen, times = method("sc_gs"), [0.0, 0.5, 1.0, 1.5, 2.0]
    dataset = tiny_dataset()
    dataset = replace(dataset, cameras=replace(dataset.cameras, times_s=torch.tensor(times)))
    inputs = Inputs(dataset, capture_of(dataset, times), True)
    small = {"steps": 16, "nodes": 6, "net_width": 16, "net_depth": 3, "random_points": 20, "still": 0.0}
    assert chosen.asks(chosen.configure(inputs, small)) == ()
    config = chosen.configure(inputs, small | {"flow_weight": 0.1, "flow_until": 1.0})
    assert chosen.asks(config) == (FILM_FLOW,)
    field = FlowField(torch.full((HEIGHT, WIDTH, 2), 3.0), torch.ones(HEIGHT, WIDTH))
    flow = FilmFlow({(i, j): field for i in range(5) for j in range(5) if abs(i - j) == 1})
    model = chosen.initialise(replace(inputs, evidence={FILM_FLOW: flow}), config)
    assert {view: len(known) for view, known in flow_by_view(flow, dataset).items()} == {0: 1, 1: 2, 2: 2, 3: 2, 4: 1}
    trainer, seen = Trainer(model, dataset, config), set()
    loss = model.loss
    model.loss = lambda step: (lambda found: seen.update({(model.part, "flow" in found)}) or found)(loss(step))
    while trainer.step < trainer.steps:
        trainer.advance()
    assert (DENSE, True) in seen
    assert all(part == DENSE for part, had in seen if had)
