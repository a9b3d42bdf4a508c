"""`cli`: the start of a trainer that gsplat would spread over GPUs, by gsplat's name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ..scene.errors import BadInputError


def cli(fn: Callable[[int, int, int, Any], Any], args: Any, verbose: bool = False) -> bool:
    """Calls `fn(local_rank=0, world_rank=0, world_size=1, args)` in this process; True when it is through.

    gsplat 1.5.3 starts a process for each GPU and insists on one. Raises BadInputError where MPI started several.
    """
    if int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        raise BadInputError("MPI started several processes; fewview.gsplat trains in one: start the script without it.")
    fn(0, 0, 1, args)
    return True
