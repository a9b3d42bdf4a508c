"""The folder of real photographs, if they are here at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared_data(name: str) -> Path:
    """The folder `name` of the test data; skips the test with a reason where it is absent."""
    root = Path(os.environ.get("FEWVIEW_SHARED_DATA", _BESIDE_THE_CHECKOUT))
    folder = root / name
    if not folder.is_dir():
        pytest.skip(f"real photographs '{name}' are not here (set FEWVIEW_SHARED_DATA to the folder that holds them)")
    return folder
