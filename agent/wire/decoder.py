"""Parsed JSON → messages: a decoder for each type of the contract, built once. No type is converted."""

import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from agent.wire.errors import WireError

_Decode = Callable[[Any, str], Any]


@cache
def decoder(kind: Any) -> _Decode:  # noqa: ANN401 - a type, a union or a generic alias
    """Build the decoder of one type: a message class, an enum, a scalar, a union or a tuple of one of these."""
    if typing.get_origin(kind) is tuple:
        return _tuple_decoder(decoder(typing.get_args(kind)[0]))
    if isinstance(kind, types.UnionType):
        return _union_decoder(typing.get_args(kind))
    if is_dataclass(kind):
        return _message_decoder(kind)
    if issubclass(kind, StrEnum):
        return _enum_decoder(kind)
    return _scalar_decoder((kind,))


def _message_decoder(kind: Any) -> _Decode:  # noqa: ANN401 - a message class
    hints = typing.get_type_hints(kind)
    parts = [(field.name, field.default is not MISSING, decoder(hints[field.name])) for field in fields(kind)]

    def decode_message(value: Any, place: str) -> object:  # noqa: ANN401 - parsed JSON
        if not isinstance(value, dict):
            raise WireError(place, f"expected an object, got {_kind_of(value)}")
        found = {}
        for name, optional, decode_part in parts:
            if name in value:
                found[name] = decode_part(value[name], f"{place}.{name}")
            elif not optional:
                raise WireError(place, f"the field {name!r} is missing")
        return kind(**found)

    return decode_message


def _tuple_decoder(decode_item: _Decode) -> _Decode:
    def decode_tuple(value: Any, place: str) -> tuple[Any, ...]:  # noqa: ANN401 - parsed JSON
        if not isinstance(value, list):
            raise WireError(place, f"expected an array, got {_kind_of(value)}")
        return tuple(decode_item(item, f"{place}[{i}]") for i, item in enumerate(value))

    return decode_tuple


def _union_decoder(kinds: Iterable[type]) -> _Decode:
    scalars = tuple(kind for kind in kinds if not is_dataclass(kind))
    message = next((kind for kind in kinds if is_dataclass(kind)), None)
    if message is None:
        return _scalar_decoder(scalars)
    decode_message = decoder(message)

    def decode_optional(value: Any, place: str) -> object:  # noqa: ANN401 - parsed JSON
        return None if value is None else decode_message(value, place)

    return decode_optional


def _enum_decoder(kind: type[StrEnum]) -> _Decode:
    def decode_enum(value: Any, place: str) -> StrEnum:  # noqa: ANN401 - parsed JSON
        try:
            return kind(value)
        except ValueError:
            raise WireError(place, f"{value!r} is none of {', '.join(kind)}") from None

    return decode_enum


def _scalar_decoder(kinds: tuple[type, ...]) -> _Decode:
    names = " or ".join("null" if kind is types.NoneType else kind.__name__ for kind in kinds)
    whole_as_float = float in kinds and int not in kinds

    def decode_scalar(value: Any, place: str) -> object:  # noqa: ANN401 - parsed JSON
        if whole_as_float and type(value) is int:
            value = float(value)
        if type(value) not in kinds:
            raise WireError(place, f"expected {names}, got {_kind_of(value)}")
        return value

    return decode_scalar


def _kind_of(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "str", bool: "bool", int: "int", float: "float"}
    return names.get(type(value), "null")
