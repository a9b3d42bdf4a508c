"""`learn.fit` on a small regression, far from detectors: what it learns, how it stops, goes on and refuses."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewview.learn import Trained, TrainingTask, TrainRun, fit, precision
from fewview.learn.checkpoint import load_newest
from fewview.learn.order import Key, Order, loader
from fewview.learn.processes import peak_memory_gb
from fewview.learn.schedules import OneCycle
from fewview.scene.errors import BadInputError, FewviewError
from support.command import press_ctrl_c
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer


class Noisy:
    """Rows of three inputs and their sum, with noise that follows from the key."""

    def __getitem__(self, key: Key) -> Tensor:
        epoch, place, index = key
        x = np.random.default_rng(index).normal(size=3)
        noise = np.random.default_rng([epoch, place]).normal(0, 0.01)
        return torch.tensor([*x, x.sum() + noise], dtype=torch.float32)


@dataclass
class Regression:
    """A `TrainingTask` of a few lines; a batch is a tensor [B, 4]."""

    kind: type[Optimizer] = AdamW
    rate: float = 0.02
    epochs: int = 5
    fingerprint: str = "sums"
    max_gradient_norm: float | None = 1.0
    workers: int = 0
    rates: list[float] = field(default_factory=list)
    dtypes: set[torch.dtype] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.order = Order(lambda epoch: range(19), self.epochs, batch_size=4, seed=7)

    @property
    def steps(self) -> int:
        return self.order.steps

    def settings(self) -> Mapping[str, Any]:
        return {"rate": self.rate, "epochs": self.epochs}

    def batches(self, first_step: int) -> Any:
        return loader(Noisy(), self.order, torch.stack, first_step, self.workers)

    def loss(self, forward: Any, batch: Tensor) -> dict[str, Tensor]:
        found = forward(batch[:, :3])
        self.dtypes.add(found.dtype)
        return {"sum": (found.float()[:, 0] - batch[:, 3]).square().mean(), "size": 1e-3 * found.float().abs().mean()}

    def optimizer(self, network: nn.Module) -> Optimizer:
        extra: dict[str, Any] = {"momentum": 0.9} if self.kind is SGD else {}
        return self.kind([{"params": list(network.parameters()), "base_lr": self.rate}], lr=self.rate, **extra)

    def set_rates(self, optimizer: Optimizer, step: int) -> None:
        if self.kind is AdamW:
            OneCycle(2.0).set_rates(optimizer, step, self.steps)
        self.rates.append(optimizer.param_groups[0]["lr"])


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))


def trained(task: TrainingTask, run: TrainRun | None = None) -> tuple[nn.Module, Trained]:
    network = small_network()
    return network, fit(network, task, run or TrainRun())


def test_it_learns_and_says_what_it_did() -> None:
    seen: list[tuple[int, int, float]] = []

    def listen(stage: str, done: int, total: int, figures: Mapping[str, Any] = {}) -> None:
        seen.append((done, total, figures["loss"]))

    result = fit(small_network(), Regression(epochs=40), TrainRun(), listen)
    assert (result.step, result.steps) == (160, 160)
    assert [done for done, *_ in seen] == list(range(1, 161))
    assert sum(loss for *_, loss in seen[-8:]) < 0.2 * sum(loss for *_, loss in seen[:8])
    assert set(result.losses) == {"sum", "size"}
    assert sum(result.losses.values()) == pytest.approx(seen[-1][2])


@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(kind: type[Optimizer], tmp_path: Path) -> None:
    whole, _ = trained(Regression(kind))
    for steps in (3, 6):  # in the middle of an epoch, and of another
        _, part = trained(Regression(kind), TrainRun(tmp_path, resume=steps == 6, stop_after=steps))
    assert part.step == 9
    resumed, rest = trained(Regression(kind), TrainRun(tmp_path, resume=True))
    assert (rest.step, rest.steps) == (20, 20)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_processes_that_read_ahead_change_nothing() -> None:
    alone, _ = trained(Regression(epochs=1))
    ahead, _ = trained(Regression(epochs=1, workers=2))
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, ahead.state_dict()[name]), name


def test_checkpoints_of_other_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nothing to resume"):
        trained(Regression(), TrainRun(resume=True))
    _, first = trained(Regression(), TrainRun(tmp_path, resume=True, stop_after=1))  # none there: begins
    assert first.step == 1
    with pytest.raises(BadInputError, match=r"other settings: rate=0\.02 \(now 0\.1\)"):
        trained(Regression(rate=0.1), TrainRun(tmp_path, resume=True))
    with pytest.raises(BadInputError, match="other samples"):
        trained(Regression(fingerprint="products"), TrainRun(tmp_path, resume=True))
    with pytest.raises(FewviewError, match="does not fit this version's model"):
        fit(nn.Linear(3, 1), Regression(), TrainRun(tmp_path, resume=True))


def test_a_loss_that_is_no_number_is_named() -> None:
    class Diverging(Regression):
        def loss(self, forward: Any, batch: Tensor) -> dict[str, Tensor]:
            found = super().loss(forward, batch)
            return found if len(self.rates) < 3 else {**found, "sum": found["sum"] * math.inf}

    with pytest.raises(FewviewError, match=r"no longer a number at step 3 \(sum\)"):
        trained(Diverging())


def test_large_gradients_are_scaled_down() -> None:
    moved = []
    for limit in (None, 1e-3):
        network = nn.Linear(3, 1)
        before = [p.detach().clone() for p in network.parameters()]
        fit(network, Regression(SGD, rate=1.0, max_gradient_norm=limit), TrainRun(stop_after=1))
        change = [p.detach() - b for p, b in zip(network.parameters(), before, strict=True)]
        moved.append(float(torch.cat([c.flatten() for c in change]).norm()))
    assert moved[0] > 1e-2
    assert moved[1] == pytest.approx(1e-3, rel=1e-3)  # PyTorch divides by the norm + 1e-6


def test_mixed_precision_is_of_the_network_alone() -> None:
    plain, mixed = Regression(), Regression()
    trained(plain)
    network, result = trained(mixed, TrainRun(mixed_precision=True))
    assert (plain.dtypes, mixed.dtypes) == ({torch.float32}, {torch.bfloat16})
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert math.isfinite(sum(result.losses.values()))


def test_ctrl_c_ends_a_step_and_saves_it(tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int, figures: Mapping[str, Any] = {}) -> None:
        if done == 3:
            press_ctrl_c()

    part = fit(small_network(), Regression(), TrainRun(tmp_path), interrupt)
    assert part.step == 3
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000003.safetensors"]


def test_rates_follow_the_steps() -> None:
    task = Regression(rate=0.02)
    trained(task)
    assert task.rates[0] == pytest.approx(0.02)
    assert max(task.rates) == pytest.approx(0.04)
    assert task.rates.index(max(task.rates)) == 8  # 40 % of 20
    assert task.rates[-1] < 0.002


def test_too_few_samples_are_one_sentence() -> None:
    numbers: Sequence[int] = range(3)
    with pytest.raises(BadInputError, match="3 samples do not fill one step of 2 x 2"):
        Order(lambda epoch: numbers, 1, 2, 0, 0, 2)


def test_systems_that_do_not_tell_their_memory_are_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    here = peak_memory_gb(torch.device("cpu"))
    assert here is None or here > 0.05
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory_gb(torch.device("cpu")) is None


@dataclass
class Scaled(Regression):
    """The same, with all losses times a factor."""

    factor: float = 1e-9  # whose gradients vanish in float16, where the smallest number is 6e-8

    def loss(self, forward: Any, batch: Tensor) -> dict[str, Tensor]:
        return {name: value * self.factor for name, value in super().loss(forward, batch).items()}


def float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "mixed_type", lambda device: torch.float16)


def test_float16_is_trained_with_a_scaled_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    float16(monkeypatch)
    scaled = Scaled(epochs=40)
    _, result = trained(scaled, TrainRun(mixed_precision=True))
    assert scaled.dtypes == {torch.float16}
    monkeypatch.setattr("fewview.learn.loop.loss_scaler", lambda *_: torch.amp.GradScaler("cpu", enabled=False))
    _, unscaled = trained(Scaled(epochs=40), TrainRun(mixed_precision=True))
    assert result.losses["sum"] < 0.3 * unscaled.losses["sum"]


def test_a_resumed_run_in_float16_has_the_scale_that_it_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    float16(monkeypatch)
    whole, _ = trained(Scaled(factor=1e3), TrainRun(mixed_precision=True))
    trained(Scaled(factor=1e3), TrainRun(tmp_path, stop_after=9, mixed_precision=True))
    stored, _ = load_newest(tmp_path)
    assert stored is not None
    assert float(stored.part("loss_scaler")["scale"]) != 65536  # the first, with which gradients overflowed
    resumed, _ = trained(Scaled(factor=1e3), TrainRun(tmp_path, resume=True, mixed_precision=True))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.mark.parametrize(("kind", "native", "expected"), [
    ("cuda", True, torch.bfloat16), ("cuda", False, torch.float16), ("cpu", False, torch.bfloat16),
])  # fmt: skip
def test_the_type_is_the_devices_own(
    monkeypatch: pytest.MonkeyPatch, kind: str, native: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert precision.mixed_type(torch.device(kind)) == expected
    assert precision.loss_scaler(torch.device("cpu"), True).is_enabled() is False
