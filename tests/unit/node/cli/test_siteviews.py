"""`floe site show` and `floe pilots` over what a node with batch systems really tells."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from federation.pulse import Health
from federation.shapes import Workers
from node.cli.pilots import pilot_table
from node.config import Config
from node.services.facts import SiteFacts
from node.services.mesh import MeshViews
from node.services.meshfacts import BanFact, MeshFacts, SiteFact
from node.services.refusal import Refusal
from node.services.siteviews import SiteViews
from node.services.status import Identity
from schedulers.base import JobState
from tests.fakes.api_server import FakeNode, Refuse, Request
from tests.fakes.batch import FEWER
from tests.unit.node.cli.conftest import Floe
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.work.house import Described

HOSTILE = "\x1b]0;owned\x07[red]x[/red]"
LOOK_S = SETTINGS.look_s


def views(camp: Camp) -> SiteViews:
    facts = SiteFacts(
        Config(name="desy"), Path("/"), camp.house.work, lambda: 0, lambda: camp.node.trouble,
        tuple, batch=camp.node.shapes, explain=camp.node.explain,
    )  # fmt: skip
    me = Identity(b"d" * 32, "desy", "1.4.0", "https://login2:7422", "ff", 1, "")
    return SiteViews(me, camp.house.work, facts, camp.node)


def tell(node: FakeNode, camp: Camp, **asked: Any) -> None:
    """Let the node answer with what this site is like now."""
    shown = views(camp)
    node.replies["/v1/site"] = asyncio.run(shown.site())
    told = {"system": "", "state": "", "limit": 100} | asked
    node.replies["/v1/pilots"] = asyncio.run(shown.pilots(**told))


def line_of(text: str, start: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith(start))


def test_a_batch_system_at_work_is_one_line(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 5000))
    camp.run(200)
    tell(node, camp)
    shown = floe("site", "show").out
    assert shown.startswith("desy·")
    cells = line_of(shown, "maui")
    running, queued = camp.system.book.running(), camp.system.book.queued()
    assert cells[1:3] == ["slurm", "ok"]
    assert " ".join(cells).startswith(f"maui slurm ok {running} of 6 {queued} of 4 0 0")
    assert "!" not in shown


def test_a_batch_system_that_is_silent_says_so_with_its_words(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 5000))
    camp.run(200)
    camp.batch.faults.fails = True
    camp.run(6 * LOOK_S)
    tell(node, camp)
    shown = floe("site", "show").out
    assert "no answer" in shown
    assert "! maui: no answer about jobs: cannot reach the daemon" in shown
    camp.batch.faults.fails = False
    camp.run(20 * LOOK_S)
    tell(node, camp)
    shown = floe("site", "show").out
    assert line_of(shown, "maui")[2] == "ok"
    assert "- maui: last error," in shown
    assert "!" not in shown


def test_a_batch_system_that_is_left_out_says_so(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 5000))
    camp.batch.slots = 1
    camp.run(200)
    camp.settings = ()
    camp.restart()
    camp.run(1)
    tell(node, camp)
    shown = floe("site", "show").out
    assert line_of(shown, "maui")[2:6] == ["leaving", "1", "of", "0"]
    assert "! maui: config.toml does not name it any more: its pilots are let go" in shown


def test_pilots_that_a_batch_system_believes_to_run_are_told_once_they_are_lost(
    floe: Floe, node: FakeNode
) -> None:
    camp = Camp(Described(1, 5000))
    camp.batch.slots, camp.unit_s = 6, 100_000
    assert camp.run(200, lambda: len(camp.batch.running()) == 6)
    camp.run(LOOK_S)
    for pilot in camp.pilots[:2]:
        pilot.gone = True  # as with its worker; nobody tells the batch system
    camp.run(120)
    tell(node, camp)
    assert "silent" not in floe("site", "show").out
    camp.run(120)
    tell(node, camp)
    shown = " ".join(floe("site", "show").out.split())
    assert "! maui: 2 running pilots silent for up to " in shown
    assert line_of(floe("site", "show").out, "maui")[3:6] == ["6", "of", "6"]
    assert floe("pilots").out.count("lost") >= 2
    (said,) = camp.node.why.values()
    assert "6 of 6 queued and running pilots, 2 of them silent" in said["maui"]
    for pilot in camp.pilots[:2]:
        camp.batch.end(pilot.job, JobState.NODE_FAILED)
    camp.run(3 * LOOK_S)
    tell(node, camp)
    assert "silent" not in floe("site", "show").out


def test_pilots_that_die_are_a_reason_shown_once(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 5000))
    camp.behave = camp.dies
    camp.run(600)
    tell(node, camp)
    shown = floe("site", "show").out
    assert line_of(shown, "maui")[2] == "stopped"
    assert shown.count("no route to node") == 1
    assert re.search(r"^! maui: 4 CPUs, 8 GB, 2h: \d pilots in a row ended", shown, re.MULTILINE)


def test_a_full_quota_is_shown_once_and_is_no_trouble(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 5000))
    camp.batch.faults.limit = lambda given: FEWER
    camp.run(400)
    tell(node, camp)
    shown = floe("site", "show").out
    assert line_of(shown, "maui")[2] == "ok"
    (line,) = [line for line in shown.split("\n- ") if "as many jobs as are allowed" in line]
    assert "no more are taken for the moment, the next try is in" in " ".join(line.split())
    assert "!" not in shown


def test_a_held_pilot_is_shown_with_the_reason(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 40))
    camp.batch.held = f"JobHeldAdmin {HOSTILE}"
    camp.run(12 * LOOK_S)
    tell(node, camp)
    shown = floe("site", "show").out
    held = sum(job.state is JobState.HELD for job in camp.batch.living())
    assert line_of(shown, "maui")[9] == str(held) != "0"
    assert re.search(r"job \S+ and \d+ more are held: JobHeldAdmin", shown)
    pilots = floe("pilots").out
    assert f"maui: {held} held" in pilots
    assert "JobHeldAdmin" in pilots
    assert "\x1b" not in shown + pilots
    assert "JobHeldAdmin" in next(iter(camp.node.explain(needs(camp)).values()))


def needs(camp: Camp) -> Any:
    return next(iter(camp.house.work.dispatch.ready.tasks.values())).needs


def test_a_worker_that_swallows_units_is_shown_with_the_evidence(
    floe: Floe, node: FakeNode
) -> None:
    camp = Camp(Described(1, 300))
    camp.swallows = "w1"
    camp.run(1500, lambda: bool(camp.node.hosts()) and "run well" in str(camp.node.hosts()))
    tell(node, camp)
    shown = floe("site", "show").out
    assert "workers that get no units" in shown
    cells = line_of(shown, "w1")
    assert cells[:2] == ["w1.example.org", "in"]
    assert "such units run well on w" in shown


def test_one_batch_system_is_shown_with_its_limits(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 5), systems=(SETTINGS, replace(SETTINGS, name="other")))
    camp.run(100)
    tell(node, camp)
    shown = floe("site", "show", "other").out
    assert "maui" not in shown
    assert "queued max" in shown
    assert "workers reach this node at https://node:1" in shown
    assert "2h00m 8h00m 1d0h 3d0h" in shown
    assert floe("site", "show", "other", "--json").json()["system"]["running_max"] == 6


def test_kinds_of_pilots_that_look_alike_are_told_by_their_names(
    floe: Floe, node: FakeNode
) -> None:
    (one,) = SETTINGS.factories
    kinds = (replace(one, name="cheap"), replace(one, name="dear"))
    camp = Camp(Described(1, 5000), systems=(replace(SETTINGS, factories=kinds),))
    camp.batch.faults.refuses = "Invalid account specified"
    camp.run(100)
    tell(node, camp)
    shown = floe("site", "show").out
    assert "! maui: cheap (4 CPUs, 8 GB, " in shown
    assert shown.count("has at most 4 CPU") == 1


def test_every_pilot_has_its_job_host_and_units(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 5000))
    camp.batch.slots = 3
    camp.run(200)
    tell(node, camp)
    reply = floe("pilots", "--json").json()
    up = [pilot for pilot in reply["pilots"] if pilot["state"] == "running"]
    assert len(up) == 3
    for pilot in up:
        job = camp.batch.jobs[pilot["job"]]
        assert (pilot["system"], pilot["host"], pilot["running"]) == (
            "maui",
            f"{job.host}.example.org",
            4,
        )
    queued = [pilot for pilot in reply["pilots"] if pilot["state"] == "queued"]
    assert {each["job"] for each in queued} == {
        job.name for job in camp.batch.living() if job.state is JobState.QUEUED
    }
    assert reply["counts"] == {"maui": {"running": 3, "queued": len(queued)}}
    assert f"maui: 3 running, {len(queued)} queued" in floe("pilots").out


def test_a_pilot_without_work_tells_for_how_long(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 4))
    camp.run(200)
    tell(node, camp)
    (idle,) = [each for each in floe("pilots", "--json").json()["pilots"] if each["id"]]
    assert idle["state"] == "idle"
    assert 60 < idle["idle_s"] < 200


def test_a_job_that_runs_in_silence_is_starting(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 40))
    camp.behave = camp.silent
    camp.run(120)
    tell(node, camp)
    rows = floe("pilots", "--json").json()["pilots"]
    assert {(row["state"], row["host"][:1]) for row in rows} == {("starting", "w")}


def test_why_a_pilot_waited_is_forgotten_once_it_speaks(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 40))
    camp.batch.slots = 0
    camp.run(LOOK_S + 10)
    for job in camp.batch.living():
        job.words = "waits for room"
    camp.run(LOOK_S)
    tell(node, camp)
    assert "waits for room" in floe("pilots").out
    camp.batch.slots = 1
    camp.run(2 * LOOK_S)
    tell(node, camp)
    rows = floe("pilots", "--json").json()["pilots"]
    assert any(row["state"] == "running" for row in rows)
    for row in rows:
        assert row["state"] != "running" or not row["note"]


def row(job: str, **more: Any) -> dict[str, Any]:
    return {"system": "maui", "job": job, "state": "queued", "since_s": 33.0} | more


def test_a_note_is_told_once_for_pilots_in_a_row() -> None:
    rows = [row("11_1", note="no room"), row("11_2", note="no room"), row("11_3", note="held"),
            row("11_4", note="no room"), row("11_5")]  # fmt: skip
    columns, cells = pilot_table(rows, '"')
    assert [each[-1] for each in cells] == ["no room", '"', "held", "no room", ""]
    assert columns[-1] == "NOTE"
    _, plain = pilot_table(rows)
    assert [each[-1] for each in plain] == ["no room", "no room", "held", "no room", ""]


def test_isolation_is_a_column_where_it_is_not_full() -> None:
    assert "ISOLATION" not in pilot_table([row("1", isolation="full"), row("2")])[0]
    columns, ((*_, isolation, _),) = pilot_table([row("1", isolation="group")])
    assert "ISOLATION" in columns
    assert isolation == "group"


def test_a_submission_in_doubt_is_one_row(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 5000))
    camp.batch.faults.drops = 1
    camp.run(10, lambda: bool(camp.verbs("submit")))
    tell(node, camp)
    (row,) = floe("pilots", "--json").json()["pilots"]
    assert (row["state"], row["count"]) == ("in doubt", 4)
    assert "? ×4" in floe("pilots").out
    assert "the connection is gone" in floe("pilots").out


@pytest.mark.parametrize(("asked", "count"), [({"system": "maui"}, 6), ({"system": "local"}, 0),
                                              ({"state": "queued"}, 2)])  # fmt: skip
def test_pilots_are_chosen_by_batch_system_and_state(asked: dict[str, str], count: int) -> None:
    camp = Camp(Described(1, 5000))
    camp.run(200)
    told = {"system": "", "state": "", "limit": 100} | asked
    assert len(asyncio.run(views(camp).pilots(**told))["pilots"]) == count  # type: ignore[arg-type]


def test_no_more_rows_come_than_were_asked_for(floe: Floe, node: FakeNode) -> None:
    camp = Camp(Described(1, 5000))
    camp.run(200)
    tell(node, camp, limit=2)
    assert floe("pilots", "--json").json()["left_out"] == 4
    assert "and 4 more: --all" in floe("pilots").out


def tell_of_member(node: FakeNode, site: SiteFact) -> None:
    async def facts() -> MeshFacts:
        return MeshFacts((SiteFact(b"d" * 32, "desy", Health.ALIVE, own=True), site))

    shown = MeshViews(facts, cast(Any, None), lambda key: "?")

    def answer(request: Request) -> Any:
        try:
            return asyncio.run(shown.site(request.path.rpartition("/")[2]))
        except Refusal as error:
            raise Refuse(404, error.message, code=error.code) from None

    for name in ("aachen", "nowhere"):
        node.replies[f"/v1/mesh/sites/{name}"] = answer


def test_another_site_is_shown_by_its_own_word(floe: Floe, node: FakeNode) -> None:
    tell(node, Camp())
    why = f"5 units in a row failed at once {HOSTILE}"
    tell_of_member(node, SiteFact(
        b"a" * 32, "aachen", Health.ALIVE, seen_s=3.0, version="1.4.0", batch=("sge",),
        running=1205, ready=8100, pilots=96,
        workers=(Workers(64, 2, 256_000, 900_000, 86_400, 40, 120),),
        barred=3,
        bans=(BanFact("c17", 2820.0, why),),
    ))  # fmt: skip
    shown = floe("site", "show", "aachen").out
    assert re.match(r"aachen·\w{8} · alive · 1.4.0 · heard 3 s ago\n", shown)
    assert "batch     sge" in shown
    assert "pilots    96 up, 1,205 units running, 8,100 ready" in shown
    assert "64 CPU, 2 GPU, 268 GB memory" in shown
    assert line_of(shown, "c17")[:3] == ["c17", "in", "47m00s"]
    assert "and 2 more workers that get no units" in shown
    assert "\x1b" not in shown
    assert floe("site", "show", "aachen", "--json").json()["site"]["bans"][0]["banned_s"] == 2820


def test_a_name_that_is_neither_batch_system_nor_site_tells_both(
    floe: Floe, node: FakeNode
) -> None:
    tell(node, Camp())
    tell_of_member(node, SiteFact(b"a" * 32, "aachen", Health.ALIVE))
    missing = floe("site", "show", "nowhere")
    assert missing.status == 4
    assert "no site goes by 'nowhere' here, and no batch system of this site" in missing.err
    assert "batch systems: local, maui" in missing.err


def test_a_mended_worker_gets_units_again_by_an_order(floe: Floe, node: FakeNode) -> None:
    asked: list[Any] = []

    def answer(request: Request) -> Any:
        asked.append(request.json())
        return {"allowed": "c17"}

    node.replies["/v1/admin/allow"] = answer
    shown = floe("site", "allow", "c17")
    assert shown.out == "c17 gets units again; if they fail there as before, it is banned again\n"
    assert asked == [{"host": "c17"}]
