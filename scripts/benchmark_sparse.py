"""Times of sparse convolution: SparseFusion's encoder on a LiDAR sweep, one large layer, and growth to 1M voxels.

    python scripts/benchmark_sparse.py [--frame nuscenes_frame] [--spconv PYTHON] [--threads 1 2] [--peak GFLOPS]
                                       [--bf16 [GFLOPS]]

`--frame` is a folder with `samples/LIDAR_TOP/*.pcd.bin`; without it the encoder is left out. `--spconv` is the Python
of an environment with spconv, which is timed on the same voxels and layers in the same run.

The floor is arithmetic alone: two floating-point operations for each pair, input and output channel, at `--peak` a
thread: what the processor's multiply-adds can do (clock x vectors a cycle x 2). `--bf16` also measures bfloat16, with
the peak of its multiply-adds. Every time starts from voxels that
nobody has seen, so that kernel maps are included. Times on one thread are that thread's own: what others take from a
busy core does not count.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from fewview import _native
from fewview.detect import sparse
from fewview.detect.sparse import SparseConvTensor, kernel_map, kernels
from torch import Tensor, nn

LOW, HIGH, VOXEL = np.array([-54, -54, -5.0]), np.array([54, 54, 3.0]), np.array([0.075, 0.075, 0.2])  # m
SHAPE = (41, 1440, 1440)
# Kind, channels in and out, padding: SparseFusion's encoder, whose strided layers are 3^3 with stride 2.
Layer = tuple[str, int, int, int | tuple[int, int, int]]


@dataclass(frozen=True)
class Precision:
    name: str
    peak: float  # GFLOP/s of a thread

    def context(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.name == "bfloat16")


def encoder_layers() -> list[Layer]:
    layers: list[Layer] = [("subm", 5, 16, 0)]
    for width, out, padding in ((16, 32, 1), (32, 64, 1), (64, 128, (0, 1, 1)), (128, 0, 0)):
        layers += [("subm", width, width, 0)] * 4
        layers += [("down", width, out, padding)] if out else [("out", width, width, 0)]
    return layers


def make_layer(kind: str, cin: int, cout: int, padding: int | tuple[int, int, int]) -> sparse.SparseModule:
    if kind == "subm":
        return sparse.SubMConv3d(cin, cout, 3, bias=False)
    if kind == "down":
        return sparse.SparseConv3d(cin, cout, 3, 2, padding, bias=False)
    return sparse.SparseConv3d(cin, cout, (3, 1, 1), (2, 1, 1), 0, bias=False)


class Block(sparse.SparseModule):
    """SubM, BN, ReLU, SubM, BN, add, ReLU."""

    def __init__(self, a: sparse.SparseModule, b: sparse.SparseModule, width: int) -> None:
        super().__init__()
        self.a, self.b, self.norms = a, b, nn.ModuleList(nn.BatchNorm1d(width, eps=1e-3) for _ in range(2))

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        y = self.a(x)
        y = self.b(y.replace_feature(self.norms[0](y.features).relu_()))
        return y.replace_feature(self.norms[1](y.features).add_(x.features).relu_())


def whole_encoder(layers: list[sparse.SparseModule]) -> sparse.SparseSequential:
    """The same layers with normalisation, ReLU and shortcuts."""
    parts: list[nn.Module] = []
    left = list(layers)
    while left:
        layer = left.pop(0)
        width = int(layer.weight.shape[0])  # type: ignore[union-attr,index]
        if parts and isinstance(layer, sparse.SubMConv3d):
            parts.append(Block(layer, left.pop(0), width))
        else:
            parts += [layer, nn.BatchNorm1d(width, eps=1e-3), nn.ReLU(inplace=True)]
    return sparse.SparseSequential(*parts).eval()


def voxelised(frame: Path) -> tuple[Tensor, Tensor]:
    """Mean features [N, 5] and indices [N, 4] of one sweep; rows in the order in which voxels first appear."""
    points = np.fromfile(next((frame / "samples" / "LIDAR_TOP").glob("*.pcd.bin")), np.float32).reshape(-1, 5)
    points[:, 4] = 0  # the ring's place holds the time since the sweep
    cells = np.floor((points[:, :3] - LOW) / VOXEL).astype(np.int64)
    inside = ((points[:, :3] >= LOW) & (points[:, :3] < HIGH)).all(1)
    cells, points = cells[inside][:, ::-1], points[inside]
    flat = np.ravel_multi_index(tuple(cells.T), SHAPE)
    _, first, voxel, count = np.unique(flat, return_index=True, return_inverse=True, return_counts=True)
    sums = np.zeros((len(first), 5))
    np.add.at(sums, voxel, points)
    order = np.argsort(first)
    indices = np.concatenate([np.zeros((len(first), 1)), cells[first]], axis=1)[order].astype(np.int32)
    return torch.from_numpy((sums / count[:, None])[order].astype(np.float32)), torch.from_numpy(indices)


def surface(n: int) -> Tensor:
    """About n voxels [n, 4] of a hilly surface: 9 to 12 neighbours each, as scans have them; rows in random order."""
    side = round(n**0.5)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    z = (8 + 6 * torch.sin(x / 25.0) * torch.cos(y / 31.0)).long()
    indices = torch.stack([torch.zeros_like(x), z, y, x], dim=-1).reshape(-1, 4).int()
    return indices[torch.randperm(len(indices), generator=torch.Generator().manual_seed(0))].contiguous()


def median_ms(work: Callable[[], object], threads: int, repeats: int = 7) -> float:
    """Of the calling thread's own time on one thread, of the clock's on several."""
    _native.set_num_threads(threads)
    torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    work()
    times = []
    for _ in range(repeats):
        started = clock()
        work()
        times.append(clock() - started)
    return 1e3 * statistics.median(times)


def dense_gflops(dtype: torch.dtype) -> float:
    """GFLOP/s that one thread reaches in torch's product of dense 1536 x 1536 matrices, often far below the peak."""
    a = torch.randn(1536, 1536).to(dtype)
    return 2e-6 * 1536**3 / median_ms(lambda: a @ a, 1, 5)


