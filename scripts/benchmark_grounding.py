"""Time that TSP3D takes for a scene, part by part, and how much memory; or its accuracy by thresholds and by text.

    python scripts/benchmark_grounding.py speed DATA [--preset paper] [--runs 3] [--keep 0.25] [--mixed-precision]
    python scripts/benchmark_grounding.py accuracy DATA --weights RUN [--split val] [--most 200] [--thresholds]

DATA is a folder in ScanNet's files with ScanRefer's sentences, such as `make_rooms.py` makes. `speed` has random
weights; as times depend on how many voxels pruning keeps, the keep scores are shifted so that it is the share --keep of
both levels. With --threads 1 times are the processor's, which do not change on a busy machine. `accuracy` measures
trained weights, then with each sentence replaced by one that says nothing and by one about another object of the scan,
then with --thresholds also with other ones of pruning.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fewview import _native
from fewview.detect.metrics.grounding_metric import GroundingMetric, GroundingScores
from fewview.detect.sparse import kernels
from fewview.detect.sparse.kernel_map import KernelMap
from fewview.detect.tasks.grounding_samples import (
    GroundingSample,
    GroundingSamples,
    ScanSample,
    open_grounding_samples,
)
from fewview.detect.text.bert import BertConfig, BertEncoder
from fewview.detect.tsp3d.config import TSP3DConfig, preset
from fewview.detect.tsp3d.grounding_detector import TSP3DDetector
from fewview.detect.tsp3d.grounding_prepare import GroundingPreparation
from fewview.detect.tsp3d.model import Output, TSP3DModel
from fewview.detect.tsp3d.tsp3d_weights import load_model
from fewview.learn.processes import peak_memory_gb
from torch import Tensor, nn

TOKENS = 24  # of the sentence in measurements of speed
TOGETHER = 16  # sentences of a scan that are answered at once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "accuracy"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="paper", choices=("paper", "tiny"))
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--most", type=int, default=1_000_000, help="sentences, evenly spread")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keep", type=float, default=0.25)
    parser.add_argument("--mixed-precision", action="store_true")
    parser.add_argument("--thresholds", action="store_true", help="measure with other thresholds of pruning, too")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
        _native.set_num_threads(options.threads)
    samples = open_grounding_samples(options.data, options.split)
    if options.what == "speed":
        clock = time.process_time if options.threads == 1 else time.perf_counter
        speed(samples, preset(options.preset), options.runs, options.keep, options.mixed_precision, clock)
    else:
        accuracy(Chosen(samples, options.most), load_model(options.weights), options.thresholds)


# ---- speed -------------------------------------------------------------------------------------------------------


def speed(
    samples: GroundingSamples, config: TSP3DConfig, runs: int, keep: float, mixed: bool, clock: Callable[[], float]
) -> None:
    torch.manual_seed(0)
    model = TSP3DModel(config).eval()
    if config.text != "words":
        sizes = BertConfig() if config.text == "roberta" else BertConfig(30522, 384, 6, 12, 1536, 512, 2, 1e-12, 0)
        model.use_text_encoder(BertEncoder(sizes).eval())
    preparation = GroundingPreparation(dataclasses.replace(config, text="words"))
    sample = samples[0]
    read = preparation.read(sample)
    question = dataclasses.replace(read.questions[0], tokens=tuple(range(5, 5 + TOKENS)))
    read = dataclasses.replace(read, questions=(question,))
    batch = preparation.collate([preparation.prepare(read)])
    with torch.no_grad():
        _shift_keep_scores(model, batch, keep)
        flop = _convolution_flop(lambda: model(batch))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        output: Output = model(batch)
        seconds: dict[str, float] = defaultdict(float)
        for part, module in _parts(model).items():
            _timed(module, part, seconds, clock)
        start = clock()
        for _ in range(runs):
            model._encoded.clear()  # a sentence that is asked again is not encoded again
            model(batch)
        whole = (clock() - start) / runs
    start = clock()
    for _ in range(runs):
        preparation.prepare(read)
    print(f"{len(sample.scan):,} points of the scan, {len(batch.features):,} voxels; voxels by stage: {output.counts}")
    print(f"{'voxelisation':<24}{1000 * (clock() - start) / runs:>10.1f} ms")
    for part, total in seconds.items():
        print(f"{part:<24}{1000 * total / runs:>10.1f} ms")
    print(f"sparse convolutions: {flop / 1e9:.1f} GFLOP")
    print(f"{'network, all':<24}{1000 * whole:>10.1f} ms; peak memory {peak_memory_gb(torch.device('cpu')):.2f} GB")


def _shift_keep_scores(model: TSP3DModel, batch: Any, share: float) -> None:
    """Biases with which each pruning keeps this share of the voxels that it sees."""
    thresholds = (model.config.coarse_threshold, model.config.middle_threshold)
    for level, (part, threshold) in enumerate(zip((model.coarse_keep, model.middle_keep), thresholds, strict=True)):
        logits = model(batch).keep[level].logits
        spread = 1 / logits.std()  # random weights hardly tell voxels apart, less than bfloat16 can
        part.weight.data *= spread
        part.bias.data *= spread
        limit = torch.logit(torch.tensor(1 - threshold))  # logits below it are kept
        part.bias.data += limit - torch.quantile(logits * spread, share)


def _convolution_flop(run: Callable[[], object]) -> float:
    """Floating-point operations of all sparse convolutions in a run: two for each pair of voxels and of channels."""
    total, convolve = [0.0], kernels.convolve

    def counted(features: Tensor, weight: Tensor, bias: Tensor | None, kernel_map: KernelMap) -> Tensor:
        total[0] += 2.0 * kernel_map.n_pairs * weight.shape[0] * weight.shape[2]
        return convolve(features, weight, bias, kernel_map)

    kernels.convolve = counted
    try:
        run()
    finally:
        kernels.convolve = convolve
    return total[0]


def _parts(model: TSP3DModel) -> dict[str, nn.Module]:
    parts: dict[str, nn.Module] = {
        "text encoder": model._encoder[0],
        "backbone stem": model.backbone.stem,
        **{f"backbone stage {i + 1}": stage for i, stage in enumerate(model.backbone.stages)},
        "coarse fusion": model.coarse_fusion,
        "middle fusion": model.middle_fusion,
        "growing, coarse": model.up_coarse,
        "growing, middle": model.up_middle,
        **{f"lateral {i}": part for i, part in enumerate(model.lateral)},
        "output convolution": model.out,
    }
    if model.completion_fusion is not None:
        parts["completion fusion"] = model.completion_fusion
    return parts


def _timed(module: nn.Module, part: str, seconds: dict[str, float], clock: Callable[[], float]) -> None:
    started: list[float] = []
    module.register_forward_pre_hook(lambda *_: started.append(clock()))

    def stop(*_: Any) -> None:
        seconds[part] += clock() - started.pop()

    module.register_forward_hook(stop)


# ---- accuracy ----------------------------------------------------------------------------------------------------


class Chosen:
    """Some of the samples, evenly spread."""

    def __init__(self, samples: GroundingSamples, most: int) -> None:
        step = max(1, len(samples) / most)
        self.samples, self.rows = samples, [int(i * step) for i in range(min(len(samples), most))]
        self.tokens = tuple(samples.tokens[row] for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> GroundingSample:
        return self.samples[self.rows[index]]


Said = Callable[[GroundingSample], str | None]  # the sentence that a network is given


@dataclasses.dataclass(frozen=True)
class Measured:
    scores: GroundingScores
    voxels: dict[str, float]  # by stage, the mean over the sentences


def measured(samples: Chosen, metric: GroundingMetric, model: TSP3DModel, said: Said | None = None) -> Measured:
    """Scores where each sentence is replaced by what is `said` of its sample; those of a scan share its backbone."""
    detector = TSP3DDetector(model.eval())
    found, counts = {}, defaultdict(float)
    for _, scan in itertools.groupby(samples, lambda sample: sample.scan.name):
        asked = [one if said is None else dataclasses.replace(one, sentence=said(one)) for one in scan]
        for start in range(0, len(asked), TOGETHER):
            part = asked[start : start + TOGETHER]
            sample = ScanSample(token=part[0].scan.name, scan=part[0].scan, asked=tuple(part))
            batch = detector.preparation.collate([detector.preparation.prepare(detector.preparation.read(sample))])
            with torch.no_grad():
                output: Output = model(batch)
            found |= {
                one.token: metric.submitted(one, boxes)
                for one, boxes in zip(part, detector.decode(output), strict=True)
            }
            for stage, count in output.counts.items():
                counts[stage] += count * (len(part) if stage in ("fine", "middle", "coarse") else 1)
    return Measured(metric.evaluate(found), {stage: count / len(samples) for stage, count in counts.items()})


def accuracy(samples: Chosen, model: TSP3DModel, thresholds: bool) -> None:
    metric = GroundingMetric.of(samples)
    config = model.config
    first = measured(samples, metric, model)
    print("\n".join(first.scores.lines()), flush=True)
    print("voxels of a sentence: " + ", ".join(f"{stage} {count:.0f}" for stage, count in first.voxels.items()))
    changed: dict[str, Said] = {
        "a sentence that says nothing": lambda sample: "this is an object in the room",
        "a sentence about another object": _about_another,
    }
    for name, said in changed.items():
        print(f"\n{name}")
        print("\n".join(measured(samples, metric, model, said).scores.lines()), flush=True)
    if not thresholds:
        return
    print("\nthresholds (coarse, middle): Acc@0.25, Acc@0.5, voxels seen at the middle level and at the output")
    given = {
        f"{coarse:.1f}, {middle:.1f}": {"coarse_threshold": coarse, "middle_threshold": middle}
        for coarse, middle in ((0.0, 0.0), (0.3, 0.1), (0.5, 0.2), (0.7, 0.3), (0.8, 0.5), (0.9, 0.7))
    }
    for name, changes in {**given, "nothing added back": {"completion_threshold": 1.0}}.items():
        model.config = dataclasses.replace(config, **changes)
        curve = measured(samples, metric, model)
        overall = curve.scores.summary()["overall"]
        print(
            f"{name}: {overall['acc@0.25']:.3f}, {overall['acc@0.5']:.3f}, {curve.voxels['middle seen']:.0f}, "
            f"{curve.voxels['out']:.0f}",
            flush=True,
        )


def _about_another(sample: GroundingSample) -> str | None:
    others = [s.text for s in sample.scan.sentences if s.target != sample.target]
    return others[len(sample.token) % len(others)] if others else sample.sentence


if __name__ == "__main__":
    main()
