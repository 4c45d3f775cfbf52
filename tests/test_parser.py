"""What jsonargparse says, and what becomes of it; tests/faults has real mistakes."""

import pytest

from lightning_nas.parser import sentence

OPTIONS = ["trainer.max_epochs", "trainer.max_steps", "model.space", "ckpt_path"]
NESTED = """Parser key "metric":
  Problem with given class_path 'lightning_nas.fewshot.Estimated':
    Parser key "estimator":
      Problem with given class_path 'lightning_nas.zeroshot.Snip':
        Option 'batchs' is not accepted"""


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("unrecognized arguments: --max_epochs 3", "no key max_epochs; did you mean 'trainer.max_epochs'?"),
        (
            "unrecognized arguments: --trainer.max_e=3",
            "no key trainer.max_e; did you mean 'trainer.max_epochs'?",
        ),
        (
            "Subcommand 'fit' does not accept option 'model.spaec.init_args.a'",
            "no key model.spaec; did you mean",
        ),
        ("unrecognized arguments: --nothing_like_it", "there is no key nothing_like_it"),
        (NESTED, "there is no key metric.estimator.batchs of lightning_nas.zeroshot.Snip"),
        ("Parser key \"a\":\n  Expected a <class 'int'>. Got value: x", "a is x: valid is int"),
        ("the following arguments are required: fit.data", "--data must be given"),
        ("something new\n  in two lines", "something new in two lines"),
    ],
)
def test_a_sentence(message: str, said: str) -> None:
    assert said in sentence(message, OPTIONS)
