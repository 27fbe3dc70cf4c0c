"""Events in the log of one program that another program reads.

A log line has the event in its field `event`, and the cause of a failure in its field `cause` (`keras_api.logs`).
The texts of messages are for people, and may change.
"""

from __future__ import annotations

from enum import StrEnum


class LogEvent(StrEnum):
    """Values of the field `event`."""

    BUNDLE_DOWNLOAD = "bundle_download"
    """A server downloads its bundle; until the download timeout, it is expected not to be ready."""
    BUNDLE_DOWNLOAD_RETRY = "bundle_download_retry"
    """An attempt to download the bundle failed, and another one follows; `cause` is the error."""
    TRANSFER_RETRY = "transfer_retry"
    """Any other request to a source or a store failed, and another attempt follows; `cause` is the error."""
