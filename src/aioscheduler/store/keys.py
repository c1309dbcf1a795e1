"""Every Redis key, its type and what it means. No other module builds a key name.

``message:<id>`` is the contract with outside writers; everything else stands under ``aioscheduler:``. A script gets
every key it touches from here and builds none itself, so that one day several partitions can live in a cluster.
"""

from __future__ import annotations

from typing import Final

from aioscheduler.domain.job import JobId, Owner
from aioscheduler.domain.message import MessageId

#: Where the keys of outside writers, and our own records, begin.
RECORD_PREFIX: Final = b"message:"

#: zset, id -> due time in ms: messages nobody has leased.
DUE: Final = b"aioscheduler:messages:due"
#: hash, id -> lease ``<replica>:<claim>:<attempt>:<due ms>:<expiry ms>``. A live message is in ``due`` or here.
LEASED: Final = b"aioscheduler:messages:leased"
#: hash, id -> ``<attempts> <failures> <version or -> <sha1 or -> <planned ms or -> <last error>``: only messages that
#: were attempted before, or are due at another time than planned for, or were written by an outsider (whose records
#: carry no version of ours).
STATE: Final = b"aioscheduler:messages:state"
#: zset, all scores 0: the ids of all live messages in lexicographic order.
INDEX: Final = b"aioscheduler:messages:index"
#: hash, id -> ``<dead at ms> <reason> <JSON>\n<record>``; that of an execution has its id after a NUL, which no
#: message's can have.
DEAD: Final = b"aioscheduler:dead"
#: zset, all scores 0: for each dead letter ``t\0<dead at>\0<id>``, ``r\0<reason>\0<dead at>\0<id>`` and ``i\0<id>``.
DEAD_INDEX: Final = b"aioscheduler:dead:index"
#: stream: what became of the last dead letters that are none any more; fields ``id`` as in the hash, ``change``.
DEAD_GONE: Final = b"aioscheduler:dead:gone"
#: stream: the delivery log; fields ``m`` message id or ``j`` job id, ``s`` status, ``d`` JSON.
DELIVERIES: Final = b"aioscheduler:deliveries"
#: zset, all scores 0: for each line of the log ``m\0<id>\0<line>`` or ``j\0<id>\0<line>``, and ``s\0<status>\0<line>``.
DELIVERIES_INDEX: Final = b"aioscheduler:deliveries:index"
#: hash, name -> count: the whole deployment's counters.
COUNTERS: Final = b"aioscheduler:counters"
#: hash, ``<minute since 1970><kind>`` -> count, and ``<kind>`` -> count of all: how many messages were planned for that
#: minute, and what became of them; kinds as in ``lua/shared/account.lua``.
AUDIT: Final = b"aioscheduler:messages:audit"
#: zset, minute -> minute: those that ``AUDIT`` has counts of.
AUDIT_MINUTES: Final = b"aioscheduler:messages:audit:minutes"
#: The same two of executions, by the minute of their fire time; all attempts of one webhook in one run are one.
EXECUTIONS_AUDIT: Final = b"aioscheduler:executions:audit"
EXECUTIONS_AUDIT_MINUTES: Final = b"aioscheduler:executions:audit:minutes"
#: Where the keys of lateness begin, all of which expire.
LATENESS: Final = b"aioscheduler:lateness:"
#: Where the keys of the attempts of each day begin, all of which expire.
ACTIVITY: Final = b"aioscheduler:activity:"
#: How many destinations a minute's, or an hour's, ranks hold: as in ``lua/shared/lateness.lua``.
MOST_DESTINATIONS: Final = 32
#: What a step touches that writes or ends live messages, besides their records.
LIVE: Final = (DUE, LEASED, STATE, INDEX, COUNTERS, AUDIT, AUDIT_MINUTES)
#: set: the ids of all replicas that ever said they live and were not yet found dead.
REPLICAS: Final = b"aioscheduler:replicas"