def gflop(x: SparseConvTensor, layers: list[sparse.SparseModule]) -> float:
    """Of all layers in a row: their pairs, counted where maps are used."""
    pairs: list[int] = []
    convolve = kernels.convolve

    def counting(features: Tensor, weight: Tensor, bias: Tensor | None, found: kernel_map.KernelMap) -> Tensor:
        pairs.append(2 * found.n_pairs * weight.shape[0] * weight.shape[2])
        return convolve(features, weight, bias, found)

    kernels.convolve = counting
    try:
        for layer in layers:
            x = layer(x)
    finally:
        kernels.convolve = convolve
    return sum(pairs) / 1e9


def spconv_ms(python: str, indices: Tensor, features: Tensor, layers: list[Layer], shape: tuple[int, ...]) -> str:
    """Median times of spconv's layers on the same voxels, as its interpreter reports them."""
    code = """
import statistics, sys, time, numpy as np, torch, spconv.pytorch as sp
data = np.load(sys.argv[1], allow_pickle=False)
indices, features = torch.from_numpy(data['indices']), torch.from_numpy(data['features'])
layers, shape = eval(sys.argv[2]), eval(sys.argv[3])
def make(kind, a, b, p):
    if kind == 'subm': return sp.SubMConv3d(a, b, 3, bias=False)
    if kind == 'down': return sp.SparseConv3d(a, b, 3, 2, p, bias=False)
    return sp.SparseConv3d(a, b, (3, 1, 1), (2, 1, 1), 0, bias=False)
net = sp.SparseSequential(*[make(*l) for l in layers])
out = []
for threads, clock in ((1, time.thread_time), (2, time.perf_counter)):
    torch.set_num_threads(threads); times = []
    with torch.no_grad():
        for _ in range(6):
            t = clock(); net(sp.SparseConvTensor(features, indices, shape, 1)); times.append(clock() - t)
    out.append(f'{1e3 * statistics.median(times[1:]):.0f}')
print('spconv:', out[0], 'ms on one thread (its own time),', out[1], 'ms on two')
"""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "voxels.npz"
        np.savez(file, indices=indices.numpy(), features=features.numpy())
        command = [python, "-c", code, str(file), repr(layers), repr(list(shape))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("spconv:")]
    return lines[-1] if lines else f"spconv failed: {done.stderr.strip().splitlines()[-1:]}"


def report_encoder(frame: Path, threads: list[int], spconv: str | None, precisions: list[Precision]) -> None:
    features, indices = voxelised(frame)
    torch.manual_seed(0)
    plan = encoder_layers()
    layers = [make_layer(*layer) for layer in plan]
    convolutions, encoder = sparse.SparseSequential(*layers), whole_encoder(layers)

    def fresh() -> SparseConvTensor:
        return SparseConvTensor(features, indices, SHAPE, 1)

    def both(net: nn.Module) -> None:
        net(fresh()).features.sum().backward()

    with torch.no_grad():
        work = gflop(fresh(), layers)
        exact = convolutions(fresh()).features
    print(f"\nSparseFusion's encoder, {len(indices):,} voxels, {work:.1f} GFLOP")
    print(
        "| precision | threads | floor, ms | convolutions, ms | with BN, ReLU and shortcuts | forward and backward "
        "| backward / forward | off by |"
    )
    print("|" + "---|" * 8)
    for precision in precisions:
        with precision.context():
            for n in threads:
                with torch.no_grad():
                    forward, whole = median_ms(lambda: convolutions(fresh()), n), median_ms(lambda: encoder(fresh()), n)
                    off = (convolutions(fresh()).features - exact).norm() / exact.norm()
                step = median_ms(lambda: both(convolutions), n, 3)
                print(
                    f"| {precision.name} | {n} | {1e3 * work / precision.peak / n:.1f} | {forward:.1f} | {whole:.1f} "
                    f"| {step:.0f} | {step / forward - 1:.2f} | {100 * off:.2f} % |",
                    flush=True,
                )
    if spconv:
        print(spconv_ms(spconv, indices, features, plan, SHAPE))


