"""Features and matches on disk, so that estimation that was interrupted goes on where it stopped.

Entries are found by what they were computed from (pixels and settings), so that nothing can be out of date: a changed
photograph has another key. The file is an SQLite database; each entry is raw numbers of a known type, checked against
their size when read, and one that is damaged is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

VERSION = 2  # to be raised when features or matches of the same pixels change
COMMIT_EVERY = 32  # entries; an interruption loses fewer
TABLE = "CREATE TABLE arrays (name BLOB PRIMARY KEY, data BLOB NOT NULL)"


class MatchStore:
    """Arrays by key; without a file nothing is kept."""

    def __init__(self, database: sqlite3.Connection | None) -> None:
        self._database = database
        self._lock = threading.Lock()  # entries come from several threads
        self._unsaved = 0

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path | None) -> Iterator[MatchStore]:
        """The store in a file, which is made if it is not there; saved at the end, also of an interruption."""
        if path is None:
            yield cls(None)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        database = _opened(path)
        try:
            yield cls(database)
        finally:
            database.commit()
            database.close()

    def matches(self, key: tuple[object, ...], compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Index pairs [M, 2] int64."""
        return self.arrays(("matches", *key), lambda: (compute(),), ((np.int64, 2),))[0]

    def arrays(
        self,
        key: tuple[object, ...],
        compute: Callable[[], tuple[np.ndarray, ...]],
        kinds: tuple[tuple[type[np.generic], int], ...],  # type and number of columns of each array [N, columns]
    ) -> tuple[np.ndarray, ...]:
        """The arrays that are kept under a key, computed and kept where there are none."""
        if self._database is None:
            return compute()
        name = hashlib.blake2b(repr((VERSION, *key)).encode(), digest_size=20).digest()
        with self._lock:
            row = self._database.execute("SELECT data FROM arrays WHERE name = ?", (name,)).fetchone()
        kept = None if row is None else _unpacked(row[0], kinds)
        if kept is not None:
            return kept
        found = compute()
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO arrays VALUES (?, ?)", (name, _packed(found, kinds)))
            self._unsaved += 1
            if self._unsaved >= COMMIT_EVERY:
                self._database.commit()
                self._unsaved = 0
        return found


NO_STORE = MatchStore(None)


def _opened(path: Path) -> sqlite3.Connection:
    """The database; what is none, or has another schema than ours, is replaced.

    A run may come from somebody else: views and triggers would compute whatever they say at our first query.
    """
    if path.exists() and not _is_ours(path):
        path.unlink()
    database = sqlite3.connect(path, check_same_thread=False)
    database.execute(TABLE.replace("TABLE", "TABLE IF NOT EXISTS"))
    return database


def _is_ours(path: Path) -> bool:
    """True for a database that holds our table and nothing else, or nothing at all."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        try:
            database.execute("PRAGMA trusted_schema = OFF")
            objects = database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL LIMIT 2").fetchall()
        except sqlite3.DatabaseError:
            return False
    return objects in ([], [(TABLE,)])


def _packed(arrays: tuple[np.ndarray, ...], kinds: tuple[tuple[type[np.generic], int], ...]) -> bytes:
    """Rows, then the arrays one after the other."""
    parts = [np.array([len(a) for a in arrays], "<i8").tobytes()]
    parts += [np.ascontiguousarray(a, dtype).tobytes() for a, (dtype, _) in zip(arrays, kinds, strict=True)]
    return b"".join(parts)


def _unpacked(data: object, kinds: tuple[tuple[type[np.generic], int], ...]) -> tuple[np.ndarray, ...] | None:
    """The arrays; None where the value is no blob, or the size is not theirs."""
    start = 8 * len(kinds)
    if not isinstance(data, bytes) or len(data) < start:
        return None
    rows = np.frombuffer(data[:start], "<i8").tolist()
    sizes = [n * columns * np.dtype(dtype).itemsize for n, (dtype, columns) in zip(rows, kinds, strict=True)]
    if min(rows) < 0 or start + sum(sizes) != len(data):
        return None
    out = []
    for size, (dtype, columns) in zip(sizes, kinds, strict=True):
        out.append(np.frombuffer(data[start : start + size], dtype).reshape(-1, columns).copy())
        start += size
    return tuple(out)
