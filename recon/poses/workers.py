"""Many small networks at once: one thread an item instead of many threads in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from ...scene.progress import Progress, silent

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    stage: str, function: Callable[[Item], Result], items: Sequence[Item], progress: Progress = silent
) -> list[Result]:
    """function(item) of every item in order, computed by as many threads as torch would use in one operation.

    An item's arithmetic stays in one thread: no waiting for each other at the end of every small operation, which
    on a busy machine costs several times the work itself, and the same bits on any number of cores.
    """
    n_threads = torch.get_num_threads()
    results = []
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                for done, result in enumerate(pool.map(function, items)):
                    progress(stage, done, len(items))
                    results.append(result)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(n_threads)
    progress(stage, len(items), len(items))
    return results
