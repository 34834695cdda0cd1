"""The two cursors over each shard's log.

Records of a log stand in its leader's control feed. The *ownership* cursor takes each as it comes:
datasets, grants, releases, orders. The *results* cursor follows in the same order and does what
depends on results: accepts, and the orders and grants that an accept must stand before or after.
It waits at an accept that names a results entry which is not here yet; what follows then waits in
the `pending` table. With all entries at hand both stand at the same record.

Everything runs inside the caller's transaction. The only memory besides the tables is a cache of
decoded results entries by id, which no rollback can make false.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import apsw
from twisted.logger import Logger

from federation.entry import Header
from federation.ids import EntryRef, Lane, SiteID
from federation.records import (
    Accept,
    Command,
    Dataset,
    Found,
    Grant,
    Record,
    Refused,
    Release,
    Results,
    Site,
    Unknown,
    UserAdd,
    UserRemove,
    decode,
)
from keys.signing import BadSignature, Purpose, digest
from keys.sshsig import verify
from node.changes import (
    Change,
    DatasetAdded,
    DatasetChanged,
    UnitsGranted,
    UnitsReleased,
    UserChanged,
)
from node.fold import datasets, orders, owners, people, roots
from node.fold.attempts import Attempts
from node.fold.shape import (
    ENVIRONMENT_ERRORS,
    Member,
    Refusal,
    Shard,
    member_by_id,
    read_tasks,
    select,
)
from node.model.dataset import DatasetSpec
from node.model.problems import Invalid
from node.model.validate import unpack_document

_log = Logger()

ENTRIES_CACHED = 16  # up to half a megabyte each; an accept follows within about a second
LogRecord = Dataset | Command | Grant | Accept | Release
"""Records that belong to a shard's log."""


def signer(document: bytes, signature: bytes) -> bytes:
    """The key that signed. Raises BadSignature."""
    return verify(document, signature).raw


class Fold:
    """Folds entries into the shared tables; one a process suffices for all connections."""

    def __init__(
        self,
        site: SiteID,
        read_submission: Callable[[bytes], DatasetSpec],
        read_command: Callable[[bytes], orders.Order],
        check_signature: people.CheckSignature = signer,
    ) -> None:
        """site: this one; its own entries get no privilege.

        read_submission, read_command: the checks of signed documents; raise Invalid.
        check_signature: (document, signature) -> key; raises BadSignature.
        """
        self.site = site
        self._read_submission = read_submission
        self._read_command = read_command
        self._check = check_signature
        self._decoded: OrderedDict[bytes, Sequence[Record | Refused]] = OrderedDict()

    def apply(
        self,
        conn: apsw.Connection,
        ref: EntryRef,
        entry_no: int,
        records: Sequence[Record | Refused],
    ) -> list[Change]:
        """Fold one entry, whose rows are in the transaction already; what changed."""
        if ref.feed.lane is Lane.RESULTS:
            self._remember(ref.id, records)
            return _Step(self, conn, ref, entry_no).catch_up()
        return _Step(self, conn, ref, entry_no).control(records)

    def state_root(self, conn: apsw.Connection) -> str:
        """One hash over the roots and positions of all shards, in hex."""
        return roots.state_root(conn)

    def digest(self, conn: apsw.Connection) -> bytes:
        """A hash over all shared tables, free of local numbers."""
        return roots.digest(conn)

    def _remember(self, entry: bytes, records: Sequence[Record | Refused]) -> None:
        self._decoded[entry] = records
        while len(self._decoded) > ENTRIES_CACHED:
            self._decoded.popitem(last=False)

    def decoded(self, entry: bytes, body: bytes) -> Sequence[Record | Refused]:
        """Records of an entry, decoded at most once in a short while."""
        found = self._decoded.pop(entry, None)
        return decode(body) if found is None else found

    def read_dataset(self, record: Dataset) -> DatasetSpec:
        """Check a submission whole. Raises Refusal."""
        try:
            document = unpack_document(record.doc)
        except Invalid as error:
            raise Refusal(f"bad document: {error}"[:1000]) from None
        self._check_signer(document, record.signature, record.key)
        try:
            return self._read_submission(document)
        except Invalid as error:
            raise Refusal(f"bad document: {error}"[:1000]) from None

    def read_order(self, record: Command) -> orders.Order:
        """Check an order whole. Raises Refusal."""
        self._check_signer(record.doc, record.signature, record.key)
        try:
            return self._read_command(record.doc)
        except Invalid as error:
            raise Refusal(f"bad order: {error}"[:1000]) from None

    def check_person(self, document: bytes, signature: bytes) -> bytes:
        """The key that signed. Raises Refusal."""
        try:
            return self._check(document, signature)
        except BadSignature as error:
            raise Refusal(f"false signature: {error}") from None

    def _check_signer(self, document: bytes, signature: bytes, key: bytes) -> None:
        if self.check_person(document, signature) != key:
            raise Refusal("signed by another key than it says")


