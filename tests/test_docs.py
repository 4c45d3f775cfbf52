"""What the pages say is so: commands, links, options, files, sentences, and the listing of imports.

Commands are what stands in blocks of ``bash``. bash itself reads them, with programs in its path that do nothing but note
how they were called, and each is then understood in the way of its program (``UNDERSTOOD``): verbs that train are read
to the last key, others run. Where a run would take minutes or needs data that are not at hand (``READ_ONLY``), it is read as well.
"""

import argparse
import ast
import contextlib
import importlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import exports
import jsonargparse
import photographs
import pytest
import yaml
from space_checks import CONFIGS, small_space, some_paths

from lightning_nas import config
from lightning_nas.cli import NASCLI, main
from lightning_nas.commands import COMMANDS
from lightning_nas.spaces import SearchSpace

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {page.stem: page for page in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))}

READ_ONLY = ("verbs", "results")
"""Their runs take minutes, or are run on another page."""

TRAINED = {"density": "pooling_small", "asked": "nasbench201_small", "supernet": "nasbench201_small"}
"""Runs that commands of several pages begin with, and their spaces."""

CALLED = """#!/bin/bash
printf '%s\\0' "PYTHONPATH=$PYTHONPATH" "${0##*/}" "$@" >>"$CALLS"
printf '\\n\\0' >>"$CALLS"
"""


class Call(NamedTuple):
    """A program that a page calls.

    Attributes:
        page: The page, by name.
        folder: Where it is called.
        program: Its name.
        args: Its arguments.
        with_examples: Whether the examples are on Python's path.
    """

    page: str
    folder: Path
    program: str
    args: list[str]
    with_examples: bool


class UnderstoodError(Exception):
    """Raised in place of the work that a command line asks for."""


