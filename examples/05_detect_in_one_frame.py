"""Cars and people in one frame of a driving log, drawn into its photographs and from above.

    python examples/05_detect_in_one_frame.py [DATA] [--weights RUN] [--frame 0] [--output detections.jpg]

DATA is a folder in the nuScenes format; without it a small invented one is made in `generated_data`. RUN is a run of
`fewview detect train` or a released SparseFusion checkpoint; without it the network is random, and so are its boxes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
import tyro
from fewview.detect.detector_registry import load_detector, new_detector
from fewview.detect.measure import Predictor
from fewview.detect.tasks.driving_picture import frame_picture
from fewview.detect.tasks.driving_samples import open_driving_samples
from PIL import Image

GENERATOR = Path(__file__).parent.parent / "scripts" / "make_nuscenes_like.py"


def generated(folder: Path) -> Path:
    """The folder, with one invented scene of two frames in it."""
    if not folder.exists():
        subprocess.run([sys.executable, str(GENERATOR), str(folder), "--scenes", "1", "--samples", "2"], check=True)
    return folder


def main(
    data: tyro.conf.Positional[Path | None] = None,
    weights: Path | None = None,
    frame: int = 0,
    min_score: float = 0.1,
    output: Path = Path("detections.jpg"),
) -> None:
    """Detect in one frame, and draw the boxes that score at least `min_score`; true ones are thin and green."""
    torch.manual_seed(0)
    detector = new_detector("sparsefusion", "tiny") if weights is None else load_detector("sparsefusion", weights)
    sample = open_driving_samples(data or generated(Path("generated_data")), detector.inputs.sweeps)[frame]
    boxes = Predictor(detector, torch.device("cpu"))(sample)
    Image.fromarray(frame_picture(sample, boxes, min_score)).save(output)
    assert boxes.scores is not None
    for score, label, center in list(zip(boxes.scores, boxes.labels, boxes.centers, strict=True))[:5]:
        x, y, z = center.tolist()
        print(f"{boxes.names[label]:<22} score {score:.2f} at {x:6.1f} {y:6.1f} {z:6.1f} m")
    print(f"{len(boxes)} boxes; picture: {output}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
