"""`fewview detect`: objects in drives and rooms. Its subcommands live in `detect_NAME.py`, and for other tasks than
driving in `detect_NAME_TASK.py`."""

from __future__ import annotations

SUBCOMMANDS = {
    "train": "Train SparseFusion on a data set in the nuScenes format.",
    "run": "Boxes for a data set in the nuScenes format, or for the frames of an info file.",
    "eval": "Measure detections with the nuScenes metric.",
    "ground": "The thing in an indoor scan that a sentence speaks of.",
}
TASKS = ("indoor", "grounding")
