"""What people send signed: submissions, orders, enrolments; and what is refused at the door."""

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from federation.records import Command, Dataset, UserAdd, UserRemove
from keys.signing import Purpose, digest
from node.changes import UserChanged
from node.model.commands import command_document, read_command
from node.model.dataset import CPU_MAX, GPU_MAX, After, DatasetSpec, FileRef, Needs, TaskSpec
from node.model.person import PersonOrder, write_person
from node.model.problems import Invalid, Problem
from node.services.commands import APPLIED_S, Commands, Target
from node.services.people import People, Person
from node.services.refusal import Refusal
from node.services.submit import Known, Shape, Submissions
from node.store.database import DiskFull
from tests.unit.node.http.people import ANA, BEN, EVE

SITE = b"s" * 32
SHARD = b"h" * 32
NONCE = "0" * 32


def run(coroutine):
    """The result of a coroutine that must not wait."""
    done = Deferred.fromCoroutine(coroutine)
    results, failures = [], []
    done.addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    assert results, "still waiting"
    return results[0]


def refused(code, coroutine):
    with pytest.raises(Refusal) as caught:
        run(coroutine)
    assert caught.value.code == code, caught.value.message
    return caught.value


class Journal:
    """Keeps records; `on_write` folds them."""

    def __init__(self):
        self.records = []
        self.error = None
        self.on_write = lambda record: None

    def control(self, record, intake=False):
        if self.error:
            return fail(self.error)
        self.records.append(record)
        self.on_write(record)
        return succeed(None)


@pytest.fixture
def journal():
    return Journal()


# --- people


class Enrolled:
    def __init__(self, journal):
        self.people = {ANA.person, BEN.person}
        self.documents = set()
        self.service = People(SITE, journal, lambda: list(self.people), self.documents.__contains__)


@pytest.fixture
def enrolled(journal):
    return Enrolled(journal)


def person_order(who=EVE, kind="user.add", site=SITE, **fields):
    fields = {"name": who.person.name, "groups": ("physics",)} | fields
    if kind == "user.remove":
        fields = {}
    return write_person(PersonOrder(kind, site, who.key, nonce=NONCE, **fields))


def test_an_admin_enrols_somebody(enrolled, journal):
    document = person_order()
    person = run(enrolled.service.order(document, ANA.sign(document), ANA.person))
    assert (person.name, person.groups) == ("eve", ("physics",))
    (record,) = journal.records
    assert isinstance(record, UserAdd)
    assert (record.key, record.signer, record.doc) == (EVE.key.raw, ANA.key.raw, document)


def test_nobody_else_enrols_anybody(enrolled, journal):
    document = person_order()
    refused("denied", enrolled.service.order(document, BEN.sign(document), BEN.person))
    assert journal.records == []


def test_an_admins_token_is_not_enough_without_the_admins_key(enrolled, journal):
    document = person_order()
    error = refused("denied", enrolled.service.order(document, EVE.sign(document), ANA.person))
    assert EVE.key.fingerprint() in error.message
    assert ANA.key.fingerprint() in error.message
    assert journal.records == []


def test_what_was_changed_after_signing_is_refused(enrolled):
    document = person_order()
    changed = person_order(roles=("admin",))
    refused("signature", enrolled.service.order(changed, ANA.sign(document)[:-1], ANA.person))
    refused("signature", enrolled.service.order(changed, ANA.sign(document), ANA.person))


def test_a_document_for_another_site_is_refused(enrolled):
    document = person_order(site=b"x" * 32)
    refused("denied", enrolled.service.order(document, ANA.sign(document), ANA.person))


def test_an_enrolment_cannot_be_replayed_after_a_removal(enrolled):
    document = person_order()
    enrolled.documents.add(digest(Purpose.PERSON, document))
    refused("replayed", enrolled.service.order(document, ANA.sign(document), ANA.person))


def test_a_name_belongs_to_one_key(enrolled):
    document = person_order(name="ben")
    refused("conflict", enrolled.service.order(document, ANA.sign(document), ANA.person))


def test_the_last_admin_stays(enrolled, journal):
    document = person_order(ANA, "user.remove")
    refused("conflict", enrolled.service.order(document, ANA.sign(document), ANA.person))
    document = person_order(BEN, "user.remove")
    run(enrolled.service.order(document, ANA.sign(document), ANA.person))
    assert isinstance(journal.records[0], UserRemove)


