"""Mattes: how much of each pixel shows the object, by the photographs' transparency or their masks."""

from __future__ import annotations

from torch import Tensor

from ....scene.errors import BadInputError
from ...optimise.dataset import View
from ..method_contract import Inputs

NAMED = 3  # frames that a sentence names


def matte(view: View) -> Tensor | None:
    """float32 [H, W] in [0, 1]; None where a photograph is neither transparent nor masked."""
    if view.pixels.shape[-1] == 4:
        return view.pixels[..., 3].float() / 255
    return None if view.mask is None else view.mask.float()


def require_mattes(inputs: Inputs) -> None:
    """Raise BadInputError where a photograph has no matte, or a moment's are all empty."""
    dataset, source = inputs.dataset, inputs.capture.source
    shown: dict[float | None, list[str]] = {}  # by moment, the names of frames without it, '' for one that has it
    for i in dataset.train:
        found = matte(dataset.views[i])
        if found is None:
            raise BadInputError(
                f"dreammesh4d moves one object that is cut out, and {dataset.names[i]} of {source} is neither "
                "transparent nor masked: give RGBA pictures, or a folder masks/ beside the photographs."
            )
        names = shown.setdefault(dataset.time_s(i), [])
        names.append("" if bool((found > 0.5).any()) else dataset.names[i])
    empty = [name for names in shown.values() if all(names) for name in names]
    if empty:
        more = f" and {len(empty) - NAMED} more" if len(empty) > NAMED else ""
        raise BadInputError(
            f"The mattes of {', '.join(empty[:NAMED])}{more} are empty, so nothing says where the object is then: mend "
            "them, or leave these frames out."
        )
