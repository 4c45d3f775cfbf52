"""Images are decoded as OpenCV and Pillow do, wherever the decoder is compiled and whatever threads call it."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import photographs
import pytest
import torch
from ffcv_data import images_of, module, normalised, resized, use
from PIL import Image

from lightning_nas.errors import NASError


@pytest.mark.parametrize("mode", ["jpg", "mixed"])
def test_compressed_images_are_close(tmp_path: Path, mode: str) -> None:
    root = photographs.converted(tmp_path, mode=mode, quality=95)
    data = module(root)
    beton = data.splits.test._beton  # type: ignore[attr-defined]
    assert beton.compressed.any()
    assert beton.compressed.all() == (mode == "jpg")
    x, _ = data.splits.test.batch(torch.arange(24))
    for number in np.flatnonzero(beton.compressed):
        content = beton.storage[beton.pointers[number] :][: beton.sizes[number]].tobytes()
        pixels = np.asarray(Image.open(io.BytesIO(content)))
        assert abs(pixels.astype(int) - images_of(root, "val")[number]).mean() < 12
        side = int(0.875 * min(pixels.shape[:2]))
        top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
        expected = normalised(resized(pixels, top, left, side, side), data)
        # The decoders differ by rounding: by less than a tenth of the standard deviation.
        assert (x[number] - expected).abs().mean() < 0.1


def test_a_forked_process_decodes_too(root: Path) -> None:
    code = (
        "import os\n"
        "from lightning_nas.data import FFCVDataModule\n"
        f"data = FFCVDataModule({str(root)!r}, image_size=8, batch_size=6, workers=2)\n"
        "list(data.train_dataloader())\n"
        "child = os.fork()\n"
        "print(len(list(data.train_dataloader())), flush=True)\n"
        "if child: os.waitpid(child, 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "7\n7\n"


def test_where_nothing_can_be_written(root: Path, tmp_path: Path) -> None:
    code = (
        "from lightning_nas.data import FFCVDataModule\n"
        f"data = FFCVDataModule({str(root)!r}, image_size=8, batch_size=6, workers=2)\n"
        "data.prepare_data()\n"
        "print(len(list(data.train_dataloader())))"
    )
    nowhere = str(tmp_path / "file" / "cache")
    (tmp_path / "file").touch()
    environment = os.environ | {
        "XDG_CACHE_HOME": nowhere,
        # As if neither the folder of the package nor the user's could be written.
        "NUMBA_CACHE_DIR": nowhere,
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout == "7\n"


def test_torch_keeps_its_threads(root: Path) -> None:
    code = (
        "import torch; torch.set_num_threads(3)\n"
        "from lightning_nas.data import FFCVDataModule\n"
        f"data = FFCVDataModule({str(root)!r}, image_size=8, batch_size=6, workers=2)\n"
        "list(data.train_dataloader())\n"
        "import sys; assert 'ffcv' in sys.modules\n"
        "print(torch.get_num_threads())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "3\n"


def test_a_compressed_image_that_cannot_be_decoded(tmp_path: Path) -> None:
    root = photographs.converted(tmp_path, mode="jpg")
    beton = module(root).splits.test._beton  # type: ignore[attr-defined]
    content = bytearray((root / "test.beton").read_bytes())
    content[int(beton.pointers[5]) : int(beton.pointers[5]) + 4] = b"none"
    (root / "test.beton").write_bytes(content)
    with pytest.raises(NASError, match=r"test\.beton is damaged, .* image number 5 cannot be decoded"):
        use(root, verify=False)
