"""Damaged and hostile glTF files end in one sentence, or in a splat; never in another exception."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewview.scene.errors import BadInputError
from fewview.scene.formats import gltf
from fewview.scene.splat import StaticSplat
from support.gltf_builder import SPLAT, Builder
from support.random_gaussians import random_gaussians

Root = dict[str, Any]


def root_of(degree: int = 1) -> Root:
    builder = Builder()
    builder.mesh(degree)
    return builder.root


def read_root(folder: Path, root: Root) -> StaticSplat:
    (folder / "a.gltf").write_text(json.dumps(root))
    return gltf.read(folder / "a.gltf")


def attributes(root: Root) -> dict[str, Any]:
    return root["meshes"][0]["primitives"][0]["attributes"]


def test_truncations_are_named(tmp_path: Path) -> None:
    gltf.write(tmp_path / "a.glb", StaticSplat(random_gaussians(0, 9, 1)))
    data = (tmp_path / "a.glb").read_bytes()
    path = tmp_path / "cut.glb"
    for size in [*range(0, 80), *range(80, len(data), 41), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(BadInputError, match=r"cut\.glb"):
            gltf.read(path)


def test_truncations_that_admit_it_are_named(tmp_path: Path) -> None:
    """The header's length is made to fit, so that the buffer is what is too short."""
    gltf.write(tmp_path / "a.glb", StaticSplat(random_gaussians(0, 9, 1)))
    data = (tmp_path / "a.glb").read_bytes()
    text = struct.unpack_from("<I", data, 12)[0]
    for size in range(28 + text, len(data), 100):
        cut = bytearray(data[:size])
        struct.pack_into("<I", cut, 8, size)
        struct.pack_into("<I", cut, 20 + text, size - 28 - text)
        (tmp_path / "a.glb").write_bytes(cut)
        with pytest.raises(BadInputError, match=r"buffers\[0\] promises"):
            gltf.read(tmp_path / "a.glb")


def test_bit_flips_are_named_or_harmless(tmp_path: Path) -> None:
    gltf.write(tmp_path / "a.glb", StaticSplat(random_gaussians(0, 9, 1)))
    data = (tmp_path / "a.glb").read_bytes()
    rng = np.random.default_rng(3)
    read = 0
    for _ in range(600):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (tmp_path / "a.glb").write_bytes(damaged)
        with contextlib.suppress(BadInputError):
            read += len(gltf.read(tmp_path / "a.glb").gaussians) <= 9
    assert 50 < read < 550, "both happen"


VIEW = {"bufferView": 0}
MESHOPT = {"buffer": 0, "byteLength": 24, "byteStride": 12, "count": 2, "mode": "ATTRIBUTES"}


def change(key: str, index: int, drop: tuple[str, ...] = (), **values: Any) -> Callable[[Root], object]:
    def changed(root: Root) -> None:
        root[key][index].update(values)
        for name in drop:
            root[key][index].pop(name)

    return changed


def attribute(**values: Any) -> Callable[[Root], object]:
    return lambda root: attributes(root).update({f"{SPLAT}:{name}": value for name, value in values.items()})


def without(name: str) -> Callable[[Root], object]:
    return lambda root: attributes(root).pop(name)


def extension(**values: Any) -> Callable[[Root], object]:
    return lambda root: root["meshes"][0]["primitives"][0]["extensions"].update(values)