def test_people_of_other_sites_are_removed_there(enrolled, journal):
    enrolled.people.add(Person(EVE.key.raw, "eve@desy", (), (), "desy"))
    enrolled.service.load()
    error = refused(
        "conflict",
        enrolled.service.order(
            document := person_order(EVE, "user.remove"), ANA.sign(document), ANA.person
        ),
    )
    assert "enrolled by desy" in error.message
    assert journal.records == []


def test_a_site_may_enrol_for_itself_whom_another_enrolled(enrolled, journal):
    enrolled.people.add(Person(EVE.key.raw, "eve@desy", (), (), "desy"))
    enrolled.service.load()
    document = person_order()
    run(enrolled.service.order(document, ANA.sign(document), ANA.person))
    assert isinstance(journal.records[0], UserAdd)


def test_removed_people_are_forgotten_when_the_log_says_so(enrolled):
    gone = []
    enrolled.service.when_gone(gone.append)
    enrolled.people.discard(BEN.person)
    assert enrolled.service.find(BEN.person.key)
    enrolled.service.changed([UserChanged(BEN.person.key)])
    assert enrolled.service.find(BEN.person.key) is None
    assert gone == [BEN.person.key]


# --- submissions


class SubmitPorts:
    def __init__(self):
        self.datasets = {}
        self.lacking = []
        self.spec = None
        self.shape_list = [Shape("desy", 4, 0, 8_000_000_000, None)]

    def known(self, dataset):
        return self.datasets.get(dataset)

    def read(self, document):
        if isinstance(self.spec, Exception):
            raise self.spec
        return self.spec

    def missing(self, digests):
        return succeed([one for one in digests if one in self.lacking])

    def shapes(self):
        return self.shape_list


def spec(*, group="", after=(), needs=None, files=()):
    task = TaskSpec(0, "sim", after, needs or Needs(), 3, {})
    return DatasetSpec(
        b"", "nugen", "", {}, group, 50, 1000, 1, True, (task,), tuple(files), None, {}
    )


async def the_shard():
    return SHARD


class Intake:
    def __init__(self, journal):
        self.ports = SubmitPorts()
        self.ports.spec = spec()
        self.service = Submissions("desy", journal, the_shard, self.ports)
        journal.on_write = self.fold

    def fold(self, record):
        self.ports.datasets[digest(Purpose.DATASET, b"doc")] = Known(
            digest(Purpose.DATASET, b"doc"), "nugen", 1000, 1
        )

    def send(self, document=b"doc", who=BEN, asking=None):
        return self.service.submit(document, who.sign(document), (asking or who).person)


@pytest.fixture
def intake(journal):
    return Intake(journal)


def test_a_submission_is_stored_and_told_what_it_is(intake, journal):
    reply = run(intake.send())
    assert reply == {
        "dataset": {"id": digest(Purpose.DATASET, b"doc").hex(), "name": "nugen"},
        "units": 1000,
        "jobs": 1000,
        "tasks": 1,
        "stored_on": ["desy"],
        "warnings": [],
    }
    (record,) = journal.records
    assert isinstance(record, Dataset)
    assert (record.shard, record.key) == (SHARD, BEN.key.raw)


def test_a_submission_names_every_site_that_stored_it(journal):
    asked = []

    async def stored(dataset, shard, wanted):
        asked.append((dataset, shard, wanted))
        return ["desy", "madison"]

    intake = Intake(journal)
    intake.service = Submissions("desy", journal, the_shard, intake.ports, stored)
    reply = run(intake.service.submit(b"doc", BEN.sign(b"doc"), BEN.person, 2))
    assert reply["stored_on"] == ["desy", "madison"]
    assert asked == [(digest(Purpose.DATASET, b"doc"), SHARD, 2)]


@pytest.mark.parametrize("wanted", [0, -1, 1001])
def test_a_number_of_sites_that_is_none_is_refused_before_anything_is_stored(
    intake, journal, wanted
):
    refused("bad-request", intake.service.submit(b"doc", BEN.sign(b"doc"), BEN.person, wanted))
    assert journal.records == []


def test_the_same_submission_again_changes_nothing(intake, journal):
    assert run(intake.send()) == run(intake.send())
    assert len(journal.records) == 1


def test_nobody_submits_in_the_name_of_another(intake, journal):
    refused("denied", intake.send(who=EVE, asking=BEN))
    assert journal.records == []


