"""A custom layer: the code in a ConfigMap for `spec.source.customObjects`."""

import keras


@keras.saving.register_keras_serializable(package="acme")
class Doubled(keras.layers.Layer):
    """Doubles its input."""

    def call(self, x):
        return 2 * x
