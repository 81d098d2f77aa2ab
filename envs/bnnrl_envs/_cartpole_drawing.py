"""A picture of the cart-pole, drawn by Matplotlib's Agg canvas without pyplot or a display."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, DPI = 480, 320, 100  # pixels; multiples of 16 suit video encoders
HALF_VIEW = 1.5  # m on either side of the camera
CART_WIDTH, CART_HEIGHT = 0.3, 0.16  # m
INK, TRACK, POLE, PUSH, GOAL = "#263238", "#b0bec5", "#c62828", "#1565c0", "#2e7d32"


class CartPoleDrawing:
    """Artists made once and moved for each frame.

    Args:
        length: of the rod, m.
        max_force: N, drawn as an arrow of half a metre.
    """

    def __init__(self, length: float, max_force: float):
        # Imported here: it takes longer than making the environment, and few runs want pictures.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.length, self.max_force = length, max_force
        figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(figure)
        self._axes = figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        # One scale on both axes, or a turning rod would change its length.
        half_height = HALF_VIEW * HEIGHT / WIDTH
        self._axes.set_ylim(0.03 - half_height, 0.03 + half_height)
        self._add_artists()

    def _add_artists(self) -> None:
        from matplotlib.patches import FancyBboxPatch

        plot, floor = self._axes.plot, -CART_HEIGHT / 2
        self._track = self._axes.axhline(floor, color=TRACK, lw=3, zorder=1)
        self._marks = plot([], [], color=TRACK, lw=1.5, zorder=1)[0]
        self._home = plot([0, 0], [floor - 0.12, floor], color=GOAL, lw=2.5, zorder=1)[0]
        plot([0], [self.length], "o", ms=17, mfc="none", mec=GOAL, mew=2, zorder=2)
        plot([0], [self.length], "+", ms=9, mec=GOAL, mew=1.5, zorder=2)
        self._arrow = self._axes.annotate(
            "",
            xy=(0, 0),
            xytext=(0, 0),
            arrowprops={
                "arrowstyle": "-|>",
                "color": PUSH,
                "lw": 2.5,
                "mutation_scale": 14,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
        self._cart = FancyBboxPatch((0, floor), CART_WIDTH, CART_HEIGHT, boxstyle="round,pad=0,rounding_size=0.03")
        self._cart.set(facecolor=INK, edgecolor="none", zorder=4)
        self._axes.add_patch(self._cart)
        round_ends: dict[str, Any] = {"solid_capstyle": "round", "zorder": 5}
        self._rod = plot([], [], color=POLE, lw=6, **round_ends)[0]
        self._pivot = plot([], [], "o", ms=5, mfc="white", mec="none", zorder=6)[0]
        self._label = self._axes.text(
            *(0.03, 0.93), "", transform=self._axes.transAxes, color=INK, size=11, va="center"
        )

    def draw(self, x: float, theta: float, force: float, time: float) -> NDArray[np.uint8]:
        """One frame, uint8 [320, 480, 3].

        Args:
            x: of the cart, m.
            theta: of the rod, rad, 0 hanging.
            force: on the cart, N.
            time: since the start of the episode, s.
        """
        self._aim_camera(x)
        tip = (x + self.length * math.sin(theta), -self.length * math.cos(theta))
        self._rod.set_data([x, tip[0]], [0, tip[1]])
        self._pivot.set_data([x], [0])
        self._cart.set_x(x - CART_WIDTH / 2)
        side = x + math.copysign(CART_WIDTH / 2, force)
        self._arrow.set_visible(abs(force) > 0.02 * self.max_force)
        self._arrow.set_position((side, 0))
        self._arrow.xy = (side + 0.5 * force / self.max_force, 0)
        self._label.set_text(f"t = {time:.2f} s    x = {x:+.2f} m    u = {force:+.1f} N")
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def _aim_camera(self, x: float) -> None:
        """Keep the origin in the middle until the cart would leave the picture, then follow it."""
        room = HALF_VIEW - CART_WIDTH
        centre = x - min(max(x, -room), room)
        self._axes.set_xlim(centre - HALF_VIEW, centre + HALF_VIEW)
        first, last = math.ceil(2 * (centre - HALF_VIEW)), math.floor(2 * (centre + HALF_VIEW))
        marks = np.arange(first, last + 1) / 2  # every half metre
        floor = np.full(len(marks), -CART_HEIGHT / 2)
        ends = np.stack([floor, floor - 0.06, np.full(len(marks), np.nan)], axis=1)
        self._marks.set_data(np.repeat(marks, 3), ends.ravel())
