"""Progress of long work on stderr: bars on a terminal or in a notebook, elsewhere a line a minute.

Nothing is ever written to stdout, which is for results.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

from scalebayes.utils.waiting import STEPS, Step, remove, reported_waits

PATIENCE = 2.0
"""Seconds that a call takes before its progress is shown."""

SPEED_PERIOD = 3600.0
"""Seconds over which the speed is averaged for the time left: one step, a fit, may take minutes."""


class Progress:
    """A context that shows a spinner for steps of unknown length and a bar for counted ones.

    Each bar has the time elapsed beside it and, from the second step on, Rich's estimate of the
    time left. Where there are no bars by default, a line each minute says how long the work has
    taken, what is going on, how far it is and how long it may still take
    (`scalebayes.utils.waiting`).

    Parameters
    ----------
    show
        Whether to show bars; by default only if stderr is a terminal or in a notebook. With false
        there are no lines either.
    stays
        Whether the bars stay there when the work is done.
    """

    def __init__(self, show: bool | None = None, *, stays: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        console = Console(stderr=True)
        visible = show if show is not None else console.is_terminal or console.is_jupyter
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            _time_left_column(),
            console=console,
            disable=not visible,
            transient=not stays,
            speed_estimate_period=SPEED_PERIOD,
        )
        self._has_lines = show is None and not visible
        self._open = ExitStack()

    def __enter__(self) -> Self:
        _LateBar.end_all()
        # Calls within this context show no bar of their own.
        if _LateBar.outermost.acquire(blocking=False):
            self._open.callback(_LateBar.outermost.release)
        self._bars.start()
        if self._has_lines:
            self._open.enter_context(reported_waits())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()
        self._bars.stop()

    def _begin(self, label: str, total: float | None, done: float = 0.0, of: str = "done") -> Step:
        """Return a new step, which lines describe until this context ends."""
        step = Step(label, total, done, of, done_at_start=done)
        if self._has_lines:
            STEPS.append(step)
            self._open.callback(remove, step)
        return step

    def during[T](self, label: str, work: Callable[..., T], *arguments: Any) -> T:
        """Return what work of unknown length returns, and show a moving bar meanwhile."""
        task = self._bars.add_task(label, total=None)
        step = self._begin(label, None)
        result = work(*arguments)
        self._bars.update(task, total=1, completed=1)
        step.total = step.done = 1
        return result

    def count(self, label: str, total: int, done: int = 0) -> Callable[[str], None]:
        """Return a function that counts one more as done, and shows a remark beside the number."""
        task = self._bars.add_task(f"{label}: {done} of {total}", total=total, completed=done)
        step = self._begin(f"{label}: {done} of {total}", total, done)

        def update(remark: str = "") -> None:
            nonlocal done
            done += 1
            description = f"{label}: {done} of {total}"
            if remark:
                description += f" ({remark})"
            self._bars.update(task, completed=done, description=description)
            step.label, step.done = description, done

        return update

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        if not self._bars.disable:
            self._bars.console.print(text, style="dim", highlight=False)

    def steps[T](self, label: str, items: Collection[T], name: Callable[[T], str]) -> Iterator[T]:
        """Iterate over items under one bar that names the present one."""
        task = self._bars.add_task(label, total=len(items))
        step = self._begin(label, len(items))
        for done, item in enumerate(items):
            description = f"{label} {done + 1} of {len(items)}: {name(item)}"
            self._bars.update(task, description=description)
            step.label = description
            yield item
            self._bars.update(task, completed=done + 1)
            step.done = done + 1

    def bar(self, label: str) -> Callable[[list[Any]], None]:
        """Return a function that shows nutpie's chains as one bar, with divergences."""
        task = self._bars.add_task(label, total=None)
        step = self._begin(label, None, of="of the draws")

        def update(chains: list[Any]) -> None:
            done = sum(chain.finished_draws for chain in chains)
            total = sum(chain.total_draws for chain in chains)
            divergences = sum(chain.divergences for chain in chains)
            description = label
            if divergences:
                description += f" ({divergences} divergences)"
            self._bars.update(task, completed=done, total=total, description=description)
            step.label, step.done, step.total = description, done, total

        return update


class _LateBar:
    """Progress of a call without counted steps, shown once the call has taken `PATIENCE`.

    Only the outermost call has one, outside every `Progress`. It gives way to a `Progress` that
    begins within the call.
    """

    outermost = threading.Lock()
    _shown: _LateBar | None = None

    def __init__(self, label: str) -> None:
        self._label = label
        self._lock = threading.Lock()
        self._is_over = False
        self._open = ExitStack()
        self._timer = threading.Timer(PATIENCE, self._show)
        self._timer.daemon = True

    def _show(self) -> None:
        with self._lock:
            if self._is_over:
                return
            progress = Progress(stays=False)
            progress._bars.start()
            self._open.callback(progress._bars.stop)
            if progress._has_lines:
                self._open.enter_context(reported_waits())
            progress._bars.add_task(self._label, total=None)
            self._open.callback(remove, progress._begin(self._label, None))

    def end(self) -> None:
        """Take the bar away, or do not show it."""
        self._timer.cancel()
        with self._lock:
            self._is_over = True
            self._open.close()

    @classmethod
    def end_all(cls) -> None:
        """Take away the bar of the call that is under way, if any."""
        if cls._shown is not None:
            cls._shown.end()

    @classmethod
    @contextmanager
    def during(cls, label: str, *, show: bool) -> Iterator[None]:
        """Show a bar while the block runs, unless what is around it shows or hides progress.

        show: whether to show it; calls within the block have none of their own in either case.
        """
        if not cls.outermost.acquire(blocking=False):
            yield
            return
        try:
            if show:
                cls._shown = cls(label)
                cls._shown._timer.start()
            yield
        finally:
            cls.end_all()
            cls._shown = None
            cls.outermost.release()


def shows_progress[**P, R](label: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of functions that may take longer than `PATIENCE`.

    A call with ``progress=False`` shows none.

    label: what the function does, as shown beside the bar.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with _LateBar.during(label, show=kwargs.get("progress") is not False):
                return function(*args, **kwargs)

        return call

    return decorate


def _time_left_column() -> Any:
    """Return a column with Rich's estimate of the time left; empty without an estimate."""
    from rich.progress import Task, TimeRemainingColumn
    from rich.text import Text

    class TimeLeft(TimeRemainingColumn):
        def render(self, task: Task) -> Text:
            if task.finished or task.time_remaining is None:
                return Text("")
            return Text.assemble("about ", super().render(task), " left")

    return TimeLeft()
