"""A small ray caster for the bundled sample: boxes and lathed bodies, baked soft light, supersampled pinhole views.

World: x right, y up, z towards the viewer, centimetres. Colours are linear unless a name says sRGB.
Light that does not depend on the view (window, room, one bounce) is baked once into a light map per surface, so that
a point looks the same from everywhere; only a mild gloss is added per view.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import PchipInterpolator
from torch import Tensor

RAY_CHUNK = 1 << 16
TILE_PX = 80
LIFT_CM = 0.03  # rays leave a surface from this far above it, so that they do not hit it again
WINDOW_COLOR = torch.tensor([1.0, 0.93, 0.82])
WINDOW_STRENGTH, WINDOW_DISTANCE_CM = 1.75, 180.0  # irradiance over pi that the whole window sends that far
ROOM_COLOR = torch.tensor([0.74, 0.82, 1.0])
ROOM_STRENGTH = 0.75


@dataclass
class Patch:
    """One textured rectangle of surface: a face of a box or the mantle of a lathed body."""

    albedo: Tensor  # [3, H, W] linear
    light: Tensor  # [4, h, w] irradiance over pi, and the part of the window that is seen
    wraps: bool = False  # u is an angle

    def lookup(self, image: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Bilinear samples [n, C] of image [C, H, W] at u, v in [0, 1]."""
        if self.wraps:
            width = image.shape[-1]
            image = torch.cat([image[..., -1:], image, image[..., :1]], dim=-1)
            u = (u * width + 1) / (width + 2)
        grid = torch.stack([u, v], dim=-1)[None, None] * 2 - 1
        found = F.grid_sample(image[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
        return found[0, :, 0].T


@dataclass
class Body:
    """A shape in its own frame; world point = rotation_scale @ local + position."""

    rotation_scale: Tensor  # [3, 3]
    position: Tensor  # [3] cm
    low: Tensor  # [3] bounds in the local frame
    high: Tensor  # [3]
    gloss: float  # 0 matt .. 1 glazed
    light_texels: float = 1.0  # size of its light map's texels, in the scene's
    patches: list[Patch] = field(default_factory=list)

    def to_local(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        inverse = torch.linalg.inv(self.rotation_scale)
        return (origins - self.position) @ inverse.T, directions @ inverse.T

    def to_world(self, points: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        normals = normals @ torch.linalg.inv(self.rotation_scale)
        return points @ self.rotation_scale.T + self.position, F.normalize(normals, dim=-1)

    def enter(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Distances [n] at which local rays enter and leave the bounds."""
        inverse = 1 / torch.where(directions.abs() < 1e-9, 1e-9, directions)
        a, b = (self.low - origins) * inverse, (self.high - origins) * inverse
        return torch.minimum(a, b).amax(-1), torch.maximum(a, b).amin(-1)


class Box(Body):
    """Faces in the order -x, +x, -y, +y, -z, +z; on a side face v runs down, on the top face v runs along +z."""

    def intersect(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Distance [n] (inf: missed), face [n], u [n], v [n] of local rays."""
        near, far = self.enter(origins, directions)
        t = torch.where((far > near) & (far > 0), near.clamp_min(0), torch.inf)
        unit = (origins + near[:, None] * directions - self.low) / (self.high - self.low) * 2 - 1
        axis = unit.abs().argmax(-1)
        side = unit.gather(1, axis[:, None])[:, 0] > 0
        x, y, z = ((unit + 1) / 2).clamp(0, 1).unbind(-1)
        u = torch.where(axis == 0, torch.where(side, 1 - z, z), torch.where((axis == 2) & ~side, 1 - x, x))
        v = torch.where(axis == 1, z, 1 - y)
        return t, axis * 2 + side, u, v

    def surface(self, face: int, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Local points and normals [n, 3] of a face."""
        axis, side = face // 2, face % 2
        unit = torch.empty(len(u), 3)
        unit[:, axis] = side
        if axis == 0:
            unit[:, 2], unit[:, 1] = (1 - u if side else u), 1 - v
        elif axis == 1:
            unit[:, 0], unit[:, 2] = u, v
        else:
            unit[:, 0], unit[:, 1] = (u if side else 1 - u), 1 - v
        normals = torch.zeros(len(u), 3)
        normals[:, axis] = 2 * side - 1
        return self.low + unit * (self.high - self.low), normals

    def face_size(self, face: int) -> tuple[float, float]:
        """Width and height of a face, cm."""
        x, y, z = ((self.high - self.low) * self.rotation_scale.norm(dim=0)).tolist()
        return ((z, y), (x, z), (x, y))[face // 2]


@dataclass
class Lathe(Body):
    """A profile (radius, y) turned about the y axis, from the bottom of its outside on; v runs along the profile."""

    profile: Tensor = field(default_factory=lambda: torch.empty(0, 2))  # [S + 1, 2] cm

    def _frames(self) -> tuple[Tensor, Tensor]:
        """Segments [S, 2] and smooth outward normals [S + 1, 2] in (radius, y)."""
        step = self.profile[1:] - self.profile[:-1]
        normals = F.normalize(torch.stack([step[:, 1], -step[:, 0]], -1), dim=-1)
        ends = torch.cat([normals[:1], normals]) + torch.cat([normals, normals[-1:]])
        return step, F.normalize(ends, dim=-1)

    def intersect(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As Box.intersect; every segment of the profile is a cone, alpha r + beta y = delta."""
        near, far = self.enter(origins, directions)
        count = len(origins)
        t_all, u_all, v_all = torch.full((count,), torch.inf), torch.zeros(count), torch.zeros(count)
        hit = torch.nonzero((far > near) & (far > 0))[:, 0]
        start = near[hit].clamp_min(0)
        o, d = origins[hit] + start[:, None] * directions[hit], directions[hit]
        step, _ = self._frames()
        length2 = (step**2).sum(-1)
        alpha, beta = step[:, 1] / length2.sqrt(), -step[:, 0] / length2.sqrt()
        delta = alpha * self.profile[:-1, 0] + beta * self.profile[:-1, 1]
        A = (d[:, 0] ** 2 + d[:, 2] ** 2)[:, None]
        B = (o[:, 0] * d[:, 0] + o[:, 2] * d[:, 2])[:, None]
        C = (o[:, 0] ** 2 + o[:, 2] ** 2)[:, None]
        e, g = delta - beta * o[:, 1:2], -beta * d[:, 1:2]
        root = alpha.abs() * (alpha**2 * (B * B - A * C) - 2 * B * e * g + A * e * e + C * g * g).sqrt()
        best, where = torch.full((len(hit),), torch.inf), torch.zeros(len(hit))
        for sign in (-1, 1):
            t = (e * g - alpha**2 * B + sign * root) / (alpha**2 * A - g * g)
            y = o[:, 1:2] + t * d[:, 1:2]
            r = (A * t * t + 2 * B * t + C).clamp_min(0).sqrt()
            along = ((r - self.profile[:-1, 0]) * step[:, 0] + (y - self.profile[:-1, 1]) * step[:, 1]) / length2
            valid = (t > -1e-4) & (along >= -1e-4) & (along <= 1.0001) & (alpha * (delta - beta * y) >= -1e-4)
            closest, index = torch.where(valid, t, torch.inf).min(-1)
            v = (index + along.gather(1, index[:, None])[:, 0]) / len(step)
            where = torch.where(closest < best, v, where)
            best = torch.minimum(closest, best)
        at = o + best.nan_to_num(posinf=0)[:, None] * d
        t_all[hit], v_all[hit] = start + best, where.clamp(0, 1)
        u_all[hit] = torch.atan2(at[:, 2], at[:, 0]) / (2 * math.pi) % 1
        return t_all, torch.zeros(count, dtype=torch.int64), u_all, v_all

    def surface(self, face: int, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        _, ends = self._frames()
        place = (v * (len(self.profile) - 1)).clamp(0, len(self.profile) - 1 - 1e-4)
        i, w = place.long(), (place % 1)[:, None]
        r, y = (self.profile[i] * (1 - w) + self.profile[i + 1] * w).unbind(-1)
        nr, ny = F.normalize(ends[i] * (1 - w) + ends[i + 1] * w, dim=-1).unbind(-1)
        c, s = torch.cos(u * 2 * math.pi), torch.sin(u * 2 * math.pi)
        return torch.stack([r * c, y, r * s], -1), torch.stack([nr * c, ny, nr * s], -1)

    def face_size(self, face: int) -> tuple[float, float]:
        scale = self.rotation_scale.norm(dim=0).mean().item()
        around = 2 * math.pi * self.profile[:, 0].max().item() * scale
        return around, (self.profile[1:] - self.profile[:-1]).norm(dim=-1).sum().item() * scale


def pose(yaw_deg: float = 0, tilt_deg: float = 0, roll_deg: float = 0, scale: tuple[float, float, float] = (1, 1, 1)):
    """Rotation about y (yaw) after x (tilt) after z (roll) after a scale, [3, 3]."""
    a, b, c = (math.radians(x) for x in (yaw_deg, tilt_deg, roll_deg))
    yaw = [[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]]
    tilt = [[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]]
    roll = [[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]]
    return torch.tensor(yaw) @ torch.tensor(tilt) @ torch.tensor(roll) @ torch.diag(torch.tensor(scale).float())


def smooth_profile(points: list[tuple[float, float]], segments: int) -> Tensor:
    """A curve [segments + 1, 2] of equal arc steps through (radius, y) points."""
    knots = np.asarray(points, dtype=np.float64)
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    fine = PchipInterpolator(chord, knots)(np.linspace(0, chord[-1], 2000))
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    even = np.linspace(0, arc[-1], segments + 1)
    curve = np.stack([np.interp(even, arc, fine[:, 0]), np.interp(even, arc, fine[:, 1])], -1)
    curve[:, 0] = curve[:, 0].clip(0)
    return torch.from_numpy(curve).float()


def linear_albedo(srgb: np.ndarray) -> Tensor:
    """[3, H, W] linear from an sRGB picture [H, W, 3] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(srgb.clip(0.01, 0.98) ** 2.2, dtype=np.float32)).permute(2, 0, 1)


class Scene:
    """Bodies under one window and the diffuse light of a room."""

    def __init__(self, bodies: list[Box | Lathe], window: Tensor) -> None:
        self.bodies = bodies
        self.window = window  # [4, 3] corners, in order
        self.window_center = window.mean(0)
        # Bounding spheres [bodies, 3], [bodies], a little large against rounding.
        self.centers = torch.stack([b.rotation_scale @ ((b.low + b.high) / 2) + b.position for b in bodies])
        scales = torch.stack([b.rotation_scale.norm(dim=0) for b in bodies])
        self.radii = (torch.stack([(b.high - b.low) / 2 for b in bodies]) * scales).norm(dim=-1) * 1.01 + 0.1

    def trace(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Nearest hit of unit rays: distance [n] (inf: none), body [n] (-1: none), face [n], u [n], v [n]."""
        n = len(origins)
        t, body = torch.full((n,), torch.inf), torch.full((n,), -1)
        face, u, v = torch.zeros(n, dtype=torch.int64), torch.zeros(n), torch.zeros(n)
        ahead = directions @ self.centers.T - (origins * directions).sum(-1, keepdim=True)  # [n, bodies]
        away2 = (origins**2).sum(-1, keepdim=True) - 2 * origins @ self.centers.T + (self.centers**2).sum(-1)
        near = (away2 - ahead**2 < self.radii**2) & (ahead > -self.radii)
        for index, shape in enumerate(self.bodies):
            rays = torch.nonzero(near[:, index])[:, 0]
            found = shape.intersect(*shape.to_local(origins[rays], directions[rays]))
            closer = found[0] < t[rays]
            rays = rays[closer]
            t[rays], face[rays], u[rays], v[rays] = (part[closer] for part in found)
            body[rays] = index
        return t, body, face, u, v

    def room_light(self, directions: Tensor) -> Tensor:
        """Light from the room for rays [n, 3] that hit nothing: a bright ceiling, a darker floor and far wall."""
        return (0.62 + 0.38 * directions[:, 1:2].clamp(-1, 1)) * ROOM_COLOR

    def shade(self, directions: Tensor, hit: tuple[Tensor, ...], gloss: bool, origins: Tensor) -> Tensor:
        """Radiance [n, 3] along rays from their hits."""
        t, body, face, u, v = hit
        color = self.room_light(directions)
        for index in body.unique().tolist():
            shape = self.bodies[index] if index >= 0 else None
            for number, patch in enumerate(shape.patches if shape else []):
                at = torch.nonzero((body == index) & (face == number))[:, 0]
                if not len(at):
                    continue
                albedo = patch.lookup(patch.albedo, u[at], v[at])
                light = patch.lookup(patch.light, u[at], v[at])
                color[at] = albedo * light[:, :3]
                if gloss and shape.gloss:
                    points = origins[at] + t[at, None] * directions[at]
                    _, normals = shape.to_world(*shape.surface(number, u[at], v[at]))
                    color[at] += self._gloss(shape.gloss, points, normals, directions[at], light)
        return color

    def _gloss(self, gloss: float, points: Tensor, normals: Tensor, directions: Tensor, light: Tensor) -> Tensor:
        """Blinn-Phong of the window where it is seen, and Schlick's reflection of the light around the point."""
        to_light = F.normalize(self.window_center - points, dim=-1)
        half = F.normalize(to_light - directions, dim=-1)
        exponent = 12 + 110 * gloss**2
        cosine = (-(directions * normals).sum(-1, keepdim=True)).clamp(0, 1)
        fresnel = 0.04 + 0.96 * (1 - cosine) ** 5
        lobe = (half * normals).sum(-1, keepdim=True).clamp_min(0) ** exponent
        return gloss * (0.55 * lobe * light[:, 3:] * WINDOW_COLOR + 0.3 * fresnel * light[:, :3])

    def bake(self, texel_cm: float, window_side: int, room_rays: int) -> None:
        """Fill every light map: the window, then the room and one bounce of what the window lit."""
        self._gather(texel_cm, lambda p, n: self._from_window(p, n, window_side))
        direct = [[patch.light for patch in shape.patches] for shape in self.bodies]
        self._gather(texel_cm, lambda p, n: self._from_room(p, n, room_rays))
        for shape, lights in zip(self.bodies, direct, strict=True):
            for patch, light in zip(shape.patches, lights, strict=True):
                patch.light = _smooth(patch.light + light, patch.wraps)

    def _gather(self, texel_cm: float, light_at: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Set every light map to light_at(points, normals) of its texels, all surfaces in one batch."""
        patches, sizes, places = [], [], []
        for shape in self.bodies:
            for face, patch in enumerate(shape.patches):
                texel = texel_cm * shape.light_texels
                w, h = (max(6, round(size / texel)) for size in shape.face_size(face))
                v, u = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
                places.append(shape.to_world(*shape.surface(face, u.flatten(), v.flatten())))
                patches.append(patch)
                sizes.append((h, w))
        points, normals = (torch.cat(part) for part in zip(*places, strict=True))
        lights = light_at(points + LIFT_CM * normals, normals).split([h * w for h, w in sizes])
        for patch, light, (h, w) in zip(patches, lights, sizes, strict=True):
            patch.light = light.T.reshape(4, h, w)

    def _from_window(self, points: Tensor, normals: Tensor, side: int) -> Tensor:
        """[n, 4]: the same side x side points of the window for all, so that the penumbra has no grain."""
        total = torch.zeros(len(points), 4)
        corner, right, down = self.window[0], self.window[1] - self.window[0], self.window[3] - self.window[0]
        facing = F.normalize(torch.linalg.cross(right, down), dim=-1)
        for k in range(side * side):
            # A rotated grid: no two samples share a row, so straight edges cast even penumbrae.
            a, b = (k % side + (k // side + 0.5) / side) / side, (k // side + (k % side + 0.5) / side) / side
            to_light = corner + a * right + b * down - points
            distance = to_light.norm(dim=-1, keepdim=True)
            direction = to_light / distance
            strength = (direction * normals).sum(-1).clamp_min(0) * (direction @ facing).abs()
            lit = torch.nonzero(strength > 1e-4)[:, 0]
            for part in lit.split(RAY_CHUNK):
                free = self.trace(points[part], direction[part])[0] > distance[part, 0]
                arriving = free * strength[part] * (WINDOW_DISTANCE_CM / distance[part, 0]) ** 2
                total[part, :3] += arriving[:, None] * WINDOW_COLOR * WINDOW_STRENGTH
                total[part, 3] += free
        return total / side**2

    def _from_room(self, points: Tensor, normals: Tensor, rays: int) -> Tensor:
        """[n, 4]: cosine-weighted directions on a Fibonacci spiral in each point's tangent frame."""
        total = torch.zeros(len(points), 4)
        helper = torch.where(normals[:, 1:2].abs() < 0.9, torch.tensor([0.0, 1, 0]), torch.tensor([1.0, 0, 0]))
        tangent = F.normalize(torch.linalg.cross(helper, normals), dim=-1)
        bitangent = torch.linalg.cross(normals, tangent)
        for k in range(rays):
            radius, angle = math.sqrt((k + 0.5) / rays), k * math.pi * (3 - math.sqrt(5))
            x, y, z = radius * math.cos(angle), radius * math.sin(angle), math.sqrt(1 - radius**2)
            direction = x * tangent + y * bitangent + z * normals
            for part in torch.arange(len(points)).split(RAY_CHUNK):
                hit = self.trace(points[part], direction[part])
                total[part, :3] += self.shade(direction[part], hit, False, points[part])
        return total * ROOM_STRENGTH / rays

    def render(self, world_from_cam: Tensor, focal_px: float, width: int, height: int, oversampling: int) -> Tensor:
        """Linear picture [height, width, 3] from an OpenCV camera [4, 4], the mean of oversampling^2 rays a pixel."""
        picture = torch.empty(height, width, 3)
        for top in range(0, height, TILE_PX):
            for left in range(0, width, TILE_PX):
                h, w = min(TILE_PX, height - top), min(TILE_PX, width - left)
                y = top - height / 2 + (torch.arange(h * oversampling) + 0.5) / oversampling
                x = left - width / 2 + (torch.arange(w * oversampling) + 0.5) / oversampling
                v, u = torch.meshgrid(y, x, indexing="ij")
                local = torch.stack([u / focal_px, v / focal_px, torch.ones_like(u)], -1).reshape(-1, 3)
                directions = F.normalize(local, dim=-1) @ world_from_cam[:3, :3].T
                origins = world_from_cam[:3, 3].expand_as(directions)
                hit = self.trace(origins, directions)
                color = self.shade(directions, hit, True, origins).clamp(0, 4)
                color = color.reshape(h, oversampling, w, oversampling, 3)
                picture[top : top + h, left : left + w] = color.mean((1, 3))
        return picture


def _smooth(light: Tensor, wraps: bool) -> Tensor:
    """A 3x3 binomial filter over a light map, for the grain of its few rays."""
    padded = F.pad(light[None], (1, 1, 0, 0), mode="circular" if wraps else "replicate")
    padded = F.pad(padded, (0, 0, 1, 1), mode="replicate")
    kernel = torch.tensor([1.0, 2, 1])[:, None] * torch.tensor([1.0, 2, 1]) / 16
    return F.conv2d(padded.transpose(0, 1), kernel[None, None])[:, 0]
