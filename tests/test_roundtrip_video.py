"""Films: what is written can be read again, and a failure leaves nothing behind."""

import av
import numpy as np
import pytest
from fewview.render.video_writer import write_mp4
from fewview.scene.errors import BadInputError, FewviewError


def moving_bar(count, height, width):
    for i in range(count):
        frame = np.full((height, width, 3), (40, 90, 160), np.uint8)
        frame[:, (i * 3) % width : (i * 3) % width + 8] = (230, 60, 30)
        yield frame


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        return stream.codec_context, float(stream.average_rate), frames


@pytest.mark.parametrize(("height", "width", "padded"), [(48, 64, (48, 64)), (47, 63, (48, 64)), (2, 2, (2, 2))])
def test_film_has_the_frames_and_the_even_size(tmp_path, height, width, padded):
    path = tmp_path / "film.mp4"
    assert write_mp4(path, moving_bar(20, height, width), fps=24) == 20
    context, rate, frames = read(path)
    assert len(frames) == 20
    assert {f.shape[:2] for f in frames} == {padded}
    assert context.pix_fmt == "yuv420p"
    assert context.codec.name == "h264"
    assert rate == 24


def test_colours_survive(tmp_path):
    path = tmp_path / "film.mp4"
    colour = np.array([200, 30, 90], np.uint8)
    write_mp4(path, [np.broadcast_to(colour, (32, 32, 3))] * 5)
    # 8-bit limited-range YUV rounds each component by about one level, the quantiser at CRF 18 by a few more.
    assert np.abs(read(path)[2][2].astype(int) - colour).max() <= 5


def test_nothing_is_left_when_frames_fail(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"before")

    def breaks():
        yield np.zeros((16, 16, 3), np.uint8)
        raise RuntimeError("the renderer stopped")

    with pytest.raises(RuntimeError, match="renderer stopped"):
        write_mp4(path, breaks())
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_bad_frames_are_named(tmp_path):
    path = tmp_path / "film.mp4"
    with pytest.raises(BadInputError, match="no frames"):
        write_mp4(path, [])
    with pytest.raises(BadInputError, match=r"Frame 1 .* 20x16 pixels; 16x16"):
        write_mp4(path, [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 20, 3), np.uint8)])
    with pytest.raises(BadInputError, match="uint8"):
        write_mp4(path, [np.zeros((16, 16, 3), np.float32)])
    with pytest.raises(FewviewError, match="could not be written"):
        write_mp4(tmp_path / "absent" / "film.mp4", moving_bar(2, 16, 16))
    assert list(tmp_path.iterdir()) == []


def test_encoder_failure_is_a_sentence(tmp_path):
    # 16384 is the largest side that x264's level tables allow; beyond it the encoder refuses to open.
    with pytest.raises(FewviewError, match="could not be encoded"):
        write_mp4(tmp_path / "film.mp4", [np.zeros((2, 20000, 3), np.uint8)])
    assert list(tmp_path.iterdir()) == []
