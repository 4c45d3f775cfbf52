"""CIFAR-10 photographs and the published table of the 36 poolings, where they are at hand."""

import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from lightning_nas.cli import main
from lightning_nas.ranking import TabularBenchmark, kendall_tau
from lightning_nas.spaces import Pooling

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cifar(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few images of every class, as the archive holds them."""
    root = tmp_path_factory.mktemp("cifar10")
    wanted = {"train": 30, "test": 5}
    taken: Counter[tuple[str, ...]] = Counter()
    with tarfile.open(data_root / "data" / "cifar10_jpeg.tar.xz") as archive:
        for member in archive:
            split, *rest = Path(member.name).parts
            key = (split, rest[0]) if rest else ()
            if member.isfile() and taken[key] < wanted[split]:
                taken[key] += 1
                archive.extract(member, root, filter="data")
    return root


@pytest.mark.slow
def test_a_folder_of_photographs_is_trained_on_and_ranked(
    cifar: Path, data_root: Path, tmp_path: Path
) -> None:
    table = data_root / "benchmarks" / "pooling_resnet20.csv"
    configs = [
        ROOT / "configs" / "spaces" / "pooling_small.yaml",
        ROOT / "configs" / "data" / "image_folder.yaml",
    ]
    common = [word for config in configs for word in ("-c", str(config))]
    common += [
        "--data.root",
        str(cifar),
        "--data.cache_dir",
        str(tmp_path / "cache"),
        "--data.name",
        "cifar10",
    ]
    common += ["--data.eval_batch_size", "50"]
    common += ["--data.image_size", "16", "--data.batch_size", "32", "--data.val_fraction", "0.25"]
    common += ["--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.max_epochs", "1"]
    common += ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
    common += ["--ranking.benchmark", str(table), "--ranking.dataset", "cifar10"]
    common += ["--sampler", "DensitySampler", "--sampler.warmup_steps", "3", "--sampler.probe_size", "32"]
    main(["fit", *common])
    main(["validate", *common, "--ckpt_path", "last"])
    report = json.loads((tmp_path / "run" / "ranking.json").read_text())
    assert report["n"] == 36
    assert report["kendall_tau"] is not None
    assert report["density_bias"] is not None


def test_multiply_adds_rank_the_published_table_as_published(data_root: Path) -> None:
    space = Pooling()
    truth = TabularBenchmark.read(data_root / "benchmarks" / "pooling_resnet20.csv").column("cifar10")
    macs = [space.cost(space.decode(arch)).macs for arch in truth]
    assert kendall_tau(macs, list(truth.values())) == pytest.approx(0.4988, abs=5e-5)
