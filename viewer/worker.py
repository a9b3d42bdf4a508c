"""`Worker`: the page's slow work, on one thread, in the order in which people wait for it."""

from __future__ import annotations

import atexit
import itertools
import queue
import threading
from collections.abc import Callable

Job = Callable[[], None]

SOON, IDLE = 0, 1  # somebody waits for it; whenever there is nothing else to do
_LAST = 2


class Worker:
    """Runs jobs one after the other until `close`; a job that fails never ends the thread."""

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        self._jobs: queue.PriorityQueue[tuple[int, int, str | None, Job | None]] = queue.PriorityQueue()
        self._number = itertools.count()
        self._newest: dict[str, int] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def closed(self) -> bool:
        """True once the end has come; long jobs look at it now and then."""
        return self._closed.is_set()

    def submit(self, job: Job, *, when: int = SOON, replaces: str | None = None) -> None:
        """Run `job` later; one that waits under the same name `replaces` is dropped."""
        number = next(self._number)
        if replaces is not None:
            self._newest[replaces] = number
        self._jobs.put((when, number, replaces, job))

    def close(self) -> None:
        """Ends after the present job. A thread that is inside native code at the interpreter's end would abort it."""
        atexit.unregister(self.close)
        self._closed.set()
        self._jobs.put((_LAST, next(self._number), None, None))
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _work(self) -> None:
        while True:
            _, number, name, job = self._jobs.get()
            if job is None or self._closed.is_set():
                return
            if name is not None and self._newest.get(name) != number:
                continue
            try:
                job()
            except Exception as error:  # one picture that fails must not end the page
                self._on_error(error)
