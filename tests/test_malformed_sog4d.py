"""Damaged and hostile 4D SOG files end in one sentence, and never in a bomb."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewview.scene.errors import BadInputError
from fewview.scene.formats import load_splat, sog, sog4d
from fewview.scene.splat import StaticSplat
from PIL import Image
from support.bending_splat import bending_splat
from support.command import assert_one_sentence, fewview
from support.random_gaussians import random_gaussians


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("sog4d") / "a.sog4d"
    sog4d.write(path, bending_splat(40, points=5, moments=3, residuals=True))
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def bundle(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as target:
        for name, data in files.items():
            target.writestr(name, data)
    return path


def with_motion(good: dict[str, bytes], change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    table = json.loads(good["motion.json"])
    change(table)
    return {**good, "motion.json": json.dumps(table).encode()}


def webp(width: int, height: int, **how: Any) -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 4), np.uint8)
    Image.fromarray(pixels).save(data, "WEBP", **({"lossless": True, "exact": True} | how))
    return data.getvalue()


def test_the_good_one_is_read(tmp_path: Path, good: dict[str, bytes]) -> None:
    assert len(sog4d.read(bundle(tmp_path / "a.sog4d", good))) == 40


NONSENSE: dict[str, Callable[[dict[str, Any]], object]] = {
    "version 2 and kind 'control_points'": lambda m: m.update(version=2),
    "kind 'mesh_bound'": lambda m: m.update(kind="mesh_bound"),
    "'control_points' should be a whole number": lambda m: m.update(control_points=10**12),
    "'control_points' should be a whole number of": lambda m: m.update(control_points=-1),
    "'control_points' should": lambda m: m.update(control_points="5"),
    "5 x 1 pixels; 16383 x 1": lambda m: m.update(control_points=16383),
    "5 x 3 pixels; 5 x 13000": lambda m: m.update(times_s=list(range(13000))),
    "'times_s' should be a list": lambda m: m.update(times_s=[]),
    "'times_s' should be a list of 1": lambda m: m.update(times_s=None),
    "'times_s' should be 3 numbers": lambda m: m.update(times_s=[0, "1", 2]),
    "'times_s' should increase": lambda m: m.update(times_s=[0, 2, 1]),
    "'times_s' should increase from": lambda m: m.update(times_s=[0, 1, 1]),
    "'times_s' should be 3 numbers up to 1e.30": lambda m: m.update(times_s=[0, 1, 10**400]),
    "'gaussians' is expected": lambda m: m.pop("gaussians"),
    "made for 41 Gaussians": lambda m: m["gaussians"].update(count=41),
    "'gaussians.count' should": lambda m: m["gaussians"].update(count=10**15),
    "another program has changed the scene": lambda m: m["gaussians"].update(sha256="0" * 64),
    "'shifts' is expected": lambda m: m.pop("shifts"),
    "'turns' is expected": lambda m: m.update(turns=[1]),
    "'quat_residuals' is expected": lambda m: m.update(quat_residuals=7),
    "'points.mins' should be 3 numbers": lambda m: m["points"].update(mins=[0, 1]),
    "'turns.maxs' should be 4 numbers": lambda m: m["turns"].update(maxs=[0, 1, 2]),
    "'shifts.files' should be a list of 2": lambda m: m["shifts"].update(files=["shifts_l.webp"]),
    "'weights' is expected": lambda m: m.pop("weights"),
    "'weights.neighbours' should": lambda m: m["weights"].update(neighbours=17),
    "'weights.files' should be a list of 2": lambda m: m["weights"].update(neighbours=2),
    "'weights.max' should be 1 numbers": lambda m: m["weights"].update(max=None),
    "'weights.max' is -1": lambda m: m["weights"].update(max=-1),
    "'background' should be three": lambda m: m.update(background=[0, 0, 2]),
    "'background' should be 3 numbers": lambda m: m.update(background="black"),
    "no file 'gone.webp' inside": lambda m: m["turns"].update(files=["gone.webp", "turns_u.webp"]),
    "a plain name": lambda m: m["turns"].update(files=["../turns_l.webp", "turns_u.webp"]),
    "below the 4 control points": lambda m: m.update(control_points=4),
}


@pytest.mark.parametrize("sentence", NONSENSE)
def test_nonsense_in_motion_json_is_named(tmp_path: Path, good: dict[str, bytes], sentence: str) -> None:
    files = with_motion(good, NONSENSE[sentence])
    if sentence.startswith("below"):  # images that fit the lie
        names = [name for name in files if name.startswith(("points", "shifts", "turns", "quat_", "scale_"))]
        files |= {name: webp(4, 1 if name.startswith("points") else 3) for name in names}
    with pytest.raises(BadInputError, match=sentence):
        sog4d.read(bundle(tmp_path / "a.sog4d", files))


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"a":1,"a":2}', b"[" * 100_000])
def test_broken_json_is_named(tmp_path: Path, good: dict[str, bytes], text: bytes) -> None:
    with pytest.raises(BadInputError, match=r"motion\.json"):
        sog4d.read(bundle(tmp_path / "a.sog4d", {**good, "motion.json": text}))


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
def test_times_that_are_no_numbers_are_named(tmp_path: Path, good: dict[str, bytes], number: bytes) -> None:
    text = good["motion.json"].replace(b'"times_s":[2.0', b'"times_s":[' + number)
    assert text != good["motion.json"]
    with pytest.raises(BadInputError, match=r"motion\.json.*not finite"):
        sog4d.read(bundle(tmp_path / "a.sog4d", {**good, "motion.json": text}))


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("shifts_l.webp", webp(5, 2), "5 x 2 pixels; 5 x 3"),
        ("turns_u.webp", webp(3, 5), "3 x 5 pixels; 5 x 3"),
        ("points_l.webp", webp(64, 64), "64 x 64 pixels, but the scene can use 5"),
        ("neighbour_1.webp", webp(4, 4), "too few for 40"),
        ("neighbour_0.webp", webp(200, 200), "the scene can use"),
        ("neighbour_2.webp", b"", "no WebP"),
        ("shifts_u.webp", webp(5, 3)[:40], "damaged"),
        ("scale_residuals_l.webp", webp(5, 3, lossless=False, quality=80), "stored with losses"),
    ],
)
def test_wrong_images_are_named(tmp_path: Path, good: dict[str, bytes], name: str, data: bytes, sentence: str) -> None:
    assert name in good
    with pytest.raises(BadInputError, match=f"{name}.*{sentence}"):
        sog4d.read(bundle(tmp_path / "a.sog4d", {**good, name: data}))


def test_indices_beyond_the_control_points_are_one_sentence(tmp_path: Path, good: dict[str, bytes]) -> None:
    with pytest.raises(BadInputError, match="below the 5 control points"):
        sog4d.read(bundle(tmp_path / "a.sog4d", {**good, "neighbour_1.webp": webp(8, 8)}))


def test_the_motion_of_another_splat_is_told(tmp_path: Path, good: dict[str, bytes]) -> None:
    """As many Gaussians, but others: as when a program has edited the scene and kept the motion."""
    sog.write(tmp_path / "b.sog", StaticSplat(random_gaussians(1, 40, 1)))
    with zipfile.ZipFile(tmp_path / "b.sog") as other:
        files = good | {name: other.read(name) for name in other.namelist()}
    with pytest.raises(BadInputError, match="another program has changed the scene"):
        sog4d.read(bundle(tmp_path / "a.sog4d", files))


def test_a_still_scene_by_that_name_is_told(tmp_path: Path) -> None:
    sog.write(tmp_path / "a.sog", StaticSplat(random_gaussians(1, 40, 1)))
    (tmp_path / "a.sog").rename(tmp_path / "a.sog4d")
    with pytest.raises(BadInputError, match=r"no motion\.json inside, so nothing moves; rename it to \.sog"):
        load_splat(tmp_path / "a.sog4d")


def test_a_file_cut_anywhere_is_one_sentence(tmp_path: Path, good: dict[str, bytes]) -> None:
    whole = bundle(tmp_path / "whole.sog4d", good).read_bytes()
    for length in range(0, len(whole), len(whole) // 40):
        (tmp_path / "a.sog4d").write_bytes(whole[:length])
        with pytest.raises(BadInputError, match=r"a\.sog4d"):
            load_splat(tmp_path / "a.sog4d")


def test_flipped_bytes_end_in_a_splat_or_a_sentence(tmp_path: Path, good: dict[str, bytes]) -> None:
    whole = bundle(tmp_path / "whole.sog4d", good).read_bytes()
    draw = np.random.default_rng(0)
    read = 0
    for _ in range(150):
        data = bytearray(whole)
        for at in draw.integers(0, len(data), 3):
            data[at] ^= int(draw.integers(1, 256))
        (tmp_path / "a.sog4d").write_bytes(data)
        try:
            load_splat(tmp_path / "a.sog4d").at(3.0)
            read += 1
        except BadInputError:
            pass
    assert read < 150


def test_lies_about_counts_take_no_memory(tmp_path: Path, good: dict[str, bytes]) -> None:
    files = with_motion(good, lambda m: m.update(control_points=16000, times_s=list(range(262))))
    tracemalloc.start()
    with pytest.raises(BadInputError, match="promises 16000 control points at 262 moments"):
        sog4d.read(bundle(tmp_path / "a.sog4d", files))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22, "4 million cells would take 16 MB a channel"


def test_the_command_says_one_sentence(
    tmp_path: Path, good: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle(tmp_path / "a.sog4d", good)
    bad = bundle(tmp_path / "bad.sog4d", with_motion(good, lambda m: m.update(times_s=[1])))
    still = tmp_path / "still.sog"
    sog.write(still, StaticSplat(random_gaussians(1, 40, 1)))

    def refused(*args: object, words: str) -> None:
        assert_one_sentence(fewview(capsys, "convert", *args), 2, words)

    refused(bad, tmp_path / "b.ply", words="the scene can use 5 at most")
    refused(still, tmp_path / "b.sog4d", words="does not move")
    refused(tmp_path / "a.sog4d", tmp_path / "b.sog4d", "--time", "3", words="takes the whole motion; leave --time 3")
    refused(tmp_path / "a.sog4d", tmp_path / "b.sog4d", "--fps", "3", words="takes the whole motion; leave --fps 3")
    refused(tmp_path / "a.sog4d", tmp_path / "b.ply", "--fps", "3", "--frames", "2", words="leave one of them out")
    refused(tmp_path / "a.sog4d", tmp_path / "b.ply", "--fps", "0", words="--fps 0 cannot be used")
    refused(tmp_path / "a.sog4d", tmp_path / "b.ply", "--fps", "nan", words="--fps nan cannot be used")
    refused(tmp_path / "a.sog4d", tmp_path / "b.ply", "--time", "2", "--fps", "3", words="are many")
    assert [path.name for path in tmp_path.glob("b*")] == ["bad.sog4d"]
