"""What is known of every published benchmark: where it is, what it holds, and how to tell it from a damaged one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lightning_nas.errors import NASError
from lightning_nas.ranking.benchmark import TabularBenchmark


@dataclass(frozen=True)
class Source:
    """A published benchmark.

    Attributes:
        title: What it is, with its paper.
        holds: What a table of it holds.
        url: Where to get it.
        files: What to download there.
        licence: Under which the authors publish it, as far as their pages say.
        originals: Published checksums of original files, by algorithm: ``sha256:...`` or ``md5:...``.
        accuracies: Checksum of the published accuracies (:func:`accuracy_checksum`).
        decimals: To which the accuracies are rounded for that.
    """

    title: str
    holds: str
    url: str
    files: str
    licence: str = "not stated"
    originals: tuple[str, ...] = ()
    accuracies: str | None = None
    decimals: int = 4


SOURCES = {
    "nasbench201": Source(
        title="NAS-Bench-201 (Dong and Yang, 2020)",
        holds="15,625 cells; test accuracy after 200 epochs on cifar10, cifar100 and imagenet16_120",
        url="https://github.com/D-X-Y/NAS-Bench-201 (links to a shared drive)",
        files="NAS-Bench-201-v1_1-096897.pth (4.7 GB); or a folder with the lists cifar10_accs.pkl, "
        "cifar100_accs.pkl and imagenet_accs.pkl of https://github.com/cvlab-yonsei/One-Shot-NAS",
        # The official file name ends with the last six digits.
        originals=("md5:55e847143ce1f7c2d89b676f6b096897",),
        accuracies="a57e02e7f29d75faa58065b346cd3c5a96fed4c5e257c5f4e6615e0b3303b337",
        decimals=2,
    ),
    "nasbench-macro": Source(
        title="NAS-Bench-Macro (Su et al., 2021)",
        holds="6,561 networks; best test accuracy of 50 epochs on cifar10, three runs",
        url="https://github.com/xiusu/NAS-Bench-Macro",
        files="data/nas-bench-macro_cifar10.json",
        licence="Apache-2.0",
        accuracies="5b191379f8a5789e115f08ac075ff5c1a022ff845c88070fa3b20e1331df63b7",
    ),
    "pooling": Source(
        title="Pooling on ResNet-20 (Roshtkhari et al., 2023)",
        holds="36 networks; test accuracy on cifar10",
        url="https://github.com/mehravehj/Balanced-Mixture-of-SuperNets",
        files="results/resnet20_baselines_mixture.csv",
        accuracies="dd006d854340ea7fc9f2de68345cc1483090f761d5ca234068a052b4d6e214b9",
    ),
    "nasbench101": Source(
        title="NAS-Bench-101 (Ying et al., 2019), for the space of NAS-Bench-1Shot1",
        holds="the cells of the space among 423,624; test accuracy after 108 epochs on cifar10, three runs",
        url="https://storage.googleapis.com/nasbench/nasbench_only108.tfrecord",
        files="nasbench_only108.tfrecord (499 MB)",
        licence="Apache-2.0",
        originals=(
            "sha256:4c39c3936e36a85269881d659e44e61a245babcb72cb374eacacf75d0e5f4fd1",  # nasbench_only108
            "sha256:3d64db8180fb1b0207212f9032205064312b6907a3bbc81eabea10db2f5c7e9c",  # nasbench_full
        ),
    ),
    "nasbench301": Source(
        title="NAS-Bench-301 (Siems et al., 2020), its trained networks of the DARTS space",
        holds="about 60,000 networks; test and validation accuracy on cifar10 (columns cifar10, cifar10_valid)",
        url="https://figshare.com/articles/dataset/NAS-Bench-301_Dataset_v1_0/13246952",
        files="the data set, unpacked into a folder of results_*.json",
    ),
    "nds-resnet": Source(
        title="Network design spaces (Radosavovic et al., 2019), ResNet",
        holds="25,000 networks with one seed, or 5,000 with three; best test accuracy on cifar10",
        url="https://dl.fbaipublicfiles.com/nds/data.zip",
        files="in it nds_data/ResNet.json, or the folder nds_data for ResNet_rng1.json to ResNet_rng3.json",
    ),
    "nds-resnext-a": Source(
        title="Network design spaces (Radosavovic et al., 2019), ResNeXt-A",
        holds="25,000 networks; best test accuracy on cifar10",
        url="https://dl.fbaipublicfiles.com/nds/data.zip",
        files="in it nds_data/ResNeXt-A.json",
    ),
}


def verify(source: Source, original: Path, table: TabularBenchmark) -> str:
    """Says how a table was found to be the published one.

    Args:
        source: What it should be.
        original: The file or folder that was converted.
        table: What came out.

    Raises:
        NASError: Neither its accuracies nor the file are the published ones.
    """
    if source.accuracies == accuracy_checksum(table, source.decimals):
        return "The accuracies are the published ones."
    if any(_has_checksum(original, expected) for expected in source.originals):
        return "The file is the published one."
    if source.accuracies is None and not source.originals:
        return "No checksum is published with which to compare it."
    raise NASError(
        f"{original} is not {source.title} as published: its checksum is another, so it is damaged, incomplete "
        f"or of another version; get {source.files} from {source.url}."
    )


def accuracy_checksum(table: TabularBenchmark, decimals: int) -> str:
    """SHA-256 of the accuracies, whatever the file they come from.

    Architectures and datasets are sorted and accuracies rounded, so every source of the same numbers has the same
    checksum.

    Args:
        table: The accuracies.
        decimals: To which they are rounded.
    """
    datasets = sorted(table.datasets)
    digest = hashlib.sha256(f"{','.join(['arch', *datasets])}\n".encode())
    for arch in sorted(table.archs):
        cells = [f"{table.accuracies[dataset][arch]:.{decimals}f}" for dataset in datasets]
        digest.update(f"{','.join([arch, *cells])}\n".encode())
    return digest.hexdigest()


def _has_checksum(file: Path, expected: str) -> bool:
    algorithm, _, digest = expected.partition(":")
    if not file.is_file():
        return False
    with file.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest() == digest
