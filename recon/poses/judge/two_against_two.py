"""Two against two: photographs of one side of a thing that agree in pairs, and show different things in one place.

One photograph alone may show a passer-by, and a surface may not be where it was taken to be. Where two photographs show
a mark and two others from the same side do not, the sides are two that look alike but for it. It is one place that
each has against both others, and they against it: leaves and fences deny something to many, here this and there that,
and what stands before a wall hides another part of it from each side. And two that deny each other are no farther apart
than two that agree: what stands out from where the surface was taken to be looks other from far aside, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..verification import Pair
from .denied_surface import DeniedSurface

AGREEING = 0.15  # denied share of a place up to which two photographs show the same
# More than the usual pair denies. Right models have up to 0.11 (the fox; leaves and relief deny much everywhere), wrong
# ones of symmetric things 0.2 and more where the mark is seen twice from the wrong side.
DISPUTED = 0.2
# Of the views of a model, those that take part in disputes where sides of a thing were taken for one another: of twelve
# models of nine and fewer look-alikes 0.44 to 1. Among 50 photographs of the fox, all right, two against two are found
# by chance, on one processor and not on another.
SIDES_SHARE = 0.2


@dataclass(frozen=True)
class Dispute:
    """Two views of one side of a thing against two others of it."""

    ones: Pair
    others: Pair
    share: float  # of one place, that at least three of the four pairs across deny each other


def disputes(denied: DeniedSurface) -> list[Dispute]:
    """All disputes over a share of a place that is DISPUTED or more, the largest share first.

    Of the four pairs across one need not have been looked at, or may deny less.
    """
    least = DISPUTED + (float(np.median(list(denied.shares.values()))) if denied.shares else 0.0)
    against: dict[int, dict[int, float]] = {}
    alike: dict[int, set[int]] = {}
    for (a, b), share in denied.shares.items():
        for here, there in ((a, b), (b, a)):
            if share >= least:
                against.setdefault(here, {})[there] = share
            elif share <= AGREEING:
                alike.setdefault(here, set()).add(there)
    found = {
        _between(
            (min(a, with_a), max(a, with_a)),
            (min(b, with_b), max(b, with_b)),
            min(
                *(across, against[b][with_a], against[a][with_b]),
                *(denied.share_in_one_place(a, (b, with_b), with_a), denied.share_in_one_place(b, (a, with_a), with_b)),
            ),
        )
        for a, shares in against.items()
        for b, across in shares.items()
        for with_a in against[b].keys() & alike.get(a, set())
        for with_b in shares.keys() & alike.get(b, set())
    }
    disputed = [dispute for dispute in found if dispute.share >= least and not _may_be_relief(dispute, denied)]
    return sorted(disputed, key=lambda dispute: (-dispute.share, dispute.ones, dispute.others))


def _between(side: Pair, other_side: Pair, share: float) -> Dispute:
    """The same dispute, from whichever side it is seen."""
    return Dispute(min(side, other_side), max(side, other_side), share)


def disputed_views(denied: DeniedSurface, views: Sequence[int]) -> list[int]:
    """Views of a model that disputes leave open: all where enough of them take part, else those that do."""
    parties = sorted({view for dispute in disputes(denied) for view in (*dispute.ones, *dispute.others)})
    return list(views) if len(parties) >= SIDES_SHARE * len(views) else parties


def _may_be_relief(dispute: Dispute, denied: DeniedSurface) -> bool:
    """Answer whether the views on either side are nearer each other than to any that deny them."""
    within = min(denied.apart(*dispute.ones), denied.apart(*dispute.others))
    across = [(min(a, b), max(a, b)) for a in dispute.ones for b in dispute.others]
    return min(denied.apart(*pair) for pair in across if denied.shares.get(pair, 0.0) >= dispute.share) > within


def notes_on_dispute(names: Sequence[str], denied: DeniedSurface) -> list[str]:
    """A sentence about the first of `disputes`, if there is one."""
    dispute = next(iter(disputes(denied)), None)
    if dispute is None:
        return []
    ones, others = (" and ".join(names[view] for view in pair) for pair in (dispute.ones, dispute.others))
    return [
        f"{ones} show something else in one place than {others}, though their cameras were put on the same side of it: "
        "several sides of a thing that look alike may have been taken for one. Photographs from in between would tell "
        "them apart."
    ]
