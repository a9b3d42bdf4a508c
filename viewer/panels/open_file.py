"""A splat file that somebody opens in the page, by a button or by dropping it there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import viser

from ...scene.errors import BadInputError, FewviewError
from ...scene.formats import splat_ending
from ...scene.formats.format_table import endings
from ..panel_context import Context
from ..subjects.loader import load_subject
from ..subjects.splat_subject import SplatSubject
from ..subjects.subject import Subject, view_of_bounds


class OpenFile:
    """The button, to which page_html.py takes what is dropped.

    The server bounds the size of what comes (`guard.MAX_UPLOAD_BYTES`).
    """

    def __init__(self, context: Context, opened: Callable[[Subject], None]) -> None:
        self._context, self._opened = context, opened
        button = context.server.gui.add_upload_button(
            "Open a splat", mime_type=endings().replace(" ", ""), hint="Or drop the file on the page."
        )

        def uploaded(event: Any) -> None:
            name, content = button.value.name, button.value.content
            context.worker.submit(lambda: self._open(name, content, event.client))

        button.on_upload(uploaded)

    def _open(self, name: str, content: bytes, client: viser.ClientHandle | None) -> None:
        context = self._context
        try:
            subject = read_upload(name, content)
        except FewviewError as error:
            context.notify("It could not be opened", str(error), client)
            return
        context.add(subject)
        self._opened(subject)
        for note in subject.notes:
            context.notify(subject.title, note, client)
        context.pilot.fly(client, view_of_bounds(subject, context.stage, context.pilot.up))


def read_upload(name: str, content: bytes) -> Subject:
    """The subject of a splat or of points in the bytes of a file.

    Of the name, which a browser sends, only the ending is used. Raises BadInputError for one that is of no splat
    format, and for bytes that are damaged.
    """
    title = name[-80:]
    ending = splat_ending(Path(name))
    if ending is None:
        raise BadInputError(f"{title} does not end like a splat file; one of {endings()} is expected.")
    with tempfile.TemporaryDirectory(prefix="fewview_") as folder:
        path = Path(folder) / f"opened{ending}"
        path.write_bytes(content)
        try:
            subject = load_subject(path)
        except BadInputError as error:
            raise BadInputError(str(error).replace(str(path), title)) from None
    subject.title = title
    if isinstance(subject, SplatSubject):
        subject.splat_path = None  # it has gone with the folder
    return subject
