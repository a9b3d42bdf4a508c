"""Meshes of known shape."""

from __future__ import annotations

import torch
from fewview.scene.mesh_topology import edges
from fewview.scene.triangle_mesh import Mesh


def cube(size: float = 1.0) -> Mesh:
    """A cube from the origin, each side two triangles, its colours those of its corners."""
    corners = torch.tensor([[c & 1, c >> 1 & 1, c >> 2] for c in range(8)], dtype=torch.float32)
    quads = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    faces = torch.tensor([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))])
    return Mesh(corners * size, faces, colors=(corners * 255).to(torch.uint8))


def ball(radius: float = 1.0, times: int = 4) -> Mesh:
    """A ball about the origin: an octahedron whose faces are cut into four so often; coloured by direction."""
    points = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    signs = [(x, y, z) for x in (0, 3) for y in (0, 3) for z in (0, 3)]
    faces = torch.tensor([(x, y + 1, z + 2) if (x + y + z) % 2 == 0 else (y + 1, x, z + 2) for x, y, z in signs])
    for _ in range(times):
        found = edges(faces)
        a, b, c = (len(points) + found.of_face).unbind(1)  # the middle of (0, 1), (1, 2), (2, 0)
        points = torch.nn.functional.normalize(torch.cat([points, points[found.ends].mean(1)]), dim=1)
        p, q, r = faces.unbind(1)
        faces = torch.cat([torch.stack(t, 1) for t in ((p, a, c), (a, q, b), (c, b, r), (a, b, c))])
    out = points.float()
    return Mesh(out * radius, faces, colors=((out + 1) / 2 * 255).to(torch.uint8))


def painted_cube(side_px: int = 16) -> Mesh:
    """A cube with a picture of noise on it: each side has its own corners, and a third of the width of the picture."""
    plain = cube()
    vertices, uv, faces = [], [], []
    for side in range(6):
        a, b, c, d = (*plain.faces[2 * side].tolist(), plain.faces[2 * side + 1, 2].item())
        column, row = side % 3, side // 3
        faces += [(4 * side, 4 * side + 1, 4 * side + 2), (4 * side, 4 * side + 2, 4 * side + 3)]
        vertices.append(plain.vertices[[a, b, c, d]])
        uv += [((column + x) / 3, (row + y) / 2) for x, y in ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9))]
    texture = torch.randint(0, 256, (2 * side_px, 3 * side_px, 3), generator=torch.Generator().manual_seed(0))
    return Mesh(torch.cat(vertices), torch.tensor(faces), uv=torch.tensor(uv), texture=texture.to(torch.uint8))
