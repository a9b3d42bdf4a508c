"""Figures of DreamMesh4D on a film of a known moving mesh, and the time of its skinning.

    python scripts/benchmark_dreammesh4d.py film fox.glb                       hybrid skinning and an oracle prior
    python scripts/benchmark_dreammesh4d.py film fox.glb --prior none --cameras 2 --set skinning=lbs
    python scripts/benchmark_dreammesh4d.py film fox.glb --method sc_gs        the same film by another method
    python scripts/benchmark_dreammesh4d.py bound fox.glb                      what graph and network can do at best
    python scripts/benchmark_dreammesh4d.py skin                               20,000 vertices, 1,000 nodes, K = 4

The mesh is filmed by cameras that stand, all at 15 degrees above it, and its first moment is given as the static mesh.
Errors are of vertices, in percent of the diagonal of the mesh; novel views are 45 degrees to either side of the first
camera. Moments between are halfway between those that were filmed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from benchmark_moving import milliseconds
from fewview import _native
from fewview.recon.evidence.evidence_kinds import FILM_FLOW, STATIC_MESH
from fewview.recon.evidence.evidence_request import EvidenceRequest
from fewview.recon.evidence.film_flow import film_flow
from fewview.recon.evidence.oracle_prior import OraclePrior
from fewview.recon.methods.dreammesh4d.config import DreamMesh4dConfig
from fewview.recon.methods.dreammesh4d.model import DreamMesh4d
from fewview.recon.methods.method_contract import Inputs
from fewview.recon.methods.registry import method
from fewview.recon.methods.setting_text import parse_settings
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.optimise.normalised_frame import world_from_normalised
from fewview.recon.optimise.trainer import fit
from fewview.render import render
from fewview.render.metrics import psnr, ssim
from fewview.scene.cameras import Cameras
from fewview.scene.capture import Capture, Frame
from fewview.scene.geometry import quat_exp, quat_log
from fewview.scene.mesh_bound import MeshBoundMotion
from fewview.scene.mesh_formats import load_mesh, save_mesh
from fewview.scene.mesh_topology import edges
from fewview.scene.motion import at_place, place_in_time
from fewview.scene.skinning import node_transforms, reference_skin, skin
from fewview.scene.splat import MovingSplat
from fewview.scene.torch_threads import torch_threads
from fewview.scene.triangle_mesh import Mesh
from film_of_mesh import cameras_around, film_of, picture
from torch import Tensor

AZIMUTHS = {1: (70.0,), 2: (70.0, 250.0), 4: (70.0, 160.0, 250.0, 340.0)}
DISTANCE, ASIDE_DEG, MOMENTS_SHOWN = 4.2, (-45.0, 45.0), 8
ORACLE_STRENGTH = 50_000.0  # with a weight of 0.1 as strong as the picture's own error


def subdivided(mesh: Mesh) -> Mesh:
    """Each face in four, at the middles of its edges."""
    found = edges(mesh.faces)
    first, count = len(mesh.vertices), mesh.faces
    a, b, c = count.unbind(1)
    ab, bc, ca = (first + found.of_face).unbind(1)
    faces = torch.cat([torch.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])

    def with_middles(values: Tensor) -> Tensor:
        return torch.cat([values, values[..., found.ends, :].mean(-2)], dim=-2)

    assert mesh.positions is not None
    assert mesh.uv is not None
    positions = with_middles(mesh.positions)
    return replace(
        mesh, vertices=positions[0], faces=faces, uv=with_middles(mesh.uv), positions=positions, normals=None
    )


def film(options: argparse.Namespace) -> None:
    mesh = load_mesh(options.path)
    for _ in range(options.subdivide):
        mesh = subdivided(mesh)
    assert mesh.times_s is not None
    times = mesh.times_s[:: options.every].tolist()
    cameras = cameras_around(AZIMUTHS[options.cameras], options.side, DISTANCE)
    filmed = film_of(mesh, cameras, times)
    # As the pipeline does: the method computes in the frame of the cameras.
    to_world = world_from_normalised(filmed.cameras)
    dataset = filmed.transformed(to_world.inverse())
    chosen = method(options.method)
    prior = None
    if options.prior == "oracle":
        # A view that is asked for is one of the normalised frame.
        prior = OraclePrior(lambda c, t: picture(mesh, c.transformed(to_world), t, 1)[0], ORACLE_STRENGTH)
    evidence = {STATIC_MESH: mesh.at().moved(to_world.inverse())}
    inputs = Inputs(dataset, capture_of(dataset), mesh_is_given=True, evidence=evidence, view_prior=prior)
    asked = {"checkpoint_every_s": 0.0} | parse_settings(chosen, options.set)
    config = chosen.configure(inputs, asked)
    if FILM_FLOW in chosen.asks(config):
        evidence[FILM_FLOW] = film_flow(EvidenceRequest(inputs.capture, dataset, 0, evidence.__getitem__))
    model = chosen.initialise(inputs, config)
    begun = time.perf_counter()
    result = fit(model, dataset, config)
    splat = result.splat.moved(to_world)
    row: dict[str, object] = {"method": options.method, "cameras": options.cameras, "prior": options.prior}
    row |= {"set": options.set, "gaussians": len(splat), "seconds": round(time.perf_counter() - begun, 1)}
    if isinstance(splat, MovingSplat) and isinstance(splat.motion, MeshBoundMotion):
        row |= errors(splat.motion, mesh, times)
    row |= pictures(splat, mesh, options, times)
    if options.output is not None and isinstance(splat, MovingSplat) and isinstance(splat.motion, MeshBoundMotion):
        moving = replace(splat.motion.mesh(splat.gaussians), up=mesh.up)
        save_mesh(options.output, moving)
        row |= played(splat, moving, cameras[0], times)
    print(json.dumps(row), flush=True)


def bound(options: argparse.Namespace) -> None:
    """Print the error that is left where the network is fitted to the true vertices, and no picture is looked at."""
    mesh = load_mesh(options.path)
    assert mesh.times_s is not None
    assert mesh.positions is not None
    times = mesh.times_s.tolist()
    dataset = film_of(mesh, cameras_around(AZIMUTHS[1], 64, DISTANCE), times)
    chosen = method("dreammesh4d")
    inputs = Inputs(dataset, capture_of(dataset), mesh_is_given=True, evidence={STATIC_MESH: mesh.at()})
    config = chosen.configure(inputs, {"steps": options.steps, "static_steps": 0.0})
    assert isinstance(config, DreamMesh4dConfig)
    model = chosen.initialise(inputs, config)
    assert isinstance(model, DreamMesh4d)
    model.begin_stage(0, torch.Generator())
    truth = mesh.positions[:, torch.cdist(model.mesh["vertices"].double(), mesh.vertices.double()).argmin(1)]
    layers = [*model.network.trunk.parameters(), *model.network.heads.parameters()]
    rates = [config.plane_lr, config.network_lr]
    groups = [{"params": p} for p in ([*model.network.planes.parameters()], layers)]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(0)
    begun = time.process_time()
    for step in range(options.steps):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * config.lr_final ** (step / options.steps)
        drawn = torch.randperm(len(times), generator=generator)[: options.moments].tolist()
        model.before_step(SimpleNamespace(stage_step=options.steps))  # every moment has joined
        found = torch.stack([v for v, _ in model.moved([model.frame.moment(times[i]) for i in drawn])])
        optimiser.zero_grad()
        (found - truth[drawn]).square().sum(-1).mean().mul(1e3).backward()
        optimiser.step()
    seconds = round(time.process_time() - begun, 1)
    motion = model.result().motion
    assert isinstance(motion, MeshBoundMotion)
    print(
        json.dumps(
            {"steps": options.steps, "moments": options.moments, "seconds": seconds} | errors(motion, mesh, times)
        )
    )


def capture_of(dataset: Dataset) -> Capture:
    frames = [
        Frame(
            name,
            view.width,
            view.height,
            lambda pixels=view.pixels: pixels.numpy(),
            time_s=dataset.time_s(i),
            camera=name.split("/")[0],
        )
        for i, (name, view) in enumerate(zip(dataset.names, dataset.views, strict=True))
    ]
    return Capture(tuple(frames), "a film of a mesh", dataset.cameras)


def errors(motion: MeshBoundMotion, mesh: Mesh, times: list[float]) -> dict[str, float]:
    """Mean errors of vertices in percent of the diagonal, when filmed and between; mean change of edges' lengths."""
    nearest = torch.cdist(motion.vertices.double(), mesh.vertices.double()).argmin(1)
    diagonal = (mesh.vertices.amax(0) - mesh.vertices.amin(0)).norm()

    def error(moments: list[float]) -> float:
        far = [
            at_place(motion.positions, place_in_time(motion.times_s, t)) - mesh.at(t).vertices[nearest] for t in moments
        ]
        return round(100 * float(torch.stack(far).norm(dim=-1).mean() / diagonal), 3)

    ends = edges(motion.faces.long()).ends
    lengths = (motion.positions[:, ends[:, 0]] - motion.positions[:, ends[:, 1]]).norm(dim=-1)
    rest = (motion.vertices[ends[:, 0]] - motion.vertices[ends[:, 1]]).norm(dim=-1)
    still = (mesh.vertices[nearest] - torch.stack([mesh.at(t).vertices[nearest] for t in times])).norm(dim=-1).mean()
    return {
        "error_percent": error(times),
        "between_percent": error([(a + b) / 2 for a, b in itertools.pairwise(times)]),
        "still_percent": round(100 * float(still / diagonal), 3),
        "stretch_percent": round(100 * float((lengths / rest - 1).abs().mean()), 2),
    }


