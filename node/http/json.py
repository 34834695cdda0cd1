"""JSON at the edge: bounded parsing, replies, and errors that say what would be right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from node.http.limits import JSON_DEPTH_MAX

SCHEMA = 1

_CODES = {
    400: "bad-request",
    401: "unauthenticated",
    403: "denied",
    404: "not-found",
    405: "method",
    408: "timeout",
    409: "conflict",
    411: "length",
    413: "too-large",
    416: "range",
    429: "too-many",
    431: "headers-too-large",
    500: "internal",
    503: "unavailable",
}


class ApiError(Exception):
    """A refusal: status, a code for programs, a sentence for people, and what would be right.

    fields: more members of the error object, such as "problems" of a description.
    """

    def __init__(
        self, status: int, message: str, right: str = "", *, code: str = "", **fields: object
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or _CODES.get(status, "error")
        self.message = message
        self.right = right
        self.fields = fields

    def body(self) -> dict[str, Any]:
        """The reply's JSON value."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.right:
            error["right"] = self.right
        return {"schema": SCHEMA, "error": {**error, **self.fields}}


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]} is beyond all numbers")
    return value


# json.loads and json.dumps make a new one of these at every call that has options.
_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def dump(value: object) -> bytes:
    """Compact UTF-8 JSON with a newline, so that `curl` output reads well."""
    return _ENCODER.encode(value).encode("utf-8", "backslashreplace") + b"\n"


def load(body: bytes) -> Any:
    """The JSON value of a request's body. Raises ApiError(400) for anything else.

    Refuses what Python would let through: NaN, 1e999, integers without end, deep nesting.
    """
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise ApiError(400, f"the body is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if body.count(b"[") + body.count(b"{") > JSON_DEPTH_MAX:
        _check_depth(value)
    return value


def load_object(body: bytes) -> dict[str, Any]:
    """`load`, and the value must be an object."""
    value = load(body)
    if type(value) is not dict:
        raise ApiError(400, "the body must be a JSON object", 'send {"name": value, ...}')
    return value


def _too_deep() -> ApiError:
    return ApiError(400, f"the body nests more than {JSON_DEPTH_MAX} levels deep")


def _check_depth(value: Any) -> None:
    """Raise if `value` nests too deep. Columns cost one C-level pass over their types."""
    layer: list[Any] = [value]
    for _ in range(JSON_DEPTH_MAX + 1):
        inner: list[Any] = []
        for container in layer:
            members: Sequence[Any] = (
                list(container.values()) if type(container) is dict else container
            )
            if not {dict, list}.isdisjoint(map(type, members)):
                inner.extend(m for m in members if type(m) is dict or type(m) is list)
        if not inner:
            return
        layer = inner
    raise _too_deep()


def field(body: Mapping[str, Any], name: str, kind: type, default: Any = ...) -> Any:
    """One member of a request's object, of exactly this type. Raises ApiError(400)."""
    value = body.get(name, default)
    if value is ...:
        raise ApiError(400, f'"{name}" is missing', f"send it as {_kind_name(kind)}")
    if type(value) is not kind and value is not default:
        raise ApiError(400, f'"{name}" is {_kind_name(type(value))}', f"send {_kind_name(kind)}")
    return value


def _kind_name(kind: type) -> str:
    names = {str: "a string", int: "a whole number", bool: "true or false", list: "an array"}
    return names.get(kind, "an object" if kind is dict else "null")
