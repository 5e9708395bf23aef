"""Progress of long work on stderr: nothing is shown off a terminal, and stdout stays free for results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Any, Self


class Progress:
    """A context with a spinner for steps of unknown length and a bar for chains of draws.

    Parameters
    ----------
    show
        None: only when stderr is a terminal or in a notebook.
    """

    def __init__(self, show: bool | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        console = Console(stderr=True)
        visible = show if show is not None else console.is_terminal or console.is_jupyter
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bars = Bars(*columns, console=console, disable=not visible)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def during[T](self, label: str, work: Callable[..., T], *arguments: Any) -> T:
        """Run work whose length is not known under a moving bar."""
        task = self._bars.add_task(label, total=None, left="")
        result = work(*arguments)
        self._bars.update(task, total=1, completed=1)
        return result

    def count(self, label: str, total: int, done: int = 0) -> Callable[[str], None]:
        """Return a callback that counts one more as done, with a remark beside."""
        task = self._bars.add_task(
            f"{label}: {done} of {total}", total=total, completed=done, left=""
        )
        started, before = monotonic(), done

        def update(remark: str = "") -> None:
            nonlocal done
            done += 1
            text = f"{label}: {done} of {total}" + (f" ({remark})" if remark else "")
            left = remaining(monotonic() - started, done - before, total - before)
            self._bars.update(task, completed=done, description=text, left=left)

        return update

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        if not self._bars.disable:
            self._bars.console.print(text, style="dim", highlight=False)

    def steps[T](self, label: str, items: Collection[T], name: Callable[[T], str]) -> Iterator[T]:
        """Go through items whose work takes alike, under one bar that names the present one and estimates the rest."""
        task, started = self._bars.add_task(label, total=len(items), left=""), monotonic()
        for done, item in enumerate(items, 1):
            self._bars.update(task, description=f"{label} {done} of {len(items)}: {name(item)}")
            yield item
            left = remaining(monotonic() - started, done, len(items))
            self._bars.update(task, completed=done, left=left)

    def bar(self, label: str) -> Callable[[list[Any]], None]:
        """Return a callback that shows nutpie's per-chain progress, summed, with divergences."""
        task, started = self._bars.add_task(label, total=None, left=""), monotonic()

        def update(chains: list[Any]) -> None:
            divergences = sum(c.divergences for c in chains)
            suffix = f" ({divergences} divergences)" if divergences else ""
            done, total = sum(c.finished_draws for c in chains), sum(c.total_draws for c in chains)
            left = remaining(monotonic() - started, done, total)
            self._bars.update(
                task, completed=done, total=total, description=label + suffix, left=left
            )

        return update


def remaining(seconds: float, done: float, total: float) -> str:
    """Estimate in words what is left of work from the part that is done; nothing where that is none, or all."""
    if not 0 < done < total:
        return ""
    return f"about {timedelta(seconds=round(seconds * (total - done) / done))} left"
