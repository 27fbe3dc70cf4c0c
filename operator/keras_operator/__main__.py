"""Runs the operator: ``python -m keras_operator``, configured by the environment (see `keras_operator.settings`)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import time

from kubernetes.aio.config import ConfigException

from keras_api import logs
from keras_operator.apply import Applier
from keras_operator.cache.cache import Cache
from keras_operator.cache.informer import Informer
from keras_operator.components import COMPONENTS
from keras_operator.components.base import Component, Config
from keras_operator.endpoints import endpoints
from keras_operator.kube.client import connect
from keras_operator.kube.errors import ApiError, UnavailableError
from keras_operator.kube.kinds import Key
from keras_operator.kube.leadership import LeaderElection, NoLeaderElection, SupersededError
from keras_operator.kube.metrics import Metrics
from keras_operator.kube.watch import Watch, WatchError
from keras_operator.kube.workqueue import WorkQueue
from keras_operator.lookups.bundle_lookup import BundleLookup
from keras_operator.lookups.diagnostics import DiagnosticsCollector
from keras_operator.lookups.source_poller import SourcePoller
from keras_operator.publish import StatusWriter
from keras_operator.reconcile import Reconciler
from keras_operator.settings import Settings, SettingsError, read_settings
from keras_operator.tasks import PREPARE, TASKS
from keras_operator.tasks.base import Task

# Connections in addition to those of workers and watches: leader election, discovery, listings, kopf's own watches.
OTHER_CONNECTIONS = 16

# kopf logs a line for every event of every object, and a warning for the kinds that a cluster does not have.
KOPF_LOGGERS = ("kopf.objects", "kopf.activities", "kopf._core.reactor.observation")

log = logging.getLogger(__name__)


def main() -> None:
    """Run until the process receives a signal to stop."""
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        sys.exit(f"keras-operator: {error}")
    logs.set_up(level=settings.log_level, libraries=settings.log_level, style=settings.log_format)
    for name in KOPF_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.getLevelName(settings.log_level), logging.ERROR))
    try:
        asyncio.run(run(settings))
    except ConfigException as error:
        sys.exit(f"keras-operator: cannot connect to the API server, no service account and no kubeconfig: {error}")
    except OSError as error:
        sys.exit(f"keras-operator: cannot listen on {settings.listen}: {error}")


async def run(
    settings: Settings, components: tuple[Component, ...] = COMPONENTS, tasks: tuple[Task, ...] = TASKS
) -> None:
    """Connect the parts and run them.

    Args:
        settings: the settings.
        components: the kinds of children.
        tasks: the chain of tasks.
    """
    config = Config(settings, components, tasks)
    child_kinds = [component.child for component in components]
    metrics, cache, queue = Metrics(), Cache(child_kinds), WorkQueue[Key]()
    metrics.watch_depth(lambda: len(queue))
    metrics.watch_models(cache.models)
    watches = (len(child_kinds) + 2) * len(settings.namespaces)
    connection = connect(metrics, settings.concurrency + watches + OTHER_CONNECTIONS, settings.request_timeout)
    async with contextlib.aclosing(await connection) as client, BundleLookup(client, settings, PREPARE) as bundles:
        election = (
            LeaderElection(client, metrics, settings.lease, settings.pod_name)
            if settings.lease
            else NoLeaderElection(metrics)
        )
        writer = client.guarded(election.ensure_leader)
        reconcile = Reconciler(
            config,
            cache,
            SourcePoller(client, metrics, settings.max_source_size, enqueue=queue.add),
            bundles,
            DiagnosticsCollector(client, tasks),
            Applier(writer, cache, config, metrics),
            StatusWriter(writer, cache, metrics),
        )
        informer = Informer(client, cache, child_kinds, settings, enqueue=queue.add)

        def missing() -> str:
            if not informer.synced.is_set():
                forbidden = "".join(f": {error.message}" for error in cache.forbidden_scopes().values())
                return f"the first listing is not complete{forbidden}"
            return "" if election.is_settled else f"the Lease {settings.lease} is not acquired: see the log"

        async with endpoints(settings.listen, metrics, missing):
            await informer.wait_for_definition()
            forever = [election.run(), informer.run(), informer.run_discovery(), freeze_when_synced(informer)]
            forever += [work(informer, queue, reconcile, election, metrics) for _ in range(settings.concurrency)]
            try:
                async with asyncio.TaskGroup() as group:
                    background = [group.create_task(each) for each in forever]
                    await Watch(client, informer.scopes, settings.watch_namespaces, informer).run()
                    for task in background:
                        task.cancel()
            except* WatchError as errors:
                for error in errors.exceptions:
                    log.critical(
                        "a watch failed permanently, the process exits to list every object after a restart: %s", error
                    )
                logging.shutdown()
                # Exit at once: kopf's tasks cannot be cancelled while they wait for another login.
                os._exit(1)


async def freeze_when_synced(informer: Informer) -> None:
    """Exempt the objects of the first listing from garbage collection: they are long-lived.

    Each traversal of all of them by the collector takes a tenth of a second with thousands of models.
    """
    await informer.synced.wait()
    gc.collect()
    gc.freeze()


async def work(
    informer: Informer,
    queue: WorkQueue[Key],
    reconcile: Reconciler,
    election: LeaderElection | NoLeaderElection,
    metrics: Metrics,
) -> None:
    """Reconcile models from the queue while this operator is the leader, and retry after errors. Never returns."""
    await informer.synced.wait()
    while True:
        await election.wait_until_leader()
        key, waited = await queue.get()
        metrics.dequeued(waited)
        began = time.perf_counter()
        result = "ok"
        try:
            queue.done(key, await reconcile(key))
        except SupersededError:
            result = "superseded"
            queue.done(key, 0)
        except (UnavailableError, ApiError) as error:
            result = "error"
            retry_after = error.retry_after if isinstance(error, UnavailableError) else None
            log.warning("%s: %s; retrying in %.1f s", key, error, queue.requeue(key, retry_after))
        except Exception:
            result = "error"
            log.exception("%s: internal error; retrying in %.1f s", key, queue.requeue(key))
        if result == "error":
            metrics.retried()
        metrics.reconciled(result, time.perf_counter() - began)


if __name__ == "__main__":
    main()
