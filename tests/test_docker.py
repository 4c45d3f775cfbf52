"""The container cannot be built here; that it installs what is installed without one can be told."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "docker" / "Dockerfile").read_text())
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, flags=re.MULTILINE)


def copied() -> set[str]:
    return {source for line in instructions("COPY") for source in line.split()[:-1]}


def test_it_is_built_upon_cuda() -> None:
    assert instructions("ARG")[0].startswith("BASE=nvidia/cuda:")
    assert instructions("FROM") == ["${BASE}"]


def test_the_base_has_the_cuda_of_torch() -> None:
    [toolkit] = re.findall(r"^cuda-toolkit==(\d+\.\d+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert instructions("ARG")[0].startswith(f"BASE=nvidia/cuda:{toolkit}.")


def test_it_has_the_libraries_of_ffcv() -> None:
    [line] = re.findall(r'^packages="(.*)"$', (ROOT / "make" / "ffcv.sh").read_text(), flags=re.MULTILINE)
    [install] = [run for run in instructions("RUN") if "apt-get install" in run]
    assert line in install


def test_versions_are_those_of_the_constraints() -> None:
    installs = [part for run in instructions("RUN") for part in run.split("&&") if "pip install" in part]
    assert len(installs) == 3
    for install in installs:
        assert "--constraint constraints.txt" in install or "--no-deps" in install
    assert "--extra ffcv --extra wandb" in installs[1]


def test_the_user_is_not_root_and_comes_last() -> None:
    assert instructions("USER") == ["${USER_ID}"]
    assert DOCKERFILE.index("USER ${USER_ID}") > DOCKERFILE.rindex("\nRUN ")
    assert "USER_ID=1000" in instructions("ARG")


def test_everything_that_is_copied_is_there_and_not_ignored() -> None:
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    assert kept[1] == "*"
    for source in copied():
        assert (ROOT / source).exists()
        assert f"!{source}" in kept
    assert len(copied()) == sum(line.startswith("!") for line in kept)


def test_nothing_that_the_package_is_made_of_is_missing() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    [license_file] = re.findall(r'license-files = \["(.*)"\]', project)
    assert {license_file, "pyproject.toml", "lightning_nas", "configs", "groundtruth"} <= copied()


@pytest.mark.parametrize(("service", "number"), [("gpu", 1), ("gpus", "all")])
def test_services_have_their_gpus(service: str, number: Any) -> None:
    options = COMPOSE["services"][service]
    [device] = options["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": number, "capabilities": ["gpu"]}
    build = options["build"]
    assert (
        ROOT / "docker" / build["context"] / build["dockerfile"]
    ).resolve() == ROOT / "docker" / "Dockerfile"
