"""`fewview share`: what gets into the page, what never does, and what is not overwritten."""

from __future__ import annotations

import base64
import hashlib
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fewview.scene.errors import BadInputError
from fewview.scene.formats import load_splat, save_splat
from fewview.scene.gaussians import Gaussians
from fewview.scene.splat import StaticSplat
from fewview.viewer.share import share_file, share_page, write_share
from support.bending_splat import FIRST_S, bending_splat
from support.command import assert_one_sentence, fewview
from support.shared_page import SharedPage
from support.small_run import small_cameras, small_gaussians, small_run
from support.small_splats import moving_run, moving_splat

PROGRAM = "const createViewer = async () => ({});\n//# sourceMappingURL=index.js.map"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A stand-in for the npm package, so that these tests do not need it."""
    folder = tmp_path / "program"
    folder.mkdir()
    contents = {"index.js": PROGRAM, "index.css": ".a { color: red }", "LICENSE": "MIT, a company\n"}
    for name, text in {**contents, "package.json": '{"version": "1.0.0"}'}.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(share_page, "PROGRAM_FOLDER", folder)
    return folder


def test_a_run_becomes_one_page(tmp_path, capsys, program):
    run = small_run(tmp_path / "my_run")
    done = fewview(capsys, "share", run.path, "-o", tmp_path / "gift.html", "--title", "A <b>gift</b> & more", "--json")
    assert done.code == 0, done.err
    page = SharedPage(tmp_path / "gift.html")
    assert done.json["bytes"] == (tmp_path / "gift.html").stat().st_size
    assert done.json["gaussians"] == 400
    assert page.texts["title"] == page.texts["#title"] == "A <b>gift</b> & more", "the title is text"
    assert "b" not in page.tags
    assert not [v for n, v in page.attributes if n in ("src", "href")], "nothing is loaded"
    assert "MIT, a company" in page.source
    assert "sourceMappingURL" not in page.carried("program").decode()
    assert page.view["antialiased"] is False


def test_a_splat_of_frames_is_played_and_told_how_closely(tmp_path, capsys):
    run = moving_run(tmp_path / "run")
    done = fewview(capsys, "share", run.path, "-o", tmp_path / "a.html", "--json")
    assert done.code == 0, done.err
    assert done.json["notes"][0].startswith("Here 400 control points carry the Gaussians")
    page = SharedPage(tmp_path / "a.html")
    assert (page.view["points"], page.view["times"]) == (400, [1.0, 2.0, 3.0])


@pytest.mark.parametrize(("time", "told"), [(("--time", 1.0), "the one at 1 s"), (("--time", 2.5), "the one at 2.5 s")])
def test_of_a_splat_that_moves_a_moment_is_shared_and_told(tmp_path, capsys, program, time, told):
    run = moving_run(tmp_path / "run")
    done = fewview(capsys, "share", run.path, "-o", tmp_path / "a.html", *time, "--json")
    assert done.code == 0, done.err
    assert "moves from 1 s to 3 s" in done.json["notes"][0]
    assert told in done.json["notes"][0]
    (tmp_path / "a.compressed.ply").write_bytes(SharedPage(tmp_path / "a.html").carried("splat"))
    moment = replace(moving_splat().still(time[1]), notes=())
    write_share(moment, tmp_path / "b.html", "a", small_cameras())
    (tmp_path / "b.compressed.ply").write_bytes(SharedPage(tmp_path / "b.html").carried("splat"))
    ours, theirs = (load_splat(tmp_path / f"{name}.compressed.ply").gaussians for name in "ab")
    torch.testing.assert_close(ours.means, theirs.means, atol=1e-3, rtol=0)  # a run's cameras are stored as text


def test_a_splat_that_control_points_move_is_played_and_needs_no_program(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(share_page, "PROGRAM_FOLDER", tmp_path / "nowhere")
    splat = bending_splat(300, degree=2, residuals=True)
    save_splat(tmp_path / "bar.sog4d", splat)
    done = fewview(
        capsys, "share", tmp_path / "bar.sog4d", "--title", "A <b>bar</b>", "--background", "white", "--json"
    )
    assert done.code == 0, done.err
    assert done.json["notes"] == []
    assert done.json["gaussians"] == 300
    page = SharedPage(tmp_path / "bar.html")
    assert page.texts["title"] == page.texts["#title"] == "A <b>bar</b>", "the title is text"
    assert (page.view["count"], page.view["points"], page.view["degree"]) == (300, 24, 2)
    assert page.view["times"][0] == FIRST_S
    assert page.view["background"] == [1.0, 1.0, 1.0]
    assert page.view["speed"] == 1, "three seconds are played in three seconds"
    sizes = {"f4": 4, "u2": 2, "i2": 2, "u1": 1}
    assert len(page.carried("splat")) == sum(sizes[kind] * count for _, kind, count in page.view["parts"])
    assert "Apache License" in page.source
    assert not [v for n, v in page.attributes if n in ("src", "href", "style")], "nothing is loaded"
    first = (tmp_path / "bar.html").read_bytes()
    assert (
        fewview(capsys, "share", tmp_path / "bar.sog4d", "--title", "A <b>bar</b>", "--background", "white").code == 0
    )
    assert (tmp_path / "bar.html").read_bytes() == first, "equal input gives equal bytes"


def test_the_policy_of_a_playing_page_names_its_script_and_styles_alone(tmp_path):
    write_share(bending_splat(50), tmp_path / "a.html", "a")
    page = SharedPage(tmp_path / "a.html")
    inside = [page.source.split('<script type="module">')[1].split("</script>")[0]]
    inside += [part.split("</style>")[0] for part in page.source.split("<style>")[1:]]
    assert len(inside) == 4
    for text in inside:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in page.policy
    assert page.policy.startswith("default-src 'none'; ")
    for word in ("unsafe", "blob:", "data:", "http", "connect-src"):
        assert word not in page.policy


def test_colours_give_way_where_a_page_would_grow_too_large(tmp_path, monkeypatch):
    splat = bending_splat(2000, degree=3)
    whole = write_share(splat, tmp_path / "a.html", "a")
    assert whole.notes == ()
    monkeypatch.setattr(share_file, "MOVING_BYTES", whole.size_bytes - 30_000)
    less = write_share(splat, tmp_path / "b.html", "b")
    assert less.size_bytes <= whole.size_bytes - 30_000
    assert less.notes == ("The page shows view-dependent colours of degree 2 of the 3 that the splat has.",)
    monkeypatch.setattr(share_file, "MOVING_BYTES", 1000)
    least = write_share(splat, tmp_path / "c.html", "c")
    assert "degree 0 of the 3" in least.notes[0]
    assert "MB" in least.notes[1]


def test_of_a_playing_splat_one_moment_can_be_chosen(tmp_path, capsys, program):
    save_splat(tmp_path / "bar.sog4d", bending_splat(300))
    done = fewview(capsys, "share", tmp_path / "bar.sog4d", "--time", "3", "--json")
    assert done.code == 0, done.err
    assert "the one at 3 s" in done.json["notes"][0]
    assert "settings" in SharedPage(tmp_path / "bar.html").view


def test_nothing_that_can_be_seen_is_nothing_to_play(tmp_path):
    splat = bending_splat(20)
    splat.gaussians.opacity_logits[:] = -9
    with pytest.raises(BadInputError, match="no Gaussians that can be seen"):
        write_share(splat, tmp_path / "a.html", "a")
    assert not list(tmp_path.iterdir())


def test_a_moment_that_is_none_of_the_splat_is_one_sentence(tmp_path, capsys, program):
    run = moving_run(tmp_path / "run")
    save_splat(tmp_path / "still.ply", bending_splat(20).still())
    assert_one_sentence(fewview(capsys, "share", run.path, "--time", "nan"), 2, "--time nan cannot be used")
    assert_one_sentence(fewview(capsys, "share", run.path, "--time", "99"), 2, "--time 99 is outside of the motion")
    still = fewview(capsys, "share", tmp_path / "still.ply", "--time", "1")
    assert_one_sentence(still, 2, "still.ply does not move, so --time 1")
    assert not list(tmp_path.glob("*.html"))


def test_a_name_that_is_no_text_is_a_title_too(tmp_path, capsys, program):
    save_splat(tmp_path / "still.ply", bending_splat(20).still())
    name = os.fsdecode(b"caf\xe9.html")  # Latin-1, as old disks have it
    done = fewview(capsys, "share", tmp_path / "still.ply", "-o", tmp_path / name)
    assert done.code == 0, done.err
    assert b"<title>caf?</title>" in (tmp_path / name).read_bytes()


def test_the_policy_allows_the_two_programs_and_no_network(tmp_path, capsys, program):
    assert fewview(capsys, "share", small_run(tmp_path / "run").path, "-o", tmp_path / "a.html").code == 0
    page = SharedPage(tmp_path / "a.html")
    start = page.source.split('<script type="module">')[1].split("</script>")[0]
    for script in (start, page.carried("program").decode()):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in page.policy
    assert "http" not in page.policy
    assert "'unsafe-inline'" not in page.policy.split("script-src")[1].split(";")[0]


def test_nothing_of_the_run_but_the_splat_gets_in(tmp_path, capsys, program):
    names = [f"IMG_of_jane_{i}.jpg" for i in range(5)]
    run = small_run(tmp_path / "janes_house", names, input="/home/jane/photos", command="fewview reconstruct secret")
    run.update_metrics(notes=["seen at janes house"], training={"background": [1.0, 1.0, 1.0]})
    assert fewview(capsys, "share", run.path, "-o", tmp_path / "out.html").code == 0
    page = SharedPage(tmp_path / "out.html")
    told = page.source.encode() + page.carried("splat") + page.carried("program")
    for word in (b"jane", b"secret", b"IMG_", b"photos", str(tmp_path).encode()):
        assert word not in told
    assert page.view["settings"]["background"]["color"] == [1.0, 1.0, 1.0]
    assert page.texts["title"] == "out"


def test_the_page_stands_upright_and_begins_at_the_middle_camera(tmp_path, capsys, program):
    assert fewview(capsys, "share", small_run(tmp_path / "run").path, "-o", tmp_path / "a.html").code == 0
    page = SharedPage(tmp_path / "a.html")
    first = page.view["settings"]["cameras"][0]["initial"]
    x, y, z = first["position"]
    # The middle camera stands at (0, -1, -4), y down, and looks at the origin, 4.12 away; a page has y up and calls
    # the median distance of all five, which is the same, 5. The vertical that is read from five tilted cameras is 0.75
    # degrees off, which moves the camera by 0.066.
    assert [x, y, z] == pytest.approx([0, 5 / math.sqrt(17), 20 / math.sqrt(17)], abs=0.07)
    assert first["target"] == pytest.approx([0, 0, 0], abs=1e-4)
    keys = page.view["settings"]["animTracks"][0]["keyframes"]
    assert keys["values"]["position"][:3] == first["position"]
    assert len(keys["values"]["position"]) == 3 * len(keys["times"]) == 3 * len(keys["values"]["fov"])
    assert page.view["tanX"] == pytest.approx(96 / 2 / 90)
    # The program turns a file half around z; small_gaussians are red along x, green along y (down) and blue along z.
    (tmp_path / "in.compressed.ply").write_bytes(page.carried("splat"))
    in_page = load_splat(tmp_path / "in.compressed.ply").gaussians
    corners = ((in_page.base_colors - 0.5) * 2).T @ (in_page.means * torch.tensor([-1.0, -1.0, 1.0]))
    assert (corners.diagonal().sign() == torch.tensor([1, -1, -1])).all()


@pytest.mark.parametrize("ending", ["ply", "compressed.ply", "spz"])
def test_splat_files_can_be_shared_with_any_axis_up(tmp_path, capsys, program, ending):
    up = (0.0, 0.0, 1.0)
    save_splat(tmp_path / f"a.{ending}", StaticSplat(small_gaussians(), up=up))
    assert fewview(capsys, "share", tmp_path / f"a.{ending}", "--background", "white").code == 0
    page = SharedPage(tmp_path / "a.html")
    (tmp_path / "in.compressed.ply").write_bytes(page.carried("splat"))
    in_page = load_splat(tmp_path / "in.compressed.ply").gaussians
    along_up = (in_page.base_colors[:, 2] - 0.5) @ -in_page.means[:, 1]  # blue was along z, which is up
    assert along_up > 0
    assert page.view["settings"]["background"]["color"] == [1.0, 1.0, 1.0]
    assert page.view["settings"]["cameras"][0]["initial"]["position"][1] > 0, "looks down a little"


def test_a_bare_splat_is_first_seen_from_its_sharp_side(tmp_path, capsys, program):
    """A checkered wall before a grey one: from behind only grey is seen."""
    y, z = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    places = torch.stack([torch.zeros(256), y.flatten() / 8 - 1, z.flatten() / 8 - 1], dim=-1)
    for side in (-1.0, 1.0):
        means = torch.cat([places, places + torch.tensor([0.3 * side, 0.0, 0.0])])
        sh = torch.zeros(512, 1, 3)
        sh[:256] = 1.7 * (1 - 2 * ((y + z).flatten() % 2))[:, None, None]  # black and white
        quats = torch.tensor([1.0, 0, 0, 0]).repeat(512, 1)
        wall = Gaussians(means, quats, torch.full((512, 3), math.log(0.05)), torch.full((512,), 4.0), sh)
        save_splat(tmp_path / "wall.ply", StaticSplat(wall, up=(0.0, 0.0, 1.0)))
        assert fewview(capsys, "share", tmp_path / "wall.ply").code == 0
        (tmp_path / "in.compressed.ply").write_bytes(SharedPage(tmp_path / "wall.html").carried("splat"))
        in_page = load_splat(tmp_path / "in.compressed.ply").gaussians
        checkered = (in_page.base_colors - 0.5).abs().mean(-1) > 0.2
        # The first view looks along -z, so what is nearer has the larger z.
        assert in_page.means[checkered, 2].mean() > in_page.means[~checkered, 2].mean()


def test_what_cannot_be_seen_is_left_out(tmp_path, capsys, program):
    g = small_gaussians()
    faint = g.opacity_logits.clone()
    faint[1] = -9
    save_splat(tmp_path / "a.ply", StaticSplat(Gaussians(g.means, g.quats, g.log_scales, faint, g.sh)))
    done = fewview(capsys, "share", tmp_path / "a.ply", "--json")
    assert done.json["gaussians"] == 399
    faint[:] = -9
    save_splat(tmp_path / "b.ply", StaticSplat(Gaussians(g.means, g.quats, g.log_scales, faint, g.sh)))
    assert_one_sentence(fewview(capsys, "share", tmp_path / "b.ply"), 2, "no Gaussians that can be seen")


def test_only_pages_of_ours_are_overwritten(tmp_path, capsys, program):
    run = small_run(tmp_path / "run")
    splat = run.splat_path.read_bytes()
    (run.report_path).write_text("<!doctype html>the report")
    assert_one_sentence(fewview(capsys, "share", run.path, "-o", run.report_path), 2, "report.html", "-o")
    assert run.report_path.read_text() == "<!doctype html>the report"
    assert_one_sentence(fewview(capsys, "share", run.splat_path, "-o", run.splat_path), 2, "does not end in .html")
    assert run.splat_path.read_bytes() == splat
    (tmp_path / "folder.html").mkdir()
    assert_one_sentence(fewview(capsys, "share", run.path, "-o", tmp_path / "folder.html"), 2, "is a folder")
    assert_one_sentence(fewview(capsys, "share", run.path, "-o", tmp_path / "no" / "a.html"), 2, "does not exist")
    for _ in range(2):  # the second time over the first
        assert fewview(capsys, "share", run.path).code == 0
    assert (run.path / "scene.html").is_file()
    first = (run.path / "scene.html").read_bytes()
    fewview(capsys, "share", run.path)
    assert (run.path / "scene.html").read_bytes() == first, "equal input gives equal bytes"


def test_without_the_program_one_sentence_says_what_to_type(tmp_path, capsys, program):
    (program / "index.js").unlink()
    outcome = fewview(capsys, "share", small_run(tmp_path / "run").path)
    assert outcome.code == 1
    assert "python -m pip install -e ." in outcome.err
    assert "npm" in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "run" / "scene.html").exists()


def test_inputs_without_a_splat_are_refused(tmp_path, capsys, program):
    run = small_run(tmp_path / "run")
    run.splat_path.unlink()
    assert_one_sentence(fewview(capsys, "share", run.path), 2, "no splat", "fewview reconstruct")
    assert_one_sentence(fewview(capsys, "share", tmp_path / "gone.ply"), 2, "does not exist")
    assert_one_sentence(fewview(capsys, "share", run.path, "--title", "x" * 201), 2, "201")


def test_cameras_of_the_stand_in_are_as_the_test_says():
    assert small_cameras().centers[2].tolist() == pytest.approx([0, -1, -4], abs=1e-6)


@pytest.mark.parametrize("places", [[0.0], [0.0, 0.0, 0.0], [1.0, 2.0]], ids=["one", "in one place", "two"])
def test_very_few_gaussians_are_shared(tmp_path: Path, capsys: pytest.CaptureFixture[str], places: list[float]) -> None:
    n = len(places)
    means = torch.tensor(places)[:, None].expand(n, 3)
    quats, sh = torch.eye(4)[:1].expand(n, 4), torch.ones(n, 1, 3)
    few = Gaussians(means, quats, torch.full((n, 3), -2.0), torch.full((n,), 2.0), sh)
    save_splat(tmp_path / "few.ply", StaticSplat(few))
    outcome = fewview(capsys, "share", tmp_path / "few.ply", "-o", tmp_path / "few.html", "--json")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "few.html").stat().st_size > 10_000
