"""GPS positions in EXIF: right ones are read, impossible ones are as if there were none, and nothing raises."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fewview.scene.gps import GeoPosition, local_positions, position_from_exif
from fewview.scene.images import read_header
from fewview.scene.readers import read_capture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from support.data import shared_data

LUND = {1: "N", 2: (55.0, 41.0, 53.4), 3: "E", 4: (13.0, 11.0, 43.4)}
GPS_BLOCK = 0x8825


def test_degrees_minutes_and_seconds_on_all_four_sides() -> None:
    for north, east in (("N", "E"), ("S", "W"), ("n", b"W\0")):
        found = position_from_exif({**LUND, 1: north, 3: east, 5: b"\x01", 6: 37.0, 31: 4.5})
        south, west = north == "S", east not in ("E",)
        assert found is not None
        assert found.latitude_deg == pytest.approx((-1 if south else 1) * (55 + 41 / 60 + 53.4 / 3600), abs=1e-12)
        assert found.longitude_deg == pytest.approx((-1 if west else 1) * (13 + 11 / 60 + 43.4 / 3600), abs=1e-12)
        assert (found.altitude_m, found.error_m) == (-37.0, 4.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {1: "X"}, {1: None}, {1: ""}, {1: "NN"}, {2: None}, {2: ()}, {2: "55"}, {2: 55.0}, {2: (55.0, 41.0, 53.4, 1.0)},
        {2: (math.nan, 0, 0)}, {2: (math.inf, 0, 0)}, {2: (91.0, 0, 0)}, {2: (-5.0, 0, 0)}, {2: ("a", "b", "c")},
        {2: (IFDRational(55, 0), 41.0, 53.4)}, {2: (90.0, 0, 0.1)}, {4: (180.0, 0, 1)}, {4: (10**400, 0, 0)},
        {2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)}, {3: 7}, {4: [None, None, None]},
    ],
)  # fmt: skip
def test_impossible_angles_give_no_position(wrong: dict[int, Any]) -> None:
    assert position_from_exif({**LUND, **wrong}) is None


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1e9, -5000.0, "high", None, (1, 2), IFDRational(1, 0)])
def test_impossible_altitudes_and_errors_are_left_out(wrong: Any) -> None:
    found = position_from_exif({**LUND, 6: wrong, 31: wrong})
    assert found is not None
    assert found.altitude_m is None
    assert found.error_m in (None, 1e9)  # a receiver may say that it knows nothing


_values = st.one_of(
    st.none(), st.integers(), st.floats(), st.text(max_size=3), st.binary(max_size=3),
    st.lists(st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=2)), max_size=4).map(tuple),
)  # fmt: skip


@settings(deadline=None, derandomize=True)  # the first call loads things
@given(st.dictionaries(st.sampled_from([1, 2, 3, 4, 5, 6, 31]), _values))
def test_any_block_gives_a_position_on_the_earth_or_none(block: dict[int, Any]) -> None:
    found = position_from_exif({**LUND, **block})
    if found is not None:
        assert abs(found.latitude_deg) <= 90
        assert abs(found.longitude_deg) <= 180
        assert torch.isfinite(local_positions([found, GeoPosition(0, 0)])).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_photograph_with_a_broken_block_is_still_a_photograph(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(GPS_BLOCK).update({1: "N", 2: (IFDRational(55, 0), 1.0, 1.0), 3: "E", 4: (13.0, 0.0, 0.0)})
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert read_header(tmp_path / "a.jpg").position is None
    # The same with the block's place in the file moved far beyond its end.
    data = (tmp_path / "a.jpg").read_bytes()
    entry = data.index(b"\x88\x25\x00\x04\x00\x00\x00\x01") + 8
    (tmp_path / "b.jpg").write_bytes(data[:entry] + b"\x00\xff\xff\xff" + data[entry + 4 :])
    assert read_header(tmp_path / "b.jpg").position is None


def test_a_phone_walk_is_read_from_its_files() -> None:
    frames = read_capture(shared_data("lund_street") / "images").frames
    positions = [f.position for f in frames]
    assert None not in positions
    east, north, up = local_positions([p for p in positions if p is not None]).unbind(1)
    # Seconds of arc from the files: 5.55 of latitude are 171.6 m, 3.12 of longitude at 55.7 degrees north 54.4 m.
    assert float(north[-1]) == pytest.approx(171.6, abs=0.5)
    assert float(east[-1]) == pytest.approx(-54.4, abs=0.5)
    assert float(up.abs().max()) < 6


def test_metres_along_both_axes_agree_with_the_ellipsoid() -> None:
    # A minute of latitude is 1842.9 m at the equator and 1861.6 m at the poles; of longitude at the equator 1855.3 m.
    minute = 1 / 60
    for latitude, length in ((0.0, 1842.9), (89.9, 1861.6)):
        moved = local_positions([GeoPosition(latitude, 5.0), GeoPosition(latitude + minute, 5.0, 12.0)])
        assert float(moved[1, 1]) == pytest.approx(length, abs=0.1)
    moved = local_positions([GeoPosition(0.0, 180 - minute / 2, 3.0), GeoPosition(0.0, -180 + minute / 2, 10.0)])
    assert float(moved[1, 0]) == pytest.approx(1855.3, abs=0.1)
    assert float(moved[1, 2]) == pytest.approx(7.0, abs=0.5)  # less the Earth's curve of 0.27 m
