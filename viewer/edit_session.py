"""`Session`: the state of editing one splat on the page, without any control or drawing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..scene.edit import (
    Editor,
    FloaterLimits,
    combined,
    edited_splat,
    floaters,
    pick,
    save_edited,
    save_edited_run,
    scaled_to_length,
)
from ..scene.edit.floaters import neighbour_distance
from ..scene.edit.saving import save_bare_run
from ..scene.edit.selection import Mode
from ..scene.errors import BadInputError
from ..scene.formats import has_splat_ending, holds_motion, splat_bytes
from ..scene.gaussians import Gaussians
from ..scene.geometry import Similarity
from ..scene.one_moment import one_moment
from ..scene.run import Run
from ..scene.splat import Splat

TINT = torch.tensor([1.0, 0.45, 0.0])  # of what is selected
TINT_SHARE = 0.75


class Session:
    """A splat, what of it is selected, and what was done to it.

    Everything is in the world frame that the splat came in: the page goes on showing that one, beside its cameras and
    photographs, and a new origin, up axis or unit is only a similarity until the splat is saved. Of a splat that moves
    one moment is looked at, selected in and picked on; what is done to it holds at all moments.
    """

    def __init__(
        self,
        splat: Splat,
        colors: Callable[[Gaussians], Tensor],  # colours [N, 3] of Gaussians, as the page draws them
        *,
        splat_path: Path | None = None,  # the file that the splat is in; new ones are saved beside it
        run: Run | None = None,
    ) -> None:
        self._splat, self._splat_path, self._run = splat, splat_path, run
        self._colors_of = colors
        self._colors: Tensor | None = None  # worked out when something is selected for the first time
        self.editor = Editor(splat.at())
        self._time_s: float | None = None
        self._now = self.editor.original  # at that moment
        self.selected = torch.zeros(len(splat), dtype=torch.bool)  # [N]; only of those that are left
        self._distance: Tensor | None = None  # [N] of `neighbour_distance` among those that are left
        self._metric_scale: float | None = None  # of the similarity at which a unit is a metre

    # -- what is there ----------------------------------------------------------------------------------------------

    def look_at(self, time_s: float | None) -> None:
        """Select and pick at another moment of a splat that moves, the first one when None."""
        if time_s != self._time_s and self._splat.time_range_s is not None:
            self._now = self._splat.at(time_s).detach().to("cpu")
            self._distance = None
        self._time_s = time_s

    @property
    def means(self) -> Tensor:
        """[N, 3] of all at the moment that is looked at, also of what is deleted."""
        return self._now.means

    def left(self) -> Gaussians:
        """Gaussians that are left, at the moment that is looked at, in the frame that the splat came in."""
        alive = self.editor.alive
        return self._now if bool(alive.all()) else self._now[alive]

    def splat_left(self) -> Splat:
        """The splat of what is left, at all moments, in the frame that it came in."""
        alive = self.editor.alive
        return self._splat if bool(alive.all()) else self._splat.rows(alive)

    def tint(self) -> Tensor:
        """Colours [M, 3] of what is left, with the selection to be seen."""
        if self._colors is None:
            self._colors = self._colors_of(self.editor.original)
        alive = self.editor.alive
        colors, selected = self._colors[alive], self.selected[alive]
        return torch.where(selected[:, None], colors + TINT_SHARE * (TINT - colors), colors)

    @property
    def selected_count(self) -> int:
        return int(self.selected.sum())

    @property
    def metric(self) -> bool:
        """True when a unit of the new frame is known to be a metre."""
        return self._metric_scale is not None and float(self.editor.similarity.scale) == self._metric_scale

    def facts(self) -> str:
        """One line for people."""
        n, left = len(self.editor.original), self.editor.count
        told = [f"{left:,} Gaussians" if left == n else f"{left:,} of {n:,} Gaussians left"]
        told.append(f"{self.selected_count:,} selected")
        if self.metric:
            told.append("a unit is a metre")
        if (moments := self._splat.time_range_s) is not None:
            shown = moments[0] if self._time_s is None else min(max(self._time_s, moments[0]), moments[1])
            told.append(f"selected at {shown:.4g} s, edited at all moments")
        return " · ".join(told)

    # -- selecting --------------------------------------------------------------------------------------------------

    def select(self, mask: Tensor, mode: Mode = "replace") -> int:
        """Take a mask [N] of all into the selection; returns how many are selected then."""
        self.selected = combined(self.selected, mask & self.editor.alive, mode)
        return self.selected_count

    def invert(self) -> None:
        self.selected = self.editor.alive & ~self.selected

    def floaters(self, limits: FloaterLimits) -> Tensor:
        """Mask [N] of what is left and beyond any of the limits."""
        alive = self.editor.alive
        distance = None
        if limits.max_isolation is not None:
            if self._distance is None:
                self._distance = torch.zeros(len(alive))
                self._distance[alive] = neighbour_distance(self.means[alive])
            distance = self._distance[alive]
        found = floaters(self.left(), limits, distance)
        mask = torch.zeros(len(alive), dtype=torch.bool)
        if found:
            mask[alive] = torch.stack(list(found.values())).any(0)
        return mask

    def pick(self, origin: Tensor, direction: Tensor) -> Tensor | None:
        """The point [3] of the surface that a ray in the world meets, None where it meets nothing."""
        found = pick(self.left(), origin, direction)
        return None if found is None else found.point

    # -- editing ----------------------------------------------------------------------------------------------------

    def delete(self) -> int:
        return self._remove(self.selected, f"Delete {self.selected_count:,}")

    def keep(self) -> int:
        """Delete all but the selection."""
        if not bool(self.selected.any()):
            raise BadInputError("Nothing is selected, so nothing would be left; select what to keep first.")
        return self._remove(self.editor.alive & ~self.selected, f"Keep {self.selected_count:,}")

    def _remove(self, mask: Tensor, name: str) -> int:
        count = self.editor.delete(mask, name)
        self._after()
        return count

    def undo(self) -> bool:
        done = self.editor.undo()
        self._after()
        return done

    def redo(self) -> bool:
        done = self.editor.redo()
        self._after()
        return done

    def move(self, new_from_current: Similarity, name: str) -> None:
        self.editor.move(new_from_current, name)

    def scale_to(self, a: Tensor, b: Tensor, metres: float) -> None:
        """Make the distance of two world points [3] `metres`."""
        new = self.editor.similarity
        self.editor.move(scaled_to_length(new(a.double()), new(b.double()), metres), "Scale")
        self._metric_scale = float(self.editor.similarity.scale)

    def _after(self) -> None:
        self.selected = self.selected & self.editor.alive
        self._distance = None

    # -- saving -----------------------------------------------------------------------------------------------------

    def of(self, splat: Splat) -> Session:
        """A session on a splat that was made of this one, in the same new frame, to be saved beside the same file."""
        other = Session(splat, self._colors_of, splat_path=self._splat_path, run=self._run)
        other.move(self.editor.similarity, "Frame")
        other._metric_scale = self._metric_scale
        return other

    def splat(self) -> Splat:
        """The splat that would be saved now."""
        return edited_splat(self._splat, self.editor)

    def lost_in_a_file(self) -> tuple[str, ...]:
        """Sentences on what a splat file does not keep: it holds only the moment that is looked at."""
        return one_moment(self._splat, self._time_s)[1]

    @property
    def can_save(self) -> bool:
        """True when there is a place on disk for the new splat: beside the old one."""
        return self._splat_path is not None

    def save(self, name: str) -> tuple[Path, tuple[str, ...]]:
        """Save as new, beside the old splat; a name without an ending makes a new run beside the old run or file.

        Returns where, and what the format could not keep. Raises BadInputError for a name that is taken or no plain
        name of a file.
        """
        _check_name(name)
        source, run = self._splat_path, self._run
        if source is None:
            raise BadInputError("This splat is in no file, so there is no folder beside it; use the download.")
        if Path(name).suffix == "":
            target = (source if run is None else run.path.resolve()).parent / name
            if run is not None and run.cameras_path.is_file():
                save_edited_run(run, target, self.splat(), self.editor.similarity, self.metric)
            else:
                save_bare_run(run or source, target, self.splat())
            return target, ()
        target = source.parent / name
        if target.exists():
            raise BadInputError(f"{name} exists already and stays as it is; choose another name.")
        return target, save_edited(run or source, target, self.splat(), self._time_s)

    def to_bytes(self, name: str) -> bytes:
        """The new splat as a file with this name would hold it."""
        _check_name(name)
        splat = self.splat()
        return splat_bytes(name, splat if holds_motion(name) else one_moment(splat, self._time_s)[0])[0]

    def new_name(self) -> str:
        """A name that is not taken yet, in the old splat's format."""
        source = self._splat_path
        if source is None:
            return "edited.ply"
        ending = next((s for s in (".compressed.ply", source.suffix) if source.name.endswith(s)), ".ply")
        stem = "edited" if self._run is not None else f"{source.name.removesuffix(ending)}_edited"
        if source.name == "meta.json":  # a second scene of loose images would write over the first
            stem, ending = "edited", ".sog"
        taken = {p.name for p in source.parent.iterdir()}
        names = [f"{stem}{ending}", *(f"{stem}_{i}{ending}" for i in range(2, len(taken) + 3))]
        return next(name for name in names if name not in taken)


def _check_name(name: str) -> None:
    """People on the page name a file, never a folder elsewhere on this computer."""
    if not name or name.startswith(".") or Path(name).name != name or "\\" in name or not name.isprintable():
        raise BadInputError(f'"{name[:60]}" is no plain name of a file, such as edited.ply.')
    if Path(name).suffix and not has_splat_ending(name):
        raise BadInputError(f"{name} does not end like a splat file, such as edited.ply.")