class _Step:
    """Folding of one entry."""

    def __init__(self, fold: Fold, conn: apsw.Connection, ref: EntryRef, entry: int) -> None:
        self._fold = fold
        self._conn = conn
        self._ref = ref
        self._entry = entry
        self._changes: list[Change] = []

    def control(self, records: Sequence[Record | Refused]) -> list[Change]:
        for idx, record in enumerate(records):
            if isinstance(record, Refused):
                self._refuse(self._entry, idx, record.why)
            elif not isinstance(record, Unknown | Results):
                self._record(idx, record)
        return self._changes

    def catch_up(self) -> list[Change]:
        """A results entry came: let the results cursors that wait go on."""
        for (no,) in select(self._conn, "SELECT DISTINCT shard FROM pending"):
            self._advance(_shard(self._conn, "no", no))
        return self._changes

    # One record of a control feed

    def _record(self, idx: int, record: Record) -> None:
        try:
            if isinstance(record, LogRecord):
                self._log_record(idx, record)
            else:
                self._guarded(None, lambda: self._fact(idx, record))
        except Refusal as refusal:
            self._refuse(self._entry, idx, str(refusal))

    def _fact(self, idx: int, record: Record) -> bool:
        """A record of no shard's log."""
        if isinstance(record, Site):
            self._site(record)
        elif isinstance(record, UserAdd | UserRemove):
            self._person(idx, record)
        elif isinstance(record, Found):
            self._found(record)
        return True

    def _refuse(self, entry: int, idx: int, why: str) -> None:
        sql = "INSERT INTO refused VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET why = excluded.why"
        self._conn.execute(sql, (entry, idx, why))
        _log.warn(
            "fold: record {idx} of entry {entry} is skipped: {why}", entry=entry, idx=idx, why=why
        )

    def _site(self, record: Site) -> None:
        no = site_no(self._conn, self._ref.feed.site)
        sql = "UPDATE site SET name = ?, version = ? WHERE no = ?"
        self._conn.execute(sql, (record.name, record.version, no))

    def _person(self, idx: int, record: UserAdd | UserRemove) -> None:
        site = self._ref.feed.site
        no = site_no(self._conn, site)
        people.enrol(self._conn, no, site, record, self._entry, idx, self._fold.check_person)
        self._changes.append(UserChanged(record.key))

    def _found(self, record: Found) -> None:
        feed = self._ref.feed
        if digest(Purpose.SHARD, feed.site + record.nonce) != record.shard:
            raise Refusal("the shard's id does not follow from its founder and nonce")
        if feed.site not in record.council:
            raise Refusal("the founder does not sit in the shard's council")
        root = roots.extend(roots.EMPTY, b"found", record.shard, list(record.council))
        self._conn.execute(
            "INSERT OR IGNORE INTO shard (id, founder, generation, council, own_root,"
            " results_root, version) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                record.shard,
                feed.site,
                feed.generation,
                b"".join(record.council),
                root,
                root,
                roots.VERSION,
            ),
        )

    # Records of a shard's log

    def _log_record(self, idx: int, record: LogRecord) -> None:
        shard = _shard(self._conn, "id", record.shard)
        feed = self._ref.feed
        if (feed.site, feed.generation) != (shard.founder, shard.generation):
            if isinstance(record, Release):
                return  # an owner's word to the leader, whose next grant answers it
            raise Refusal("not written by the shard's leader")
        shard.own_pos += 1
        in_turn = False
        try:
            in_turn = self._own(shard, idx, record)
        except Refusal as refusal:
            self._refuse(self._entry, idx, str(refusal))
            shard.own_root = roots.extend(shard.own_root, b"refused", shard.own_pos)
        self._save_own(shard)
        waits = shard.results_pos < shard.own_pos - 1
        if not in_turn and not waits:
            shard.results_pos = shard.own_pos
            self._save_results(shard)
        elif in_turn and not waits and self._in_turn(shard, record, self._entry, idx):
            pass
        elif in_turn:
            sql = "INSERT INTO pending VALUES (?, ?, ?, ?)"
            self._conn.execute(sql, (shard.no, shard.own_pos, self._entry, idx))

    def _save_own(self, shard: Shard) -> None:
        self._conn.execute(
            "UPDATE shard SET own_pos = ?, own_root = ? WHERE no = ?",
            (shard.own_pos, shard.own_root, shard.no),
        )

    def _save_results(self, shard: Shard) -> None:
        self._conn.execute(
            "UPDATE shard SET results_pos = ?, results_root = ? WHERE no = ?",
            (shard.results_pos, shard.results_root, shard.no),
        )

    def _own(self, shard: Shard, idx: int, record: LogRecord) -> bool:
        """The ownership cursor's part; whether the results cursor has one too."""
        if isinstance(record, Accept):
            return True
        if isinstance(record, Dataset):
            return self._guarded(None, lambda: self._dataset(shard, idx, record))
        if isinstance(record, Command):
            return self._command(shard, idx, record)
        member = _member_of(self._conn, shard, record.dataset)
        return self._guarded(member, lambda: self._grant_or_release(shard, member, record))

    def _dataset(self, shard: Shard, idx: int, record: Dataset) -> bool:
        spec = self._fold.read_dataset(record)
        if member_by_id(self._conn, spec.id) is not None:
            raise Refusal("the dataset is in the log already")
        place = datasets.Place(shard.no, shard.own_pos, self._entry, idx, self._hlc())
        no = datasets.add(self._conn, place, spec, record.key)
        shard.own_root = roots.extend(shard.own_root, b"dataset", spec.id, record.key)
        self._changes.append(DatasetAdded(no))
        return False

    def _hlc(self) -> int:
        sql = "SELECT header FROM entry WHERE no = ?"
        return Header.unpack(select(self._conn, sql, (self._entry,))[0][0]).hlc

    def _command(self, shard: Shard, idx: int, record: Command) -> bool:
        order = self._fold.read_order(record)
        member = _member_of(self._conn, shard, order.dataset)
        id_ = digest(Purpose.COMMAND, record.doc)
        if select(self._conn, "SELECT 1 FROM command WHERE id = ?", (id_,)):
            raise Refusal("the order was taken before")

        def act() -> bool:
            orders.obey(self._conn, member, order)
            self._conn.execute(
                "INSERT INTO command VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    id_,
                    member.no,
                    shard.own_pos,
                    self._entry,
                    idx,
                    order.verb,
                    record.key,
                    b"".join(order.follows),
                    self._hlc(),
                ),
            )
            shard.own_root = roots.extend(shard.own_root, b"command", id_)
            if order.verb not in orders.IN_TURN:
                self._changes.append(DatasetChanged(member.no, order.verb))
            return order.verb in orders.IN_TURN

        return self._guarded(member, act)

    def _grant_or_release(self, shard: Shard, member: Member, record: Grant | Release) -> bool:
        tasks = read_tasks(self._conn, member.no)
        numbers = [member.base + index for index in record.tasks]
        ranges = list(record.ranges)
        if not all(task in tasks for task in numbers):
            raise Refusal("names tasks that the dataset does not have")
        if ranges[-1] > member.jobs:
            raise Refusal(f"names job {ranges[-1] - 1}; the dataset has {member.jobs}")
        site = record.to if isinstance(record, Grant) else self._ref.feed.site
        no = site_no(self._conn, site)
        act = owners.give if isinstance(record, Grant) else owners.take
        for task in numbers:
            for lo, hi in zip(ranges[::2], ranges[1::2], strict=True):
                act(self._conn, task, lo, hi, no)
        kind = b"grant" if isinstance(record, Grant) else b"release"
        shard.own_root = roots.extend(
            shard.own_root, kind, record.dataset, list(record.tasks), ranges, site
        )
        if isinstance(record, Grant):
            self._changes.append(UnitsGranted(member.no, numbers, ranges, record.to))
        else:
            self._changes.append(UnitsReleased(member.no, numbers, ranges))
        return isinstance(record, Grant)

    # The results cursor

    def _advance(self, shard: Shard) -> None:
        """Take the waiting records in order, until one waits for a results entry."""
        sql = "SELECT pos, entry, idx FROM pending WHERE shard = ? ORDER BY pos"
        for pos, entry, idx in select(self._conn, sql, (shard.no,)):
            body = select(self._conn, "SELECT body FROM entry WHERE no = ?", (entry,))
            record = decode(body[0][0])[idx]
            assert isinstance(record, LogRecord)
            shard.results_pos = pos - 1
            if not self._in_turn(shard, record, entry, idx):
                self._save_results(shard)
                return
            self._conn.execute("DELETE FROM pending WHERE shard = ? AND pos = ?", (shard.no, pos))
        shard.results_pos = shard.own_pos
        self._save_results(shard)

    def _in_turn(self, shard: Shard, record: LogRecord, entry: int, idx: int) -> bool:
        """The results cursor's part of a record; False if it has to wait."""
        if isinstance(record, Accept):
            if not self._accept(shard, record):
                return False
        else:
            try:
                self._order_or_grant(shard, record)
            except Refusal as refusal:
                self._refuse(entry, idx, str(refusal))
        shard.results_pos += 1
        self._save_results(shard)
        return True

    def _order_or_grant(self, shard: Shard, record: LogRecord) -> None:
        if isinstance(record, Grant):
            member = _member_of(self._conn, shard, record.dataset)
            site = site_no(self._conn, record.to)
            ranges = list(record.ranges)
            for index in record.tasks:
                for lo, hi in zip(ranges[::2], ranges[1::2], strict=True):
                    owners.remember(self._conn, member.base + index, lo, hi, site)
        elif isinstance(record, Command):
            order = self._fold.read_order(record)
            member = _member_of(self._conn, shard, order.dataset)

            def act() -> bool:
                changed = orders.obey_in_turn(self._conn, member, order)
                names = [[each[0] - member.base, *each[1:]] for each in changed]
                shard.results_root = roots.extend(
                    shard.results_root, order.verb.encode(), member.id, names, self._counts(member)
                )
                self._changes.append(DatasetChanged(member.no, order.verb))
                return True

            self._guarded(member, act)

    def _counts(self, member: Member) -> list[list[int]]:
        return [
            [row.settled, row.failed, row.blocked, row.cancelled, row.ready, row.duplicates]
            for row in read_tasks(self._conn, member.no).values()
        ]

    def _accept(self, shard: Shard, record: Accept) -> bool:
        """Take a results feed through an entry; False while one of the entries is not here."""
        conn = self._conn
        site = site_no(conn, record.site)
        key = (shard.no, site, record.generation)
        sql = "SELECT through FROM position WHERE shard = ? AND site = ? AND generation = ?"
        through = next((row[0] for row in select(conn, sql, key)), 0)
        if record.through <= through:
            return True
        entries = select(
            conn,
            "SELECT e.no, e.id, e.body FROM entry e JOIN feed f ON f.no = e.feed"
            " WHERE f.site = ? AND f.generation = ? AND f.lane = ? AND e.seq > ? AND e.seq <= ?"
            " ORDER BY e.seq",
            (record.site, record.generation, int(Lane.RESULTS), through, record.through),
        )
        whole = len(entries) == record.through - through and all(row[2] for row in entries)
        if not whole or entries[-1][1] != record.entry:
            return False
        for no, id_, body in entries:
            self._results(shard, site, no, self._fold.decoded(id_, body))
        conn.execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)", (*key, record.through))
        return True

    def _results(
        self, shard: Shard, site: int, entry: int, records: Iterable[Record | Refused]
    ) -> None:
        pos = shard.results_pos + 1
        self._conn.execute("INSERT INTO accepted VALUES (?, ?, ?)", (entry, shard.no, pos))
        first = 0
        for idx, record in enumerate(records):
            if isinstance(record, Refused):
                self._refuse(entry, idx, record.why)
            elif isinstance(record, Results):
                self._attempts(shard, site, entry, idx, first, record)
                first += len(record.jobs)

    def _attempts(
        self, shard: Shard, site: int, entry: int, idx: int, first: int, record: Results
    ) -> None:
        member = member_by_id(self._conn, record.dataset)
        if member is None or member.shard != shard.no or member.quarantined:
            return  # another shard's, or parked

        def act() -> bool:
            task, effect = Attempts(self._conn, member).fold(record, entry, first, site)
            counts = self._counts(member)[record.task]
            shard.results_root = roots.extend(
                shard.results_root, b"results", member.id, record.task, effect.packed(), counts
            )
            self._changes.extend(effect.told(task))
            return True

        try:
            self._guarded(member, act)
        except Refusal as refusal:
            self._refuse(entry, idx, str(refusal))

    # When something goes wrong

    def _guarded(self, member: Member | None, act: Callable[[], bool]) -> bool:
        """Do `act` whole or not at all; its answer.

        An exception that nobody foresaw sets the dataset aside on this node, or, for a record that
        is about none, only that record; False then. Raises Refusal as `act` does.
        """
        if member is not None and member.quarantined:
            return False
        self._conn.execute("SAVEPOINT record")
        changes = len(self._changes)
        try:
            done = act()
        except ENVIRONMENT_ERRORS:
            raise
        except Exception as error:
            self._conn.execute("ROLLBACK TO record; RELEASE record")
            del self._changes[changes:]
            if isinstance(error, Refusal):
                raise
            if member is None:
                raise Refusal(_unforeseen(error)) from error
            self._quarantine(member, error)
            return False
        self._conn.execute("RELEASE record")
        return done

    def _quarantine(self, member: Member, error: Exception) -> None:
        sql = "UPDATE dataset SET quarantined = ? WHERE no = ?"
        self._conn.execute(sql, (_unforeseen(error), member.no))
        self._changes.append(DatasetChanged(member.no, "quarantine"))
        _log.failure(
            "fold: dataset {dataset} is set aside on this node: folding it failed; its records are"
            " kept. Please report this. `floe store rebuild` tries again.",
            dataset=member.id.hex()[:12],
        )


def _unforeseen(error: Exception) -> str:
    _log.failure("fold: an exception that nobody foresaw; please report it")
    return f"{type(error).__name__}: {error}"[:1000]


def site_no(conn: apsw.Connection, key: bytes) -> int:
    """Local number of a site; a new one at first sight."""
    for (no,) in select(conn, "SELECT no FROM site WHERE key = ?", (key,)):
        return int(no)
    conn.execute("INSERT INTO site (key) VALUES (?)", (key,))
    return conn.last_insert_rowid()


def _shard(conn: apsw.Connection, column: str, wanted: bytes | int) -> Shard:
    """Raises Refusal for a shard that nobody founded."""
    sql = (
        "SELECT no, id, founder, generation, own_pos, results_pos, own_root, results_root"
        f" FROM shard WHERE {column} = ?"
    )
    for row in select(conn, sql, (wanted,)):
        return Shard(*row)
    raise Refusal("no such shard")


def _member_of(conn: apsw.Connection, shard: Shard, dataset: bytes) -> Member:
    """Raises Refusal for a dataset that is not in this log."""
    member = member_by_id(conn, dataset)
    if member is None or member.shard != shard.no:
        raise Refusal("no such dataset in this log")
    return member
