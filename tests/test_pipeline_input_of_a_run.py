"""Inputs that a run is made from: a folder of found cameras, and another folder of the same name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fewview.recon.pipeline.first_stage import placed_input
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.recon.pipeline.reconstruction import reconstruct
from fewview.recon.pipeline.run_folder import open_run
from fewview.scene.errors import BadInputError
from fewview.scene.files import read_json, write_json
from fewview.scene.readers import load_run_capture
from fewview.scene.run import Run
from fewview.scene.run_lock import locked
from support.capture_folder import write_capture
from support.datasets import write_photo


def placed(source: Path, output: Path) -> Run:
    with open_run(source, output, ReconstructConfig(), resume=False, command="reconstruct") as (run, config):
        placed_input(run, source, config)
    return run


@pytest.mark.parametrize("origin", ["given", "estimated"])
def test_cameras_that_were_found_before_stay_found(tmp_path: Path, origin: str) -> None:
    """`fewview poses X`, then `fewview reconstruct X`: the cameras are no more exact for having been written down."""
    first = placed(write_capture(tmp_path / "capture"), tmp_path / "poses")
    assert not first.cameras_are_estimated()
    write_json(first.poses_path, {**read_json(first.poses_path), "cameras": origin})
    assert load_run_capture(first).cameras_are_estimated == (origin == "estimated")
    assert placed(first.path, tmp_path / "run").cameras_are_estimated() == (origin == "estimated")


def test_another_input_of_the_same_name_is_not_taken_for_the_first(tmp_path: Path) -> None:
    source, output = write_capture(tmp_path / "a" / "scene"), tmp_path / "run"
    placed(source, output)
    other = write_capture(tmp_path / "b" / "scene")
    write_photo(other / "images" / "more.png")

    def resumed(again: Path) -> None:
        with open_run(again, output, ReconstructConfig(), resume=True, command="reconstruct"):
            pass

    (source / "images" / ".DS_Store").write_text("left by a file manager")
    resumed(source)
    resumed(tmp_path / "moved away" / "scene")  # what is finished needs no input any more
    with pytest.raises(BadInputError, match="begun with other files"):
        resumed(other)

    def begun(again: Path) -> str:
        with (
            pytest.raises(BadInputError) as refused,
            open_run(again, output, ReconstructConfig(), resume=False, command=""),
        ):
            pass
        return str(refused.value)

    assert "--resume" in begun(source)
    assert "--resume" not in begun(other)  # it would be refused, too
    assert "holds a run of another input" in begun(other)
    assert f"`fewview reconstruct {output} --resume`" in begun(output)  # the run named as an input


def test_two_programs_do_not_work_in_one_run(tmp_path: Path) -> None:
    source, output = write_capture(tmp_path / "scene"), tmp_path / "run"
    run = placed(source, output)
    # A lock belongs to a process, so another one has to hold it.
    held = (
        "import sys; from pathlib import Path; from fewview.scene.run import Run\n"
        "from fewview.scene.run_lock import locked\n"
        "with locked(Run(Path(sys.argv[1]))):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", held, str(output)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BadInputError, match="Another Fewview is at work in"):
            reconstruct(source, output, ReconstructConfig(), resume=True)
        assert not run.splat_path.exists()
        other.kill()  # the lock is free however its holder ends
        other.communicate()
    with locked(run):
        pass


def test_an_input_that_fails_leaves_no_lock(tmp_path: Path) -> None:
    write_photo(tmp_path / "scene" / "a.png")
    with pytest.raises(BadInputError, match="one photograph"):
        reconstruct(tmp_path / "scene", tmp_path / "run", ReconstructConfig())
    assert not (tmp_path / "run").exists()
