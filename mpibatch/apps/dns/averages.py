"""Averages of a channel over time and the planes along its walls, which go on in each step and after each restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import mpibatch as mb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.apps.dns.flows import Flow

__all__ = ["Averages"]

TIME, FLUX = "sum_time", "sum_flux"
LONG_NAMES = {
    "average_flux": "what the flow carries across the lower faces of the velocity along x, over time and planes",
    "average_stress": "friction less that: the total stress",
}
Fields = dict[str, mb.Field]


class Averages:
    """Sums over the steps so far, each weighted by its length, along y. Methods are collective.

    Parameters
    ----------
    flow : Flow
        Of a channel.
    q : sequence of Field
        Its velocities.

    Attributes
    ----------
    sums : dict of str to Field
        What checkpoints are to hold.
    """

    def __init__(self, flow: Flow, q: Sequence[mb.Field]) -> None:
        self._flow = flow
        self.sums: Fields = {name: 0.0 * profile for name, profile in self._profiles(q).items()}

    def _profiles(self, q: Sequence[mb.Field]) -> Fields:
        """Return means over planes: velocities, their squares, and what goes across y of the velocity along x."""
        flow = self._flow
        profiles = {f"sum_{name}": mb.mean(part, axis=flow.planes) for name, part in zip(flow.names, q, strict=True)}
        squares = (mb.mean(part * part, axis=flow.planes) for part in q)
        profiles |= {f"sum_square_{name}": square for name, square in zip(flow.names, squares, strict=True)}
        walls = {name: flow.walls[name] for name in "vu"}  # w carries nothing across y
        profiles[FLUX] = mb.mean(flow.kernels.flux(*q, walls=walls), axis=flow.planes)
        ones = profiles[FLUX].like()
        ones.owned[...] = 1.0
        return profiles | {TIME: ones}

    def add(self, q: Sequence[mb.Field], dt: float) -> None:
        """Take in the end of a step of this length."""
        for name, profile in self._profiles(q).items():
            self.sums[name].owned[...] += dt * profile.owned

    def output(self) -> Fields:
        """Return the averages; NaN where there is no time to average over."""
        flow, time = self._flow, self.sums[TIME].owned
        means: Fields = {}
        with np.errstate(invalid="ignore"):
            for name in flow.names:
                mean, rms = self._profile(self.sums[f"sum_{name}"].owned / time), self.sums[TIME].like()
                variance = self.sums[f"sum_square_{name}"].owned / time - mean.owned * mean.owned
                rms.owned[...] = np.sqrt(np.where(variance < 0, 0.0, variance))  # of rounding alone
                means |= {f"average_{name}": mean, f"average_rms_{name}": rms}
            flux = self._profile(self.sums[FLUX].owned / time)
        means["average_flux"] = flux
        # Across the lower face of each cell; at the wall the velocity is 0.
        velocity = mb.gather_all(means["average_velocity_x"])
        widths = np.diff(flow.faces)
        slope = np.diff(velocity, prepend=0.0) / np.r_[widths[0] / 2, (widths[1:] + widths[:-1]) / 2]
        low, high = flux.box.start[0], flux.box.stop[0]
        means["average_stress"] = self._profile(flow.parameters.viscosity * slope[low:high] - flux.owned)
        return means

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return what the file says of averages. Local."""
        names = {f"average_{name}": "mean over time and planes" for name in self._flow.names}
        names |= {f"average_rms_{name}": "rms of what differs from that" for name in self._flow.names}
        return {name: {"long_name": text, "faces_y": self._flow.faces} for name, text in (names | LONG_NAMES).items()}

    def _profile(self, values: Any) -> mb.Field:
        profile = self.sums[TIME].like()
        profile.owned[...] = values
        return profile
