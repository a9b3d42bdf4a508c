"""Selection of the photographs to train on and of those to hold out."""

from __future__ import annotations

from dataclasses import replace

from ...scene.capture import Capture, evenly_spaced
from ...scene.errors import BadInputError
from ...scene.moments import held_out, is_synchronised, moments, whole_moments
from ...scene.progress import Progress, silent
from .reconstruct_config import ReconstructConfig

HOLD_OUT_EVERY = 8  # the LLFF rule


def select_views(capture: Capture, config: ReconstructConfig, progress: Progress = silent) -> Capture:
    """The photographs to train on and those to hold out; `test` of the result are the latter.

    Those are what `hold_out` says, else with `eval` the split of the data set, else every 8th. Where several cameras
    film the same, whole moments are taken.
    """
    rest, out, notes = _split(capture, config)
    chosen = sorted(rest if config.views is None else _chosen(capture, rest, config.views, config, progress))
    # A split that the data set prescribes is respected even when nothing is measured.
    test = out if config.measures else []
    if not chosen:
        raise BadInputError(f"{capture.source}: all {len(capture)} photographs are held out, none is left to train on.")
    if len(chosen) == 1 and capture.cameras is None and not config.standing_camera:
        raise BadInputError(
            f"{capture.source}: of {len(capture)} photographs one is left to find cameras from; at least two that show "
            "the same things from different places are needed. Ask for more with --views, or hold fewer out."
        )
    kept = sorted([*chosen, *test])
    if config.views is not None and config.views > len(rest):
        notes.append(f"{config.views} training photographs were asked for; all {len(rest)} that there are were taken.")
    elif config.views is not None and len(chosen) != config.views and is_synchronised(capture, rest):
        taken = len(moments(capture, chosen))
        notes.append(
            f"{config.views} training photographs were asked for; {len(chosen)} were taken, those of {taken} whole "
            "moments."
        )
    subset = capture.subset(kept)
    held = set(test)
    return replace(subset, test=tuple(i for i, k in enumerate(kept) if k in held), notes=(*capture.notes, *notes))


def _split(capture: Capture, config: ReconstructConfig) -> tuple[list[int], list[int], list[str]]:
    """Indices that can be trained on, those that are held out, and notes on it."""
    if config.hold_out is not None:
        test = held_out(capture, config.hold_out)
        out = set(test)
        rest = [i for i in range(len(capture)) if i not in out]
        replaced = [f"The data set's own split is not used: --hold-out {config.hold_out} says otherwise."]
        return rest, test, replaced if capture.test else []
    if config.eval or capture.test:
        return *capture.split(HOLD_OUT_EVERY), []
    return list(range(len(capture))), [], []


def _chosen(capture: Capture, among: list[int], count: int, config: ReconstructConfig, progress: Progress) -> list[int]:
    if is_synchronised(capture, among):
        if config.choose == "useful":
            raise BadInputError(
                f"--choose useful cannot be used: several cameras film the same in {capture.source}, and whole moments "
                "are taken, evenly spaced in time. Leave it out."
            )
        return whole_moments(capture, among, count)
    if config.choose == "useful":
        from ..poses import PosesConfig, most_useful

        return most_useful(capture, count, among, PosesConfig(seed=config.seed, device=config.device), progress)
    return evenly_spaced(sorted(among, key=lambda i: capture.frames[i].name), count)
