"""A splat comes back from SOG within what its bytes can hold, and equal splats give equal bytes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.render import render
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError
from fewview.scene.formats import sog
from fewview.scene.formats.codebook import codebook
from fewview.scene.formats.palette import palette
from fewview.scene.gaussians import Gaussians
from fewview.scene.splat import StaticSplat
from support.random_gaussians import odd_gaussians, random_gaussians

FOLDED = lambda x: torch.sign(x) * torch.log1p(x.abs())  # noqa: E731


def reread(path: Path, gaussians: Gaussians) -> tuple[Gaussians, tuple[str, ...]]:
    notes = sog.write(path, StaticSplat(gaussians))
    return sog.read(path).gaussians, notes


def matched(read: Gaussians, written: Gaussians) -> Gaussians:
    """The Gaussians that were read, in the order of those written: by the nearest position."""
    nearest = torch.cdist(FOLDED(written.means.double()), FOLDED(read.means.double())).argmin(1)
    assert len(nearest.unique()) == len(written), "a position was lost"
    return read[nearest]


def check(read: Gaussians, written: Gaussians, sh_atol: float) -> None:
    span = FOLDED(written.means.double()).amax(0) - FOLDED(written.means.double()).amin(0)
    # Half a step of 16 bits, and float32.
    assert ((FOLDED(read.means.double()) - FOLDED(written.means.double())).abs() <= span / 65535 * 0.51 + 1e-6).all()
    reach = written.log_scales.clamp(-20, 20)
    torch.testing.assert_close(read.log_scales, reach, rtol=0, atol=0.08)  # a cell of 256 over about 12 units
    torch.testing.assert_close(read.opacities, written.opacities, rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(read.sh[:, 0], written.sh[:, 0], rtol=0, atol=0.06)  # a cell of 256 over about 9 units
    torch.testing.assert_close(read.sh[:, 1:], written.sh[:, 1:], rtol=0, atol=sh_atol)
    quats = [g.quats.double() / g.quats.double().norm(dim=1, keepdim=True) for g in (read, written)]
    quats[1] = torch.where(quats[1].isnan(), torch.tensor([1.0, 0, 0, 0]).double(), quats[1])  # zero is the identity
    # Three errors of half a step of sqrt(2) / 255 and what they do to the fourth component, at most their sum.
    turn = 2 * torch.acos((quats[0] * quats[1]).sum(1).abs().clamp(max=1))
    assert (turn < 2 * (math.sqrt(3) + 3) * 0.5 * math.sqrt(2) / 255).all()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [1, 7, 257])
def test_values_come_back(tmp_path: Path, degree: int, count: int) -> None:
    written = random_gaussians(count, count, degree)
    read, notes = reread(tmp_path / "a.sog", written)
    assert notes == ()
    assert read.sh_degree == degree
    # So few have a palette entry each, and only the codebook of 256 over about 1 unit rounds.
    check(matched(read, written), written, sh_atol=0.01)


def test_odd_values_come_back(tmp_path: Path) -> None:
    written = odd_gaussians()
    read, notes = reread(tmp_path / "a.sog", written)
    read = matched(read, written)
    check(read, written, sh_atol=0.01)
    assert torch.isfinite(torch.cat([value.flatten() for value in vars(read).values()])).all()
    assert [note for note in notes if "Sizes of 1 of 8" in note], "the flat one is told"


def test_bundle_and_folder_hold_the_same(tmp_path: Path) -> None:
    splat = StaticSplat(random_gaussians(1, 100, 2), antialiased=True)
    sog.write(tmp_path / "a.sog", splat)
    sog.write(tmp_path / "meta.json", splat)
    a, b = sog.read(tmp_path / "a.sog"), sog.read(tmp_path / "meta.json")
    assert a.antialiased
    assert b.antialiased
    for name in vars(a.gaussians):
        assert torch.equal(getattr(a.gaussians, name), getattr(b.gaussians, name))


def test_equal_splats_give_equal_bytes(tmp_path: Path) -> None:
    g = random_gaussians(2, 3000, 3)  # more than have a palette entry each
    sog.write(tmp_path / "a.sog", StaticSplat(g))
    sog.write(tmp_path / "b.sog", StaticSplat(g))
    assert (tmp_path / "a.sog").read_bytes() == (tmp_path / "b.sog").read_bytes()


def test_a_second_pass_changes_little(tmp_path: Path) -> None:
    first, _ = reread(tmp_path / "a.sog", random_gaussians(3, 500, 1))
    second, _ = reread(tmp_path / "b.sog", first)
    assert torch.equal(second.opacity_logits, first.opacity_logits)
    assert torch.equal(second.log_scales, first.log_scales)  # few distinct values are kept as they are


def test_degree_4_loses_its_last_band(tmp_path: Path) -> None:
    written = random_gaussians(4, 20, 4)
    read, notes = reread(tmp_path / "a.sog", written)
    assert read.sh_degree == 3
    assert any("degree 4" in note for note in notes)


def test_an_empty_splat_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no Gaussians"):
        sog.write(tmp_path / "a.sog", StaticSplat(random_gaussians(0, 0, 0)))
    assert not list(tmp_path.iterdir())


def test_pictures_stay_the_same(tmp_path: Path) -> None:
    """With 2500 Gaussians that share 1024 view-dependent colours, the picture is still within 40 dB of its own."""
    g = random_gaussians(6, 2500, 3)
    g.log_scales.sub_(-4).mul_(0.3).add_(-2.5)
    g.sh[:, 1:] *= 0.3
    camera = Cameras.pinhole(torch.eye(4), 80.0, 64, 48)
    camera.cam_from_world[2, 3] = 9
    read, _ = reread(tmp_path / "a.sog", g)
    before, after = (render(x, camera).rgb.clamp(0, 1) for x in (g, read))
    assert -10 * math.log10(float((before - after).square().mean())) > 40
    assert float(before.std()) > 0.1, "there is something in the picture"


def test_codebook_levels_are_near() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((5000, 3)) * np.array([1, 0.1, 4])
    levels, labels = codebook(values, finest=0.05)
    assert labels.dtype == np.uint8
    assert len(levels) <= 256
    assert (np.diff(levels) > 0).all()
    step = (values.max() - values.min()) / 256
    # An even step at most, since the values need not more than 256 of the fine ones or get denser ones.
    assert np.sqrt(np.square(levels[labels] - values).mean()) < step / math.sqrt(12) * 1.05


@pytest.mark.parametrize("values", [[2.5], [1.0, 1.0, 1.0], [3.0, -1.0, 3.0], list(range(256))])
def test_codebook_keeps_few_values_exactly(values: list[float]) -> None:
    levels, labels = codebook(np.array(values), finest=1e9)
    assert levels[labels].tolist() == values


def test_palette_is_better_than_random_entries() -> None:
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(300, 9, generator=generator)
    vectors = centers[torch.randint(300, (6000,), generator=generator)]
    vectors = vectors + 0.05 * torch.randn(6000, 9, generator=generator)
    entries, labels = palette(vectors, torch.ones(6000), 512)
    assert len(entries) <= 512
    error = (entries[labels] - vectors).square().sum(1).mean()
    random = torch.cdist(vectors, vectors[:512]).amin(1).square().mean()
    assert error < 0.5 * random
    # Entries are where their members are, but for the last assignment.
    assert labels.unique().tolist() == list(range(len(entries)))


def test_palette_of_equal_vectors_has_one_entry() -> None:
    entries, labels = palette(torch.zeros(5000, 45), torch.ones(5000), 1024)
    assert entries.shape == (1, 45)
    assert not labels.any()


def test_weights_pull_the_palette() -> None:
    rows = torch.tensor([[0.0], [1.0]]).repeat(50, 1)
    entries, _ = palette(rows, torch.tensor([3.0, 1.0]).repeat(50), 1)
    assert float(entries) == pytest.approx(0.25, abs=1e-6)


def test_splats_without_colour_by_direction_can_have_bands(tmp_path: Path) -> None:
    g = random_gaussians(8, 1200, 2)
    read, _ = reread(tmp_path / "a.sog", replace(g, sh=torch.cat([g.sh[:, :1], 0 * g.sh[:, 1:]], dim=1)))
    assert read.sh_degree == 2
    assert not read.sh[:, 1:].any()


def test_degenerate_scenes_come_back(tmp_path: Path) -> None:
    """Everything transparent, everything in one point, all of one size, and numbers near the end of float32."""
    plain = random_gaussians(9, 1100, 1)
    wild = plain.sh.clone()
    wild[3] = 1e38
    scenes = {
        "transparent": replace(plain, opacity_logits=torch.full((1100,), -math.inf)),
        "one point": replace(plain, means=torch.ones(1100, 3)),
        "flat": replace(plain, log_scales=torch.full((1100, 3), -math.inf)),
        "huge": replace(plain, means=3e38 * torch.sign(plain.means)),
        "wild": replace(plain, sh=wild),
    }
    for name, written in scenes.items():
        read, notes = reread(tmp_path / "a.sog", written)
        assert len(read) == 1100, name
        assert bool(notes) == (name in ("flat", "huge", "wild")), name
        assert all(bool(torch.isfinite(value).all()) for value in vars(read).values()), name