NONSENSE: dict[str, Callable[[Root], object]] = {
    # Counts and offsets that do not fit.
    "promises 1000000000000 elements": change("accessors", 0, count=10**12),
    "promises 3 elements of 12 bytes": change("accessors", 0, count=3),
    "promises 0 elements": change("accessors", 0, count=0),
    "'count' of accessors.0. .* found -1": change("accessors", 0, count=-1),
    "'count' of accessors.0. .* found 1e.30": change("accessors", 0, count=1e30),
    "'count' of accessors.0. .* found 99999999999999999999": change("accessors", 0, count=10**20 - 1),
    "has 12 bytes left": change("accessors", 0, byteOffset=12),
    "has -1 bytes left": change("accessors", 0, byteOffset=25),
    "bufferViews.0. ends at byte 32": change("bufferViews", 0, byteOffset=8),
    "bufferViews.0. ends at byte 25": change("bufferViews", 0, byteLength=25),
    "stride of 4 bytes": change("bufferViews", 0, byteStride=4),
    "buffers.0. promises 25 bytes, but has 24": change("buffers", 0, byteLength=25),
    "'byteLength' of buffers.0. should be": change("buffers", 0, byteLength=None),
    "has 1 elements for 2 positions": change("accessors", 1, count=1),
    # Indices that lead nowhere.
    "names accessors.99., but there are 8": attribute(SCALE=99),
    "names accessors.-1.": attribute(SCALE=-1),
    "names accessors.True.": attribute(SCALE=True),
    "names accessors...x., 1.": attribute(SCALE=["x", 1]),
    "names bufferViews.77.": change("accessors", 0, bufferView=77),
    "names buffers.77.": change("bufferViews", 0, buffer=77),
    "names meshes.3.": change("nodes", 0, mesh=3),
    "names nodes.3.": lambda root: root["scenes"][0].update(nodes=[3]),
    "names scenes.1.": lambda root: root.update(scene=1),
    "nodes of the scene should be a list": lambda root: root["scenes"][0].update(nodes="0"),
    # Nodes that are no tree, or bend Gaussians.
    "has two parents": change("nodes", 0, children=[0]),
    "stretches, mirrors": change("nodes", 0, scale=[1, 1, 2]),
    "mirrors or flattens": change("nodes", 0, scale=[1, 1, -1]),
    "flattens its splat": change("nodes", 0, scale=[0, 0, 0]),
    "only a rotation": change("nodes", 0, matrix=[1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]),
    "'matrix' of nodes.0. should be 16": change("nodes", 0, matrix=[1, 2]),
    "'rotation' of nodes.0. should be 4": change("nodes", 0, rotation=[0, 0, "0", 1]),
    # Types that an attribute may not have.
    "is VEC4 of component type 5126; VEC3": attribute(SCALE=1),
    "component type 5125": change("accessors", 0, componentType=5125),
    "component type \\[\\]": change("accessors", 0, componentType=[]),
    "'normalized' True": change("accessors", 0, normalized=True),
    "'normalized' 1, which": change("accessors", 0, normalized=1),
    # What is compressed, sparse or somewhere else.
    "neither a 'bufferView' nor 'sparse'": lambda root: root["accessors"][0].pop("bufferView"),
    "should have a count, indices and values": change("accessors", 0, sparse={"count": 1}),
    "are of component type 5126": change(
        "accessors", 0, sparse={"count": 1, "indices": {"bufferView": 0, "componentType": 5126}, "values": VIEW}
    ),
    "replaces element 63, but there are 2": change(  # the exponent of the float 1.0
        "accessors",
        0,
        sparse={"count": 1, "indices": {"bufferView": 0, "componentType": 5121, "byteOffset": 3}, "values": VIEW},
    ),
    "promises 9007199254740991 elements of 12": change(
        "accessors", 0, sparse={"count": 1, "indices": VIEW, "values": VIEW}, count=2**53 - 1, drop=("bufferView",)
    ),
    "in mode None": change("bufferViews", 0, extensions={"EXT_meshopt_compression": {}}),
    "in mode TRIANGLES": change("bufferViews", 0, extensions={"EXT_meshopt_compression": {"mode": "TRIANGLES"}}),
    "filter OCTAHEDRAL": change(
        "bufferViews", 0, extensions={"EXT_meshopt_compression": MESHOPT | {"filter": "OCTAHEDRAL"}}
    ),
    "more than its file can hold": change(
        "bufferViews", 0, extensions={"EXT_meshopt_compression": MESHOPT | {"count": 2**40}}
    ),
    "the compressed bufferViews.0. has 24 bytes": change(
        "bufferViews", 0, extensions={"EXT_meshopt_compression": MESHOPT}
    ),
    "is compressed .EXT_unheard_of": change("bufferViews", 0, extensions={"EXT_unheard_of": {}}),
    "compressed with KHR_draco_mesh_compression": extension(KHR_draco_mesh_compression={}),
    "the SPZ of .* names bufferViews.None": extension(
        KHR_gaussian_splatting={"extensions": {"KHR_gaussian_splatting_compression_spz_2": {}}}
    ),
    "is not an SPZ file": extension(
        KHR_gaussian_splatting={"extensions": {"KHR_gaussian_splatting_compression_spz_2": {"bufferView": 0}}}
    ),
    "the SPZ extension of": extension(KHR_spz_gaussian_splats_compression=[]),
    "it needs the extension KHR_meshopt": lambda root: root.update(extensionsRequired=["KHR_meshopt"]),
    "only files in the folder": change("buffers", 0, uri="https://example.org/a.bin"),
    "lies at '../a.bin'": change("buffers", 0, uri="../a.bin"),
    "lies at '%2e%2e/a.bin'": change("buffers", 0, uri="%2e%2e/a.bin"),
    "lies at '/etc/passwd'": change("buffers", 0, uri="/etc/passwd"),
    "'gone.bin', which could not be read": change("buffers", 0, uri="gone.bin"),
    "data URI that is not base64": change("buffers", 0, uri="data:text/plain,hello"),
    "cannot be decoded": change("buffers", 0, uri="data:application/octet-stream;base64,???"),
    "neither a 'uri' nor a binary chunk": lambda root: root["buffers"][0].pop("uri"),
    # What makes it no splat.
    "holds no splat": lambda root: root["meshes"][0]["primitives"][0].pop("extensions"),
    "SCALE is missing": without(f"{SPLAT}:SCALE"),
    "names accessors.None.": without("POSITION"),
    "SH_DEGREE_0_COEF_0 is missing": without(f"{SPLAT}:SH_DEGREE_0_COEF_0"),
    "SH_DEGREE_1_COEF_2 is missing": without(f"{SPLAT}:SH_DEGREE_1_COEF_2"),
    "SH_DEGREE_2_COEF_0 is missing": attribute(SH_DEGREE_3_COEF_0=4),
    "SH_DEGREE_4_COEF_0 is not known": attribute(SH_DEGREE_4_COEF_0=4),
    "no attributes": lambda root: root["meshes"][0]["primitives"][0].update(attributes=[]),
    "'primitives' of meshes.0. should be": lambda root: root["meshes"][0].update(primitives=[3]),
    "'accessors' of the file should be": lambda root: root.update(accessors={}),
    f"{SPLAT} of .* should be an object": extension(KHR_gaussian_splatting=3),
    "version '1.0'": lambda root: root["asset"].update(version="1.0"),
    "with 'asset' is expected": lambda root: root.pop("asset"),
    "buffers are too many": lambda root: root.update(buffers=[{}] * 65),
    "nodes are too many": lambda root: root.update(nodes=[{}] * 70_000),
}


