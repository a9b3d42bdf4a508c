"""Training: what it changes and what not, stopping and going on, and several processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fewview.detect.learning_curve import LearningCurve, read_curve
from fewview.detect.sparsefusion.driving_detector import SparseFusionDetector
from fewview.detect.sparsefusion.model import SparseFusionModel
from fewview.detect.sparsefusion.parameter_groups import make_optimizer
from fewview.detect.training import DetectorTraining
from fewview.learn import Trained, TrainRun, fit
from fewview.learn.order import Order
from fewview.scene.errors import BadInputError, FewviewError
from support.detection import SMALLEST, MadeSamples
from support.threads import one_torch_thread as one_torch_thread
from support.two_processes import assert_two_processes_agree

CONFIG = replace(SMALLEST, dropout=0.1)
SAMPLES = MadeSamples(4)


def train(model: SparseFusionModel, samples: MadeSamples = SAMPLES, run: TrainRun | None = None) -> Trained:
    return fit(model, DetectorTraining(SparseFusionDetector(model), samples, 3), run or TrainRun())


def trained(folder: Path | None, steps: int | None = None, resume: bool = False, **changes):
    torch.manual_seed(0)
    model = SparseFusionModel(replace(CONFIG, **changes))
    result = train(model, SAMPLES, TrainRun(folder, resume, stop_after=steps))
    return model, result


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path):
    whole, result = trained(None)
    assert (result.step, result.steps) == (4, 4)
    _, part = trained(tmp_path, steps=2)
    assert part.step == 2
    resumed, rest = trained(tmp_path, resume=True)
    assert rest.step == 4
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_frozen_parts_stay_bit_for_bit_with_their_statistics():
    torch.manual_seed(0)
    model = SparseFusionModel(replace(CONFIG, lidar_frozen=True))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    train(model)
    after = model.state_dict()
    frozen = ("encoder.", "bev_backbone.", "bev_neck.", "lidar_branch.")
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert not [name for name in changed if name.startswith(frozen)]
    for part in ("semantic_transfer.", "camera_branch.", "view_transform.", "fusion.", "image_trunk."):
        assert any(name.startswith(part) for name in changed), part
    assert "fusion.heads.center.1.running_mean" in changed


def test_frozen_batch_norms_normalise_by_the_batch_in_training_only():
    model = SparseFusionModel(replace(CONFIG, lidar_frozen=True))
    norm = model.lidar_branch.heads["center"][1]
    x = torch.randn(2, 5, CONFIG.head_channels) * 3 + 7
    stored = norm.running_mean.clone()
    norm.train()
    assert float(norm(x).mean().abs()) < 1e-5  # normalised by its own mean
    assert torch.equal(norm.running_mean, stored)
    norm.eval()
    torch.testing.assert_close(norm(x), x / (1 + norm.eps) ** 0.5)  # the stored mean is 0, the variance 1


def test_trunks_learn_slower_and_frozen_parts_not_at_all():
    config = replace(CONFIG, trunk_lr_factor=0.1, lidar_lr_factor=0.2)
    model = SparseFusionModel(config)
    rates = {id(p): group["lr"] for group in make_optimizer(model, config).param_groups for p in group["params"]}
    assert rates[id(model.encoder.conv_input[0].weight)] == pytest.approx(0.2 * config.learning_rate)
    assert rates[id(model.image_trunk.neck.inner_blocks[0][0].weight)] == pytest.approx(0.1 * config.learning_rate)
    assert rates[id(model.fusion.decoder.linear1.weight)] == pytest.approx(config.learning_rate)
    frozen = SparseFusionModel(replace(CONFIG, lidar_frozen=True))
    learned = {id(p) for group in make_optimizer(frozen, config).param_groups for p in group["params"]}
    assert id(frozen.encoder.conv_input[0].weight) not in learned
    alone = SparseFusionModel(replace(CONFIG, lidar_frozen=True, use_images=False, lidar_lr_factor=0.2))
    (group,) = make_optimizer(alone, alone.config).param_groups  # a LiDAR detector is what others start from
    assert len(group["params"]) == len(list(alone.parameters()))
    assert group["lr"] == alone.config.learning_rate


def test_processes_share_the_samples_of_a_step():
    first, second = (Order(lambda epoch: range(9), 2, 2, 5, rank, 2) for rank in (0, 1))
    assert first.steps == 2 * (9 // 4)
    for a, b in zip(first.batches(0), second.batches(0), strict=True):
        seen = [index for _, _, index in [*a, *b]]
        assert len(set(seen)) == 4
    resumed = list(first.batches(3))
    assert resumed == list(first.batches(0))[3:]


def test_wrong_runs_are_refused(tmp_path: Path):
    trained(tmp_path, steps=1)
    with pytest.raises(BadInputError, match="learning_rate"):
        trained(tmp_path, resume=True, learning_rate=1e-3)
    with pytest.raises(BadInputError, match="other samples"):
        train(SparseFusionModel(CONFIG), MadeSamples(5), TrainRun(tmp_path, True))
    with pytest.raises(BadInputError, match="do not fill one step"):
        train(SparseFusionModel(CONFIG), MadeSamples(1))
    broken = SparseFusionModel(CONFIG)
    torch.nn.init.constant_(broken.fusion.heads["rot"][3].bias, torch.inf)
    with pytest.raises(FewviewError, match=r"no longer a number at step 1 \(fusion_box\)"):
        train(broken)


def one_epoch() -> DetectorTraining:
    model = SparseFusionModel(replace(SMALLEST, epochs=1))
    return DetectorTraining(SparseFusionDetector(model), MadeSamples(8), 3)


def test_two_processes_end_with_the_same_weights(tmp_path: Path):
    assert_two_processes_agree(tmp_path, one_epoch)


def test_the_curve_of_a_run_that_goes_on_in_the_middle_of_an_epoch(tmp_path: Path):
    epochs: list[int] = []
    first = LearningCurve(tmp_path, 2, epochs.append, True)
    for step, loss in enumerate((1.0, 3.0, 5.0, 7.0, 9.0), start=1):
        first(step, {"a": loss, "b": 0.5})
    assert epochs == [1, 2]
    again = LearningCurve(tmp_path, 2, epochs.append, True)  # from the checkpoint after step 3
    for step in (4, 5, 6):
        again(step, {"a": 10.0 * step, "b": 0.5})
    rows = [(row["epoch"], row["steps"], row["loss"], row["a"]) for row in read_curve(tmp_path / "learning_curve.csv")]
    assert rows == [(1, 2, 2.5, 2.0), (2, 1, 40.5, 40.0), (3, 2, 55.5, 55.0)]
    other = LearningCurve(tmp_path / "other", 1, epochs.append, False)  # another process of the same run
    other(1, {"a": 1.0})
    assert not (tmp_path / "other").exists()
    (tmp_path / "learning_curve.csv").write_text("epoch,loss\nx,y\n")
    assert read_curve(tmp_path / "learning_curve.csv") == []
