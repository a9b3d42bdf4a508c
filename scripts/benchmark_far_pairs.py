"""Rotations between photographs taken far apart: structure from motion, ADen, and the two together.

    python scripts/benchmark_far_pairs.py FOX --weights build/aden/aden.safetensors [--apart 25] [--views 2 3 5]
    python scripts/benchmark_far_pairs.py ROBOT --reference ROBOT_RUN --weights build/aden/aden.safetensors --apart 0

For each number of views some sets are drawn by chance, all pairs of which differ by at least --apart degrees, and
placed from nothing but these photographs. A pair is right when its relative rotation is within 15 degrees of that of
the cameras of --reference, a capture of the same photographs with cameras (the data's own unless given); a pair of
which one is not placed is wrong. Together: structure from motion, and the network's best proposal for what is left.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from benchmark_poses import at_size
from fewview.recon.pipeline.analysis_by_synthesis import refined_by_synthesis
from fewview.recon.poses import Poses, PosesConfig
from fewview.recon.poses.networks.aden import AdenEstimator
from fewview.recon.poses.networks.proposed_cameras import WithProposals
from fewview.recon.poses.structure_from_motion import StructureFromMotion
from fewview.scene import Capture, FewviewError, Frame
from fewview.scene.geometry import rotation_angle
from fewview.scene.progress import Progress, silent
from fewview.scene.readers import read_capture
from torch import Tensor

RIGHT_DEG = (5.0, 15.0)


@dataclass(frozen=True)
class Given:
    """The answer of another system, as a pose estimator."""

    answer: Poses | FewviewError
    name: str = "structure from motion"

    def place(self, capture: Capture, progress: Progress = silent) -> Poses:
        if isinstance(self.answer, FewviewError):
            raise FewviewError(str(self.answer))
        return self.answer


def shrunk(frame: Frame, max_side: int) -> Frame:
    """The frame as if its photograph, and its mask, had been taken at this size, where it is larger."""
    if max(frame.width, frame.height) <= max_side:
        return frame
    small, load_mask = at_size(frame, max_side), frame.load_mask
    if load_mask is None:
        return small
    size = (small.width, small.height)
    return replace(small, load_mask=lambda: cv2.resize(load_mask().astype(np.uint8), size) > 0)


def rotations(poses: Poses | FewviewError) -> dict[int, Tensor]:
    """Rotation [3, 3] of each view: of placed ones, and of the best proposal for the others."""
    if isinstance(poses, FewviewError):
        return {}
    assert poses.capture.cameras is not None
    found = {view: others.cameras.cam_from_world[0, :3, :3] for view, others in poses.hypotheses.items()}
    return found | dict(zip(poses.placed, poses.capture.cameras.cam_from_world[:, :3, :3], strict=True))


def pair_errors_deg(found: dict[int, Tensor], true: Tensor) -> list[float]:
    """Error of the relative rotation of each pair of N views, 180 where one is not placed; `true` is [N, 3, 3]."""
    errors = []
    for i in range(len(true)):
        for j in range(i):
            is_there = i in found and j in found
            off = found[i] @ found[j].T @ (true[i] @ true[j].T).T if is_there else None
            errors.append(180.0 if off is None else math.degrees(float(rotation_angle(off))))
    return errors


def answer(estimator: StructureFromMotion | AdenEstimator | WithProposals, capture: Capture) -> Poses | FewviewError:
    try:
        return estimator.place(capture)
    except FewviewError as error:
        return error


def refined(poses: Poses | FewviewError, capture: Capture) -> Poses | FewviewError:
    """The same after analysis by synthesis; as it is where that cannot be done."""
    try:
        return poses if isinstance(poses, FewviewError) else refined_by_synthesis(poses, capture)
    except FewviewError:
        return poses


def sets_of(true: Tensor, views: int, count: int, apart_deg: float, seed: int) -> list[list[int]]:
    """Sets of so many views, all of which differ by the angle."""
    rng = np.random.default_rng([seed, views])
    turn = torch.rad2deg(rotation_angle(true[:, None] @ true[None].mT))
    found: list[list[int]] = []
    for _ in range(20_000):
        chosen = sorted(rng.permutation(len(true))[:views].tolist())
        apart = turn[chosen][:, chosen] + 360 * torch.eye(views)
        if float(apart.min()) >= apart_deg and chosen not in found:
            found.append(chosen)
        if len(found) == count:
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True, help="of scripts/train_priors/aden.py")
    parser.add_argument("--reference", type=Path, help="capture of the same photographs with cameras")
    parser.add_argument("--views", type=int, nargs="*", default=[2, 3, 5])
    parser.add_argument("--sets", type=int, default=6)
    parser.add_argument("--apart", type=float, default=25.0, help="degrees")
    parser.add_argument("--side", type=int, default=960, help="longer side of the photographs, pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--synthesis", action="store_true")
    options = parser.parse_args()
    reference = read_capture(options.reference or options.data)
    assert reference.cameras is not None
    # Names may have got other endings in the reference's folder.
    cameras = {Path(name).stem: reference.cameras.cam_from_world[i] for i, name in enumerate(reference.names)}
    capture = read_capture(options.data)
    known = [i for i, name in enumerate(capture.names) if Path(name).stem in cameras]
    true = torch.stack([cameras[Path(capture.names[i]).stem] for i in known])[:, :3, :3]
    network = AdenEstimator.load(options.weights)
    print(f"{options.data.name}: {len(known)} photographs with reference cameras")
    for views in options.views:
        errors: dict[str, list[float]] = defaultdict(list)
        seconds: dict[str, float] = defaultdict(float)
        chosen_sets = sets_of(true, views, options.sets, options.apart, options.seed)
        for chosen in chosen_sets:
            frames = tuple(shrunk(capture.frames[known[i]], options.side) for i in chosen)
            some = Capture(frames, capture.source)
            started = time.process_time()
            motion = answer(StructureFromMotion(PosesConfig()), some)
            seconds["structure from motion"] += time.process_time() - started
            started = time.process_time()
            found = {"structure from motion": motion, "ADen": answer(network, some)}
            seconds["ADen"] += time.process_time() - started
            found["together"] = answer(WithProposals(Given(motion), network), some)
            if options.synthesis:
                started = time.process_time()
                found["and synthesis"] = refined(found["together"], some)
                seconds["and synthesis"] += time.process_time() - started
            for name, poses in found.items():
                own = name in ("ADen", "and synthesis")  # cameras alone, of what it placed
                errors[name] += pair_errors_deg(_placed(poses) if own else rotations(poses), true[chosen])
        for name, pairs in errors.items():
            took = f", {seconds[name] / len(chosen_sets):.1f} s of processor time a set" if name in seconds else ""
            shares = " ".join(f"R@{limit:g} {np.mean(np.array(pairs) < limit):.2f}" for limit in RIGHT_DEG)
            print(f"N={views} {name}: {shares} of {len(pairs)} pairs{took}", flush=True)


def _placed(poses: Poses | FewviewError) -> dict[int, Tensor]:
    return rotations(poses if isinstance(poses, FewviewError) else replace(poses, hypotheses={}))


if __name__ == "__main__":
    main()