@pytest.mark.parametrize("sentence", NONSENSE)
def test_nonsense_is_named(tmp_path: Path, sentence: str) -> None:
    root = root_of()
    NONSENSE[sentence](root)
    with pytest.raises(BadInputError, match=sentence):
        read_root(tmp_path, root)


@pytest.mark.parametrize(
    "text", [b"{", b"[1]", b'{"asset":{"version":"2.0"},"asset":{}}', b'{"a":NaN}', b'{"a":' * 100_000, b"{\xff"]
)
def test_broken_json_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.gltf").write_bytes(text)
    with pytest.raises(BadInputError, match=r"a\.gltf"):
        gltf.read(tmp_path / "a.gltf")


def test_a_bomb_of_values_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "a.gltf").write_bytes(b'{"asset":{"version":"2.0"},"nodes":[' + b"{}," * 2**20 + b"{}]}")
    with pytest.raises(BadInputError, match="more than 1048576 values"):
        gltf.read(tmp_path / "a.gltf")


def test_copies_without_end_are_refused(tmp_path: Path) -> None:
    """Small nodes that show one mesh again and again would fill the memory."""
    gltf.write(tmp_path / "a.gltf", StaticSplat(random_gaussians(0, 2000, 0)))
    root = json.loads((tmp_path / "a.gltf").read_bytes())
    root["nodes"] = [{"mesh": 0}] * 10_000
    root["scenes"][0]["nodes"] = list(range(10_000))
    with pytest.raises(BadInputError, match="more than 16 times"):
        read_root(tmp_path, root)


def test_a_deep_chain_of_nodes_is_followed(tmp_path: Path) -> None:
    root = root_of()
    root["nodes"] = [{"children": [i + 1], "translation": [1, 0, 0]} for i in range(5000)] + [{"mesh": 0}]
    assert read_root(tmp_path, root).gaussians.means[0].tolist() == [5001, 2, 3]


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(24))
    (folder / "a.bin").symlink_to(tmp_path / "secret.bin")
    root = root_of()
    root["buffers"][0]["uri"] = "a.bin"
    with pytest.raises(BadInputError, match="outside of the folder"):
        read_root(folder, root)


def test_headers_of_glb_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    text = b'{"asset":{"version":"2.0"}}     '
    chunks = {
        "GLB version 1": struct.pack("<4sII", b"glTF", 1, 20) + bytes(8),
        "promises 4294967295 bytes": struct.pack("<4sII", b"glTF", 2, 2**32 - 1) + bytes(8),
        "first chunk of a GLB should be JSON": struct.pack("<4sIII4s", b"glTF", 2, 20, 0, b"BIN\0"),
        "chunk at byte 12 promises 4294967295": struct.pack("<4sIII4s", b"glTF", 2, 20, 2**32 - 1, b"JSON"),
        "holds no splat": struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON") + text,
        "too few for the header": b"glTF",
    }
    for sentence, data in chunks.items():
        path.write_bytes(data)
        with pytest.raises(BadInputError, match=sentence):
            gltf.read(path)


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    root = root_of(0)
    raw = bytearray(base64.b64decode(root["buffers"][0]["uri"].partition(",")[2]))
    struct.pack_into("<f", raw, 4, float("nan"))
    root["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(raw).decode()
    splat = read_root(tmp_path, root)
    assert splat.gaussians.means.tolist() == [[-1, 0, 2]]
    assert any("1 of 2 Gaussians are not numbers" in note for note in splat.notes)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.glb", tmp_path):
        with pytest.raises(BadInputError, match="could not be read"):
            gltf.read(path)


def test_an_empty_splat_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no Gaussians"):
        gltf.write(tmp_path / "a.glb", StaticSplat(random_gaussians(0, 0, 0)))
    assert not list(tmp_path.iterdir())
