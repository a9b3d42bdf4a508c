"""Many small pieces of work: one thread an item instead of many threads in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from ...scene.progress import Progress, silent
from ...scene.torch_threads import torch_threads

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    stage: str,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    progress: Progress = silent,
    before: int = 0,
    total: int = 0,
) -> list[Result]:
    """function(item) of every item in order, computed by as many threads as torch would use in one operation.

    Where a stage goes through several such lists, `before` items of `total` are told as done beforehand.

    An item's arithmetic stays in one thread: no waiting for each other at the end of every small operation, which
    on a busy machine costs several times the work itself, and the same bits on any number of cores.
    """
    n_threads = torch.get_num_threads()
    total = max(total, before + len(items))
    results = []
    with (
        torch_threads(1),
        ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        try:
            for done, result in enumerate(pool.map(function, items)):
                progress(stage, before + done, total)
                results.append(result)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    progress(stage, before + len(items), total)
    return results
