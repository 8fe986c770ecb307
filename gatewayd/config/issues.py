"""From pydantic's errors to issues that say file, line, key, expectation and the nearest name.

Pydantic names the alternatives of a union within an error's location and reports each of them; here
the location becomes the key path as it stands in the file, and the alternatives one sentence. What
was given instead is never repeated: it may be a secret, and the reader has the line before them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from gatewayd.config.places import KeyPath, Origins, dotted
from gatewayd.errors import ConfigIssue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

# What was expected, by kind of error and with its context. These quote the schema, never the value.
_EXPECTATIONS = {
    "missing": "required key is missing",
    "extra_forbidden": "unknown key",
    "dict_type": "expected a table",
    "model_type": "expected a table",
    "list_type": "expected an array",
    "tuple_type": "expected an array",
    "set_type": "expected an array",
    "frozen_set_type": "expected an array",
    "string_type": "expected a string",
    "int_type": "expected an integer",
    "int_parsing": "expected an integer",
    "int_from_float": "expected an integer",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "literal_error": "expected {expected}",
    "enum": "expected {expected}",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected {ge} or more",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected {le} or less",
    "string_pattern_mismatch": "expected something that matches {pattern}",
    "string_too_short": "expected a length of {min_length} or more",
    "string_too_long": "expected a length of {max_length} or less",
    "too_short": "expected {min_length} or more of them",
    "too_long": "expected {max_length} or fewer of them",
}


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint at the valid name that is nearest to ``name``; empty where none is near."""
    import difflib  # here, as it is for whoever has made a mistake only

    found = difflib.get_close_matches(name, sorted(names), n=1)
    return f"did you mean {found[0]!r}?" if found else ""


class Issues:
    """Collects what is wrong with a merged configuration, each with its place.

    Args:
        origins: Where the values stand.

    """

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self.found: list[ConfigIssue] = []

    def add(self, path: KeyPath, message: str, hint: str = "") -> None:
        """Report a key; ignored where its value could not even be resolved, which is reported."""
        if not self._origins.near_broken(path):
            file, line = self._origins.where(path)
            self.found.append(
                ConfigIssue(message, key=dotted(path), file=file, line=line, hint=hint)
            )

    def add_validation_error(
        self,
        error: ValidationError,
        model: type[BaseModel],
        place: Callable[[KeyPath], KeyPath],
        names: Iterable[str] = (),
    ) -> None:
        """Report all that a model refuses.

        Args:
            error: What validation raised.
            model: The model that was validated.
            place: Returns the key path in the configuration for one in the model.
            names: Keys that are valid at the model's top beside its own.

        """
        failures = [_failure(details, model) for details in error.errors(include_url=False)]
        for path, group in _by_path(failures).items():
            here = place(path)
            message = " or ".join(dict.fromkeys(self._expectation(one, here) for one in group))
            hint = ""
            if group[0].details["type"] == "extra_forbidden":
                known = [*group[0].names, *(names if len(path) == 1 else ())]
                hint = nearest(str(path[-1]), known)
            self.add(here, message.replace(" or expected ", " or "), hint)

    def _expectation(self, failure: _Failure, path: KeyPath) -> str:
        kind, message = failure.details["type"], failure.details["msg"]
        if kind in _EXPECTATIONS:
            return _EXPECTATIONS[kind].format(**failure.details.get("ctx", {}))
        if self._origins.near_secret(path):
            return "invalid value (a secret, so neither it nor the reason is shown)"
        message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
        return message.replace("Input should be ", "expected ") or "refused, with no reason given"


@dataclass(frozen=True, slots=True)
class _Failure:
    """One of pydantic's errors, with the path as it stands in the file.

    ``whole_alternative``: it says that a value is not at all one of several that it might be.
    """

    details: ErrorDetails
    path: KeyPath
    whole_alternative: bool
    names: Sequence[str]


def _failure(details: ErrorDetails, model: type[BaseModel]) -> _Failure:
    """Follow an error's location through the model's types, leaving out names of alternatives."""
    path: KeyPath = ()
    types = [_Alternatives((model,))]
    names: list[str] = []
    named = False
    for part in details["loc"]:
        if not named and any(len(alternatives) > 1 for alternatives in types):
            named = True
            continue
        if part == "[key]":  # pydantic's mark for a mapping's key, as against its value
            break
        named = False
        path = (*path, part)
        models = [one for alternatives in types for one in alternatives if _is_model(one)]
        names = [name for one in models for name in one.model_fields]
        types = [below for alternatives in types for below in _below(alternatives, part)]
    return _Failure(details, path, named, names)


def _by_path(failures: Sequence[_Failure]) -> dict[KeyPath, list[_Failure]]:
    """Group failures by path; of a union, leave out the alternatives that were not meant."""
    above = {one.path[:length] for one in failures for length in range(len(one.path))}
    groups: dict[KeyPath, list[_Failure]] = {}
    for failure in failures:
        if not (failure.whole_alternative and failure.path in above):
            groups.setdefault(failure.path, []).append(failure)
    return groups


class _Alternatives(tuple[Any, ...]):
    """The types that a value may have, without ``None``, which pydantic does not name."""

    __slots__ = ()


def _alternatives(annotation: Any) -> _Alternatives:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) not in (Union, UnionType):
        return _Alternatives((annotation,))
    found = [_alternatives(one) for one in get_args(annotation) if one is not NoneType]
    return _Alternatives(one for alternatives in found for one in alternatives)


def _below(alternatives: _Alternatives, part: str | int) -> list[_Alternatives]:
    """Return the types that may stand at a key or index of a value."""
    found = []
    for one in alternatives:
        arguments = get_args(one)
        if _is_model(one):
            if part in one.model_fields:
                found.append(_alternatives(one.model_fields[part].annotation))
        elif get_origin(one) is dict and isinstance(part, str):
            found.append(_alternatives(arguments[1]))
        elif get_origin(one) in (list, tuple, set, frozenset) and isinstance(part, int):
            found.append(_alternatives(arguments[0]))
    return found


def _is_model(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, BaseModel)
