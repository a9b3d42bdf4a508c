"""The end of a command: lines for people, one JSON object for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .options import Common


def finish(options: Common, result: Mapping[str, Any], lines: Sequence[str]) -> None:
    """Print `lines` unless --quiet, then with --json the result as the last line of standard output."""
    if not options.quiet:
        print("\n".join(lines))
    if options.json:
        print(json.dumps(result, allow_nan=False), flush=True)
