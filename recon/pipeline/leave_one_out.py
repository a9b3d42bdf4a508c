"""A choice between methods by measurement: each is fitted without one of the photographs, which it then has to show.

Nothing but training photographs is used. The photographs are small and the schedules short, so that the choice costs a
fraction of the run.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...render import render
from ...render.metrics import psnr, ssim
from ...scene.capture import Capture, evenly_spaced
from ...scene.errors import BadInputError
from ...scene.files import read_json, write_json
from ...scene.point_cloud import PointCloud
from ...scene.progress import Progress, silent
from ...scene.run import Run
from ..methods.method_contract import Inputs
from ..methods.registry import Choice
from ..optimise.dataset import Dataset
from ..optimise.trainer import fit
from .normalised_evidence import gathered, in_normalised_frame
from .reconstruct_config import ReconstructConfig

FEWEST, MOST_VIEWS = 3, 8  # photographs from which on one can be left out, and up to which it takes little time
LEFT_OUT = 3  # photographs at most, each once
SIDE_PX = 160  # of the photographs: halved until their longer side is not above it
SHARE_OF_STEPS = 0.1
MARGIN_DB = 0.1  # by which another candidate must be better than the first, which needs no measurement to be chosen
FEWEST_GAUSSIANS = 2000
TABLE = "choice.json"  # in the run folder


@dataclass(frozen=True)
class Candidate:
    """A method, and what of the evidence that it can do without it is given."""

    choice: Choice
    takes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        extra = "".join(f" + {kind.replace('_', ' ')}" for kind in self.takes)
        return f"{self.choice.method.name}{extra}"


@dataclass(frozen=True)
class Measured:
    """The figures of a candidate on the photographs that it was fitted without; none where it refused to be."""

    name: str
    psnr: tuple[float, ...] = ()  # dB, of each photograph
    ssim: tuple[float, ...] = ()
    refusal: str = ""  # its sentence

    @property
    def mean_psnr(self) -> float:
        return math.fsum(self.psnr) / len(self.psnr) if self.psnr else -math.inf

    @property
    def mean_ssim(self) -> float:
        return math.fsum(self.ssim) / len(self.ssim) if self.ssim else -math.inf

    @property
    def told(self) -> str:
        figures = f"{self.mean_psnr:.2f} dB / {self.mean_ssim:.3f}"
        return f"{self.name} {'cannot do without one' if self.refusal else figures}"

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "psnr": list(self.psnr), "ssim": list(self.ssim), "refusal": self.refusal}


@dataclass(frozen=True)
class Comparison:
    chosen: Candidate
    rows: tuple[Measured, ...]  # in the order of the candidates

    @property
    def reason(self) -> str:
        told = ", ".join(row.told for row in self.rows)
        return (
            f"{self.chosen.name} was chosen because of how it shows training photographs that it was fitted without, "
            f"one at a time, small and with few steps: {told}."
        )


def can_leave_one_out(dataset: Dataset) -> bool:
    """True where there are photographs enough to do without one, and few enough for the choice to matter."""
    return FEWEST <= len(dataset.train) <= MOST_VIEWS


def compare(
    run: Run,
    capture: Capture,
    dataset: Dataset,  # in the run's frame
    inputs: Inputs,
    config: ReconstructConfig,
    candidates: Sequence[Candidate],  # the first is the one to take where none is clearly better
    progress: Progress = silent,
) -> Comparison:
    """The candidate that shows left-out photographs best. Once for a run: the table is kept in its folder."""
    path, names = run.path / TABLE, [c.name for c in candidates]
    rows = _kept(path, names)
    if rows is None:
        started = time.perf_counter()
        rows = _measured(capture, dataset, inputs, config, candidates, progress)
        write_json(path, {"candidates": [row.as_json() for row in rows]})
        run.add_metrics(seconds={"choice": time.perf_counter() - started})
    best = max(range(len(rows)), key=lambda k: rows[k].mean_psnr)
    clearly = rows[best].mean_psnr > rows[0].mean_psnr + MARGIN_DB
    return Comparison(candidates[best if clearly else 0], tuple(rows))


def _kept(path: Path, names: Sequence[str]) -> list[Measured] | None:
    """The rows of a table that is there and of these candidates."""
    if not path.is_file():
        return None
    found = read_json(path)
    rows = found.get("candidates") if isinstance(found, dict) else None
    if not isinstance(rows, list) or [r.get("name") if isinstance(r, dict) else None for r in rows] != list(names):
        return None
    return [Measured(r["name"], tuple(r["psnr"]), tuple(r["ssim"]), r["refusal"]) for r in rows]


def _measured(
    capture: Capture,
    dataset: Dataset,
    inputs: Inputs,
    config: ReconstructConfig,
    candidates: Sequence[Candidate],
    progress: Progress,
) -> list[Measured]:
    small = reduced(dataset, SIDE_PX)
    left_out = evenly_spaced(dataset.train, LEFT_OUT)
    figures: list[list[tuple[float, float]]] = [[] for _ in candidates]
    refusals = [""] * len(candidates)
    for turn, view in enumerate(left_out):
        rest = without(small, view)
        folder = Path(tempfile.mkdtemp(prefix="fewview_choice_"))
        try:
            apart = Run.create(folder / "run", {})
            for number, candidate in enumerate(candidates):
                progress("choosing", turn * len(candidates) + number, len(left_out) * len(candidates))
                if refusals[number]:
                    continue
                try:
                    figures[number].append(_shown(apart, capture, rest, view, inputs, config, candidate))
                except BadInputError as refusal:  # e.g. the others do not overlap
                    refusals[number], figures[number] = str(refusal), []
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return [
        Measured(c.name, tuple(f[0] for f in found), tuple(f[1] for f in found), refusal)
        for c, found, refusal in zip(candidates, figures, refusals, strict=True)
    ]


def _shown(
    apart: Run,
    capture: Capture,
    rest: Dataset,
    view: int,
    inputs: Inputs,
    config: ReconstructConfig,
    candidate: Candidate,
) -> tuple[float, float]:
    """PSNR and SSIM of a photograph that a short training of the others gives. Raises KeyboardInterrupt."""
    chosen = candidate.choice.method
    normalised, to_world = in_normalised_frame(rest)
    # Cameras stay: the left-out one belongs to the others as they are.
    full = candidate.choice.config
    changes: dict[str, Any] = {"steps": max(1, round(SHARE_OF_STEPS * full.steps)), "refine_poses": False}
    most = getattr(full, "max_gaussians", None)
    if most is not None:
        share = _pixels(rest) / _pixels(inputs.dataset)
        changes["max_gaussians"] = max(FEWEST_GAUSSIANS, round(share * most))
    short = replace(full, **changes)
    kinds = (*chosen.needs, *chosen.asks(short), *candidate.takes)
    evidence, _ = gathered(apart, capture, rest, config, kinds, to_world)
    model = chosen.initialise(replace(inputs, dataset=normalised, evidence=evidence), short)
    result = fit(model, normalised, short)
    if result.interrupted:
        raise KeyboardInterrupt
    background = torch.tensor(result.splat.background, device=normalised.cameras.K.device)
    photograph, camera = normalised.view(view), normalised.cameras[view]
    with torch.no_grad():
        drawn = render(
            result.splat.at(), camera, background=background, antialiased=result.splat.antialiased
        ).rgb.clamp(0, 1)
    target = photograph.target(background)
    if photograph.mask is not None and bool(photograph.mask.any()):
        drawn = torch.where(photograph.mask[..., None], drawn, target)
    return psnr(drawn, target), ssim(drawn, target)


def _pixels(dataset: Dataset) -> int:
    return sum(v.width * v.height for v in dataset.views)


def reduced(dataset: Dataset, side_px: int) -> Dataset:
    """The same views halved until the longer side of the largest is at most so many pixels."""
    level = 0
    while max(max(v.width, v.height) for v in dataset.views) > side_px << level:
        level += 1
    views = tuple(dataset.view(i, level) for i in range(len(dataset)))
    sizes = torch.tensor([[v.width, v.height] for v in views])
    return replace(dataset, views=views, cameras=dataset.cameras.resized(sizes[:, 0], sizes[:, 1]))


def without(dataset: Dataset, view: int) -> Dataset:
    """The data set with one of its training views held out, and of the points those that two others see."""
    rest = tuple(v for v in dataset.train if v != view)
    return replace(dataset, train=rest, test=(view,), points=_seen_in(dataset.points, rest))


def _seen_in(points: PointCloud | None, views: tuple[int, ...]) -> PointCloud | None:
    """The points that two of these views see, with their observations; all where nothing is known of that."""
    if points is None or points.seen_view is None or points.seen_point is None:
        return points
    here = torch.isin(points.seen_view, torch.tensor(views, device=points.seen_view.device))
    pairs = torch.unique(torch.stack([points.seen_point[here], points.seen_view[here]], 1), dim=0)
    count = torch.bincount(pairs[:, 0], minlength=len(points))
    return replace(points, seen_point=pairs[:, 0], seen_view=pairs[:, 1])[count >= 2]
