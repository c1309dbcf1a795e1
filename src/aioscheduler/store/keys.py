"""Every Redis key, its type and what it means. No other module builds a key name.

``message:<id>`` is the contract with outside writers; everything else stands under ``aioscheduler:``. A script gets
every key it touches from here and builds none itself, so that one day several partitions can live in a cluster.
"""

from __future__ import annotations

from typing import Final

from aioscheduler.domain.message import MessageId

#: Where the keys of outside writers, and our own records, begin.
RECORD_PREFIX: Final = b"message:"

#: zset, id -> due time in ms: messages nobody has leased.
DUE: Final = b"aioscheduler:messages:due"
#: hash, id -> lease ``<replica>:<claim>:<attempt>:<due ms>:<expiry ms>``. A live message is in ``due`` or here.
LEASED: Final = b"aioscheduler:messages:leased"
#: hash, id -> ``<attempts> <failures> <version or -> <sha1 or -> <last error>``: only messages that were attempted
#: before, or written by an outsider (whose records carry no version of ours).
STATE: Final = b"aioscheduler:messages:state"
#: zset, all scores 0: the ids of all live messages in lexicographic order.
INDEX: Final = b"aioscheduler:messages:index"
#: hash, id -> ``<dead at ms> <reason> <JSON>\n<record>``.
DEAD: Final = b"aioscheduler:dead"
#: zset, all scores 0: for each dead letter ``t\0<dead at>\0<id>``, ``r\0<reason>\0<dead at>\0<id>`` and ``i\0<id>``.
DEAD_INDEX: Final = b"aioscheduler:dead:index"
#: stream: the delivery log; fields ``m`` message id, ``s`` status, ``d`` JSON.
DELIVERIES: Final = b"aioscheduler:deliveries"
#: zset, all scores 0: for each line of the log ``m\0<id>\0<line>`` and ``s\0<status>\0<line>``.
DELIVERIES_INDEX: Final = b"aioscheduler:deliveries:index"
#: hash, name -> count: the whole deployment's counters.
COUNTERS: Final = b"aioscheduler:counters"
#: set: the ids of all replicas that ever said they live and were not yet found dead.
REPLICAS: Final = b"aioscheduler:replicas"


def record(message_id: str) -> bytes:
    """Return the key of a message's record: a string, JSON."""
    return RECORD_PREFIX + message_id.encode()


def message_id_of(key: bytes) -> MessageId | None:
    """Return the id a record's key stands for; ``None`` for one that no client could name."""
    raw_id = key[len(RECORD_PREFIX) :]
    try:
        return None if b"\0" in raw_id else MessageId(raw_id.decode()) or None
    except UnicodeDecodeError:
        return None


def heartbeat(replica: str) -> bytes:
    """Return the key that exists as long as a replica lives: a string with an expiry."""
    return b"aioscheduler:replica:" + replica.encode()


def probe(replica: str) -> bytes:
    """Return the key a replica writes and reads back to see that the store works: a string with an expiry."""
    return b"aioscheduler:probe:" + replica.encode()
