"""`fewview detect`: LiDAR-camera detection. Its subcommands live in `detect_NAME.py`."""

from __future__ import annotations

SUBCOMMANDS = {
    "train": "Train SparseFusion on a data set in the nuScenes format.",
    "run": "Boxes for a data set in the nuScenes format, or for the frames of an info file.",
    "eval": "Measure detections with the nuScenes metric.",
}
