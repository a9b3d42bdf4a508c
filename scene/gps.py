"""GPS positions of photographs from EXIF, and such positions in metres."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import ExifTags
from torch import Tensor

_SEMI_MAJOR_M, _FLATTENING = 6378137.0, 1 / 298.257223563  # WGS 84
_ALTITUDE_RANGE_M = (-1000.0, 20000.0)  # below the Dead Sea's shore, above what aeroplanes and drones reach


@dataclass(frozen=True)
class GeoPosition:
    """A place on the Earth (WGS 84)."""

    latitude_deg: float  # north is positive
    longitude_deg: float  # east is positive
    altitude_m: float | None = None
    error_m: float | None = None  # horizontal, as the receiver states it


def position_from_exif(gps: Mapping[int, Any]) -> GeoPosition | None:
    """The position in an EXIF GPS block; None where it has none, or one that cannot be."""
    tags = ExifTags.GPS
    latitude = _angle_deg(gps.get(tags.GPSLatitude), gps.get(tags.GPSLatitudeRef), "NS", 90.0)
    longitude = _angle_deg(gps.get(tags.GPSLongitude), gps.get(tags.GPSLongitudeRef), "EW", 180.0)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):  # (0, 0): a receiver without a fix
        return None
    altitude = _number(gps.get(tags.GPSAltitude))
    if altitude is not None:
        below_sea = gps.get(tags.GPSAltitudeRef) in (1, b"\x01")
        altitude = -altitude if below_sea else altitude
        altitude = altitude if _ALTITUDE_RANGE_M[0] <= altitude <= _ALTITUDE_RANGE_M[1] else None
    error = _number(gps.get(tags.GPSHPositioningError))
    return GeoPosition(latitude, longitude, altitude, error if error is not None and error > 0 else None)


def local_positions(positions: Sequence[GeoPosition]) -> Tensor:
    """East, north and up [N, 3] float64 in metres from the first position; up is 0 where no altitude is known."""
    latitude, longitude, altitude = torch.tensor(
        [[math.radians(p.latitude_deg), math.radians(p.longitude_deg), p.altitude_m or 0.0] for p in positions],
        dtype=torch.float64,
    ).unbind(1)
    eccentricity_sq = _FLATTENING * (2 - _FLATTENING)
    normal_m = _SEMI_MAJOR_M / (1 - eccentricity_sq * latitude.sin() ** 2).sqrt()
    across = (normal_m + altitude) * latitude.cos()
    z = (normal_m * (1 - eccentricity_sq) + altitude) * latitude.sin()
    earth = torch.stack([across * longitude.cos(), across * longitude.sin(), z], dim=1)  # centred, fixed to the Earth
    sin_p, cos_p, sin_l, cos_l = latitude[0].sin(), latitude[0].cos(), longitude[0].sin(), longitude[0].cos()
    zero = torch.zeros_like(sin_p)
    east = torch.stack([-sin_l, cos_l, zero])
    north = torch.stack([-sin_p * cos_l, -sin_p * sin_l, cos_p])
    up = torch.stack([cos_p * cos_l, cos_p * sin_l, sin_p])
    offset = (earth - earth[0]) @ torch.stack([east, north, up]).T
    known = torch.tensor([p.altitude_m is not None for p in positions])
    return torch.cat([offset[:, :2], torch.where(known, offset[:, 2], 0.0)[:, None]], dim=1)


def _angle_deg(parts: Any, reference: Any, letters: str, limit_deg: float) -> float | None:
    """Degrees from (degrees, minutes, seconds) and N, S, E or W; None unless it is an angle up to the limit."""
    if isinstance(parts, str | bytes) or not isinstance(parts, Sequence) or not 1 <= len(parts) <= 3:
        return None
    letter = reference.decode("ascii", "replace") if isinstance(reference, bytes) else reference
    letter = letter.strip("\0 ").upper() if isinstance(letter, str) else ""
    if len(letter) != 1 or letter not in letters:
        return None
    angle = 0.0
    for part, unit in zip(parts, (1.0, 60.0, 3600.0), strict=False):
        number = _number(part)
        if number is None or number < 0:
            return None
        angle += number / unit
    if angle > limit_deg:
        return None
    return -angle if letter == letters[1] else angle


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None
