"""Invented streets for `make_nuscenes_like.py`: a road, what stands and moves on it, and how a car drives through.

World: metres, z up, the ground at z = 0. A place on the road is (s, d): along its middle line, and to the left of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

Color = tuple[float, float, float]  # sRGB, 0 to 1
LANES = {-1.75: 1, -5.25: 1, 1.75: -1, 5.25: -1}  # d -> direction of travel; the car drives in the first
PARKING_D, WALK_D, WALL_D = 8.3, (10.0, 12.5), 16.0
BEHIND_M, AHEAD_M = 60.0, 65.0  # how far the street goes on beyond the car's first and last place


@dataclass(frozen=True)
class Paint:
    """A colour, and another one in stripes: `across_m` is their period along the wall, `up_m` that of their height."""

    color: Color
    second: Color | None = None
    across_m: float = 0.0  # 0: none
    up_m: float = 0.0


@dataclass(frozen=True)
class Part:
    """A block of a thing, in halves of the thing's box: -1 to 1 along length, width and height."""

    middle: Color  # x, y, z
    half: Color
    paint: Paint | None = None  # None: the thing's own colour


@dataclass(frozen=True)
class Kind:
    """A class of things: how large they are on average, what they look like, how brightly the LiDAR sees them."""

    category: str
    size_wlh: tuple[float, float, float]
    parts: tuple[Part, ...]
    colors: tuple[Color, ...]
    intensity: float = 40.0


DARK, GLASS, TYRE = Paint((0.12, 0.12, 0.13)), Paint((0.16, 0.22, 0.28)), Paint((0.08, 0.08, 0.08))
SKIN, WHITE, ORANGE, RED = (0.86, 0.66, 0.54), (0.95, 0.95, 0.93), (0.95, 0.42, 0.08), (0.85, 0.12, 0.1)
CAR_COLORS = ((0.75, 0.76, 0.78), (0.15, 0.15, 0.17), (0.62, 0.1, 0.1), (0.13, 0.25, 0.5), (0.9, 0.9, 0.9))
CLOTHES = ((0.2, 0.3, 0.65), (0.6, 0.15, 0.3), (0.2, 0.45, 0.25), (0.55, 0.5, 0.15), (0.35, 0.2, 0.45))
_RIDER = (Part((-0.1, 0, 0.3), (0.22, 1, 0.4)), Part((-0.05, 0, 0.85), (0.1, 0.35, 0.15), Paint(SKIN)))
_LEGS = Part((0, 0, -0.5), (0.45, 0.6, 0.5), Paint((0.15, 0.16, 0.25)))
_HEAD = Part((0, 0, 0.84), (0.35, 0.35, 0.16), Paint(SKIN))

