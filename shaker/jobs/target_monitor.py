"""Asks the target every second for evicted and expired keys, and for its clock."""

from __future__ import annotations

from typing import Final

import structlog

from shaker.apply.expired import ExpiredKeys
from shaker.apply.records import Fence, checkpoint_key, fence_key
from shaker.errors import counted
from shaker.flow.flow import Flow
from shaker.model.server_info import ServerInfo
from shaker.net.client import Client, Request, open_client
from shaker.net.poll_interval import PollInterval
from shaker.net.reply_types import number, record
from shaker.net.server_clock import ServerClock
from shaker.rules.record_keys import records_of
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.target")

POLL_SECONDS: Final = 1.0
HEARTBEAT_SECONDS: Final = 60.0
# Policies that may delete keys of the replication (server file src/config.c, maxmemory_policy_enum).
EVICTING: Final = ("volatile-", "allkeys-")


class TargetMonitor:
    """Polls INFO and TIME on a connection that only reads. The target link reports failures."""

    name = "target_monitor"
    quiet = True
    pause_seconds = 0.0

    def __init__(self, settings: Settings, flow: Flow) -> None:
        self._settings = settings
        self._status = flow.status
        self._flow = flow
        self._policy = ""
        self._seen: int | None = None  # evicted_keys of the last INFO
        self._full_syncs = 0
        self._cleared = 0  # evicted keys that a full resync has brought back
        self._skewed = False
        self.poll = PollInterval()

    async def run(self) -> None:
        """Poll until cancelled."""
        await self._flow.target.ready.wait()
        async with open_client(self._settings.target) as target:
            clock = ServerClock(target, self._status.clock)
            while True:
                late, asked = self._flow.expiry.late, self._status.clock()
                info = await target.info()
                # After a failover, or through a balancer, this may be another server than the one written to.
                if info.run_id == self._flow.target.run_id:
                    self._status.clocks.observe_round_trip("target", self._status.clock() - asked)
                    self._flow.expiry.observe_expired(late, ExpiredKeys.of(info))
                    self._observe(info)
                    await self._check_records(target, info.keys)
                    self._status.clocks.offsets["target"] = await clock.offset()
                    self._watch_clocks()
                self._status.heartbeat(self.name, within=HEARTBEAT_SECONDS)
                await self.poll.pause(POLL_SECONDS)

    def _observe(self, info: ServerInfo) -> None:
        status = self._status
        policy, now = info.memory.policy, info.memory.evicted_keys
        if policy != self._policy:
            self._policy = policy
            if policy.startswith(EVICTING):
                log.warning(
                    "target may evict keys",
                    policy=policy,
                    maxmemory_bytes=info.memory.limit,
                    hint="set maxmemory-policy noeviction there: what it evicts is missing until a full resync",
                )
        if now is None:
            return
        before = self._seen
        self._seen = now
        if status.links.full_syncs != self._full_syncs:
            # Keys evicted earlier are back; those evicted since the last poll may have been evicted after it.
            self._full_syncs = status.links.full_syncs
            self._cleared = status.keys.evicted
        if before is not None:
            # A lower number counts from 0: after CONFIG RESETSTAT, or in a new run.
            status.keys.evicted += now - before if now >= before else now
        gone = status.keys.evicted - self._cleared
        if gone:
            status.reasons["eviction"] = (
                f"the target has evicted {counted(gone, 'key')} since this worker began (maxmemory-policy {policy}), "
                "which it lacks now: raise its maxmemory, then copy again (docs/operations.md)"
            )
        else:
            status.reasons.pop("eviction", None)

    async def _check_records(self, target: Client, keys: int) -> None:
        """Have an idle target link notice that its records were removed or replaced.

        `keys` is the number of keys on the target, including the records.
        """
        flow, name = self._flow, self._settings.name
        fence, written = flow.target.fence, flow.target.checkpoint is not None
        requests: list[Request] = [
            ("HGETALL", fence_key(name)),
            ("EXISTS", checkpoint_key(name)),
            ("EXISTS", *records_of(name)),
        ]
        found, exists, own = await target.results(requests, "reading the worker's records")
        self._status.keys.present["target"] = max(0, keys - number(own))
        if flow.target.fence is fence and (Fence.parse(record(found)) != fence or (written and not exists)):
            flow.wakeups.records_gone.set()

    def _watch_clocks(self) -> None:
        """Warn each time the clocks begin to differ by more than the setting allows."""
        skew, limit = self._status.clocks.skew_seconds, self._settings.expiry.max_clock_skew_seconds
        if skew is None:
            return
        skewed = abs(skew) > limit
        if skewed and not self._skewed:
            log.warning(
                "clocks differ",
                clock_skew_seconds=round(skew, 3),
                max_clock_skew_seconds=limit,
                effect="the target expires keys by its own clock: too early where it is ahead of the source's, "
                "too late where it is behind",
                hint="keep the clocks of both servers in step",
            )
        self._skewed = skewed
