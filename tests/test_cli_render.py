"""`fewview render`: kinds of paths, camera path files, and how long a film is."""

import av
import cv2
import pytest
from fewview.render.camera_path import CameraPath
from fewview.render.camera_path_file import write_camera_path
from support.camera_paths import random_path
from support.command import assert_one_sentence, fewview
from support.small_run import small_cameras, small_run


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return small_run(tmp_path / "run")


def film_of(path):
    """(width, height, pictures, pictures in a second)."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        return stream.width, stream.height, sum(1 for _ in film.decode(stream)), float(stream.average_rate)


@pytest.mark.parametrize("path", ["orbit", "spiral", "through", "interpolation"])
def test_every_kind_of_path_makes_a_film(capsys, run, path):
    outcome = fewview(capsys, "render", "run", "--path", path, "--seconds", 0.5, "--fps", 10, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["frames"] == 5
    assert film_of(f"run/renders/{path}/{path}.mp4") == (96, 64, 5, 10)


def test_a_camera_path_file_has_its_own_size_rate_and_length(capsys, run):
    write_camera_path("my tour.json", CameraPath.through(small_cameras(), seconds=0.5, fps=12))
    outcome = fewview(capsys, "render", "run", "--path", "my tour.json", "--json")
    assert outcome.code == 0, outcome.err
    assert film_of("run/renders/my tour/my tour.mp4") == (96, 64, 7, 12)
    # The first key frame is the first photograph's camera: its picture is that of a flight that begins there.
    fewview(capsys, "render", "run", "--path", "through", "--frames", 2)
    first, same = (cv2.imread(f"run/renders/{name}/0000.png").astype(int) for name in ("my tour", "through"))
    # A step of eight bits by rounding, and another where a Gaussian's edge at 1/255 falls to the other side.
    assert abs(first - same).max() <= 2
    assert (first != same).mean() < 1e-2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--frames", 3], (96, 64, 3, 12)),
        (["--frames", 4, "--seconds", 2], (96, 64, 4, 2)),
        (["--seconds", 1], (96, 64, 13, 12)),
        (["--fps", 6], (96, 64, 4, 6)),
        (["--size", 48], (48, 32, 7, 12)),
    ],
)
def test_rate_length_and_size_of_a_file_can_be_changed(capsys, run, options, expected):
    write_camera_path("tour.json", CameraPath.through(small_cameras(), seconds=0.5, fps=12))
    outcome = fewview(capsys, "render", "run", "--path", "tour.json", "-o", "film.mp4", *options)
    assert outcome.code == 0, outcome.err
    assert film_of("film.mp4") == expected


def test_a_bare_splat_is_filmed_along_a_file(capsys, run):
    write_camera_path("tour.json", CameraPath.through(small_cameras(), seconds=0.2, fps=10))
    outcome = fewview(capsys, "render", "run/splat.ply", "--path", "tour.json", "-o", "film.mp4")
    assert outcome.code == 0, outcome.err
    assert film_of("film.mp4")[2] == 3
    for path in ("spiral", "through", "interpolation"):
        refused = fewview(capsys, "render", "run/splat.ply", "--path", path)
        assert_one_sentence(refused, 2, "without cameras", "--path orbit", "camera path file")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--path", "orbitt"], ["orbitt", "spiral", "camera path file"]),
        (["--path", "run"], ["neither a kind of path"]),
        (["--frames", 0], ["--frames 0"]),
        (["--frames", 10**6], ["100000"]),
        (["--fps", 0], ["--fps 0"]),
        (["--fps", "nan"], ["--fps nan"]),
        (["--seconds", "-1"], ["--seconds -1"]),
        (["--seconds", 5000, "--fps", 100], ["500,000 pictures"]),
        (["--frames", 2, "--fps", 2, "--seconds", 1], ["two of them"]),
        (["--size", 100_000], ["--size 100000"]),
        (["-o", "film.avi"], ["film.avi", "not written here", ".mp4"]),
    ],
)
def test_what_cannot_be_filmed_is_a_sentence(capsys, run, options, words):
    assert_one_sentence(fewview(capsys, "render", "run", *options), 2, *words)


def test_a_damaged_camera_path_file_is_a_sentence(capsys, run, tmp_path):
    (tmp_path / "tour.json").write_text('{"camera_path": [{"fov": 50}]}')
    assert_one_sentence(fewview(capsys, "render", "run", "--path", "tour.json"), 2, "tour.json", "camera_to_world")
    write_camera_path(tmp_path / "slow.json", random_path(0, 2))
    assert_one_sentence(
        fewview(capsys, "render", "run", "--path", "slow.json", "--fps", 240, "--seconds", 4000), 2, "pictures"
    )
