"""Explain one exchange to its caller, who has a signed header field to ask with.

The record says which route took the request and why no other one did, what every filter decided and
how long it took, and where the configuration says so. It comes as JSON in a field of the response;
the admin API keeps it for a while as well, whole where it is too long for a field.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from pydantic import Field

from gatewayd import Filter, FilterConfig, HeaderName, Observation, check_header

if TYPE_CHECKING:
    from gatewayd import Exchange, Forward, Gateway, Response


class ExplainConfig(FilterConfig):
    """Settings of `explain`. It does nothing where no `key` is set."""

    key: str | None = Field(None, min_length=16, repr=False)
    """Key that the field is signed with, a secret of at least 16 characters. `gatewayd explain
    header` makes the field."""
    header: HeaderName = "X-Gatewayd-Explain"
    """Field of the request that asks, and of the response that answers; it does not go upstream."""
    max_bytes: int = Field(6000, ge=1024, le=60_000)
    """Longest answer in a field. Many clients take fields of 8 KB; what is longer lacks the other
    candidates, then the filters, and is whole at the admin API."""


class Explain(Filter[ExplainConfig]):
    """Answer a signed request with the record of its exchange."""

    name = "explain"
    Config = ExplainConfig
    catches_errors = True

    def __init__(self, config: ExplainConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._key = b"" if config.key is None else config.key.encode()
        self._field = config.header.lower().encode()
        self._asked = gateway.metrics.counter(
            "gatewayd_explanations", "Exchanges that were explained, or not, to who asked.",
            ("result",),
        )  # fmt: skip
        if self._key:
            gateway.observe(self._wants)

    @property
    def does_nothing(self) -> bool:
        """Without a key nobody can ask."""
        return not self._key

    def _wants(self, exchange: Exchange) -> Observation | None:
        value = exchange.request.headers.value(self._field)
        if value is None:
            return None
        genuine = check_header(self._key, "explain", value, time.time())
        self._asked.labels("explained" if genuine else "refused").value += 1
        return Observation(detailed=True) if genuine else None

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        """See :meth:`gatewayd.Filter.__call__`."""
        headers = exchange.request.headers
        value = headers.value(self._field)
        if value is None:
            return await forward(exchange)
        headers.remove(self.config.header)
        response = await forward(exchange)
        if check_header(self._key, "explain", value, time.time()):
            record = self.gateway.explain(exchange)
            response.headers.set(self.config.header, self._shortened(record))
        return response

    def _shortened(self, record: dict[str, Any]) -> str:
        for left_out in ((), ("candidates",), ("candidates", "filters")):
            shown = {name: value for name, value in record.items() if name not in left_out}
            if left_out:
                shown["left_out"] = left_out
            text = json.dumps(shown, separators=(",", ":"))  # in ASCII, as fields should be
            if len(text) <= self.config.max_bytes:
                return text
        return json.dumps({"id": record["id"], "left_out": ["everything"]})
