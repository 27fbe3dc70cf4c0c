"""Runs the operator: ``python -m keras_operator``, configured by the environment (see `keras_operator.settings`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time

from kubernetes.aio.config import ConfigException

from keras_operator import logs
from keras_operator.apply import Applier
from keras_operator.cache.cache import Cache
from keras_operator.cache.informer import Informer
from keras_operator.endpoints import endpoints
from keras_operator.kube.client import ApiError, UnavailableError, connect
from keras_operator.kube.kinds import Key
from keras_operator.kube.leadership import Lease, NoLeaderElection, SupersededError
from keras_operator.kube.metrics import Metrics
from keras_operator.kube.watch import Watch, WatchError
from keras_operator.kube.workqueue import WorkQueue
from keras_operator.lookups.bundle_lookup import BundleLookup
from keras_operator.lookups.diagnostics import DiagnosticsCollector
from keras_operator.lookups.source_poller import SourcePoller
from keras_operator.publish import StatusWriter
from keras_operator.reconcile import Reconciler
from keras_operator.settings import Settings, SettingsError, read_settings

log = logging.getLogger(__name__)


def main() -> None:
    """Run until told to stop."""
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        sys.exit(f"keras-operator: {error}")
    logs.set_up(settings.log_level, settings.log_format)
    try:
        asyncio.run(run(settings))
    except ConfigException as error:
        sys.exit(f"keras-operator: no way to the API server, neither a service account nor a kubeconfig: {error}")
    except OSError as error:
        sys.exit(f"keras-operator: cannot listen on {settings.listen}: {error}")


async def run(settings: Settings) -> None:
    """Put the parts together and run them."""
    metrics, world, queue = Metrics(), Cache(), WorkQueue[Key]()
    metrics.watch_depth(lambda: len(queue))
    metrics.watch_models(world.models)
    connection = connect(metrics, settings.concurrency, settings.request_timeout)
    async with contextlib.aclosing(await connection) as api, BundleLookup(api, settings) as shelf:
        lease = Lease(api, metrics, settings.lease, settings.pod_name) if settings.lease else NoLeaderElection(metrics)
        writing = api.guarded(lease.check)
        resolver = SourcePoller(api, metrics, settings.max_source_size, wake=queue.add)
        reconcile = Reconciler(
            world,
            settings,
            resolver,
            DiagnosticsCollector(api),
            shelf,
            Applier(writing, world, metrics),
            StatusWriter(writing, world, metrics),
        )
        informer = Informer(api, world, settings, wake=queue.add)

        def missing() -> str:
            if not informer.synced.is_set():
                denied = "".join(f": {problem.message}" for problem in world.denied.values())
                return f"the first listing is not through{denied}"
            return "" if lease.is_settled else f"the Lease {settings.lease} is not taken: see the log"

        async with endpoints(settings.listen, metrics, missing):
            await informer.find_definition()
            forever = [lease.keep(), informer.keep_in_sync(), informer.keep_discovering()]
            forever += [work(informer, queue, reconcile, lease, metrics) for _ in range(settings.concurrency)]
            try:
                async with asyncio.TaskGroup() as tasks:
                    background = [tasks.create_task(each) for each in forever]
                    await Watch(informer.places, settings, informer).run()
                    for task in background:
                        task.cancel()
            except* WatchError as group:
                for error in group.exceptions:
                    log.critical("a new process begins with a fresh listing, since this one's failed: %s", error)
                logging.shutdown()
                # At once: kopf's watches do not let themselves be cancelled while they wait for another login.
                os._exit(1)


async def work(
    informer: Informer, queue: WorkQueue[Key], reconcile: Reconciler, lease: Lease | NoLeaderElection, metrics: Metrics
) -> None:
    """Take turns, for ever, while it is this operator's to work; what goes wrong in one is tried again later."""
    await informer.synced.wait()
    while True:
        await lease.held()
        key, waited = await queue.take()
        metrics.waited(waited)
        began = time.perf_counter()
        try:
            again = await reconcile(key)
        except SupersededError:
            queue.done(key, 0)
            metrics.reconciled("superseded", time.perf_counter() - began)
        except (UnavailableError, ApiError) as error:
            asked = error.retry_after if isinstance(error, UnavailableError) else None
            log.warning("%s: %s; again in %.1f s", key, error, queue.failed(key, asked))
            metrics.reconciled("error", time.perf_counter() - began)
        except Exception:
            log.exception("%s: an error of the operator itself; again in %.1f s", key, queue.failed(key))
            metrics.reconciled("error", time.perf_counter() - began)
        else:
            queue.done(key, again)
            metrics.reconciled("ok", time.perf_counter() - began)


if __name__ == "__main__":
    main()
