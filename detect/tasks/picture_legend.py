"""The legend below a picture of detections."""

from __future__ import annotations

import cv2
import numpy as np

TEXT_COLOR, WARNING_COLOR = (20, 20, 20), (200, 0, 0)
LINE_PX, PAD_PX, TEXT_SCALE = 26, 10, 0.5


def legend(
    width_px: int, token: str, min_score: float, entries: list[tuple[str, tuple[int, int, int]]], warning: str
) -> np.ndarray:
    """uint8 [h, width, 3]: as many lines as the words need."""
    # (text, its colour, the colour of the square before it)
    words: list[tuple[str, tuple[int, int, int], tuple[int, int, int] | None]] = []
    if warning:
        words.append((warning, WARNING_COLOR, None))
    words.append((f"{token}, scores from {min_score:g}", TEXT_COLOR, None))
    words += [(text, TEXT_COLOR, color) for text, color in entries]
    placed, x, line = [], PAD_PX, 0
    for text, color, square in words:
        mark = LINE_PX if square is not None else 0
        taken = mark + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, 1)[0][0] + 2 * PAD_PX
        if x > PAD_PX and x + taken > width_px:
            x, line = PAD_PX, line + 1
        placed.append((text, color, square, x, line * LINE_PX))
        x += taken
    out = np.full(((line + 1) * LINE_PX + PAD_PX, width_px, 3), 255, np.uint8)
    for text, color, square, x, top in placed:
        if square is not None:
            cv2.rectangle(out, (x, top + 9), (x + 16, top + LINE_PX - 3), square, cv2.FILLED)
            x += LINE_PX
        at = (x, top + LINE_PX - 5)
        cv2.putText(out, text, at, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, color, 1, cv2.LINE_AA)
    return out
