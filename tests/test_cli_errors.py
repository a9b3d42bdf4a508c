"""Wrong input to the commands: one sentence, the right exit code, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.scene.png import write_png
from support.capture_folder import write_capture, write_photographs
from support.command import assert_one_sentence, fewview, fewview_process


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("command", ["reconstruct", "poses", "view", "render", "eval"])
def test_missing_input(here: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert_one_sentence(fewview(capsys, command, "nowhere"), 2, "nowhere")
    assert list(here.iterdir()) == []


def test_empty_folder(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    assert_one_sentence(fewview(capsys, "reconstruct", tmp_path / "photos"), 2, "photos")
    assert list(here.iterdir()) == []


def test_synthesis_says_why_masks_cannot_be_used(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_photographs(tmp_path / "photos", 3)
    (tmp_path / "masks").mkdir()
    for photograph in photos.iterdir():
        write_png(tmp_path / "masks" / f"{photograph.stem}.png", np.full((11, 37), 255, np.uint8))
    outcome = fewview(capsys, "poses", photos, "--synthesis")
    assert_one_sentence(outcome, 2, "--synthesis", "3 masks", "another aspect")
    assert list(here.iterdir()) == []


def test_one_photograph(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_photographs(tmp_path / "photos", 1)
    assert_one_sentence(fewview(capsys, "reconstruct", photos), 2, "one photograph", "at least two")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("left", [("--views", "1"), ("--views", "1", "--eval")])
def test_one_of_several_photographs_is_left(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], left: tuple[str, ...]
) -> None:
    photos = write_photographs(tmp_path / "photos", 3)
    assert_one_sentence(
        fewview(capsys, "reconstruct", photos, *left), 2, "of 3 photographs one is left", "at least two"
    )
    assert list(here.iterdir()) == []


def test_an_empty_video(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "film.mp4").touch()
    assert_one_sentence(fewview(capsys, "reconstruct", tmp_path / "film.mp4"), 2, "film.mp4 is empty")
    assert list(here.iterdir()) == []


def test_photographs_that_show_nothing_in_common(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_photographs(tmp_path / "photos", 2)
    outcome = fewview(capsys, "reconstruct", photos, "--quiet")
    assert_one_sentence(outcome, outcome.code)
    assert outcome.code in (1, 2)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--views", "0"),
        ("--views", "-3"),
        ("--resolution", "3"),
        ("--steps", "0"),
        ("--max-gaussians", "0"),
        ("--sh-degree", "7"),
        ("--max-megapixels", "0"),
        ("--min-confidence", "1.5"),
        ("--min-confidence", "nan"),
        ("--threads", "0"),
        ("--seed", "-1"),
    ],
)
def test_values_that_cannot_be_used(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert_one_sentence(fewview(capsys, "reconstruct", tmp_path, option, value), 2, f"{option} {value}")
    assert list(here.iterdir()) == []


def test_a_prior_that_is_none_is_refused_before_anything_is_compared(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = write_capture(tmp_path / "capture")
    missing = fewview(capsys, "reconstruct", capture, "--depth-prior", "networks")
    assert_one_sentence(missing, 2, "nothing at networks", "the word network")
    (tmp_path / "weights.safetensors").write_bytes(b"none")
    assert_one_sentence(
        fewview(capsys, "reconstruct", capture, "--depth-prior", tmp_path / "weights.safetensors"),
        2,
        "weights.safetensors",
    )
    assert not list(here.glob("runs/*"))


def test_a_setting_that_no_method_accepts_is_refused_before_anything_is_done(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = write_capture(tmp_path / "capture")
    assert_one_sentence(fewview(capsys, "reconstruct", capture, "--set", "appearance=maybe"), 2, "appearance=maybe")
    assert list(here.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_where_there_is_none(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = write_capture(tmp_path / "capture")
    assert_one_sentence(fewview(capsys, "reconstruct", capture, "--device", "cuda"), 2, "--device cuda", "CPU")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("wrong", [["--stpes", "3"], ["--method", "magic"], ["--steps", "many"], []])
def test_usage(here: Path, capsys: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    outcome = fewview(capsys, "reconstruct", *(["photos", *wrong] if wrong else []))
    assert outcome.code == 2
    assert "Traceback" not in outcome.err + outcome.out
    assert list(here.iterdir()) == []


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_sentence(fewview(capsys, "reconstrct"), 2, "reconstrct", "Did you mean `fewview reconstruct`?")
    assert_one_sentence(fewview(capsys, "zzz"), 2, "`fewview --help`")


def test_output_that_holds_something(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = write_capture(tmp_path / "capture")
    keep = here / "taken" / "letter.txt"
    keep.parent.mkdir()
    keep.write_text("dear")
    assert_one_sentence(fewview(capsys, "reconstruct", capture, "-o", "taken"), 2, "taken", "not empty", "-o")
    assert keep.read_text() == "dear"
    assert [p.name for p in keep.parent.iterdir()] == ["letter.txt"]


def test_output_that_is_a_file(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = write_capture(tmp_path / "capture")
    (here / "taken").write_text("dear")
    assert_one_sentence(fewview(capsys, "reconstruct", capture, "-o", "taken"), 2, "taken", "file")
    assert (here / "taken").read_text() == "dear"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_output_that_cannot_be_written(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = write_capture(tmp_path / "capture")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert_one_sentence(fewview(capsys, "reconstruct", capture, "-o", locked / "run"), 2, "locked")


def test_output_below_a_file(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = write_capture(tmp_path / "capture")
    (here / "file").write_text("")
    assert_one_sentence(fewview(capsys, "reconstruct", capture, "-o", "file/run"), 2, "file", "-o")


def test_unexpected_errors_are_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from fewview.commands import doctor

    def broken() -> None:
        raise RuntimeError("something odd\nwith a second line")

    monkeypatch.setattr(doctor, "examine", broken)
    assert_one_sentence(fewview(capsys, "doctor"), 1, "RuntimeError", "something odd", "--debug")
    with_trace = fewview(capsys, "doctor", "--debug")
    assert with_trace.code == 1
    assert "Traceback" in with_trace.err


def test_errors_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = fewview(capsys, "reconstruct", "nowhere", "--json")
    assert outcome.json == {"error": outcome.err.strip(), "exit_code": 2}


def test_exit_codes_of_the_process(tmp_path: Path) -> None:
    assert_one_sentence(fewview_process("reconstruct", "nowhere", cwd=tmp_path), 2, "nowhere")
    assert list(tmp_path.iterdir()) == []
    assert fewview_process("--help").code == 0
    assert fewview_process("--version").out.startswith("fewview ")


def test_help_does_not_load_pytorch() -> None:
    # Two seconds on a laptop, for a page of text.
    import subprocess
    import sys

    code = "import sys; from fewview.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("wrong", [["--stpes", "3"], ["--steps", "many"], ["more.jpg"]])
def test_usage_as_json(here: Path, capsys: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    outcome = fewview(capsys, "reconstruct", "photos", *wrong, "--json")
    assert outcome.code == 2
    assert outcome.json["exit_code"] == 2
    assert wrong[-1] in outcome.json["error"]
    assert "---" not in outcome.json["error"].replace("--json", "")  # no drawing of a box
    assert wrong[-1] in outcome.err


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("photos/*.jpg", ("pattern", "name the folder, photos")),
        ("*.png", ("pattern, and no file", "name the folder")),
        ("https://example.org/photos.zip", ("https://example.org/photos.zip is an address", "Download it first")),
        ("photos.zip", ("archive", "unpack it first")),
        ("real.zip", ("archive", "unpack it first")),
        ("photos.tar.gz", ("archive", "unpack it first")),
        ("scenes", ("holds 2 data sets (chair, fox)", "name one of them")),
    ],
)
def test_inputs_that_are_nearly_right(
    here: Path, capsys: pytest.CaptureFixture[str], typed: str, words: tuple[str, ...]
) -> None:
    for name in ("photos.zip", "photos.tar.gz"):
        (here / name).write_bytes(b"packed")
    (here / "one.png").write_bytes(b"a photograph that the pattern fits")
    with zipfile.ZipFile(here / "real.zip", "w") as archive:
        archive.writestr("photos/a.jpg", b"")
    for name in ("chair", "fox"):
        write_capture(here / "scenes" / name)
    before = sorted(here.rglob("*"))
    assert_one_sentence(fewview(capsys, "reconstruct", typed), 2, *words)
    assert sorted(here.rglob("*")) == before


def test_interruption_that_an_import_wraps(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while libraries are imported comes out of some of them as another error."""

    def interrupted(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error

    monkeypatch.setattr("fewview.cli.importlib.import_module", interrupted)
    assert_one_sentence(fewview(capsys, "doctor"), 130, "Interrupted")


def test_what_a_program_imports_is_not_searched_for_garbage() -> None:
    code = "import gc, sys; from fewview.cli import main; sys.argv = ['fewview', 'methods']; main(); "
    code += "print(gc.isenabled(), gc.get_freeze_count() > 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["True", "True"]
