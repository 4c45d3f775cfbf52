"""The example from a supernet to a network that classifies an image, without the parts that train."""

import csv
import json
from pathlib import Path

import pytest

from examples import find_a_network as example
from lightning_nas.errors import NASError

# Choices of the first layer have more multiply-adds, of the last one more parameters; 2 is the largest.
A, B, C, D = "00000000", "00000001", "10000000", "20000000"
TRUTH = {A: 90.0, B: 91.5, C: 93.0, D: 92.0}
SCORES = {A: 10.0, B: 30.0, C: 20.0, D: 25.0}


@pytest.fixture
def study(tmp_path: Path) -> example.Study:
    """Two supernets, in which every search scored all four paths, in another order in each."""
    table = tmp_path / "table.csv"
    table.write_text("arch,cifar10\n" + "".join(f'"{arch}",{value}\n' for arch, value in TRUTH.items()))
    study = example.Study(tmp_path, (), table, seeds=2, epochs=1, retrain_epochs=1, budget=100)
    for seed, order in enumerate(([A, C, D, B], [C, A, B, D])):
        for search in example.SEARCHES:
            folder = study.found(seed, search)
            folder.mkdir(parents=True)
            with (folder / "search.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerows([("arch", "score"), *((arch, SCORES[arch]) for arch in order)])
            (folder / "search.json").write_text(json.dumps({"best": {"arch": [B, D][seed]}}))
    return study


def test_regrets_are_against_the_best_of_the_space(study: example.Study) -> None:
    assert example.regrets(study, TRUTH) == {search: [1.5, 1.0] for search in example.SEARCHES}


def test_the_course_follows_the_path_that_leads_by_its_score(study: example.Study) -> None:
    for course in example.courses(study, TRUTH).values():
        # The scores lead from A over C and D to B, and from C to B.
        assert course.tolist() == [[3.0, 0.0, 1.0, 1.5], [0.0, 0.0, 1.5, 1.5]]


def test_counting_is_a_rival() -> None:
    assert example.counted(TRUTH) == {"parameters": 1.5, "multiply-adds": 1.0}


def test_the_report_has_a_figure_and_all_regrets(
    study: example.Study, capsys: pytest.CaptureFixture[str]
) -> None:
    example.report(study)
    written = json.loads((study.out / "regret.json").read_text())
    assert written["regret"]["evolution"] == [1.5, 1.0]
    assert written["random"] == pytest.approx(93.0 - sum(TRUTH.values()) / 4)
    assert (study.out / "regret.png").stat().st_size > 10_000
    assert "1.25 ± 0.35" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "--root and --benchmark are needed"), (["--quick", "--budget", "120"], "multiples of 50")],
)
def test_wrong_arguments_are_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(NASError, match=said):
        example.main(arguments)


@pytest.mark.slow
def test_the_quick_run_goes_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example.main(["--quick", "--out", str(tmp_path)])
    first = capsys.readouterr().out
    assert [line.split()[2] for line in first.splitlines() if line.startswith("$ ")] == [
        "fit",
        "search",
        "search",
        "search",
        "retrain",
        "export",
    ]
    assert "says of the first test image" in first
    example.main(["--quick", "--out", str(tmp_path)])
    again = capsys.readouterr().out
    assert "$ " not in again, "something was done twice"
    assert again.splitlines()[-1] == first.splitlines()[-1]
