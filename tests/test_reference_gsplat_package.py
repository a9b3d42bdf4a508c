"""gsplat itself, where it is installed: our calls fit its signatures, and its reference projects as our kernels do.

Its CUDA kernels need a GPU; the PyTorch twins in `gsplat.cuda._torch_impl` run on the CPU.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from fewview.render import rasterization
from support.scenes import random_blobs

ROOT = Path(__file__).resolve().parent.parent
try:
    # By its record, not by its name: in a checkout the folder gsplat/ is our own.
    PACKAGE = Path(str(importlib.metadata.distribution("gsplat").locate_file("gsplat")))
except importlib.metadata.PackageNotFoundError:
    pytest.skip("gsplat is not installed (`pip install --no-deps gsplat==1.5.3` is enough)", allow_module_level=True)


def gsplat_source(path: str) -> ast.Module:
    return ast.parse((PACKAGE / path).read_text())


def parameters(path: str, function: str) -> dict[str, Any]:
    """Names of a gsplat function's parameters with their defaults (None where there is none), without importing it."""
    (found,) = (n for n in gsplat_source(path).body if isinstance(n, ast.FunctionDef) and n.name == function)
    names = [a.arg for a in found.args.args]
    defaults = [ast.unparse(d) for d in found.args.defaults]
    return dict(zip(names, [None] * (len(names) - len(defaults)) + defaults, strict=True))


def test_every_argument_that_a_gpu_is_given_is_gsplats_own() -> None:
    theirs = parameters("rendering.py", "rasterization")
    ours = inspect.signature(rasterization).parameters
    unknown = set(ours) - set(theirs) - {"unsupported"}
    assert not unknown
    for name, parameter in ours.items():
        default = theirs.get(name)
        if name != "unsupported" and default is not None:
            assert repr(parameter.default) == repr(ast.literal_eval(default)), name
    # The probe and the call for tensors on a GPU name what they give.
    for path, function in (("render/gsplat_probe.py", "_draw_one"), ("render/rasterization.py", "rasterization")):
        (tree,) = (
            n
            for n in ast.parse((ROOT / path).read_text()).body
            if isinstance(n, ast.FunctionDef) and n.name == function
        )
        calls = [
            n for n in ast.walk(tree)
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Call) and "gsplat" in ast.unparse(n.func)
        ]  # fmt: skip
        assert len(calls) == 1
        given = {k.arg for k in calls[0].keywords if k.arg is not None}
        assert {"means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "width", "height"} <= given
        assert given <= set(theirs)


def test_what_trainers_read_is_in_gsplats_meta() -> None:
    (function,) = (
        n for n in gsplat_source("rendering.py").body if isinstance(n, ast.FunctionDef) and n.name == "rasterization"
    )
    keys = {
        key.value
        for n in ast.walk(function)
        if isinstance(n, ast.Dict)
        for key in n.keys
        if isinstance(key, ast.Constant)
    }
    assert {"means2d", "radii", "width", "height", "n_cameras", "gaussian_ids", "depths", "conics"} <= keys


@pytest.fixture
def torch_impl() -> Any:
    """The file of gsplat's reference alone: the package around it wants a GPU's compiler."""
    spec = importlib.util.spec_from_file_location("gsplat_torch_impl", PACKAGE / "cuda" / "_torch_impl.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_projection_equals_gsplats_own_reference(torch_impl: Any) -> None:
    scene = random_blobs(seed=3, count=60, width=70, height=53)
    inputs = scene.inputs(torch.float32)
    _, _, meta = scene.render(rasterization, inputs, packed=False)
    covars, _ = torch_impl._quat_scale_to_covar_preci(
        torch.nn.functional.normalize(inputs["quats"], dim=-1), inputs["scales"], compute_preci=False
    )
    radii, means2d, depths, conics, _ = torch_impl._fully_fused_projection(
        inputs["means"], covars, inputs["viewmats"], scene.Ks.float(), 70, 53
    )
    both = (meta["radii"] > 0).all(-1) & (radii > 0).all(-1)
    # Where a Gaussian ends depends on its opacity for us and is three deviations for the reference: a few differ.
    assert float(both.sum()) >= 0.9 * float((meta["radii"] > 0).all(-1).sum())
    for ours, theirs in ((meta["means2d"], means2d), (meta["depths"], depths), (meta["conics"], conics)):
        torch.testing.assert_close(ours[both], theirs[both], rtol=1e-4, atol=1e-4)
