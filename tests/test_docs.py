"""The commands of the README are understood as they are printed."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from lightning_nas.cli import main
from lightning_nas.commands import COMMANDS

ROOT = Path(__file__).parents[1]


def commands(page: Path) -> list[list[str]]:
    """The arguments of every ``lightning-nas`` command in a page."""
    return [
        shlex.split(line)
        for line in re.findall(r"^lightning-nas (.*)$", page.read_text(), flags=re.MULTILINE)
    ]


def configuration(args: list[str]) -> str:
    """What the arguments add up to; fails on an unknown key or a wrong value."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
        main([*args, "--print_config"])
    assert end.value.code in (0, None), args
    return printed.getvalue()


def test_commands_of_the_readme_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("configs", "groundtruth"):
        (tmp_path / name).symlink_to(ROOT / name)
    found = commands(ROOT / "README.md")
    for args in found:
        if args[0] in COMMANDS:
            main(args)
            continue
        text = configuration(args)
        if "--trainer.default_root_dir" in args:
            # Later commands begin with the configuration that this run keeps.
            run = tmp_path / args[args.index("--trainer.default_root_dir") + 1]
            run.mkdir(parents=True)
            (run / "config.yaml").write_text(text)
    assert {args[0] for args in found} >= {
        "describe",
        "fetch-benchmark",
        "fit",
        "validate",
        "predict",
        "groundtruth",
    }
