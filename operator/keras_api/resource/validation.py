"""``spec.validation``: labelled rows, and the bounds that the metrics on them must meet."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from keras_api.resource.address import file_address
from keras_api.resource.cel import cel, cel_string, rules
from keras_api.resource.meta import Spec
from keras_api.scalars import DECIMAL_PATTERN, DecimalString

# The bound is absent, or not a number, which another rule rejects.
_NO_MIN, _NO_MAX = (
    f"(!has(self.{field}) || !self.{field}.matches({cel_string(DECIMAL_PATTERN)}))" for field in ("min", "max")
)


class Requirement(Spec, frozen=True, kw_only=True):
    """Bounds on a metric of the validation set."""

    metric: Annotated[
        Literal["accuracy", "mean_absolute_error", "mean_squared_error"],
        Meta(description="Name of the metric in Keras."),
    ]
    min: (
        Annotated[DecimalString, Meta(description='Smallest value that passes, as a decimal string such as "0.95".')]
        | None
    ) = None
    max: (
        Annotated[DecimalString, Meta(description='Largest value that passes, as a decimal string such as "0.1".')]
        | None
    ) = None


class Validation(Spec, frozen=True, kw_only=True):
    """A validation set that the model must pass before it is served."""

    data: Annotated[
        str,
        Meta(
            description=(
                "Address of a CSV file with a header, a column for each input value and a column with the expected answer. "
                "It is fetched with the Secret and options of spec.source."
            ),
            max_length=2048,
            extra_json_schema=file_address(ending=r"\.csv", message="must be the address ({schemes}) of a .csv file"),
        ),
    ]
    label: Annotated[str, Meta(description="Column with the expected answer.", min_length=1, max_length=128)] = "label"
    require: Annotated[
        list[
            Annotated[
                Requirement,
                Meta(
                    extra_json_schema=rules(
                        cel("has(self.min) || has(self.max)", "must have min, max or both", fieldPath=".metric"),
                        cel(
                            f"{_NO_MIN} || {_NO_MAX} || double(self.min) <= double(self.max)",
                            "min must not be greater than max",
                            fieldPath=".min",
                        ),
                        cel(
                            f"self.metric != 'accuracy' || (({_NO_MIN} || double(self.min) <= 1.0) && "
                            f"({_NO_MAX} || double(self.max) >= 0.0))",
                            'accuracy is a fraction between 0 and 1: for 95 % write "0.95"',
                            fieldPath=".metric",
                        ),
                    )
                ),
            ]
        ],
        Meta(
            description="Bounds that the metrics must meet. Without bounds the metrics are only reported.",
            max_length=8,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["metric"]},
        ),
    ] = []
