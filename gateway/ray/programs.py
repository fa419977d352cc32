"""The processes that an actor runs."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hedgerow.gateway.access.hosts import EVERY_ADDRESS
from hedgerow.gateway.local.locks import check_port, url_of
from hedgerow.gateway.local.processes.child import Program
from hedgerow.gateway.local.processes.template_process import PARENT_PIPE
from hedgerow.gateway.local.programs import WORKER_DEFAULTS, gateway_programs
from hedgerow.gateway.ray.orders import Order, Place

WORKER: Final = "worker"
GATEWAY: Final = "gateway"
_STORED: Final = "data"  # what a worker stores, in the folder of its actor


def joining_program(folder: Path, drain_s: float, environment: Mapping[str, str]) -> Program:
    """Return the program of a worker that joins, with its data in the actor's folder."""
    return Program(
        name=WORKER,
        # -P: a folder `common` in the current directory must not be imported instead of ours.
        arguments=(
            sys.executable,
            "-P",
            "-m",
            "hedgerow.shard_worker.main",
            "--join",
            "--data",
            str(folder / _STORED),
            "--parent-pipe",
            PARENT_PIPE,
        ),
        drain_s=drain_s,
        environment={**environment, "PYTHONUNBUFFERED": "1"},
        defaults=WORKER_DEFAULTS,
    )


def kept_name(folder: Path) -> str:
    """Return the name of the worker in an actor's folder; "" if it has none yet."""
    try:
        return (folder / _STORED / "worker" / "name").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def serving_programs(
    order: Order, place: Place, environment: Mapping[str, str]
) -> tuple[list[Program], str]:
    """Return the programs of a gateway, and its URL.

    Raises:
        ConfigurationError: its port is in use.
    """
    host = order.host or place.address
    port = check_port(host, order.port)
    scheme = "http" if order.gateway.tls_cert is None else "https"
    programs = gateway_programs(order.gateway, host, port, None, environment)
    # For callers on other machines: one that listens on all addresses is reached at the node's.
    reached = place.address if host in EVERY_ADDRESS else host
    return programs, url_of(reached, port, scheme)
