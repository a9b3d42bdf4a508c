"""spconv-triton's products in Triton's interpreter, on a CPU, against our kernels: forward, and both gradients.

    TRITON_INTERPRET=1 python scripts/check_triton_products.py

The package's kernels run as they are, one block after the other in NumPy, over our kernel maps and through
`detect.sparse.gpu`, as on a GPU. Three things that only a GPU has are stood in for: tensors say that they are on one,
each kernel keeps its first configuration where a GPU would time them all, and the number of multiprocessors is 4.
Prints a table of relative L2 differences; exits with 1 where one is above what its type rounds to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import torch
from fewview.detect.sparse import gpu, native_conv
from fewview.detect.sparse.kernel_map import KernelMap
from seeded_kernel_maps import kernel_maps
from torch import Tensor

# Relative L2: sums of some hundred products in float32, and for float16 the result rounded to 11 bits. bfloat16 is left
# out: the interpreter, made of NumPy, cannot compute in it.
CASES = {(torch.float32, (8, 16)): 1e-5, (torch.float32, (5, 3)): 1e-5, (torch.float16, (8, 16)): 1e-3}


class OnGpu(torch.Tensor):
    """A tensor of the CPU that says it is on a GPU, and hands this on to what is made of it."""

    is_cuda = property(lambda self: True)  # type: ignore[assignment]


def results(convolve: Callable[[Tensor, Tensor], Tensor], features: Tensor, weight: Tensor, v_out: Tensor) -> list:
    """The output, and the gradients of features and weight."""
    features, weight = (t.detach().clone().requires_grad_() for t in (features, weight))
    out = convolve(features, weight)
    out.backward(v_out.to(out.dtype))
    return [out.detach(), features.grad, weight.grad]


def differences(made: KernelMap, channels: tuple[int, int], dtype: torch.dtype) -> list[float]:
    """Relative L2 differences between spconv-triton and our kernel: output, gradient of features, of weights."""
    g = torch.Generator().manual_seed(1)
    features = torch.randn(made.n_in, channels[0], generator=g).to(dtype)
    weight = torch.randn(channels[1], made.volume, channels[0], generator=g).to(dtype)
    v_out = torch.randn(made.n_out, channels[1], generator=g).to(dtype)
    on_gpu = (t.as_subclass(OnGpu) for t in (features, weight, v_out))
    found = results(lambda f, w: gpu.convolve(f, w, made), *on_gpu)
    ours = results(lambda f, w: native_conv.convolve(f, w, None, made), *(t.float() for t in (features, weight, v_out)))
    return [
        float((a.as_subclass(torch.Tensor).float() - b).norm() / b.norm()) for a, b in zip(found, ours, strict=True)
    ]


def stand_in_for_a_gpu() -> None:
    from spconv_triton.pytorch._impl import gemm

    for kernel in (gemm._gather_gemm_kernel, gemm._dweight_masked_kernel):
        kernel.configs = kernel.configs[:1]
    gemm._multiprocessor_count = lambda device: 4


def main() -> int:
    if os.environ.get("TRITON_INTERPRET") != "1":
        print("Set TRITON_INTERPRET=1, so that Triton's kernels run on the CPU.", file=sys.stderr)
        return 2
    if not gpu.compiles_at_first_use():
        print("spconv-triton is not installed, or spconv comes first.", file=sys.stderr)
        return 2
    stand_in_for_a_gpu()
    print("| convolution | channels | type | pairs | output | gradient of features | of weights |")
    print("|---|---|---|---|---|---|---|")
    passed = True
    for name, made in kernel_maps("cpu").items():
        for (dtype, channels), tolerance in CASES.items():
            found = differences(made, channels, dtype)
            passed &= max(found) <= tolerance
            row = [name, f"{channels[0]} -> {channels[1]}", str(dtype).removeprefix("torch."), f"{made.n_pairs:,}"]
            print(f"| {' | '.join([*row, *(f'{d:.1e}' for d in found)])} |", flush=True)
    print("equal within rounding" if passed else "DIFFERENT")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
