"""Files that driving data names in its folder."""

from __future__ import annotations

from pathlib import Path

from ..readers.safe_paths import inside

# Large, so people keep them on another disk and link them into the data set.
LINKED = ("samples", "sweeps")
_ADVICE = f"put the file into it, or link the whole folder: only {' and '.join(LINKED)} themselves may be links"


def sensor_file(root: Path, named: str, where: str) -> Path:
    """The sensor file that a data set in `root` names, which need not exist.

    `samples` and `sweeps` may be symbolic links of the person's own. Raises BadInputError for whatever else leads out
    of the data set, or out of such a folder.
    """
    first, slash, rest = named.replace("\\", "/").partition("/")
    if slash and first in LINKED:
        return inside(root / first, rest, where, advice=_ADVICE)
    return inside(root, named, where, advice=_ADVICE)
