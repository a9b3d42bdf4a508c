"""Photographs that are damaged, huge, or something else."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from fewview.recon.pipeline.read_input import read_input
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.scene.errors import BadInputError
from fewview.scene.images import check_decodes, load_depth, load_mask, load_pixels, read_header
from fewview.scene.readers import read_capture
from PIL import Image
from support.datasets import write_photo


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bomb(path: Path, side: int = 60_000) -> Path:
    """A PNG of a hundred bytes that promises side x side pixels."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = _chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + _chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("opener", [read_header, check_decodes, load_pixels])
def test_huge_images_are_refused_from_their_header(tmp_path: Path, opener) -> None:
    with pytest.raises(BadInputError, match=r"bomb.png has 60000 x 60000 pixels, over the limit of 100 megapixels"):
        opener(_bomb(tmp_path / "bomb.png"))


def test_huge_images_allocate_nothing(tmp_path: Path) -> None:
    """In a process that may only grow by a tenth of what the picture needs."""
    _bomb(tmp_path / "bomb.png")
    write_photo(tmp_path / "good.png")
    code = (
        "import resource, sys\n"
        "from fewview.scene.readers import read_capture\n"
        "now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + 10**9, now + 10**9))\n"
        "capture = read_capture(sys.argv[1])\n"
        "print(capture.names, capture.notes)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "['good.png']" in done.stdout
    assert "1 of 2 photographs could not be read and were left out: bomb.png." in done.stdout


def test_the_limit_is_the_persons_to_choose(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", 40, 30)
    with pytest.raises(BadInputError, match=r"over the limit of 0\.001 megapixels"):
        read_header(tmp_path / "a.png", 0.001)
    before = Image.MAX_IMAGE_PIXELS
    # Beyond Pillow's own limit of 179 megapixels, the header alone is fine when the person says so.
    assert read_header(_bomb(tmp_path / "b.png", 20_000), 500).width == 20_000
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_truncation_is_found_and_named(tmp_path: Path, form: str) -> None:
    """At every byte of the first 300 and in coarser steps after; a PNG's last 21 bytes are checksums and its end."""
    whole = write_photo(tmp_path / "whole", format=form).read_bytes()
    path = tmp_path / "cut.img"
    for cut in [*range(min(300, len(whole) - 24)), *range(300, len(whole) - 24, 97)]:
        path.write_bytes(whole[:cut])
        with pytest.raises(BadInputError, match=r"cut\.img"):
            load_pixels(path)
        with pytest.raises(BadInputError, match=r"cut\.img"):
            check_decodes(path)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_random_damage_gives_pixels_or_a_sentence(tmp_path: Path, form: str) -> None:
    whole = write_photo(tmp_path / "whole", format=form).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.img"
    for _ in range(60):
        data = bytearray(whole)
        for byte in rng.integers(0, len(data), 3):
            data[byte] = rng.integers(256)
        path.write_bytes(bytes(data))
        with contextlib.suppress(BadInputError):
            assert load_pixels(path).dtype == np.uint8


def test_other_files_are_not_decoded(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.ppm")
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    for name in ("a.ppm", "a.eps"):
        with pytest.raises(BadInputError, match="is not a photograph that can be opened"):
            load_pixels(tmp_path / name)
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(BadInputError, match=r"empty.jpg is empty \(0 bytes\)"):
        load_pixels(tmp_path / "empty.jpg")
    with pytest.raises(BadInputError, match=r"absent.jpg is not there"):
        load_pixels(tmp_path / "absent.jpg")


def test_a_heic_photo_without_its_plugin_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 100)
    with pytest.raises(BadInputError, match="pip install pillow-heif"):
        load_pixels(tmp_path / "a.heic")
    write_photo(tmp_path / "b.jpg")
    notes = read_capture(tmp_path).notes
    assert "a.heic" in notes[0]
    assert "pip install pillow-heif" in notes[1]


def test_unreadable_photos_are_left_out_with_their_names(tmp_path: Path) -> None:
    whole = write_photo(tmp_path / "b.jpg").read_bytes()
    write_photo(tmp_path / "d.jpg", seed=1)
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "c.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "._b.jpg").write_bytes(b"left over")
    (tmp_path / "notes.txt").write_text("no photograph")
    capture = read_capture(tmp_path)
    assert capture.names == ["b.jpg", "d.jpg"]
    assert capture.notes == ("2 of 4 photographs could not be read and were left out: a.jpg, c.jpg.",)
    (tmp_path / "d.jpg").unlink()
    with pytest.raises(BadInputError, match=r"holds one photograph; .* 2 of 3 .* could not be read .* a\.jpg, c\.jpg"):
        read_input(tmp_path, ReconstructConfig())


def test_folders_without_any_usable_photo(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds nothing that can be read"):
        read_capture(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(BadInputError, match=r"a\.jpg is empty"):
        read_capture(tmp_path)
    (tmp_path / "b.jpg").write_bytes(b"rubbish")
    with pytest.raises(BadInputError, match=r"None of the 2 photographs .*a\.jpg is empty"):
        read_capture(tmp_path)


def test_videos_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for data in (b"", b"not a film" * 100, write_photo(tmp_path / "p.png").read_bytes()):
        path.write_bytes(data)
        with pytest.raises(BadInputError, match=r"a\.mp4"):
            read_capture(path)


def test_masks_and_depths_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"rubbish")
    with pytest.raises(BadInputError, match=r"a\.png"):
        load_mask(tmp_path / "a.png", 4, 3)
    write_photo(tmp_path / "rgb.png")
    with pytest.raises(BadInputError, match="one number for each pixel"):
        load_depth(tmp_path / "rgb.png", 40, 30)
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInputError, match=r"p\.npy is not a NumPy array file"):
        load_depth(tmp_path / "p.npy", 4, 3)
    big = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    (tmp_path / "big.npy").write_bytes(big.ljust(127) + b"\n" + b"\0" * 64)
    with pytest.raises(BadInputError, match=r"big\.npy"):
        load_depth(tmp_path / "big.npy", 4, 3)
