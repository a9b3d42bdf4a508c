"""Keys that do what the panel's buttons do; viser lists the same commands in its palette."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import viser

# How a key is written for people, where that differs from viser's name.
_WRITTEN = {
    "cmd/ctrl": "Ctrl",
    "cmd/ctrl+shift": "Ctrl+Shift",
    "delete": "Delete",
    "arrowleft": "Left",
    "arrowright": "Right",
}


class Shortcuts:
    """The keys of one page. Older releases of viser have no commands: there the buttons alone are left."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self.told: list[str] = []  # a line for each key
        self.does: dict[str, Callable[[viser.ClientHandle | None], object]] = {}  # by its label

    def add(
        self,
        label: str,
        key: str,
        do: Callable[[viser.ClientHandle | None], object],
        modifier: str | None = None,
    ) -> None:
        """A command with a key of viser's names, "Z" or "delete"; `do` is given the browser in which it was pressed."""
        self.does[label] = do
        if not hasattr(self._server.gui, "add_command"):
            return

        def pressed(event: Any) -> None:
            do(event.client)

        self._server.gui.add_command(label, hotkey=key, modifier=modifier).on_trigger(pressed)  # type: ignore[arg-type]
        written = _WRITTEN.get(key, key)
        self.told.append(f"{written if modifier is None else f'{_WRITTEN[modifier]}+{written}'}: {label}")
