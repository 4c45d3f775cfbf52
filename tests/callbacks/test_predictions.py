import csv
from pathlib import Path

import short_runs
import torch


def test_one_row_per_image_with_class_and_probability(tmp_path: Path) -> None:
    module = short_runs.supernet_module(predict_path="01")
    data = short_runs.digits(eval_batch_size=600)
    short_runs.trainer(tmp_path, logger=False).predict(module, datamodule=data, return_predictions=False)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    x, y = (torch.cat(parts) for parts in zip(*data.test_dataloader(), strict=True))
    probabilities = module(x, (0, 1)).softmax(1)
    assert [int(row["label"]) for row in rows] == y.tolist()
    assert [int(row["prediction"]) for row in rows] == probabilities.argmax(1).tolist()
    torch.testing.assert_close(
        torch.tensor([float(row["probability"]) for row in rows]), probabilities.max(1).values
    )
