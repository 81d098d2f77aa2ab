"""Pictures of rods on a pivot or a cart, drawn on Matplotlib's Agg canvas, which needs neither pyplot nor a display."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WIDTH, HEIGHT, DPI = 480, 320, 100  # pixels; video encoders want multiples of 16
CART_WIDTH, CART_HEIGHT = 0.3, 0.16  # m
INK, TRACK, PUSH, GOAL = "#263238", "#b0bec5", "#1565c0", "#2e7d32"
RODS = ("#c62828", "#ef6c00")


class PlantDrawing:
    """Drawing of a plant, whose artists are made once and moved for each frame.

    The goal of the last rod's end is a green circle. Actions are blue: a force is an arrow, a torque an arc.

    Args:
        lengths: lengths of the rods, m, from the cart or pivot outwards.
        max_action: largest force in N, drawn half a metre long; or largest torques in N m, drawn as a third of a turn.
        cart: whether the rods hang from a cart on a track; otherwise they hang from a fixed pivot.
    """

    def __init__(self, lengths: Sequence[float], max_action: Sequence[float], cart: bool):
        # Imported here, since the import takes longer than making the environment, and few runs render.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.lengths, self.max_action, self.cart = lengths, max_action, cart
        figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(figure)
        self._axes = figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        # Both axes have the same scale, so that the length of a rod does not depend on its angle.
        half_height = max(1.0, 1.5 * sum(lengths))  # leaves room for the label above the goal
        self._half_view = half_height * WIDTH / HEIGHT  # m on either side of the camera
        self._axes.set_ylim(0.03 - half_height, 0.03 + half_height)
        self._axes.set_xlim(-self._half_view, self._half_view)
        self._add_artists()

    def _add_artists(self) -> None:
        plot, reach = self._axes.plot, sum(self.lengths)
        plot([0], [reach], "o", ms=17, mfc="none", mec=GOAL, mew=2, zorder=2)
        plot([0], [reach], "+", ms=9, mec=GOAL, mew=1.5, zorder=2)
        if self.cart:
            self._add_cart()
        else:
            plot([0], [0], "o", ms=15, mfc=INK, mec="none", zorder=4)
            self._arcs = [plot([], [], color=PUSH, lw=2.5, zorder=7)[0] for _ in self.max_action]
            self._heads = [plot([], [], color=PUSH, ms=9, zorder=7)[0] for _ in self.max_action]
        round_ends: dict[str, Any] = {"solid_capstyle": "round", "zorder": 5}
        self._rods = [plot([], [], color=RODS[i], lw=6, **round_ends)[0] for i in range(len(self.lengths))]
        self._hinges = plot([], [], "o", ms=5, mfc="white", mec="none", zorder=6)[0]
        self._label = self._axes.text(
            *(0.03, 0.93), "", transform=self._axes.transAxes, color=INK, size=11, va="center"
        )

    def _add_cart(self) -> None:
        from matplotlib.patches import FancyBboxPatch

        plot, floor = self._axes.plot, -CART_HEIGHT / 2
        self._axes.axhline(floor, color=TRACK, lw=3, zorder=1)
        self._marks = plot([], [], color=TRACK, lw=1.5, zorder=1)[0]
        plot([0, 0], [floor - 0.12, floor], color=GOAL, lw=2.5, zorder=1)
        arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": PUSH, "lw": 2.5, "mutation_scale": 14}
        self._arrow = self._axes.annotate(
            "", xy=(0, 0), xytext=(0, 0), arrowprops={**arrow, "shrinkA": 0, "shrinkB": 0}
        )
        self._cart = FancyBboxPatch((0, floor), CART_WIDTH, CART_HEIGHT, boxstyle="round,pad=0,rounding_size=0.03")
        self._cart.set(facecolor=INK, edgecolor="none", zorder=4)
        self._axes.add_patch(self._cart)

    def draw(self, positions: Floats, action: Floats, time: float) -> NDArray[np.uint8]:
        """Return one frame, uint8 [320, 480, 3].

        Args:
            positions: position of the cart in m, if there is one, then the angle of each rod from hanging in rad.
            action: force on the cart in N, or torques in N m.
            time: time since the start of the episode, s.
        """
        x, *angles = positions.tolist() if self.cart else (0.0, *positions.tolist())
        joints = self._draw_rods(x, angles)
        if self.cart:
            self._draw_cart(x, action[0])
            self._label.set_text(f"t = {time:.2f} s    x = {x:+.2f} m    u = {action[0]:+.1f} N")
        else:
            self._draw_torques(joints, action)
            self._label.set_text(f"t = {time:.2f} s    u = {', '.join(f'{u:+.1f}' for u in action)} N m")
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def _draw_rods(self, x: float, angles: Sequence[float]) -> list[tuple[float, float]]:
        """Draw the rods and return the coordinates in m of each rod's inner end."""
        joints = [(x, 0.0)]
        for rod, length, theta in zip(self._rods, self.lengths, angles, strict=True):
            start = joints[-1]
            end = (start[0] + length * math.sin(theta), start[1] - length * math.cos(theta))
            rod.set_data([start[0], end[0]], [start[1], end[1]])
            joints.append(end)
        self._hinges.set_data(*zip(*joints[:-1], strict=True))
        return joints[:-1]

    def _draw_cart(self, x: float, force: float) -> None:
        self._aim_camera(x)
        self._cart.set_x(x - CART_WIDTH / 2)
        share = force / self.max_action[0]
        side = x + math.copysign(CART_WIDTH / 2, force)
        self._arrow.set_visible(abs(share) > 0.02)
        self._arrow.set_position((side, 0))
        self._arrow.xy = (side + 0.5 * share, 0)

    def _draw_torques(self, joints: Sequence[tuple[float, float]], torques: Floats) -> None:
        """Draw an arc around each driven hinge, which starts at the top and ends in an arrow head."""
        from matplotlib.markers import MarkerStyle

        shares = torques / np.asarray(self.max_action)
        for (x, y), share, arc, head in zip(joints, shares, self._arcs, self._heads, strict=False):
            radius = 0.15 * sum(self.lengths)
            turn = np.pi / 2 + np.linspace(0, share * 2 * np.pi / 3, 30)
            arc.set_data(x + radius * np.cos(turn), y + radius * np.sin(turn))
            head.set_data([x + radius * math.cos(turn[-1])], [y + radius * math.sin(turn[-1])])
            along = math.degrees(turn[-1]) + (0 if share > 0 else 180)
            head.set_marker(MarkerStyle((3, 0, 0)).rotated(deg=along))
            for artist in (arc, head):
                artist.set_visible(abs(share) > 0.02)

    def _aim_camera(self, x: float) -> None:
        """Keep the origin in the middle until the cart would leave the picture, then follow the cart."""
        room = self._half_view - CART_WIDTH
        centre = x - min(max(x, -room), room)
        left, right = centre - self._half_view, centre + self._half_view
        self._axes.set_xlim(left, right)
        marks = np.arange(math.ceil(2 * left), math.floor(2 * right) + 1) / 2  # every half metre
        floor = np.full(len(marks), -CART_HEIGHT / 2)
        ends = np.stack([floor, floor - 0.06, np.full(len(marks), np.nan)], axis=1)
        self._marks.set_data(np.repeat(marks, 3), ends.ravel())