def blocks(page: Path) -> str:
    """All blocks of bash in a page, one after the other."""
    return "\n".join(re.findall(r"^```bash\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL))


def called(page: Path, folder: Path) -> list[Call]:
    """Every program that a page calls.

    Fails where bash fails: at a syntax error, or a program that is not one of those below.
    """
    programs = folder / "programs"
    for program in (*UNDERSTOOD, "id"):
        file = programs / program
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(CALLED if program != "id" else "#!/bin/bash\necho 1000\n")
        file.chmod(0o755)
    (folder / ".venv").mkdir(exist_ok=True)
    (folder / ".venv/bin").symlink_to(programs)
    calls = folder / "calls"
    calls.touch()
    subprocess.run(
        ["/bin/bash", "-eu", "-c", blocks(page)],
        cwd=folder,
        env={"PATH": str(programs), "CALLS": str(calls), "PYTHONPATH": ""},
        check=True,
    )
    found = []
    for call in calls.read_text().split("\0\n\0")[:-1]:
        path, program, *args = call.split("\0")
        found.append(Call(page.stem, folder, program, args, path == "PYTHONPATH=examples"))
    return found


def read(args: list[str]) -> str:
    """What the arguments of ``lightning-nas`` add up to; fails on an unknown key or a wrong value."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
        main([*args, "--print_config"])
    assert end.value.code in (0, None), args
    return printed.getvalue()


def understand_verb(call: Call) -> None:
    """A command of ``lightning-nas``."""
    verb, *options = call.args
    if verb == "submit":
        read(options[options.index("--") + 1 :])
        main([verb, "--dry-run", *options])
    elif verb in COMMANDS and call.page in READ_ONLY:
        read(call.args)
    elif verb in COMMANDS:
        main(call.args)
    else:
        keep(read(call.args), call.args, call.folder)


def keep(text: str, args: list[str], folder: Path) -> None:
    """Leaves the configuration of a run behind, with which later commands begin."""
    if "--trainer.default_root_dir" not in args:
        return
    run = folder / args[args.index("--trainer.default_root_dir") + 1]
    run.mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in yaml.safe_load(text).items() if key in config.KEYS}
    (run / "config.yaml").write_text(yaml.safe_dump(kept))


def understand_container(call: Call) -> None:
    """A command of Docker."""
    options, action = call.args[:3], call.args[3]
    assert options == ["compose", "--file", "docker/compose.yaml"], call
    if action == "run":
        assert call.args[4:6] in (["--rm", "gpu"], ["--rm", "gpus"]), call
        understand_verb(call._replace(args=call.args[6:]))
    else:
        assert action == "build", call


def understand_python(call: Call) -> None:
    """An example, or a benchmark: its parser takes the arguments, and nothing is done."""
    first, *args = call.args
    if first == "-m":
        name, *args = args
    else:
        assert (ROOT / first).is_file(), call
        name = first.removesuffix(".py").replace("/", ".")
    example = importlib.import_module(name)

    def parse_only(parser: type[argparse.ArgumentParser]) -> Callable[..., None]:
        parse = parser.parse_args

        def parse_args(*given: object, **keys: object) -> None:
            parse(*given, **keys)  # type: ignore[call-overload]
            raise UnderstoodError

        return parse_args

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", [name, *args])
        for parser in (argparse.ArgumentParser, jsonargparse.ArgumentParser):
            patch.setattr(parser, "parse_args", parse_only(parser))
        with pytest.raises(UnderstoodError):
            example.main(args) if name.startswith("examples") else example.main()


def understand_make(call: Call) -> None:
    """A target of the Makefile."""
    assert re.search(f"^{call.args[0]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), call


def understand_wandb(call: Call) -> None:
    """A command of W&B."""
    assert call.args[0] in ("sync", "login"), call


def understand_folders(call: Call) -> None:
    """Folders that a page makes."""
    assert call.args[0] == "-p", call


UNDERSTOOD = {
    "lightning-nas": understand_verb,
    "docker": understand_container,
    "python": understand_python,
    "make": understand_make,
    "wandb": understand_wandb,
    "mkdir": understand_folders,
}


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a folder look like the repository, with the data and the runs that pages begin with."""
    monkeypatch.chdir(folder)
    for name in ("configs", "groundtruth"):
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr("lightning_nas.latency.timing.SECONDS", 1e-4)
    photographs.write(folder / "datasets" / "imagenet", suffix=".jpg")
    for run, name in TRAINED.items():
        space = small_space(CONFIGS / f"{name}.yaml")
        pretend_validated(folder / "runs" / run, space)
        # Of untrained weights, which are shipped as trained ones are.
        exports.write_supernet(folder / "runs" / run / "last.ckpt", space)
    for run in ("retrained", "first_alone"):
        space = small_space(CONFIGS / "pooling_small.yaml")
        exports.write_network(folder / "runs" / run / "last.ckpt", space, "4-3-3")


def pretend_validated(run: Path, space: SearchSpace) -> None:
    """The files that a training and a validation of some paths leave, with made-up scores."""
    (run / "scores").mkdir(parents=True)
    plain = [f"scores/{name}.csv" for name in ("epoch_0010", "epoch_0020", "batches_0001", "batches_0002")]
    for file, columns in (("ranking.csv", ",ground_truth,params,macs"), *((file, "") for file in plain)):
        with (run / file).open("w") as table:
            table.write(f"arch,accuracy,loss{columns}\n")
            for number, path in enumerate(some_paths(space, 36)):
                costs = f",,{space.cost(path).params},{space.cost(path).macs}" if columns else ""
                table.write(f"{space.encode(path)},{50 + number % 7},{2 - number / 40}{costs}\n")


@pytest.mark.slow
@pytest.mark.timeout(1200)  # every command reads all keys anew, and a page has up to 30
@pytest.mark.parametrize("page", PAGES)
def test_commands_are_understood_as_they_are_printed(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = called(PAGES[page], tmp_path)
    if found:
        enter(tmp_path, monkeypatch)
    for call in found:
        if call.with_examples:
            monkeypatch.syspath_prepend(ROOT / "examples")
        UNDERSTOOD[call.program](call)


def test_programs_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nlightning-nas fit\nlightning-nsa fit\n```\n")
    with pytest.raises(subprocess.CalledProcessError):
        called(page, tmp_path)


def test_every_verb_has_a_section_and_a_command() -> None:
    sections = re.split(r"^## ", PAGES["verbs"].read_text(), flags=re.MULTILINE)[1:]
    verbs = [section.split("\n", 1)[0] for section in sections]
    known = {verb.replace("_", "-") for verb in (*COMMANDS, *NASCLI.subcommands())}
    assert sorted(verbs) == sorted(known)
    for verb, section in zip(verbs, sections, strict=True):
        assert f"\nlightning-nas {verb} " in section, verb


@cache
def script(name: str) -> argparse.Namespace:
    """The members of a script of the documentation."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return argparse.Namespace(**vars(module))


@pytest.mark.parametrize("page", PAGES)
def test_tables_of_options_are_those_of_the_code(page: str) -> None:
    text = PAGES[page].read_text()
    assert script("write_options").written(text) == text, "run .venv/bin/python docs/write_options.py"


def test_every_sampler_has_a_table_of_its_options() -> None:
    from lightning_nas import samplers

    methods = [name for name in samplers.__all__ if name not in ("PathSampler", "DataSampler")]
    text = PAGES["samplers"].read_text()
    assert [
        name for name in methods if f"<!-- options of lightning_nas.samplers.{name} -->" not in text
    ] == []


def test_the_listing_of_imports_is_that_of_the_code() -> None:
    text = PAGES["architecture"].read_text()
    assert "\nspaces: errors\n" in text
    assert script("draw_imports").written(text) == text, "run .venv/bin/python docs/draw_imports.py"


def test_imports_within_functions_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "import os\ndef f():\n    from lightning_nas.data.loader import X\nfrom lightning_nas import spaces\n"
    )
    assert sorted(script("draw_imports").imported(file)) == ["data", "spaces"]


def sentences() -> Iterator[str]:
    """All texts in the code of the package, where ``\\0`` stands for what they are filled with."""
    for file in (ROOT / "lightning_nas").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)  # type: ignore[misc]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_quoted_messages_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(.*?)` \|", PAGES["faq"].read_text(), flags=re.MULTILINE)
    assert len(rows) > 30
    code = {re.sub("\0+", "\0", sentence) for sentence in sentences()}
    assert [row for row in rows if row.replace("...", "\0") not in code] == []


@pytest.mark.parametrize("page", PAGES)
def test_configs_that_are_named_exist(page: str) -> None:
    named = re.findall(r"\bconfigs/[\w/.-]*\w", PAGES[page].read_text())
    assert [name for name in named if not list(ROOT.glob(f"{name}*"))] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_links_of_pages_outside_of_the_site_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        assert (ROOT / file).exists(), target
        assert not anchor or anchor in anchors(ROOT / file), target


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub and the site name them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_runs_in_wandb_are_continued_and_kept_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(tmp_path, monkeypatch)
    [first] = [line for line in blocks(PAGES["wandb"]).splitlines() if "configs/logging/wandb.yaml" in line]
    args = shlex.split(first)[1:]
    keep(read(args), args, tmp_path)
    run = ["fit", "-c", "runs/logged/config.yaml", "--trainer.logger.offline", "true"]
    logger = yaml.safe_load(read(run))["trainer"]["logger"]
    assert logger["class_path"].endswith("WandbRun")
    assert logger["init_args"]["offline"]


def test_the_timeout_of_the_page_on_several_processes_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(tmp_path, monkeypatch)
    strategy = "--trainer.strategy lightning_nas.launch.PathDDPStrategy --trainer.strategy.timeout 0:05:00"
    assert strategy in PAGES["distributed"].read_text()
    fit = ["fit", "-c", "configs/spaces/mobilenet_small.yaml", "-c", "configs/data/digits.yaml"]
    understood = yaml.safe_load(read([*fit, *strategy.split()]))["trainer"]["strategy"]
    assert understood["init_args"]["timeout"] == "0:05:00"


@pytest.mark.slow
def test_a_folder_of_jpegs_becomes_a_training_with_two_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    photographs.write(tmp_path / "datasets" / "imagenet", train=100, suffix=".jpg")
    lines = blocks(PAGES["data"]).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("lightning-nas convert"))
    convert, fit = (shlex.split(line)[1:] for line in lines[first : first + 2])
    main(convert)
    # As printed, but for what makes it short.
    small = "--data.batch_size 4 --data.eval_batch_size 4 --data.image_size 32 --trainer.max_steps 2"
    main([*fit, *small.split()])
    run = tmp_path / "runs" / "imagenet"
    assert (run / "last.ckpt").exists()
    assert "FFCVDataModule" in (run / "config.yaml").read_text()
