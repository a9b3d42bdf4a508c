"""InstantSplat's starting points, what it keeps, and its learning rates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fewview.recon.evidence import DepthMap, Stereo
from fewview.recon.methods.instantsplat.config import InstantSplatConfig, few_view_values, instantsplat_config
from fewview.recon.methods.instantsplat.model import BORDER_OPACITY, initialise, position_rates, thinned
from fewview.recon.optimise.dataset import Dataset, View
from fewview.recon.optimise.step import Step
from fewview.recon.optimise.trainer import fit
from fewview.render import render
from fewview.render.metrics import ssim
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError
from fewview.scene.gaussians import SH_C0, Gaussians
from support.few_views import few_views, masked, transparent, wall_and_ball
from support.instantsplat_protocol import instantsplat_split
from support.stereo_scenes import Plane, row_of_cameras, stereo_scene
from support.threads import one_torch_thread as one_torch_thread

WIDTH, HEIGHT = 48, 36


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"border": 0.25},
        {"gaussian_dropout": 0.4, "border": 0.25, "sh_degree": 1, "sh_every": 0.5},
        {"antialiased": True},
    ],
    ids=lambda changes: ",".join(changes) or "plain",
)
def test_the_number_of_gaussians_never_changes(changes: dict[str, Any]) -> None:
    dataset, stereo = few_views(wall_and_ball())
    config = instantsplat_config(12, **changes)
    model = initialise(dataset, stereo, config)
    before = len(model.splat())
    counts: list[float] = []
    result = fit(model, dataset, config, callbacks=[lambda step, model, figures: counts.append(figures["gaussians"])])
    assert counts == [before] * 12
    assert len(result.splat.gaussians) == before
    assert result.splat.gaussians.sh_degree == changes.get("sh_degree", 0)


@pytest.mark.parametrize("widens_at", [0.5, 0.9])
def test_the_result_is_the_mean_over_the_last_steps(widens_at: float) -> None:
    """From the step on that is asked for, or from the one on at which a degree was added, if that comes later."""
    dataset, stereo = few_views(wall_and_ball())
    config = instantsplat_config(20, average_from=0.75, gaussian_dropout=0.4, sh_degree=1, sh_every=widens_at)
    model = initialise(dataset, stereo, config)
    steps: list[dict[str, torch.Tensor]] = []

    def note(step: int, model: Any, figures: Any) -> None:
        steps.append({name: value.detach().clone() for name, value in vars(model.splat()).items()})

    result = fit(model, dataset, config, callbacks=[note]).splat.gaussians
    last = steps[max(15, round(20 * widens_at)) :]
    for name, value in vars(result).items():
        mean = torch.stack([step[name] for step in last]).double().mean(0)
        # sums of at most 5 float32 numbers, each rounded to a relative 2^-24
        torch.testing.assert_close(value.double(), mean, rtol=1e-6, atol=1e-6)
    assert not torch.equal(result.means, steps[-1]["means"])


def test_pixels_that_a_better_view_shows_give_no_gaussian() -> None:
    dataset, stereo = few_views(wall_and_ball(), confidences=[2.0, 9.0, 4.0])
    plain, off = (
        initialise(dataset, stereo, instantsplat_config(co_visibility=rule)).splat() for rule in ("projected", "off")
    )
    all_pixels = 3 * HEIGHT * WIDTH
    assert len(off) == all_pixels
    assert HEIGHT * WIDTH <= len(plain) < 0.8 * all_pixels
    # The best view's points are all there, in the order of its pixels.
    best = stereo.points(1).reshape(-1, 3)
    start = int((plain.means == best[0]).all(dim=-1).nonzero()[0])
    assert torch.equal(plain.means[start : start + len(best)], best)


@pytest.mark.parametrize("copies", [2, 3, 5])
def test_copies_of_one_photograph_give_gaussians_once(copies: int) -> None:
    one, stereo = few_views(wall_and_ball(1))
    same = torch.zeros(copies, dtype=torch.int64)
    dataset = Dataset(one.views * copies, one.cameras[same], tuple(map(str, range(copies))), tuple(range(copies)))
    model = initialise(dataset, Stereo(stereo.cameras[same], stereo.maps * copies), instantsplat_config())
    # A centre of a pixel falls back into it, and its depth differs by rounding only.
    assert len(model.splat()) == pytest.approx(HEIGHT * WIDTH, rel=1e-3)


def test_each_gaussian_begins_as_the_paper_says() -> None:
    dataset, stereo = few_views(wall_and_ball(1))
    gaussians = initialise(dataset, stereo, instantsplat_config()).splat().detach()
    assert gaussians.sh_degree == 0
    assert torch.allclose(gaussians.opacities, torch.tensor(0.1))
    assert torch.equal(gaussians.quats, torch.tensor([1.0, 0, 0, 0]).expand(len(gaussians), 4))
    assert torch.equal(gaussians.log_scales[:, 0], gaussians.log_scales[:, 2])
    colors = dataset.views[0].pixels.reshape(-1, 3) / 255
    torch.testing.assert_close(0.5 + SH_C0 * gaussians.sh[:, 0], colors)
    # The root mean square distance to the three nearest others, by comparing all with all.
    squares = torch.cdist(gaussians.means.double(), gaussians.means.double()).square()
    nearest = squares.topk(4, largest=False).values[:, 1:].mean(dim=1).sqrt()
    torch.testing.assert_close(gaussians.scales[:, 0].double(), nearest, rtol=1e-3, atol=0)


def test_the_loss_is_l1_and_dssim_and_nothing_else() -> None:
    dataset, stereo = few_views(wall_and_ball(1))
    config = InstantSplatConfig(steps=1)
    model = initialise(dataset, stereo, config)
    losses: list[list[str]] = []
    plain = model.loss

    def watched(step: Step) -> dict[str, torch.Tensor]:
        found = plain(step)
        losses.append(list(found))
        return found

    model.loss = watched  # type: ignore[method-assign]
    with torch.no_grad():
        drawn = render(model.splat(), dataset.cameras[0]).rgb
    target = dataset.views[0].target(torch.zeros(3))
    expected = 0.8 * float((drawn - target).abs().mean()) + 0.2 * (1 - ssim(drawn, target))
    # float32 means of some thousand numbers near 1.
    assert fit(model, dataset, config).loss == pytest.approx(expected, abs=2e-6)
    assert losses == [["photometric"]]


def test_position_rates_are_those_of_the_paper() -> None:
    rates = position_rates(torch.tensor([1.0, 2.0, 3.0, 5.0, 10.0]))
    # To the one decimal that is given.
    assert rates.tolist() == pytest.approx([27.6, 12.8, 5.7, 1.7, 1.0], abs=0.05)
    assert position_rates(torch.tensor(20.0)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("by_confidence", [True, False])
def test_a_point_moves_as_its_confidence_says(by_confidence: bool) -> None:
    """Adam's first step is as long as the learning rate whatever the gradient, so a measured ratio is exact."""
    levels = torch.tensor([1.0, 2.0, 3.0, 5.0, 10.0])
    trust = levels[torch.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 5]
    dataset, stereo = few_views(wall_and_ball(1), confidences=[trust])
    config = InstantSplatConfig(steps=1, means_lr=1e-2, confidence_rates=by_confidence)
    model = initialise(dataset, stereo, config)
    before = model.splat().means.detach().double().clone()
    moved = (fit(model, dataset, config).splat.gaussians.means.double() - before).abs().amax(dim=-1)
    expected = position_rates(levels) if by_confidence else torch.ones(5)
    for level, factor in enumerate(expected.tolist()):
        steps = moved[trust.flatten() == levels[level]] / (1e-2 * dataset.scene_scale)
        seen = steps[steps > 0]  # a few Gaussians may be hidden
        assert len(seen) > 0.9 * len(steps)
        # Positions near 5 in float32 are spaced by 5e-7, which is 5e-5 of the smallest step.
        torch.testing.assert_close(seen, torch.full_like(seen, factor), rtol=3e-4, atol=0)


