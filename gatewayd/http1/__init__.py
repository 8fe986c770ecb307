"""HTTP/1.1 on the wire, without I/O: grammar, body framing. Shared by server and upstream client."""
