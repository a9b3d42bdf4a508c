"""Files that a browser sends to be opened: splats are shown, anything else is a sentence and leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from fewview.scene.errors import BadInputError
from fewview.scene.formats import save_splat
from fewview.scene.splat import StaticSplat
from fewview.viewer.app import serve
from fewview.viewer.panels.open_file import read_upload
from fewview.viewer.stage import Stage
from fewview.viewer.subjects.loader import load_subject
from fewview.viewer.subjects.subject import view_of_bounds
from support.small_run import small_gaussians, small_run


@pytest.fixture
def spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "spare"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def splat_bytes(folder: Path, name: str) -> bytes:
    save_splat(folder / name, StaticSplat(small_gaussians(50)))
    return (folder / name).read_bytes()


@pytest.mark.parametrize("name", ["a.ply", "a.spz", "../../etc/a.PLY", "C:\\a.spz", "\0a.ply", "é" * 400 + ".ply"])
def test_a_splat_is_read_whatever_it_is_called(name: str, tmp_path: Path, spare: Path) -> None:
    subject = read_upload(name, splat_bytes(tmp_path, f"own{name[-4:].lower()}"))
    assert len(subject.splat) == 50
    assert subject.splat_path is None
    assert name.endswith(subject.title)
    assert len(subject.title) <= 80
    assert list(spare.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("notes.txt", b"ply\n", "does not end like a splat file"),
        ("", b"", "does not end like a splat file"),
        ("video.mp4", b"\0" * 100, "does not end like a splat file"),
        ("a.ply", b"", "a.ply"),
        ("a.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 999999999\nend_header\n", "a.ply"),
        ("a.spz", b"\x1f\x8b" + b"\0" * 50, "a.spz"),
        ("a.sog", b"PK\x03\x04" + b"\0" * 50, "a.sog"),
        ("a.splat", b"\0" * 33, "a.splat"),
        ("a.glb", b"glTF" + b"\xff" * 20, "a.glb"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(name: str, content: bytes, told: str, spare: Path) -> None:
    with pytest.raises(BadInputError) as error:
        read_upload(name, content)
    assert told in str(error.value)
    assert str(spare) not in str(error.value)  # a path that means nothing to who reads it
    assert list(spare.iterdir()) == []


def test_what_was_opened_is_shown_beside_the_rest(tmp_path: Path) -> None:
    server, page = serve(load_subject(small_run(tmp_path / "run").path), port=0)
    try:
        subject = read_upload("other.ply", splat_bytes(tmp_path, "other.ply"))
        page.context.add(subject)
        page.panel("Scene")._show_opened(subject)
        assert page.context.subjects[1] is subject
        assert "450 Gaussians" in page._header.content
        node = subject.layers["splat"].handles[0]
        assert node.name == "/1/splat"
        assert len(node.buffer) == 50
        boxes = [box for layer, box in page.panel("Scene")._boxes if layer is subject.layers["splat"]]
        boxes[0].value = False
        assert not node.visible
        view = view_of_bounds(subject, page.context.stage, page.context.pilot.up)
        own = Stage.of(None, subject.splat.at())
        center = page.context.stage.place(own.center)
        assert abs(view.look_at - center).max() < 0.5 * page.context.stage.scale  # of a cube of side 2
    finally:
        page.close()
        server.stop()
