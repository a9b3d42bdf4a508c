"""`one_moment`: the still splat of a moment, for files and programs that hold no motion."""

from __future__ import annotations

from .splat import Splat, StaticSplat


def one_moment(splat: Splat, time_s: float | None = None) -> tuple[StaticSplat, tuple[str, ...]]:
    """(the splat at a moment, the first one when None; what is lost, a sentence for the person where it moves)."""
    if splat.time_range_s is None:
        return splat.still(), ()
    first, last = splat.time_range_s
    moment = first if time_s is None else min(max(time_s, first), last)
    note = (
        f"The splat moves from {first:g} s to {last:g} s, and a file of this kind holds one moment: the one at "
        f"{moment:.4g} s."
    )
    return splat.still(moment), (note,)
