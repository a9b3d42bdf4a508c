"""The browser app over a run, a splat file or a capture, and the report of a run."""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .app import view as view
    from .live_viewer import LiveViewer as LiveViewer

__getattr__ = lazily(__name__, {"view": "app", "LiveViewer": "live_viewer"})