def report_growth(sizes: list[int], threads: list[int], spconv: str | None, precisions: list[Precision]) -> None:
    print("\nOne submanifold 3^3, 64 to 64 channels, on a surface")
    print(
        "| voxels | pairs | precision | threads | map, ms | convolution, ms | floor, ms | GFLOP/s | backward, ms "
        "| backward / forward | map, MB | features in and out, MB | peak of the process, MB |"
    )
    print("|" + "---|" * 13)
    layer = sparse.SubMConv3d(64, 64, 3, bias=False)
    for n in sizes:
        indices = surface(n)
        features = torch.randn(len(indices), 64, requires_grad=True)
        for precision, k in product(precisions, threads):
            build = median_ms(lambda: built(indices), k, 3)  # noqa: B023
            x = SparseConvTensor(features, indices, None, 1)
            found = built(x.coordinates)
            gradient = torch.randn(len(indices), 64)
            with precision.context():
                with torch.no_grad():
                    conv = median_ms(lambda: layer(x), k, 3)  # noqa: B023
                step = median_ms(lambda: layer(x).features.backward(gradient), k, 3)  # noqa: B023
            work = 2 * found.n_pairs * 64 * 64 / 1e9
            print(
                f"| {len(indices):,} | {found.n_pairs:,} | {precision.name} | {k} | {build:.1f} | {conv:.1f} "
                f"| {1e3 * work / precision.peak / k:.1f} "
                f"| {1e3 * work / conv:.0f} | {step - conv:.1f} | {(step - conv) / (conv + build):.2f} "
                f"| {found.tiles.nbytes / 1e6:.0f} | {2 * features.nbytes / 1e6:.0f} "
                f"| {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} |",
                flush=True,
            )
        if spconv and 50_000 < n < 200_000:
            bounds = tuple(int(m) + 1 for m in indices[:, 1:].amax(0))
            print(spconv_ms(spconv, indices, features.detach(), [("subm", 64, 64, 0)], bounds))


def built(voxels: Tensor | sparse.CoordinateSet) -> kernel_map.KernelMap:
    """The map of a submanifold 3^3, from voxels that nobody has seen where they come as indices."""
    if isinstance(voxels, Tensor):
        voxels = sparse.CoordinateSet.checked(voxels, 1, None)
    return kernel_map.submanifold_map(voxels, (3, 3, 3), (1, 1, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frame", type=Path)
    parser.add_argument("--spconv", metavar="PYTHON")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 30_000, 100_000, 300_000, 1_000_000])
    parser.add_argument(
        "--peak", type=float, metavar="GFLOPS", help="of one thread; without it torch's product is used"
    )
    parser.add_argument(
        "--bf16",
        type=float,
        metavar="GFLOPS",
        nargs="?",
        const=0.0,
        help="measure bfloat16, too; the peak of one thread, without it torch's product",
    )
    parser.add_argument("--isa", choices=_native.isas())
    options = parser.parse_args()
    if options.isa:
        _native.set_isa(options.isa)
    dense = dense_gflops(torch.float32)
    precisions = [Precision("float32", options.peak or dense)]
    print(f"{_native.isa()}; a thread's peak {precisions[0].peak:.0f} GFLOP/s, ", end="")
    print(f"torch's product of dense matrices {dense:.0f} GFLOP/s")
    if options.bf16 is not None:
        dense = dense_gflops(torch.bfloat16)
        precisions.append(Precision("bfloat16", options.bf16 or dense))
        how = "with instructions of its own" if _native.has_bf16() else "by the float32 kernel"
        print(f"bfloat16 {how}: {precisions[1].peak:.0f} GFLOP/s, torch's product {dense:.0f} GFLOP/s")
    if options.frame:
        report_encoder(options.frame, options.threads, options.spconv, precisions)
    if options.sizes:
        report_growth(options.sizes, options.threads, options.spconv, precisions)


if __name__ == "__main__":
    main()
