"""Strategies of `fewview.gsplat` on a trainer's own parameters and optimisers: rows stay together and pictures stay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fewview import gsplat
from fewview.scene.errors import BadInputError
from support.scenes import cameras_around
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor, nn

WIDTH, HEIGHT = 40, 30


def make(count: int = 50, opacity_columns: bool = False, seed: int = 0) -> nn.ParameterDict:
    g = torch.Generator().manual_seed(seed)
    params = nn.ParameterDict(
        {
            "means": 0.8 * torch.randn(count, 3, generator=g),
            "scales": torch.randn(count, 3, generator=g) * 0.3 - 2,
            "quats": torch.randn(count, 4, generator=g),
            "opacities": torch.randn(count, *[1] * opacity_columns, generator=g),
            "colors": torch.rand(count, 3, generator=g),
            "row": torch.arange(count).float(),
        }
    )
    params["row"].requires_grad_(False)  # says where each Gaussian comes from
    return params


def adam(params: nn.ParameterDict, kind: Callable[..., torch.optim.Optimizer] = torch.optim.Adam) -> dict:
    return {
        k: kind([{"params": [v], "lr": 0.01}], eps=1e-15, betas=(0.9, 0.999))
        for k, v in params.items()
        if v.requires_grad
    }


def step_with_unit_gradients(params: nn.ParameterDict, optimizers: dict) -> None:
    for name, optimizer in optimizers.items():
        params[name].grad = torch.ones_like(params[name])
        optimizer.step()
        optimizer.zero_grad()


def moments(params: nn.ParameterDict, optimizers: dict, name: str) -> Tensor:
    return optimizers[name].state[params[name]]["exp_avg"]


def consistent(params: nn.ParameterDict, optimizers: dict) -> bool:
    rows = len(params["means"])
    for name, optimizer in optimizers.items():
        assert optimizer.param_groups[0]["params"][0] is params[name]
        assert set(optimizer.state) == {params[name]}
        assert moments(params, optimizers, name).shape == params[name].shape
    return all(len(p) == rows for p in params.values()) and not params["row"].requires_grad


@pytest.mark.parametrize("opacity_columns", [False, True])
def test_growth_copies_small_ones_splits_large_ones_and_prunes_transparent_ones(opacity_columns: bool) -> None:
    params = make(6, opacity_columns)
    params["scales"].data[:] = -5.0
    params["scales"].data[2:4] = 0.0  # large
    params["opacities"].data[:] = 2.0
    params["opacities"].data[5] = -9.0  # transparent
    optimizers = adam(params)
    step_with_unit_gradients(params, optimizers)
    before = {k: v.detach().clone() for k, v in params.items()}
    strategy = gsplat.DefaultStrategy(refine_start_iter=0, refine_every=1, absgrad=True)
    state = strategy.initialize_state(scene_scale=1.0)
    # Image-plane gradients per camera: Gaussians 1 and 3 are pulled at, 0 and 2 are not, 4 is not seen.
    means2d = torch.zeros(2, 6, 2)
    means2d.absgrad = torch.zeros(2, 6, 2)
    means2d.absgrad[:, [1, 3], 0] = 1e-3
    radii = torch.ones(2, 6, 2, dtype=torch.int32)
    radii[:, 4] = 0
    info = {"means2d": means2d, "radii": radii, "width": WIDTH, "height": HEIGHT, "n_cameras": 2, "gaussian_ids": None}
    strategy.step_post_backward(params, optimizers, state, 1, info)

    assert params["row"].tolist() == [0, 1, 2, 4, 1, 3, 3]  # kept, copied, two children
    assert consistent(params, optimizers)
    assert torch.equal(params["means"][4], before["means"][1])
    assert torch.allclose(params["scales"][5:], before["scales"][[3, 3]] - torch.tensor(1.6).log())
    assert (params["means"][5] != params["means"][6]).any()
    for name in optimizers:
        assert (moments(params, optimizers, name)[:4] != 0).all()
        assert (moments(params, optimizers, name)[4:] == 0).all()
    assert state["grad2d"].tolist() == state["count"].tolist() == [0.0] * 7


def test_the_statistics_are_means_over_the_views_that_saw_a_gaussian() -> None:
    strategy = gsplat.DefaultStrategy(refine_scale2d_stop_iter=10)
    state = strategy.initialize_state()
    means2d = torch.zeros(2, 3, 2, requires_grad=True)
    means2d.grad = torch.tensor([[[3.0, 4.0], [1.0, 0], [9, 9]], [[0.0, 1.0], [5, 5], [9, 9]]])
    radii = torch.tensor([[[2, 8], [4, 1], [0, 0]], [[10, 1], [0, 0], [0, 0]]], dtype=torch.int32)
    info = {"means2d": means2d, "radii": radii, "width": 4, "height": 2, "n_cameras": 2, "gaussian_ids": None}
    params = make(3)
    strategy.step_post_backward(params, adam(params), state, 1, info)
    # gradients times (width / 2, height / 2) times the number of cameras
    first = (12.0**2 + 8.0**2) ** 0.5 + 2.0
    assert state["grad2d"].tolist() == pytest.approx([first, 4.0, 0.0])
    assert state["count"].tolist() == [2.0, 1.0, 0.0]
    assert state["radii"].tolist() == [10 / 4, 4 / 4, 0.0]


def test_opacities_are_reset_at_their_steps() -> None:
    params = make()
    optimizers = adam(params)
    step_with_unit_gradients(params, optimizers)
    before = params["opacities"].detach().clone()
    strategy = gsplat.DefaultStrategy(reset_every=20, prune_opa=0.005)
    state = strategy.initialize_state()
    info = {"means2d": torch.zeros(1, 50, 2), "radii": torch.zeros(1, 50, 2), "width": 4, "height": 2, "n_cameras": 1}
    info["means2d"].grad = torch.zeros(1, 50, 2)
    for step in (0, 19):
        strategy.step_post_backward(params, optimizers, state, step, info)
        assert torch.equal(params["opacities"], before)
    strategy.step_post_backward(params, optimizers, state, 20, info)
    assert params["opacities"].sigmoid().max() <= 0.01 + 1e-6
    assert (moments(params, optimizers, "opacities") == 0).all()
    assert (moments(params, optimizers, "means") != 0).all()


@pytest.mark.parametrize("opacity_columns", [False, True])
def test_sampling_moves_the_dead_and_adds_five_percent(opacity_columns: bool) -> None:
    params = make(40, opacity_columns)
    params["opacities"].data[:10] = -8.0  # dead
    optimizers = adam(params)
    step_with_unit_gradients(params, optimizers)
    strategy = gsplat.MCMCStrategy(refine_start_iter=0, refine_every=5, cap_max=100)
    state = strategy.initialize_state()
    strategy.step_post_backward(params, optimizers, state, 4, {}, lr=0.0)
    assert params["row"].tolist() == list(range(40))
    torch.manual_seed(1)
    strategy.step_post_backward(params, optimizers, state, 5, {}, lr=0.0)
    assert consistent(params, optimizers)
    assert len(params["means"]) == 42
    assert (params["row"] >= 10).all()  # none of the dead is left
    assert (params["row"][10:40] == torch.arange(10, 40)).all()
    moved = moments(params, optimizers, "means")[:10]
    assert (moved == 0).all()
    strategy = gsplat.MCMCStrategy(refine_start_iter=0, refine_every=5, cap_max=42)
    strategy.step_post_backward(params, optimizers, state, 5, {}, lr=0.0)
    assert len(params["means"]) == 42


def test_sampling_shakes_only_what_is_transparent() -> None:
    params = make()
    params["opacities"].data[:25] = 4.0
    params["opacities"].data[25:] = -9.0
    before = params["means"].detach().clone()
    gsplat.MCMCStrategy().step_post_backward(params, adam(params), {}, 1, {}, lr=1e-4)
    assert torch.equal(params["means"][:25], before[:25])
    assert (params["means"][25:] != before[25:]).any(-1).all()


TRAINERS = {
    "default": {},
    "absgrad": {"absgrad": True},
    "mcmc": {"mcmc": True},
    "packed": {"packed": True},
    "sparse": {"packed": True, "sparse_grad": True, "kind": torch.optim.SparseAdam},
    "visible": {"kind": gsplat.SelectiveAdam, "visible": True},
    "antialiased": {"rasterize_mode": "antialiased"},
    "poses": {"poses": True},
}


@pytest.mark.parametrize("name", list(TRAINERS))
def test_a_trainer_written_for_gsplat_learns(name: str) -> None:
    options = dict(TRAINERS[name])
    kind, mcmc = options.pop("kind", torch.optim.Adam), options.pop("mcmc", False)
    visible, poses = options.pop("visible", False), options.pop("poses", False)
    options = {"packed": False, **options}
    viewmats, Ks = (t.float() for t in cameras_around(3, WIDTH, HEIGHT))

    def draw(p: nn.ParameterDict, views: Tensor, **options: object) -> tuple:
        return gsplat.rasterization(
            p["means"], p["quats"], p["scales"].exp(), p["opacities"].sigmoid(), p["colors"], views, Ks, WIDTH, HEIGHT,
            **options,
        )  # fmt: skip

    with torch.no_grad():
        target = draw(make(seed=1), viewmats)[0]
    torch.manual_seed(0)
    params = make(seed=2)
    optimizers = adam(params, kind)
    rounds = {"refine_start_iter": 5, "refine_every": 10}
    if mcmc:
        strategy = gsplat.MCMCStrategy(cap_max=60, noise_lr=1e3, **rounds)
    else:
        strategy = gsplat.DefaultStrategy(grow_grad2d=2e-4, absgrad=options.get("absgrad", False), **rounds)
    strategy.check_sanity(params, optimizers)
    state = strategy.initialize_state()
    shift = torch.zeros(3, 3, requires_grad=poses)
    pose_optimizer = torch.optim.Adam([shift], lr=1e-3)
    losses = []
    for step in range(40):
        views = viewmats.clone()
        views[:, :3, 3] += shift
        image, _, info = draw(params, views, **options)
        strategy.step_pre_backward(params, optimizers, state, step, info)
        loss = (image - target).abs().mean()
        loss.backward()
        losses.append(loss.item())
        for key, optimizer in optimizers.items():
            grad = params[key].grad
            if options.get("sparse_grad") and not grad.is_sparse:
                rows = info["gaussian_ids"].unique()
                params[key].grad = torch.sparse_coo_tensor(rows[None], grad[rows], grad.shape, check_invariants=True)
            optimizer.step(*[(info["radii"] > 0).all(-1).any(0)] * visible)
            optimizer.zero_grad(set_to_none=True)
        if poses:
            pose_optimizer.step()
            pose_optimizer.zero_grad()
        more = {"lr": 1e-3} if mcmc else {"packed": options["packed"]}
        strategy.step_post_backward(params, optimizers, state, step, info, **more)
    assert losses[-1] < 0.75 * losses[0]
    assert len(params["means"]) != 50
    assert consistent(params, optimizers)
    assert bool((shift != 0).all()) == poses


def test_what_does_not_fit_is_said() -> None:
    params = make()
    optimizers = adam(params)
    strategy = gsplat.DefaultStrategy()
    with pytest.raises(BadInputError, match=r"optimisers for \['means'\]"):
        strategy.check_sanity(params, {"means": optimizers["means"]})
    with pytest.raises(BadInputError, match="no 'quats'"):
        strategy.check_sanity({k: v for k, v in params.items() if k != "quats"}, optimizers)
    with pytest.raises(BadInputError, match="gradient_2dgs"):
        gsplat.DefaultStrategy(key_for_gradient="gradient_2dgs")
    info = {"means2d": torch.zeros(1, 50, 2)}
    with pytest.raises(BadInputError, match="needs rasterization"):
        gsplat.DefaultStrategy(absgrad=True).step_post_backward(
            params, optimizers, strategy.initialize_state(), 1, info
        )
    momentum = {k: torch.optim.SGD([v], lr=0.1, momentum=0.9) for k, v in params.items() if v.requires_grad}
    step_with_unit_gradients(params, momentum)
    with pytest.raises(BadInputError, match="keeps momentum_buffer"):
        gsplat.MCMCStrategy().step_post_backward(params, momentum, {}, 1, {}, lr=0.1)
