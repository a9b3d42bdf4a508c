"""Edits that were not saved come back for the same file, and for no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from fewview.scene.edit import Editor, centered_at, edited_splat
from fewview.scene.files import cache_folder
from fewview.scene.formats import save_splat
from fewview.scene.splat import StaticSplat
from fewview.viewer.app import serve
from fewview.viewer.kept_edits import forget_edits, keep_edits, kept_edits
from fewview.viewer.subjects.loader import load_subject
from support.browser import until
from support.small_run import small_gaussians


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder() / "edits"


@pytest.fixture
def splat_path(tmp_path: Path) -> Path:
    save_splat(tmp_path / "a.ply", StaticSplat(small_gaussians()))
    return tmp_path / "a.ply"


def edited() -> Editor:
    editor = Editor(small_gaussians())
    editor.delete(torch.arange(400) % 3 == 0)
    editor.move(centered_at(torch.tensor([1.0, 2.0, 3.0])))
    return editor


def test_the_state_comes_back(splat_path: Path) -> None:
    editor = edited()
    keep_edits(splat_path, editor)
    kept = kept_edits(splat_path, 400)
    assert kept is not None
    assert kept.facts() == "134 deleted"
    again = Editor(small_gaussians())
    kept.apply(again)
    assert torch.equal(again.alive, editor.alive)
    splat = StaticSplat(small_gaussians())
    assert torch.equal(edited_splat(splat, again).at().means, edited_splat(splat, editor).at().means)
    while again.undo():
        pass
    assert not again.changed


def test_nothing_is_kept_of_a_splat_as_it_was(splat_path: Path, cache: Path) -> None:
    editor = edited()
    keep_edits(splat_path, editor)
    assert len(list(cache.iterdir())) == 1
    while editor.undo():
        pass
    keep_edits(splat_path, editor)
    assert kept_edits(splat_path, 400) is None
    assert list(cache.iterdir()) == []


def test_another_splat_in_the_same_place_gets_nothing(splat_path: Path) -> None:
    keep_edits(splat_path, edited())
    assert kept_edits(splat_path, 401) is None
    os.utime(splat_path, ns=(1, 1))
    assert kept_edits(splat_path, 400) is None
    splat_path.unlink()
    assert kept_edits(splat_path, 400) is None


def test_forgotten_edits_are_gone(splat_path: Path) -> None:
    keep_edits(splat_path, edited())
    forget_edits(splat_path)
    forget_edits(splat_path)
    assert kept_edits(splat_path, 400) is None


@pytest.mark.parametrize("size", [0, 1, 20, 200, -1])
def test_damaged_files_are_not_offered(splat_path: Path, cache: Path, size: int) -> None:
    keep_edits(splat_path, edited())
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:size] if size >= 0 else b"\xff" * len(whole))
    assert kept_edits(splat_path, 400) is None


def test_a_folder_that_cannot_be_written_is_no_error(splat_path: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    keep_edits(splat_path, edited())
    assert kept_edits(splat_path, 400) is None


def test_the_page_keeps_edits_and_offers_them_to_the_next_one(splat_path: Path, cache: Path) -> None:
    def on_page(count: int):  # type: ignore[no-untyped-def]
        server, page = serve(load_subject(splat_path), port=0)
        tab = page.panel("Edit")
        assert len(tab.bench.session.left()) == count
        return server, page, tab

    server, page, tab = on_page(400)
    assert tab._earlier is None
    tab.bench.do(lambda: tab.bench.session.select(torch.arange(400) < 100))
    page.context.shortcuts.does["Delete what is selected"](None)
    until(lambda: cache.is_dir() and len(list(cache.glob("*.safetensors"))) == 1)
    page.close()
    server.stop()

    server, page, tab = on_page(400)
    try:
        assert tab._earlier is not None
        assert tab._earlier.visible
        assert "100 deleted" in tab._earlier.label
        kept = kept_edits(splat_path, 400)
        assert kept is not None
        tab.bench.do(lambda: kept.apply(tab.bench.session.editor))
        until(lambda: not tab._earlier.visible)
        assert len(tab.bench.session.left()) == 300
        page.context.shortcuts.does["Undo"](None)
        until(lambda: len(tab.bench.session.left()) == 400)
        until(lambda: tab._earlier.visible)
    finally:
        page.close()
        server.stop()
