"""Photographs that disagree: how that is measured, when colour transforms are taken, and what they are worth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fewview.recon.methods.gaussian_splatting.config import GaussianSplattingConfig
from fewview.recon.methods.gaussian_splatting.model import initialise
from fewview.recon.optimise.appearance_choice import DISAGREEMENT, choose_appearance
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.optimise.photograph_gains import MIN_SHARED, photograph_gains
from fewview.recon.optimise.train_config import TrainConfig
from fewview.recon.optimise.trainer import fit
from fewview.recon.optimise.transient_mask import lasting_pixels
from fewview.render import render
from fewview.scene.capture import evenly_spaced
from fewview.scene.errors import BadInputError
from fewview.scene.gaussians import Gaussians
from fewview.scene.point_cloud import PointCloud
from fewview.scene.readers import read_capture
from support.data import shared_data
from support.few_views import few_views, masked, wall_and_ball
from torch import Tensor

VIEWS = 5
# Factors on sRGB values: exposures from 0.7 to 1.4, and in two photographs another white balance.
GAINS = torch.tensor([[1.0, 1.0, 1.0], [0.7, 0.7, 0.7], [1.3, 1.3, 1.3], [1.2, 1.0, 0.8], [0.9, 1.1, 1.4]])
AUTO = TrainConfig(steps=1)


def scene(with_observations: bool = True, points: int = 300) -> Dataset:
    """Five photographs of a wall and a ball without any colour that clips when it is changed."""
    made = wall_and_ball(VIEWS, 96, 72, 0.3)
    dataset, stereo = few_views(made)
    views = tuple(replace(v, pixels=(60 + v.pixels.float() * 0.35).round().to(torch.uint8)) for v in dataset.views)
    chosen = torch.linspace(0, 96 * 72 - 1, points).long()
    cloud = torch.cat([stereo.points(v).reshape(-1, 3)[chosen] for v in range(VIEWS)])
    seen_point, seen_view = torch.meshgrid(torch.arange(len(cloud)), torch.arange(VIEWS), indexing="ij")
    seen = (seen_point.flatten(), seen_view.flatten()) if with_observations else (None, None)
    return replace(dataset, views=views, points=PointCloud(cloud, torch.full(cloud.shape, 128).to(torch.uint8), *seen))


def through(dataset: Dataset, gains: Tensor, views: list[int] | None = None) -> Dataset:
    """The photographs by other cameras: sRGB values times gains [V, 3]."""
    changed = list(dataset.views)
    for index in range(len(changed)) if views is None else views:
        values = (changed[index].pixels * gains[index]).round().clamp(0, 255)
        changed[index] = replace(changed[index], pixels=values.to(torch.uint8))
    return replace(dataset, views=tuple(changed))


def with_people(dataset: Dataset) -> Dataset:
    """A bright square in a place of its own in each photograph, a tenth of the picture."""
    changed = []
    for index, view in enumerate(dataset.views):
        pixels, left = view.pixels.clone(), 4 + 16 * index
        pixels[30:58, left : left + 24] = torch.tensor([250, 20, 220], dtype=torch.uint8)
        changed.append(replace(view, pixels=pixels))
    return replace(dataset, views=tuple(changed))


def expected(gains: Tensor) -> Tensor:
    logs = gains.log()
    return logs - logs.mean(0)


@pytest.mark.parametrize("with_observations", [True, False], ids=["observed", "projected"])
@pytest.mark.parametrize("people", [False, True], ids=["alone", "people"])
def test_gains_are_found_again(with_observations: bool, people: bool) -> None:
    photographs = scene(with_observations)
    photographs = through(with_people(photographs) if people else photographs, GAINS)
    found = photograph_gains(photographs)
    assert bool(found.linked.all())
    # Values are 60 to 150, so rounding to 8 bits moves a logarithm by up to 0.01; a point seen half a pixel off lies
    # on another part of the texture, which the median over hundreds of points evens out.
    torch.testing.assert_close(found.log_gains, expected(GAINS), atol=0.04, rtol=0)


def test_auto_takes_transforms_only_where_photographs_disagree() -> None:
    same = choose_appearance(scene(), AUTO)
    assert not same.used
    assert same.gains is not None
    assert same.gains.disagreement < 0.05
    assert "too little" in same.reason
    other = choose_appearance(through(scene(), GAINS**1.5), AUTO)
    assert other.used
    assert other.gains is not None
    assert other.gains.disagreement > DISAGREEMENT
    assert "each training photograph has a colour transform" in other.reason


def test_asked_is_asked() -> None:
    assert choose_appearance(scene(), replace(AUTO, appearance="on")).used
    assert not choose_appearance(through(scene(), GAINS**2), replace(AUTO, appearance="off")).used
    with pytest.raises(BadInputError, match="appearance is 'maybe'; auto, on or off"):
        replace(AUTO, appearance="maybe")
    with pytest.raises(BadInputError, match="transient_share"):
        replace(AUTO, transient_share=1.5)


def test_auto_is_off_where_nothing_can_be_told() -> None:
    disagreeing = through(scene(), GAINS**2)
    few = disagreeing.points[torch.arange(MIN_SHARED - 1)]
    for dataset in (replace(disagreeing, points=None), replace(disagreeing, points=few)):
        choice = choose_appearance(dataset, AUTO)
        assert not choice.used
        assert "share too few points" in choice.reason
    single = replace(disagreeing, train=(2,), points=disagreeing.points)
    assert not choose_appearance(single, replace(AUTO, appearance="on")).used


def test_a_photograph_that_shares_nothing_has_no_gain_and_held_out_ones_have_no_say() -> None:
    disagreeing = through(scene(), GAINS)
    nothing = masked(disagreeing, 1, torch.zeros(72, 96, dtype=torch.bool))
    found = photograph_gains(nothing)
    assert found.linked.tolist() == [True, False, True, True, True]
    assert found.log_gains[1].tolist() == [0, 0, 0]
    held_out = replace(disagreeing, train=(0, 2, 3, 4), test=(1,))
    found = photograph_gains(held_out)
    torch.testing.assert_close(found.log_gains, expected(GAINS[[0, 2, 3, 4]]), atol=0.04, rtol=0)


def trained(dataset: Dataset, **asked: Any) -> Gaussians:
    config = GaussianSplattingConfig(
        steps=150, max_gaussians=1500, sh_degree=0, opacity_lr=0.1, sh_lr=0.02, densification="none", **asked
    )
    return fit(initialise(dataset, config), dataset, config).splat.at()


def error(gaussians: Gaussians) -> float:
    """Mean absolute error against the undisturbed photographs, up to a factor on each channel of the whole scene."""
    clean = scene()
    drawn = torch.stack([render(gaussians, clean.cameras[index]).rgb for index in range(VIEWS)])
    target = torch.stack([clean.view(index).target(torch.zeros(3)) for index in range(VIEWS)])
    return float((drawn * (target.mean((0, 1, 2)) / drawn.mean((0, 1, 2))) - target).abs().mean())


def test_transforms_take_the_disagreement_out_of_the_scene() -> None:
    disagreeing = through(scene(), GAINS)
    without, with_transforms = (error(trained(disagreeing, appearance=asked)) for asked in ("off", "on"))
    clean = error(trained(scene(), appearance="off"))
    assert clean < with_transforms < without
    assert with_transforms - clean < 0.5 * (without - clean)


def noise(seed: int) -> Tensor:
    """Residuals [72, 96, 3] of detail that is not learned yet: large, but of zero mean."""
    return 0.2 * torch.randn(72, 96, 3, generator=torch.Generator().manual_seed(seed))


def test_masks_leave_out_people_and_keep_the_rest() -> None:
    people = torch.zeros(72, 96, dtype=torch.bool)
    people[30:50, 40:60] = True
    residual = noise(0)
    residual[people] += torch.tensor([0.5, -0.4, 0.3])
    lasting = lasting_pixels(residual, 0.2)
    assert not bool(lasting[32:48, 42:58].any())
    # The window of seven pixels reaches three beyond the edge of 20 x 20.
    assert int((~lasting).sum()) <= 26 * 26
    # Means of 49 values of 0.2 vary by 0.03, and the mean of three channels' sizes exceeds four medians hardly ever.
    assert float(lasting_pixels(noise(1), 0.2).float().mean()) > 0.999


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
def test_masks_never_leave_out_more_than_their_share(share: float) -> None:
    residual = noise(2)
    residual[:30] += torch.linspace(0.5, 1, 96)[:, None]
    left_out = int((~lasting_pixels(residual, share)).sum())
    assert left_out <= share * 72 * 96
    assert (left_out > 0) == (share > 0.0)
    assert bool(lasting_pixels(torch.zeros(72, 96, 3), share).all())


def test_masks_look_at_the_pixels_that_count() -> None:
    residual = torch.full((40, 40, 3), 0.01)
    residual[:, 20:] = 1.0
    counts = torch.zeros(40, 40, dtype=torch.bool)
    counts[:, :20] = True
    assert bool(lasting_pixels(residual, 0.2, counts)[counts].all()), "what does not count is no reason to mask"
    assert bool(lasting_pixels(residual, 0.2, torch.zeros(40, 40, dtype=torch.bool)).all())


def test_masks_keep_people_out_of_the_scene() -> None:
    crowded = with_people(scene())
    without, with_masks = (error(trained(crowded, transient_masks=asked)) for asked in (False, True))
    assert with_masks < 0.9 * without


def test_auto_tells_a_phones_automatic_exposure_from_different_cameras() -> None:
    """Real photographs: the fox, whose exposure drifts, and the same through other cameras."""
    folder = shared_data("fox")
    capture = read_capture(folder / "colmap_half", images=folder / "images")
    dataset = Dataset.from_capture(capture.subset(evenly_spaced(range(len(capture)), 6)), max_side=240)
    assert not choose_appearance(dataset, AUTO).used
    assert choose_appearance(through(dataset, torch.cat([GAINS, 0.6 * GAINS[3:4]])), AUTO).used
