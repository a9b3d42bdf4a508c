"""The browser app over a run, a splat file or a capture, and the report of a run."""

from .app import view as view
from .live import LiveViewer as LiveViewer
