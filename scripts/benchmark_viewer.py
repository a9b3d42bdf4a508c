"""The viewer in a real browser: time to the first picture, memory, likeness to our renderer, and its cost to training.

    python scripts/benchmark_viewer.py first SPLAT [--gaussians 300000 1000000]   from the command to the picture
    python scripts/benchmark_viewer.py alike RUN [--gaussians 300000] [--glossy]  PSNR of the page to our renderings
    python scripts/benchmark_viewer.py live PHOTOGRAPHS [--repeats 3]             training with and without a viewer
    python scripts/benchmark_viewer.py move SPLAT                                 frames while the camera is dragged
    python scripts/benchmark_viewer.py play MOVING_SPLAT                          a second of playing, here and shared
    python scripts/benchmark_viewer.py shared MOVING_SPLAT                        PSNR of its page to our renderings

Needs playwright and a Chromium, which draws in software here: a graphics card is faster. `first` starts `fewview view`
and opens a tab in a browser that is running already as soon as the port answers. Without a graphics card it gets
pictures: the time is that of the first frame with a small one, and with one as large as the page. SPLAT is brought to
the number of Gaussians by splitting some of them, as 3DGS does.

`move` drags the mouse over the page and reports the time from a frame to the next. `play` presses Play on the Time tab
and on the page of `fewview share` and counts the pictures that reach the canvas, and the processor seconds that the
server and the browser spend on each: on a machine that others use, too, only those say what playing costs. `shared`
compares the first view of that page at three moments, 400 x 400, where the object is.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fewview.render import render
from fewview.render.paths import look_at
from fewview.scene.cameras import Cameras
from fewview.scene.formats import load_splat, save_splat
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import rotation_from_quat
from fewview.scene.one_moment import one_moment
from fewview.scene.splat import MovingSplat, StaticSplat
from fewview.viewer.app import serve
from fewview.viewer.movement import STILL_SECONDS
from fewview.viewer.served_pictures import MOVING_SIDE_PX
from fewview.viewer.server import ViewerServer
from fewview.viewer.share import write_share
from fewview.viewer.share.first_views import FirstViews
from fewview.viewer.share.share_file import MIN_ALPHA
from fewview.viewer.stage import vertical_fov
from fewview.viewer.subjects.loader import load_subject
from fewview.viewer.subjects.splat_subject import SplatSubject
from fewview.viewer.subjects.splat_views import SplatViews
from PIL import Image

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip
WIDTH, HEIGHT = 1280, 720
# Notes when the first frames with a picture of the splat, a small and a large one, have ended, and how long the page
# did not answer. A browser without a graphics card gets pictures; one with a card draws Gaussians.
WATCH = """
    window.fewview = {first: 0, all: 0, longest: 0};
    const ended = (gl, kind) => {
        if (window.fewview[kind]) return;
        gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
        window.fewview[kind] = performance.timeOrigin + performance.now();
    };
    let shown = 0;
    for (const name of ["texImage2D", "texSubImage2D"]) {
        const upload = WebGL2RenderingContext.prototype[name];
        WebGL2RenderingContext.prototype[name] = function (...a) {
            const image = a[a.length - 1];
            if ((image instanceof ImageBitmap || image instanceof HTMLImageElement) && image.width > 64)
                shown = Math.max(shown, image.width);
            return upload.apply(this, a);
        };
    }
    for (const name of ["drawElements", "drawArrays"]) {
        const draw = WebGL2RenderingContext.prototype[name];
        WebGL2RenderingContext.prototype[name] = function (...a) {
            draw.apply(this, a);
            if (shown > 0) ended(this, "first");
            if (shown > SMALL) ended(this, "all");
        };
    }
    let last = performance.now();
    setInterval(() => {
        const now = performance.now();
        window.fewview.longest = Math.max(window.fewview.longest, now - last);
        last = now;
    }, 20);
