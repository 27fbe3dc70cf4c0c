"""Environment variables that runtimes read when they are imported."""

from __future__ import annotations

import os


def configure(threads: int) -> None:
    """Set the variables, before the first import of a runtime.

    Without the limits TensorFlow starts a thread for every core of the node, not of the pod.

    Args:
        threads: threads that may work on one inference.
    """
    os.environ.update(TF_NUM_INTRAOP_THREADS=str(threads), TF_NUM_INTEROP_THREADS="1")
    # oneDNN is the default of TensorFlow, and convolutions in channels_first format run on CPUs only with it.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # models run on the CPU; TensorFlow does not search for GPUs
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime sends usage data to its vendor otherwise