KINDS = {
    "car": Kind(
        "vehicle.car", (1.95, 4.6, 1.7),
        (Part((0, 0, -0.32), (1, 1, 0.46)), Part((0, 0, -0.85), (0.8, 0.95, 0.15), TYRE),
         Part((-0.12, 0, 0.57), (0.5, 0.85, 0.43), GLASS)),
        CAR_COLORS,
    ),
    "truck": Kind(
        "vehicle.truck", (2.5, 7.2, 3.0),
        (Part((0.78, 0, -0.15), (0.22, 0.92, 0.65), Paint((0.2, 0.35, 0.6), (0.15, 0.2, 0.25), 0.0, 1.3)),
         Part((-0.25, 0, 0.13), (0.75, 1, 0.87)), Part((0, 0, -0.86), (0.9, 0.9, 0.14), TYRE)),
        (WHITE, (0.8, 0.75, 0.5), (0.35, 0.55, 0.4)),
    ),
    "bus": Kind(
        "vehicle.bus.rigid", (2.9, 11.0, 3.4),
        (Part((0, 0, 0.06), (1, 1, 0.94), Paint((0.88, 0.68, 0.1), (0.15, 0.2, 0.28), 1.6, 1.9)),
         Part((0, 0, -0.94), (0.85, 0.95, 0.06), TYRE)),
        ((0.88, 0.68, 0.1),),
    ),
    "trailer": Kind(
        "vehicle.trailer", (2.7, 10.5, 3.8),
        (Part((0, 0, 0.17), (1, 1, 0.83), Paint((0.62, 0.64, 0.66), (0.5, 0.52, 0.55), 0.8)),
         Part((-0.6, 0, -0.83), (0.25, 0.9, 0.17), TYRE)),
        (WHITE,),
    ),
    "construction_vehicle": Kind(
        "vehicle.construction", (2.8, 6.2, 3.2),
        (Part((-0.3, 0, -0.72), (0.6, 1, 0.28), DARK), Part((-0.4, 0, -0.15), (0.5, 0.8, 0.3)),
         Part((-0.25, 0.3, 0.45), (0.25, 0.45, 0.45), GLASS), Part((0.4, -0.3, 0.7), (0.6, 0.12, 0.3)),
         Part((0.88, -0.3, -0.2), (0.12, 0.3, 0.7))),
        ((0.93, 0.74, 0.12),),
    ),
    "pedestrian": Kind(
        "human.pedestrian.adult", (0.68, 0.7, 1.75), (_LEGS, Part((0, 0, 0.33), (0.6, 1, 0.35)), _HEAD), CLOTHES, 25.0
    ),
    "worker": Kind(
        "human.pedestrian.construction_worker", (0.7, 0.72, 1.78),
        (_LEGS, Part((0, 0, 0.33), (0.6, 1, 0.35), Paint((0.7, 0.9, 0.1), (0.9, 0.9, 0.9), 0.0, 0.3)), _HEAD),
        CLOTHES, 60.0,
    ),
    "motorcycle": Kind(
        "vehicle.motorcycle", (0.78, 2.1, 1.15),
        (Part((0, 0, -0.25), (1, 0.4, 0.75)), Part((0.5, 0, 0.8), (0.08, 1, 0.2), DARK)), CAR_COLORS[1:4],
    ),
    "motorcyclist": Kind(
        "vehicle.motorcycle", (0.78, 2.1, 1.65), (Part((0, 0, -0.5), (1, 0.4, 0.5), DARK), *_RIDER), CLOTHES,
    ),
    "bicycle": Kind(
        "vehicle.bicycle", (0.6, 1.7, 1.05),
        (Part((0.62, 0, -0.35), (0.38, 0.1, 0.65), TYRE), Part((-0.62, 0, -0.35), (0.38, 0.1, 0.65), TYRE),
         Part((0, 0, 0.2), (0.6, 0.12, 0.12)), Part((0.5, 0, 0.85), (0.05, 1, 0.15), DARK)),
        CLOTHES, 25.0,
    ),
    "cyclist": Kind(
        "vehicle.bicycle", (0.62, 1.75, 1.7),
        (Part((0.62, 0, -0.6), (0.38, 0.1, 0.4), TYRE), Part((-0.62, 0, -0.6), (0.38, 0.1, 0.4), TYRE),
         Part((0, 0, -0.3), (0.6, 0.12, 0.2)), *_RIDER),
        CLOTHES, 25.0,
    ),
    "traffic_cone": Kind(
        "movable_object.trafficcone", (0.42, 0.42, 1.0),
        (Part((0, 0, -0.92), (1, 1, 0.08), DARK), Part((0, 0, -0.34), (0.6, 0.6, 0.5), Paint(ORANGE, WHITE, 0, 0.4)),
         Part((0, 0, 0.58), (0.32, 0.32, 0.42), Paint(ORANGE, WHITE, 0, 0.4))),
        (ORANGE,), 130.0,
    ),
    "barrier": Kind(
        "movable_object.barrier", (2.5, 0.55, 1.0),
        (Part((0, 0, 0.15), (0.35, 1, 0.85), Paint(RED, WHITE, 0.9)), Part((0, 0, -0.85), (1, 0.9, 0.15), DARK)),
        (RED,), 110.0,
    ),
    "rack": Kind(
        "static_object.bicycle_rack", (2.2, 5.0, 1.2), (Part((0, 0, -0.2), (1, 0.03, 0.8), DARK),), ((0.3, 0.3, 0.3),)
    ),
    "debris": Kind("movable_object.debris", (0.6, 0.8, 0.4), (Part((0, 0, 0), (1, 1, 1)),), ((0.4, 0.3, 0.2),)),
}  # fmt: skip
# Drawn like cards, so that each scene has some of all.
IN_LANES = ("car",) * 9 + ("truck", "bus", "trailer") * 2 + ("motorcyclist", "cyclist") * 3
PARKED = ("car",) * 7 + ("truck", "bicycle") * 2 + ("motorcycle",) * 3 + ("trailer", "bus", "construction_vehicle")


