"""Damaged and hostile SOG files end in one sentence, or in a splat; never in another exception, and never in a bomb."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewview.scene.errors import BadInputError, FewviewError
from fewview.scene.formats import sog, sog_files
from fewview.scene.splat import StaticSplat
from PIL import Image
from support.random_gaussians import random_gaussians


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a small scene of degree 1."""
    path = tmp_path_factory.mktemp("sog") / "a.sog"
    sog.write(path, StaticSplat(random_gaussians(0, 40, 1)))
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def bundle(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, data in files.items():
            target.writestr(name, data)
    return path


def with_meta(files: dict[str, bytes], change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    meta = json.loads(files["meta.json"])
    change(meta)
    return {**files, "meta.json": json.dumps(meta).encode()}


def webp(height: int, width: int, **options: Any) -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    Image.fromarray(pixels).save(data, "WEBP", **(options or {"lossless": True}))
    return data.getvalue()


def test_every_truncation_is_named(tmp_path: Path, good: dict[str, bytes]) -> None:
    data = bundle(tmp_path / "a.sog", good).read_bytes()
    path = tmp_path / "cut.sog"
    for size in [*range(0, 64), *range(64, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(BadInputError, match=r"cut\.sog"):
            sog.read(path)


def test_bit_flips_are_named_or_harmless(tmp_path: Path, good: dict[str, bytes]) -> None:
    data = bundle(tmp_path / "a.sog", good).read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / "flipped.sog"
    named = 0
    for _ in range(150):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert len(sog.read(path).gaussians) <= 40
        except BadInputError:
            named += 1
    assert named > 100, "the checksums of a ZIP see nearly all"


def test_bit_flips_of_loose_files_are_named_or_harmless(tmp_path: Path, good: dict[str, bytes]) -> None:
    """Without the checksums of a ZIP, damaged images and numbers reach the decoders."""
    for name, data in good.items():
        (tmp_path / name).write_bytes(data)
    rng = np.random.default_rng(2)
    read = 0
    for _ in range(250):
        name = sorted(good)[rng.integers(len(good))]
        damaged = bytearray(good[name])
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        (tmp_path / name).write_bytes(damaged)
        with contextlib.suppress(BadInputError):
            read += bool(len(sog.read(tmp_path / "meta.json").gaussians))
        (tmp_path / name).write_bytes(good[name])
    assert read > 20, "many flips only change a value"


NONSENSE: dict[str, Callable[[dict[str, Any]], object]] = {
    "'count' promises": lambda m: m.update(count=10**12),
    "'count' promises 0": lambda m: m.update(count=0),
    "'count' should be a whole number, found -1": lambda m: m.update(count=-1),
    "'count' should be a whole number, found 4.5": lambda m: m.update(count=4.5),
    "'count' should be a whole number, found True": lambda m: m.update(count=True),
    "too few for 5000 Gaussians": lambda m: m.update(count=5000),
    "SOG version 3": lambda m: m.update(version=3),
    "SOG version \\[\\]": lambda m: m.update(version=[]),
    "'means' is expected": lambda m: m.pop("means"),
    "'quats' is expected": lambda m: m.update(quats=[1]),
    "'means.mins' should be a list of 3": lambda m: m["means"].update(mins=[0, 0]),
    "'means.maxs' should be a list of 3": lambda m: m["means"].update(maxs=[0, "1", 0]),
    "'means.maxs' has a number beyond 88": lambda m: m["means"].update(maxs=[0, 89, 0]),
    "'means.files' should be a list of 2": lambda m: m["means"].update(files=["means_l.webp"]),
    "'scales.files' should be": lambda m: m["scales"].update(files=[None]),
    "'scales.codebook' should be a list of up to": lambda m: m["scales"].update(codebook=[0.0] * 257),
    "'sh0.codebook' should be a list of up to": lambda m: m["sh0"].update(codebook=[]),
    "'sh0.codebook' should be a list of 2 numbers": lambda m: m["sh0"].update(codebook=[0, [1]]),
    "'sh0.codebook' has a number beyond 1e.30": lambda m: m["sh0"].update(codebook=[0, 10**400]),
    "'shN.bands' is 4": lambda m: m["shN"].update(bands=4),
    "is 192 pixels wide; 512": lambda m: m["shN"].update(bands=2),
    "'shN.count' is 65537": lambda m: m["shN"].update(count=65537),
    "'shN' is expected": lambda m: m.update(shN=7),
    "no file 'gone.webp' inside": lambda m: m["quats"].update(files=["gone.webp"]),
    "'../quats.webp'; a plain name": lambda m: m["quats"].update(files=["../quats.webp"]),
    "'/etc/passwd'; a plain name": lambda m: m["quats"].update(files=["/etc/passwd"]),
    "a plain name without folders": lambda m: m["quats"].update(files=["C:\\quats.webp"]),
    "'http://x/quats.webp'; a plain name": lambda m: m["quats"].update(files=["http://x/quats.webp"]),
    "''; a plain name": lambda m: m["quats"].update(files=[""]),
}


@pytest.mark.parametrize("sentence", NONSENSE)
def test_nonsense_in_meta_is_named(tmp_path: Path, good: dict[str, bytes], sentence: str) -> None:
    path = bundle(tmp_path / "a.sog", with_meta(good, NONSENSE[sentence]))
    with pytest.raises(BadInputError, match=sentence):
        sog.read(path)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"7", b"{", b"\xff", b'{"a":NaN}', b'{"a":1,"a":2}', b'{"a":1e999}', b"[" * 100_000]
)
def test_broken_json_is_named(tmp_path: Path, good: dict[str, bytes], text: bytes) -> None:
    with pytest.raises(BadInputError, match=r"meta\.json"):
        sog.read(bundle(tmp_path / "a.sog", {**good, "meta.json": text}))


def test_files_outside_of_the_folder_are_refused(tmp_path: Path, good: dict[str, bytes]) -> None:
    folder = tmp_path / "scene"
    folder.mkdir()
    for name, data in good.items():
        (folder / name).write_bytes(data)
    (tmp_path / "secret.webp").write_bytes(good["quats.webp"])
    (folder / "quats.webp").unlink()
    (folder / "quats.webp").symlink_to(tmp_path / "secret.webp")
    with pytest.raises(BadInputError, match="outside of its folder"):
        sog.read(folder / "meta.json")
    (folder / "quats.webp").unlink()
    with pytest.raises(BadInputError, match="could not be read"):
        sog.read(folder / "meta.json")
    (folder / "quats.webp").symlink_to("quats.webp")
    with pytest.raises(BadInputError, match=r"quats\.webp"):
        sog.read(folder / "meta.json")


def test_a_zip_of_many_files_is_refused(tmp_path: Path, good: dict[str, bytes]) -> None:
    many = {**good, **{f"{i}": b"" for i in range(100)}}
    with pytest.raises(BadInputError, match="at most 64 files"):
        sog.read(bundle(tmp_path / "a.sog", many))


def test_a_lie_about_the_number_of_files_does_not_help(tmp_path: Path, good: dict[str, bytes]) -> None:
    data = bytearray(bundle(tmp_path / "a.sog", {**good, **{f"{i:090}": b"" for i in range(1000)}}).read_bytes())
    end = data.rfind(b"PK\x05\x06")
    data[end + 8 : end + 12] = struct.pack("<HH", 8, 8)
    (tmp_path / "a.sog").write_bytes(data)
    with pytest.raises(BadInputError, match="at most 64 files"):
        sog.read(tmp_path / "a.sog")


def test_a_zip_that_grows_is_not_unpacked(tmp_path: Path, good: dict[str, bytes]) -> None:
    files = {**good, "meta.json": good["meta.json"] + b" " * 900_000}
    path = bundle(tmp_path / "a.sog", files, zipfile.ZIP_DEFLATED)
    with pytest.raises(BadInputError, match="would grow"):
        sog.read(path)


def test_an_entry_that_lies_about_its_size_is_not_inflated(tmp_path: Path, good: dict[str, bytes]) -> None:
    """The directory promises few bytes, the deflated data gives 256 MB: only what was promised is inflated."""
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = bomb.compress(bytes(2**28)) + bomb.flush()
    path = bundle(tmp_path / "a.sog", {**good, "quats.webp": bytes(1000)}, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as source:
        info = source.getinfo("quats.webp")
    honest = zlib.compressobj(9, zlib.DEFLATED, -15)
    stored = honest.compress(bytes(1000)) + honest.flush()
    data = bytearray(path.read_bytes())
    assert data.count(stored) == 1
    grown = len(packed) - info.compress_size
    data[data.index(stored) : data.index(stored) + info.compress_size] = packed
    directory = data.index(b"PK\x01\x02")
    for name in good:
        at = data.index(name.encode(), directory) - 46
        offset = struct.unpack_from("<I", data, at + 42)[0]
        if offset > info.header_offset:
            struct.pack_into("<I", data, at + 42, offset + grown)
        if name == "quats.webp":
            struct.pack_into("<I", data, at + 20, len(packed))
    struct.pack_into("<I", data, info.header_offset + 18, len(packed))
    end = data.rfind(b"PK\x05\x06")
    struct.pack_into("<I", data, end + 16, struct.unpack_from("<I", data, end + 16)[0] + grown)
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(BadInputError, match=r"quats\.webp is no WebP"):
        sog.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23, "the packed bomb has 0.3 MB"


def test_encrypted_and_exotic_entries_are_refused(tmp_path: Path, good: dict[str, bytes]) -> None:
    with pytest.raises(BadInputError, match="stored or deflated"):
        sog.read(bundle(tmp_path / "a.sog", good, zipfile.ZIP_LZMA))
    data = bytearray(bundle(tmp_path / "b.sog", good).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "b.sog").write_bytes(data)
    with pytest.raises(BadInputError, match="encrypted"):
        sog.read(tmp_path / "b.sog")


def test_two_entries_of_one_name_are_refused(tmp_path: Path, good: dict[str, bytes]) -> None:
    path = bundle(tmp_path / "a.sog", good)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as target:
        target.writestr("meta.json", b"{}")
    with pytest.raises(BadInputError, match="two files of one name"):
        sog.read(path)


def test_other_zips_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"without a meta\.json"):
        sog.read(bundle(tmp_path / "a.sog", {"readme.txt": b"hello"}))


def test_an_image_bomb_is_refused_by_its_header(
    tmp_path: Path, good: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """16383 x 16383 pixels in 30 bytes: no decoder may see them."""
    huge = bytearray(good["quats.webp"][:30].ljust(30, b"\0"))
    huge[21:25] = (16382 | 16382 << 14).to_bytes(4, "little")
    extended = b"RIFF" + bytes(4) + b"WEBPVP8X" + struct.pack("<I4x", 10) + b"\xff\x3f\x00\xff\x3f\x00"
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 40000, 40000, 8, 6, 0, 0, 0)
    calls: list[str] = []
    real = Image.open
    monkeypatch.setattr(sog_files.Image, "open", lambda *a, **k: calls.append("open") or real(*a, **k))
    for bomb in (bytes(huge), extended, png):
        for name in ("means_l.webp", "shN_centroids.webp"):
            calls.clear()
            with pytest.raises(BadInputError, match="the scene can use"):
                sog.read(bundle(tmp_path / "a.sog", {**good, name: bomb}))
            assert len(calls) <= 5, "the five images before the palette were good"
            assert name != "means_l.webp" or not calls


@pytest.mark.parametrize("count", [10**5 * 40, 79_000_000])
def test_more_gaussians_than_the_bytes_can_hold_are_refused(tmp_path: Path, good: dict[str, bytes], count: int) -> None:
    with pytest.raises(BadInputError, match=f"promises {count} Gaussians"):
        sog.read(bundle(tmp_path / "a.sog", with_meta(good, lambda m: m.update(count=count))))


def test_wrong_images_are_named(tmp_path: Path, good: dict[str, bytes]) -> None:
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    grey = io.BytesIO()
    Image.new("L", (8, 8)).save(grey, "PNG")
    images = {
        "no WebP or PNG": jpeg.getvalue(),
        "no image of 8-bit RGB": grey.getvalue(),
        "too few for 40": webp(4, 4),
        "no WebP": b"",
        "damaged and cannot be decoded": webp(8, 8)[:60],
    }
    for sentence, data in images.items():
        with pytest.raises(BadInputError, match=f"quats.webp.*{sentence}"):
            sog.read(bundle(tmp_path / "a.sog", {**good, "quats.webp": data}))


def test_lossy_images_are_read_with_a_warning(tmp_path: Path, good: dict[str, bytes]) -> None:
    files = {**good, "quats.webp": webp(8, 8, quality=90), "shN_centroids.webp": webp(1, 192, quality=90)}
    splat = sog.read(bundle(tmp_path / "a.sog", files))
    assert len(splat.gaussians) == 40
    assert sum("stored with losses" in note for note in splat.notes) == 2


def test_a_pillow_without_webp_is_told(tmp_path: Path, good: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    path = bundle(tmp_path / "a.sog", good)
    monkeypatch.setattr(sog_files.features, "check", lambda name: False)
    with pytest.raises(FewviewError, match="install a Pillow with WebP"):
        sog.read(path)
    with pytest.raises(FewviewError, match="install a Pillow with WebP"):
        sog.write(tmp_path / "b.sog", StaticSplat(random_gaussians(0, 4, 0)))


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.sog", tmp_path):
        with pytest.raises(BadInputError, match="could not be read"):
            sog.read(path)