def pictures(splat: MovingSplat, mesh: Mesh, options: argparse.Namespace, times: list[float]) -> dict[str, float]:
    """PSNR and SSIM over white of the first camera, and of those 45 degrees to either side."""
    shown = [times[round(i * (len(times) - 1) / (MOMENTS_SHOWN - 1))] for i in range(MOMENTS_SHOWN)]
    row = {}
    for name, aside in (("seen", (0.0,)), ("aside", ASIDE_DEG)):
        cameras: Cameras = cameras_around([AZIMUTHS[1][0] + a for a in aside], options.side, DISTANCE)
        found = []
        for i, moment in ((i, t) for i in range(len(cameras)) for t in shown):
            truth = picture(mesh, cameras[i], moment)[0]
            with torch.no_grad():
                drawn = render(splat.at(moment), cameras[i], background=torch.ones(3)).rgb.clamp(0, 1)
            found.append((psnr(drawn, truth), ssim(drawn, truth)))
        row |= {f"{name}_psnr": round(sum(p for p, _ in found) / len(found), 2)}
        row |= {f"{name}_ssim": round(sum(s for _, s in found) / len(found), 4)}
    return row


def played(splat: MovingSplat, moving: Mesh, camera: Cameras, times: list[float]) -> dict[str, float]:
    """PSNR of the mesh in the colours of its vertices against the splat, from the first camera."""
    found = []
    for moment in times[:: max(1, len(times) // MOMENTS_SHOWN)]:
        with torch.no_grad():
            drawn = render(splat.at(moment), camera, background=torch.ones(3)).rgb.clamp(0, 1)
        found.append(psnr(picture(moving, camera, moment)[0], drawn))
    return {"mesh_psnr": round(sum(found) / len(found), 2)}


def time_skinning(vertices: int, nodes: int, near: int) -> None:
    """Print milliseconds forward and backward, of the kernel and in plain PyTorch, beside the time of a copy."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(nodes, (vertices, near), generator=generator).int()
    weights = torch.rand(vertices, near, generator=generator)
    weights /= weights.sum(1, keepdim=True)
    turns = quat_exp(0.3 * torch.randn(nodes, 3, generator=generator))
    affine, duals = node_transforms(turns, 0.1 * torch.randn(nodes, 3, generator=generator))
    leaves = [torch.randn(vertices, 3, generator=generator), affine, duals, torch.rand(nodes), quat_log(turns)]
    leaves = [t.detach().requires_grad_() for t in leaves]
    gradient = [torch.randn(vertices, 3, generator=generator) for _ in range(2)]
    with torch_threads(1, weights.device):
        for name, function in (("native", skin), ("PyTorch", reference_skin)):
            forward = milliseconds(lambda f=function: f(*leaves, index, weights))

            def both(f=function) -> None:
                torch.autograd.backward(f(*leaves, index, weights), gradient)

            print(f"{name:<8} forward {forward:7.2f} ms, backward {milliseconds(both) - forward:7.2f} ms")
    block = torch.empty(1 << 24)
    per_ms = 2 * 4 * block.numel() / milliseconds(lambda: block.clone(), 10)
    there, back = 4 * vertices * (2 * near + 9) / per_ms, 4 * vertices * (2 * near + 12) / per_ms
    print(f"floor    forward {there:7.2f} ms, backward {back:7.2f} ms, by bytes")
    print(f"{vertices:,} vertices, {nodes:,} nodes, K = {near}, {_native.num_threads()} threads, {_native.isa()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    one = what.add_parser("film")
    one.add_argument("path", type=Path)
    one.add_argument("--method", default="dreammesh4d")
    one.add_argument("--cameras", type=int, default=1, choices=tuple(AZIMUTHS))
    one.add_argument("--prior", default="oracle", choices=("oracle", "none"))
    one.add_argument("--side", type=int, default=128, help="pixels of the pictures' sides")
    one.add_argument("--every", type=int, default=1, help="film every n-th moment of the mesh")
    one.add_argument("--subdivide", type=int, default=1, help="times that each face becomes four")
    one.add_argument("--set", nargs="*", default=[], help="settings of the method, FIELD=VALUE")
    one.add_argument("-o", "--output", type=Path, help="file for the moving mesh")
    best = what.add_parser("bound")
    best.add_argument("path", type=Path)
    best.add_argument("--steps", type=int, default=600)
    best.add_argument("--moments", type=int, default=8, help="of a step")
    two = what.add_parser("skin")
    two.add_argument("--vertices", type=int, default=20_000)
    two.add_argument("--nodes", type=int, default=1000)
    two.add_argument("--near", type=int, default=4)
    options = parser.parse_args()
    if options.what == "skin":
        time_skinning(options.vertices, options.nodes, options.near)
    elif options.what == "bound":
        bound(options)
    else:
        film(options)


if __name__ == "__main__":
    main()
