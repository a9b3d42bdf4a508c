"""Export of what was trained: kernel, reference and an independent reading of the written PLY show one picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fewview.render import rasterization
from fewview.render import reference_rasterization as reference
from fewview.scene.formats import load_splat, save_splat
from fewview.scene.splat import StaticSplat
from support.numpy_splat import render_ply
from support.pictures import assert_same_picture
from support.scenes import random_blobs, scene_of, splat_of


@pytest.mark.parametrize("antialiased", [False, True])
def test_kernel_twin_and_exported_file_show_the_same_picture(tmp_path: Path, antialiased: bool) -> None:
    scene = random_blobs(seed=5, count=500, sh_degree=3)
    save_splat(tmp_path / "splat.ply", StaticSplat(splat_of(scene), antialiased))
    read = load_splat(tmp_path / "splat.ply")
    assert read.antialiased == antialiased
    s = scene_of(read.gaussians, scene)
    mode = "antialiased" if antialiased else "classic"
    inputs = [t.float() for t in (s.means, s.quats, s.scales, s.opacities, s.colors, scene.viewmats, scene.Ks)]
    options = {"sh_degree": 3, "backgrounds": scene.backgrounds.float(), "rasterize_mode": mode}
    kernel, _, _ = rasterization(*inputs, scene.width, scene.height, **options)
    expected, _, _ = reference.rasterization(*inputs, scene.width, scene.height, **options)
    pictures = []
    for c in range(len(scene.viewmats)):
        file, _ = render_ply(
            tmp_path / "splat.ply", inputs[5][c].double().numpy(), inputs[6][c].double().numpy(), scene.width,
            scene.height, options["backgrounds"][c].double().numpy(), antialiased,
        )  # fmt: skip
        pictures.append(torch.from_numpy(file))
    # To 1e-4 but where rounding moves a term across a cut-off; another rule would differ by more, and everywhere.
    assert_same_picture(kernel, torch.stack(pictures))
    assert_same_picture(expected, torch.stack(pictures))
