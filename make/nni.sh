#!/bin/sh
# Makes an environment with NNI in the folder that is given, for benchmarks/training_step.py. NNI 3.0 is its last release; it
# runs with Lightning 1.9, which needs a torch of that time.
set -eu

.venv/bin/uv venv --quiet --allow-existing --python .venv/bin/python "$1"
.venv/bin/uv pip install --quiet --python "$1/bin/python" nni==3.0 torch==2.0.1 torchvision==0.15.2 \
    pytorch_lightning==1.9.5 'torchmetrics<1' 'numpy<2' 'setuptools<70'
echo "$1/bin/python"
