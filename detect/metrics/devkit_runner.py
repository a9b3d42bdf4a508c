"""The official evaluation, as a program for whatever Python has the nuscenes-devkit. It imports nothing of fewview.

The devkit wants NumPy below 2, so it rarely lives in the same environment. `devkit.py` writes a request (JSON) and
starts this file with it:  PYTHON devkit_runner.py REQUEST.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def evaluate(request: dict[str, Any]) -> None:
    """Write metrics_summary.json, metrics_details.json and, if wanted, plots/*.pdf into the request's output."""
    import nuscenes.eval.detection.evaluate as official
    from nuscenes import NuScenes
    from nuscenes.eval.common import loaders
    from nuscenes.eval.common.config import config_factory

    if not hasattr(official, "get_samples_of_custom_split"):
        raise SystemExit("this nuscenes-devkit knows no splits of one's own; install version 1.2 or newer")
    if not request["official_split"]:
        # The devkit would look for splits.json beside the tables, which need not be writable. It measures these
        # samples instead, in the order of the submission, as it does for its own splits.
        official.is_predefined_split = lambda split_name: False
        official.get_samples_of_custom_split = lambda split_name, nusc: request["tokens"]
    # Otherwise a submission without any box ends in an exception instead of a score of 0.
    loaders._get_box_class_field = lambda boxes: "detection_name"
    nusc = NuScenes(version=request["version"], dataroot=request["dataroot"], verbose=False)
    evaluation = official.DetectionEval(
        nusc,
        config_factory("detection_cvpr_2019"),
        request["submission"],
        eval_set=request["split"],
        output_dir=request["output"],
        verbose=False,
    )
    evaluation.main(plot_examples=0, render_curves=request["plots"])


if __name__ == "__main__":
    # Python puts this folder first on the path, where e.g. `devkit` would hide another package of that name.
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    evaluate(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
