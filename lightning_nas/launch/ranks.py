"""What is told when the ranks of a training do not find each other, or lose one."""

import os

from torch import distributed

# What gloo says when the other end of a connection is gone.
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")


def trouble(error: BaseException) -> str | None:
    """A sentence for an error that has to do with other ranks; None for any other error."""
    if distributed.is_initialized():
        if isinstance(error, RuntimeError) and any(words in str(error) for words in LOST):
            return "another rank has ended, and its own output says why; --ckpt_path last continues the run"
        return None
    if not isinstance(error, distributed.DistNetworkError | distributed.DistStoreError):
        return None
    address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    if "EADDRINUSE" in str(error):
        return f"rank 0 cannot listen at {address}, because the port is taken: set MASTER_PORT to a free one"
    return f"the ranks do not meet at {address}: {str(error).splitlines()[0]}"
