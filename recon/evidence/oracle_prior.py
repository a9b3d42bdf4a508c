"""`OraclePrior`: a view prior that knows the truth, to measure what else a method gets right."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ...scene.cameras import Cameras


class OraclePrior:
    """The mean squared error to true pictures from wherever it is asked."""

    def __init__(
        self,
        draw: Callable[[Cameras, float | None], Tensor],  # (camera [], moment) -> true picture [H, W, 3] over white
        strength: float = 1.0,  # weight of the error
    ) -> None:
        self._draw, self._strength = draw, strength

    def gradient(
        self,
        image: Tensor,  # [H, W, 3]
        camera: Cameras,
        photographs: Tensor,
        cameras: Cameras,
        progress: float,
        *,
        time_s: float | None = None,
    ) -> Tensor:
        """Gradient [H, W, 3] of the error by the picture's colours."""
        return (2 * self._strength / image.numel()) * (image - self._draw(camera, time_s).to(image))
