"""Dask: the executor of a scheduler that runs somewhere, or of one that is started here with worker processes."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from typing import Any

from gradlab.errors import InputError
from gradlab.study.executors import deaf_to_ctrl_c
from gradlab.study.plan import Plan
from gradlab.study.run import worker_count

#: Seconds in which a scheduler has to answer.
PATIENCE = 10.0
#: The loggers of what distributed is made of.
_LOGGERS = ("distributed", "tornado", "asyncio")


@contextmanager
def dask_executor(address: str, plan: Plan, workers: int | None = None) -> Iterator[Executor]:
    """Yield an executor on the Dask scheduler at ``address``; ``"local"`` starts one, and worker processes.

    Parameters
    ----------
    workers : local processes, by default one a core, as far as memory allows; not with an address.

    Raises
    ------
    InputError
        where distributed is missing, or no scheduler answers.
    SpecError
        where ``plan`` does not fit into memory, or not that many times.
    """
    try:
        import distributed
    except ImportError as missing:
        raise InputError(f"--dask needs distributed ({missing}); install it with pip install 'gradlab[dask]'") from None
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        if address == "local":
            place = stack.enter_context(_local(distributed, plan, workers))
        elif workers is not None:
            raise InputError(
                "give --workers or the address of a Dask scheduler, which has workers of its own, not both"
            )
        else:
            place = _answering(distributed, address)
        client = stack.enter_context(distributed.Client(place, timeout=PATIENCE, set_as_default=False))
        if not client.nthreads():
            print(f"gradlab: the Dask scheduler at {address} has no workers yet; waiting for them", file=sys.stderr)
        yield client.get_executor(pure=False)


@contextmanager
def _local(distributed: Any, plan: Plan, workers: int | None) -> Iterator[Any]:
    import dask

    if workers == 0:
        raise InputError("--dask local needs at least 1 of --workers, got 0")
    count = worker_count(plan, workers)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gradlab-dask-"))
        # whoever was with a worker that died is tried again by us, alone
        stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": 0}))
        with deaf_to_ctrl_c():  # and so are its thread and the workers, for good: Ctrl-C is ours
            cluster = distributed.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                worker_dashboard_address=None,
                local_directory=folder,
                memory_limit=0,  # what fits has been counted
                silence_logs=logging.CRITICAL,
            )
            stack.enter_context(cluster)
        yield cluster


def _answering(distributed: Any, address: str) -> str:
    """Return ``address`` when a scheduler answers there, in time whatever listens."""
    try:
        kind = asyncio.run(_kind(distributed, address))
    except Exception as error:
        reason = str(error) or f"nothing in {PATIENCE:.0f} s"
    else:
        if kind == "Scheduler":
            return address
        reason = f"a {kind} does"
    raise InputError(
        f"--dask {address}: no Dask scheduler answers there ({reason}); expected local or an address as "
        "tcp://HOST:8786, which `dask scheduler` prints when it starts"
    )


async def _kind(distributed: Any, address: str) -> str:
    keys = distributed.Security().get_connection_args("client")
    async with asyncio.timeout(PATIENCE), distributed.rpc(address, timeout=PATIENCE, connection_args=keys) as there:
        return str((await there.identity())["type"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what distributed logs off the terminal: what concerns the study, we say."""
    handlers = [handler for name in _LOGGERS for handler in logging.getLogger(name).handlers]
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)
