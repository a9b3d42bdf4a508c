"""Times of one iteration of global alignment: its kernel, the reference implementation, and the floors.

    python scripts/benchmark_alignment.py [--views 3 12] [--threads 1]

Pointmaps are synthetic, 512 x 288, all ordered pairs. One pass must read each side's points and weights once (16
bytes a pixel) and read and write each view's log depth (8 bytes). A pixel of a side takes 60 floating-point operations:
18 move the point, 3 subtract, 6 measure, 5 make the direction, 3 add it to the view's pixel, 23 add to the 12 gradients
of the side's matrix, 2 to the loss. Times on one thread are that thread's own: what others take from a busy core does
not count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from fewview import _native
from fewview.recon.poses.pointmaps import reference_alignment
from fewview.recon.poses.pointmaps.alignment_loss import alignment_loss
from fewview.recon.poses.pointmaps.alignment_variables import Observations, Variables
from fewview.recon.poses.pointmaps.global_alignment import BETAS
from fewview.recon.poses.pointmaps.pair_prediction import all_ordered_pairs
from fewview.scene.geometry import Similarity

WIDTH, HEIGHT = 512, 288
BYTES_SIDE, BYTES_VIEW, FLOPS_SIDE = 16, 8, 60


def make_problem(n: int) -> tuple[Variables, Observations]:
    """n views of a noisy wall, all cameras at one place: what the figures are does not change the time."""
    generator = torch.Generator().manual_seed(0)
    rays = reference_alignment.pixel_rays(HEIGHT, WIDTH, torch.tensor([400.0] * 2), torch.tensor([256.0, 144.0]))
    edges = tuple(all_ordered_pairs(n))
    points = tuple(rays * (4 + 0.1 * torch.randn(HEIGHT, WIDTH, 1, generator=generator)) for _ in range(2 * len(edges)))
    weights = tuple(torch.rand(HEIGHT, WIDTH, generator=generator) for _ in range(2 * len(edges)))
    observations = Observations(edges, points, weights, ((HEIGHT, WIDTH),) * n)
    eye = torch.eye(3)
    variables = Variables.of(
        torch.eye(4).repeat(n, 1, 1),
        torch.full((n, 2), 400.0),
        torch.tensor([[256.0, 144.0]]).repeat(n, 1),
        [torch.full((HEIGHT, WIDTH), 4.0)] * n,
        [Similarity(torch.tensor(1.0), eye, torch.zeros(3))] * len(edges),
        observations.units,
    )
    return variables, observations


def median_ms(work: Callable[[], object], repeats: int, threads: int = 1) -> float:
    clock = time.thread_time if threads == 1 else time.perf_counter
    work()
    times = []
    for _ in range(repeats):
        started = clock()
        work()
        times.append(clock() - started)
    return 1e3 * statistics.median(times)


def read_bandwidth() -> float:
    """Bytes a second that one torch thread reads when it sums 256 MiB."""
    block = torch.ones(1 << 26)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = median_ms(lambda: block.sum(), 7) / 1e3
    torch.set_num_threads(threads)
    return block.numel() * 4 / seconds


def kernel_arguments(variables: Variables, observations: Observations) -> list[object]:
    sides, n = len(observations.points), len(observations.sizes)
    return [
        [p.numpy() for p in observations.points],
        [w.numpy() for w in observations.weights],
        np.array(observations.view_of_side, np.int32),
        observations.share.numpy(),
        np.array(observations.sizes, np.int32),
        torch.cat([variables.focal_px(), variables.centers_px], dim=1).numpy(),
        variables.log_depth.numpy(),
        np.tile(np.eye(3, 4, dtype=np.float32), (sides, 1, 1)),
        np.zeros((n, 2), np.float32),
        np.zeros(len(variables.log_depth), np.float32),
        np.zeros((sides, 3, 4), np.float32),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--views", type=int, nargs="+", default=[3, 12])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    bandwidth = read_bandwidth()
    print(f"{_native.isa()}, one thread reads {bandwidth / 2**30:.1f} GiB/s\n")
    print("| views | threads | MB | GFLOP | kernel, ms | floor, ms | kernel / floor | GFLOP/s | step, ms | plain, ms |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for n in options.views:
        variables, observations = make_problem(n)
        pixels, sides = WIDTH * HEIGHT, len(observations.points)
        size = pixels * (sides * BYTES_SIDE + n * BYTES_VIEW)
        flops = pixels * sides * FLOPS_SIDE
        arguments = kernel_arguments(variables, observations)
        free = [variables.log_depth, variables.pose_quats, variables.pose_logs, variables.edge_quats]
        free += [variables.edge_logs, variables.edge_log_scales]
        for parameter in free:
            parameter.requires_grad_()
        optimizer = torch.optim.Adam(free, 0.01, BETAS, fused=True)

        def iterate(objective: Callable[[Variables, Observations], torch.Tensor]) -> None:
            optimizer.zero_grad()  # noqa: B023
            objective(variables, observations).backward()  # noqa: B023
            optimizer.step()  # noqa: B023

        for threads in options.threads:
            _native.set_num_threads(threads)
            torch.set_num_threads(threads)
            kernel = median_ms(lambda: _native.alignment_loss(*arguments), options.repeats, threads)  # noqa: B023
            step = median_ms(lambda: iterate(alignment_loss), options.repeats, threads)
            reference = median_ms(lambda: iterate(reference_alignment.alignment_loss), 2, threads)
            floor = 1e3 * size / bandwidth
            print(
                f"| {n} | {threads} | {size / 1e6:.0f} | {flops / 1e9:.2f} | {kernel:.1f} | {floor:.1f} | "
                f"{kernel / floor:.1f} | {flops / kernel / 1e6:.0f} | {step:.1f} | {reference:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
