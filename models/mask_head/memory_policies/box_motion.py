"""A Kalman filter over the box of a target, which moves with constant velocity.

The state is (x, y, a, h) and its change from frame to frame: the centre, the aspect ratio (width over height)
and the height of the box. The filter and its noise are those of DeepSORT (Wojke, Bewley and Paulus 2017,
https://arxiv.org/abs/1703.07402), which SAMURAI uses: standard deviations are shares of the height.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from data_prep.geometry import Box, center

POSITION, VELOCITY = 1 / 20, 1 / 160  # standard deviations, as shares of the height of the box
ASPECT, ASPECT_VELOCITY, MEASURED_ASPECT = 1e-2, 1e-5, 1e-1  # of the aspect ratio
SIZE = 4  # numbers of a box

_STEP = np.eye(2 * SIZE) + np.eye(2 * SIZE, k=SIZE)  # adds the change to the box
_IS_ASPECT = np.array([False, False, True, False])


@dataclass(frozen=True, eq=False)
class BoxMotion:
    """The filter as a value: the mean (8,) and the covariance (8, 8) of the state, in float64."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def start(cls, box_xyxy: Box) -> Self:
        """A box that is seen first, at rest."""
        measured = _as_measured(box_xyxy)
        height = measured[3]
        deviations = _deviations(2 * POSITION * height, ASPECT, 10 * VELOCITY * height, ASPECT_VELOCITY)
        return cls(np.concatenate([measured, np.zeros(SIZE)]), np.diag(deviations**2))

    def predicted(self) -> Self:
        """The state one frame later."""
        height = self.mean[3]
        noise = _deviations(POSITION * height, ASPECT, VELOCITY * height, ASPECT_VELOCITY) ** 2
        return type(self)(_STEP @ self.mean, _STEP @ self.covariance @ _STEP.T + np.diag(noise))

    def updated(self, box_xyxy: Box) -> Self:
        """The state after the box was seen in the frame that it predicts."""
        noise = np.where(_IS_ASPECT, MEASURED_ASPECT, POSITION * self.mean[3]) ** 2
        # The box is the first half of the state.
        innovation_covariance = self.covariance[:SIZE, :SIZE] + np.diag(noise)  # (4, 4)
        gain = np.linalg.solve(innovation_covariance, self.covariance[:SIZE]).T  # (8, 4)
        innovation = _as_measured(box_xyxy) - self.mean[:SIZE]
        return type(self)(
            self.mean + gain @ innovation, self.covariance - gain @ innovation_covariance @ gain.T
        )

    @property
    def box_xyxy(self) -> Box:
        """The box of the mean."""
        x, y, aspect, height = self.mean[:SIZE].tolist()
        half = aspect * height / 2
        return x - half, y - height / 2, x + half, y + height / 2


def _as_measured(box_xyxy: Box) -> np.ndarray:
    """A box with a height as (x, y, aspect ratio, height)."""
    left, top, right, bottom = box_xyxy
    return np.array([*center(box_xyxy), (right - left) / (bottom - top), bottom - top])


def _deviations(box: float, aspect: float, velocity: float, aspect_velocity: float) -> np.ndarray:
    """Standard deviations of the state."""
    return np.concatenate(
        [np.where(_IS_ASPECT, aspect, box), np.where(_IS_ASPECT, aspect_velocity, velocity)]
    )
