"""Every key and channel in Redis, by name: the only file that spells one.

All carry the hash tag `{mindalle}`, so that a cluster keeps them in one slot. The scripts get the
same names from here (scripts.py turns this enum into Lua). Comments say who removes each key.
"""

from __future__ import annotations

from enum import StrEnum


class Key(StrEnum):
    """Templates; `of` fills in the parts."""

    # One job: hash, all that is known of it. A time to live from its end on, longer than that of
    # all else where an idempotency key finds it; until then the sweep owns it and ends it at its
    # deadline.
    JOB = "{mindalle}:job:%s"
    # Files of one job: hash rank → bytes, or where the store of results has them. Time to live.
    IMAGES = "{mindalle}:images:%s"
    # The picture that one job begins with: bytes. Time to live; gone when the job has ended, unless
    # it failed.
    SOURCE = "{mindalle}:source:%s"
    # Events of one job: short stream. Time to live.
    EVENTS = "{mindalle}:events:%s"

    # Jobs that may have files in a store: zset job → ms when to look whether they are needed still.
    # The sweep removes each job when its files are gone.
    FILES = "{mindalle}:files"

    # Per model; each is empty, and so gone, when no job lives.
    WAITING = "{mindalle}:waiting:%s"  # zset job → place in the fair order
    ISOLATED = "{mindalle}:isolated:%s"  # zset like it: jobs that must run alone
    ARRIVED = "{mindalle}:arrived:%s"  # zset job → ms since when it waits
    LEASES = "{mindalle}:leases:%s"  # zset job → ms until which its worker holds it
    REST = "{mindalle}:rest:%s"  # zset job → place: it runs, and nobody has some of its candidates
    ALONE = "{mindalle}:alone:%s"  # zset like it: jobs of which a part must run alone
    PARTS = "{mindalle}:parts:%s"  # zset job and fence → ms until which a worker holds that part
    LIVE = "{mindalle}:live:%s"  # zset job → ms of its deadline, waiting or running
    LOAD = "{mindalle}:load:%s"  # hash of counters: candidates, waiting
    SHARES = "{mindalle}:shares:%s"  # hash API key id → its candidates in flight

    # Per model, with a time to live.
    TICKETS = "{mindalle}:tickets:%s"  # stream: one entry for each job that waits; group `workers`
    FAIR = "{mindalle}:fair:%s"  # hash priority → virtual time
    FINISH = "{mindalle}:finish:%s:%s"  # zset API key id → its virtual finish, per priority
    DRAIN = "{mindalle}:drain:%s"  # hash: measured rate at which candidates leave
    ISOLATOR = "{mindalle}:isolator:%s"  # worker that makes room for an isolated job
    MODELS = "{mindalle}:models"  # set of models that had jobs

    # Per caller, with a time to live.
    IDEMPOTENCY = "{mindalle}:idempotency:%s:%s"  # hash: digest of the body, job
    RATE = "{mindalle}:rate:%s"  # hash: token bucket

    WORKER = "{mindalle}:worker:%s"  # sign of life, as JSON; short time to live
    TRAITS = "{mindalle}:traits:%s"  # JSON: what else there is to it and its model; as long
    HOLDER = "{mindalle}:holder:%s"  # process that goes by the worker's name; as long as its sign
    WORKERS = "{mindalle}:workers"  # set of worker ids; time to live
    RECEIPT = "{mindalle}:receipt:%s"  # JSON: a worker's last claim; lives as long as a lease
    DEAD = "{mindalle}:dead"  # stream of dead letters; time to live of each, and a longest length

    # Messages for callers' own servers (webhooks); all have a time to live.
    HOOK = "{mindalle}:hook:%s"  # hash: one message: its job as it stood, attempts, the last error
    HOOKS = "{mindalle}:hooks:%s"  # per host: zset message → ms when it may be sent
    HOOK_HOSTS = "{mindalle}:hook_hosts"  # zset host → ms when its first message may be sent
    HOOK_SINCE = "{mindalle}:hook_since"  # zset message → ms since when it waits
    HOOK_SHARES = "{mindalle}:hook_shares:%s"  # per API key id: the same of its own messages
    HOOK_LETTERS = "{mindalle}:hook_letters"  # zset message → ms when it was given up

    PROBE = "{mindalle}:probe"  # never there: for writes that change nothing

    NOTIFY = "{mindalle}:notify"  # channel: "<job> <event>"
    CONTROL = "{mindalle}:control"  # channel: job that was cancelled while it ran

    def of(self, *parts: str) -> str:
        """The key with its parts filled in."""
        return self.value % parts


GROUP = "workers"  # the one consumer group of each ticket stream
ROUTE = "{mindalle}:"  # declared as KEYS[1] of every script, so that a cluster finds the node
