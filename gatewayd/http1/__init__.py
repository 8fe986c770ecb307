"""HTTP/1.1 on the wire, without I/O: grammar and framing, for server and upstream client alike."""