"""


def grown(gaussians: Gaussians, count: int) -> Gaussians:
    """`count` Gaussians that look much the same: some are split in two, or some are left out."""
    generator = torch.Generator().manual_seed(0)
    g = gaussians
    while len(g) < count:
        chosen = torch.randperm(len(g), generator=generator)[: count - len(g)]
        parent = g[chosen]
        spread = torch.einsum(
            "nij,nj->ni",
            rotation_from_quat(parent.quats),
            parent.scales * torch.randn(len(chosen), 3, generator=generator),
        )
        log_scales = g.log_scales.clone()
        log_scales[chosen] -= np.log(1.6)
        g = Gaussians(g.means, g.quats, log_scales, g.opacity_logits, g.sh)
        child = g[chosen]
        g = Gaussians.cat(
            [g, Gaussians(child.means + 0.5 * spread, child.quats, child.log_scales, child.opacity_logits, child.sh)]
        )
    return g[torch.randperm(len(g), generator=generator)[:count].sort().values]


@contextlib.contextmanager
def chromium(modest: bool = False) -> Iterator[Any]:
    """A browser; a modest one takes only the processor time that nobody else wants."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        if modest:
            script = Path(folder) / "browser"
            script.write_text(f'#!/bin/sh\nexec nice -n 19 "{path}" "$@"\n')
            script.chmod(0o755)
            path = str(script)
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def first_picture(path: Path) -> dict[str, float]:
    """`picture_in` of a browser of its own: one that was here before may still be at work on frames of a closed tab."""
    with chromium() as browser:
        time.sleep(2)
        return picture_in(browser, path)


def picture_in(browser: Any, path: Path) -> dict[str, float]:
    """Seconds from starting the command to its address, to the page, and to the pictures; memory in MiB."""
    port = free_port()
    tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    tab.add_init_script(WATCH.replace("SMALL", str(MOVING_SIDE_PX)))
    started = time.time()
    command = [sys.executable, "-m", "fewview", "view", str(path), "--port", str(port), "--token", "none"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=0.1).close()
                break
            time.sleep(0.01)
        listening = time.time() - started
        tab.goto(f"http://127.0.0.1:{port}/")
        page = time.time() - started
        seconds = []
        for kind in ("first", "all"):
            tab.wait_for_function(f"window.fewview.{kind} > 0", timeout=300_000, polling=50)
            seconds.append(tab.evaluate(f"window.fewview.{kind}") / 1000 - started)
        time.sleep(3)
        blocked = tab.evaluate("window.fewview.longest") / 1000
        memory = resident_mib(process.pid)
        heap = tab.evaluate("performance.memory ? performance.memory.usedJSHeapSize : 0") / 2**20
    finally:
        process.terminate()
        process.wait()
        tab.close()
    return {
        "listening (s)": listening, "page (s)": page, "picture (s)": seconds[0], "sharp picture (s)": seconds[1],
        "longest unresponsive (s)": blocked, "server (MiB)": memory, "page's heap (MiB)": heap,
    }  # fmt: skip


def resident_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return float(found[1]) / 1024 if found else float("nan")


def run_first(options: argparse.Namespace) -> None:
    splat = load_splat(options.input)
    with tempfile.TemporaryDirectory() as folder:
        for count in options.gaussians:
            path = Path(folder) / f"{count}.ply"
            save_splat(path, StaticSplat(grown(splat.gaussians, count), splat.antialiased, splat.up))
            rows = [first_picture(path) for _ in range(options.repeats)]
            medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
            print(f"{count:>9,} Gaussians  " + "  ".join(f"{n} {v:.2f}" for n, v in medians.items()), flush=True)


class Sent:
    """Updates for single browsers in a `with`: their bytes, and the processor's milliseconds that each took to make."""

    def __init__(self) -> None:
        self.bytes: list[int] = []
        self.made_ms: list[float] = []

    def __enter__(self) -> Sent:
        self._send, self._rests = ViewerServer.update_for, SplatViews.rests

        def send(server: ViewerServer, client: Any, node: Any, **properties: Any) -> None:
            self.bytes.append(properties["buffer"].nbytes)
            self._send(server, client, node, **properties)

        def rests(views: SplatViews, *a: Any, **k: Any) -> None:
            started, before = time.thread_time(), len(self.bytes)
            self._rests(views, *a, **k)
            if len(self.bytes) > before:
                self.made_ms.append(1000 * (time.thread_time() - started))

        ViewerServer.update_for, SplatViews.rests = send, rests  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        ViewerServer.update_for, SplatViews.rests = self._send, self._rests  # type: ignore[method-assign]


def glossy(gaussians: Gaussians) -> Gaussians:
    """The splat with linear harmonics by which each channel of a colour swings by 0.3, along an axis of its own."""
    sh = torch.zeros(len(gaussians), 4, 3)
    sh[:, 0] = 0.6 * gaussians.sh[:, 0]
    sh[:, 1:] = 0.3 / 0.4886025119029199 * torch.eye(3)
    return replace(gaussians, sh=sh)


