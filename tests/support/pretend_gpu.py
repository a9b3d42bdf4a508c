"""A GPU that is not there: tensors that say they are on `cuda`, compute on the CPU, and tell when it is waited for.

Inside `pretend_gpu()` whatever asks for `cuda` gets an `OnGpu` tensor. What a GPU would refuse is refused: tensors of
two devices in one operator, and NumPy. What would make the program wait for the GPU is counted, by the line that asked:
reading a number, a copy from or to the CPU, and operators whose result's shape depends on numbers (as
`torch.cuda.set_sync_debug_mode` has it).
"""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

CUDA = torch.device("cuda", 0)
aten = torch.ops.aten

# Operators whose result has as many rows as there are numbers of some kind.
SHAPED_BY_NUMBERS = {
    aten.nonzero.default, aten.masked_select.default, aten._unique2.default, aten.unique_dim.default,
    aten.unique_consecutive.default, aten.repeat_interleave.Tensor, aten.bincount.default, aten.equal.default,
}  # fmt: skip
READS = {aten._local_scalar_dense.default, aten.item.default, aten.is_nonzero.default}


class Waits:
    """Places where the program waited for the GPU, and the number of times."""

    def __init__(self) -> None:
        self.places: Counter[str] = Counter()

    def add(self, kind: str) -> None:
        frames = [f for f in traceback.extract_stack() if "support/pretend_gpu" not in f.filename]
        inside = [f for f in frames if "/torch/" not in f.filename and "/tests/" not in f.filename]
        frame = (inside or frames)[-1]
        path = "/".join(frame.filename.split("/")[-3:])
        self.places[f"{kind} at {path}:{frame.lineno}: {frame.line}"] += 1

    @property
    def count(self) -> int:
        return sum(self.places.values())

    def __str__(self) -> str:
        return "\n".join(f"{n} x {place}" for place, n in self.places.most_common()) or "none"


_WAITS: list[Waits] = []


def _wait(kind: str) -> None:
    for waits in _WAITS:
        waits.add(kind)


class OnGpu(Tensor):
    """A tensor on the GPU that is not there; `data` is its memory, on the CPU."""

    memory: Tensor

    @staticmethod
    def __new__(cls, memory: Tensor) -> OnGpu:
        made = torch.Tensor._make_wrapper_subclass(
            cls, memory.shape, strides=memory.stride(), storage_offset=memory.storage_offset(), dtype=memory.dtype
        )
        made.memory = memory
        return made

    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    def get_device(self) -> int:
        return 0

    def __repr__(self, **options: Any) -> str:
        return f"OnGpu({self.memory!r})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [t for t in _tensors((args, kwargs)) if not isinstance(t, OnGpu) and t.ndim > 0]
        on_gpu = [t for t in _tensors((args, kwargs)) if isinstance(t, OnGpu)]
        if function in READS:
            _wait("a number is read")
        elif function in SHAPED_BY_NUMBERS and not (
            function is aten.repeat_interleave.Tensor and kwargs.get("output_size") is not None
        ):
            _wait(f"{function.__name__} has to be counted")
        elif function in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
            if any(t.dtype in (torch.bool, torch.uint8) for t in _tensors(args[1])):
                _wait("a mask has to be counted")
            given = [t for t in given if not any(t is index for index in _tensors(args[1]))]  # the CPU's are copied
        if function is aten.cat.default and torch._C._current_graph_task_id() >= 0:
            given = []  # the gradient of a product makes ones of its own, on the device that C++ sees
        if given and function not in (aten.copy_.default,):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found cuda:0 and cpu ({list(given[0].shape)}) in "
                f"{function}"
            )
        if function is aten.copy_.default and given:
            _wait("a copy between devices")
        out = function(*tree_map(_memory, args), **tree_map(_memory, _without_device(kwargs)))
        if function in READS or not isinstance(out, Tensor | tuple | list):
            return out
        # In-place operators give back what they were given.
        known = {id(t.memory): t for t in on_gpu}
        return tree_map(lambda t: _on_gpu(t, known) if isinstance(t, Tensor) else t, out)


def _on_gpu(memory: Tensor, known: dict[int, OnGpu]) -> OnGpu:
    found = known.get(id(memory))
    return OnGpu(memory) if found is None else found


