"""Weights of networks, read from files that nobody vouches for: tensors come out, and nothing in the file is run."""

from __future__ import annotations

import argparse
import pickle
import re
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..scene.errors import BadInputError

State = dict[str, Tensor]

_KINDS = "a PyTorch checkpoint (.pth) or a .safetensors file"
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_MAX_HEADER = 100 << 20  # bytes; the limit of the safetensors format itself


def read_weights(path: Path) -> tuple[State, str]:
    """The named tensors in a file, and the `model` text of its training arguments ("" where there is none).

    The kind of file is decided by its first bytes. Large tensors stay on disk until they are read.
    Raises BadInputError for whatever is not a whole file of plain tensors.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise BadInputError(
            f"The weights {path} cannot be read ({error.strerror}); give the path of {_KINDS}."
        ) from error
    if start.startswith(b"PK"):
        return _read_pytorch(path)
    if len(start) == 9 and start.endswith(b"{") and struct.unpack("<Q", start[:8])[0] <= _MAX_HEADER:
        return _read_safetensors(path), ""
    if start.startswith(b"\x80"):
        raise BadInputError(
            f"{path} is a bare Python pickle, which could run code, so it was not read; give {_KINDS}. One that "
            "PyTorch before 1.6 wrote becomes such a file by torch.save(torch.load(OLD, weights_only=True), NEW)."
        )
    raise BadInputError(f"{path} is not a file of weights: it begins with {start[:4]!r}. Give {_KINDS}.")


def _read_safetensors(path: Path) -> State:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error


def _read_pytorch(path: Path) -> tuple[State, str]:
    _check_archive(path)
    try:
        # The released files carry the arguments of their training in an argparse.Namespace: attributes, no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        held = f"asks for {name[1]}" if name else "holds more than tensors"
        raise BadInputError(
            f"{path} {held}, which weights have no use for and which could run code; nothing of it was run. "
            "Get the file from its authors again."
        ) from error
    except Exception as error:  # a damaged pickle fails in whatever way its bytes happen to ask for
        raise _damaged(path, error) from error
    state = content
    if isinstance(content, dict):  # MMDetection3D names it "state_dict", others "model"
        state = content.get("state_dict", content.get("model", content))
    kinds = (Tensor, nn.Parameter)
    if not isinstance(state, dict) or not all(isinstance(k, str) and type(v) in kinds for k, v in state.items()):
        raise BadInputError(f"{path} does not hold a table of named tensors; give {_KINDS} of the network's weights.")
    for name, tensor in state.items():
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
        if not plain or tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
            raise BadInputError(f"{path} is damaged: '{name}' claims {tuple(tensor.shape)}, more than the file stores.")
    arguments = content.get("args")
    text = getattr(arguments, "model", "") if isinstance(arguments, argparse.Namespace) else ""
    return state, text if isinstance(text, str) else ""


def _check_archive(path: Path) -> None:
    """PyTorch stores its records uncompressed and apart, so together they are never larger than the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _damaged(path, error) from error
    if any(e.compress_type != zipfile.ZIP_STORED for e in entries) or sum(e.file_size for e in entries) > (
        path.stat().st_size
    ):
        raise BadInputError(f"{path} is an archive that PyTorch did not write (its records unpack); give {_KINDS}.")


def _damaged(path: Path, error: Exception) -> BadInputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return BadInputError(f"{path} is damaged or cut off ({reason}); download or copy it again.")


def check_weights(
    state: Mapping[str, Tensor],
    network: nn.Module,  # may be on the meta device
    path: Path,
    kind: str,  # what the network is, with its article: "a DUSt3R or MASt3R network"
) -> State:
    """The file's tensors under all of the network's names.

    Raises BadInputError unless these are exactly the network's, in its shapes and all finite.
    """
    state = _with_shared(state, network)
    own = network.state_dict()
    missing, unexpected = [k for k in own if k not in state], [k for k in state if k not in own]
    if missing or unexpected:
        parts = [f"it lacks {_some(missing)}" if missing else "", f"it has {_some(unexpected)}" if unexpected else ""]
        raise BadInputError(
            f"{path} is not {kind}: {' and '.join(p for p in parts if p)}; found {len(state)} tensors, expected "
            f"{len(own)}. Give the released file of that network."
        )
    for name in own:
        check_tensor(state[name], own[name], name, path, kind)
    return state


def check_tensor(tensor: Tensor, own: Tensor, name: str, path: Path, kind: str) -> None:
    """Raises BadInputError unless `tensor`, in the file under `name`, has the network's shape and kind, all finite."""
    if tensor.shape != own.shape:
        raise BadInputError(
            f"{path} is not {kind}: '{name}' has shape {tuple(tensor.shape)}, expected {tuple(own.shape)}."
        )
    if tensor.dtype not in (_DTYPES if own.is_floating_point() else (own.dtype,)):
        raise BadInputError(f"{path} is not {kind}: '{name}' is {tensor.dtype}, expected {own.dtype}.")
    if not bool(torch.isfinite(tensor).all()):
        raise BadInputError(f"{path} holds values in '{name}' that are not finite numbers; get the file again.")


def _with_shared(state: Mapping[str, Tensor], network: nn.Module) -> State:
    """A parameter with several names is in a safetensors file under one of them only."""
    names: dict[int, list[str]] = {}
    for name, parameter in network.state_dict(keep_vars=True).items():
        names.setdefault(id(parameter), []).append(name)
    filled = dict(state)
    for group in names.values():
        given = [name for name in group if name in state]
        if given:
            filled |= {name: state[given[0]] for name in group if name not in state}
    return filled


def _some(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    return f"'{first}'" + (f" and {len(others)} more" if others else "")


def fill_network(network: nn.Module, state: Mapping[str, Tensor], device: torch.device | str) -> None:
    """Give the network its checked weights in float32, and make it ready to predict."""
    network.load_state_dict({k: v.float() for k, v in state.items()}, assign=True)
    network.eval().requires_grad_(False).to(device)
