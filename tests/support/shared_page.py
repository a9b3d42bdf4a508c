"""Contents of a page of `fewview share`, read back without a browser."""

from __future__ import annotations

import base64
import gzip
import html.parser
import json
from pathlib import Path
from typing import Any


class SharedPage(html.parser.HTMLParser):
    """The elements of a page, and their text by tag or #id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: dict[str, str] = {}
        self._inside = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        name = dict(attrs).get("id")
        self._inside = f"#{name}" if name else tag
        self.texts.setdefault(self._inside, "")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside] += data

    def carried(self, name: str) -> bytes:
        return gzip.decompress(base64.b64decode(self.texts[f"#{name}"]))

    @property
    def view(self) -> Any:
        return json.loads(self.texts["#view"])

    @property
    def policy(self) -> str:
        return next(v for n, v in self.attributes if n == "content" and v is not None and v.startswith("default-src"))
