"""Settings that their model marks as secret: where they stand literally, they are not shown either.

The marks are pydantic's own: ``SecretStr``, or ``Field(repr=False)`` on whatever holds a secret.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr

from gatewayd.config.model import types_of

HIDDEN = "***"
"""What stands for a secret wherever a configuration is shown."""


def hide_marked(model: type[BaseModel], key: str, value: Any) -> Any:
    """Return the value of a setting with ``***`` in the place of what the model marks as secret.

    Args:
        model: The settings' model.
        key: The setting; a key that the model does not have hides nothing.
        value: Its value, as it stands in a file.

    """
    field = model.model_fields.get(key)
    if field is None:
        return value
    types = list(types_of(field.annotation))
    models = [one for one in types if issubclass(one, BaseModel)]
    if models:
        return _within(models, value)
    if not field.repr:
        # A name, or a table of a name and its settings, as of a strategy: the name is no secret.
        return _hidden_settings(value) if {str, dict} <= set(types) else _hidden(value)
    return _hidden(value) if {SecretStr, SecretBytes} & set(types) else value


def _within(models: list[type[BaseModel]], value: Any) -> Any:
    if isinstance(value, list):
        return [_within(models, item) for item in value]
    if not isinstance(value, dict):
        return value
    shown = {}
    for key, item in value.items():
        known = [model for model in models if key in model.model_fields]
        if known:
            for model in known:
                item = hide_marked(model, key, item)
            shown[key] = item
        else:  # a table of models by name
            shown[key] = _within(models, item)
    return shown


def _hidden_settings(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: item if key == "name" else _hidden(item) for key, item in value.items()}


def _hidden(value: Any) -> Any:
    """Hide what a value holds; keys stay, as they tell what is there."""
    if isinstance(value, dict):
        return {key: _hidden(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    return HIDDEN
