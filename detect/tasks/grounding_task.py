"""`GROUNDING`: a sentence to one box along the axes of an indoor scan."""

from __future__ import annotations

from ..detector import BoxCode, Task

GROUNDING = Task("grounding", ("object",), None, BoxCode())
