"""Training-free estimators on NAS-Bench-201, beside the published numbers.

    python -m examples.zero_shot --quick
    python -m examples.zero_shot --root datasets/cifar10 --benchmark nasbench201.csv --workers 2

Every estimator looks at the same 300 random architectures at their published size, of different classes as Ning et al. compare
them, with one initialisation and one batch of 64 images of CIFAR-10; the neural tangent kernel at 30, with 50 images. Ning et al.
(Evaluating Efficient Performance Estimators of Neural Architectures, NeurIPS 2021, App. B) took all 6,466 classes, three
initialisations and five batches of 128 images, and the mean ground truth of every class.

The estimating is the verb ``lightning-nas estimate``, whose figures stand in the folder of results. Interrupted, the same call
continues. ``--quick`` does it in a tiny size on digits: its numbers mean nothing.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from examples.comparison.tables import markdown, table_of
from lightning_nas.cli import main as lightning_nas
from lightning_nas.errors import NASError
from lightning_nas.evaluation import select_paths
from lightning_nas.files import written_whole
from lightning_nas.spaces import ListedSpace, NASBench201
from lightning_nas.spaces import Path as Architecture
from lightning_nas.zeroshot import named

# Kendall's tau, Spearman's rho, P@top 5 %, P@bottom 5 % and BR@5 % of Ning et al. on CIFAR-10.
PUBLISHED = {
    "synflow": (0.573, 0.769, 0.325, 0.489, 0.000),
    "grad_norm": (0.401, 0.546, 0.108, 0.539, 0.011),
    "snip": (0.402, 0.547, 0.115, 0.536, 0.011),
    "grasp": (0.348, 0.496, 0.102, 0.031, 0.008),
    "fisher(broadcast=True)": (0.362, 0.495, 0.093, 0.514, 0.011),
    "plain": (0.311, 0.458, 0.096, 0.121, 0.002),
    "jacob_cov": (0.608, 0.788, 0.087, 0.734, 0.002),
    "relu_logdet": (0.611, 0.798, 0.158, 0.799, 0.003),
    "vote": (0.587, 0.777, 0.241, 0.613, 0.000),
    "relu": (0.613, 0.755, 0.223, 0.647, 0.000),
    "params": (0.606, 0.784, 0.282, 0.551, 0.000),
    "macs": (0.606, 0.784, 0.282, 0.551, 0.000),
}
CRITERIA = {
    "kendall_tau": "Kendall",
    "spearman": "Spearman",
    "p_at_top_5": "P@top 5 %",
    "p_at_bottom_5": "P@bottom 5 %",
    "br_at_5": "BR@5 %",
}
FAST = json.dumps(
    [
        *named("synflow,grad_norm,snip,grasp,plain,jacob_cov,relu_logdet,relu,fisher,linear_regions"),
        {"class_path": "lightning_nas.zeroshot.Fisher", "init_args": {"broadcast": True}},
    ]
)
EXPERTS = ("relu_logdet", "jacob_cov", "synflow")  # those of Ning et al. on NAS-Bench-201


def architectures(number: int) -> tuple[Architecture, ...]:
    """Random ones of different classes, the same in every run."""
    space = NASBench201()
    first: dict[object, Architecture] = {}
    for path in space:
        first.setdefault(space.published_key(path), path)
    return select_paths(ListedSpace(space, tuple(first.values())), number)


def estimate(out: Path, number: int, arguments: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Lets the verb estimate, unless it has done so, and returns every criterion of every score."""
    chosen, space = out / "architectures.txt", NASBench201()
    if not (out / "estimates.csv").exists():
        with written_whole(chosen) as temporary:
            temporary.write_text("".join(f"{space.encode(path)}\n" for path in architectures(number)))
        lightning_nas(["estimate", *arguments, "--paths", str(chosen), "--out", str(out)])
    result = json.loads((out / "estimates.json").read_text())
    criteria: dict[str, dict[str, float | None]] = result["criteria"]
    return criteria


def rows(criteria: Mapping[str, Mapping[str, float | None]]) -> list[dict[str, str]]:
    """For every score its criteria, each beside the published number."""
    found = []
    for name, values in criteria.items():
        published = PUBLISHED.get(name)
        cells = {
            heading: f"{_number(values[criterion])} ({'-' if published is None else _number(published[i])})"
            for i, (criterion, heading) in enumerate(CRITERIA.items())
        }
        found.append({"estimator": name, **cells, "degenerate": f"{values['unscored']:.0f}"})
    return found


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:z.3f}".replace("0.", ".", 1)


def main(args: Sequence[str] | None = None) -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="images of CIFAR-10 in the folders train and test")
    parser.add_argument("--benchmark", type=Path, help="table of NAS-Bench-201")
    parser.add_argument("--architectures", type=int, default=300, help="how many")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=Path("runs/zero_shot"), help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="a tiny size on digits")
    options = parser.parse_args(args)
    if options.quick:
        data, number, benchmark = ["--data", "DigitsDataModule"], 30, options.out / "made_up.csv"
        size = ["--space.channels", "2", "--space.cells", "1"]
        _make_up(benchmark)
    else:
        if options.root is None or options.benchmark is None:
            parser.error("give --root and --benchmark, or --quick")
        folder = ["--data.root", str(options.root), "--data.image_size", "32"]
        data, number, benchmark = (
            ["--data", "ImageFolderDataModule", *folder],
            options.architectures,
            options.benchmark,
        )
        size = []
    arguments = [
        *("--space", "NASBench201", *size, *data),
        *("--benchmark", str(benchmark), "--dataset", "cifar10", "--workers", str(options.workers)),
    ]
    fast = ["--estimators", FAST, "--experts", json.dumps(EXPERTS), *arguments]
    criteria = estimate(options.out, number, fast)
    # A backward pass for every image: it takes longer than all others together, and so sees fewer architectures.
    few = number // 10
    ntk = estimate(options.out / "ntk", few, ["--estimators", "ntk", *arguments])
    criteria |= {f"{name} (of {few})": ntk[name] for name in ("ntk", "params")}
    table = rows(criteria)
    Console(width=140).print(table_of("Ours (published)", table, list(table[0])))
    with written_whole(options.out / "results.md") as temporary:
        temporary.write_text(markdown(table) + "\n")


def _make_up(file: Path) -> None:
    """A table of ground truth without meaning."""
    space = NASBench201()
    with written_whole(file) as temporary:
        lines = (f"{space.encode(path)},{50 + space.index(path) / 1000}\n" for path in space)
        temporary.write_text("arch,cifar10\n" + "".join(lines))


if __name__ == "__main__":
    try:
        main()
    except NASError as error:
        raise SystemExit(f"zero_shot: {error}") from None
