"""The report: says what the run holds, degrades with what is missing, and cannot be made to load or run anything."""

import html.parser
import math
import re

import cv2
import numpy as np
import pytest
from fewview.scene.progress import duration
from fewview.scene.run import Run
from fewview.viewer.report import write_report
from fewview.viewer.report_svg import line_chart, round_ticks
from support.small_run import small_run


class Page(html.parser.HTMLParser):
    """Tags, attributes and the text of a page."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "line", "circle", "polyline", "polygon", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def report(run):
    source = write_report(run).read_text(encoding="utf-8")
    page = Page(source)
    assert page.open == [], "every tag is closed"
    return source, page


def evaluated(run, split="test"):
    """Put two evaluated views with pictures into the run."""
    (run.renders_path / "eval").mkdir(parents=True, exist_ok=True)
    photos = sorted(run.images_path.glob("*.png"))
    views = []
    for i in (1, 3):
        file = f"renders/eval/view_{i}.png"
        cv2.imwrite(str(run.path / file), np.full((64, 96, 3), 40 * i, np.uint8))
        photo = str(photos[i].relative_to(run.path))
        figures = {"psnr": 20.0 + i, "ssim": 0.7 + i / 100, "lpips": None}
        views.append({"name": f"photo_{i}.jpg", **figures, "render": file, "photo": photo, "split": split})
    run.update_metrics(eval={"views": views, "mean": {"psnr": 22.0, "ssim": 0.72, "lpips": None}})


def test_full_report(tmp_path):
    run = small_run(tmp_path / "run")
    evaluated(run)
    run.update_metrics(
        placed=5,
        unplaced={"blurred.jpg": "too few matches with any other photograph (12, 30 are needed)"},
        seconds={"read": 0.4, "poses": 31.0, "training": 605.2, "evaluation": 2.0},
        training={"gaussians": 12345, "steps": 2000, "curve": [[10, 0.4, 9.0], [1000, 0.1, 20.0], [2000, 0.05, 23.4]]},
        notes=["Two photographs are nearly the same."],
    )
    source, page = report(run)
    for expected in (
        "22.00", "0.720", "held out", "12,345", "2,000 steps", "blurred.jpg", "too few matches", "10 min 05 s",
        "Two photographs are nearly the same.", "fewview view", "fewview reconstruct photos", "photo_1.jpg", "5 of 6",
    ):  # fmt: skip
        assert expected in page.text, expected
    assert page.tags.count("img") == 6  # photograph, rendering and error of two views
    assert page.tags.count("svg") == 3  # two curves and the map
    assert page.tags.count("polygon") == 5  # one for each camera
    assert len(source) < 10e6


def test_nothing_is_loaded_or_run(tmp_path):
    run = small_run(tmp_path / "run")
    evaluated(run)
    source, page = report(run)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert sources
    assert all(value.startswith("data:image/jpeg;base64,") for value in sources)
    assert not re.search(r"url\(|@import|https?://", source)


def test_a_run_that_was_only_begun(tmp_path):
    run = Run.create(tmp_path / "begun", {})
    _, page = report(run)
    assert "Not measured: no photographs were held out." in page.text
    assert "--resume" in page.text


def test_training_views_are_not_passed_off_as_held_out(tmp_path):
    run = small_run(tmp_path / "run")
    evaluated(run, split="train")
    _, page = report(run)
    assert "Held-out quality was not measured" in page.text
    assert "PSNR, dB, training views" in page.text


@pytest.mark.parametrize(
    "metrics",
    [
        {"eval": None, "seconds": None, "training": None, "unplaced": None, "notes": None},
        {"eval": {"views": []}, "seconds": {}, "training": {"curve": []}},
        {"eval": {"views": [{}]}, "seconds": {"read": None}, "training": {"curve": [[1], [2, None, 3], "x"]}},
        {"eval": {"views": [{"name": "a", "render": "renders/gone.png", "photo": 7}], "mean": {"psnr": None}}},
        {"placed": ["a", "b"], "notes": "no list"},
    ],
)
def test_missing_and_odd_entries_are_left_out(tmp_path, metrics):
    run = small_run(tmp_path / "run")
    run.update_metrics(**metrics)
    report(run)


def test_names_are_escaped(tmp_path):
    nasty = "<img src=x onerror=alert(1)>&\"'.jpg"
    run = small_run(tmp_path / "run", [nasty, *(f"{i}.jpg" for i in range(4))], input="<script>1</script>")
    evaluated(run)
    metrics = run.metrics()
    metrics["eval"]["views"][0]["name"] = nasty
    run.update_metrics(eval=metrics["eval"], unplaced={nasty: "<b>why</b>"}, notes=["</style><script>2</script>"])
    _, page = report(run)
    assert "script" not in page.tags
    assert page.tags.count("img") == 6
    assert nasty in " ".join(page.words)


def test_pictures_outside_the_run_are_not_taken_in(tmp_path):
    cv2.imwrite(str(tmp_path / "secret.png"), np.zeros((8, 8, 3), np.uint8))
    run = small_run(tmp_path / "run")
    outside = [{"name": n, "photo": n, "render": n} for n in ("../secret.png", str(tmp_path / "secret.png"))]
    run.update_metrics(eval={"views": outside})
    _, page = report(run)
    assert "img" not in page.tags


def test_many_large_views_stay_below_ten_megabytes(tmp_path):
    run = small_run(tmp_path / "run")
    rng = np.random.default_rng(0)  # noise is the worst case for JPEG
    (run.renders_path).mkdir(exist_ok=True)
    cv2.imwrite(str(run.renders_path / "noise.png"), rng.integers(0, 255, (900, 1200, 3), dtype=np.uint8))
    view = {"render": "renders/noise.png", "photo": "renders/noise.png", "psnr": 20.0, "split": "test"}
    run.update_metrics(eval={"views": [{**view, "name": str(i)} for i in range(40)]})
    source, page = report(run)
    assert page.tags.count("img") == 36
    assert len(source) < 10e6


def test_chart_skips_what_is_not_finite():
    assert line_chart([1], [2.0], "steps", "") == ""
    svg = line_chart([0, 1, 2, 3], [1.0, math.nan, 3.0, math.inf], "steps", "dB")
    assert "nan" not in svg
    assert "inf" not in svg


@pytest.mark.parametrize(("low", "high"), [(0, 1), (19.2, 31.7), (-3e-9, 4e-9), (0, 0), (1e12, 1.0000001e12)])
def test_ticks_cover_the_range_with_round_numbers(low, high):
    ticks = round_ticks(low, high, 4)
    assert ticks[0] <= low + 1e-9 * abs(low)
    assert ticks[-1] >= high - 1e-9 * abs(high) - 1e-11  # ticks are rounded to 12 decimals
    assert 1 <= len(ticks) <= 12


def test_durations_read_like_a_clock():
    assert [duration(s) for s in (0.84, 42.4, 185, 7460)] == ["0.8 s", "42 s", "3 min 05 s", "2 h 04 min"]
