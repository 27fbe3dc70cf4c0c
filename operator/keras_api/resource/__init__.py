"""The KerasModel resource: spec and status as types with bounds, defaults, descriptions and CEL rules.

The CustomResourceDefinition in ``crds/`` is generated from these types (`keras_api.crd`) and the operator parses with
them, so the API server and the operator accept the same objects.
"""

from keras_api.resource.address import AddressScheme, alternatives, insert_schemes
from keras_api.resource.cel import cel, cel_string, rules
from keras_api.resource.meta import (
    API_VERSION,
    GROUP,
    KIND,
    MAX_NAME_LENGTH,
    PLURAL,
    VERSION,
    ConfigMapReference,
    Metadata,
    SecretReference,
    Spec,
    SpecError,
    Status,
)
from keras_api.resource.model import KerasModel, KerasModelSpec, parse_model
from keras_api.resource.monitoring import Monitoring, ServiceMonitor
from keras_api.resource.serving import PodTemplate, Quantity, ResourceRequirements, Runtime, Serving, TemplateMetadata
from keras_api.resource.source import (
    CustomObjects,
    S3Options,
    SourceSpec,
)
from keras_api.resource.status import Condition, HistoryEntry, KerasModelStatus, LastFailure, SourceStatus
from keras_api.resource.validation import Requirement, Validation

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "MAX_NAME_LENGTH",
    "PLURAL",
    "VERSION",
    "AddressScheme",
    "Condition",
    "ConfigMapReference",
    "CustomObjects",
    "HistoryEntry",
    "KerasModel",
    "KerasModelSpec",
    "KerasModelStatus",
    "LastFailure",
    "Metadata",
    "Monitoring",
    "PodTemplate",
    "Quantity",
    "Requirement",
    "ResourceRequirements",
    "Runtime",
    "S3Options",
    "SecretReference",
    "ServiceMonitor",
    "Serving",
    "SourceSpec",
    "SourceStatus",
    "Spec",
    "SpecError",
    "Status",
    "TemplateMetadata",
    "Validation",
    "alternatives",
    "cel",
    "cel_string",
    "insert_schemes",
    "parse_model",
    "rules",
]
