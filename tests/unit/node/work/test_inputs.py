"""Files that units get from other units, and rows of foreach tables."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest
from twisted.internet.defer import Deferred, succeed

from node.changes import OutputsChanged
from node.meshing.files import Wanted
from node.model.dataset import After, DatasetSpec, FileRef, Needs, TaskSpec
from node.store.blobs import BlobMissing, digest_of
from node.unitstate import TaskState
from node.work.inputs import Inputs
from node.work.ports import Known, Resolved
from tests.unit.node.fold.world import Log, database, document, fold_into, results
from tests.unit.node.work.house import result_of

IN = {"in.txt": "make/out-{job}.txt"}


class Blobs:
    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.folder = Path("/nowhere")

    def put(self, content: bytes) -> bytes:
        self.kept[digest_of(content)] = content
        return digest_of(content)

    def get(self, digest: bytes) -> bytes:
        if digest not in self.kept:
            raise BlobMissing("not here")
        return self.kept[digest]

    def path_of(self, digest: bytes) -> Path:
        return self.folder / digest.hex()

    def missing(self, digests: Sequence[bytes]) -> list[bytes]:
        return [digest for digest in digests if digest not in self.kept]


class Kitchen:
    """Dataset 1 has tasks `make` and `use`; dataset 2 has one task that waits for all of `make`."""

    def __init__(self, tmp_path: Path) -> None:
        self.blobs = Blobs()
        self.conn = database()
        self.log = Log.new()
        self.log.found()
        text = document("d", [("make", ()), ("use", (0,))], jobs=3)
        self.id = self.log.submit(text)
        self.log.grant(self.id, [0, 1], [0, 3])
        self.inputs = Inputs(self.blobs, self.read, tmp_path / "rows")
        child = TaskState(65, 1, Needs(), None)
        self.make = TaskState(64, 0, Needs(), None, children=[child])

    def read(self, fn: Callable[[apsw.Connection], Any]) -> Deferred[Any]:
        fold_into(self.conn, self.log.entries)
        self.log.entries.clear()
        return succeed(fn(self.conn))

    def made(self, job: int, *paths: str) -> bytes:
        """The digest of the output list of a `make`."""
        listing = [
            {"path": path, "digest": f"{job:02x}" * 32, "size": 5, "mode": 0o644} for path in paths
        ]
        return self.blobs.put(json.dumps(listing).encode())

    def settle(self, *jobs: int) -> None:
        digests = [self.made(job, f"out-{job}.txt") for job in jobs]
        self.log.results(results(self.id, 0, jobs, outputs=digests))

    def known(self, inputs: dict[str, Any], after: After, no: int = 1, **more: Any) -> Known:
        description = {
            "task": [
                {"name": "make", "module": []},
                {"name": "use", "inputs": inputs, "module": []},
            ]
        }
        tasks = (
            TaskSpec(0, "make", (), Needs(), 3, {}),
            TaskSpec(1, "use", (after,), Needs(), 3, {}),
        )
        document = {"description": description, **more.pop("document", {})}
        fields = {"foreach": None, **more}
        spec = DatasetSpec(
            self.id if no == 1 else b"2" * 32, "d", "", {}, "g", 50, 3, 1, True, tasks, (),
            document=document, **fields,
        )  # fmt: skip
        return Known(no, spec, 3)

    def ask(self, known: Known, *jobs: int) -> Resolved:
        task = TaskState(known.no * 64 + 1, 1, Needs(), None)
        answer: Resolved = result_of(Deferred.fromCoroutine(self.inputs.resolve(known, task, jobs)))
        return answer


SAME = After("make", 0, "make")


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


def test_a_unit_reads_the_outputs_of_the_same_job(kitchen: Kitchen) -> None:
    kitchen.settle(0, 1, 2)
    found = kitchen.ask(kitchen.known(IN, SAME), 0, 2)
    assert found.inputs == {
        0: [["in.txt", "00" * 32, 5, 0o644]], 2: [["in.txt", "02" * 32, 5, 0o644]],
    }  # fmt: skip
    assert not found.missing


def test_results_that_are_not_accepted_yet_serve_as_well(kitchen: Kitchen) -> None:
    digest = kitchen.made(1, "out-1.txt")
    kitchen.inputs.note(kitchen.make, [1], digest)
    found = kitchen.ask(kitchen.known(IN, SAME), 1)
    assert found.inputs == {1: [["in.txt", "01" * 32, 5, 0o644]]}


def test_outputs_that_nobody_waits_for_are_not_kept(kitchen: Kitchen) -> None:
    kitchen.make.children.clear()
    kitchen.inputs.note(kitchen.make, [1], kitchen.made(1, "out-1.txt"))
    assert kitchen.inputs.recent(64, 1) is None


def test_the_first_success_is_the_one_that_is_read(kitchen: Kitchen) -> None:
    kitchen.settle(1)
    late = kitchen.blobs.put(b'[{"path": "out-1.txt", "digest": "ff", "size": 1, "mode": 420}]')
    kitchen.log.results(results(kitchen.id, 0, [1], outputs=late))
    found = kitchen.ask(kitchen.known(IN, SAME), 1)
    assert found.inputs[1][0][1] == "01" * 32


def test_a_later_attempt_does_not_replace_outputs_that_are_not_accepted_yet(
    kitchen: Kitchen,
) -> None:
    kitchen.inputs.note(kitchen.make, [1], kitchen.made(1, "out-1.txt"))
    late = kitchen.blobs.put(b'[{"path": "out-1.txt", "digest": "ff", "size": 1, "mode": 420}]')
    kitchen.inputs.note(kitchen.make, [1], late)
    found = kitchen.ask(kitchen.known(IN, SAME), 1)
    assert found.inputs[1][0][1] == "01" * 32


def test_what_was_made_again_here_is_read_only_if_it_counts(kitchen: Kitchen) -> None:
    kitchen.settle(1)
    kitchen.inputs.note(kitchen.make, [1], kitchen.made(7, "out-1.txt"))
    assert kitchen.ask(kitchen.known(IN, SAME), 1).inputs[1][0][1] == "07" * 32
    kitchen.inputs.changed([OutputsChanged(64, [1])])
    assert kitchen.ask(kitchen.known(IN, SAME), 1).inputs[1][0][1] == "01" * 32


def test_attempts_without_outputs_say_nothing(kitchen: Kitchen) -> None:
    kitchen.inputs.note(kitchen.make, [0, 1], [kitchen.made(0, "out-0.txt"), b""])
    assert kitchen.inputs.recent(64, 1) is None
    kitchen.inputs.note(kitchen.make, [1], kitchen.made(1, "out-1.txt"))
    found = kitchen.ask(kitchen.known(IN, SAME), 0, 1)
    assert [found.inputs[job][0][1] for job in (0, 1)] == ["00" * 32, "01" * 32]


def test_all_jobs_of_another_dataset_fill_a_folder(kitchen: Kitchen) -> None:
    kitchen.settle(0, 1)
    kitchen.log.results(results(kitchen.id, 0, [2], outputs=kitchen.made(2, "out-0.txt")))
    everything = After("d/make:*", 0, "make", kitchen.id, "d", True, 3)
    known = kitchen.known({"all/": "d/make:*/out-0.txt"}, everything, no=2)
    found = kitchen.ask(known, 0)
    assert "make of job 1 has no output 'out-0.txt'" in found.missing[0]
    optional = {"all/": {"from": "d/make:*/out-0.txt", "optional": True}}
    found = kitchen.ask(kitchen.known(optional, everything, no=2), 0)
    assert [entry[0] for entry in found.inputs[0]] == ["all/0/out-0.txt", "all/2/out-0.txt"]


@pytest.mark.parametrize(
    "listing", [b"", b"[" * 100_000, b'{"a": 1}', b'[{"path": "out-1.txt"}]', b"\xff", None]
)
def test_a_list_of_outputs_that_is_none_keeps_only_its_readers(
    kitchen: Kitchen, listing: bytes | None
) -> None:
    kitchen.settle(0)
    digest = b"\x01" * 32 if listing is None else kitchen.blobs.put(listing)
    kitchen.log.results(results(kitchen.id, 0, [1], outputs=digest))
    found = kitchen.ask(kitchen.known(IN, SAME), 0, 1)
    assert list(found.inputs) == [0]
    assert "list of outputs" in found.missing[1]


def test_a_missing_file_is_told_unless_it_is_optional(kitchen: Kitchen) -> None:
    kitchen.settle(0)
    found = kitchen.ask(kitchen.known({"x": "make/other"}, SAME), 0)
    assert found.inputs == {}
    assert "has no output 'other'" in found.missing[0]
    found = kitchen.ask(kitchen.known({"x": {"from": "make/other", "optional": True}}, SAME), 0)
    assert found.inputs == {0: []}


@pytest.mark.parametrize("small", [True, False])
def test_a_unit_gets_its_row_of_a_table(kitchen: Kitchen, tmp_path: Path, small: bool) -> None:
    table = b"run,label\n10,a\n20,b\n30,c\n"
    digest = kitchen.blobs.put(table)
    if not small:
        kitchen.blobs.folder = tmp_path
        kitchen.blobs.path_of(digest).write_bytes(table)
    found = kitchen.ask(_with_rows(kitchen, digest, table), 1, 2, 4)
    assert found.rows == {
        1: {"run": 20, "label": "b"}, 2: {"run": 30, "label": "c"}, 4: {"run": 20, "label": "b"},
    }  # fmt: skip


def test_a_lost_table_is_told_of_the_units_that_need_it(kitchen: Kitchen) -> None:
    table = b"run,label\n10,a\n"
    known = _with_rows(kitchen, kitchen.blobs.put(table), table)
    kitchen.blobs.kept.clear()
    found = kitchen.ask(known, 1, 2)
    assert found.missing == {1: "the foreach table: not here", 2: "the foreach table: not here"}


def test_a_value_that_fails_for_one_job_is_left_for_the_pilot_to_tell(kitchen: Kitchen) -> None:
    kitchen.settle(0, 1)
    known = kitchen.known(IN, SAME)
    known.spec.document["description"]["params"] = {"x": "{10 // job}"}
    found = kitchen.ask(known, 0, 1)
    assert (found.inputs[0], len(found.inputs[1])) == ([], 1)
    assert not found.missing


def _with_rows(kitchen: Kitchen, digest: bytes, table: bytes) -> Known:
    known = kitchen.known(
        {}, SAME, foreach=FileRef("foreach", digest, len(table), 0o644),
        document={"foreach": {"format": "csv", "columns": ["run", "label"]}},
    )  # fmt: skip
    return Known(1, dataclasses.replace(known.spec, cells=3), 6)


# Files that other sites made


class Bringer:
    """Brings what it was given, and notes what it was asked for."""

    def __init__(self, kitchen: Kitchen) -> None:
        self.kitchen = kitchen
        self.away: dict[bytes, bytes] = {}  # content by digest, at another site
        self.asked: list[list[bytes]] = []
        kitchen.inputs = Inputs(kitchen.blobs, kitchen.read, Path("/nowhere"), self.bring)

    async def bring(self, wanted: Sequence[Wanted]) -> Mapping[bytes, str]:
        self.asked.append(sorted(each.digest for each in wanted))
        assert all(each.sites == [self.kitchen.log.site] for each in wanted)
        for each in wanted:
            if each.digest in self.away:
                self.kitchen.blobs.put(self.away[each.digest])
        return {each.digest: "aachen: away" for each in wanted if each.digest not in self.away}

    def settle_away(self, job: int) -> tuple[bytes, bytes]:
        """A `make` whose list and file lie elsewhere; their digests."""
        content = b"made by %d" % job
        digest = digest_of(content)
        entry = {"path": f"out-{job}.txt", "digest": digest.hex(), "size": 9, "mode": 0o644}
        listing = json.dumps([entry]).encode()
        self.away |= {digest_of(listing): listing, digest: content}
        made = results(self.kitchen.id, 0, [job], outputs=[digest_of(listing)])
        self.kitchen.log.results(made)
        return digest_of(listing), digest


def test_lists_and_then_files_of_other_sites_are_brought_before_a_unit_goes_out(
    kitchen: Kitchen,
) -> None:
    bringer = Bringer(kitchen)
    listing, file = bringer.settle_away(1)
    found = kitchen.ask(kitchen.known(IN, SAME), 1)
    assert bringer.asked == [[listing], [file]]
    assert found.inputs == {1: [["in.txt", file.hex(), 9, 0o644]]}
    assert not found.missing


def test_a_file_that_cannot_be_brought_keeps_only_the_units_that_read_it(
    kitchen: Kitchen,
) -> None:
    bringer = Bringer(kitchen)
    _, lost = bringer.settle_away(0)
    _, kept = bringer.settle_away(1)
    del bringer.away[lost]
    found = kitchen.ask(kitchen.known(IN, SAME), 0, 1)
    assert found.inputs == {1: [["in.txt", kept.hex(), 9, 0o644]]}
    assert found.missing == {0: "aachen: away"}


def test_a_unit_that_reads_all_jobs_has_all_their_files_brought_together(
    kitchen: Kitchen,
) -> None:
    bringer = Bringer(kitchen)
    digests = [bringer.settle_away(job) for job in range(3)]
    everything = After("d/make:*", 0, "make", kitchen.id, "d", True, 3)
    bringer.away.pop(digests[2][1])
    optional = {name: {"from": f"d/make:*/out-{job}.txt", "optional": True}
                for job, name in enumerate(("a/", "b/", "c/"))}  # fmt: skip
    found = kitchen.ask(kitchen.known(optional, everything, no=2), 0)
    assert bringer.asked[0] == sorted(listing for listing, _ in digests)
    assert bringer.asked[1] == sorted(file for _, file in digests)
    assert found.missing == {0: "aachen: away"}
