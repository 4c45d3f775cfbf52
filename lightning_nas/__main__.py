"""``python -m lightning_nas`` is ``lightning-nas``, but SIGUSR1 waits until a training can be saved.

The signal is held back before torch starts threads, one of which it would reach. What this process starts, such as
workers of data loaders, inherits that; SLURM sends its signals to all of them.
"""

import signal

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

    from lightning_nas.cli import main

    main()