@dataclass(frozen=True)
class Road:
    """An arc: where it starts, in which direction, and how it turns (positive: to the left)."""

    start: tuple[float, float]
    heading: float  # radians
    curvature: float  # 1/m, 0 for a straight road

    def place(self, s: np.ndarray | float, d: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(x, y, heading) of places on the road."""
        s, d = np.asarray(s, float), np.asarray(d, float)
        turn = self.curvature * s
        # The chord of an arc, written so that it holds for a straight road, too.
        chord = s * np.sinc(turn / (2 * math.pi))
        middle = self.heading + turn / 2
        heading = self.heading + turn
        x = self.start[0] + chord * np.cos(middle) - d * np.sin(heading)
        y = self.start[1] + chord * np.sin(middle) + d * np.cos(heading)
        return x, y, heading

    def locate(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(s, d) of points in the world, the inverse of `place`."""
        forward = (x - self.start[0]) * math.cos(self.heading) + (y - self.start[1]) * math.sin(self.heading)
        left = (y - self.start[1]) * math.cos(self.heading) - (x - self.start[0]) * math.sin(self.heading)
        if self.curvature == 0:
            return forward, left
        radius = 1 / self.curvature
        away = np.hypot(forward, radius - left)
        s = np.arctan2(math.copysign(1, radius) * forward, math.copysign(1, radius) * (radius - left)) * radius
        return s, radius - math.copysign(1, radius) * away


@dataclass(frozen=True)
class Thing:
    """Something that is annotated. It moves along the road with a constant speed."""

    kind: str
    s: float  # at the scene's start
    d: float
    speed: float  # m/s along the road, negative against its direction
    turned: float  # radians, of its heading against the road's
    size_wlh: tuple[float, float, float]
    color: Color
    attribute: str


@dataclass(frozen=True)
class Wall:
    """A building: a block that nobody annotates."""

    s: float
    d: float
    size_wlh: tuple[float, float, float]
    paint: Paint


@dataclass
class World:
    """One scene: things and buildings along a road, and a car that drives in its first lane."""

    road: Road
    speed: float  # of the car, m/s
    light: float  # 1 on a bright day
    things: list[Thing] = field(default_factory=list)
    walls: list[Wall] = field(default_factory=list)

    def poses(self, time_s: float) -> np.ndarray:
        """[things, 4] x, y, z of the box's centre, and heading."""
        s = np.array([t.s + t.speed * time_s for t in self.things])
        x, y, heading = self.road.place(s, np.array([t.d for t in self.things]))
        heading = heading + np.array([t.turned for t in self.things])
        return np.stack([x, y, np.array([t.size_wlh[2] / 2 for t in self.things]), heading], axis=1)

    def car(self, time_s: float) -> tuple[np.ndarray, float, float, float]:
        """(x, y, 0), heading, pitch and roll: it sways a little."""
        d = next(iter(LANES)) + 0.15 * math.sin(0.5 * time_s)
        x, y, heading = self.road.place(self.speed * time_s, d)
        sway = 0.006 * math.sin(2.1 * time_s), 0.005 * math.sin(1.3 * time_s + 1)
        return np.array([float(x), float(y), 0.0]), float(heading), *sway


def make_world(seed: int, number: int, seconds: float) -> World:
    """The scene with a number; the same seed, number and duration give the same one."""
    rng = np.random.default_rng([seed, number])
    start = tuple(rng.uniform(300, 1800, 2))
    curvature = 0.0 if rng.random() < 0.3 else float(rng.uniform(-1, 1) / 160)
    world = World(Road(start, float(rng.uniform(-math.pi, math.pi)), curvature), 0.0, float(rng.uniform(0.65, 1.1)))
    world.speed = float(rng.uniform(4, 11))
    end = world.speed * seconds
    _fill_lanes(world, rng, end, seconds)
    for side in (-1, 1):
        _fill_kerb(world, rng, side, end)
        _fill_walk(world, rng, side, end)
        _build_walls(world, rng, side, end)
    return world


def _thing(
    rng: np.random.Generator, kind: str, s: float, d: float, speed: float, backwards: bool, attribute: str = ""
) -> Thing:
    k = KINDS[kind]
    scale = rng.normal(1, 0.05, 3).clip(0.88, 1.12)
    w, length, h = (float(v) for v in np.array(k.size_wlh) * scale)
    color = k.colors[rng.integers(len(k.colors))]
    turned = (math.pi if backwards else 0.0) + float(rng.normal(0, 0.03))
    return Thing(kind, s, d, speed, turned, (w, length, h), color, attribute)


def _vehicle(kind: str, speed: float, parked: bool) -> str:
    if kind in ("motorcyclist", "cyclist"):
        return "cycle.with_rider"
    if kind in ("motorcycle", "bicycle"):
        return "cycle.without_rider"
    return "vehicle.parked" if parked else "vehicle.moving" if speed else "vehicle.stopped"


def _dealt(rng: np.random.Generator, cards: tuple[str, ...]) -> Iterator[str]:
    while True:
        yield from (cards[i] for i in rng.permutation(len(cards)))


def _fill_lanes(world: World, rng: np.random.Generator, end: float, seconds: float) -> None:
    """Vehicles of one lane have one speed and keep their distance, so that nothing ever meets."""
    kinds = _dealt(rng, IN_LANES)
    for lane, (d, direction) in enumerate(LANES.items()):
        stands = lane > 0 and rng.random() < 0.15
        speed = 0.0 if stands else float(rng.uniform(3, 12)) * direction if lane else world.speed
        low = min(0.0, -speed * seconds) - BEHIND_M
        high = max(end, end - speed * seconds) + AHEAD_M
        s = low + float(rng.uniform(0, 10))
        while s < high:
            kind = next(kinds)
            length = KINDS[kind].size_wlh[1]
            if lane or abs(s) > length / 2 + 10:  # the car's own place
                thing = _thing(rng, kind, s, d + float(rng.normal(0, 0.15)), speed, direction < 0)
                world.things.append(replace(thing, attribute=_vehicle(kind, speed, False)))
            s += length + 8 + float(rng.exponential(10))


def _fill_kerb(world: World, rng: np.random.Generator, side: int, end: float) -> None:
    """Parked vehicles, one construction site beside the car's way and some by chance."""
    site_at = float(rng.uniform(0, end))
    kinds = _dealt(rng, PARKED)
    s = -BEHIND_M
    while s < end + AHEAD_M:
        if s > site_at or rng.random() < 0.05:
            site_at = math.inf if s > site_at else site_at
            s = _site(world, rng, side, s)
            continue
        kind = next(kinds)
        length = KINDS[kind].size_wlh[1]
        if rng.random() < 0.7:
            d = side * PARKING_D + float(rng.normal(0, 0.1))
            thing = _thing(rng, kind, s + length / 2, d, 0.0, side > 0)
            world.things.append(replace(thing, attribute=_vehicle(kind, 0.0, True)))
        s += length + 1.5 + float(rng.exponential(3))


def _site(world: World, rng: np.random.Generator, side: int, s: float) -> float:
    """Cones before it, barriers along it, a machine and a worker in it; returns where it ends."""
    for i in range(3):
        world.things.append(_thing(rng, "traffic_cone", s + 2 * i, side * (8.6 - 0.7 * i), 0.0, False))
    s += 7.5
    for i in range(int(rng.integers(3, 6))):
        barrier = _thing(rng, "barrier", s + 2.8 * i, side * 6.9, 0.0, False)
        # Barriers are wide, not long: their width lies along the road.
        world.things.append(replace(barrier, turned=math.pi / 2 + barrier.turned))
    end = s + 12
    if rng.random() < 0.7:
        machine = _thing(rng, "construction_vehicle", s + 4, side * 8.8, 0.0, bool(rng.random() < 0.5))
        world.things.append(replace(machine, attribute="vehicle.stopped"))
    for _ in range(int(rng.integers(1, 3))):
        worker = _thing(rng, "worker", s + float(rng.uniform(8, 11)), side * float(rng.uniform(7.6, 9.5)), 0.0, False)
        turned = float(rng.uniform(-math.pi, math.pi))
        world.things.append(replace(worker, turned=turned, attribute="pedestrian.standing"))
    for i in range(2):
        world.things.append(_thing(rng, "traffic_cone", end + 2 * i, side * (7.2 + 0.8 * i), 0.0, False))
    return end + 5


def _fill_walk(world: World, rng: np.random.Generator, side: int, end: float) -> None:
    """People that walk or stand, bicycle racks with bicycles, something that lies around."""
    s = -BEHIND_M
    while s < end + AHEAD_M:
        choice = rng.random()
        d = side * float(rng.uniform(*WALK_D))
        if choice < 0.75:
            standing = rng.random() < 0.3
            speed = 0.0 if standing else float(rng.normal(1.3, 0.25)) * (1 if rng.random() < 0.5 else -1)
            person = _thing(rng, "pedestrian", s, d, speed, speed < 0)
            attribute = "pedestrian.standing" if standing else "pedestrian.moving"
            turned = float(rng.uniform(-math.pi, math.pi)) if standing else person.turned
            world.things.append(replace(person, turned=turned, attribute=attribute))
        elif choice < 0.82:
            rack = _thing(rng, "rack", s + 3, side * 11.5, 0.0, False)
            world.things.append(rack)
            for i in range(3):
                bicycle = _thing(rng, "bicycle", rack.s - 1.5 + 1.2 * i, rack.d, 0.0, False, "cycle.without_rider")
                world.things.append(replace(bicycle, turned=math.pi / 2 + bicycle.turned))
            s += 6
        elif choice < 0.88:
            world.things.append(_thing(rng, "debris", s, d, 0.0, False))
        s += 2 + float(rng.exponential(7))


def _build_walls(world: World, rng: np.random.Generator, side: int, end: float) -> None:
    s = -BEHIND_M - 20
    while s < end + AHEAD_M + 20:
        length, depth, height = float(rng.uniform(8, 16)), float(rng.uniform(6, 10)), float(rng.uniform(5, 16))
        tone = float(rng.uniform(0.4, 0.8))
        color = (tone, tone * float(rng.uniform(0.8, 1)), tone * float(rng.uniform(0.65, 1)))
        paint = Paint(color, (0.22, 0.27, 0.34), 2.8, 3.0)
        d = side * (WALL_D + depth / 2 + float(rng.uniform(0, 3)))
        world.walls.append(Wall(s + length / 2, d, (depth, length, height), paint))
        s += length + float(rng.exponential(5))
