"""The environment of the process, which must be set before TensorFlow is imported; and its end on SIGTERM."""

from __future__ import annotations

import os
import signal
import threading

from keras_api.limits import cpu_limit
from keras_runtimes import environment

EXIT_ON_SIGTERM = 128 + signal.SIGTERM


def configure() -> None:
    """Set the variables that Keras and the runtimes read when they are imported."""
    threads = cpu_limit()
    os.environ.update(
        KERAS_BACKEND="tensorflow",
        TF_CPP_MIN_LOG_LEVEL="3",
        OMP_NUM_THREADS=str(threads),
    )
    environment.configure(threads)


def end_on_sigterm() -> None:
    """Let SIGTERM end the process at once, even as PID 1 and while native code runs.

    The kernel ignores a default SIGTERM for PID 1, and a Python handler runs only when the main thread leaves
    TensorFlow. A thread waits for the signal instead. Call this before numpy and TensorFlow start their threads, which
    inherit the signal mask.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        os._exit(EXIT_ON_SIGTERM)

    threading.Thread(target=wait, name="sigterm", daemon=True).start()
