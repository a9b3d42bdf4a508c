"""Real spherical harmonics with the signs and the order of 3DGS, and how they turn."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def sh_basis(degree: int, dirs: Tensor) -> Tensor:
    """Real spherical harmonics [..., (degree + 1)^2] of directions [..., 3], normalised here; degree 0 to 4.

    The order is m = -l .. l within each l, with the signs of 3DGS (Condon-Shortley phase).
    """
    if not 0 <= degree <= 4:
        raise ValueError(f"degree: expected 0 to 4, found {degree}")
    x, y, z = normalize(dirs, dim=-1).unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    basis = [torch.full_like(x, 0.28209479177387814)]
    if degree >= 1:
        c = 0.4886025119029199
        basis += [-c * y, c * z, -c * x]
    if degree >= 2:
        c = 1.092548430592079
        basis += [c * x * y, -c * y * z, 0.3153915652525200 * (2 * zz - xx - yy), -c * x * z, c / 2 * (xx - yy)]
    if degree >= 3:
        basis += [
            -0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * x * y * z,
            -0.4570457994644657 * y * (4 * zz - xx - yy),
            0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
            -0.4570457994644657 * x * (4 * zz - xx - yy),
            1.445305721320277 * z * (xx - yy),
            -0.5900435899266435 * x * (xx - 3 * yy),
        ]
    if degree >= 4:
        basis += [
            2.5033429417967046 * x * y * (xx - yy),
            -1.7701307697799304 * y * z * (3 * xx - yy),
            0.9461746957575601 * x * y * (7 * zz - 1),
            -0.6690465435572892 * y * z * (7 * zz - 3),
            0.10578554691520431 * (35 * zz * zz - 30 * zz + 3),
            -0.6690465435572892 * x * z * (7 * zz - 3),
            0.47308734787878004 * (xx - yy) * (7 * zz - 1),
            -1.7701307697799304 * x * z * (xx - 3 * yy),
            0.6258357354491761 * (xx * (xx - 3 * yy) - yy * (3 * xx - yy)),
        ]
    return torch.stack(basis, dim=-1)


def sh_rotation(degree: int, rotation: Tensor) -> Tensor:
    """The matrix [K, K] that turns coefficients with the scene, K = (degree + 1)^2, float64.

    `rotation` [3, 3] takes old directions to new ones; f_new = matrix @ f_old gives f_new(R d) = f_old(d). Each degree
    turns within itself, so its block is found from the basis at directions before and after, in the least-squares
    sense, which is exact because rotated harmonics are harmonics again.
    """
    rotation = rotation.detach().cpu().double()
    generator = torch.Generator().manual_seed(0)
    directions = normalize(torch.randn(64, 3, generator=generator, dtype=torch.float64), dim=-1)
    before, after = sh_basis(degree, directions), sh_basis(degree, directions @ rotation.T)
    matrix = torch.zeros(before.shape[1], before.shape[1], dtype=torch.float64)
    for l in range(degree + 1):
        block = slice(l * l, (l + 1) ** 2)
        # after @ f_new = before @ f_old for every f_old
        turn = torch.linalg.lstsq(after[:, block], before[:, block]).solution
        # An axis flip, and in degree 1 a quarter turn, too, gives entries of 0 and +-1 but for rounding; then it moves
        # values without touching them.
        whole = turn.round()
        matrix[block, block] = whole if bool(((turn - whole).abs() < 1e-12).all()) else turn
    return matrix


def turned_sh(sh: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients [N, K, 3] that turn with the scene; `rotation` [3, 3] takes old directions to new ones.

    The arithmetic is in double precision, degree by degree, so that a turn and back costs two roundings.
    """
    degree = round(sh.shape[1] ** 0.5) - 1
    turn = sh_rotation(degree, rotation).to(sh.device)
    if bool((turn == torch.eye(len(turn), dtype=turn.dtype, device=turn.device)).all()):
        return sh
    blocks = [slice(l * l, (l + 1) ** 2) for l in range(degree + 1)]
    return torch.cat([torch.einsum("jk,nkc->njc", turn[b, b], sh[:, b].double()).to(sh) for b in blocks], dim=1)
