"""A layer of a user's own: what a ConfigMap holds for `spec.source.customObjects`."""

import keras


@keras.saving.register_keras_serializable(package="acme")
class Doubled(keras.layers.Layer):
    """Twice what comes in."""

    def call(self, x):
        return 2 * x
