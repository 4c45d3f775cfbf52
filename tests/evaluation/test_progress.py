from types import SimpleNamespace
from typing import Any

import pytest

from lightning_nas.evaluation import progress


class Bar:
    """Stands for Lightning's progress bar: it remembers what it is told."""

    def __init__(self, disabled: bool = False) -> None:
        self.is_disabled = disabled
        self.progress = self
        self.told: list[tuple[str, Any]] = []

    def add_task(self, name: str, total: int) -> int:
        self.told.append((name, total))
        return 7

    def update(self, task: int, **changes: object) -> None:
        assert task == 7
        self.told.extend(changes.items())

    def refresh(self, hard: bool) -> None:
        assert hard


def tracked(bar: object) -> list[int]:
    trainer: Any = SimpleNamespace(progress_bar_callback=bar)
    return list(progress.track(trainer, iter(range(4)), 4))


def test_every_path_is_passed_on_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", -1.0)
    bar = Bar()
    assert tracked(bar) == [0, 1, 2, 3]
    assert bar.told == [("Paths", 4), *(("completed", done) for done in (1, 2, 3, 4)), ("visible", False)]


def test_the_bar_is_not_refreshed_at_every_path() -> None:
    bar = Bar()
    tracked(bar)
    assert [name for name, _ in bar.told] == ["Paths", "visible"]


@pytest.mark.parametrize("bar", [None, Bar(disabled=True), object()])
def test_without_a_bar_nothing_is_shown(bar: object) -> None:
    assert tracked(bar) == [0, 1, 2, 3]
    assert not isinstance(bar, Bar) or not bar.told