def test_masked_and_transparent_pixels_give_no_gaussian() -> None:
    left = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    left[:, : WIDTH // 2] = True
    dataset, stereo = few_views(wall_and_ball(1))
    expected = stereo.points(0)[left]
    for hidden in (masked(dataset, 0, left), transparent(dataset, 0, left)):
        model = initialise(hidden, stereo, instantsplat_config())
        assert torch.equal(model.splat().means, expected)
    nothing = masked(dataset, 0, torch.zeros_like(left))
    with pytest.raises(BadInputError, match="left no pixel to start from"):
        initialise(nothing, stereo, instantsplat_config())


def test_what_one_view_hides_is_taken_from_the_next_best() -> None:
    dataset, stereo = few_views(wall_and_ball(1))
    twice = torch.zeros(2, dtype=torch.int64)
    both = Dataset(dataset.views * 2, dataset.cameras[twice], ("a", "b"), (0, 1))
    maps = tuple(replace(stereo.maps[0], confidence=torch.full((HEIGHT, WIDTH), c)) for c in (9.0, 2.0))
    left = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    left[:, : WIDTH // 2] = True
    model = initialise(masked(both, 0, left), Stereo(stereo.cameras[twice], maps), instantsplat_config())
    found = model.splat().means
    points = stereo.points(0)
    torch.testing.assert_close(found, torch.cat([points[left], points[~left]]))


def test_guessed_depth_gives_gaussians_that_move_most() -> None:
    trust = torch.full((HEIGHT, WIDTH), 8.0)
    trust[:5] = 1
    dataset, stereo = few_views(wall_and_ball(1), confidences=[trust])
    rates = initialise(dataset, stereo, instantsplat_config()).table.columns["means"].row_scale
    assert rates is not None
    assert (rates[: 5 * WIDTH] > 27).all()
    assert (rates[5 * WIDTH :] < 1.1).all()


def test_maps_smaller_than_photographs_take_their_mean_colours() -> None:
    scene = wall_and_ball(2)
    dataset, _ = few_views(scene)
    small = scene.cameras.resized(WIDTH // 2, HEIGHT // 2)
    depth = torch.full((HEIGHT // 2, WIDTH // 2), 4.0)
    stereo = Stereo(small, (DepthMap(depth, 5 * torch.ones_like(depth)),) * 2)
    model = initialise(dataset, stereo, instantsplat_config(co_visibility="off"))
    assert len(model.splat()) == 2 * depth.numel()
    blocks = dataset.views[0].pixels.float().reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(dim=(1, 3)) / 255
    found = model.splat().base_colors[: depth.numel()].detach()
    torch.testing.assert_close(found, blocks.reshape(-1, 3), atol=0.51 / 255, rtol=0)  # rounded to 8 bits


def test_photographs_of_different_sizes_are_trained_on() -> None:
    wide, tall = row_of_cameras(2, 48, 30, 0.5), row_of_cameras(2, 28, 40, 0.5)
    scene = stereo_scene([Plane((0, 0, 1), 4.0)], Cameras.stack([wide[0], tall[1]]))
    dataset, stereo = few_views(scene)
    config = instantsplat_config(6, border=0.2)
    model = initialise(dataset, stereo, config)
    result = fit(model, dataset, config)
    assert len(result.splat.gaussians) > 48 * 30
    assert all(
        getattr(result.splat.gaussians, name).isfinite().all() for name in ("means", "quats", "log_scales", "sh")
    )


@pytest.mark.parametrize("most", [1, 7, 500, 1800])
def test_no_more_gaussians_than_asked_for(most: int) -> None:
    dataset, stereo = few_views(wall_and_ball())
    model = initialise(dataset, stereo, instantsplat_config(max_gaussians=most, border=0.25))
    assert len(model.splat()) == most


def test_the_border_is_opaque_trusted_and_a_quarter_at_most() -> None:
    dataset, stereo = few_views(wall_and_ball())
    plain = initialise(dataset, stereo, instantsplat_config())
    wide = initialise(dataset, stereo, instantsplat_config(border=0.25))
    inside, all_of_them = len(plain.splat()), len(wide.splat())
    assert all_of_them > inside
    assert torch.allclose(wide.splat().opacities[inside:], torch.tensor(BORDER_OPACITY))
    factors = wide.table.columns["means"].row_scale
    assert factors is not None
    assert torch.allclose(factors[inside:], torch.tensor(1.0), atol=1e-3)
    few = initialise(dataset, stereo, instantsplat_config(border=2.0, max_gaussians=400)).splat()
    assert len(few) == 400
    assert int((few.opacities > 0.9).sum()) == 100


def test_thinning_keeps_the_asked_number_once_each() -> None:
    confidence = 1 + 19 * torch.rand(1000, generator=torch.Generator().manual_seed(0))
    for count in (1, 10, 999, 1000):
        chosen = thinned(confidence, count, torch.Generator().manual_seed(1))
        assert chosen.shape == (count,)
        assert (chosen.diff() > 0).all()
        assert torch.equal(chosen, thinned(confidence, count, torch.Generator().manual_seed(1)))
    even = thinned(torch.full((50,), 3.0), 20, torch.Generator().manual_seed(2))
    assert len(even.unique()) == 20


def test_thinning_prefers_confident_points_as_much_as_stated() -> None:
    """One of two kinds drawn at a time: weight 1 at the lowest confidence, 2 at the highest, 1.5 between."""
    confidence = torch.tensor([1.0, 3.0, 2.0]).repeat(100)
    g = torch.Generator().manual_seed(3)
    draws = torch.cat([thinned(confidence, 1, g) for _ in range(6000)]) % 3
    shares = torch.bincount(draws, minlength=3) / len(draws)
    # Four standard deviations of a share near a third over 6000 draws are 0.025.
    torch.testing.assert_close(shares, torch.tensor([1.0, 2.0, 1.5]) / 4.5, atol=0.025, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"densification": "mcmc"}, "InstantSplat keeps the number of its Gaussians"),
        ({"co_visibility": "sometimes"}, "co_visibility is 'sometimes'; projected, normalised or off is expected"),
        ({"co_visibility_threshold": -0.1}, r"co_visibility_threshold is -0\.1"),
        ({"co_visibility_threshold": float("nan")}, "co_visibility_threshold is nan"),
        ({"border": -1.0}, r"border is -1\.0"),
        ({"border": float("inf")}, "border is inf"),
        ({"steps": 0}, "steps is 0"),
        ({"sh_degree": 5}, "sh_degree is 5"),
        ({"gaussian_dropout": 2.0}, r"gaussian_dropout is 2\.0"),
        ({"max_gaussians": 0}, "max_gaussians is 0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be_are_refused_in_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        InstantSplatConfig(**changes)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_the_rate_of_the_positions_falls_as_in_a_long_run() -> None:
    config = instantsplat_config(1000)
    # 1.6e-4 to 1.6e-6 over 30,000 steps; a thousand of them are a thirtieth of the way down two decades.
    assert config.means_lr_final == pytest.approx(1.6e-4 * 10 ** (-2 / 30), rel=1e-6)
    assert instantsplat_config(30_000).means_lr_final == pytest.approx(1.6e-6)
    assert instantsplat_config(500, means_lr_final=1e-5).means_lr_final == 1e-5


def test_few_photographs_ask_for_dropping_and_a_border() -> None:
    values = {n: few_view_values(few_views(wall_and_ball(n))[0], on_cpu=True) for n in (3, 6, 12)}
    assert values[3]["gaussian_dropout"] > values[6]["gaussian_dropout"] > values[12]["gaussian_dropout"] == 0
    assert values[3]["border"] > 0 == values[12]["border"]
    assert values[3]["max_gaussians"] == 10_000  # never under what a small scene needs
    assert "max_gaussians" not in few_view_values(few_views(wall_and_ball(3))[0], on_cpu=False)
    for some in values.values():
        instantsplat_config(**some)


def test_the_published_split() -> None:
    test = (1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22)
    assert instantsplat_split(3) == ((0, 11, 23), test)
    assert instantsplat_split(6) == ((0, 5, 9, 13, 17, 23), test)
    assert instantsplat_split(12) == ((0, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23), test)
    for n in range(1, 13):
        train, held_out = instantsplat_split(n)
        assert len(set(train)) == n
        assert not set(train) & set(held_out)
    for n in (0, 13):
        with pytest.raises(BadInputError, match=f"no split of {n} views"):
            instantsplat_split(n)


def test_one_photograph_in_colour_keeps_its_colours() -> None:
    dataset, stereo = few_views(wall_and_ball(1))
    colored = dataset.views[0].pixels.clone()
    colored[..., 0], colored[..., 2] = 255, 3
    views = (View(colored, None, dataset.views[0].K),)
    gaussians: Gaussians = initialise(replace(dataset, views=views), stereo, instantsplat_config()).splat()
    torch.testing.assert_close(gaussians.base_colors[:, 0], torch.ones(len(gaussians)))
