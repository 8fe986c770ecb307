"""The upstream HTTP/1.1 client: raw asyncio, one pool of connections per instance.

Reading order: :mod:`attempt` (what is sent), :mod:`head` (what a response head means),
:mod:`connection` (one connection and its states), :mod:`upload` (a request body that is streamed),
:mod:`pool` (which connection), :mod:`names` (where to connect to), :mod:`tunnel` (after an
upgrade).
"""
