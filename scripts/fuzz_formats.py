"""Damages splat files of every format thousands of times and counts what becomes of them.

    python scripts/fuzz_formats.py --mutations 10000 --format all

Every file is read by `load_splat` in a process of its own with little memory and time. A named error (`BadInputError`)
or a valid splat is right; another exception, a crash, a hang or memory running out is a fault, its file is kept, and
the exit code is 1. The same seed damages the same files in the same way.
"""

from __future__ import annotations

import argparse
import io
import select
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import zstandard
from fewview.scene.control_points import ControlPointMotion
from fewview.scene.errors import BadInputError
from fewview.scene.formats import holds_motion, load_splat, save_splat, side_path
from fewview.scene.formats.format_table import FORMATS
from fewview.scene.gaussians import Gaussians
from fewview.scene.splat import MovingSplat, Splat, StaticSplat

MEMORY = 768 * 2**20  # bytes of address space beyond what the process has when it starts
PATIENCE_S = 20.0  # for one file; the usual one takes milliseconds
STARTING_S = 300.0  # for a process to start and import PyTorch, on a busy machine
READY = "ready"
RIGHT = ("named error", "valid splat")
FAULTS = ("other exception", "out of memory", "crash", "hang")
SIDE = "side"  # the side file of a splat, as if it were a format
HOSTILE = [0, 1, 2, 3, 7, 8, 127, 128, 254, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
WORDS = [b"-1", b"0", b"1e400", b"NaN", b"null", b"[]", b"{}", b"99999999999999999999", b"4294967296", b"1e9", b'"x"']


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=10_000, help="damaged files of each format")
    parser.add_argument("--format", default="all", help=f"all, or one of {', '.join(names())}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz_formats", help="for faults")
    parser.add_argument("--worker", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--originals", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.originals, options.seed, range(*options.worker))
        return 0
    chosen = names() if options.format == "all" else [options.format]
    print(f"{'format':<16}" + "".join(f"{what:>17}" for what in (*RIGHT, *FAULTS)), flush=True)
    faults = 0
    for name in chosen:
        counts = fuzz(name, options.seed, options.mutations, options.keep)
        faults += sum(counts[what] for what in FAULTS)
        print(f"{name:<16}" + "".join(f"{counts[what]:>17,}" for what in (*RIGHT, *FAULTS)), flush=True)
    if faults:
        print(f"{faults} faults; their files are in {options.keep}.")
    return 1 if faults else 0


def names() -> list[str]:
    """The formats by their usual ending without the dot, and the side file."""
    return [f.endings[0].lstrip(".") for f in FORMATS] + [SIDE]


def fuzz(name: str, seed: int, mutations: int, keep: Path) -> Counter[str]:
    """Counts by outcome; a worker that dies is followed by another that goes on behind the file that killed it."""
    counts: Counter[str] = Counter()
    start = 0
    with tempfile.TemporaryDirectory() as folder:
        originals = Path(folder)
        write_originals(name, originals)
        while start < mutations:
            command = [sys.executable, __file__, "--originals", folder, "--seed", str(seed)]
            command += ["--worker", str(start), str(mutations)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
                for line in _lines(worker):
                    what, detail = line.rstrip("\n").split("\t")
                    counts[what] += 1
                    if what in FAULTS:
                        _keep(keep, name, damaged(originals, seed, start), f"{start}: {what}: {detail}")
                    start += 1
            if start < mutations:
                what = "hang" if worker.returncode == -9 else "crash"
                counts[what] += 1
                _keep(keep, name, damaged(originals, seed, start), f"{start}: {what}, exit code {worker.returncode}")
                start += 1
    return counts


def _lines(worker: subprocess.Popen[str]) -> Iterator[str]:
    """Lines that the worker prints, until it ends or is silent for too long, when it is killed."""
    assert worker.stdout is not None
    patience_s = STARTING_S
    # readline waits for a whole line, which the worker writes at once.
    while select.select([worker.stdout], [], [], patience_s)[0]:
        line = worker.stdout.readline()
        if not line:
            return
        if line.strip() != READY:
            yield line
        patience_s = PATIENCE_S
    worker.kill()


def _keep(folder: Path, name: str, files: list[tuple[str, bytes]], what: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file_name, data in files:
        (folder / f"{what.split(':')[0]}_{file_name}").write_bytes(data)
    print(f"{name} {what}", flush=True)


def work(originals: Path, seed: int, indices: range) -> None:
    """Reads damaged files one after another and prints a line for each; runs in a process of its own."""
    import resource  # POSIX alone has it

    torch.set_num_threads(1)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(READY, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for index in indices:
            for stale in Path(folder).iterdir():
                stale.unlink()
            paths = []
            for file_name, data in damaged(originals, seed, index):
                paths.append(Path(folder) / file_name)
                paths[-1].write_bytes(data)
            sys.stdout.write("\t".join(_outcome(paths[0])) + "\n")
            sys.stdout.flush()


def _outcome(path: Path) -> tuple[str, str]:
    try:
        splat = load_splat(path)
    except BadInputError:
        return RIGHT[0], ""
    except MemoryError:
        return "out of memory", ""
    except Exception as error:
        return "other exception", f"{type(error).__name__} {error}".replace("\n", " ").replace("\t", " ")[:200]
    g = splat.at()  # of a moving one, too
    whole = all(bool(torch.isfinite(v).all()) for v in (g.means, g.quats, g.sh))
    if not whole or bool(torch.isnan(g.opacity_logits).any()) or bool(torch.isnan(g.log_scales).any()):
        return "other exception", "values that are no numbers came through"
    return RIGHT[1], ""


def small_splat(count: int, degree: int, seed: int = 0) -> StaticSplat:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((count, 3), (count, 4), (count, 3), (count,), (count, (degree + 1) ** 2, 3))
    means, quats, log_scales, logits, sh = (torch.randn(shape, generator=generator) for shape in shapes)
    return StaticSplat(Gaussians(means, quats, log_scales - 3, 2 * logits, 0.2 * sh), antialiased=bool(seed % 2))


def in_motion(splat: Splat, residuals: bool) -> MovingSplat:
    """The splat carried by seven control points over five moments."""
    generator = torch.Generator().manual_seed(1)
    shape, count = (5, 7), len(splat)
    motion = ControlPointMotion(
        torch.arange(5, dtype=torch.float64),
        torch.randn(7, 3, generator=generator),
        torch.randn(*shape, 3, generator=generator),
        torch.randn(*shape, 4, generator=generator),
        torch.randint(7, (count, 3), generator=generator).int(),
        torch.rand(count, 3, generator=generator) / 3,
        0.1 * torch.randn(*shape, 4, generator=generator) if residuals else None,
        0.1 * torch.rand(*shape, 3, generator=generator) if residuals else None,
    )
    return MovingSplat(splat.gaussians, splat.antialiased, splat.up, motion=motion)


def write_originals(name: str, folder: Path) -> None:
    """Small sound files of a format, each in a folder of its own, with its side file when that is to be damaged."""
    for count, degree in ((1, 0), (3, 1), (40, 0), (300, 2), (20, 3)):
        for version in (2, 3, 4) if name == "spz" else (None,):
            splat: Splat = replace(small_splat(count, degree, count), up=(0.0, -1.0, 0.0))
            path = folder / f"{count}_{version}" / f"a.{'splat' if name == SIDE else name}"
            path.parent.mkdir()
            if holds_motion(path):
                splat = in_motion(splat, residuals=bool(count % 2))
            save_splat(path, splat, spz_version=version)
            if name != SIDE:
                side_path(path).unlink(missing_ok=True)


def damaged(originals: Path, seed: int, index: int) -> list[tuple[str, bytes]]:
    """The files of mutation `index`, the splat first; the last of them is damaged."""
    rng = np.random.default_rng((seed, index))
    folders = sorted(originals.iterdir())
    paths = sorted(folders[rng.integers(len(folders))].iterdir())
    files = [(path.name, path.read_bytes()) for path in paths]
    file_name, data = files[-1]
    for _ in range(1 + int(rng.integers(3))):
        data = _inside(rng, data) if rng.random() < 0.5 else _mutated(rng, data)
    files[-1] = (file_name, data)
    return files


def _mutated(rng: np.random.Generator, data: bytes) -> bytes:
    """One change of a kind chosen by chance; half of them in the first 256 bytes, where the counts are."""
    if not data:
        return data
    reach = len(data) if rng.random() < 0.5 else min(len(data), 256)
    at = int(rng.integers(reach))
    changes: list[Callable[[], bytes]] = [
        lambda: data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :],
        lambda: data[:at] + bytes([int(rng.integers(256))]) + data[at + 1 :],
        lambda: data[:at],
        lambda: data[:at] + data[at + int(rng.integers(1, 9)) :],
        lambda: data[:at] + bytes(rng.integers(0, 256, int(rng.integers(1, 9)), np.uint8)) + data[at:],
        lambda: _with_number(rng, data, at, 4),
        lambda: _with_number(rng, data, at, 8),
        lambda: _with_word(rng, data, at),
        lambda: data + data[at:],
    ]
    return changes[int(rng.integers(len(changes)))]()


def _with_number(rng: np.random.Generator, data: bytes, at: int, size: int) -> bytes:
    value = HOSTILE[int(rng.integers(len(HOSTILE)))] & (1 << 8 * size) - 1
    at -= at % 4
    return data[:at] + value.to_bytes(size, "little") + data[at + size :]


def _with_word(rng: np.random.Generator, data: bytes, at: int) -> bytes:
    """A run of digits at or behind `at` replaced, for headers and tables that are text."""
    start = next((i for i in range(at, min(len(data), at + 400)) if data[i : i + 1].isdigit()), None)
    if start is None:
        return data
    end = start
    while end < len(data) and (data[end : end + 1].isdigit() or data[end : end + 1] == b"."):
        end += 1
    return data[:start] + WORDS[int(rng.integers(len(WORDS)))] + data[end:]


def _inside(rng: np.random.Generator, data: bytes) -> bytes:
    """A change inside of a compressed file, which is packed again so that checksums hold; else a plain change."""
    try:
        if data[:2] == b"\x1f\x8b":
            packer = zlib.compressobj(1, zlib.DEFLATED, 31)
            return packer.compress(_mutated(rng, zlib.decompress(data, 31))) + packer.flush()
        if data[:4] == b"NGSP":
            return _inside_streams(rng, data)
        if data[:2] == b"PK":
            return _inside_zip(rng, data)
    except Exception:  # damaged already, in one of the many ways in which libraries can say so
        return _mutated(rng, data)
    return _mutated(rng, data)


def _inside_streams(rng: np.random.Generator, data: bytes) -> bytes:
    streams, table = data[15], struct.unpack_from("<I", data, 16)[0]
    chosen, at = int(rng.integers(streams)), table + 16 * streams
    parts = []
    sizes = [list(struct.unpack_from("<QQ", data, table + 16 * i)) for i in range(streams)]
    for i in range(streams):
        part = data[at : at + sizes[i][0]]
        at += sizes[i][0]
        if i == chosen:
            plain = _mutated(rng, zstandard.ZstdDecompressor().decompress(part, 2**20))
            part = zstandard.ZstdCompressor(level=1, write_content_size=bool(rng.random() < 0.5)).compress(plain)
            sizes[i] = [len(part), len(plain) if rng.random() < 0.5 else sizes[i][1]]
        parts.append(part)
    return b"".join([data[:table], *(struct.pack("<QQ", *size) for size in sizes), *parts])


def _inside_zip(rng: np.random.Generator, data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    chosen = list(entries)[int(rng.integers(len(entries)))]
    entries[chosen] = _mutated(rng, entries[chosen])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content)
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
