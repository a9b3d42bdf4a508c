"""The report: says what the run holds, degrades with what is missing, and cannot be made to load or run anything."""

import html.parser
import importlib
import math
import re
import shlex

import cv2
import numpy as np
import pytest
import torch
from fewview.commands.options import parse
from fewview.recon.evidence.depth_file import save_stereo
from fewview.recon.evidence.depth_maps import DepthMap, Stereo
from fewview.scene.files import write_json
from fewview.scene.progress import duration
from fewview.scene.run import Run
from fewview.viewer.report import write_report
from fewview.viewer.report.report_svg import line_chart, round_ticks
from support.small_run import small_cameras, small_run
from support.small_splats import moving_run


class Page(html.parser.HTMLParser):
    """Tags, attributes and the text of a page."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.captions, self.headings, self.commands = [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "h3":
            self.headings.append("")
        self.attributes += attrs
        if tag not in ("meta", "img", "line", "circle", "polyline", "polygon", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        self.words.append(data)
        kept = {"figcaption": self.captions, "pre": self.commands}
        if self.open and self.open[-1] in kept:
            kept[self.open[-1]].append(data)
        if "h3" in self.open:
            self.headings[-1] += f"{data}|"

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
    # The splat from three sides, five photographs that went in; photograph, rendering and error of two views.
    assert page.captions[:3] == ["from one side", "from the middle, higher up", "from the other side"]
    assert page.captions[3:8] == [f"photo_{i}.jpg" for i in range(5)]
    assert page.captions[8:14] == ["photograph", "rendering", "error"] * 2
    assert page.tags.count("img") == 14
    assert page.tags.count("svg") == 4  # two curves and two maps
    assert page.tags.count("polygon") == 2 * 5  # one for each camera
    assert len(source) < 10e6


def test_methods_that_were_compared_are_told_with_their_figures(tmp_path):
    run = small_run(tmp_path / "run")
    run.update_metrics(
        training={
            "reason": "one was chosen because it was better",
            "comparison": [
                {"name": "one", "psnr": [20.0, 22.0], "ssim": [0.5, 0.75], "refusal": ""},
                {"name": "other", "psnr": [], "ssim": [], "refusal": "they do not overlap <b>"},
                "nonsense",
            ],
        }
    )
    _, page = report(run)
    assert "one was chosen because it was better" in page.text
    assert "21.00" in page.text
    assert "20.00, 22.00" in page.text
    assert "they do not overlap <b>" in page.text  # as text
    assert "nonsense" not in page.text


def test_a_run_that_moves_says_when(tmp_path):
    run = moving_run(tmp_path / "run")
    _, page = report(run)
    assert "1 s to 3 s the splat moves" in page.text
    assert "They were taken from 1 s to 3 s." in page.text
    assert page.captions[:3] == [
        "from one side, at 1 s", "from the middle, higher up, at 2 s", "from the other side, at 3 s",
    ]  # fmt: skip
    run.motion_description_path.write_text("{}")
    _, page = report(run)
    assert "the splat moves" not in page.text


def test_notes_stand_before_the_first_picture(tmp_path):
    run = small_run(tmp_path / "run")
    note = "The photographs have times, and 3dgs does not use them: what moves is blurred."
    run.update_metrics(notes=[note])
    source, _ = report(run)
    assert source.index(note) < source.index("<img")


def test_what_to_type_exists_and_fits(tmp_path, capsys):
    """Every command of the report is one that the program has, with options that it takes."""
    run = small_run(tmp_path / "my run")
    run.update_metrics(training={"steps": 400})
    _, page = report(run)
    lines = [line for line in page.commands if line.startswith("fewview ")]
    assert [shlex.split(line)[1] for line in lines] == [
        "view", "share", "render", "edit", "convert", "reconstruct", "reconstruct",
    ]  # fmt: skip
    for line in lines:
        name, *args = shlex.split(line)[1:]
        command = importlib.import_module(f"fewview.commands.{name}")
        parse(command.Options, args, prog="fewview")
        assert args[0] in (run.path.name, "photos")


def test_views_are_shown_from_the_worst_to_the_best_and_say_so(tmp_path):
    run = small_run(tmp_path / "run")
    photo = str(sorted(run.images_path.glob("*.png"))[0].relative_to(run.path))
    order = [3, 11, 7, 0, 19, 5, 15, 1, 9, 13, 17, 2, 6, 10, 14, 18, 4, 8, 12, 16]
    views = [{"name": f"v{n}", "psnr": 20.0 + n, "ssim": 0.5, "photo": photo, "split": "test"} for n in order]
    run.update_metrics(eval={"views": views, "mean": {"psnr": 29.5}})
    _, page = report(run)
    heads = [h for h in page.headings if h.startswith("v")]
    assert [h.split("|")[:2] for h in heads] == [
        ["v0", "worst"], ["v1", "2nd worst"], ["v2", "3rd worst"], ["v3", "4th worst"],
        ["v4", "5th worst"], ["v10", "median"],
        ["v17", "3rd best"], ["v18", "2nd best"], ["v19", "best"],
    ]  # fmt: skip
    assert "PSNR 20.00 dB" in heads[0]
    assert "PSNR 39.00 dB" in heads[-1]
    assert "The worst and the best of 20" in page.text
    assert page.tags.count("details") == 1  # the table of all
    rows = [int(n) for n in re.findall(r"v(\d+) \d+\.\d\d 0\.500", page.text)]
    assert rows == list(range(20))


def test_depth_of_stereo_is_shown(tmp_path):
    run = small_run(tmp_path / "run")
    maps = tuple(DepthMap(torch.linspace(1, 4, 24 * 36).reshape(24, 36), torch.ones(24, 36)) for _ in range(3))
    names = ["photo_0.jpg", "photo_2.jpg", "photo_4.jpg"]
    save_stereo(run.depth_path, Stereo(small_cameras(3).resized(36, 24), maps), names)
    _, page = report(run)
    assert page.captions[-6:] == [names[0], "depth", names[1], "depth", names[2], "depth"]
    run.depth_path.write_bytes(b"damaged")
    _, page = report(run)
    assert "depth" not in page.captions


def test_what_each_photograph_hangs_by(tmp_path):
    run = small_run(tmp_path / "run")
    links = {"<b>.jpg": {"c.jpg": 900, "d.jpg": 20}, "c.jpg": {"<b>.jpg": 900}, "d.jpg": {"<b>.jpg": 20}, "e.jpg": {}}
    write_json(run.poses_path, {"cameras": "estimated", "stats": {"links": links}})
    _, page = report(run)
    table = page.text[page.text.index("Shares points with") :]
    told = ["e.jpg none", "d.jpg <b>.jpg (20)", "<b>.jpg c.jpg (900), d.jpg (20)", "c.jpg <b>.jpg (900)"]
    places = [table.index(row) for row in told]
    assert places == sorted(places)
    for damaged in ({"links": [1]}, {"links": {"a": 1, "b": {"c": "x"}, "d": None}}, {}):
        write_json(run.poses_path, {"stats": damaged})
        report(run)


def test_damaged_parts_are_left_out(tmp_path):
    run = small_run(tmp_path / "run")
    run.splat_path.write_bytes(b"ply\nno")
    run.poses_path.write_text("[]")
    photo = sorted(run.images_path.glob("*.png"))[2]
    photo.write_bytes(photo.read_bytes()[:60])  # its size can be read, its pixels cannot
    _, page = report(run)
    assert page.captions == [f"photo_{i}.jpg" for i in (0, 1, 3, 4)] + ["from above", "from the side"]


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
    assert page.tags.count("img") == 14
    assert nasty in " ".join(page.words)


def test_errors_of_cameras_are_told_where_true_ones_were_given(tmp_path):
    run = small_run(tmp_path / "run")
    errors = {"rotation_mean_deg": 1.234, "ate": 0.5, "auc_5": 0.9, "auc_10": 0.95, "auc_30": 0.99}
    run.update_metrics(poses={"estimated": errors, "views": ["a.jpg"], "odd": {"ate": "x"}})
    words = " ".join(report(run)[1].words)
    assert "Against the true cameras" in words
    assert "estimated" in words
    assert "1.234" in words
    assert "odd" not in words


def test_no_folder_of_this_computer_is_told(tmp_path):
    place = str(tmp_path / "somebody" / "scene")
    for name, config in {
        "listed": {"input": place, "command": ["fewview", "reconstruct", place, "-o", str(tmp_path / "listed")]},
        "by options": {"input": "C:\\Users\\somebody\\scene", "options": {"images": place}},
    }.items():
        run = small_run(tmp_path / name, **config)
        evaluated(run)
        source, page = report(run)
        assert "somebody" not in source
        assert str(tmp_path) not in source
        assert f"fewview view {shlex.quote(name)}" in page.commands


def test_pictures_outside_the_run_are_not_taken_in(tmp_path):
    cv2.imwrite(str(tmp_path / "secret.png"), np.zeros((8, 8, 3), np.uint8))
    run = small_run(tmp_path / "run")
    outside = [{"name": n, "photo": n, "render": n} for n in ("../secret.png", str(tmp_path / "secret.png"))]
    run.update_metrics(eval={"views": outside})
    _, page = report(run)
    assert not {"photograph", "rendering", "error"} & set(page.captions)


def test_two_hundred_large_views_stay_below_ten_megabytes(tmp_path):
    names = [f"photograph_with_a_long_name_{i:04d}.jpg" for i in range(200)]
    run = small_run(tmp_path / "run", names)
    rng = np.random.default_rng(0)  # noise is the worst case for JPEG
    for name in ("a", "b"):
        cv2.imwrite(str(run.images_path / f"{name}.png"), rng.integers(0, 255, (640, 640, 3), dtype=np.uint8))
    view = {"render": "images/a.png", "photo": "images/b.png", "psnr": 20.0, "split": "test"}
    why = {f"left_{i}.jpg": "too few matches with any other photograph (12, 30 are needed)" for i in range(800)}
    run.update_metrics(eval={"views": [{**view, "name": name} for name in names]}, unplaced=why)
    source, page = report(run)
    assert page.captions.count("error") == 9
    assert len(page.captions) == 3 + 60 + 27 + 2
    assert "60 of 200 photographs, evenly chosen." in page.text
    assert "and 300 more, in metrics.json" in page.text
    assert len(source) < 10e6
    sizes = [int(value) for name, value in page.attributes if name == "width"]
    assert 320 <= max(sizes) < 640, "pictures of noise do not fit at full size"


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
