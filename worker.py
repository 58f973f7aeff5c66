"""The workers' composition root: settings → clients → activity objects → Workers; drains on SIGTERM."""

import asyncio
import importlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from activities.accounts import Accounts
from activities.billing_comparison import BillingComparison
from activities.delivery import DeliveryActivities
from activities.flattening import FlattenActivities
from activities.gate import Gate
from activities.ingest import IngestActivities
from activities.lanes import Lanes
from activities.legs import MoneyLegs
from activities.mirroring import MirrorActivities
from activities.overlays import OverlayActivities
from activities.prices import PriceActivities
from activities.reconciliation import Limits, ReconciliationActivities
from activities.redrive import RedriveActivities
from activities.reference import ReferenceActivities
from activities.refreshing import RefreshActivities
from activities.sending import Sending
from activities.stream_line import Means, Patience
from activities.streams import StreamActivities, StreamLimits
from activities.subscriptions import SubscriptionActivities
from activities.wave import WaveActivities
from adapters.brokers.registry import build_brokers, close_brokers
from adapters.entitlement_cache import EntitlementCache
from adapters.kill.channel import open_redis
from adapters.kill.watch import KillWatch
from adapters.objects import ObjectStore
from adapters.payments.catalogue import load_catalogue
from adapters.payments.registry import build_billers, close_billers
from adapters.prices.registry import open_source
from adapters.queue import QueueFile
from adapters.reference import build_reference
from adapters.relay import Relay
from adapters.secretbox import SecretBox
from adapters.store.allowances import Allowance
from adapters.store.billing_differences import DifferenceStore
from adapters.store.books import BooksStore
from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.door import limits_of
from adapters.store.entitlements import EntitlementStore
from adapters.store.expansion import ExpansionStore
from adapters.store.findings import FindingStore
from adapters.store.flattening import FlattenStore
from adapters.store.inbox import Inbox
from adapters.store.ingestion import IngestionStore
from adapters.store.kills import KillStore
from adapters.store.legs import LegStore
from adapters.store.marks import MarkStore
from adapters.store.money import Peg
from adapters.store.overlays import OverlayStore
from adapters.store.overrides import OverrideStore
from adapters.store.reconciliations import ReconciliationStore
from adapters.store.redrive import RedriveStore
from adapters.store.refreshing import RefreshStore
from adapters.store.releasing import ReleaseStore
from adapters.store.settlement import SettlementStore
from adapters.store.streams import StreamStore
from adapters.store.subscriptions import SubscriptionStore
from adapters.store.waves import WaveStore
from adapters.webhooks import AiohttpWebhookSender
from domain.breaker import BreakerPolicy
from domain.ports import Broker, Streaming
from domain.rights import Offer
from settings import Settings
from temporal import queues, schedules
from temporal.billing import SubscriptionOwners
from temporal.client import connect
from temporal.flattening import Owners
from temporal.orders import MirrorOrders
from temporal.payment_events import Drain, keep_draining
from temporal.reconciliations import Corrections, keep_schedules
from temporal.streams import HeartbeatShards, OrderOwners
from temporal.subscriptions import Subscriptions
from workflows.registry import ALL

_log = logging.getLogger("vanta.worker")
ROLES = ("orchestration", "followers", "dispatch", "relay")
# What follows the first attempts must not take the processor from the next order's.
BACKGROUND = frozenset({"followers", "relay"})


@dataclass(frozen=True, slots=True)
class Clients:
    """What a process's workers share."""

    settings: Settings
    temporal: Client
    database: Database
    stack: AsyncExitStack


def serve(settings: Settings, roles: Sequence[str]) -> None:
    """`run` on the fastest event loop there is, giving way to waves where all roles may."""
    if set(roles) <= BACKGROUND:
        _give_way(settings.dispatch.background_nice)
    loop = None if sys.platform == "win32" else importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run(settings, roles))


async def run(settings: Settings, roles: Sequence[str]) -> None:
    """Serve the roles until SIGTERM or SIGINT, then finish what is running. Raises ValueError for an unknown role."""
    unknown = set(roles) - set(ROLES)
    if unknown or not roles:
        raise ValueError(f"roles are {', '.join(ROLES)}; not {', '.join(sorted(unknown)) or 'none'}")
    stop = _stop_on_signals()
    async with _clients(settings) as clients, AsyncExitStack() as running:
        for role in roles:
            for service in await _SERVICES[role](clients):
                await running.enter_async_context(service)
        _say_ready(roles)
        await stop.wait()
        _log.info("draining")


