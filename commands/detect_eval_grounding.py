"""`fewview detect eval --task grounding`: the share of sentences whose box is right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from ..detect.metrics.grounding_metric import GroundingMetric
from ..detect.metrics.grounding_results import read_grounding_results
from ..detect.tasks.grounding_samples import open_grounding_samples
from ..learn.processes import is_first_process
from ..scene.errors import BadInputError
from ..scene.files import write_json
from .detect_train_grounding import Sentences
from .options import Common
from .result import finish
from .terminal_progress import TerminalProgress


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Measure boxes for sentences: Acc@0.25 and Acc@0.5, overall and for each kind of sentence.

    The rules are those of ScanRefer and ReferIt3D: one box for a sentence, overlap strictly above the threshold.
    """

    # This task.
    task: Literal["grounding"] = "grounding"
    # Folder of scenes in ScanNet's files, with ScanRefer/ or ReferIt3D/ in it.
    input: tyro.conf.Positional[Path]
    # boxes.json of `fewview detect run --task grounding`.
    results: tyro.conf.Positional[Path]
    # Where the sentences are from.
    sentences: Sentences = "scanrefer"
    # Scenes to measure on: train, val, or all.
    split: str = "all"


def run(options: Options) -> None:
    if not is_first_process():
        return  # measuring takes seconds; under torchrun one process does it
    found = read_grounding_results(options.results)
    with TerminalProgress(options.quiet) as progress:
        progress("Reading scans", 0, 0)
        samples = open_grounding_samples(options.input, options.split, options.sentences)
        unknown = sorted(set(found) - set(samples.tokens))
        if unknown:
            raise BadInputError(
                f"{options.results} has {len(unknown)} sentences that are not in {options.input} ({options.split}), "
                f"the first is {unknown[0]!r}; give the data and the split that it was made from."
            )
        scores = GroundingMetric.of(samples).evaluate(found)
    path = options.output or options.results.with_name(f"{options.results.stem}_metrics.json")
    write_json(path, scores.summary())
    result = {"metrics": scores.summary(), "output": str(path)}
    finish(options, result, [*scores.lines(), "", f"Metrics: {path}"])
