"""Protocol Buffers messages from a table of their fields: for who speaks another's, with no generated file to keep.

They live in a pool of their own, so that somebody else's modules for the same package may be loaded beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

Fields = Mapping[str, tuple[int, str]]
"""Field name to its number and type: string, bytes, int32 (enums too), int64 or a message of the table; with `*` behind
it, repeated."""

__all__ = ["DecodeError", "Fields", "messages"]


def messages(package: str, tables: Mapping[str, Fields]) -> dict[str, Any]:
    """A class for each message, with `FromString` (raises DecodeError) and `SerializeToString`."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.table", package=package, syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    for message, fields in tables.items():
        made = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            bare = kind.removesuffix("*")
            label = field.LABEL_REPEATED if kind != bare else field.LABEL_OPTIONAL
            if bare in tables:
                type_name = f".{package}.{bare}"
                made.field.add(name=name, number=number, label=label, type=field.TYPE_MESSAGE, type_name=type_name)
            else:
                made.field.add(name=name, number=number, label=label, type=field.Type.Value(f"TYPE_{bare.upper()}"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    named = ((name, pool.FindMessageTypeByName(f"{package}.{name}")) for name in tables)
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in named}
