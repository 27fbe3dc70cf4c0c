"""What the process must settle before TensorFlow is imported: devices, threads, log level, and how it ends."""

from __future__ import annotations

import os
import signal
import threading

from keras_api.limits import cpu_limit

EXIT_ON_SIGTERM = 128 + signal.SIGTERM


def configure() -> None:
    """Set the environment that TensorFlow, Keras and ONNX Runtime read while they are imported.

    Without this TensorFlow starts a thread for every core of the node, not of the pod.
    """
    threads = str(cpu_limit())
    os.environ.update(
        KERAS_BACKEND="tensorflow",
        CUDA_VISIBLE_DEVICES="-1",
        TF_CPP_MIN_LOG_LEVEL="3",
        TF_ENABLE_ONEDNN_OPTS="0",  # the reference is plain arithmetic, and start-up says nothing about it
        TF_NUM_INTRAOP_THREADS=threads,
        TF_NUM_INTEROP_THREADS="1",
        OMP_NUM_THREADS=threads,
        ORT_DISABLE_TELEMETRY="1",  # ONNX Runtime would report to its makers
    )


def end_on_sigterm() -> None:
    """Let SIGTERM end the process at once, even as PID 1 and while native code runs.

    The kernel ignores a default SIGTERM for PID 1, and a Python handler waits for the main thread to leave TensorFlow:
    so a thread waits for the signal. Call before numpy and TensorFlow start their threads, which inherit the mask.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        os._exit(EXIT_ON_SIGTERM)

    threading.Thread(target=wait, name="sigterm", daemon=True).start()