def test_problems_of_a_description_come_all_at_once(intake):
    intake.ports.spec = Invalid([Problem("name", "is bad", "write x"), Problem("jobs", "is 0")])
    error = refused("invalid", intake.send())
    assert [problem["where"] for problem in error.fields["problems"]] == ["name", "jobs"]


def test_a_group_must_be_ones_own(intake):
    intake.ports.spec = spec(group="secret")
    assert "physics" in refused("denied", intake.send()).right


def test_files_must_be_there_first(intake, journal):
    digest_a = b"a" * 32
    intake.ports.spec = spec(files=[FileRef("a", digest_a, 1, 0o644)])
    intake.ports.lacking = [digest_a]
    assert refused("missing-blobs", intake.send()).fields["missing"] == [digest_a.hex()]
    assert journal.records == []


def test_a_dataset_that_is_waited_for_must_be_known(intake):
    after = After("gen/make", 0, "make", b"g" * 32, "gen")
    intake.ports.spec = spec(after=(after,))
    assert "gen/make" in refused("not-found", intake.send()).message
    intake.ports.datasets[b"g" * 32] = Known(b"g" * 32, "gen", 1000, 1, SHARD)
    run(intake.send())


HOME = b"o" * 32


@pytest.mark.parametrize(
    ("others", "shard"),
    [
        ([Known(b"g" * 32, "gen", 9, 1, HOME)], HOME),
        ([Known(b"g" * 32, "gen", 9, 1, HOME, led=False)], SHARD),
        ([Known(b"g" * 32, "gen", 9, 1, HOME), Known(b"h" * 32, "cal", 9, 1, b"p" * 32)], SHARD),
    ],
)
def test_a_dataset_stands_with_what_it_waits_for_where_one_log_led_here_has_it_all(
    intake, journal, others, shard
):
    for other in others:
        intake.ports.datasets[other.id] = other
    intake.ports.spec = spec(
        after=[After(f"{each.name}/make", 0, "make", each.id, each.name) for each in others]
    )
    run(intake.send())
    assert journal.records[0].shard == shard


def test_a_dataset_does_not_wait_for_one_that_stands_still(intake, journal):
    intake.ports.datasets[b"g" * 32] = Known(b"g" * 32, "gen", 9, 1, HOME, led=False, still=True)
    intake.ports.spec = spec(after=[After("gen/make", 0, "make", b"g" * 32, "gen")])
    assert "recover" in refused("conflict", intake.send()).right
    assert journal.records == []


def test_needs_that_no_site_meets_are_a_warning(intake):
    intake.ports.spec = spec(needs=Needs(gpu=2))
    (warning,) = run(intake.send())["warnings"]
    assert warning["where"] == "task.sim.needs"
    assert "desy has at most 4 CPU, 0 GPU" in warning["right"]


def test_a_full_disk_is_said_and_nothing_is_stored(intake, journal):
    journal.error = DiskFull("less than 100 MB are free")
    assert "nothing was stored" in refused("disk-full", intake.send()).message


# --- orders


class OrderPorts:
    target_of = Target(1, "nugen", BEN.key.raw, SHARD, leader="desy")

    def __init__(self):
        self.orders = set()
        self.refusals = {}
        self.admins = {ANA.key.raw}

    def read(self, document):
        return read_command(document)

    def target(self, dataset):
        return self.target_of if dataset == b"d" * 32 else None

    def seen(self, order):
        return order in self.orders

    def refusal(self, target, order):
        return self.refusals.get(order, "")

    def is_admin(self, target, key):
        return key in self.admins

    def counts(self, dataset):
        return {"units": 5}

    def check(self, target, order):
        return None


class Orders:
    def __init__(self, journal):
        self.ports = OrderPorts()
        names = {who.key.raw: who.person.name for who in (ANA, BEN)}
        self.now_s = 0.0
        self.service = Commands(journal, names.get, self.ports, self.change, lambda: self.now_s)
        journal.on_write = self.fold
        self.waits = 0
        self.taken_after = 0  # waits until the leader of another site has taken an order
        self.refused_after = 0  # or until its log has refused it
        self.written = set()

    def fold(self, record):
        id_ = digest(Purpose.COMMAND, record.doc)
        self.written.add(id_)
        if self.ports.target_of.led:
            self.ports.orders.add(id_)

    async def change(self, dataset, timeout_s):
        assert dataset == self.ports.target_of.no
        self.waits += 1
        self.now_s += timeout_s
        if self.waits == self.taken_after:
            self.ports.orders |= self.written
        if self.waits == self.refused_after:
            self.ports.refusals = dict.fromkeys(self.written, "the order was taken before")

    def send(self, who=BEN, asking=None, dataset=b"d" * 32, verb="pause", nonce=bytes(16)):
        document = command_document(dataset, verb, {}, [], nonce)
        return self.service.order(document, who.sign(document), (asking or who).person)


