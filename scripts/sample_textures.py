"""Procedural pictures for the bundled sample: tiles, wood, cloth, print, fruit skins. All are sRGB in 0..1.

Every function takes the generator that makes it deterministic. Nothing repeats exactly: patterns that do are no
landmarks for matching.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import map_coordinates

Color = tuple[float, float, float]
CREAM, INK = (0.93, 0.90, 0.82), (0.16, 0.17, 0.22)
COBALT, NAVY, SKY = (0.16, 0.30, 0.62), (0.10, 0.16, 0.36), (0.45, 0.64, 0.80)
OCHRE, TERRACOTTA, SAGE = (0.85, 0.62, 0.22), (0.74, 0.36, 0.24), (0.45, 0.56, 0.44)


def noise(height: int, width: int, cells: tuple[float, float], rng: Generator, octaves: int = 5) -> np.ndarray:
    """Fractal noise [height, width] of about unit spread; cells (down, across) is its coarsest lattice."""
    total, weight = np.zeros((height, width), np.float32), 1.0
    for octave in range(octaves):
        shape = [max(2, min(size, round(c * 2**octave) + 1)) for c, size in zip(cells, (height, width), strict=True)]
        lattice = rng.standard_normal(shape).astype(np.float32)
        total += weight * cv2.resize(lattice, (width, height), interpolation=cv2.INTER_CUBIC)
        weight *= 0.6
    return total


def solid_noise(points: np.ndarray, cell: float, rng: Generator, octaves: int = 5) -> np.ndarray:
    """Fractal noise at points [..., 3]: as noise, but cut from a block, so that round bodies have no seam."""
    total, weight = np.zeros(points.shape[:-1]), 1.0
    for octave in range(octaves):
        lattice = rng.standard_normal((24, 24, 24))
        place = np.moveaxis(points * 2**octave / cell + 7.3, -1, 0)
        total += weight * 2.2 * map_coordinates(lattice, place, order=3, prefilter=False, mode="grid-wrap")
        weight *= 0.6
    return total


def mix(a: np.ndarray | Color, b: np.ndarray | Color, amount: np.ndarray) -> np.ndarray:
    """a where amount is 0, b where it is 1; amount [...] is clipped."""
    amount = np.clip(amount, 0, 1)[..., None]
    return (np.asarray(a) * (1 - amount) + np.asarray(b) * amount).astype(np.float32)


def step(value: np.ndarray, edge: float, softness: float) -> np.ndarray:
    """0 below the edge, 1 above it, with a ramp of the given width."""
    return np.clip((value - edge) / softness + 0.5, 0, 1)


def write(
    picture: np.ndarray, text: str, center: tuple[float, float], size: float, color: Color, room: float = 0.84
) -> np.ndarray:
    """The picture with a line of text centred at (x, y) in fractions of its width and height.

    size: of the letters, of the picture's height; less where the line would be wider than room of its width.
    """
    height, width = picture.shape[:2]
    mask = Image.new("L", (width, height))
    length = ImageFont.load_default(max(1.0, size * height)).getlength(text)
    font = ImageFont.load_default(max(1.0, size * height * min(1, room * width / max(length, 1))))
    ImageDraw.Draw(mask).text((center[0] * width, center[1] * height), text, 255, font, anchor="mm")
    return mix(picture, color, np.asarray(mask, np.float32) / 255)


def frame_lines(picture: np.ndarray, inset: float, thickness: float, color: Color) -> np.ndarray:
    """The picture with a rectangular line, inset and thickness in pixels."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    depth = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    return mix(picture, color, step(thickness / 2 - np.abs(depth - inset), 0, 1.0))


def worn(picture: np.ndarray, rng: Generator, amount: float = 0.10) -> np.ndarray:
    """The picture with stains and fine grain, as printed or painted matter has after years."""
    height, width = picture.shape[:2]
    scale = max(height, width) / 40
    stains = noise(height, width, (height / scale / 8, width / scale / 8), rng, 6)
    grain = noise(height, width, (height / 4, width / 4), rng, 2)
    return picture * (1 + amount * (0.45 * stains + 0.35 * grain))[..., None]