async def orchestration(clients: Clients) -> list[Any]:
    """Manager orders' and overlays' workflows and the database steps around them."""
    settings = clients.settings
    allowance = Allowance(settings.unsubscribed, load_catalogue(settings.billing.catalogue_path))
    overlays = OverlayActivities(OverlayStore(clients.database, allowance))
    steps = _mirroring(clients)
    steps += [overlays.start_overlay, overlays.extend_overlay, overlays.end_overlay]
    starter = MirrorOrders(clients.temporal, admit_timeout_s=settings.api.admit_timeout_s)
    flat = FlattenActivities(FlattenStore(clients.database), Owners(clients.temporal, starter))
    steps += [flat.call_off, flat.count_under_way, flat.list_held, flat.exit_symbol, flat.tell_flattened]
    path = settings.ingest.queue_path
    if path is not None:
        queue = QueueFile(path, max_bytes=settings.ingest.max_bytes)
        steps.append(IngestActivities(queue, IngestionStore(clients.database), starter).ingest)
    steps += await _prices(clients)
    steps += _reference(clients)
    await schedules.ensure_ingest(clients.temporal, every_s=settings.ingest.every_s, paused=path is None)
    await schedules.ensure_refresh(clients.temporal, every_s=settings.secrets.refresh_every_s)
    await schedules.ensure_marks(clients.temporal, every_s=settings.prices.every_s)
    # Embedded stacks come and go, and their first instruments bring their calendars along.
    every_s, at_once = settings.reference.every_s, not settings.is_embedded
    await schedules.ensure_reference(clients.temporal, every_s=every_s, at_once=at_once)
    orders = _worker(clients, queues.ORCHESTRATION, steps, ALL, settings.temporal.max_workflow_tasks)
    return [orders, _task(_keep_reconciling(clients))]


async def followers(clients: Clients) -> list[Any]:
    """Everything after the first waves: pages, and the workflows that own the orders.

    In a process of its own, as a page's hundreds of workflows would keep the next manager order waiting.
    """
    # Few at once: they share one processor anyway, and the next order's then stand behind few in the server.
    tasks = clients.settings.dispatch.follower_tasks
    services = [_worker(clients, queues.FOLLOWERS, _mirroring(clients), ALL, tasks), _reconciliation(clients)]
    return [*services, await _billing(clients), _inbox(clients), *await _streams(clients)]


def _mirroring(clients: Clients) -> list[Callable[..., Any]]:
    settings, database = clients.settings, clients.database
    settlement, objects = SettlementStore(database), ObjectStore(settings.s3)
    offer = Offer(settings.unsubscribed, load_catalogue(settings.billing.catalogue_path).sold())
    mirroring = MirrorActivities(
        ReleaseStore(
            database,
            offer,
            page_size=settings.dispatch.page_size,
            **limits_of(settings.guards, max_price_age_s=settings.prices.max_age_s),
        ),
        ExpansionStore(database),
        DispatchStore(database),
        settlement,
        objects,
        wave=settings.dispatch.wave,
        waves_at_once=settings.dispatch.waves_at_once,
        children_starting=settings.dispatch.children_starting,
    )
    redriving = RedriveActivities(RedriveStore(database, offer), settlement, objects)
    return [
        mirroring.admit, mirroring.release, mirroring.expand, mirroring.list_due, mirroring.list_due_pages,
        mirroring.list_orders, mirroring.settle, mirroring.cancel, mirroring.archive,
        redriving.redrive, redriving.close_redrive,
    ]  # fmt: skip


def _reference(clients: Clients) -> list[Callable[..., Any]]:
    brokers = _brokers(clients) if clients.settings.reference.sources else {}
    reference = ReferenceActivities(build_reference(clients.settings.reference, clients.database, brokers))
    return [reference.refresh_calendars, reference.refresh_instruments]


async def _prices(clients: Clients) -> list[Callable[..., Any]]:
    prices = clients.settings.prices
    store = MarkStore(
        clients.database,
        max_age=timedelta(seconds=prices.max_age_s),
        event_bps=prices.event_bps,
        always=[clients.settings.routing.peg_symbol],
    )
    source = await clients.stack.enter_async_context(open_source(prices))
    marking = PriceActivities(source, store, all_every=timedelta(seconds=prices.all_every_s))
    return [marking.refresh_prices, marking.mark_vaults]