@pytest.fixture
def orders(journal):
    return Orders(journal)


def test_a_users_order_is_written_and_answered_with_counts(orders, journal):
    reply = run(orders.send())
    assert (reply["verb"], reply["applied"], reply["counts"]) == ("pause", True, {"units": 5})
    (record,) = journal.records
    assert isinstance(record, Command)
    assert record.key == BEN.key.raw


def test_an_order_for_a_leader_elsewhere_waits_until_that_has_taken_it(orders, journal):
    orders.ports.target_of = replace(OrderPorts.target_of, led=False)
    orders.taken_after = 3
    assert run(orders.send())["applied"] is True
    assert orders.waits == 3
    assert len(journal.records) == 1


def test_an_order_for_a_leader_that_is_away_is_kept_and_said_not_to_be_applied(orders, journal):
    orders.ports.target_of = replace(OrderPorts.target_of, led=False)
    assert run(orders.send())["applied"] is False
    assert orders.now_s == APPLIED_S
    assert len(journal.records) == 1


def test_an_order_that_the_log_of_another_site_refuses_is_refused_with_its_reason(orders, journal):
    orders.ports.target_of = replace(OrderPorts.target_of, led=False)
    orders.refused_after = 2
    assert "taken before" in refused("conflict", orders.send()).message
    assert orders.waits == 2


def test_an_admin_of_another_site_than_the_leaders_is_refused_before_anything_is_written(
    orders, journal
):
    orders.ports.target_of = replace(OrderPorts.target_of, led=False)
    orders.ports.admins = {b"an admin there"}
    error = refused("denied", orders.send(ANA))
    assert "an admin of desy" in error.right
    assert journal.records == []


def test_a_dataset_that_nobody_leads_takes_no_orders(orders, journal):
    orders.ports.target_of = replace(OrderPorts.target_of, led=False, still=True)
    assert "floe mesh recover" in refused("conflict", orders.send()).right
    assert journal.records == []


def test_another_users_dataset_is_not_to_be_ordered_about(orders, journal):
    error = refused("denied", orders.send(who=EVE))
    assert "belongs to ben" in error.message
    assert "eve" in error.message
    assert journal.records == []


def test_an_admin_may(orders, journal):
    run(orders.send(who=ANA))
    assert len(journal.records) == 1


def test_anothers_order_cannot_be_sent_on(orders, journal):
    """Even an admin's token does not make ben's signature an order of ana's."""
    refused("denied", orders.send(who=BEN, asking=ANA))
    assert journal.records == []


def test_an_order_serves_once(orders, journal):
    document = command_document(b"d" * 32, "pause", {}, [], bytes(16))
    orders.ports.orders.add(digest(Purpose.COMMAND, document))
    refused("replayed", orders.send())
    assert journal.records == []
    run(orders.send(nonce=b"1" * 16))


def test_an_order_about_nothing_is_not_found(orders):
    refused("not-found", orders.send(dataset=b"x" * 32))


def test_an_order_that_makes_no_sense_is_refused_with_its_place(orders):
    document = command_document(b"d" * 32, "pause", {}, [], bytes(16))
    document = document.replace(b'"args":{}', b'"args":{"jobs":1}')
    error = refused("invalid", orders.service.order(document, BEN.sign(document), BEN.person))
    assert error.fields["problems"]


def test_an_order_that_no_record_holds_is_refused_before_it_is_written(orders, journal):
    ranges = [edge for low in range(900_000_000, 900_010_000, 3) for edge in (low, low + 1)]
    document = command_document(b"d" * 32, "retry", {"select": {"jobs": ranges}}, [], bytes(16))
    refused("too-large", orders.service.order(document, BEN.sign(document), BEN.person))
    assert journal.records == []


def test_what_nobody_says_of_workers_is_not_told_as_a_limit():
    assert Shape("farm", 4, GPU_MAX, None, None).shown() == "farm has at most 4 CPU a worker"
    assert "nobody says" in Shape("farm", CPU_MAX, GPU_MAX, None, None).shown()
