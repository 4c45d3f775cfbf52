"""What is to be said of a run in a line: what it is, as words, and how good it is, as numbers."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from lightning_nas.report.run import ESTIMATES, Run, Tree, at

SEEDS = ("seed", "seeds", "seed_everything", "selection_seed")
FOLDER = "trainer.default_root_dir"
LOGGER = "trainer.logger"
VALIDATION = "val/accuracy"
MOST_CHARACTERS = 60


def flat(tree: object, prefix: str = "") -> dict[str, object]:
    """The leaves of nested dictionaries, and of lists that hold some, by their keys with dots between them.

    Example:
        >>> flat({"a": {"b": 1}, "c": [{"d": 2}], "e": [3, 4]})
        {'a.b': 1, 'c.0.d': 2, 'e': [3, 4]}
    """
    if isinstance(tree, list) and any(isinstance(part, dict) for part in tree):
        tree = {str(number): part for number, part in enumerate(tree)}
    if not isinstance(tree, dict) or (not tree and prefix):
        return {prefix: tree}
    return {
        name: value
        for key, part in tree.items()
        for name, value in flat(part, f"{prefix}.{key}".lstrip(".")).items()
    }


def plain(value: object) -> str:
    """A value of a configuration as text."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """A long text without its middle.

    Example:
        >>> shortened("a very long value", 11)
        'a ver…value'
    """
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


# ------------------------------------------------------------------------------------------------------- words


def words(run: Run) -> dict[str, str]:
    """What a run is; empty where that is not known."""
    return {
        "kind": kind(run),
        "space": space(run),
        "method": shortened(method(run)),
        "data": data(run),
        "seed": ", ".join(dict.fromkeys(_listed(value) for value in seeds(run).values())),
        "epochs": _epochs(run),
        "steps": "" if run.steps is None else f"{run.steps:,}",
    }


def kind(run: Run) -> str:
    """Which verb made it, in words."""
    config, names = run.config, run.results
    known = {
        "learnt architecture": "strategy" in config or "learn.json" in names,
        "network trained alone": "arch" in config or "retrain.json" in names,
        "ground truth": run.truth is not None or run.measured > 0,
        "few-shot supernets": "tree" in config or "tree.json" in names,
        "supernet": bool(config or run.curves) or run.steps is not None,
        "search": "search.json" in names,
        "estimates": "estimates.json" in names or (run.folder / ESTIMATES).is_file(),
    }
    return next((name for name, is_it in known.items() if is_it), "ranking")


def settings(run: Run) -> Tree:
    """The configuration, or else what a search or an estimate says that it was asked for."""
    if run.config:
        return run.config
    found = (at(run.results, name, "settings") for name in ("search.json", "estimates.json"))
    return next((tree for tree in found if isinstance(tree, dict)), {})


def space(run: Run) -> str:
    """The class of the search space; of a part of one also that of the whole."""
    description = at(settings(run), "model", "space") or at(settings(run), "space")
    names: list[str] = []
    while (name := _class(description)) and len(names) < 2:
        names.append(name)
        description = at(description, "init_args", "space")
    return " of ".join(names)


def method(run: Run) -> str:
    """Who chose the paths, or which algorithm was at work."""
    config = run.config
    if at(config, "strategy"):
        return _class(config["strategy"])
    if "arch" in config:  # of which the result says what a file or a draw came to
        return plain(at(run.results, "retrain.json", "arch") or config["arch"])
    if estimators := at(settings(run), "estimators"):
        return _listed(estimators)
    if algorithm := at(settings(run), "algorithm", "name"):
        return plain(algorithm)
    if kind(run) not in ("supernet", "few-shot supernets") or not config:
        return ""
    callbacks = at(config, "trainer", "callbacks")
    given = [_class(part) for part in (callbacks if isinstance(callbacks, list) else [callbacks])]
    # fit takes the uniform sampler where it is given none.
    sampler = [
        _class(at(config, "sampler")),
        *(name for name in given if name.endswith("Sampler")),
        "UniformSampler",
    ]
    return " + ".join(filter(None, [next(filter(None, sampler)), _class(at(config, "data_sampler"))]))


def data(run: Run) -> str:
    """The data module, with the folder of its images where it has one."""
    description = at(settings(run), "data")
    if isinstance(description, str):  # of an estimate
        return description.partition(",")[0]
    name, root = _class(description).removesuffix("DataModule"), at(description, "init_args", "root")
    return f"{name} ({PurePosixPath(root).name})" if isinstance(root, str) else name


def _class(description: object) -> str:
    path = at(description, "class_path")
    return path.rpartition(".")[2] if isinstance(path, str) else ""


def _listed(value: object) -> str:
    return ", ".join(map(plain, value)) if isinstance(value, list) else plain(value)


def _epochs(run: Run) -> str:
    done, asked = run.epochs, at(run.config, "trainer", "max_epochs")
    if done is None:
        return ""
    return f"{done} of {asked}" if isinstance(asked, int) and asked > done else str(done)


# ------------------------------------------------------------------------------------------------ what is alike


def seeds(run: Run) -> dict[str, object]:
    """All seeds of the settings that are given."""
    return {key: value for key, value in flat(settings(run)).items() if _is_seed(key) and value is not None}


def identity(run: Run) -> str:
    """What two runs have in common that differ in nothing but the seed, their folder and their loggers."""
    kept = {
        key: value
        for key, value in flat(settings(run)).items()
        if not _is_seed(key) and key != FOLDER and not key.startswith(LOGGER)
    }
    return json.dumps(
        [kind(run), kept] if kept else [kind(run), str(run.folder)], sort_keys=True, default=str
    )


def _is_seed(key: str) -> bool:
    return key.rpartition(".")[2] in SEEDS


# ----------------------------------------------------------------------------------------------------- numbers


def measures(run: Run) -> dict[str, float]:
    """How good a run is, but for criteria of rankings."""
    found: dict[str, object] = {}
    accuracies = [*run.curves.get(VALIDATION, ([], []))[1], *_final(run)]
    if accuracies:
        found |= {f"best {VALIDATION}": max(accuracies), f"last {VALIDATION}": accuracies[-1]}
    for name in ("test/accuracy", "test/top5", "ground_truth"):
        found[name] = at(run.results, "retrain.json", name)
    for name in ("genotype_accuracy", "ground_truth"):
        found[name] = found.get(name) or at(run.results, "learn.json", "best", name)
    for file, tree in run.results.items():
        if PurePosixPath(file).name == "search.json":
            folder = PurePosixPath(file).parent.name or "search"
            found |= {f"{folder}: {name}": at(tree, "best", name) for name in ("score", "ground_truth")}
    found |= {
        f"chosen leaf: {name}": at(run.results, "selection.json", name) for name in ("accuracy", "regret")
    }
    return dict(_numbers(found))


def _final(run: Run) -> list[float]:
    """The accuracy of the finished network, whose weights may have been averaged; none of a run that is still at work."""
    return list(dict(_numbers({VALIDATION: at(run.results, "retrain.json", VALIDATION)})).values())


def rankings(run: Run) -> dict[str, dict[str, float]]:
    """The criteria of the rankings of a run, by where they come from; the first is the one to compare runs by."""
    files = {"validate": "ranking.json", "test": "test_ranking.json"}
    found = {verb: dict(_numbers(run.results[file])) for verb, file in files.items() if file in run.results}
    logged = {
        name.removeprefix("ranking/"): values[-1]
        for name, (_, values) in run.curves.items()
        if name.startswith("ranking/")
    }
    return found if "validate" in found or not logged else {"training": logged, **found}


def _numbers(found: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    for name, value in found.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield name, value
