"""``spec.validation``: rows with known answers, and the bounds that the metrics must meet."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from keras_api.resource.address import file_address
from keras_api.resource.cel import cel, cel_string, rules
from keras_api.resource.meta import Spec
from keras_api.scalars import DECIMAL_PATTERN, DecimalString

# Absent, or not a number, of which another rule complains.
_NO_MIN, _NO_MAX = (
    f"(!has(self.{field}) || !self.{field}.matches({cel_string(DECIMAL_PATTERN)}))" for field in ("min", "max")
)


class Requirement(Spec, frozen=True, kw_only=True):
    """A bound on a metric of the validation set."""

    metric: Annotated[
        Literal["accuracy", "mean_absolute_error", "mean_squared_error"], Meta(description="Metric, by its Keras name.")
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
    """Rows with known answers that a model must pass before it is served."""

    data: Annotated[
        str,
        Meta(
            description=(
                "Address of a CSV file with a header: one column per input value, and the expected answer. Fetched with the "
                "source's Secret and options."
            ),
            max_length=2048,
            extra_json_schema=file_address(ending=r"\.csv", message="must be the address ({schemes}) of a .csv file"),
        ),
    ]
    label: Annotated[str, Meta(description="Column that holds the expected answer.", min_length=1, max_length=128)] = (
        "label"
    )
    require: Annotated[
        list[
            Annotated[
                Requirement,
                Meta(
                    extra_json_schema=rules(
                        cel("has(self.min) || has(self.max)", "give min, max or both", fieldPath=".metric"),
                        cel(
                            f"{_NO_MIN} || {_NO_MAX} || double(self.min) <= double(self.max)",
                            "min must not be above max",
                            fieldPath=".min",
                        ),
                        cel(
                            f"self.metric != 'accuracy' || (({_NO_MIN} || double(self.min) <= 1.0) && "
                            f"({_NO_MAX} || double(self.max) >= 0.0))",
                            'accuracy is a share between 0 and 1: write "0.95" for 95 %',
                            fieldPath=".metric",
                        ),
                    )
                ),
            ]
        ],
        Meta(
            description="Bounds that must hold; without any, the metrics are only reported.",
            max_length=8,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["metric"]},
        ),
    ] = []
