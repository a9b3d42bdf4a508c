"""Drag files that cannot be used: one sentence that names the file and the field, and nothing is written."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from fewview.scene.edit import read_drag
from fewview.scene.errors import BadInputError
from fewview.scene.formats import save_splat
from fewview.scene.run import Run
from fewview.scene.run_splat import save_run_splat
from support.command import assert_one_sentence, fewview
from support.dragged_scenes import limb

MOVED = {"at": [0.0, 0.2, 2.0], "move": [0, 0.1, 0]}
ANCHOR = {"at": [0.0, 0.2, 0.0], "anchor": True}
GOOD: dict[str, Any] = {"version": 1, "time_s": 0.5, "mode": "from_init", "handles": [MOVED, ANCHOR]}
KEYS = [{"time_s": 0, "handles": [MOVED]}, {"time_s": 1, "handles": []}]

# (what is put in place of GOOD's own, what the sentence says)
UNREADABLE: dict[str, tuple[Any, str]] = {
    "a list": ([GOOD], "its content"),
    "no version": ({k: v for k, v in GOOD.items() if k != "version"}, "no version"),
    "another version": (GOOD | {"version": 2}, "version 2"),
    "half a version": (GOOD | {"version": 1.5}, "whole number"),
    "no handles": ({"version": 1}, "no handles"),
    "an unknown key": (GOOD | {"speed": 3}, "'speed'"),
    "an unknown mode": (GOOD | {"mode": "fast"}, "iterative or from_init"),
    "a mode that is a list": (GOOD | {"mode": ["iterative"]}, "a word"),
    "a time that is a word": (GOOD | {"time_s": "now"}, "time_s"),
    "handles that are an object": (GOOD | {"handles": {}}, "a list"),
    "too many handles": (GOOD | {"handles": [ANCHOR] * 201}, "at most 200"),
    "an unknown key of a handle": (GOOD | {"handles": [MOVED | {"radius": 1}, ANCHOR]}, "handles[0].radius"),
    "a handle nowhere": (GOOD | {"handles": [{"move": [0, 1, 0]}, ANCHOR]}, "either 'at'"),
    "a handle twice": (GOOD | {"handles": [MOVED | {"nodes": [1]}, ANCHOR]}, "either 'at'"),
    "two numbers": (GOOD | {"handles": [MOVED | {"at": [1, 2]}, ANCHOR]}, "list of 3 numbers"),
    "a word among them": (GOOD | {"handles": [MOVED | {"at": [1, 2, "x"]}, ANCHOR]}, "at[2]"),
    "an empty group": (GOOD | {"handles": [{"nodes": [], "anchor": True}]}, "at least one control point"),
    "half a node": (GOOD | {"handles": [{"nodes": [1.5], "anchor": True}]}, "nodes[0]"),
    "rings below none": (GOOD | {"handles": [MOVED | {"rings": -1}, ANCHOR]}, "from 0 to 50"),
    "an anchor that moves": (GOOD | {"handles": [MOVED | {"anchor": True}, ANCHOR]}, "'anchor': true"),
    "neither": (GOOD | {"handles": [{"at": [0, 0, 0]}, ANCHOR]}, "'anchor': true"),
    "an anchor of one": (GOOD | {"handles": [MOVED, ANCHOR | {"anchor": 1}]}, "true or false"),
    "a turn without an axis": (GOOD | {"handles": [MOVED | {"rotate": {"degrees": 3}}]}, "rotate.axis"),
    "an axis of nothing": (
        GOOD | {"handles": [MOVED | {"rotate": {"axis": [0, 0, 0], "degrees": 3}}]}, "not zero",
    ),
    "turns and turns": (
        GOOD | {"handles": [MOVED | {"rotate": {"axis": [0, 0, 1], "degrees": 3e6}}]}, "-360 to 360",
    ),
    "a single key frame": (GOOD | {"keyframes": KEYS[:1]}, "1 key frames"),
    "a key frame with more": (GOOD | {"keyframes": [KEYS[0] | {"mode": "iterative"}, KEYS[1]]}, "keyframes[0].mode"),
    "a key frame at no time": (GOOD | {"keyframes": [{"handles": []}, KEYS[1]]}, "keyframes[0].time_s"),
}  # fmt: skip

# What only shows with a scene.
UNFITTING: dict[str, tuple[Any, str]] = {
    "no anchor": (GOOD | {"handles": [MOVED]}, "add an anchor"),
    "nothing moves": (GOOD | {"handles": [ANCHOR]}, "No handle is moved"),
    "no such node": (GOOD | {"handles": [MOVED, {"nodes": [192], "anchor": True}]}, "0 to 191"),
    "a node below zero": (GOOD | {"handles": [MOVED, {"nodes": [-1], "anchor": True}]}, "control point -1"),
    "a place outside": (GOOD | {"handles": [MOVED | {"at": [0, 0, 900]}, ANCHOR]}, "away from every control point"),
    "a huge place": (GOOD | {"handles": [MOVED | {"at": [0, 0, 1e300]}, ANCHOR]}, "away from every control point"),
    "a huge move": (GOOD | {"handles": [MOVED | {"move": [1e300, 0, 1e300]}, ANCHOR]}, "own units"),
    "the same group twice": (GOOD | {"handles": [MOVED, ANCHOR, ANCHOR]}, "same control points"),
    "groups that overlap": (GOOD | {"handles": [MOVED, ANCHOR, ANCHOR | {"rings": 1}]}, "share control points"),
    "rings over all": (GOOD | {"handles": [MOVED | {"rings": 50}, ANCHOR]}, "share control points"),
    "a moment outside": (GOOD | {"time_s": 1.5}, "1.5 s is not within"),
    "times that fall": (GOOD | {"handles": [ANCHOR], "keyframes": KEYS[::-1]}, "rise in time"),
}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    run = Run.create(tmp_path / "run", {})
    save_run_splat(run, limb(50))
    return run.path


def refused(capsys, scene: Path, text: str, *words: str) -> None:
    path, folder = scene.parent / "drag.json", scene.parent
    path.write_text(text)
    before = sorted(folder.rglob("*"))
    for target in ("out.ply", "out"):
        done = fewview(capsys, "edit", scene, "--drag", path, "-o", folder / target, "--quiet")
        assert_one_sentence(done, 2, *words)
        assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_cannot_be_read(tmp_path: Path, case: str) -> None:
    value, words = UNREADABLE[case]
    path = tmp_path / "drag.json"
    path.write_text(json.dumps(value))
    with pytest.raises(BadInputError) as told:
        read_drag(path)
    assert words in str(told.value)
    assert str(path) in str(told.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "true", "null", '"1"'])
def test_numbers_that_are_none(tmp_path: Path, number: str) -> None:
    path = tmp_path / "drag.json"
    for text in (json.dumps(GOOD), json.dumps(GOOD | {"handles": [ANCHOR], "keyframes": KEYS})):
        path.write_text(text.replace("0.1", number))
        with pytest.raises(BadInputError, match=r"drag\.json"):
            read_drag(path)


@pytest.mark.parametrize("case", UNFITTING)
def test_a_file_that_does_not_fit_the_scene(capsys, scene: Path, case: str) -> None:
    value, words = UNFITTING[case]
    refused(capsys, scene, json.dumps(value), words)


def test_a_file_that_is_not_json_or_not_there(capsys, scene: Path, tmp_path: Path) -> None:
    refused(capsys, scene, "{", "not JSON")
    refused(capsys, scene, '{"version": 1, "version": 1}', "twice")
    done = fewview(capsys, "edit", scene, "--drag", tmp_path / "none.json", "-o", tmp_path / "o.ply")
    assert_one_sentence(done, 2, "none.json")


def test_a_moment_of_what_does_not_move(capsys, tmp_path: Path) -> None:
    still, path = tmp_path / "still.ply", tmp_path / "drag.json"
    save_splat(still, limb(50).still())
    path.write_text(json.dumps(GOOD))
    done = fewview(capsys, "edit", still, "--drag", path, "-o", tmp_path / "out.ply")
    assert_one_sentence(done, 2, "does not move", "time_s")


@pytest.mark.parametrize("seed", range(60))
def test_mutated_files(capsys, scene: Path, seed: int) -> None:
    """Bytes changed, dropped or doubled: a sentence or an edit, never a surprise, and nothing half-written."""
    draw = random.Random(seed)
    data = bytearray(json.dumps(GOOD | ({"handles": [ANCHOR], "keyframes": KEYS} if seed % 2 else {})).encode())
    for _ in range(2):
        at = draw.randrange(len(data))
        kind = draw.choice(("change", "drop", "double"))
        if kind == "change":
            data[at] = draw.randrange(32, 127)
        elif kind == "drop":
            del data[at : at + draw.randrange(1, 10)]
        else:
            data[at:at] = data[at : at + draw.randrange(1, 10)]
    path = scene.parent / "drag.json"
    path.write_bytes(bytes(data))
    done = fewview(capsys, "edit", scene, "--drag", path, "-o", scene.parent / "out.ply", "--quiet")
    assert "Unexpected" not in done.err, done.err
    if done.code:
        assert_one_sentence(done, 2)
        assert not (scene.parent / "out.ply").exists()
