"""Progress over paths, beside Lightning's over batches."""

import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from lightning import Trainer

EVERY = 0.25
"""Seconds between two refreshes."""


Item = TypeVar("Item")


def track(trainer: Trainer, items: Iterable[Item], total: int) -> Iterator[Item]:
    """Passes items on, one per path, and shows paths per second and the time left in Lightning's progress bar.

    Args:
        trainer: Whose progress bar it is; without one nothing is shown.
        items: What to pass on.
        total: How many there are.
    """
    bar: Any = trainer.progress_bar_callback
    progress = getattr(bar, "progress", None)
    if progress is None or bar.is_disabled:
        yield from items
        return
    task, shown = progress.add_task("Paths", total=total), time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - shown > EVERY:
            shown = time.monotonic()
            progress.update(task, completed=done)
            bar.refresh(hard=True)
    progress.update(task, visible=False)