def page_picture(client: Any, wxyz: Any, position: Any, fov: float, width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 3] that the page draws from a place once it has drawn all that it was sent."""
    before = None
    while True:
        picture = client.get_render(
            height, width, wxyz=wxyz, position=position, fov=fov, transport_format="png"
        )[..., :3]  # fmt: skip
        if before is not None and np.array_equal(before, picture):
            return picture
        before = picture
        time.sleep(STILL_SECONDS)


def run_alike(options: argparse.Namespace) -> None:
    """From a few cameras: the page without its panel against our rendering, moving and at rest, over all and object."""
    found = load_subject(options.input)
    assert found.splat is not None
    assert found.photographs is not None
    capture, (width, height) = found.photographs.capture, options.size
    assert capture.cameras is not None
    for count in options.gaussians:
        gaussians = grown(found.splat.at(), count)
        splat = replace(one_moment(found.splat)[0], gaussians=glossy(gaussians) if options.glossy else gaussians)
        subject = SplatSubject(found.title, splat, capture)
        server, page = serve(subject, port=0)
        context = page.context
        with chromium() as browser, Sent() as sent:
            tab = browser.new_page(viewport={"width": width, "height": height})
            tab.set_default_timeout(900_000)
            tab.goto(server.url)
            while not server.get_clients():
                tab.wait_for_timeout(50)
            client = next(iter(server.get_clients().values()))
            assert subject.drawn is not None
            subject.drawn.draws_all = True
            for name in subject.layers.keys() & {"cameras", "held_out"}:
                subject.layers[name].wanted = False
            tab.evaluate("fetch('renderer?software=0')")  # draw all of it, also while it moves
            for index in options.views:
                view = capture.cameras[index]
                camera = context.stage.camera(*context.stage.pose(view), vertical_fov(view), width, height)
                for at_rest in (False, True):
                    subject.drawn.follows_cameras = at_rest
                    context.pilot.place(client, context.stage.view_of(view))
                    subject.drawn.rests(client)
                    seen = page_picture(client, *context.stage.pose(view), vertical_fov(view), width, height)
                    with torch.no_grad():
                        drawn = render(splat.gaussians, camera, antialiased=splat.antialiased)
                    ours = drawn.rgb.clamp(0, 1).numpy()
                    error = ((seen / 255.0 - ours) ** 2).mean(-1)
                    solid = error[drawn.alpha.numpy().reshape(error.shape) > 0.5]
                    print(
                        f"{count:,} Gaussians, view {index}, {'at rest' if at_rest else 'one colour'}: "
                        f"{-10 * np.log10(error.mean()):.2f} dB, {-10 * np.log10(solid.mean()):.2f} dB over the object",
                        flush=True,
                    )
                    if options.pictures is not None:
                        pair = np.concatenate([seen, np.rint(255 * ours).astype(np.uint8)], axis=1)
                        options.pictures.mkdir(parents=True, exist_ok=True)
                        Image.fromarray(pair).save(options.pictures / f"{count}_{index}_{int(at_rest)}.png")
        print(f"an update: {max(sent.bytes, default=0):,} bytes, made in {statistics.median(sent.made_ms):.1f} ms")
        page.close()
        server.stop()


def training_seconds(source: Path, folder: Path, *more: str, looked_at_by: Any = None) -> tuple[float, float]:
    """(wall seconds of the training stage, processor seconds of all) of one `fewview reconstruct`, watched or not."""
    command = [sys.executable, "-m", "fewview", "reconstruct", str(source), "-o", str(folder), *more]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Viewer: ") and looked_at_by is not None:
            looked_at_by(line.split()[1])
    _, _, usage = os.wait4(process.pid, 0)
    wall = float(json.loads((folder / "metrics.json").read_text())["seconds"]["training"])
    return wall, usage.ru_utime + usage.ru_stime


class Onlooker:
    """A browser that takes all that the page is sent but draws no splats, as if it were on a machine of its own."""

    def __init__(self, browser: Any) -> None:
        self._browser, self.tab, self.received = browser, None, 0

    def __call__(self, url: str) -> None:
        self.tab = self._browser.new_page(viewport={"width": 320, "height": 240})
        self.tab.add_init_script(
            "for (const name of ['drawElementsInstanced', 'drawArraysInstanced'])"
            " WebGL2RenderingContext.prototype[name] = () => {};"
        )
        self.tab.on("websocket", lambda socket_: socket_.on("framereceived", self._count))
        self.tab.goto(url)

    def _count(self, frame: Any) -> None:
        self.received += len(frame)


def run_live(options: argparse.Namespace) -> None:
    rows: dict[str, list[tuple[float, float]]] = {"without": [], "watched": []}
    common = ("--method", "3dgs", "--views", "12", "--resolution", "480", "--steps", str(options.steps))
    with tempfile.TemporaryDirectory() as folder, chromium(modest=True) as browser:
        for i in range(options.repeats):
            for name, seconds in rows.items():
                more = common if name == "without" else (*common, "--view")
                onlooker = Onlooker(browser)
                seconds.append(
                    training_seconds(
                        options.input, Path(folder) / f"{name}_{i}", *more,
                        looked_at_by=None if name == "without" else onlooker,
                    )
                )  # fmt: skip
                if onlooker.tab is not None:
                    onlooker.tab.wait_for_timeout(100)  # lets the events of the frames come
                    onlooker.tab.close()
                print(name, seconds[-1], f"{onlooker.received / 2**20:.1f} MiB sent", file=sys.stderr, flush=True)
    print("median of: wall seconds of training, processor seconds of everything; each also relative to without")
    base = [statistics.median(column) for column in zip(*rows["without"], strict=True)]
    for name, pairs in rows.items():
        medians = [statistics.median(column) for column in zip(*pairs, strict=True)] if pairs else [float("nan")] * 2
        print(f"{name:<24} " + "   ".join(f"{m:7.2f} s x {m / b:.3f}" for m, b in zip(medians, base, strict=True)))


# Notes the time of every frame, and of every picture that goes to the graphics card or is drawn as Gaussians.
COUNT = """
    window.fewview = {frames: [], pictures: []};
    const note = () => {
        const pictures = window.fewview.pictures, now = performance.now();
        if (pictures.at(-1) !== now) pictures.push(now);
    };
    for (const name of ["texImage2D", "texSubImage2D"]) {
        const upload = WebGL2RenderingContext.prototype[name];
        WebGL2RenderingContext.prototype[name] = function (...a) {
            const image = a[a.length - 1];
            if (image instanceof ImageBitmap || image instanceof HTMLImageElement) note();
            return upload.apply(this, a);
        };
    }
    for (const name of DRAWS) {
        const draw = WebGL2RenderingContext.prototype[name];
        WebGL2RenderingContext.prototype[name] = function (...a) { note(); return draw.apply(this, a); };
    }
    const tick = () => { window.fewview.frames.push(performance.now()); requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
"""
VIEWER_DRAWS, PAGE_DRAWS = '["drawElementsInstanced", "drawArraysInstanced"]', '["drawElements"]'  # that are pictures
WATCHED_S = 12.0
SHARED_PX, SHARED_SHARES = 400, (0.1, 0.5, 0.83)  # sides of the page, and moments as shares of the motion


def processor_seconds() -> tuple[float, float]:
    """(of this process, of the browser's processes) so far."""
    parents, spent = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(") ")[2].split()
            pid = int(stat.parent.name)
            parents[pid], spent[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    ours, below = os.getpid(), 0.0
    for pid in parents:
        above = parents[pid]
        while above in parents and above != ours:
            above = parents[above]
        below += spent[pid] if above == ours else 0.0
    return spent[ours], below


def gaps_ms(times: list[float]) -> str:
    """Median and longest time from one to the next, and how many there are in a second, of times in milliseconds."""
    gaps = np.diff(times)
    if len(gaps) == 0:
        return "fewer than two"
    return f"{1000 / gaps.mean():.1f} a second, median {np.median(gaps):.0f} ms, longest {gaps.max():.0f} ms"


def watched(tab: Any, what: str, act: Any) -> None:
    """Print what a tab did while `act(seconds)` went on."""
    tab.evaluate("window.fewview.frames = []; window.fewview.pictures = []")
    before = processor_seconds()
    act(WATCHED_S)
    seen = tab.evaluate("window.fewview")
    here, browser = (b - a for a, b in zip(before, processor_seconds(), strict=True))
    pictures = max(len(seen["pictures"]), 1)
    print(f"{what}: frames {gaps_ms(seen['frames'])}; pictures {gaps_ms(seen['pictures'])}")
    print(
        f"    processor: {1000 * here / pictures:.0f} ms in the server and {1000 * browser / pictures:.0f} ms in the "
        f"browser a picture ({here:.1f} s and {browser:.1f} s of {WATCHED_S:.0f} s)",
        flush=True,
    )


def run_move(options: argparse.Namespace) -> None:
    subject = load_subject(options.input)
    server, page = serve(subject, port=0)
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.set_default_timeout(300_000)
        tab.add_init_script(COUNT)
        started = time.time()
        tab.goto(server.url)
        tab.wait_for_function("window.fewview.pictures.length > 1")
        print(f"first frames with the splat: {time.time() - started:.2f} s after the address was opened")
        tab.wait_for_timeout(1000 * STILL_SECONDS + 3000)

        def drag(seconds: float) -> None:
            end, step = time.monotonic() + seconds, 0
            tab.mouse.move(300, 300)
            tab.mouse.down()
            while time.monotonic() < end:
                step += 1
                tab.mouse.move(300 + 100 * np.sin(step / 10), 300 + 40 * np.cos(step / 10))
                tab.wait_for_timeout(30)
            tab.mouse.up()

        watched(tab, f"{len(subject.splat or ()):,} Gaussians, dragged", drag)
    page.close()
    server.stop()


def run_play(options: argparse.Namespace) -> None:
    subject = load_subject(options.input)
    assert subject.splat is not None
    server, page = serve(subject, port=0)
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.set_default_timeout(300_000)
        tab.add_init_script(COUNT.replace("DRAWS", VIEWER_DRAWS))
        tab.goto(server.url)
        tab.get_by_role("tab", name="Time").click()
        tab.wait_for_timeout(5000)
        tab.get_by_role("button", name="Play").click()
        tab.wait_for_timeout(3000)
        watched(
            tab, f"{len(subject.splat):,} Gaussians, played in the viewer", lambda s: tab.wait_for_timeout(1000 * s)
        )
        tab.close()
        page.close()
        server.stop()
        shared = write_share(subject.splat, Path(folder) / "page.html", "page", subject.cameras)
        print(f"the shared page has {shared.size_bytes / 1e6:.2f} MB")
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.set_default_timeout(300_000)
        tab.add_init_script(COUNT.replace("DRAWS", PAGE_DRAWS))
        tab.goto(shared.path.as_uri())
        tab.wait_for_selector("html[data-state=shown]", state="attached")
        watched(tab, "played in the shared page", lambda s: tab.wait_for_timeout(1000 * s))


def run_shared(options: argparse.Namespace) -> None:
    splat = load_subject(options.input).splat
    if not isinstance(splat, MovingSplat):
        raise SystemExit(f"{options.input} does not move.")
    splat = replace(splat, up=splat.up or (0.0, 0.0, 1.0))
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        shared = write_share(splat, Path(folder) / "page.html", "page")
        tab = browser.new_page(viewport={"width": SHARED_PX, "height": SHARED_PX}, reduced_motion="reduce")
        tab.set_default_timeout(300_000)
        tab.goto(shared.path.as_uri())
        tab.wait_for_selector("html[data-state=shown]", state="attached")
        tab.evaluate("for (const id of ['player', 'title']) document.getElementById(id).style.visibility = 'hidden'")
        kept = splat.rows(splat.gaussians.opacities >= MIN_ALPHA)  # the page, and so its frame, knows no others
        views = FirstViews.of(None, kept.at(), torch.tensor(splat.up))
        tan = max(views.tan_x, views.tan_y) ** (1 / 3) * min(views.tan_x, views.tan_y) ** (2 / 3)
        pose = look_at(views.positions[0], views.targets[0], torch.tensor([0.0, 1, 0]).to(views.positions))
        camera = Cameras.pinhole(pose.float(), SHARED_PX / 2 / tan, SHARED_PX, SHARED_PX)
        first, last = splat.time_range_s
        print(f"the page has {shared.size_bytes / 1e6:.2f} MB")
        for share in SHARED_SHARES:
            moment = first + share * (last - first)
            tab.locator("#time").evaluate(
                "(slider, t) => { slider.value = t; slider.dispatchEvent(new Event('input')); }", moment
            )
            tab.wait_for_timeout(5000)
            seen = np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("RGB")).astype(np.float32) / 255
            with torch.no_grad():
                drawn = render(
                    kept.at(moment).moved(views.page_from_world), camera, background=torch.tensor(splat.background),
                    antialiased=splat.antialiased,
                )  # fmt: skip
            solid = drawn.alpha.numpy() > 0.5
            error = (seen - drawn.rgb.clamp(0, 1).numpy())[solid]
            print(f"at {share:.2f} of the motion: {-10 * np.log10((error**2).mean()):.2f} dB over the object")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("first", "alike", "live", "move", "play", "shared"))
    parser.add_argument("input", type=Path)
    parser.add_argument("--gaussians", type=int, nargs="+", default=[300_000])
    parser.add_argument("--views", type=int, nargs="+", default=[0, 3, 5, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=[WIDTH, HEIGHT])
    parser.add_argument("--glossy", action="store_true", help="give the splat strong harmonics, for alike")
    options = parser.parse_args()
    runs = {
        "first": run_first, "alike": run_alike, "live": run_live, "move": run_move, "play": run_play,
        "shared": run_shared,
    }  # fmt: skip
    runs[options.what](options)


if __name__ == "__main__":
    main()
