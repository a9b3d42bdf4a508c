"""Files are written whole or not at all."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fewview.scene import files
from fewview.scene.errors import BadInputError, FewviewError
from fewview.scene.files import atomic_writer, make_folder, read_json, write_bytes, write_json
from fewview.scene.run import Run
from hypothesis import given, settings
from hypothesis import strategies as st

# Loads the one module under test, so that the process starts quickly enough to be killed many times.
_WRITER = """
import sys, importlib.util, types
from pathlib import Path
package = types.ModuleType("scene"); package.__path__ = [sys.argv[1]]; sys.modules["scene"] = package
from scene.files import write_bytes
target, sizes = Path(sys.argv[2]), (3_000_000, 2_000_000)
write_bytes(target, b"0" * sizes[0])
print("ready", flush=True)
step = 1
while True:
    write_bytes(target, bytes([48 + step % 2]) * sizes[step % 2])
    step += 1
"""
_SCENE = str(Path(files.__file__).parent)

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def _leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.endswith(".tmp")]


@settings(max_examples=50, deadline=None)
@given(value=_JSON)
def test_json_comes_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_json_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "a.json", {"x": value})
    assert read_json(tmp_path / "a.json") == {"old": 1}


def test_a_killed_writer_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    rng = random.Random(0)
    target = tmp_path / "target"
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", _WRITER, _SCENE, str(target)], stdout=subprocess.PIPE, cwd=tmp_path
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        data = target.read_bytes()
        assert data in (b"0" * 3_000_000, b"1" * 2_000_000)


def test_an_error_inside_leaves_the_old(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")

    def stop_half_way() -> None:
        with atomic_writer(tmp_path / "a") as file:
            file.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_half_way()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert _leftovers(tmp_path) == []


def test_a_full_disk_is_a_sentence_and_leaves_the_old(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails half-way in the same manner."""
    (tmp_path / "a").write_bytes(b"old")
    code = (
        "import resource, signal, sys, types\n"
        "package = types.ModuleType('scene'); package.__path__ = [sys.argv[1]]; sys.modules['scene'] = package\n"
        "from pathlib import Path\n"
        "from scene.errors import FewviewError\n"
        "from scene.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    write_bytes(Path(sys.argv[2]), b'x' * 10_000_000)\n"
        "except FewviewError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-S", "-c", code, _SCENE, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert "could not be written: File too large. What was there before is untouched" in done.stdout, done.stderr
    assert (tmp_path / "a").read_bytes() == b"old"
    assert _leftovers(tmp_path) == []


def test_a_place_that_cannot_be_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    for made in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(BadInputError, match="could not be made"):
            make_folder(made)
    for written in (tmp_path / "file" / "a", tmp_path / "gone" / "a", tmp_path, tmp_path / ("n" * 300)):
        with pytest.raises(BadInputError, match=r"could not be written: .*; choose another name"):
            write_bytes(written, b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failing_sync_is_a_sentence_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(FewviewError, match="No space left on device") as caught:
        write_bytes(tmp_path / "a", b"new")
    assert caught.value.exit_code == 1
    assert (tmp_path / "a").read_bytes() == b"old"
    assert _leftovers(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FewviewError, match="No such file or directory"):
        write_bytes(tmp_path / "absent" / "a", b"x")


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


class TestRun:
    def test_a_new_run_opens(self, tmp_path: Path) -> None:
        run = Run.create(tmp_path / "deep" / "run", {"seed": 1})
        assert Run.open(run.path).config() == {"seed": 1}
        run.update_metrics(psnr=20.0)
        run.update_metrics(ssim=0.5)
        assert run.metrics() == {"psnr": 20.0, "ssim": 0.5}

    def test_what_is_there_is_never_overwritten(self, tmp_path: Path) -> None:
        Run.create(tmp_path / "run", {})
        with pytest.raises(BadInputError, match=r"holds another run; nothing was changed\. .* --resume"):
            Run.create(tmp_path / "run", {})
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "thesis.txt").write_text("precious")
        with pytest.raises(BadInputError, match="is not empty"):
            Run.create(tmp_path / "other", {})
        with pytest.raises(BadInputError, match="is a file"):
            Run.create(tmp_path / "other" / "thesis.txt", {})
        with pytest.raises(BadInputError, match=r"cannot be made|is a file"):
            Run.create(tmp_path / "other" / "thesis.txt" / "run", {})

    def test_what_is_no_run(self, tmp_path: Path) -> None:
        with pytest.raises(BadInputError, match="is not a run"):
            Run.open(tmp_path)
        (tmp_path / "config.json").write_text(json.dumps([1]))
        with pytest.raises(BadInputError, match="should hold a JSON object, found list"):
            Run.open(tmp_path).config()
