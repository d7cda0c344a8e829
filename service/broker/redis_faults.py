"""Why Redis does not do what it is asked: each way told apart, for callers, operators and metrics.

Knows Redis's words and redis-py's exceptions, and no command of ours.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    ConnectionError,
    InvalidResponse,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
    TryAgainError,
)


@dataclass(frozen=True, slots=True)
class RedisFault:
    """One way to fail. `name` is the metric's label; `code` and `message` are what callers get,
    `found` and `advice` what the operator reads.
    """

    name: str
    code: str
    message: str
    found: str
    advice: str


AWAY = RedisFault(
    "away", "queue_unavailable", "The queue is not reachable.",
    "it does not answer",
    "start it, check MINDALLE_REDIS__URL (rediss:// just where it speaks TLS) and the network",
)  # fmt: skip
FULL = RedisFault(
    "full", "queue_memory_full", "The queue's memory is full.",
    "its memory is full, so it refuses writes",
    "raise maxmemory, or lower MINDALLE_QUEUE__RESULT_TTL_S; results that expire make room",
)  # fmt: skip
READ_ONLY = RedisFault(
    "read_only", "queue_read_only", "The queue takes no writes.",
    "it is a replica and takes no writes",
    "let MINDALLE_REDIS__URL name the primary, or all Sentinels (redis+sentinel://)",
)  # fmt: skip
CUT_OFF = RedisFault(
    "cut_off", "queue_replicas_missing", "The queue takes no writes.",
    "it has lost its primary or too many of its replicas, and refuses to work without",
    "look at INFO replication; min-replicas-to-write and replica-serve-stale-data decide",
)  # fmt: skip
DISK = RedisFault(
    "disk", "queue_disk_failed", "The queue can't save to its disk.",
    "it can't save to its disk, so it refuses writes",
    "make room on its disk and look at its log; INFO persistence says when it saves again",
)  # fmt: skip
LOADING = RedisFault(
    "loading", "queue_loading", "The queue is loading its data.",
    "it is loading its data after a start",
    "wait; INFO persistence says how long",
)  # fmt: skip
BUSY = RedisFault(
    "busy", "queue_busy", "The queue is busy.",
    "a script of somebody else keeps it busy",
    "SCRIPT KILL or FUNCTION KILL ends that",
)  # fmt: skip
PASSWORD = RedisFault(
    "password", "queue_password_refused", "The queue refuses this server's password.",
    "it wants another user or password, or none",
    "put both into MINDALLE_REDIS__URL: redis://user:password@host, percent-encoded",
)  # fmt: skip
PERMISSION = RedisFault(
    "permission", "queue_permission_denied", "The queue denies this server what it needs.",
    "it denies this user a command, key or channel, or this network any (protected mode)",
    "ACL SETUSER <user> on +@all -@admin ~{mindalle}:* &{mindalle}:*",
)  # fmt: skip
REDIRECT = RedisFault(
    "redirect", "queue_redirected", "The queue has moved to another node.",
    "it is a node of a cluster that does not hold our slot",
    "let MINDALLE_REDIS__URL name the node of slot CLUSTER KEYSLOT {mindalle}: all keys are in it",
)  # fmt: skip
CLUSTER_DOWN = RedisFault(
    "cluster_down", "queue_cluster_down", "The queue's cluster is down.",
    "it is a node of a cluster that is down",
    "look at CLUSTER INFO: a slot may have no node",
)  # fmt: skip
CLIENTS = RedisFault(
    "clients", "queue_clients_full", "The queue takes no more connections.",
    "it has as many clients as it takes",
    "raise its maxclients, or lower MINDALLE_REDIS__MAX_CONNECTIONS",
)  # fmt: skip
POOL = RedisFault(
    "pool", "queue_connections_busy", "All connections to the queue are in use.",
    "all connections of this process are in use",
    "raise MINDALLE_REDIS__MAX_CONNECTIONS",
)  # fmt: skip
TLS = RedisFault(
    "tls", "queue_tls_failed", "The connection to the queue can't be secured.",
    "TLS fails: no TLS there, or a certificate that is not trusted",
    "redis:// for a server without TLS; MINDALLE_REDIS__CA_FILE for a certificate of your own",
)  # fmt: skip
DATABASE = RedisFault(
    "database", "queue_database_missing", "The queue's database does not exist.",
    "it has no database of this number",
    "end MINDALLE_REDIS__URL with /0",
)  # fmt: skip
FOREIGN = RedisFault(
    "foreign", "queue_not_redis", "What answers for the queue is no queue.",
    "what answers there is not Redis",
    "check host and port in MINDALLE_REDIS__URL",
)  # fmt: skip
FAULTS = (
    AWAY, FULL, READ_ONLY, CUT_OFF, DISK, LOADING, BUSY, PASSWORD, PERMISSION, REDIRECT,
    CLUSTER_DOWN, CLIENTS, POOL, TLS, DATABASE, FOREIGN,
)  # fmt: skip

FAULT_OF_CODE = {fault.code: fault for fault in FAULTS}

_BY_CLASS: tuple[tuple[type[Exception], RedisFault], ...] = (
    (OutOfMemoryError, FULL),
    (ReadOnlyError, READ_ONLY),
    (BusyLoadingError, LOADING),
    (AuthenticationError, PASSWORD),
    (AuthenticationWrongNumberOfArgsError, PASSWORD),
    (NoPermissionError, PERMISSION),
    (MasterDownError, CUT_OFF),
    (ClusterDownError, CLUSTER_DOWN),
    (AskError, REDIRECT),  # MOVED is one, too
    (TryAgainError, REDIRECT),
    (ClusterCrossSlotError, REDIRECT),
    (InvalidResponse, FOREIGN),
)
# What Redis begins its refusals with where redis-py has no class for it, or a script hides it.
_BY_WORD = {
    "OOM": FULL, "READONLY": READ_ONLY, "MISCONF": DISK, "NOREPLICAS": CUT_OFF,
    "MASTERDOWN": CUT_OFF, "LOADING": LOADING, "BUSY": BUSY, "NOAUTH": PASSWORD,
    "WRONGPASS": PASSWORD, "NOPERM": PERMISSION, "DENIED": PERMISSION,
    "The user executing the script can't": PERMISSION, "ACL failure in script": PERMISSION,
    "MOVED": REDIRECT, "CLUSTERDOWN": CLUSTER_DOWN, "UNBLOCKED": AWAY,
    "max number of clients": CLIENTS, "No connection available": POOL,
    "Too many connections": POOL,
    "DB index is out of range": DATABASE, "SELECT is not allowed": DATABASE,
}  # fmt: skip
_WORDS = re.compile(rf"\b({'|'.join(_BY_WORD)})\b")
_PIPELINE = " of pipeline caused error: "  # redis-py tells the whole command before it


def fault_of(error: Exception) -> RedisFault | None:
    """What an exception of redis-py means; None where it means a mistake of ours."""
    for kind, fault in _BY_CLASS:
        if isinstance(error, kind):
            return fault
    found = _WORDS.search(str(error).rpartition(_PIPELINE)[2])
    if isinstance(error, RedisError) and found:
        return _BY_WORD[found[1]]
    if any(isinstance(reason, ssl.SSLError) for reason in _reasons(error)):
        return TLS
    return AWAY if isinstance(error, ConnectionError | TimeoutError | OSError) else None


def _reasons(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
