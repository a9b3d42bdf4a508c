"""Every detector goes the same way: trained, stopped and resumed, asked for boxes, measured. A toy shows how little
one has to bring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewview.detect.detector import Detector, Inputs, TrainingPlan
from fewview.detect.detector_registry import DETECTORS, load_detector, new_detector
from fewview.detect.imgeonet.imgeonet_detector import ImGeoNetDetector
from fewview.detect.imgeonet.model import ImGeoNet
from fewview.detect.measure import Predictor, measure
from fewview.detect.metric import Metric
from fewview.detect.metrics.grounding_metric import GroundingMetric
from fewview.detect.metrics.grounding_results import write_grounding_results
from fewview.detect.metrics.indoor_metric import IndoorMetric
from fewview.detect.metrics.indoor_results import write_indoor_results
from fewview.detect.metrics.nuscenes_metric import NuScenesMetric
from fewview.detect.metrics.nuscenes_submission import used_modalities, write_submission
from fewview.detect.sample import Samples
from fewview.detect.sparsefusion.driving_detector import SparseFusionDetector
from fewview.detect.sparsefusion.model import SparseFusionModel
from fewview.detect.sparsefusion.weight_files import save_weights
from fewview.detect.tasks.driving_sample import DrivingSample
from fewview.detect.tasks.driving_samples import NuScenesSamples
from fewview.detect.tasks.driving_task import DRIVING
from fewview.detect.training import DetectorTraining
from fewview.detect.tsp3d.grounding_detector import TSP3DDetector
from fewview.detect.tsp3d.model import TSP3DModel
from fewview.learn import TrainRun, fit
from fewview.scene.boxes import Boxes
from fewview.scene.errors import BadInputError
from support.detection import SMALLEST, MadeSamples
from support.grounding import SMALLEST as SMALLEST_GROUNDING
from support.grounding import TwoRooms
from support.nuscenes_folder import write_nuscenes
from support.rooms import SMALLEST_ROOMS, MadeRooms
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor, nn

CPU = torch.device("cpu")


@dataclass(frozen=True)
class MeanPoints:
    """The middle of a scan, and that of its boxes: [B, 3] each."""

    points: Tensor
    truth: Tensor

    @property
    def nbytes(self) -> int:
        return self.points.nbytes + self.truth.nbytes

    def to(self, device: torch.device) -> MeanPoints:
        return MeanPoints(self.points.to(device), self.truth.to(device))


class ToyPreparation:
    def read(self, sample: DrivingSample) -> MeanPoints:
        truth = torch.zeros(3) if sample.boxes is None else sample.boxes.centers.mean(dim=0)
        return MeanPoints(sample.points[:, :3].mean(dim=0), truth)

    def prepare(self, read: MeanPoints, random: np.random.Generator | None = None) -> MeanPoints:
        shift = torch.zeros(3) if random is None else torch.from_numpy(random.normal(0, 1, 3)).float()
        return MeanPoints(read.points + shift, read.truth + shift)

    def collate(self, prepared: Sequence[MeanPoints]) -> MeanPoints:
        return MeanPoints(torch.stack([p.points for p in prepared]), torch.stack([p.truth for p in prepared]))


class ToyNetwork(nn.Sequential):
    def forward(self, batch: MeanPoints) -> Tensor:
        return batch.points + super().forward(batch.points / 50)


class ToyDetector:
    """One car in the middle of each scan."""

    task, inputs = DRIVING, Inputs()
    plan = TrainingPlan(epochs=2, batch_size=2, max_gradient_norm=10.0, balance_classes=True)

    def __init__(self) -> None:
        self.network = ToyNetwork(nn.Linear(3, 8), nn.Dropout(0.1), nn.ReLU(), nn.Linear(8, 3))
        self.preparation = ToyPreparation()

    def settings(self) -> Mapping[str, Any]:
        return {"epochs": self.plan.epochs}

    def loss(self, output: Tensor, batch: MeanPoints) -> Mapping[str, Tensor]:
        return {"middle": (output - batch.truth).abs().mean()}

    def decode(self, output: Tensor) -> list[Boxes]:
        car, names, score = torch.zeros(1, dtype=torch.int64), self.task.classes, torch.ones(1)
        return [Boxes.upright(row[None], torch.ones(1, 3), torch.zeros(1), car, names, scores=score) for row in output]

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=0.01)

    def set_rates(self, optimizer: torch.optim.Optimizer, step: int, steps: int) -> None: ...


@dataclass(frozen=True)
class Case:
    """A small detector, samples for it, and how good its boxes are between 0 and 1."""

    make: Callable[[], Detector]
    samples: Samples[Any]
    metric: Metric[Any]
    figure: Callable[[Mapping[str, Any]], float]  # of the metric's summary
    write: Callable[[Path, Mapping[str, Boxes]], None]


def driving(make: Callable[[], Detector], folder: Path) -> Case:
    samples = NuScenesSamples(write_nuscenes(folder / "data").root, sweeps=1)

    def write(path: Path, found: Mapping[str, Boxes]) -> None:
        write_submission(path, found, samples.tokens, used_modalities(make().inputs))

    return Case(make, samples, NuScenesMetric.of(samples), lambda summary: summary["nd_score"], write)


def rooms(_: Path) -> Case:
    samples = MadeRooms(4)
    return Case(
        lambda: ImGeoNetDetector(ImGeoNet(SMALLEST_ROOMS)),
        samples,
        IndoorMetric({token: samples[i].boxes for i, token in enumerate(samples.tokens)}),
        lambda summary: summary["mAP@0.25"],
        lambda path, found: write_indoor_results(path, found, SMALLEST_ROOMS.classes),
    )


def sentences(_: Path) -> Case:
    return Case(
        lambda: TSP3DDetector(TSP3DModel(SMALLEST_GROUNDING)),
        TwoRooms(),
        GroundingMetric.of(TwoRooms()),
        lambda summary: summary["overall"]["acc@0.25"],
        write_grounding_results,
    )


CASES: dict[str, Callable[[Path], Case]] = {
    "toy": partial(driving, ToyDetector),
    "sparsefusion": partial(driving, lambda: SparseFusionDetector(SparseFusionModel(SMALLEST))),
    "imgeonet": rooms,
    "tsp3d": sentences,
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return CASES[request.param](tmp_path_factory.mktemp("data"))


def trained(case: Case, run: TrainRun) -> Detector:
    torch.manual_seed(0)
    detector = case.make()
    fit(detector.network, DetectorTraining(detector, case.samples, 3), run)
    return detector


def test_every_registered_detector_is_asked() -> None:
    assert set(DETECTORS) == set(CASES) - {"toy"}


def test_fit_resume_predict_and_measure(case: Case, tmp_path: Path) -> None:
    start = {k: v.clone() for k, v in trained(case, TrainRun(stop_after=0)).network.state_dict().items()}
    whole = trained(case, TrainRun())
    trained(case, TrainRun(tmp_path, stop_after=1))
    resumed = trained(case, TrainRun(tmp_path, resume=True))
    state = whole.network.state_dict()
    for name, tensor in resumed.network.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert any(not torch.equal(start[name], state[name]) for name in state)

    predictor, samples = Predictor(whole, CPU), case.samples
    boxes = predictor(samples[0])
    assert boxes.names == whole.task.classes
    assert boxes.scores is not None
    assert bool(torch.isfinite(boxes.centers).all() & (boxes.sizes > 0).all())
    assert torch.equal(predictor(samples[0]).centers, boxes.centers)
    scores, found = measure(predictor, samples, case.metric)
    assert set(found) == set(samples.tokens)
    assert 0 <= case.figure(scores.summary()) <= 1
    assert scores.lines()
    case.write(tmp_path / "found.json", found)
    assert (tmp_path / "found.json").stat().st_size > 0


def test_weights_of_another_training_are_not_resumed(case: Case, tmp_path: Path) -> None:
    trained(case, TrainRun(tmp_path, stop_after=1))
    detector = case.make()
    with pytest.raises(BadInputError, match="seed=3"):
        fit(detector.network, DetectorTraining(detector, case.samples, 4), TrainRun(tmp_path, resume=True))


def test_classes_that_cannot_be_balanced_are_one_sentence() -> None:
    with pytest.raises(BadInputError, match="cannot be balanced"):
        DetectorTraining(ToyDetector(), MadeSamples(4), 0)


def test_every_row_of_the_registry_makes_and_loads_its_detector(tmp_path: Path) -> None:
    for name, row in DETECTORS.items():
        detector = new_detector(name, row.presets[-1])
        assert detector.task.name == row.task
        assert detector.plan.epochs > 0
    save_weights(tmp_path / "weights.safetensors", SparseFusionModel(SMALLEST))
    assert load_detector("sparsefusion", tmp_path).settings()["hidden_channels"] == SMALLEST.hidden_channels
