"""A protocol: how one kind of client names the model, asks for inference and reads the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from keras_server.dataplane import DataPlane, InferRequest, InferResponse
from keras_server.health import Health
from keras_server.model import ModelInfo


class Body(msgspec.Struct, frozen=True):
    """The body of an answer, and the headers that describe it."""

    content: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] | None = None


class Exchange(msgspec.Struct, frozen=True):
    """A decoded request, and the encoder of its response, which knows the form that the client wants."""

    request: InferRequest
    encode: Callable[[InferResponse], Body]


@dataclass(frozen=True)
class Protocol:
    """A protocol over HTTP. All paths of a model exist with `/versions/<version>` behind its name, too.

    Attributes:
        name: label of the metrics.
        title: key of the paths in `list_paths` on the server's index page.
        models: path that a model's name follows.
        verb: what follows the model's name where inference is requested.
        version_name: the protocol's name for a revision.
        decode: reads a request from its body and headers; raises InvalidRequestError.
        model_pages: JSON pages about a model, by what follows its name.
        server_pages: JSON pages about the server, by path.
        list_paths: the main paths for a model's name.
        model_reports: JSON pages about the use of a model, by what follows its name.
        server_reports: JSON pages about the use of the server, by method and path; they get the body of the request.
    """

    name: str
    title: str
    models: str
    verb: str
    version_name: Callable[[str], str]
    decode: Callable[[bytes, Mapping[str, str], ModelInfo], Exchange]
    model_pages: Mapping[str, Callable[[ModelInfo, Health], Any]]
    server_pages: Mapping[str, Callable[[], Any]]
    list_paths: Callable[[str], list[str]]
    model_reports: Mapping[str, Callable[[DataPlane, ModelInfo], Any]] = field(default_factory=dict)
    server_reports: Mapping[tuple[str, str], Callable[[DataPlane, bytes], Any]] = field(default_factory=dict)
