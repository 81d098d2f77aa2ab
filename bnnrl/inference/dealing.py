"""Independent members, dealt to the threads and devices on which TensorFlow computes them in parallel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from fractions import Fraction
from typing import Any, NamedTuple

import tensorflow as tf

from bnnrl.compiled import num_threads
from bnnrl.inference.base import Info, Method, State
from bnnrl.problem import Problem

# Multiplications of a member's forward pass, D × B, from which on the members are computed apart: at 311,000, the calls
# for a run of a single step cost as much as a second thread gains. The number of steps does not count, because a run
# has to end in the same bits however it is cut.
_MIN_WORK = 300_000


class Progress(NamedTuple):
    """What a loop of steps leaves, for one member or for all, [...] being [] or [M]."""

    state: State
    sums: Info  # [...] sums of the steps' diagnostics
    taken: tf.Tensor  # [] int32, the number of steps taken
    finite: tf.Tensor  # [...] bool, whether the log joint, its gradient and θ are finite

    @classmethod
    def start(cls, state: State) -> Progress:
        """Return the progress before the first step."""
        lead = state.theta.shape[:-1]
        return cls(state, Info(*[tf.zeros(lead)] * len(Info._fields)), tf.constant(0), tf.ones(lead, tf.bool))

    def mean(self, num_steps: tf.Tensor) -> Info:
        """Return the diagnostics averaged over `num_steps` steps."""
        steps = tf.cast(tf.maximum(num_steps, 1), tf.float32)
        return Info(*(a / steps for a in self.sums))


def starts(state: State) -> list[Progress]:
    """Return the progress of each member before the first step, given the state of all members."""
    member = lambda index: tf.nest.map_structure(lambda a: a[index] if a.shape.rank else a, state)
    return [Progress.start(member(index)) for index in range(state.theta.shape[0])]


def gathered(before: State, progress: list[Progress]) -> Progress:
    """Return the progress of all members together, of as many steps as the member took that ended first.

    Args:
        before: the state of all members before the first step, which tells what they share.
        progress: of each member.
    """
    stack = lambda *parts: tf.stack(parts)
    of_all = lambda a, *parts: stack(*parts) if a.shape.rank else tf.convert_to_tensor(parts[0])
    state = tf.nest.map_structure(of_all, before, *[one.state for one in progress])
    sums = tf.nest.map_structure(stack, *[one.sums for one in progress])
    taken = tf.reduce_min([one.taken for one in progress])
    return Progress(state, sums, taken, stack(*[one.finite for one in progress]))


class Piece(NamedTuple):
    """Steps of one member: those from share `begin` to share `end` of all its steps."""

    member: int
    begin: Fraction
    end: Fraction


def lanes(members: int, number: int) -> list[list[Piece]]:
    """Divide the steps of all members into lanes of equal length, each in the order in which its pieces are computed.

    A member may be divided between two lanes. The lane of its first steps then begins with them, and the next lane ends
    with the others, so that neither waits for the other: McNaughton's rule, Management Science 6, 1959.

    Args:
        members: M, the number of members.
        number: the number of lanes, from 1 to M.
    """
    length, found = Fraction(members, number), []
    for lane in range(number):
        first, last = lane * length, (lane + 1) * length
        own = [i for i in range(members) if first < i + 1 and i < last]
        found.append([Piece(i, max(first - i, Fraction(0)), min(last - i, Fraction(1))) for i in reversed(own)])
    return found


class Dealing:
    """How the members of an ensemble are computed: all in one call, or apart, in lanes that run in parallel.

    Args:
        threads: number of lanes. None for as many as TensorFlow runs operations at a time, or as there are GPUs, if the
            steps of a member are large enough to gain. 1 computes all members in one call.
    """

    def __init__(self, threads: int | None = None):
        self._threads = threads

    def is_worthwhile(self, method: Method, problem: Problem, state: State, rows: int) -> bool:
        """Return whether the members are computed apart.

        Args:
            method: the method of all members.
            problem: the problem.
            state: the state of all members.
            rows: B, the number of rows of a step.
        """
        # For networks of other layers, XLA compiles one member and several in different ways, or only one of both.
        if method.member is None or state.theta.shape[0] == 1 or not problem.network.is_dense_chain:
            return False
        return self._number > 1 and (self._threads is not None or problem.num_params * rows >= _MIN_WORK)

    def run(
        self,
        advance: Callable[[int, Progress, tf.Tensor, tf.Tensor], Progress],
        progress: list[Progress],
        num_steps: tf.Tensor,
    ) -> list[Progress]:
        """Return the progress of each member after `num_steps` steps.

        Args:
            advance: returns a member's progress, given its index, the progress before, and the numbers of the first and
                of the last step, the latter not included.
            progress: of each member before the first step.
            num_steps: number of steps, int32 [].
        """
        progress, devices = list(progress), _devices()
        step = lambda share: num_steps * share.numerator // share.denominator
        for number, lane in enumerate(lanes(len(progress), min(self._number, len(progress)))):
            before: list[Any] = []
            for member, begin, end in lane:
                on_device = tf.device(devices[number % len(devices)]) if len(devices) > 1 else nullcontext()
                with on_device, tf.control_dependencies(before):
                    progress[member] = advance(member, progress[member], step(begin), step(end))
                before = [progress[member].taken]
        return progress

    @property
    def _number(self) -> int:
        """The number of lanes."""
        if self._threads is not None:
            return self._threads
        devices = _devices()
        return len(devices) if "GPU" in devices[0] else max(num_threads(), len(devices))


def _devices() -> list[str]:
    """Return the names of the logical GPUs, or of the logical CPUs if there is none."""
    return [d.name for d in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]
