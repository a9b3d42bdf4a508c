"""pycolmap without the signal handlers that it installs: they turn a polite `kill` into a crash report."""

from __future__ import annotations

import contextlib
import signal

_before = signal.getsignal(signal.SIGTERM)
import pycolmap as pycolmap  # noqa: E402

if _before is not None:
    with contextlib.suppress(ValueError):  # only the main thread may set them, and only there are they heard
        signal.signal(signal.SIGTERM, _before)
