"""What the package takes from its environment: its own version, a fitting torchvision, FFCV."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torchvision.ops import nms

import lightning_nas


def test_version_is_the_installed_one() -> None:
    assert lightning_nas.__version__ == version("lightning-nas")


def test_torchvision_fits_torch() -> None:
    # A compiled operator: it is missing where torchvision was built for another torch.
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 20.0, 30.0, 30.0]])
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]


def test_no_target_of_make_stands_twice() -> None:
    listed = subprocess.run(
        ["make", "help"], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert listed.stderr == ""
    assert "make check " in listed.stdout


@pytest.fixture
def _same_threads_after() -> Iterator[None]:
    # Importing FFCV, and each of its loaders, sets the number of threads of the whole process.
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow  # FFCV compiles its pipeline before the first batch.
@pytest.mark.usefixtures("_same_threads_after")
def test_ffcv_reads_back_what_it_wrote(tmp_path: Path) -> None:
    try:
        from ffcv.fields import IntField, RGBImageField
        from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
        from ffcv.loader import Loader, OrderOption
        from ffcv.transforms import ToTensor
        from ffcv.writer import DatasetWriter
    except ImportError as error:
        if os.environ.get("LIGHTNING_NAS_REQUIRE_FFCV"):
            raise
        pytest.skip(f"FFCV cannot be imported ({error}); `make ffcv` tells how to get it")

    photo = load_sample_image("china.jpg")
    images = np.stack([photo[32 * i : 32 * i + 32, 32 * i : 32 * i + 32] for i in range(12)])
    path = tmp_path / "photo.beton"
    fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    writer = DatasetWriter(str(path), fields, num_workers=1)
    writer.from_indexed_dataset([(image, label) for label, image in enumerate(images)])

    pipelines = {"image": [SimpleRGBImageDecoder(), ToTensor()], "label": [IntDecoder(), ToTensor()]}
    loader = Loader(str(path), batch_size=4, num_workers=1, order=OrderOption.SEQUENTIAL, pipelines=pipelines)
    # FFCV fills the same memory again for later batches.
    batches = [(image.clone(), label.clone()) for image, label in loader]

    assert np.array_equal(torch.cat([image for image, _ in batches]).numpy(), images)
    assert torch.cat([label for _, label in batches]).flatten().tolist() == list(range(12))


def test_a_start_does_not_import_what_few_verbs_need() -> None:
    """They take time, and ``torch.utils.benchmark`` says on import that there is no GPU."""
    heavy = ["torch.utils.benchmark", "onnx", "onnxruntime", "pymoo", "wandb", "ffcv"]
    code = f"import sys, lightning_nas.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
