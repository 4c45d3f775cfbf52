"""What a search found, as files."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_nas import architecture, plots
from lightning_nas.errors import NASError
from lightning_nas.files import written_whole
from lightning_nas.ranking.pareto import pareto_front
from lightning_nas.search.algorithm import SearchAlgorithm
from lightning_nas.search.runner import Evaluation
from lightning_nas.spaces import Path as Architecture
from lightning_nas.spaces import SearchSpace


@dataclass(frozen=True)
class Result:
    """Everything that a search leaves.

    Attributes:
        space: Where it searched.
        record: All that was scored, in that order.
        top: The best paths and their final scores on all validation images, the best first.
        measures: More numbers of paths by name, such as a latency.
        truth: Ground truth of paths in percent, where it is known.
        settings: What the search was asked for, in plain types.
        label: What a score is.
    """

    space: SearchSpace
    record: Sequence[Evaluation]
    top: Sequence[tuple[Architecture, float]]
    measures: Mapping[str, Callable[[Architecture], float]]
    truth: Mapping[Architecture, float]
    settings: Mapping[str, Any]
    label: str = "score"

    def write(self, folder: Path) -> None:
        """Writes ``search.json``, ``search.csv`` and the figures, each whole or not at all; ``search.json`` last."""
        rows = [
            {"evaluation": i, **self._row(e.path, e.score), "one_batch": e.one_batch}
            for i, e in enumerate(self.record, 1)
        ]
        plots.save_table(folder / "search.csv", {name: [row[name] for row in rows] for name in rows[0]})
        for name, figure in self._figures().items():
            plots.save(figure, folder / f"{name}.png")
        top = [self._row(path, score) for path, score in self.top]
        scored = self._scored()
        report = {
            "best": top[0],
            "top": top,
            "front": [
                self._row(path, scored[path]) for path in _front(list(scored), scored, self._cost()[1])
            ],
            "history": [rows[i] for i in self._improvements()],
            "evaluations": len(rows),
            "settings": self.settings,
        }
        with written_whole(folder / "search.json") as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")

    def _row(self, path: Architecture, score: float) -> dict[str, Any]:
        cost = self.space.cost(path)
        row = {"arch": self.space.encode(path), "score": score, "params": cost.params, "macs": cost.macs}
        row |= {name: measure(path) for name, measure in self.measures.items()}
        if self.truth:
            row["ground_truth"] = self.truth.get(path)
        return row

    def _final(self) -> list[int]:
        """The evaluations on all images, if there are any: those on one batch are too noisy to be compared with them."""
        final = [i for i, evaluation in enumerate(self.record) if not evaluation.one_batch]
        return final or list(range(len(self.record)))

    def _scored(self) -> dict[Architecture, float]:
        return {self.record[i].path: self.record[i].score for i in self._final()}

    def _improvements(self) -> list[int]:
        """The final evaluations that were better than all before them."""
        found: list[int] = []
        for i in self._final():
            if not found or self.record[i].score > self.record[found[-1]].score:
                found.append(i)
        return found

    def _figures(self) -> dict[str, Any]:
        final = self._final()
        return {
            "best_so_far": plots.best_so_far(
                [i + 1 for i in final], [self.record[i].score for i in final], self.label
            ),
            "pareto": self._pareto(),
            "best": architecture.draw(self.space, self.top[0][0]),
        }

    def _cost(self) -> tuple[str, Callable[[Architecture], float]]:
        """What scores are weighed against: what the algorithm lowers, else a number with a limit, else multiply-adds."""
        name = self.settings["algorithm"].get("cost") or next(iter(self.measures), "macs")
        return name, self.measures.get(name, lambda path: float(getattr(self.space.cost(path), name)))

    def _pareto(self) -> Any:
        scored = self._scored()
        paths = list(scored)
        name, cost = self._cost()
        known = [path for path in paths if path in self.truth]
        if not known:
            costs, scores = [cost(path) for path in paths], list(scored.values())
            return plots.pareto(costs, scores, pareto_front(scores, costs), name, self.label)
        front = _front(known, scored, cost)
        true_front = _front([path for path in self.truth if self.space.is_valid(path)], self.truth, cost)
        scored_points, found, best = (
            [(cost(path), self.truth[path]) for path in group] for group in (known, front, true_front)
        )
        return plots.pareto_against_truth(scored_points, found, best, name)


def _front(
    paths: Sequence[Architecture],
    values: Mapping[Architecture, float],
    cost: Callable[[Architecture], float],
) -> list[Architecture]:
    front = pareto_front([values[path] for path in paths], [cost(path) for path in paths])
    return [paths[i] for i in front]


def settings_of(algorithm: SearchAlgorithm) -> dict[str, Any]:
    """Class and arguments of an algorithm.

    Raises:
        NASError: It keeps an argument under another name.
    """
    names = inspect.signature(type(algorithm)).parameters
    for name in names:
        if not hasattr(algorithm, name):
            raise NASError(
                f"algorithm {type(algorithm).__name__} takes {name}, but has no attribute {name}, which results record"
            )
    return {"name": type(algorithm).__name__, **{name: getattr(algorithm, name) for name in names}}
