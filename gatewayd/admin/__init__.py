"""The admin API: what operators see of a running node, and what they may do with it.

It has a listener of its own, in the supervisor (or in the only process), and asks the workers over
their channels: :mod:`gatewayd.admin.commands` is what a worker answers,
:mod:`gatewayd.admin.api` what the listener does with the answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd.config.load import locate
from gatewayd.errors import ConfigError

if TYPE_CHECKING:
    from gatewayd.admin.listener import AdminServer
    from gatewayd.process.node import Node


def make_admin_server(node: Node) -> AdminServer | None:
    """Bind the admin listener, where one is configured.

    Raises:
        ListenError: the address cannot be listened on.
        ConfigError: a certificate cannot be loaded.

    """
    config = node.loaded.config.admin
    if config is None:
        return None
    # Imported here: a gateway without it is 3 MB smaller, and has nothing of it to be attacked.
    from gatewayd.admin.listener import AdminServer

    try:
        return AdminServer(node, config)
    except ConfigError as error:
        raise ConfigError(locate(error.issues, node.loaded)) from error
