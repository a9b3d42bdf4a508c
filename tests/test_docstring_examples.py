"""The examples in docstrings of `scene` and `render`, run as they stand."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import fewview
import pytest

ROOT = Path(fewview.__file__).parent
MODULES = [
    path.relative_to(ROOT).with_suffix("").as_posix().removesuffix("/__init__").replace("/", ".")
    for room in ("scene", "render")
    for path in sorted((ROOT / room).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"fewview.{name}"))
    assert results.attempted
    assert not results.failed
