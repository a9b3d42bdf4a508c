"""`fewview edit`: what each option does to a splat file and to a run, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fewview.render import render
from fewview.scene.edit import Editor, centered_at, edited_splat, save_edited_run
from fewview.scene.errors import BadInputError
from fewview.scene.formats import load_splat, save_splat
from fewview.scene.gaussians import Gaussians
from fewview.scene.readers import load_run_capture
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat
from fewview.scene.splat import StaticSplat
from support.command import assert_one_sentence, fewview
from support.pictures import assert_same_but_for_flips
from support.small_run import small_gaussians, small_run
from support.small_splats import FIRST_S, LAST_S, moving_run, moving_splat


@pytest.fixture
def splat(tmp_path):
    """400 Gaussians of a sigma of 0.12 in the cube from -1 to 1; five are faint, three huge, two far away."""
    g = small_gaussians()
    means, log_scales, opacity = g.means.clone(), g.log_scales.clone(), g.opacity_logits.clone()
    opacity[:5] = -6.0
    log_scales[5:8] = 2.0
    means[8:10] += 50
    path = tmp_path / "splat.ply"
    save_splat(path, StaticSplat(Gaussians(means, g.quats, log_scales, opacity, g.sh), antialiased=True))
    return path


def test_each_step_tells_what_it_removed(capsys, splat, tmp_path):
    new = tmp_path / "new.ply"
    before = splat.read_bytes()
    done = fewview(
        capsys, "edit", splat, "-o", new, "--crop-box", "1.5 -2 -2 -2 0 2", "--crop-sphere", "0,0,0,1.6",
        "--min-opacity", 0.1, "--max-size", 1, "--floaters", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    g = load_splat(splat).gaussians
    box = ((g.means >= torch.tensor([-2.0, -2, -2])) & (g.means <= torch.tensor([1.5, 0, 2]))).all(1)
    keep = box & (g.means.norm(dim=1) <= 1.6)
    removed = done.json["removed"]
    assert removed["crop-box"] == int((~box).sum())
    assert removed["crop-sphere"] == int((box & ~keep).sum())
    keep &= g.opacities >= 0.1
    keep &= g.scales.amax(1) <= 1
    found = load_splat(new)
    assert torch.equal(found.gaussians.means, g.means[keep])  # and the floaters had gone by then
    assert removed["floaters, alone"] == 0
    assert found.antialiased
    assert done.json["after"] == int(keep.sum())
    assert f"{removed['crop-box']} removed" in done.out
    assert splat.read_bytes() == before


def test_floaters_go_by_the_scenes_own_measure(capsys, splat, tmp_path):
    done = fewview(capsys, "edit", splat, "-o", tmp_path / "new.ply", "--floaters", "--json")
    assert done.json["removed"] == {"floaters, faint": 5, "floaters, huge": 3, "floaters, alone": 2}
    assert done.json["after"] == 390


def test_the_frame_is_set_in_coordinates_of_the_input(capsys, splat, tmp_path):
    new = tmp_path / "new.ply"
    options = ["--recentre", "--up", "-y", "--scale-points", "0 0 0 0 3 4", "--metres", 10]
    done = fewview(capsys, "edit", splat, "-o", new, *options, "--json")
    assert done.code == 0, done.err
    before, after = load_splat(splat).gaussians, load_splat(new).gaussians
    x, y, z = (before.means - before.means.median(0).values).unbind(1)
    expected = 2 * torch.stack([x, z, -y], 1)
    torch.testing.assert_close(after.means, expected, rtol=0, atol=2e-5)  # float32, up to 100
    torch.testing.assert_close(after.scales, 2 * before.scales, rtol=1e-5, atol=0)
    assert done.json["new_from_old"]["scale"] == pytest.approx(2)
    assert done.json["removed"] == {}


def test_a_run_becomes_a_new_run_whose_pictures_are_the_same(capsys, tmp_path):
    run = small_run(tmp_path / "run")
    options = ["--recentre", "--up", "-y", "--scale-points", "0 0 0 0 3 4", "--metres", 10]
    done = fewview(capsys, "edit", run.path, "-o", tmp_path / "metric", *options, "--quiet")
    assert (done.code, done.out) == (0, ""), done.err
    new = Run.open(tmp_path / "metric")
    old_capture, new_capture = load_run_capture(run), load_run_capture(new)
    assert new_capture.points.metric
    assert not old_capture.points.metric
    assert new_capture.names == old_capture.names
    assert new_capture.test == old_capture.test
    before, after = load_splat(run.splat_path).gaussians, load_splat(new.splat_path).gaussians
    for i in range(len(old_capture)):
        assert torch.equal(new_capture.image(i), old_capture.image(i))
        a, b = render(before, old_capture.cameras[i]).rgb, render(after, new_capture.cameras[i]).rgb
        assert_same_but_for_flips(b, a, mean=1e-5)  # float32 rounding
    assert new.config()["edited_from"] == str(run.path)
    assert "eval" not in new.metrics()
    torch.testing.assert_close(
        new_capture.points.xyz.norm(dim=1).median(), 2 * old_capture.points.xyz.norm(dim=1).median(), rtol=0.1, atol=0
    )  # the middle of the splat is not quite that of the points


def test_depth_maps_follow_the_scale(tmp_path):
    run = small_run(tmp_path / "run")
    (run.path / "depths").mkdir()
    np.save(run.path / "depths" / "photo_0.npy", np.full((4, 6), 1500, np.float32))
    splat = StaticSplat(small_gaussians())
    editor = Editor(splat.gaussians)
    editor.move(centered_at(torch.ones(3)))
    move = editor.similarity
    editor.move(type(move)(torch.tensor(2.0), torch.eye(3), torch.zeros(3)))
    new = save_edited_run(run, tmp_path / "new", edited_splat(splat, editor), editor.similarity, metric=False)
    assert np.load(new.path / "depths" / "photo_0.npy")[0, 0] == 3000


def test_a_run_that_moves_stays_a_moving_one_and_a_file_gets_a_moment(capsys, tmp_path):
    run = moving_run(tmp_path / "run")
    options = ("--crop-box", "-2 -2 -2 0 2 2", "--up", "-y", "--quiet", "--json")
    done = fewview(capsys, "edit", run.path, "-o", tmp_path / "new", *options)
    assert done.code == 0, done.err
    new = load_run_splat(Run.open(tmp_path / "new"))
    kept = moving_splat().at(FIRST_S).means[:, 0] <= 0  # cropped as it is at the first moment
    for moment in (FIRST_S, LAST_S):
        expected = moving_splat().at(moment).means[kept]
        turned = torch.stack([expected[:, 0], expected[:, 2], -expected[:, 1]], dim=-1)  # -y becomes +z
        torch.testing.assert_close(new.at(moment).means, turned, atol=1e-5, rtol=0)
    assert new.up == (0.0, 0.0, 1.0)
    done = fewview(capsys, "edit", run.path, "-o", tmp_path / "first.ply", *options)
    assert done.code == 0, done.err
    assert "the one at 1 s" in done.json["notes"][0]
    torch.testing.assert_close(load_splat(tmp_path / "first.ply").gaussians.means, new.at(FIRST_S).means)


def test_a_run_that_fails_to_be_saved_leaves_nothing(tmp_path, monkeypatch):
    run = small_run(tmp_path / "run")
    splat = StaticSplat(small_gaussians())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fewview.scene.edit.saving.save_run_splat", full)
    with pytest.raises(Exception, match="No space left"):
        save_edited_run(run, tmp_path / "new", splat, Editor(splat.gaussians).similarity, metric=False)
    assert not (tmp_path / "new").exists()


def test_the_up_of_a_file_follows(tmp_path):
    splat = StaticSplat(small_gaussians(), up=(0.0, -1.0, 0.0), notes=("a note",))
    editor = Editor(splat.gaussians)
    quarter = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    editor.move(type(editor.similarity)(torch.tensor(1.0), quarter, torch.zeros(3)))
    edited = edited_splat(splat, editor)
    assert edited.up == pytest.approx((0, 0, 1))
    assert edited.notes == ("a note",)
    editor.delete(torch.ones(400, dtype=torch.bool))
    with pytest.raises(BadInputError, match="nothing to save"):
        edited_splat(splat, editor)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--crop-box", "0 0 0 1 1"], ["--crop-box", "6 numbers"]),
        (["--crop-box", "0 0 0 1 1 nan"], ["--crop-box", "6 numbers"]),
        (["--crop-sphere", "0 0 0 -1"], ["radius"]),
        (["--scale-points", "0 0 0 1 1 1"], ["--metres"]),
        (["--scale-points", "0 0 0 0 0 0", "--metres", "1"], ["one place"]),
        (["--scale-points", "0 0 0 0 0 1", "--metres", "-1"], ["positive"]),
        (["--scale-points", "0 0 0 0 0 1e-30", "--metres", "1e30"], ["1e+60 times", "1e-09 to 1e+09 times"]),
        (["--scale-points", "0 0 0 0 0 1", "--metres", "1e-300"], ["1e-300 times"]),
        (["--drag", "/dev/null"], ["/dev/null is a device"]),
        (["--min-opacity", "2"], ["--min-opacity", "0 to 1"]),
        (["--max-size", "0"], ["--max-size"]),
        (["--crop-sphere", "900 0 0 1"], ["nothing to save"]),
        (["--crop-sphere", "900 0 0 1", "--floaters", "--recentre"], ["no Gaussians"]),
    ],
)
def test_options_that_cannot_be_are_sentences(capsys, splat, tmp_path, options, words):
    assert_one_sentence(fewview(capsys, "edit", splat, "-o", tmp_path / "new.ply", *options), 2, *words)
    assert not (tmp_path / "new.ply").exists()


def test_nothing_that_was_there_is_replaced(capsys, splat, tmp_path):
    run = small_run(tmp_path / "run")
    link = tmp_path / "link.ply"
    link.symlink_to(splat)
    before = splat.read_bytes()
    assert_one_sentence(fewview(capsys, "edit", splat), 2, "-o NEW.ply")
    for target in (splat, link):
        assert_one_sentence(fewview(capsys, "edit", splat, "-o", target), 2, "another name")
    assert_one_sentence(fewview(capsys, "edit", splat, "-o", run.splat_path), 2, "result of a run")
    assert_one_sentence(fewview(capsys, "edit", run.path, "-o", run.points_path), 2, "result of a run")
    assert_one_sentence(fewview(capsys, "edit", run.path, "-o", run.path), 2, "exists already")
    assert_one_sentence(fewview(capsys, "edit", splat, "-o", tmp_path), 2, "is a folder")
    assert_one_sentence(fewview(capsys, "edit", splat, "-o", tmp_path / "a" / "b.ply"), 2, "does not exist")
    assert_one_sentence(fewview(capsys, "edit", splat, "-o", tmp_path / "new.xyz"), 2, "new.xyz")
    assert_one_sentence(fewview(capsys, "edit", tmp_path / "absent.ply", "-o", tmp_path / "new.ply"), 2, "absent.ply")
    assert splat.read_bytes() == before
