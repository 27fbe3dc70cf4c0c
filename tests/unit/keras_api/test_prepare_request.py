"""The prepare request: it is read as written, and an invalid request is rejected."""

import pytest

from keras_api.prepare_request import RequestError, decode_request, encode_request, prepare_request
from keras_api.resource import parse_model

BODY = {
    "metadata": {"name": "digits", "namespace": "team"},
    "spec": {
        "source": {
            "uri": "s3://models/digits.keras",
            "digest": "sha256:" + "a" * 64,
            "s3": {"endpoint": "http://minio.storage.svc:9000"},
        },
        "validation": {"data": "https://host/rows.csv", "require": [{"metric": "accuracy", "min": "0.95"}]},
        "serving": {"runtime": "onnxruntime"},
    },
}
REQUEST = prepare_request(parse_model(BODY), "0123456789", "etag")


def test_a_request_is_read_as_written():
    assert decode_request(encode_request(REQUEST)) == REQUEST


def test_the_path_of_the_bundle_begins_with_the_namespace_of_the_model():
    assert REQUEST.bundle_path == "team/digits/0123456789"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "not valid"),
        ("{}", "namespace"),
        (encode_request(REQUEST).replace('"version":1', '"version":2'), "version"),
        (encode_request(REQUEST).replace('"version":1', '"version":1,"surprise":1'), "surprise"),
        (encode_request(REQUEST).replace("sha256:", "md5:"), "digest"),
    ],
)
def test_an_invalid_request_is_rejected_with_the_field(text: str, field: str):
    with pytest.raises(RequestError, match=field):
        decode_request(text)
