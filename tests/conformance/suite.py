"""All cases, by group, in the order of the table."""

from __future__ import annotations

from tests.conformance.cases import (
    chunks,
    content_length,
    forwarding,
    header_fields,
    hop_by_hop,
    host,
    paths,
    pipelining,
    request_line,
    response_bodies,
    response_heads,
    semantics,
    smuggling,
    streaming,
    transfer_encoding,
)

GROUPS = {
    "Request line": request_line.CASES,
    "Header fields": header_fields.CASES,
    "Host": host.CASES,
    "Content-Length": content_length.CASES,
    "Transfer-Encoding": transfer_encoding.CASES,
    "Chunked bodies": chunks.CASES,
    "Smuggling": smuggling.CASES,
    "Pipelining": pipelining.CASES,
    "Hop-by-hop fields": hop_by_hop.CASES,
    "Forwarding and identity": forwarding.CASES,
    "Paths": paths.CASES,
    "Response heads": response_heads.CASES,
    "Response bodies": response_bodies.CASES,
    "Semantics": semantics.CASES,
    "Streaming and tunnels": streaming.CASES,
}

CASES = tuple(case for cases in GROUPS.values() for case in cases)