def planks(height: int, width: int, px_per_cm: float, rng: Generator, plank_cm: float = 13.0) -> np.ndarray:
    """A wooden board of planks that run across the picture."""
    rows, top = [], 0
    while top < height:
        h = min(round(plank_cm * px_per_cm), height - top)
        bend = noise(h, width, (1.5, width / px_per_cm / 25), rng, 4)
        v = np.linspace(-1, 1, h)[:, None] + rng.uniform(-1.5, 1.5)
        rings = np.sin(13 * (v + 0.22 * bend) + 3 * noise(h, width, (2, width / px_per_cm / 40), rng, 3))
        for _ in range(rng.poisson(width / px_per_cm / 70)):
            y, x = np.mgrid[:h, :width] / px_per_cm
            away = np.hypot((x - rng.uniform(0, width / px_per_cm)) / 2.2, y - rng.uniform(0.2, 0.8) * plank_cm)
            away = away + 0.12 * bend
            near = np.exp(-((away / 1.6) ** 2))
            rings = rings * (1 - near) + near * np.sin(away * 9) - 2.2 * np.exp(-((away / 0.45) ** 2))
        fiber = noise(h, width, (h / 3, width / px_per_cm / 6), rng, 3)
        pores = np.minimum(noise(h, width, (h / 2, width / px_per_cm / 2), rng, 2) + 1.3, 0)
        tone = 0.40 + 0.14 * rings + 0.11 * fiber + 0.12 * bend + 0.25 * pores + rng.uniform(-0.1, 0.16)
        plank = mix((0.36, 0.22, 0.13), (0.76, 0.56, 0.36), tone)
        plank[: max(1, round(0.12 * px_per_cm))] *= 0.45
        rows.append(plank)
        top += h
    return np.concatenate(rows)


def tile(side: int, rng: Generator) -> np.ndarray:
    """One hand-painted tile [side, side, 3]: a random ornament, mirrored or turned, in one of a few palettes."""
    y, x = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    wobble = 0.035
    x = x + wobble * noise(side, side, (3, 3), rng, 2)
    y = y + wobble * noise(side, side, (3, 3), rng, 2)
    kind = rng.choice(5, p=[0.28, 0.22, 0.2, 0.15, 0.15])
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    if kind == 0:
        a, b = np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
        value = sum(
            rng.normal() / (1 + 0.25 * (i + j)) * np.cos(np.pi * i * a) * np.cos(np.pi * j * b)
            for i in range(4)
            for j in range(4)
        )
    elif kind == 1:
        petals = rng.integers(4, 9)
        value = np.cos(petals * angle + rng.uniform(-1, 1) * 3 * radius) + 1.2 * np.cos(rng.uniform(4, 9) * radius)
    elif kind == 2:
        value = 1.2 * noise(side, side, (2.5, 2.5), rng, 2) + 0.8 * np.cos(rng.uniform(3, 7) * (x + rng.normal() * y))
    elif kind == 3:
        corner = np.hypot(x + rng.choice([-1, 1]), y + rng.choice([-1, 1]))
        value = np.cos(rng.uniform(6, 11) * corner) + 0.7 * np.cos(6 * np.arctan2(y - 1.01, x - 1.01))
    else:
        value = np.full_like(x, -9)
    palettes = [(CREAM, COBALT, NAVY), (CREAM, SKY, COBALT), (CREAM, OCHRE, COBALT), (CREAM, SAGE, NAVY)]
    light, middle, dark = palettes[rng.choice(4, p=[0.4, 0.25, 0.2, 0.15])]
    value = (value - value.mean()) / (value.std() + 1e-6)
    soft = 9.0 / side
    brush = 0.75 + 0.25 * noise(side, side, (5, 2), rng, 3)
    picture = mix(light, middle, step(value, 0.25, soft * 3) * brush)
    picture = mix(picture, dark, step(0.13 - np.abs(value - 0.25), 0, soft * 2) * brush)
    picture = mix(picture, dark, step(value, 1.35, soft * 3) * brush)
    if kind == 4:
        motif = noise(side, side, (3, 3), rng, 4) - 2.2 * (radius - 0.35)
        picture = mix(light, middle, step(motif, 0.5, 0.5) * brush)
        picture = mix(picture, dark, step(0.2 - np.abs(radius - 0.82), 0, 0.05) * step(brush, 0.8, 0.3) * 0.85)
    return picture * rng.uniform(0.9, 1.04)


