"""The bases of all configuration models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterator


class Checked(BaseModel):
    """Base of the host's and of plugins' settings: what pydantic would take and nobody means."""

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, data: Any) -> Any:
        """Have ``port = true`` refused: pydantic makes 1 of it, as Python does."""
        if not isinstance(data, dict):
            return data
        wrong = {
            key: _not_true(value)
            for key, value in data.items()
            if _has_truth(value) and _is_number(cls, key)
        }
        return {**data, **wrong} if wrong else data


class Model(Checked):
    """Base of all configuration models: immutable, unknown keys refused, docstrings described."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )


def types_of(annotation: Any) -> Iterator[type]:
    """Yield the classes that an annotation is made of."""
    one = get_origin(annotation) or annotation
    if isinstance(one, type):
        yield one
    for part in get_args(annotation):
        yield from types_of(part)


def _has_truth(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list) and any(map(_has_truth, value)))


def _is_number(model: type[BaseModel], key: str) -> bool:
    """Whether a setting takes numbers, and no truth values."""
    if key not in model.model_fields:
        return False
    types = set(types_of(model.model_fields[key].annotation))
    return not {bool, Any} & types and any(issubclass(one, int | float) for one in types)


def _not_true(value: Any) -> Any:
    """Return something in its place that no type takes, so that the error is the field's own."""
    if isinstance(value, list):
        return [_not_true(item) for item in value]
    return object() if isinstance(value, bool) else value
