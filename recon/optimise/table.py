"""`Table`: rows that come and go together while they are optimised, such as Gaussians, nodes, vertices or pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ...render.sh_factors import keep_factors

_PARTS = ("value", "exp_avg", "exp_avg_sq", "updates", "row_scale")


class Column:
    """One tensor that is optimised, and the moments of Adam that belong to it.

    Row edits replace `tensor`: always read it from here. A scalar [] has no rows and stays out of row edits.
    """

    def __init__(
        self,
        tensor: Tensor,  # [N, ...] or [] float32
        row_scale: Tensor | None = None,  # [N] float32, multiplies each row's learning rate, e.g. by its confidence
        drawn_as_sh: bool = False,  # [N, K, 3] coefficients that are drawn as they are: their gradient comes as factors
    ) -> None:
        # A copy: learning in place must not reach what the values came from.
        self.tensor = tensor.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        self.row_scale = row_scale
        self.drawn_as_sh = drawn_as_sh
        if drawn_as_sh:
            keep_factors(self.tensor)
        self.exp_avg = torch.zeros_like(self.tensor, requires_grad=False)
        self.exp_avg_sq = torch.zeros_like(self.tensor, requires_grad=False)
        self.updates = 0  # of Adam so far; one count serves all rows, so a late row starts with zero moments (3DGS)

    def _set(self, value: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor) -> None:
        self.tensor = value.requires_grad_(self.tensor.requires_grad)
        self.exp_avg, self.exp_avg_sq = exp_avg, exp_avg_sq
        if self.drawn_as_sh:
            keep_factors(self.tensor)

    def forget(self, rows: Tensor | None = None) -> None:
        """Zero the moments of `rows`, of all when None."""
        for moments in (self.exp_avg, self.exp_avg_sq):
            if rows is None:
                moments.zero_()
            else:
                moments[rows] = 0

    def state(self) -> dict[str, Tensor]:
        """Every tensor that continuing needs, by the part that it is."""
        parts = {"value": self.tensor.detach(), "exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}
        parts["updates"] = torch.tensor([self.updates])
        return parts if self.row_scale is None else parts | {"row_scale": self.row_scale}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave. Raises ValueError when the tensors do not belong together."""
        value, row_scale = state.get("value"), state.get("row_scale")
        moments = state.get("exp_avg"), state.get("exp_avg_sq")
        if value is None or "updates" not in state or any(m is None or m.shape != value.shape for m in moments):
            raise ValueError("the values and moments are missing or of unequal shapes")
        if value.ndim != self.tensor.ndim or value.shape[2:] != self.tensor.shape[2:]:
            raise ValueError(f"it has shape {tuple(value.shape)}, expected one like {tuple(self.tensor.shape)}")
        if (row_scale is None) != (self.row_scale is None) or (
            row_scale is not None and row_scale.shape != value.shape[:1]
        ):
            raise ValueError(f"its row factors do not fit its {value.shape[:1]} rows")
        device = self.tensor.device
        self._set(value.to(device), *(m.to(device) for m in moments if m is not None))
        self.updates = int(state["updates"])
        if row_scale is not None:
            self.row_scale = row_scale.to(device)


class Table(Mapping[str, Tensor]):
    """Named columns with the same number of rows, or with none (scalars)."""

    def __init__(self, columns: Mapping[str, Tensor | Column]) -> None:
        """Raises ValueError where columns differ in their rows."""
        self.columns = {name: c if isinstance(c, Column) else Column(c) for name, c in columns.items()}
        self._check_rows()

    def __getitem__(self, name: str) -> Tensor:
        """The tensor as it is now, a leaf."""
        return self.columns[name].tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        """Number of columns, as of every mapping; `rows` is the number of rows."""
        return len(self.columns)

    @property
    def rows(self) -> int:
        """Number of rows, 0 in a table of scalars."""
        return next((c.tensor.shape[0] for c in self._with_rows().values()), 0)

    @torch.no_grad()
    def edit_rows(self, keep: Tensor, new: Mapping[str, Tensor], parents: Tensor) -> None:
        """Keep the rows `keep` [M] of every column, then append `new[name]` [A, ...].

        A column that `new` does not name appends copies of the rows `parents` [A]; so do the row factors. Moments of
        new rows are zero.
        """
        for name, column in self._with_rows().items():
            old = column.tensor.detach()
            added = new[name] if name in new else old[parents]
            moments = (torch.cat([m[keep], m.new_zeros(added.shape)]) for m in (column.exp_avg, column.exp_avg_sq))
            column._set(torch.cat([old[keep], added]), *moments)
            if column.row_scale is not None:
                column.row_scale = torch.cat([column.row_scale[keep], column.row_scale[parents]])

    @torch.no_grad()
    def overwrite_rows(self, name: str, rows: Tensor, values: Tensor) -> None:
        """Set rows [R] of one column to values [R, ...]."""
        self[name].detach()[rows] = values

    @torch.no_grad()
    def copy_rows(self, source: Tensor, target: Tensor) -> None:
        """Make rows `target` [R] of every column, and their row factors, copies of rows `source` [R]."""
        for column in self._with_rows().values():
            values = column.tensor.detach()
            values[target] = values[source]
            if column.row_scale is not None:
                column.row_scale[target] = column.row_scale[source]

    @torch.no_grad()
    def forget(self, rows: Tensor | None = None, name: str | None = None) -> None:
        """Zero the moments of `rows` (all when None) of one column (all when None)."""
        for column in self._with_rows().values() if name is None else [self.columns[name]]:
            column.forget(rows)

    @torch.no_grad()
    def widen(self, name: str, size: int) -> None:
        """Grow the second dimension of a column to `size`; the new values and moments are zero."""
        column = self.columns[name]
        value, *moments = (_widened(t, size) for t in (column.tensor.detach(), column.exp_avg, column.exp_avg_sq))
        column._set(value, *moments)

    def state(self) -> dict[str, Tensor]:
        """Every tensor that continuing needs, as NAME/PART."""
        return {f"{name}/{part}": t for name, column in self.columns.items() for part, t in column.state().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave, with as many rows as it has.

        Raises ValueError when it does not fit the columns, or its columns do not fit each other.
        """
        named = {key.rpartition("/")[0] for key in state}
        if named != set(self.columns):
            raise ValueError(f"it has the columns {sorted(named)}, expected {sorted(self.columns)}")
        for name, column in self.columns.items():
            try:
                column.load_state({part: state[f"{name}/{part}"] for part in _PARTS if f"{name}/{part}" in state})
            except ValueError as error:
                raise ValueError(f"'{name}': {error}") from error
        self._check_rows()

    def _with_rows(self) -> dict[str, Column]:
        return {name: column for name, column in self.columns.items() if column.tensor.ndim > 0}

    def _check_rows(self) -> None:
        counts = {name: column.tensor.shape[0] for name, column in self._with_rows().items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"the columns of a table have equal numbers of rows, found {counts}")


def _widened(tensor: Tensor, size: int) -> Tensor:
    """[N, K, ...] -> [N, size, ...] with zeros behind."""
    wide = tensor.new_zeros(tensor.shape[0], size, *tensor.shape[2:])
    wide[:, : tensor.shape[1]] = tensor
    return wide
