"""Selection of the photographs to train on and of those to hold out."""

from __future__ import annotations

from dataclasses import replace

from ...scene.capture import Capture, evenly_spaced
from ...scene.errors import BadInputError
from ...scene.progress import Progress, silent
from .reconstruct_config import ReconstructConfig

HOLD_OUT_EVERY = 8  # the LLFF rule


def select_views(capture: Capture, config: ReconstructConfig, progress: Progress = silent) -> Capture:
    """The photographs to train on and, with `eval`, those to hold out; `test` of the result are the latter."""
    rest, held_out = capture.split(HOLD_OUT_EVERY) if config.eval or capture.test else (list(range(len(capture))), [])
    chosen = sorted(rest if config.views is None else _chosen(capture, rest, config.views, config, progress))
    # A split that the data set prescribes is respected even when nothing is measured.
    test = held_out if config.eval else []
    if not chosen:
        raise BadInputError(f"{capture.source}: all {len(capture)} photographs are held out, none is left to train on.")
    kept = sorted([*chosen, *test])
    notes = capture.notes
    if config.views is not None and config.views > len(rest):
        notes = (
            *notes,
            f"{config.views} training photographs were asked for; all {len(rest)} that there are were taken.",
        )
    subset = capture.subset(kept)
    held = set(test)
    return replace(subset, test=tuple(i for i, k in enumerate(kept) if k in held), notes=notes)


def _chosen(capture: Capture, among: list[int], count: int, config: ReconstructConfig, progress: Progress) -> list[int]:
    if config.choose == "useful":
        from ..poses import PosesConfig, most_useful

        return most_useful(capture, count, among, PosesConfig(seed=config.seed), progress)
    return evenly_spaced(sorted(among, key=lambda i: capture.frames[i].name), count)
