"""A scene in a real browser: what is drawn, and what a person does with it, step by step.

A browser without a graphics card takes seconds for a frame of a large scene, so the scene has 30,000 Gaussians unless
FEWVIEW_TOUR_GAUSSIANS says otherwise. Of a larger one such a browser gets a part, with which the steps are done; all of
it is drawn when the page is compared with our rendering.
"""

import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.render import render
from fewview.render.aim import look_at
from fewview.scene.cameras import Cameras
from fewview.scene.capture import Capture, Frame
from fewview.scene.formats import load_splat
from fewview.scene.gaussians import SH_C0, Gaussians
from fewview.scene.splat import StaticSplat
from fewview.viewer.app import serve
from fewview.viewer.layers.camera_layer import frustum_depths
from fewview.viewer.subjects.drawn_splat import MANY_GAUSSIANS
from fewview.viewer.subjects.splat_subject import SplatSubject
from PIL import Image
from support.browser import browser as browser
from support.browser import camera_in_page, open_viewer, screenshot, until

COUNT = int(os.environ.get("FEWVIEW_TOUR_GAUSSIANS", "30000"))
WIDTH, HEIGHT = 900, 600
FREE_COLUMNS = slice(0, 500)  # of the page, left of the panel
NOTICE_PX = 200  # of the page, where it says that it is drawn without a graphics card
MIN_DB = 28.0  # while it moves, the page knows one colour for all directions: 30 to 35 dB in practice


def ball() -> Gaussians:
    """A textured ball of unit radius whose Gaussians lie flat on it, a little brighter from one side (degree 1)."""
    index = torch.arange(COUNT) + 0.5
    z, turn = 1 - 2 * index / COUNT, index * (math.pi * (3 - math.sqrt(5)))  # Fibonacci: evenly spread
    ring = (1 - z * z).sqrt()
    means = torch.stack([ring * turn.cos(), ring * turn.sin(), z], dim=-1)
    sh = torch.zeros(COUNT, 4, 3)
    stripes = torch.stack([(5 * means[:, i] + i).sin() for i in range(3)], dim=-1)
    sh[:, 0] = 0.35 * stripes / SH_C0
    sh[:, 2] = 0.03
    half = torch.acos(means[:, 2].clamp(-1, 1)) / 2  # the shortest turn from z to the mean's direction
    axis = torch.nn.functional.normalize(torch.stack([-means[:, 1], means[:, 0], torch.zeros(COUNT)], dim=-1), dim=-1)
    quats = torch.cat([half.cos()[:, None], half.sin()[:, None] * axis], dim=-1)
    log_scales = (torch.tensor([1.0, 1.0, 0.2]) * 3.3 / COUNT**0.5).log().repeat(COUNT, 1)
    return Gaussians(means, quats, log_scales, torch.full((COUNT,), 3.0), sh)


def ring_of_cameras(count: int = 6) -> Cameras:
    azimuth = torch.linspace(-0.5, 0.5, count)
    centers = torch.stack([3.5 * azimuth.sin(), torch.full((count,), -0.6), -3.5 * azimuth.cos()], dim=-1)
    poses = look_at(centers, torch.zeros(3), torch.tensor([0.0, -1.0, 0.0]))
    return Cameras.pinhole(poses, 260.0, 240, 180)


@pytest.fixture(scope="module")
def tour(browser, tmp_path_factory):
    """(server, page, tab, client) of one page for all steps; the scene is a file, so that it can be saved as new."""
    cameras = ring_of_cameras()
    frames = tuple(
        Frame(f"photo_{i}.png", 240, 180, lambda i=i: np.full((180, 240, 3), 30 * i, np.uint8), time_s=i / 5)
        for i in range(6)
    )
    path = tmp_path_factory.mktemp("tour") / "ball.ply"
    subject = SplatSubject("ball", StaticSplat(ball()), Capture(frames, "tour", cameras, test=(2,)), splat_path=path)
    path.write_bytes(b"the old one")
    server, page = serve(subject, port=0)
    tab = open_viewer(browser, server, WIDTH, HEIGHT)
    client = next(iter(server.get_clients().values()))
    for name in ("cameras", "held_out"):
        page.context.active.layers[name].wanted = False
    yield server, page, tab, client
    tab.close()
    page.close()
    server.stop()


def likeness(page, tab, client) -> float:
    """PSNR over the object of what the browser shows to our rendering, with all harmonics, of what is left."""
    panel = page.panel("Edit")
    camera = camera_in_page(page, client, HEIGHT)
    with torch.no_grad():
        ours = render(panel.bench.session.left(), camera)
    seen = screenshot(tab)[:, : ours.rgb.shape[1]].astype(np.float32) / 255  # the panel is beside it
    inside = ours.alpha.numpy() > 0.5
    inside[:200] = False  # the browser's notice about software rendering, as high as its font makes it
    inside[:, FREE_COLUMNS.stop :] = False
    assert inside.sum() > 20_000
    error = ((seen - ours.rgb.clamp(0, 1).numpy()) ** 2)[inside].mean()
    return -10 * math.log10(float(error))


def settled(page, tab, client) -> float:
    """The likeness of the whole scene once the browser has drawn it: it is asked until it is good."""
    best = [0.0]
    _set_detail(page, tab, True)

    def good():
        tab.wait_for_timeout(500)
        best[0] = likeness(page, tab, client)
        return best[0] >= MIN_DB

    until(good)
    _set_detail(page, tab, False)
    return best[0]


def _set_detail(page, tab, every: bool) -> None:
    if COUNT > MANY_GAUSSIANS:
        tab.get_by_role("tab", name="Scene").click()
        tab.get_by_label("All Gaussians").set_checked(every)
        until(lambda: page.context.active.drawn.draws_all == every)


