"""`fewview detect`: LiDAR-camera detection. Its subcommands live in `detect_NAME.py`."""

from __future__ import annotations

SUBCOMMANDS = {
    "eval": "Measure detections with the nuScenes metric.",
}
