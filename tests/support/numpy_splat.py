"""An independent renderer of exported PLY files, in double precision NumPy, one Gaussian after another.

Written from the conventions of the 3DGS family alone; it shares no code with the package and none of its structure
with the PyTorch reference, so that the two can only agree by being right. Slow, and meant to be read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

LOW_PASS = 0.3  # px^2, added to both variances on the image
ALPHA_SKIP = 1 / 255
ALPHA_CLAMP = 0.999
STOP = 1e-4
TYPES = {"float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8", "uchar": "u1", "int": "<i4"}


def read_ply(path: str | Path) -> dict[str, np.ndarray]:
    """Columns float64 [N] of the vertices of a little-endian PLY, by property name."""
    data = Path(path).read_bytes()
    header, _, body = data.partition(b"end_header\n")
    fields: list[tuple[str, str]] = []
    count, element = 0, ""
    for line in header.decode("ascii").splitlines():
        words = line.split()
        if words[:1] == ["element"]:
            element = words[1]
            count = int(words[2]) if element == "vertex" else count
        elif words[:1] == ["property"] and element == "vertex":
            fields.append((words[2], TYPES[words[1]]))
    rows = np.frombuffer(body, dtype=np.dtype(fields), count=count)
    return {name: rows[name].astype(np.float64) for name, _ in fields}


def render_ply(
    path: str | Path,
    cam_from_world: np.ndarray,  # [4, 4]
    K: np.ndarray,  # [3, 3]
    width: int,
    height: int,
    background: np.ndarray | None = None,  # [3]
    antialiased: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """(rgb [H, W, 3], alpha [H, W]) of a splat file seen by one pinhole camera."""
    columns = read_ply(path)
    R, t = cam_from_world[:3, :3], cam_from_world[:3, 3]
    eye = -np.linalg.inv(R) @ t
    means = np.stack([columns[axis] for axis in "xyz"], axis=1)
    in_camera = means @ R.T + t
    pixel_y, pixel_x = np.mgrid[0:height, 0:width] + 0.5
    rgb = np.zeros((height, width, 3))
    light = np.ones((height, width))
    open_pixels = np.ones((height, width), dtype=bool)
    for i in np.argsort(in_camera[:, 2], kind="stable"):
        if in_camera[i, 2] < 0.01:
            continue
        center, cov = _splat(columns, i, in_camera[i], R, K, width, height)
        opacity = 1 / (1 + np.exp(-columns["opacity"][i]))
        blurred = cov + LOW_PASS * np.eye(2)
        if antialiased:
            opacity *= np.sqrt(max(0.0, np.linalg.det(cov) / np.linalg.det(blurred)))
        offset = np.stack([pixel_x - center[0], pixel_y - center[1]], axis=-1)
        power = 0.5 * np.einsum("hwi,ij,hwj->hw", offset, np.linalg.inv(blurred), offset)
        alpha = np.minimum(ALPHA_CLAMP, opacity * np.exp(-power))
        counts = open_pixels & (alpha >= ALPHA_SKIP)
        open_pixels &= ~(counts & (light * (1 - alpha) <= STOP))
        alpha = np.where(counts & open_pixels, alpha, 0.0)
        rgb += (light * alpha)[..., None] * _color(columns, i, means[i] - eye)
        light *= 1 - alpha
    if background is not None:
        rgb += light[..., None] * background
    return rgb, 1 - light


def _splat(
    columns: dict[str, np.ndarray], i: int, p: np.ndarray, R: np.ndarray, K: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Centre [2] and covariance [2, 2] on the image, before the low-pass term, of Gaussian i at p in the camera."""
    w, x, y, z = np.array([columns[f"rot_{k}"][i] for k in range(4)])
    n = np.sqrt(w * w + x * x + y * y + z * z)
    # The rotation as the sandwich product q v q*: the axis-free form (w^2 - |u|^2) I + 2 u u^T + 2 w [u]x.
    w, u = w / n, np.array([x, y, z]) / n
    cross = np.array([[0, -u[2], u[1]], [u[2], 0, -u[0]], [-u[1], u[0], 0]])
    rotation = (w * w - u @ u) * np.eye(3) + 2 * np.outer(u, u) + 2 * w * cross
    variances = np.exp([2 * columns[f"scale_{k}"][i] for k in range(3)])
    sigma = R @ rotation @ np.diag(variances) @ rotation.T @ R.T
    jacobian = np.zeros((2, 3))
    for axis, size in ((0, width), (1, height)):
        focal, middle = K[axis, axis], K[axis, 2]
        margin = 0.3 * (size / 2) / focal
        tangent = np.clip(p[axis] / p[2], -middle / focal - margin, (size - middle) / focal + margin)
        jacobian[axis, axis] = focal / p[2]
        jacobian[axis, 2] = -focal * tangent / p[2]
    return (K @ (p / p[2]))[:2], jacobian @ sigma @ jacobian.T


def _color(columns: dict[str, np.ndarray], i: int, direction: np.ndarray) -> np.ndarray:
    """Colour [3] of Gaussian i along a direction of any length; the file stores harmonics channel by channel."""
    rest = sum(name.startswith("f_rest_") for name in columns) // 3
    basis = _harmonics(direction / np.linalg.norm(direction))[: rest + 1]
    coefficients = [
        [columns[f"f_dc_{c}"][i], *(columns[f"f_rest_{c * rest + k}"][i] for k in range(rest))] for c in range(3)
    ]
    return np.maximum(0.0, np.array(coefficients) @ basis + 0.5)


def _harmonics(d: np.ndarray) -> np.ndarray:
    """The sixteen real spherical harmonics of degrees 0 to 3 at a unit vector, as the 3DGS family signs them."""
    x, y, z = d
    return np.array(
        [
            0.28209479177387814,
            -0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x,
            1.092548430592079 * x * y, -1.092548430592079 * y * z,
            0.3153915652525200 * (2 * z**2 - x**2 - y**2), -1.092548430592079 * x * z,
            0.5462742152960395 * (x**2 - y**2),
            -0.5900435899266435 * y * (3 * x**2 - y**2), 2.890611442640554 * x * y * z,
            -0.4570457994644657 * y * (4 * z**2 - x**2 - y**2),
            0.3731763325901154 * z * (2 * z**2 - 3 * x**2 - 3 * y**2),
            -0.4570457994644657 * x * (4 * z**2 - x**2 - y**2),
            1.445305721320277 * z * (x**2 - y**2), -0.5900435899266435 * x * (x**2 - 3 * y**2),
        ]
    )  # fmt: skip