async def dispatch(clients: Clients) -> list[Any]:
    """Everything that leaves for followers: waves and attempts, a queue for webhooks and one for each venue."""
    settings, hooks = clients.settings, clients.settings.webhooks
    breaker = BreakerPolicy(
        hooks.breaker_failures,
        hooks.breaker_rate,
        hooks.breaker_rate_attempts,
        timedelta(seconds=hooks.breaker_window_s),
    )
    store = DispatchStore(clients.database, breaker=breaker)
    sender = await clients.stack.enter_async_context(
        AiohttpWebhookSender(
            timeout_ms=hooks.timeout_ms,
            max_response_bytes=hooks.max_response_bytes,
            allowed_networks=hooks.allowed_networks,
            max_connections=hooks.max_connections,
            max_connections_per_host=hooks.max_connections_per_host,
        )
    )
    brokers = _brokers(clients)
    box = SecretBox(settings.secrets.master_keys.get_secret_value())
    sending = Sending(sender, brokers, box, await _watch(clients))
    limits = settings.dispatch
    width = hooks.max_connections_per_host
    gate = Gate(total=limits.wave_in_flight, per_host=limits.wave_in_flight_per_host, first=width)
    wave = WaveActivities(
        WaveStore(clients.database),
        store,
        sending,
        gate,
        Lanes(width),
        batch=limits.wave_batch,
    )
    delivery = DeliveryActivities(store, sending, _legs(clients, sending))
    steps: list[Callable[..., Any]] = [
        wave.dispatch_wave, delivery.deliver, delivery.confirm, delivery.cancel_at_venue, delivery.bury,
    ]  # fmt: skip
    return [_worker(clients, queues.for_route(route), steps) for route in (queues.WEBHOOK_ROUTE, *brokers)]


def _brokers(clients: Clients) -> dict[str, Broker]:
    settings = clients.settings
    brokers = build_brokers(alpaca=settings.alpaca, coinbase=settings.coinbase, tradier=settings.tradier)
    clients.stack.push_async_callback(close_brokers, brokers)
    return brokers


def _legs(clients: Clients, sending: Sending) -> MoneyLegs:
    routing = clients.settings.routing
    peg = Peg(routing.peg_symbol, timedelta(seconds=routing.peg_max_age_s))
    return MoneyLegs(LegStore(clients.database, peg), sending, routing.terms())


def _reconciliation(clients: Clients) -> Worker:
    """Looks at every account now and then, and renews what opens them, in the background."""
    settings, limits = clients.settings, clients.settings.reconcile
    brokers = _brokers(clients)
    box = SecretBox(settings.secrets.master_keys.get_secret_value())
    reconciling = ReconciliationActivities(
        ReconciliationStore(clients.database),
        BooksStore(clients.database),
        FindingStore(clients.database),
        Accounts(brokers, box),
        Corrections(MirrorOrders(clients.temporal, admit_timeout_s=settings.api.admit_timeout_s)),
        Limits(
            limits.page_size,
            limits.at_once,
            limits.alert_bps,
            timedelta(seconds=limits.stale_after_s),
            timedelta(days=limits.lookback_days),
        ),
    )
    refreshing = RefreshActivities(
        RefreshStore(clients.database, box), brokers, lead=timedelta(seconds=settings.secrets.refresh_before_s)
    )
    steps: list[Callable[..., Any]] = [
        reconciling.open_run, reconciling.reconcile_page, reconciling.close_run, refreshing.refresh_credentials,
    ]  # fmt: skip
    return _worker(clients, queues.RECONCILIATION, steps, ALL, settings.dispatch.follower_tasks)


async def _billing(clients: Clients) -> Worker:
    """The workflows that own subscriptions, and what they ask of payment systems."""
    settings = clients.settings
    catalogue = load_catalogue(settings.billing.catalogue_path)
    billers = build_billers(settings, catalogue)
    clients.stack.push_async_callback(close_billers, billers)
    store = SubscriptionStore(clients.database, catalogue)
    billing = SubscriptionActivities(store, billers, catalogue, settings.billing.terms())
    owners = SubscriptionOwners(clients.temporal, _subscriptions(clients))
    comparison = BillingComparison(store, DifferenceStore(clients.database), billers, owners)
    every_s, lookback_days = settings.billing.reconcile_every_s, settings.billing.lookback_days
    await schedules.ensure_billing(clients.temporal, every_s=every_s, lookback_days=lookback_days)
    steps = [*billing.all(), comparison.compare_billing_page]
    return _worker(clients, queues.BILLING, steps, ALL, settings.dispatch.follower_tasks)


def _subscriptions(clients: Clients) -> Subscriptions:
    return Subscriptions(clients.temporal, timeout_s=clients.settings.api.admit_timeout_s)


def _inbox(clients: Clients) -> Any:
    """Wakes the workflows of the subscriptions that payment systems' events are about."""
    every = timedelta(milliseconds=clients.settings.billing.inbox_every_ms)
    return _task(keep_draining(Drain(Inbox(clients.database), _subscriptions(clients).tell), every=every))


