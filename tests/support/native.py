"""Fixtures that choose how the native kernels run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fewview import _native


@pytest.fixture(params=_native.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every instruction set that this machine can run, one after another."""
    before = _native.isa()
    _native.set_isa(request.param)
    yield request.param
    _native.set_isa(before)


@pytest.fixture
def keep_threads() -> Iterator[None]:
    """Puts the number of native threads back after the test."""
    before = _native.num_threads()
    yield
    _native.set_num_threads(before)