def tiled_wall(height: int, width: int, px_per_cm: float, rng: Generator, top_cm: float, tile_cm: float) -> np.ndarray:
    """Plaster above top_cm from the picture's lower edge, hand-painted tiles with grout below."""
    side = round(tile_cm * px_per_cm)
    plaster = 0.75 + 0.05 * noise(height, width, (5, 12), rng, 7) + 0.03 * noise(height, width, (40, 100), rng, 3)
    picture = plaster[..., None] * np.array([1.0, 0.90, 0.74])
    cracks = np.abs(noise(height, width, (3, 7), rng, 6))
    picture = mix(picture, (0.62, 0.54, 0.43), 0.5 * step(-cracks, -0.02, 0.03))
    for row in range(int(top_cm / tile_cm)):
        for column in range(-(-width // side)):
            patch = tile(side, rng)
            depth = np.minimum(np.arange(side), np.arange(side)[::-1])
            depth = np.minimum(depth[:, None], depth[None, :])
            patch = mix((0.70, 0.67, 0.60), patch, step(depth.astype(float), 0.02 * side, 0.02 * side))
            patch *= (1 + 0.05 * noise(side, side, (2, 2), rng, 5))[..., None]
            low, left = height - row * side, column * side
            part = picture[max(0, low - side) : low, left : left + side]
            part[:] = patch[-part.shape[0] :, : part.shape[1]]
    edge = height - int(top_cm / tile_cm) * side
    trim = max(1, round(2.0 * px_per_cm))
    picture[edge - trim : edge] = (
        np.array(COBALT) * (1 + 0.25 * noise(trim, width, (2, width / px_per_cm / 6), rng, 4))[..., None]
    )
    return picture


def cloth(height: int, width: int, px_per_cm: float, rng: Generator) -> np.ndarray:
    """A woven runner with embroidered bands, no two alike, and visible threads."""
    y, x = np.mgrid[:height, :width] / px_per_cm
    y, x = y + 0.15 * noise(height, width, (3, 4), rng, 3), x + 0.15 * noise(height, width, (3, 4), rng, 3)
    picture = np.broadcast_to(np.float32((0.86, 0.80, 0.68)), (height, width, 3)).copy()
    colors, at = [TERRACOTTA, NAVY, OCHRE, SAGE, (0.55, 0.16, 0.18)], 1.2
    while at < width / px_per_cm - 1.5:
        band, color = rng.uniform(1.2, 5.0), colors[rng.integers(len(colors))]
        v, inside = (x - at) / band, step(np.minimum(x - at, at + band - x), 0, 0.15)
        kind, pitch = rng.integers(4), rng.uniform(1.6, 4.5)
        phase = (y / pitch + rng.uniform()) % 1
        pick = rng.random(64)[(y / pitch).astype(int).clip(0, 63)]
        figure = (
            np.ones_like(v),
            step(0.5 * (0.4 + 0.6 * pick) - np.abs(v - 0.5) - np.abs(phase - 0.5), 0, 0.08),
            step(0.22 - np.abs(np.abs(phase - 0.5) * 2 - v), 0, 0.1) + step(pick, 0.7, 0.01) * (np.abs(v - 0.5) < 0.2),
            step(np.sin(v * 9) + np.sin(phase * 6.28 + pick * 3), 0.3, 0.2),
        )[kind]
        picture = mix(picture, color, inside * figure * 0.92)
        at += band + rng.uniform(0.3, 2.2)
    threads = 0.5 + 0.25 * (np.sin(x * 19) * np.sin(y * 17)) + 0.16 * noise(height, width, (height / 3, 8), rng, 2)
    threads = threads + 0.16 * noise(height, width, (8, width / 3), rng, 2)
    return worn(picture * (0.72 + 0.42 * threads)[..., None], rng, 0.06)


def cover(height: int, width: int, rng: Generator, base: Color, accent: Color, lines: list[str]) -> np.ndarray:
    """The front of a clothbound book: a stamped emblem, a rule and its title."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width) * width / height, indexing="ij")
    picture = np.broadcast_to(np.float32(base), (height, width, 3)) * np.ones((height, width, 1))
    radius, angle = np.hypot(x, y - 0.28), np.arctan2(y - 0.28, x)
    k = rng.integers(5, 12)
    emblem = step(0.36 + 0.09 * np.cos(k * angle) + 0.05 * noise(height, width, (3, 3), rng, 2) - radius, 0, 0.03)
    emblem *= 1 - step(0.05 - np.abs(radius - 0.2 - 0.04 * np.cos(2 * k * angle)), 0, 0.03)
    picture = mix(picture, accent, emblem * 0.9)
    for row, line in enumerate(lines):
        picture = write(picture, line, (0.5, 0.15 + 0.125 * row), 0.115, accent)
    picture = frame_lines(picture, height * 0.045, max(1.2, height * 0.012), accent)
    weave = noise(height, width, (height / 2.5, width / 2.5), rng, 1)
    return worn(picture * (1 + 0.07 * weave)[..., None], rng, 0.13)


def spine(height: int, width: int, rng: Generator, base: Color, accent: Color, title: str) -> np.ndarray:
    """The back of a book that lies flat: its title between two rules."""
    picture = np.broadcast_to(np.float32(base), (height, width, 3)) * np.ones((height, width, 1))
    for x in (0.06, 0.085, 0.91, 0.94):
        picture[:, round(x * width) : round(x * width) + max(1, width // 130)] = accent
    return worn(write(picture, title, (0.5, 0.47), 0.55, accent), rng, 0.13)


def pages(height: int, width: int, rng: Generator, base: Color) -> np.ndarray:
    """The cut edge of a book, with the boards of its cover above and below."""
    leaves = noise(height, width, (height, 2), rng, 1) * 0.09 + noise(height, width, (4, 9), rng, 3) * 0.05
    picture = (0.80 + leaves)[..., None] * np.array([1.0, 0.95, 0.82])
    board = max(1, round(height * 0.09))
    picture[:board] = picture[-board:] = base
    return picture


def landscape(height: int, width: int, rng: Generator) -> np.ndarray:
    """A small oil painting: an evening sky over ranges of hills, brushed."""
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    cloud = noise(height, width, (6, 2.5), rng, 6)
    picture = mix((0.30, 0.46, 0.68), (0.98, 0.78, 0.52), y * 2.0 + 0.10 * cloud)
    picture = mix(picture, (0.98, 0.90, 0.80), step(cloud - 2 * np.abs(y - 0.22), 0.5, 0.8) * 0.8)
    sun = np.hypot((x - 0.66) * width / height, y - 0.36)
    picture = mix(picture, (1.0, 0.93, 0.70), step(0.07 - sun, 0, 0.015) + 0.4 * np.exp(-((sun / 0.16) ** 2)))
    for depth in range(6):
        ridge = 0.40 + 0.105 * depth + (0.085 - 0.008 * depth) * noise(1, width, (1, 2.5 + depth), rng, 6)
        near = depth / 5
        shade = noise(height, width, (9, 14), rng, 5) * 0.12
        color = mix((0.52, 0.56, 0.72), (0.20, 0.30, 0.17), np.full_like(y, near) + shade)
        color = mix(color, (0.80, 0.62, 0.28), 0.55 * step(noise(height, width, (8, 10), rng, 4), 0.6, 0.5) * near)
        picture = mix(picture, color, step(y - ridge, 0, 3.0 / height))
    strokes = noise(height, width, (height / 3, width / 9), rng, 2)
    return picture * (1 + 0.07 * strokes)[..., None]


def alphabet(height: int, width: int, rng: Generator) -> np.ndarray:
    """A letterpress poster: rows of letters of all sizes on paper."""
    picture = np.broadcast_to(np.float32((0.92, 0.88, 0.78)), (height, width, 3)).copy()
    colors, letters = [INK, TERRACOTTA, COBALT, INK, SAGE], iter("ABCDEFGHJKLMNPQRSTUVWXYZ&?48235679")
    top = 0.09
    for count, size in ((3, 0.21), (5, 0.13), (4, 0.17), (7, 0.09), (5, 0.13)):
        for k in range(count):
            letter = next(letters, "*")
            middle = (0.08 + 0.84 * (k + 0.5) / count, top + size / 2)
            picture = write(picture, letter, middle, size * 1.15, colors[rng.integers(len(colors))])
        top += size * 1.08
    return worn(frame_lines(picture, height * 0.03, 2.0, INK), rng, 0.09)


def label(height: int, width: int, rng: Generator, base: Color, accent: Color, lines: list[str]) -> np.ndarray:
    """A printed tin label: a medallion with lettering on a ground of leaves."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width) * width / height, indexing="ij")
    leaves = noise(height, width, (7, 7 * width / height), rng, 2)
    picture = mix(base, np.array(base) * 0.62, step(np.abs(leaves), 0.35, 0.15))
    picture = mix(picture, accent, step(0.06 - np.abs(leaves - 0.7), 0, 0.06) * 0.8)
    medallion = np.hypot(x / (0.82 * width / height), y / 0.55)
    picture = mix(picture, CREAM, step(1 - medallion, 0, 0.03))
    picture = mix(picture, accent, step(0.035 - np.abs(medallion - 0.93), 0, 0.02))
    for row, line in enumerate(lines):
        size = (0.24, 0.12, 0.12)[row]
        picture = write(picture, line, (0.5, (0.42, 0.57, 0.67)[row]), size, (base, INK, accent)[row], 0.66)
    return worn(frame_lines(picture, 0.03 * height, 2.0, accent), rng, 0.12)


def globe(points: np.ndarray, v: np.ndarray, u: np.ndarray, radius: float, rng: Generator) -> np.ndarray:
    """An invented planet's map on a sphere: coasts, relief, a graticule and names."""
    relief = solid_noise(points, radius * 0.9, rng, 7) + 0.25
    sea = mix((0.30, 0.52, 0.62), (0.66, 0.80, 0.80), step(relief, 0.0, 1.2))
    land = mix((0.86, 0.80, 0.56), (0.60, 0.42, 0.26), step(relief, 1.1, 1.5))
    land = mix(land, (0.50, 0.62, 0.36), step(solid_noise(points, radius * 0.5, rng, 5), 0.3, 0.5) * 0.8)
    picture = mix(sea, land, step(relief, 0.3, 0.03))
    picture = mix(picture, (0.30, 0.22, 0.16), step(0.05 - np.abs(relief - 0.3), 0, 0.04))
    grid = np.minimum(np.abs((v * 12 + 0.5) % 1 - 0.5), np.abs((u * 24 + 0.5) % 1 - 0.5))
    picture = mix(picture, (0.35, 0.33, 0.34), 0.55 * step(0.02 - grid, 0, 0.02))
    names = ["MARE NOVUM", "SPLATIA", "OCEANUS", "TERRA LENTIS", "BOKEH", "PARALLAX BAY", "FOCALIA", "EAST PIXEL"]
    for k, name in enumerate(names):
        where = ((k + 0.5) / len(names), 0.5 + (0.14, -0.1, 0.04, -0.17)[k % 4])
        turned = write(picture[::-1, ::-1], name, where, 0.055, (0.22, 0.12, 0.12))
        picture = turned[::-1, ::-1]  # u runs to the left and v up when seen from outside
    return picture * (1 + 0.05 * solid_noise(points, radius * 0.12, rng, 3))[..., None]


def skin(
    points: np.ndarray, v: np.ndarray, rng: Generator, colors: tuple[Color, Color], cell: float, dots: float = 0.0
) -> np.ndarray:
    """Fruit peel: two colours flow into each other along the height, with specks and, where dots > 0, freckles."""
    flow = step(v + 0.22 * solid_noise(points, cell * 3, rng, 5), 0.5, 0.7)
    picture = mix(colors[0], colors[1], flow)
    streak = solid_noise(points * np.array([2.2, 0.5, 2.2]), cell, rng, 4)
    pores = solid_noise(points, cell * 0.16, rng, 2)
    picture = picture * (1 + 0.07 * streak + 0.07 * pores)[..., None]
    return mix(picture, (0.36, 0.24, 0.10), dots * step(solid_noise(points, cell * 0.3, rng, 2), 1.3, 0.3))


def painted_vase(points: np.ndarray, v: np.ndarray, u: np.ndarray, rng: Generator) -> np.ndarray:
    """Cream glaze with cobalt bands, petals and a brushed frieze, and ochre accents."""
    angle, picture = 2 * np.pi * u, np.broadcast_to(np.float32(CREAM), (*v.shape, 3)).copy()
    brush = 0.8 + 0.2 * solid_noise(points, 1.2, rng, 3)
    drawn = solid_noise(points, 5.0, rng, 4)
    vine = np.abs(v - 0.43 - 0.05 * np.sin(3 * angle + drawn * 0.6))
    leaves = step(drawn - 14 * np.abs(v - 0.43), -0.75, 0.2)
    picture = mix(picture, SKY, leaves * 0.75 * brush)
    picture = mix(picture, COBALT, step(0.16 - np.abs(drawn - 14 * np.abs(v - 0.43) + 0.75), 0, 0.08) * brush)
    picture = mix(picture, COBALT, step(0.007 - vine, 0, 0.004) * brush)
    blossom = solid_noise(points, 2.6, rng, 2) - 16 * np.abs(v - 0.43)
    picture = mix(picture, OCHRE, step(blossom, 0.1, 0.15) * 0.9)
    petals = 0.70 + 0.045 * np.abs(np.cos(5.5 * angle)) + 0.008 * drawn
    picture = mix(picture, COBALT, step(v, petals, 0.006) * step(-v, -0.80, 0.01) * brush)
    feet = 0.17 - 0.05 * np.abs(np.sin(8 * angle)) + 0.008 * drawn
    picture = mix(picture, NAVY, step(-v, -feet, 0.006) * brush)
    for level in (0.235, 0.255, 0.60, 0.665, 0.82, 0.87):
        picture = mix(picture, COBALT, step(0.004 - np.abs(v - level), 0, 0.003) * brush)
    zigzag = np.abs(v - 0.632 - 0.018 * (2 * np.abs((u * 17) % 1 - 0.5) - 0.5))
    picture = mix(picture, TERRACOTTA, step(0.006 - zigzag, 0, 0.004))
    crackle = np.abs(solid_noise(points, 2.0, rng, 4))
    return mix(picture, (0.66, 0.58, 0.46), 0.45 * step(0.035 - crackle, 0, 0.04))


def stoneware(points: np.ndarray, v: np.ndarray, rng: Generator, glaze: Color, clay: Color) -> np.ndarray:
    """Speckled clay under a glaze that runs."""
    run = solid_noise(points * np.array([1.0, 0.35, 1.0]), 4.0, rng, 5)
    picture = mix(clay, glaze, step(v * 1.6 + 0.14 * run, 0.30, 0.06))
    picture = picture * (1 + 0.07 * run)[..., None]
    specks = solid_noise(points, 0.55, rng, 2)
    picture = mix(picture, (0.24, 0.17, 0.12), step(specks, 1.25, 0.25) * 0.85)
    return mix(picture, (0.97, 0.95, 0.88), step(-specks, 1.7, 0.25) * 0.5)


def stone(points: np.ndarray, rng: Generator, color: Color) -> np.ndarray:
    """A pebble with veins."""
    bands = np.abs(solid_noise(points, 2.6, rng, 3))
    picture = np.array(color) * (1 + 0.16 * solid_noise(points, 0.5, rng, 4))[..., None]
    return mix(picture, (0.86, 0.84, 0.80), 0.8 * step(0.07 - bands, 0, 0.08))
