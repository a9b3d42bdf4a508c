"""Camera path files from anywhere: each damage is one sentence that names the file and the field."""

import copy
import json

import pytest
from fewview.render.camera_path_file import camera_path_from_json, camera_path_json, read_camera_path
from fewview.scene.errors import BadInputError
from support.camera_paths import nerfstudio_viewer_file, random_path

OURS = json.loads(json.dumps(camera_path_json(random_path(0, 3))))
THEIRS = json.loads(json.dumps(nerfstudio_viewer_file(random_path(0, 3))))
PICTURES = {**OURS, "keyframes": []}
del PICTURES["fewview"]
SHEARED = [1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


def damaged(table, way, value):
    table = copy.deepcopy(table)
    *path, last = way
    inner = table
    for step in path:
        inner = inner[step]
    inner[last] = value
    return table


@pytest.mark.parametrize(
    ("table", "way", "value", "words"),
    [
        (OURS, ("camera_type",), "equirectangular", "perspective"),
        (OURS, ("camera_type",), 3, "camera_type"),
        (OURS, ("render_width",), -1, "pixels"),
        (OURS, ("render_width",), 10**400, "render_width"),
        (OURS, ("render_height",), 99.5, "render_height"),
        (OURS, ("render_height",), True, "render_height"),
        (OURS, ("fps",), 0, "pictures a second"),
        (OURS, ("fps",), "30", "fps"),
        (OURS, ("is_cycle",), 1, "is_cycle"),
        (OURS, ("smoothness_value",), 2, "tension"),
        (OURS, ("default_transition_sec",), 0, "transition"),
        (OURS, ("fewview",), [], "fewview"),
        (OURS, ("fewview",), {}, "version"),
        (OURS, ("fewview", "version"), 99, "newer Fewview"),
        (OURS, ("fewview", "key_frames"), {}, r"fewview\.key_frames"),
        (OURS, ("fewview", "key_frames"), [], "has 0"),
        (OURS, ("fewview", "key_frames", 1), None, r"key_frames\[1\]"),
        (OURS, ("fewview", "key_frames", 1, "world_from_cam"), [1.0] * 15, "it has 15"),
        (OURS, ("fewview", "key_frames", 1, "world_from_cam"), SHEARED, "Key frame 2.*rigid"),
        (OURS, ("fewview", "key_frames", 1, "world_from_cam", 3), 1e300, "Key frame 2"),
        (OURS, ("fewview", "key_frames", 1, "world_from_cam", 3), "far", r"world_from_cam\[3\]"),
        (OURS, ("fewview", "key_frames", 1, "fov_rad"), 4, "field of view"),
        (OURS, ("fewview", "key_frames", 1, "transition_s"), -1, "transition"),
        (OURS, ("fewview", "key_frames", 1, "transition_s"), 1e9, "at most"),
        (THEIRS, ("keyframes",), {"0": {}}, "keyframes"),
        (THEIRS, ("keyframes",), [], "has 0"),
        (THEIRS, ("keyframes", 0), {}, r"keyframes\[0\]\.matrix"),
        (THEIRS, ("keyframes", 1, "matrix"), "[1, 0]", r"keyframes\[1\]\.matrix"),
        (THEIRS, ("keyframes", 1, "fov"), None, r"keyframes\[1\]\.fov"),
        (THEIRS, ("keyframes", 1, "fov"), 180, "field of view"),
        (THEIRS, ("keyframes", 1, "override_transition_sec"), 0, "transition"),
        (PICTURES, ("camera_path",), [{}] * 100_001, "100,001"),
        (PICTURES, ("camera_path", 2, "camera_to_world"), None, r"camera_path\[2\]"),
        (PICTURES, ("camera_path", 2, "fov"), float("nan"), "finite"),
        (PICTURES, ("seconds",), 1e-9, "pictures a second"),
    ],
)
def test_each_damage_is_a_sentence(table, way, value, words):
    with pytest.raises(BadInputError, match=words) as caught:
        camera_path_from_json(damaged(table, way, value), "tour.json")
    assert str(caught.value).startswith("tour.json")
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["render_width", "render_height", "fewview"])
def test_what_is_missing_is_named(field):
    table = {key: value for key, value in OURS.items() if key not in (field, "keyframes", "camera_path")}
    with pytest.raises(BadInputError, match="has 0" if field == "fewview" else field):
        camera_path_from_json(table, "tour.json")


@pytest.mark.parametrize("value", [None, [], 3, "path", {}, [[]], {"camera_path": 3}, {"keyframes": [1]}])
def test_other_json_is_refused(value):
    with pytest.raises(BadInputError, match=r"tour\.json"):
        camera_path_from_json(value, "tour.json")


@pytest.mark.parametrize("seed", range(3))
def test_no_single_replacement_breaks_the_reader(seed):
    """Every field in turn becomes something else: a path or a sentence, never another error."""

    def ways(value, way=()):
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in list(inner)[:4]:
            yield (*way, key)
            yield from ways(item, (*way, key))

    strange = [None, -1, 10**400, "x", [], {}, True, 1e308][seed::3]
    for table in (OURS, THEIRS, PICTURES):
        for way in ways(table):
            for value in strange:
                try:
                    camera_path_from_json(damaged(table, way, value), "tour.json")
                except BadInputError:
                    continue


@pytest.mark.parametrize("text", ["", "{", "[1e999]", '{"fps": NaN}', '{"fps": 1, "fps": 2}', "\xff"])
def test_what_is_not_json_is_a_sentence(tmp_path, text):
    file = tmp_path / "tour.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInputError, match=r"tour\.json"):
        read_camera_path(file)
    with pytest.raises(BadInputError, match="could not be read"):
        read_camera_path(tmp_path / "absent.json")
