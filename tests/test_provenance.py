import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import short_runs
import torch
from toy_space import Toy

from lightning_nas import provenance
from lightning_nas.callbacks import Ranking
from lightning_nas.errors import NASError
from lightning_nas.fewshot import RandomSplit
from lightning_nas.samplers import UniformSampler
from lightning_nas.search import Exhaustive
from lightning_nas.trainer import NASTrainer


@pytest.fixture(autouse=True)
def _commit_is_asked_anew() -> None:
    provenance._commit.cache_clear()


def test_what_a_verb_was_run_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["/env/bin/lightning-nas", "fit", "--trainer.default_root_dir", "my run"]
    )
    monkeypatch.chdir(tmp_path)
    provenance.record(tmp_path / "run", "fit", processes=2)
    facts = provenance.read(tmp_path / "run")["fit"]
    assert facts["command"] == "lightning-nas fit --trainer.default_root_dir 'my run'"
    assert facts["folder"] == str(tmp_path)
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["torch"] == torch.__version__.partition("+")[0]
    assert facts["processes"] == 2
    assert list(facts) == [
        "command",
        "folder",
        "python",
        "torch",
        "lightning",
        "lightning-nas",
        "device",
        "processes",
        "commit",
    ]


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/src/lightning_nas/__main__.py", "fit"], "lightning-nas fit"),
        (["train.py", "--seed", "1"], "python train.py --seed 1"),
        (["/env/pytest/__main__.py"], "python /env/pytest/__main__.py"),
    ],
)
def test_commands_are_those_that_were_typed(
    argv: list[str], command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    provenance.record(tmp_path, "fit")
    assert provenance.read(tmp_path)["fit"]["command"] == command


def test_every_verb_has_an_entry_and_the_last_one_counts(tmp_path: Path) -> None:
    assert provenance.read(tmp_path) == {}
    for verb, processes in (("fit", 1), ("validate", 1), ("validate", 4)):
        provenance.record(tmp_path, verb, processes=processes)
    found = provenance.read(tmp_path)
    assert {verb: facts["processes"] for verb, facts in found.items()} == {"fit": 1, "validate": 4}


@pytest.mark.parametrize("content", ["{", "[]", '{"fit": 3}'])
def test_another_file_of_this_name_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text(content)
    with pytest.raises(NASError, match=r"environment\.json .*: remove it"):
        provenance.record(tmp_path, "fit")
    assert (tmp_path / "environment.json").read_text() == content


def test_every_verb_that_leaves_results_says_how_it_was_run(tmp_path: Path) -> None:
    module, data = (
        short_runs.supernet_module(Toy(layers=1, width=4, in_channels=1, image_size=8)),
        short_runs.digits(),
    )

    def trainer() -> NASTrainer:
        return short_runs.trainer(tmp_path, UniformSampler(seed=0), Ranking(), max_epochs=1)

    trainer().search(module, data, algorithm=Exhaustive(), seed=0)
    trainer().groundtruth(module, data, seeds=1)
    trainer().split(module, data, metric=RandomSplit(), depth=1)
    assert list(provenance.read(tmp_path)) == ["groundtruth", "split"]
    trainer().fit_fewshot(module, data)
    trainer().validate_fewshot(module, data)
    assert list(provenance.read(tmp_path)) == ["groundtruth", "split", "fit", "validate"]
    assert list(provenance.read(tmp_path / "leaf-0")) == ["fit", "validate"]
    assert list(provenance.read(tmp_path / "search")) == ["search"]


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_the_commit_is_that_of_the_code_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*args: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x"]
        return subprocess.run(
            ["git", *identity, *args], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    code = tmp_path / "lightning_nas" / "provenance.py"
    code.parent.mkdir()
    code.write_text("before")
    monkeypatch.setattr(provenance, "__file__", str(code))

    def commit() -> str | None:
        provenance._commit.cache_clear()
        provenance.record(tmp_path / "run", "fit")
        found = json.loads((tmp_path / "run" / "environment.json").read_text())["fit"]["commit"]
        assert found is None or isinstance(found, str)
        return found

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() is None  # no repository
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "of something else")
    assert commit() is None  # a repository that does not keep the code
    git("add", "lightning_nas")
    git("commit", "--quiet", "--message", "of the code")
    head = git("rev-parse", "HEAD").strip()
    assert re.fullmatch(r"[0-9a-f]{40}", head)
    git("tag", "--annotate", "v1", "--message", "a name that is not asked for")
    assert commit() == head
    code.write_text("after")
    assert commit() == f"{head}-dirty"


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    provenance.record(tmp_path, "fit")
    assert provenance.read(tmp_path)["fit"]["commit"] is None