#: Where the records of jobs begin.
JOB_PREFIX: Final = b"aioscheduler:job:"
#: zset, job id -> next fire time in ms: the enabled jobs.
JOBS_DUE: Final = b"aioscheduler:jobs:due"
#: hash, job id -> ``<ms> <status> <error>``: when the last run was made, and how its latest execution to end did.
JOBS_LAST: Final = b"aioscheduler:jobs:last"
#: zset, reference -> due time in ms: executions that nobody has leased and that wait for nothing but their time.
EXECUTIONS_DUE: Final = b"aioscheduler:executions:due"
#: hash, reference -> lease, as that of a message.
EXECUTIONS_LEASED: Final = b"aioscheduler:executions:leased"
#: hash, reference -> ``<claims> 0 - - <planned ms or -> ``: only executions whose attempt was cut short or put off.
EXECUTIONS_STATE: Final = b"aioscheduler:executions:state"
#: The owner under which the jobs of all accounts are listed.
ACCOUNTS: Final = Owner("accounts")


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


def job(job_id: str) -> bytes:
    """Return the key of a job's record: a string, ``<version> <max instances> <JSON>``."""
    return JOB_PREFIX + job_id.encode()


def job_id_of(key: bytes) -> JobId:
    """Return the id a job's key stands for."""
    return JobId(key[len(JOB_PREFIX) :].decode("utf-8", "replace"))


def jobs_of(owner: str, enabled: bool | None = None) -> bytes:
    """Return the key of an owner's jobs, or of the enabled or disabled ones: a zset, job id -> creation in ms."""
    kind = "" if enabled is None else ":enabled" if enabled else ":disabled"
    return f"aioscheduler:jobs:of:{owner}{kind}".encode()


def webhooks(job_id: str) -> bytes:
    """Return the key of a job's webhooks: a hash, webhook id -> JSON."""
    return b"aioscheduler:webhooks:" + job_id.encode()


def executions(job_id: str) -> bytes:
    """Return the key of a job's executions: a hash, id -> ``o`` or ``e`` (open, ended) and JSON; ``b<id>`` -> what the
    webhook answered."""
    return b"aioscheduler:executions:" + job_id.encode()


def history(job_id: str) -> bytes:
    """Return the key of a job's history: a zset, all scores 0, for each execution ``t\\0<created>\\0<id>``, and
    ``<status>\\0<created>\\0<id>`` when it has ended, ``o\\0<created>\\0<reference>`` before."""
    return b"aioscheduler:history:" + job_id.encode()


def runs(job_id: str) -> bytes:
    """Return the key of a job's runs that go on: a hash, fire time in ms -> how many webhooks are not done."""
    return b"aioscheduler:runs:" + job_id.encode()


def waiting(job_id: str) -> bytes:
    """Return the key of a job's runs that wait for their turn: a list of ``<m or s> <fire time> <reference> …``, made
    by hand or by the schedule."""
    return b"aioscheduler:waiting:" + job_id.encode()


def owner_counters(owner: str) -> bytes:
    """Return the key of an owner's counters: a hash, name -> count."""
    return b"aioscheduler:counters:" + owner.encode()


def lateness(kind: str, unit: str, number: int) -> bytes:
    """Return the key of how late messages or executions, ``m`` or ``j``, left in a minute or hour since 1970.

    A string: the worst in µs, and 1, as 8 bytes, then how many there are in each lane of ``domain.punctuality``, as 4.
    """
    return LATENESS + f"{unit}:{kind}:{number}".encode()


def lateness_ranks(unit: str, number: int) -> bytes:
    """Return the key of a minute's or hour's destinations: a zset of the latest, destination -> worst µs * 32 + row."""
    return LATENESS + f"{unit}:ranks:{number}".encode()


def lateness_rows(unit: str, number: int) -> bytes:
    """Return the key of the lateness of those: a string, rows of 362 lanes of 4 bytes each."""
    return LATENESS + f"{unit}:rows:{number}".encode()


def activity(day: int) -> bytes:
    """Return the key of how many attempts ended on a day since 1970: a string, for each minute two counters of 4 bytes,
    of all and of those that failed; it expires a day and a bit after its last."""
    return ACTIVITY + b"%d" % day


def bot_memory(bot: str) -> bytes:
    """Return the key of what a bot remembers: a hash."""
    return b"aioscheduler:bot:" + bot.encode()
