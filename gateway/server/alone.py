"""A program of one process: it serves, and keeps itself."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import replace

import structlog

from gateway.app import create_app
from gateway.config import Config
from gateway.money.ledger import worker_name
from gateway.operators.instance import InstanceState
from gateway.server.change import Change
from gateway.server.operating import operated
from gateway.server.process import calm_interpreter
from gateway.server.reloads import Around, Reloads
from gateway.server.service import Service


async def serve_alone(config: Config, listener: socket.socket, around: Around) -> int:
    """Serve until asked to stop; returns the exit code."""
    calm_interpreter()
    log = structlog.get_logger("gateway")
    port = listener.getsockname()[1]
    app = create_app(config, worker_name(os.uname().nodename, os.getpid()))
    service, change = Service(app, config.server, listener), Change(app)

    async def prepare(new: Config) -> Sequence[str]:
        problem = await change.prepare(new)
        return [] if problem is None else [problem]

    async def adopt(_: Config) -> int:
        change.adopt()
        return 1

    reloads = Reloads(config, around, prepare, adopt, log)
    state = InstanceState(reloads.digest, serving=1)

    def now() -> InstanceState:
        return replace(
            state,
            digest=reloads.digest,
            loaded=int(app.is_loaded),
            refusal=reloads.refusal,
        )

    app.instance = now
    try:
        await service.open()
    except SystemExit as left:  # uvicorn's, where the application cannot start
        return int(left.code or 0)
    serving = asyncio.Event()
    serving.set()
    async with operated(reloads, port, log, serving) as stopping:
        around.started()
        await stopping.asked.wait()
        state = replace(state, is_draining=True)
        service.drain()
        await stopping.pause(config.server.drain)
        await service.stop(reloads.config.grace, stopping.hurried)
    return 0
