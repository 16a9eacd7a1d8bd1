"""Dask: the executor of a running scheduler, or of a local one that is started with worker processes."""

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

#: Time limit for the answer of a scheduler, in seconds.
PATIENCE = 10.0
#: The loggers of distributed and of the libraries that it uses.
_LOGGERS = ("distributed", "tornado", "asyncio")


@contextmanager
def dask_executor(address: str, plan: Plan, workers: int | None = None) -> Iterator[Executor]:
    """Yield an executor on a Dask scheduler.

    Parameters
    ----------
    address : str
        The scheduler's address, such as ``tcp://HOST:8786``. ``"local"`` starts a scheduler and worker processes.
    plan : Plan
        The plan to run.
    workers : int, optional
        Number of local processes; by default one per core, as far as memory allows. Only for ``"local"``.

    Yields
    ------
    Executor
        Dask's executor.

    Raises
    ------
    InputError
        If distributed is missing, no scheduler answers, or ``workers`` does not fit ``address``.
    SpecError
        If a worker for ``plan``, or ``workers`` of them together, do not fit into memory.
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
        # WorkerPool itself retries the groups of a dead worker, one configuration at a time
        stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": 0}))
        with deaf_to_ctrl_c():  # neither Dask's thread nor its workers ever get Ctrl-C: this process handles it
            cluster = distributed.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                worker_dashboard_address=None,
                local_directory=folder,
                memory_limit=0,  # worker_count has checked the memory
                silence_logs=logging.CRITICAL,
            )
            stack.enter_context(cluster)
        yield cluster


def _answering(distributed: Any, address: str) -> str:
    """Return ``address`` if a scheduler answers there; raise within ``PATIENCE`` seconds otherwise."""
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
    """Keep log messages of distributed off the terminal; gradlab reports every problem of the study itself."""
    handlers = [handler for name in _LOGGERS for handler in logging.getLogger(name).handlers]
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)