async def _streams(clients: Clients) -> list[Worker]:
    """Listens to the accounts at every venue that streams; without it, polls find what happens to orders."""
    settings, limits = clients.settings, clients.settings.streams
    brokers = _brokers(clients)
    venues = [venue for venue, broker in brokers.items() if isinstance(broker, Streaming)]
    for venue in venues:
        every = timedelta(seconds=60)
        await schedules.ensure_streams(clients.temporal, venue, every=every, paused=not limits.enabled)
    if not venues or not limits.enabled:
        return []
    store = StreamStore(clients.database)
    patience = Patience(
        connect=timedelta(seconds=limits.connect_timeout_s),
        first=timedelta(milliseconds=limits.backoff_ms),
        most=timedelta(seconds=limits.backoff_max_s),
        refused=timedelta(seconds=limits.refused_every_s),
    )
    means = Means(
        store,
        DispatchStore(clients.database),
        Accounts(brokers, SecretBox(settings.secrets.master_keys.get_secret_value())),
        OrderOwners(clients.temporal),
        asyncio.Semaphore(limits.connecting_at_once),
        patience,
    )
    counting = StreamLimits(
        limits.accounts_per_shard, timedelta(seconds=limits.look_every_s), timedelta(seconds=limits.tell_every_s)
    )
    streaming = StreamActivities(store, means, HeartbeatShards(clients.temporal), counting)
    steps: list[Callable[..., Any]] = [streaming.watch_streams, streaming.stream_orders]
    most = limits.shards_at_once + len(venues)
    return [_worker(clients, queues.STREAMS, steps, ALL, settings.dispatch.follower_tasks, activities=most)]


async def _keep_reconciling(clients: Clients) -> None:
    limits = clients.settings.reconcile
    vaults = ReconciliationStore(clients.database).open_vaults
    every, look_every = timedelta(seconds=limits.every_s), timedelta(seconds=limits.look_every_s)
    await keep_schedules(clients.temporal, vaults, every=every, look_every=look_every)


async def _watch(clients: Clients) -> KillWatch:
    """Looking out for kills before anything is sent, by a connection that no wave can take."""
    settings = clients.settings
    redis = open_redis(settings.redis)
    clients.stack.push_async_callback(redis.aclose)
    database = Database(settings.postgres.model_copy(update={"pool_size": 1}))
    clients.stack.push_async_callback(database.close)
    watch = KillWatch(KillStore(database), redis)
    await clients.stack.enter_async_context(_task(watch.run()))
    await watch.ready()
    return watch


async def relay(clients: Clients) -> list[Any]:
    """The outbox's way to the event bus."""
    settings = clients.settings
    if settings.postgres.relay_dsn is None:
        raise ValueError("the relay needs VANTA_POSTGRES__RELAY_DSN")
    service = Relay(
        settings.postgres.relay_dsn.get_secret_value(),
        settings.nats.url.get_secret_value(),
        batch=settings.relay.batch,
        idle_ms=settings.relay.idle_ms,
        timeout_s=settings.nats.timeout_s,
        hears=_entitlements(clients).heard,
    )
    catalogue = load_catalogue(settings.billing.catalogue_path)
    overrides = OverrideStore(clients.database, catalogue)
    return [_task(service.run()), _task(overrides.keep_ending())]


def _entitlements(clients: Clients) -> EntitlementCache:
    settings = clients.settings
    redis = open_redis(settings.redis)
    clients.stack.push_async_callback(redis.aclose)
    catalogue = load_catalogue(settings.billing.catalogue_path)
    return EntitlementCache(redis, EntitlementStore(clients.database, settings.unsubscribed, catalogue))


_SERVICES = {"orchestration": orchestration, "followers": followers, "dispatch": dispatch, "relay": relay}


def _worker(
    clients: Clients,
    queue: str,
    steps: Sequence[Callable[..., Any]],
    workflows: Sequence[type] = (),
    workflow_tasks: int | None = None,
    activities: int | None = None,
) -> Worker:
    temporal = clients.settings.temporal
    return Worker(
        clients.temporal,
        task_queue=queue,
        activities=steps,
        workflows=workflows,
        max_cached_workflows=temporal.max_cached_workflows if workflows else 0,
        max_concurrent_workflow_tasks=workflow_tasks,
        max_concurrent_activities=activities or temporal.max_activities,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        graceful_shutdown_timeout=timedelta(seconds=temporal.graceful_shutdown_s),
    )


@asynccontextmanager
async def _clients(settings: Settings) -> AsyncIterator[Clients]:
    async with AsyncExitStack() as stack:
        database = Database(settings.postgres)
        stack.push_async_callback(database.close)
        yield Clients(settings, await connect(settings.temporal), database, stack)


@asynccontextmanager
async def _task(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _give_way(nice: int) -> None:
    os.nice(nice)
    # Linux desktops and VMs schedule by session first, and then only between a session's own processes.
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(nice))


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _say_ready(roles: Sequence[str]) -> None:
    """The stack waits for this file; elsewhere the log line is enough."""
    _log.info("ready: %s", ", ".join(roles))
    path = os.environ.get("VANTA_READY_FILE")
    if path:
        Path(path).touch()
