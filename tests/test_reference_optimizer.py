"""The optimiser against torch.optim.Adam and the reference implementation, and its row surgery."""

from __future__ import annotations

import pytest
import torch
from fewview.recon.optimise import adam as optimizer_module
from fewview.recon.optimise.adam import Adam, Parameters
from fewview.render import reference_loss

# Ten float32 updates of at most 0.1: a few roundings of 6e-8 relative each, in another order of operations.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(params=["native", "torch"])
def backend(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(optimizer_module, "adam_step", optimizer_module._torch_adam_step)
    return request.param


def _groups(rows: int = 37) -> dict[str, Parameters]:
    g = torch.Generator().manual_seed(3)
    return {
        "means": Parameters(torch.randn(rows, 3, generator=g)),
        "logits": Parameters(torch.randn(rows, generator=g)),
        "sh": Parameters(torch.randn(rows, 4, 3, generator=g)),
        "poses": Parameters(torch.randn(5, 6, generator=g), per_gaussian=False),
    }


def _set_gradients(groups: dict[str, Parameters], step: int) -> None:
    g = torch.Generator().manual_seed(100 + step)
    for group in groups.values():
        group.tensor.grad = torch.randn(group.tensor.shape, generator=g)


def test_follows_torch_adam(backend):
    groups, rates = _groups(), {"means": 0.01, "logits": 0.05, "sh": 0.003, "poses": 0.1}
    copies = {name: group.tensor.detach().clone().requires_grad_() for name, group in groups.items()}
    theirs = torch.optim.Adam([{"params": [copies[n]], "lr": rates[n]} for n in groups], eps=1e-15)
    ours = Adam(groups)
    for step in range(10):
        _set_gradients(groups, step)
        for name, copy in copies.items():
            copy.grad = groups[name].tensor.grad.clone()
        ours.step(rates)
        theirs.step()
    for name, copy in copies.items():
        torch.testing.assert_close(groups[name].tensor, copy, **TOLERANCE)


def test_rates_by_column_and_row_and_unseen_rows_follow_the_twin(backend):
    groups = _groups()
    row_scale = torch.linspace(1, 27, 37)
    groups["sh"].row_scale = row_scale
    columns = torch.linspace(0.001, 0.01, 12)
    visible = torch.arange(37) % 3 != 0
    value = groups["sh"].tensor.detach().clone().flatten(1)
    average, square = torch.zeros_like(value), torch.zeros_like(value)
    ours = Adam(groups)
    for step in range(10):
        _set_gradients(groups, step)
        value, average, square = reference_loss.adam_step(
            value, groups["sh"].tensor.grad.flatten(1), average, square, step + 1, columns * row_scale[:, None],
            eps=1e-15, visible=visible,
        )  # fmt: skip
        ours.step({"means": 0.01, "logits": 0.05, "sh": columns, "poses": 0.1}, visible)
    torch.testing.assert_close(groups["sh"].tensor.flatten(1), value, **TOLERANCE)
    torch.testing.assert_close(ours.exp_avg_sq["sh"].flatten(1), square, **TOLERANCE)


def test_visibility_does_not_touch_other_groups(backend):
    groups = _groups()
    before = groups["poses"].tensor.detach().clone()
    ours = Adam(groups)
    _set_gradients(groups, 0)
    ours.step({"means": 0.01, "logits": 0.05, "sh": 0.01, "poses": 0.1}, torch.zeros(37, dtype=torch.bool))
    assert (groups["poses"].tensor != before).all()


def test_a_group_without_gradient_stays(backend):
    groups = _groups()
    before = groups["sh"].tensor.detach().clone()
    ours = Adam(groups)
    groups["means"].tensor.grad = torch.ones(37, 3)
    ours.step({"means": 0.01, "logits": 0.05, "sh": 0.01, "poses": 0.1})
    assert torch.equal(groups["sh"].tensor, before)
    assert groups["means"].tensor.grad is None


def test_rows_are_kept_and_appended_with_their_moments():
    groups = _groups()
    groups["means"].row_scale = torch.arange(37.0)
    ours = Adam(groups)
    _set_gradients(groups, 0)
    ours.step({"means": 0.01, "logits": 0.05, "sh": 0.01, "poses": 0.1})
    means, sh, moments = groups["means"].tensor.detach(), groups["sh"].tensor.detach(), ours.exp_avg["means"]
    poses = groups["poses"].tensor
    keep, parents = torch.tensor([4, 2, 30]), torch.tensor([2, 7])
    ours.edit_rows(keep, {"means": torch.zeros(2, 3)}, parents)
    assert torch.equal(groups["means"].tensor.detach(), torch.cat([means[keep], torch.zeros(2, 3)]))
    assert torch.equal(groups["sh"].tensor.detach(), sh[torch.cat([keep, parents])])
    assert torch.equal(ours.exp_avg["means"], torch.cat([moments[keep], torch.zeros(2, 3)]))
    assert torch.equal(groups["means"].row_scale, torch.tensor([4.0, 2, 30, 2, 7]))
    assert groups["poses"].tensor is poses
    assert all(g.tensor.requires_grad and g.tensor.is_leaf for g in groups.values())


def test_widening_adds_zero_columns():
    groups = _groups()
    ours = Adam(groups)
    before = groups["sh"].tensor.detach().clone()
    ours.widen("sh", 9)
    assert groups["sh"].tensor.shape == (37, 9, 3) == ours.exp_avg["sh"].shape == ours.exp_avg_sq["sh"].shape
    assert torch.equal(groups["sh"].tensor[:, :4].detach(), before)
    assert not groups["sh"].tensor[:, 4:].any()


def test_no_rows_are_no_problem(backend):
    groups = {"means": Parameters(torch.zeros(0, 3))}
    groups["means"].tensor.grad = torch.zeros(0, 3)
    Adam(groups).step({"means": 0.1})
