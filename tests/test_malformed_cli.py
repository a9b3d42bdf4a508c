"""Damaged run folders and data sets: every command answers with one sentence and leaves the folder as it was."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from support.capture_folder import write_capture
from support.command import assert_one_sentence, fewview


@pytest.fixture
def run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_capture(tmp_path / "capture", views=4)
    outcome = fewview(capsys, "reconstruct", "capture", "-o", "run", "--steps", 2, "--quiet")
    assert outcome.code == 0, outcome.err
    return tmp_path / "run"


def _everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


CONFIGS = {
    "not JSON": "{",
    "a list": "[]",
    "no options": "{}",
    "options that are a list": '{"options": [], "input": "capture"}',
    "words for numbers": '{"options": {"steps": "many"}, "input": "capture"}',
    "a negative number": '{"options": {"steps": -4}, "input": "capture"}',
    "not finite": '{"options": {"steps": NaN}, "input": "capture"}',
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS.keys())
def test_config(run_folder: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (run_folder / "config.json").write_text(text)
    before = _everything(run_folder)
    outcome = fewview(capsys, "reconstruct", "capture", "-o", "run", "--resume", "--quiet")
    assert_one_sentence(outcome, 2)
    assert _everything(run_folder) == before


@pytest.mark.parametrize("file", ["splat.ply", "cameras.json", "metrics.json"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 50, b"ply\nformat binary_little_endian 1.0\n", b"{}", b"[1]"])
def test_files_of_the_run(run_folder: Path, capsys: pytest.CaptureFixture[str], file: str, content: bytes) -> None:
    (run_folder / file).write_bytes(content)
    before = _everything(run_folder)
    for command in (["eval", "run"], ["render", "run", "--frames", "1", "-o", "film.mp4"]):
        outcome = fewview(capsys, *command, "--quiet")
        if outcome.code == 0:  # a renderer may do without the figures, and an empty object is no damage
            assert file == "metrics.json"
            continue
        assert_one_sentence(outcome, outcome.code)
        assert "Unexpected" not in outcome.err
        assert _everything(run_folder) == before
        assert not Path("film.mp4").exists()


def test_photographs_that_are_gone(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next((run_folder / "images").iterdir()).unlink()
    assert_one_sentence(fewview(capsys, "eval", "run", "--quiet"), 2, "run")


@pytest.mark.parametrize("seed", range(20))
def test_mutated_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    """Bytes of transforms.json changed, dropped or doubled: an explained error or a result, never a surprise."""
    folder = write_capture(tmp_path / "capture", views=3)
    chooser = random.Random(seed)
    data = bytearray((folder / "transforms.json").read_bytes())
    for _ in range(3):
        at = chooser.randrange(len(data))
        kind = chooser.choice(("change", "drop", "double"))
        if kind == "change":
            data[at] = chooser.randrange(32, 127)
        elif kind == "drop":
            del data[at : at + chooser.randrange(1, 12)]
        else:
            data[at:at] = data[at : at + chooser.randrange(1, 12)]
    (folder / "transforms.json").write_bytes(bytes(data))
    output = tmp_path / "run"
    outcome = fewview(capsys, "reconstruct", folder, "-o", output, "--steps", 1, "--resolution", 16, "--quiet")
    assert "Unexpected" not in outcome.err, outcome.err
    if outcome.code:
        assert_one_sentence(outcome, outcome.code)
    if outcome.code == 2:
        assert not output.exists()


def test_frames_outside_the_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_capture(tmp_path / "capture", views=3)
    table = json.loads((folder / "transforms.json").read_text())
    table["frames"][0]["file_path"] = "../secret.png"
    (tmp_path / "secret.png").write_bytes((folder / "images" / "photo_0.png").read_bytes())
    (folder / "transforms.json").write_text(json.dumps(table))
    output = tmp_path / "run"
    assert_one_sentence(fewview(capsys, "reconstruct", folder, "-o", output), 2, "secret.png", "--allow-outside")
    assert not output.exists()