def test_a_large_scene_looks_like_our_rendering(tour):
    _, page, tab, client = tour
    assert settled(page, tab, client) >= MIN_DB


def test_dragging_turns_the_view(tour):
    _, page, tab, client = tour
    before = client.camera.position.copy()
    tab.mouse.move(300, 400)
    tab.mouse.down()
    for x in range(300, 421, 20):
        tab.mouse.move(x, 400)
    tab.mouse.up()
    until(lambda: np.abs(client.camera.position - before).max() > 0.3)
    assert settled(page, tab, client) >= MIN_DB


def test_a_click_on_a_camera_flies_there(tour):
    _, page, tab, client = tour
    behind = page.context.first_view()
    start = replace(behind, position=behind.position * 1.8)  # all cameras before it

    def flown() -> bool:
        """Once more from the start where the browser had not yet drawn what the server knows, and another was hit."""
        page.context.pilot.place(client, start)
        page.context.active.look_through(None)
        page.context.active.layers["cameras"].wanted = True
        until(lambda: _is_still(tab))
        seen = [(i, p) for i, p in enumerate(_pictures_of_frusta(page, camera_in_page(page, client, HEIGHT))) if p]
        index, (x, y) = next((i, p) for i, p in seen if 20 < p[0] < FREE_COLUMNS.stop - 20 and 200 < p[1] < HEIGHT - 20)
        before = client.camera.position.copy()
        tab.mouse.click(x, y)
        goal = page.context.stage.place(page.context.active.cameras.centers[index])
        for _ in range(20):
            tab.wait_for_timeout(500)
            if np.abs(client.camera.position - goal).max() < 1e-3:
                return True
            if np.abs(client.camera.position - before).max() < 1e-3:
                tab.mouse.click(x, y)
        return False

    try:
        until(flown)
    finally:
        page.context.active.layers["cameras"].wanted = False
        page.context.pilot.place(client, behind)


def _is_still(tab) -> bool:
    """True where the page looks the same half a second apart, so that it has drawn what it was told."""
    first = screenshot(tab)
    tab.wait_for_timeout(500)
    return np.array_equal(first, screenshot(tab))


def _pictures_of_frusta(page, view):
    """[x, y] where the middle of each frustum's picture is seen by a camera [], in pixels; None behind it."""
    cameras = page.context.active.cameras
    depths = frustum_depths(cameras, page.context.active.photographs.frustum_size / page.context.stage.scale)
    middle = cameras.centers + depths[:, None] * cameras.world_from_cam[:, :3, 2]
    for point in middle:
        in_camera = view.cam_from_world[:3, :3] @ point + view.cam_from_world[:3, 3]
        pixel = view.K @ in_camera
        yield (pixel[:2] / pixel[2]).tolist() if in_camera[2] > 0.05 else None


def test_crop_and_undo(tour):
    _, page, tab, client = tour
    page.context.pilot.place(client, page.context.first_view())
    panel = page.panel("Edit")
    tab.get_by_role("tab", name="Edit").click()
    tab.get_by_role("button", name="Sphere").click()
    panel.select_tools._gizmo.position = page.context.stage.place(torch.tensor([0.0, 0.0, -1.0]))  # the ball is hollow
    tab.get_by_role("button", name="Select what is inside").click()
    until(lambda: 0 < panel.bench.session.selected_count < COUNT)
    chosen = panel.bench.session.selected_count
    tab.get_by_role("button", name="Keep only").click()
    until(lambda: len(panel.bench.session.left()) == chosen)
    tab.get_by_role("button", name="Undo").click()
    until(lambda: len(panel.bench.session.left()) == COUNT)
    tab.get_by_role("button", name="Clear").click()
    until(lambda: panel.bench.session.selected_count == 0)
    tab.get_by_role("button", name="Sphere").click()  # puts the shape away
    assert settled(page, tab, client) >= MIN_DB


def test_export_of_what_is_left(tour, tmp_path):
    _, page, tab, _ = tour
    panel = page.panel("Edit")
    tab.get_by_role("tab", name="Edit").click()
    panel.bench.do(lambda: panel.bench.session.select(panel.bench.session.means[:, 0] > 0))
    panel.bench.do(panel.bench.session.delete)
    until(lambda: len(panel.bench.session.left()) < COUNT)
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Download", exact=True).click()
    saved = tmp_path / "left.ply"
    download.value.save_as(saved)
    left = load_splat(saved).gaussians
    assert len(left) == len(panel.bench.session.left())
    assert float(left.means[:, 0].max()) <= 0
    assert panel.subject.splat_path.read_bytes() == b"the old one"
    panel.bench.do(panel.bench.session.undo)
    until(lambda: len(panel.bench.session.left()) == COUNT)


def test_scrubbing_time_shows_the_cameras_of_a_moment(tour):
    _, page, tab, _ = tour
    tab.get_by_role("tab", name="Time").click()
    panel = page.panel("Time")
    page.context.active.layers["cameras"].wanted = True
    slider = tab.get_by_role("slider").first
    slider.focus()
    for _ in range(5):
        slider.press("End")
    until(lambda: panel.time == pytest.approx(1.0))
    until(lambda: [f.visible for f in page.context.active.photographs.frusta] == [False] * 5 + [True])


def test_a_picture_for_people(tour, tmp_path):
    """The whole page is a picture with an object in the middle and a panel at its side."""
    _, _, tab, _ = tour
    pixels = screenshot(tab)
    Image.fromarray(pixels).save(tmp_path / "tour.png")
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels[300:500, 100:500].std() > 20
