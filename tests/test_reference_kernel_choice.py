"""The choice of kernels: by measured times that a file keeps, whatever state that file is in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fewview import _native

several = pytest.mark.skipif(len(_native.isas()) < 3, reason="this processor has one instruction set worth choosing")
ASK = "from fewview import _native as n; print(n.isa(), n.convolution_isa(), n.prefers_bf16(), len(n.kernel_times()))"


def ask(home: Path, **environment: str) -> list[str]:
    """The choice of a new process with its cache in `home`: rendering, convolution, bfloat16, number of times."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("FEWVIEW_")}
    variables |= {"XDG_CACHE_HOME": str(home), **environment}
    done = subprocess.run([sys.executable, "-c", ASK], env=variables, capture_output=True, text=True, check=True)
    return done.stdout.split()


def written(home: Path) -> Path:
    return home / "fewview" / "kernels.txt"


def with_times(text: str, **milliseconds: float) -> str:
    """The file with other times: `rendering_avx2=1.0`."""
    lines = text.splitlines()
    for key, value in milliseconds.items():
        family, path = key.split("_")
        kept = [line for line in lines if not line.startswith(f"{family} {path} ")]
        lines = [*kept, f"{family} {path} {value}"]
    return "\n".join(lines) + "\n"


@several
def test_the_first_process_measures_and_the_next_ones_read(tmp_path: Path) -> None:
    first = ask(tmp_path)
    assert first[0] in _native.isas()[:-1]
    assert int(first[3]) >= 4
    text = written(tmp_path).read_text()
    assert ask(tmp_path) == first
    assert written(tmp_path).read_text() == text


@several
@pytest.mark.parametrize(
    ("wide_ms", "narrow_ms", "rendering", "convolution"),
    [(1.0, 2.0, "wide", "narrow"), (2.0, 1.0, "narrow", "wide"), (1.0, 0.97, "wide", "wide")],
    ids=["wide is faster", "narrow is faster", "about the same"],
)
def test_each_family_takes_its_faster_path(
    tmp_path: Path, wide_ms: float, narrow_ms: float, rendering: str, convolution: str
) -> None:
    """The times of convolution are those of rendering exchanged, so that the two families disagree."""
    ask(tmp_path)
    wide, narrow = _native.isas()[:2]
    path = written(tmp_path)
    times = {f"rendering_{wide}": wide_ms, f"rendering_{narrow}": narrow_ms}
    opposite = {f"convolution_{wide}": narrow_ms, f"convolution_{narrow}": wide_ms}
    path.write_text(with_times(path.read_text(), **times, **opposite))
    names = {"wide": wide, "narrow": narrow}
    assert ask(tmp_path)[:2] == [names[rendering], names[convolution]]


@pytest.mark.skipif(not _native.has_bf16(), reason="this processor has no products of bfloat16")
@pytest.mark.parametrize(("bfloat16_ms", "taken"), [(0.5, "True"), (2.0, "False")])
def test_products_of_bfloat16_only_where_they_are_faster(tmp_path: Path, bfloat16_ms: float, taken: str) -> None:
    ask(tmp_path)
    path = written(tmp_path)
    times = {"convolution_avx512": 1.0, "convolution_avx2": 1.5, "convolution_bfloat16": bfloat16_ms}
    path.write_text(with_times(path.read_text(), **times))
    assert ask(tmp_path)[1:3] == ["avx512", taken]


@several
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("fewview", "otherview"),
        lambda text: text.replace(" on ", " on another "),
        lambda text: text + "rendering avx512\n",
        lambda text: text + "x" * 5000,
        lambda text: "\0" * 300,
    ],
    ids=["empty", "half", "other program", "other processor", "no number", "long", "zeros"],
)
def test_a_file_that_does_not_fit_is_measured_again(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    before = ask(tmp_path)
    path = written(tmp_path)
    path.write_text(damage(path.read_text()))
    damaged = path.read_text()
    assert int(ask(tmp_path)[3]) == int(before[3])
    assert path.read_text() != damaged
    assert [file.name for file in path.parent.iterdir()] == ["kernels.txt"]


@several
def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "fewview").write_text("a file where the folder should be")
    assert ask(tmp_path)[0] in _native.isas()


def test_the_environment_goes_before_the_measurement(tmp_path: Path) -> None:
    name = _native.isas()[-1]
    assert ask(tmp_path, FEWVIEW_ISA=name) == [name, name, "False", "0"]
    assert not written(tmp_path).exists()
