"""The lock on a run's folder: two programs that train in it at once would mix their checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import IO

from .errors import BadInputError, FewviewError
from .run import Run


@contextlib.contextmanager
def locked(run: Run) -> Iterator[None]:
    """Holds the run for this process; the system lets it go when the process ends, however that happens.

    Raises BadInputError where another process holds it.
    """
    try:
        # The file stays: who removed it could take it from under another who is about to lock it.
        file = run.lock_path.open("a+b")
    except OSError as error:
        raise FewviewError(f"{run.lock_path} could not be written: {error.strerror or error}.") from error
    with file:
        if not _lock(file):
            raise BadInputError(
                f"Another Fewview is at work in {run.path}; wait until it has ended, or stop it and continue with "
                "--resume."
            )
        yield


def _lock(file: IO[bytes]) -> bool:
    """True where the file is this process's now; false where another has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network's file system without locks: the run is used without
        return True
    return True
