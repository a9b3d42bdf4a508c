"""One line of the table that `gpu_check.py` prints, and the comparisons that its checks share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Row:
    """A check, what it found, what was expected, and the verdict."""

    check: str
    found: str
    expected: str
    passed: bool

    def line(self, system: str) -> str:
        """The row in Markdown."""
        return f"| {system} | {self.check} | {self.found} | {self.expected} | {'ok' if self.passed else 'FAILED'} |"


def relative(a: Tensor, b: Tensor) -> float:
    """The L2 norm of the difference over that of `b`; on the CPU, in float64."""
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


def compared(check: str, a: Mapping[str, Tensor], b: Mapping[str, Tensor], at_most: float) -> Row:
    """The largest relative difference among tensors of equal names, and the name that has it."""
    differences = {name: relative(a[name], b[name]) for name in b}
    worst = max(differences, key=lambda name: differences[name])
    return Row(check, f"{differences[worst]:.1e} ({worst})", f"<= {at_most:.0e}", differences[worst] <= at_most)
