"""`Layer`: nodes of the page that are shown and hidden together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any


class Layer:
    """Named handles of viser. What is seen is what is wanted, of the layer and of the input that it belongs to."""

    def __init__(self, name: str, handles: Sequence[Any], wanted: bool = True) -> None:
        self.name = name
        self.handles = list(handles)
        self._wanted, self._allowed = wanted, True
        self._hidden: set[str] = set()  # names of nodes
        self.on_change: Callable[[], object] = lambda: None  # called when it is shown or hidden
        self._apply()

    @property
    def wanted(self) -> bool:
        return self._wanted

    @wanted.setter
    def wanted(self, value: bool) -> None:
        self._change(value, self._allowed)

    @property
    def seen(self) -> bool:
        """True when its nodes are shown, but for the hidden ones."""
        return self._wanted and self._allowed

    def allow(self, value: bool) -> None:
        """Hide it with its input, whatever is wanted, or let it be seen again."""
        self._change(self._wanted, value)

    def hide(self, handles: Iterable[Any]) -> None:
        """Some of its nodes that are not shown, whatever is wanted; all others are."""
        self._hidden = {handle.name for handle in handles}
        self._apply()

    def replace(self, handles: Sequence[Any]) -> None:
        """Other nodes in place of the present ones, which the caller has removed or overwritten."""
        self.handles = list(handles)
        self._apply()

    def _change(self, wanted: bool, allowed: bool) -> None:
        before = self.seen
        self._wanted, self._allowed = wanted, allowed
        self._apply()
        if self.seen != before:
            self.on_change()

    def _apply(self) -> None:
        for handle in self.handles:
            handle.visible = self.seen and handle.name not in self._hidden
