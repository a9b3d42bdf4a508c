"""CoherentGS by the pipeline: what it needs is gathered once, kept in the run, and trained from."""

from __future__ import annotations

from pathlib import Path

import pytest
from fewview.recon.evidence.evidence_kinds import FLOW, MONOCULAR_DEPTH
from fewview.recon.evidence.stereo import stereo_depth
from fewview.recon.methods.coherentgs.model import Coherent
from fewview.recon.optimise.normalised_frame import world_from_normalised
from fewview.recon.optimise.trainer import fit
from fewview.recon.pipeline.prepare_method import prepare_method
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.scene.run import Run
from support.few_views import few_views, wall_and_ball
from support.training import capture_of


def test_depth_is_matched_once_and_flow_and_monocular_depth_are_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = wall_and_ball(3)
    dataset, stereo = few_views(scene)
    exact = stereo.transformed(world_from_normalised(dataset.cameras).inverse()).maps
    calls: list[int] = []

    def matched(images: list[object], *_: object, **__: object) -> object:
        calls.append(len(images))
        return exact

    monkeypatch.setattr(stereo_depth, "estimate_depths", matched)
    run = Run.create(tmp_path / "run", {})
    for _ in range(2):
        prepared = prepare_method(run, capture_of(dataset), dataset, ReconstructConfig(method="coherentgs", steps=6))
        assert isinstance(prepared.model, Coherent)
    assert calls == [3]
    assert run.evidence_path(FLOW).is_file()
    assert run.evidence_path(MONOCULAR_DEPTH).is_file()
    model = prepared.model
    for depth, true in zip(model.prepared.depths, scene.depths, strict=True):
        found = model.prepared.unit * float(prepared.world_from_normalised.scale) * depth
        assert float((found / true[1::2, 1::2] - 1).abs().median()) < 0.02
    result = fit(model, prepared.dataset, prepared.choice.config)
    assert len(result.splat) > model.pixels.rows == 3 * 24 * 18  # guesses of what no photograph shows come after
