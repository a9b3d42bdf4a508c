"""The bundled sample: 12 photographs of a still life, without cameras."""

from __future__ import annotations

from pathlib import Path


def sample_path() -> Path:
    """The folder of the photographs, photo_01.jpg to photo_12.jpg.

    >>> from fewview.scene.readers import read_capture
    >>> capture = read_capture(sample_path())
    >>> len(capture), capture.names[0]
    (12, 'photo_01.jpg')
    """
    return Path(__file__).parent
