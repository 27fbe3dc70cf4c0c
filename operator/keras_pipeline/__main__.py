"""The command line: `python -m keras_pipeline prepare --request JSON --work DIR`."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from keras_api.limits import memory_limit
from keras_api.prepare_request import RequestError, decode_request
from keras_api.reasons import Reason
from keras_api.step_report import StepFailure, StepReport
from keras_api.termination import publish
from keras_api.work_folder import WorkFolder
from keras_pipeline import environment
from keras_pipeline.errors import PrepareError
from keras_pipeline.progress import Progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a step. Returns 0 if it succeeds, and 1 if it fails with a report."""
    parser = argparse.ArgumentParser(prog="keras_pipeline", description="Steps that run to completion.")
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("prepare", help="turn WORK/source into WORK/bundle")
    step.add_argument("--request", required=True, help="the prepare request, as JSON")
    step.add_argument("--work", required=True, type=Path, help="folder that the steps share")
    step.add_argument("--custom-objects", type=Path, help="folder with the code of the custom layers and functions")
    options = parser.parse_args(arguments)

    environment.configure()
    environment.end_on_sigterm()
    report = step_report(options.request, options.work, options.custom_objects)
    publish(report)
    if report.failure is not None:
        print(f"{report.failure.reason}: {report.failure.message}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def step_report(request_text: str, work: Path, custom_objects: Path | None = None) -> StepReport:
    """Run the step and report its outcome, whatever it is."""
    revision = ""
    try:
        request = decode_request(request_text)
        revision = request.revision
        # numpy and TensorFlow start threads when imported: the environment and the signal mask must be set before.
        from keras_pipeline import prepare_step

        model = prepare_step.run(request, WorkFolder(work), custom_objects, Progress())
    except PrepareError as error:
        failure = StepFailure(reason=error.reason, message=error.message)
    except RequestError as error:
        failure = StepFailure(reason=Reason.PREPARE_FAILED, message=str(error))
    except MemoryError as error:
        limit = memory_limit()
        within = f" within its limit of {limit >> 20} MiB" if limit else ""
        message = f"the prepare step cannot allocate the memory that the model needs{within} ({error})"
        failure = StepFailure(reason=Reason.OUT_OF_MEMORY, message=f"{message}: make the model or its inputs smaller")
    except Exception as error:
        traceback.print_exc()
        message = f"the prepare step failed unexpectedly ({type(error).__name__}: {error}): see the Job's log"
        failure = StepFailure(reason=Reason.PREPARE_FAILED, message=message)
    else:
        return StepReport(step="prepare", revision=revision, model=model)
    return StepReport(step="prepare", revision=revision, failure=failure)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Skip the end of TensorFlow's threads and its destructors: they take time and have no effect.
    os._exit(code)
