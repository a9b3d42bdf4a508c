"""`fewview poses` that is interrupted while photographs are matched goes on from there, to the same cameras."""

from __future__ import annotations

from pathlib import Path

import pytest
from fewview.commands import poses as command_module
from fewview.scene.run import Run
from support.command import assert_one_sentence, fewview, stops_at
from support.known_depth import wall_and_ball, write_photographs


def test_interrupted_poses_go_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photographs(tmp_path / "photographs", wall_and_ball(4))

    with monkeypatch.context() as patch:
        patch.setattr(command_module, "TerminalProgress", stops_at("Matching photographs", 2))
        stopped = fewview(capsys, "poses", "photographs", "-o", "parts")
    assert_one_sentence(stopped, 130, "Interrupted", "--resume")
    run = Run.open("parts")
    assert run.matches_path.stat().st_size > 0
    assert not run.cameras_path.exists()
    assert_one_sentence(fewview(capsys, "poses", "photographs", "-o", "parts"), 2, "--resume")
    resumed = fewview(capsys, "poses", "photographs", "-o", "parts", "--resume", "--json")
    assert resumed.code == 0, resumed.err
    whole = fewview(capsys, "poses", "photographs", "-o", "whole", "--json")
    assert whole.code == 0, whole.err
    assert run.cameras_path.read_bytes() == Run.open("whole").cameras_path.read_bytes()
    assert not run.matches_path.exists()  # nothing is kept that is of no use any more