class _Upload(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return OnGpu(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, v: Any) -> Any:
        return v.memory.clone()


class _Download(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Tensor:
        return x.memory.clone()

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        return OnGpu(v.clone())


def upload(x: Tensor) -> Tensor:
    """The tensor on the GPU that is not there, without counting the copy; differentiable."""
    return x if isinstance(x, OnGpu) else _Upload.apply(x)


def download(x: Tensor) -> Tensor:
    """The tensor on the CPU, without counting the copy; differentiable."""
    return _Download.apply(x) if isinstance(x, OnGpu) else x


class _Devices(TorchFunctionMode):
    """Sees every call of PyTorch from Python: where tensors are made, moved and read."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        first = args[0] if args else None
        if name in ("to", "cpu", "cuda") and isinstance(first, Tensor):
            return self._moved(function, name, first, args[1:], kwargs)
        if name in ("tolist", "numpy", "__array__") and isinstance(first, OnGpu):
            if name != "tolist":
                raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
            _wait("numbers are read")
            return first.memory.tolist()
        if name == "new_tensor" and isinstance(first, OnGpu):
            _wait("a copy to the GPU")
            return OnGpu(first.memory.new_tensor(*args[1:], **_without_device(kwargs)))
        if name == "one_hot" and isinstance(first, OnGpu):  # makes a tensor of its own where nobody sees it
            return OnGpu(function(*tree_map(_memory, args), **kwargs))
        if name == "pin_memory":
            return first
        if name == "_parse_to":  # of a module's `to`, which moves its tensors by themselves
            return function(*args, **kwargs)
        device = kwargs.get("device")
        if device is not None and not isinstance(first, OnGpu) and torch.device(device).type == "cuda":
            if name in ("tensor", "as_tensor", "asarray"):
                _wait("a copy to the GPU")
            kwargs["device"] = "cpu"
            generator = kwargs.get("generator")
            kwargs["generator"] = generator
            if generator is None:
                del kwargs["generator"]
            made = function(*tree_map(_memory, args), **kwargs)
            # Made with a gradient, it is a leaf there.
            return OnGpu(made.detach()).requires_grad_(made.requires_grad)
        return function(*args, **kwargs)

    def _moved(self, function: Any, name: str, x: Tensor, rest: Any, kwargs: dict[str, Any]) -> Any:
        target = {"cpu": "cpu", "cuda": "cuda"}.get(name)
        dtype = kwargs.get("dtype")
        device = kwargs.get("device")
        for value in rest:
            if isinstance(value, torch.dtype):
                dtype = value
            elif isinstance(value, torch.device | str):
                device = value
            elif isinstance(value, Tensor):
                dtype, device = value.dtype, value.device
        if device is not None:
            target = torch.device(device).type
        moved = x
        if target == "cuda" and not isinstance(x, OnGpu):
            if not kwargs.get("non_blocking"):
                _wait("a copy to the GPU")
            moved = upload(x)
        elif target == "cpu" and isinstance(x, OnGpu):
            _wait("a copy to the CPU")
            moved = download(x)
        return moved if dtype is None or dtype == moved.dtype else moved.type(dtype)


class PretendGpu:
    """Tools of a test inside of `pretend_gpu()`."""

    @contextlib.contextmanager
    def waits(self) -> Iterator[Waits]:
        """Counts the waits of a block."""
        found = Waits()
        _WAITS.append(found)
        try:
            yield found
        finally:
            _WAITS.remove(found)


class _Generator:
    """`torch.Generator` for which the GPU that is not there is the CPU."""

    def __new__(cls, device: Any = "cpu") -> Any:
        return _REAL_GENERATOR(device="cpu")


_REAL_GENERATOR = torch.Generator


@contextlib.contextmanager
def pretend_gpu() -> Iterator[PretendGpu]:
    """A block in which `cuda` can be asked for: tensors, modules and generators."""
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch.Generator = _Generator  # type: ignore[misc,assignment]
    try:
        with _Devices():
            yield PretendGpu()
    finally:
        torch.Generator = _REAL_GENERATOR  # type: ignore[misc]
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)


def native_gsplat() -> Any:
    """A stand-in for `gsplat.rasterization` on the GPU that is not there: the CPU's kernels, which wait for nothing."""
    from fewview.render import rasterization

    def on_gpu(**arguments: Any) -> Any:
        with torch._C.DisableTorchFunction():
            colors, alphas, meta = rasterization(
                **{k: download(v) if isinstance(v, Tensor) else v for k, v in arguments.items()}
            )
        info = {key: upload(value) if isinstance(value, Tensor) else value for key, value in meta.items()}
        if meta["means2d"].requires_grad:  # trainers read the gradient of these, which flows past the copy
            meta["means2d"].register_hook(lambda v: setattr(info["means2d"], "grad", OnGpu(v.clone())))
        return upload(colors), upload(alphas), info

    return on_gpu


def _memory(x: Any) -> Any:
    return x.memory if isinstance(x, OnGpu) else x


def _without_device(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {k: torch.device("cpu") if k == "device" and v is not None else v for k, v in kwargs.items()}


def _tensors(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    tree_map(lambda x: found.append(x) if isinstance(x, Tensor) else None, tree)
    return found
