"""What is told when the ranks of a training do not find each other, or lose one."""

import os

from torch import distributed

LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
"""What gloo says when the other end of a connection is gone."""
SILENT = ("Timed out waiting", "Application timeout")
"""What it says when the other end does not answer."""


def trouble(error: BaseException) -> str | None:
    """A sentence for an error that has to do with other ranks; None for any other error."""
    if distributed.is_initialized():
        return _loss(str(error)) if isinstance(error, RuntimeError) else None
    if not isinstance(error, distributed.DistNetworkError | distributed.DistStoreError):
        return None
    address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    if "EADDRINUSE" in str(error):
        return f"rank 0 cannot listen at {address}, because the port is taken: set MASTER_PORT to a free one"
    return f"the ranks do not meet at {address}: {str(error).splitlines()[0]}"


def _loss(message: str) -> str | None:
    """Why another rank is missed."""
    if any(words in message for words in LOST):
        return "another rank has ended, and its own output says why; --ckpt_path last continues the run"
    if any(words in message for words in SILENT):
        return (
            "another rank does not answer: it hangs, or works alone for longer than the strategy's timeout; --ckpt_path last "
            "continues the run"
        )
    return None
