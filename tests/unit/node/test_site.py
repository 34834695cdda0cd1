"""A whole node over real sockets: who may do what, what is refused, what survives."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from bench.meshes import wait_until
from federation.ids import EntryRef, FeedID, Lane
from node.model.commands import command_document
from node.model.document import load
from node.model.force import ForceOrder, write_force
from node.model.rules import Foreign
from tests.unit.node.http.people import ANA, BEN, EVE
from tests.unit.node.sites import Caller, RunningSite, description, make_home, task

NO_PILOTS = "[site.local]\npilots_max = 0\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    home = make_home(tmp_path_factory.mktemp("site") / "home", NO_PILOTS)
    running = RunningSite(home)
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture(scope="module")
def ana(site):
    return Caller(site, ANA).log_in()


@pytest.fixture(scope="module")
def ben(site, ana):
    ana.enrol(BEN)
    return Caller(site, BEN).log_in()


def code(status, reply) -> str:
    assert reply[0] == status, reply
    return reply[1]["error"]["code"]


def order(who, dataset_id, verb, args=None, follows=(), nonce=None):
    document = command_document(bytes.fromhex(dataset_id), verb, args or {}, list(follows), nonce)
    return who.signed(document)


# --- who is there


def test_anybody_may_ping_and_learns_no_more_than_needed(site):
    reply = Caller(site).get("/v1/ping")
    assert set(reply) == {"schema", "site", "key", "version", "now_ms"}
    assert (reply["schema"], reply["site"]) == (1, "desy")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/status"),
        ("GET", "/v1/datasets"),
        ("POST", "/v1/datasets"),
        ("POST", "/v1/commands"),
        ("PUT", "/v1/blobs/" + "0" * 64),
        ("GET", "/v1/people"),
        ("POST", "/v1/admin/shutdown"),
        ("GET", "/v1/units/x/0/main/log"),
        ("POST", "/pilot/v1/poll"),
        ("POST", "/pilot/v1/report"),
        ("GET", "/pilot/v1/blob/" + "0" * 64),
    ],
)
def test_strangers_get_401_everywhere(site, method, path):
    stranger = Caller(site)
    for stranger.token in ("", "wrong", "x" * 3000):
        status, headers, body = stranger.raw(method, path, b"{}" if method != "GET" else None)
        assert status == 401
        assert headers["www-authenticate"] == "Bearer"
        assert json.loads(body)["error"]["message"]


def test_people_who_are_not_enrolled_cannot_log_in(site):
    reply = Caller(site, EVE).ask("POST", "/v1/login", {"key": EVE.key.line()})
    assert code(403, reply) == "not-enrolled"


def test_a_pilots_token_is_no_persons_token(site, ana):
    token = ana.post("/v1/admin/pilot-token", {"count": 1})["token"]
    stranger = Caller(site)
    stranger.token = token
    assert code(401, stranger.ask("GET", "/v1/status")) == "unauthenticated"
    stranger.token = ana.token
    status, _ = stranger.ask("POST", "/pilot/v1/poll", {})
    assert status == 401


def test_a_wrong_pilot_token_is_refused(site):
    body = {"token": "guess", "tag": "x", "host": "h", "pid": 1, "resources": {"cpu": 1}}
    status, reply = Caller(site).ask("POST", "/pilot/v1/announce", body)
    assert status in (400, 401), reply
    assert reply["error"]["message"]


# --- submissions


def test_a_submission_is_stored_and_shown(ana):
    reply = ana.submit(description("shown", 4, [task("sim"), task("reco", after=["sim"])]))
    assert reply["units"] == 8
    assert reply["stored_on"] == ["desy"]
    shown = ana.get("/v1/datasets/shown")
    assert shown["dataset"]["id"] == reply["dataset"]["id"]
    assert shown["dataset"]["user"] == "ana"
    assert shown["counts"] == {
        "units": 8,
        "settled": 0,
        "running": 0,
        "ready": 4,
        "waiting": 4,
        "failed": 0,
        "blocked": 0,
        "cancelled": 0,
        "duplicates": 0,
    }
    assert [each["name"] for each in shown["tasks"]] == ["sim", "reco"]
    for ref in (reply["dataset"]["id"][:8], "last", "ana@desy:shown"):
        again = ana.get(f"/v1/datasets/{ref}")
        again["dataset"]["age_s"] = shown["dataset"]["age_s"]  # a second may have passed
        again["sites"] = shown["sites"]  # and the site claims units meanwhile
        assert again == shown


def test_what_was_signed_can_be_had_back(ana):
    from base64 import b64decode

    from keys.sshsig import verify

    ana.submit(description("signed"))
    reply = ana.get("/v1/datasets/signed/document")
    key = verify(b64decode(reply["document"]), b64decode(reply["signature"]))
    assert key.raw == ANA.key.raw
    assert reply["user"] == "ana"


def test_the_same_submission_twice_is_one_dataset(ana):
    from node.model.document import load

    signed = ana.signed(load(description("twice")).build(None).document)
    first, again = (ana.post("/v1/datasets", signed) for _ in range(2))
    assert first["dataset"] == again["dataset"]
    listed = [each["name"] for each in ana.get("/v1/datasets?limit=1000")["datasets"]]
    assert listed.count("twice") == 1


def test_ben_cannot_submit_what_ana_signed(ana, ben):
    from node.model.document import load

    signed = ana.signed(load(description("stolen")).build(None).document)
    assert code(403, ben.ask("POST", "/v1/datasets", signed)) == "denied"
    assert code(404, ben.ask("GET", "/v1/datasets/stolen")) == "not-found"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "bad-request"),
        ({"document": "!", "signature": ""}, "bad-request"),
        ({"document": 7, "signature": ""}, "bad-request"),
        ({"document": "e30=", "signature": "e30="}, "signature"),
    ],
)
def test_bodies_that_are_no_submission_get_400(ana, body, expected):
    assert code(400, ana.ask("POST", "/v1/datasets", body)) == expected


def test_a_signed_document_that_is_no_description_tells_what_is_wrong(ana):
    status, reply = ana.ask("POST", "/v1/datasets", ana.signed(b'{"floe":1}'))
    assert status == 400
    assert reply["error"]["code"] == "invalid"
    assert reply["error"]["problems"]


def test_files_must_be_sent_first(ana, tmp_path):
    from node.model.document import load

    (tmp_path / "gen.py").write_text("print(1)")
    made = load(description("files", files=["gen.py"]), tmp_path).build(None)
    status, reply = ana.ask("POST", "/v1/datasets", ana.signed(made.document))
    assert (status, reply["error"]["code"]) == (409, "missing-blobs")
    (digest,) = (digest.hex() for digest in made.blobs)
    assert reply["error"]["missing"] == [digest]
    assert ana.post("/v1/blobs/missing", {"digests": [digest]})["missing"] == [digest]
    assert ana.put_blob(b"print(1)") == digest
    assert ana.post("/v1/blobs/missing", {"digests": [digest]})["missing"] == []
    ana.post("/v1/datasets", ana.signed(made.document))


def test_a_blob_under_a_false_name_is_not_kept(ana):
    status, _, body = ana.raw("PUT", "/v1/blobs/" + "0" * 64, b"something else")
    assert status == 400
    assert b"digest" in body
    assert ana.post("/v1/blobs/missing", {"digests": ["0" * 64]})["missing"] == ["0" * 64]


def test_large_blobs_go_through_a_file(ana):
    ana.put_blob(os.urandom(1 << 20) * 8)


def test_a_large_body_needs_a_token(site, ana):
    stranger = Caller(site)
    digest = "0" * 64
    connection = stranger.connect()
    connection.putrequest("PUT", f"/v1/blobs/{digest}")
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders()
    assert connection.getresponse().status == 401
    status, _, body = ana.raw("POST", "/v1/commands", None, {"Content-Length": str(1 << 30)})
    assert status == 413, body
    for stranger.token in ("", "guess", ana.token):
        length = {"Content-Length": str(1 << 20)}
        assert stranger.raw("POST", "/pilot/v1/blobs", None, length)[0] == 401


# --- orders


def test_orders_pause_resume_and_cancel(ana):
    made = ana.submit(description("orders"))["dataset"]["id"]
    reply = ana.post("/v1/commands", order(ana, made, "pause"))
    assert reply["applied"] is True
    assert ana.get("/v1/datasets/orders")["dataset"]["paused"] is True
    ana.post("/v1/commands", order(ana, made, "resume"))
    assert ana.get("/v1/datasets/orders")["dataset"]["paused"] is False
    counts = ana.post("/v1/commands", order(ana, made, "cancel"))["counts"]
    assert counts["cancelled"] == 3
    assert len(ana.get("/v1/datasets/orders")["commands"]) >= 1


def test_an_order_serves_once(ana):
    made = ana.submit(description("replay"))["dataset"]["id"]
    pause = order(ana, made, "pause")
    ana.post("/v1/commands", pause)
    ana.post("/v1/commands", order(ana, made, "resume"))
    assert code(409, ana.ask("POST", "/v1/commands", pause)) == "replayed"
    assert ana.get("/v1/datasets/replay")["dataset"]["paused"] is False


def test_two_copies_of_an_order_at_once_count_once(ana):
    from concurrent.futures import ThreadPoolExecutor

    made = ana.submit(description("race"))["dataset"]["id"]
    extend = order(ana, made, "extend", {"jobs": 5})
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: ana.ask("POST", "/v1/commands", extend), range(4)))
    assert {status for status, _ in replies} <= {200, 409}
    assert ana.get("/v1/datasets/race")["dataset"]["jobs"] == 8


def test_another_users_dataset_is_denied_and_both_are_named(ana, ben):
    made = ana.submit(description("anas"))["dataset"]["id"]
    status, reply = ben.ask("POST", "/v1/commands", order(ben, made, "cancel"))
    assert code(403, (status, reply)) == "denied"
    assert "ana" in reply["error"]["message"]
    assert "ben" in reply["error"]["message"]
    assert ana.get("/v1/datasets/anas")["counts"]["cancelled"] == 0


def test_an_admin_may_order_about_anybodys(ana, ben):
    made = ben.submit(description("bens"))["dataset"]["id"]
    ana.post("/v1/commands", order(ana, made, "cancel"))


def test_ben_cannot_send_anas_order(ana, ben):
    made = ana.submit(description("sent-on"))["dataset"]["id"]
    assert code(403, ben.ask("POST", "/v1/commands", order(ana, made, "cancel"))) == "denied"


@pytest.mark.parametrize(
    ("verb", "args", "status"),
    [
        ("cancel", {"select": {"tasks": ["nothing"]}}, 400),
        ("edit", {"needs": {"nothing": {"memory": "1GB"}}}, 400),
    ],
)
def test_orders_about_what_is_not_there_are_refused(ana, verb, args, status):
    made = ana.submit(description(f"odd-{verb}"))["dataset"]["id"]
    reply = ana.ask("POST", "/v1/commands", order(ana, made, verb, args))
    assert code(status, reply) == "invalid"


# --- people and admins


def test_only_admins_do_what_admins_do(ben):
    for path in ("drain", "limits", "backup", "pilot-token", "allow", "shutdown"):
        assert code(403, ben.ask("POST", f"/v1/admin/{path}", {})) == "denied"


def test_ben_cannot_enrol_eve(ben):
    with pytest.raises(AssertionError, match="denied"):
        ben.enrol(EVE)


def test_a_removed_person_is_out_at_once(site, ana):
    from node.model.person import PersonOrder, write_person
    from tests.unit.node.http.people import Signer

    cat = Signer("cat")
    ana.enrol(cat)
    caller = Caller(site, cat).log_in()
    assert caller.get("/v1/people")["people"]
    key = site.home.site_key
    from keys.identity import SiteKey

    removal = PersonOrder("user.remove", SiteKey.load(key).site, cat.key, nonce="1" * 32)
    ana.post("/v1/people", ana.signed(write_person(removal)))
    assert code(401, caller.ask("GET", "/v1/people")) == "unauthenticated"
    assert code(403, caller.ask("POST", "/v1/login", {"key": cat.key.line()})) == "not-enrolled"
    ana.enrol(cat)
    assert code(401, caller.ask("GET", "/v1/people")) == "unauthenticated"  # the token stays dead
    caller.log_in().get("/v1/people")


def test_drain_and_limits(ana):
    assert ana.post("/v1/admin/drain", {"drain": True, "why": "power cut"})["drained"]
    assert any("power cut" in word for word in ana.get("/v1/status")["warnings"])
    ana.submit(description("drained"))
    assert "power cut" in json.dumps(ana.get("/v1/units/drained/0/main/why"))
    assert not ana.post("/v1/admin/drain", {"drain": False})["drained"]
    assert ana.post("/v1/admin/limits", {})["limits"]["pilots_max"] == 0


def test_only_a_banned_worker_can_be_allowed_again(ana):
    assert code(404, ana.ask("POST", "/v1/admin/allow", {"host": "c17"})) == "not-found"
    assert code(400, ana.ask("POST", "/v1/admin/allow", {"host": 17})) == "bad-request"


def test_backup_while_running(ana, tmp_path):
    reply = ana.post("/v1/admin/backup", {"to": str(tmp_path / "copy")})
    assert reply["files"] > 1
    assert (tmp_path / "copy" / "manifest.json").exists()
    assert code(409, ana.ask("POST", "/v1/admin/backup", {"to": str(tmp_path / "copy")}))
    assert code(400, ana.ask("POST", "/v1/admin/backup", {"to": "here"})) == "bad-request"


# --- views


@pytest.mark.parametrize(
    "path",
    [
        "/v1/datasets/nothing",
        "/v1/datasets/nothing/wait?timeout=1",
        "/v1/datasets/nothing/why",
        "/v1/datasets/nothing/errors",
        "/v1/datasets/nothing/outputs",
        "/v1/datasets/nothing/jobs",
        "/v1/datasets/nothing/document",
        "/v1/units/nothing/0/main",
        "/v1/units/seen/9/main",
        "/v1/units/seen/0/nothing",
        "/v1/units/seen/x/main",
        "/v1/units/seen/0/main/log",
        "/v1/units/seen/0/main/output/a.txt",
        "/v1/units/seen/99999999999999999999999/main",
    ],
)
def test_what_is_not_there_is_404(ana, path):
    if "seen" not in [each["name"] for each in ana.get("/v1/datasets?limit=1000")["datasets"]]:
        ana.submit(description("seen"))
    assert code(404, ana.ask("GET", path))


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=99999999", "jobs=x", "jobs=5-1"])
def test_odd_questions_get_400(ana, query):
    ana.submit(description("odd"))
    assert code(400, ana.ask("GET", f"/v1/datasets/odd/jobs?{query}")) == "bad-request"


def test_a_name_of_several_people_has_to_be_said_whole(site, ana, ben):
    ana.submit(description("shared"))
    ben.submit(description("shared"))
    assert ana.get("/v1/datasets/shared")["dataset"]["user"] == "ana"
    ana.enrol(EVE)
    eve = Caller(site, EVE).log_in()
    status, reply = eve.ask("GET", "/v1/datasets/shared")
    assert (status, reply["error"]["code"]) == (409, "conflict")
    assert sorted(reply["error"]["choices"]) == ["ana@desy:shared", "ben@desy:shared"]
    assert eve.get("/v1/datasets/ben@desy:shared")["dataset"]["user"] == "ben"


def test_listings_come_in_pages(ana):
    ana.submit(description("paged", 5, [task("sim"), task("reco")]))
    seen, after = [], ""
    for _ in range(10):
        page = ana.get(f"/v1/datasets/paged/jobs?limit=3&after={after}")
        seen += [(unit["job"], unit["task"]) for unit in page["units"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [(job, name) for job in range(5) for name in ("sim", "reco")]
    assert len(ana.get("/v1/datasets/paged/jobs?jobs=1-2,4&task=sim")["units"]) == 3


def test_a_wait_ends_when_the_dataset_does(ana):
    from concurrent.futures import ThreadPoolExecutor

    made = ana.submit(description("waited"))["dataset"]["id"]
    assert ana.get("/v1/datasets/waited/wait?timeout=0.1")["done"] is False
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ana.get, "/v1/datasets/waited/wait?timeout=30")
        ana.post("/v1/commands", order(ana, made, "cancel"))
        assert waiting.result(60)["done"] is True


def test_status_site_usage_and_store_are_shown(ana):
    status = ana.get("/v1/status")
    assert status["site"]["name"] == "desy"
    assert status["pid"] == ana.site.address.pid
    assert status["api"] == ana.site.address.api
    assert ana.get("/v1/site")["site"]["state"] == "alive"
    assert ana.get("/v1/pilots")["pilots"] == []
    assert ana.get("/v1/usage")["schema"] == 1
    assert len(ana.get("/v1/store")["feeds"]) >= 1


# --- the process itself


def test_the_home_is_private(site):
    mode = stat.S_IMODE(site.home.path.stat().st_mode)
    assert mode == 0o700
    for file in (site.home.node_json, site.home.site_key, site.home.api_certificate):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_nobody_may_dump_or_debug_the_node():
    """A process of its own, as that cannot be undone."""
    program = (
        "import ctypes; from node.opening import make_undumpable; make_undumpable();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "0\n"


def test_the_node_takes_no_harm_from_any_of_this(ana):
    ana.submit(description("alive"))
    assert "Traceback" not in ana.site.log()


# --- lives of a node


@pytest.fixture
def own(tmp_path):
    """A site of a test's own, without pilots."""
    made = []

    def make(config=NO_PILOTS) -> RunningSite:
        made.append(RunningSite(make_home(tmp_path / "home", config)))
        return made[-1]

    yield make
    for running in made:
        if running.process.poll() is None:
            running.stop(signal.SIGKILL)


def test_what_was_acknowledged_survives_kill_9_and_the_port_stays(own):
    site = own()
    ana = Caller(site).log_in()
    made = ana.submit(description("kept"))["dataset"]
    before = site.address.api
    site.stop(signal.SIGKILL)
    site.start()
    assert site.address.api == before
    assert code(401, ana.ask("GET", "/v1/status")) == "unauthenticated"  # tokens do not survive
    ana = Caller(site).log_in()
    assert ana.get("/v1/datasets/kept")["dataset"]["id"] == made["id"]
    assert ana.get("/v1/store")["feeds"][0]["generation"] == 1


def test_a_second_node_on_the_same_home_is_refused_and_names_the_first(own):
    from node.daemon import DaemonError, detach

    site = own()
    with pytest.raises(DaemonError, match=f"pid {site.address.pid}"):
        detach(site.home)
    Caller(site).get("/v1/ping")


def test_sigterm_ends_it_cleanly_and_forgets_the_address(own):
    site = own()
    assert site.stop() == 0
    assert site.home.address() is None or not site.home.node_json.exists()
    assert "Traceback" not in site.log()


def test_an_admin_can_shut_it_down(own):
    site = own()
    Caller(site).log_in().post("/v1/admin/shutdown", {})
    assert site.process.wait(20) == 0


def put_back(site, copy):
    """Put a copy of the database in place of the one that is there."""
    with open(copy, "rb") as old, open(site.home.database, "r+b") as now:
        now.truncate()
        now.write(old.read())
    for beside in site.home.path.glob("floe.sqlite-*"):
        beside.unlink()


@pytest.fixture
def restored(own, tmp_path):
    """A site whose database is that of yesterday, when it had one dataset of the two."""
    site = own()
    Caller(site).log_in().submit(description("yesterday"))
    site.stop()
    shutil.copy(site.home.database, tmp_path / "yesterday.sqlite")
    site.start()
    Caller(site).log_in().submit(description("today"))
    site.stop()
    put_back(site, tmp_path / "yesterday.sqlite")
    site.start()
    return site


def test_without_its_high_water_file_a_site_writes_nothing_before_an_admin_says_which_copy_it_is(
    own,
):
    site = own()
    ana = Caller(site).log_in()
    ana.submit(description("before"))
    site.stop()
    site.home.highwater.unlink()
    site.start()
    assert "floe mesh recover --newest" in site.address.note
    ana = Caller(site).log_in()
    (held,) = [each for each in ana.get("/v1/status")["warnings"] if "writes nothing" in each]
    assert held == site.address.note == ana.get("/v1/recovery")["held"]
    assert f"desy: {held}" in ana.get("/v1/mesh")["alarms"]
    why = ana.get("/v1/mesh/why/desy")["why"]
    assert {"mark": "block", "text": held} in why["lines"]
    assert ana.ask("POST", "/pilot/v1/announce", {})[0] == 503
    ana.submit(description("refused"), 503)
    assert ana.ask("POST", "/v1/recovery/copy", {"newest": 1})[0] == 400
    ana.post("/v1/recovery/copy", {"newest": True})
    ana = goes_on(site)
    ana.submit(description("after"))
    assert {feed["generation"] for feed in ana.get("/v1/store")["feeds"]} == {1}


def goes_on(site):
    """The caller of a site that starts again by itself, once it has."""
    wait_until(lambda: "is up again" in site.log(), 30, "the site is up again")
    return Caller(site).log_in()


def foreign(ana, name):
    shown = ana.get(f"/v1/datasets/{name}")
    tasks = tuple(each["name"] for each in shown["tasks"])
    return Foreign(bytes.fromhex(shown["dataset"]["id"]), shown["dataset"]["jobs"], tasks)


def word(ana, found, still, **other):
    """What ana signs to let a shard go on."""
    cut = still["cut"]
    old, new = (
        FeedID(bytes.fromhex(site), generation, Lane.CONTROL)
        for site, generation in (
            (cut["site"], cut["generation"]),
            (found["site"], found["generation"]),
        )
    )
    cut = EntryRef(old, cut["seq"], bytes.fromhex(cut["entry"]))
    order = ForceOrder(bytes.fromhex(still["shard"]), still["term"], new, cut, os.urandom(16))
    return ana.signed(write_force(replace(order, **other)))


def test_a_copy_of_the_database_from_yesterday_is_noticed(restored):
    site, ana = restored, Caller(restored).log_in()
    (still,) = [each for each in ana.get("/v1/status")["warnings"] if "still" in each]
    assert "yesterday" in still
    assert "floe mesh recover" in still
    assert "floe mesh recover" in site.log()
    generations = {feed["generation"] for feed in ana.get("/v1/store")["feeds"]}
    assert generations == {1, 2}
    assert ana.get("/v1/store")["refused_records"] == 0
    assert code(404, ana.ask("GET", "/v1/datasets/today")) == "not-found"
    kept = ana.get("/v1/datasets/yesterday")["dataset"]["id"]
    reply = ana.ask("POST", "/v1/commands", order(ana, kept, "cancel"))
    assert code(409, reply) == "conflict"
    assert "recover" in reply[1]["error"]["right"]
    for path in ("datasets/yesterday/why", "units/yesterday/0/main/why"):
        why = ana.get(f"/v1/{path}")["why"]
        assert why["state"] == "stopped"
        assert why["next"] == ["floe mesh recover"]
    ana.submit(description("tomorrow"))
    assert ana.get("/v1/datasets/tomorrow")["counts"]["ready"] == 3
    waits = description("after", tasks=[task("main", after=["yesterday/main"])])
    made = load(waits).build(lambda name: foreign(ana, name))
    reply = ana.post("/v1/datasets", ana.signed(made.document), 409)
    assert "recover" in reply["error"]["right"]


def test_an_admin_lets_what_stands_still_go_on(restored):
    site, ana = restored, Caller(restored).log_in()
    ana.enrol(BEN)
    ben = Caller(site, BEN).log_in()
    assert code(403, ben.ask("GET", "/v1/recovery")) == "denied"
    found = ana.get("/v1/recovery")
    (still,) = found["still"]
    (lost,) = found["lost"]
    assert lost["generation"] == 1
    assert lost["control"][0] <= lost["control"][1]
    assert [each["name"] for each in still["open"]] == ["yesterday"]
    assert code(403, ben.ask("POST", "/v1/recovery", word(ben, found, still))) == "denied"
    assert code(403, ana.ask("POST", "/v1/recovery", word(ben, found, still))) == "denied"
    elsewhere = word(ana, found, still, shard=b"x" * 32)
    assert code(409, ana.ask("POST", "/v1/recovery", elsewhere)) == "conflict"
    stale = {**still, "cut": {**still["cut"], "seq": still["cut"]["seq"] + 1}}
    assert code(409, ana.ask("POST", "/v1/recovery", word(ana, found, stale))) == "conflict"
    document = {"document": "e30=", "signature": ana.signed(b"{}")["signature"]}
    assert code(400, ana.ask("POST", "/v1/recovery", document)) == "invalid"
    signed = word(ana, found, still)
    taken = ana.post("/v1/recovery", signed)
    assert (taken["term"], taken["generation"]) == (2, 2)
    assert code(409, ana.ask("POST", "/v1/recovery", signed)) == "conflict"
    assert ana.get("/v1/recovery")["still"] == []
    assert not [each for each in ana.get("/v1/status")["warnings"] if "still" in each]
    shown = ana.get("/v1/datasets/yesterday")
    (forced,) = shown["forced"]
    assert (forced["by"], forced["term"]) == ("ana", 2)
    assert shown["counts"]["ready"] == 3
    ana.post("/v1/commands", order(ana, shown["dataset"]["id"], "cancel"))
    assert ana.get("/v1/datasets/yesterday")["counts"]["cancelled"] == 3
    made = load(description("after", tasks=[task("main", after=["yesterday/main"])])).build(
        lambda name: foreign(ana, name)
    )
    ana.post("/v1/datasets", ana.signed(made.document))
    assert ana.get("/v1/datasets/after")["counts"]["blocked"] == 3
    site.stop()
    site.start()
    ana = Caller(site).log_in()
    assert ana.get("/v1/datasets/after")["counts"]["blocked"] == 3
    found = ana.get("/v1/recovery")
    assert (found["still"], len(found["forced"]), len(found["lost"])) == ([], 1, 1)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda home: home.config.write_text("nam = 3"), "unknown"),
        (lambda home: home.site_key.unlink(), "no site"),
        (lambda home: home.api_certificate.write_text("x"), "certificate"),
        (lambda home: home.enrol.write_text("{}"), "enrols nobody"),
        (lambda home: home.database.write_text("this is no database at all" * 100), "SQLite"),
    ],
)
def test_a_home_that_cannot_be_used_says_why(tmp_path, spoil, word):
    from node.daemon import DaemonError, detach

    home = make_home(tmp_path / "home", NO_PILOTS)
    spoil(home)
    with pytest.raises(DaemonError, match=word):
        detach(home)


def test_a_pilot_runs_units_and_their_outputs_come_back(own):
    site = own("[site.local]\nslots = 2\n")
    ana = Caller(site).log_in()
    make = task(
        "make",
        ["sh", "-c", "echo made $FLOE_JOB; echo $FLOE_JOB > out.txt"],
        outputs=["out.txt"],
    )
    use = task(
        "use",
        ["sh", "-c", "test $FLOE_JOB != 1 || { echo bad luck >&2; exit 3; }; cat in.txt"],
        after=["make"],
        inputs={"in.txt": "make/out.txt"},
        retry={"max": 0},
    )
    ana.submit(description("run", 3, [make, use]))
    counts = ana.wait("run")
    assert (counts["settled"], counts["failed"]) == (5, 1)
    unit = ana.get("/v1/units/run/2/use")
    (attempt,) = unit["attempts"]
    assert (unit["unit"]["state"], attempt["exit"], attempt["accepted"]) == ("settled", 0, True)
    assert ana.raw("GET", "/v1/units/run/2/use/log")[2] == b"2\n"
    assert ana.raw("GET", "/v1/units/run/1/make/output/out.txt")[2] == b"1\n"
    assert code(404, ana.ask("GET", "/v1/units/run/1/make/output/other.txt")) == "not-found"
    listed = ana.get("/v1/datasets/run/outputs")["outputs"]
    assert sorted((each["job"], each["task"], each["path"]) for each in listed) == [
        (job, "make", "out.txt") for job in range(3)
    ]
    (group,) = ana.get("/v1/datasets/run/errors")["errors"]
    assert (group["count"], group["kind"], group["sample"]) == (1, "exit 3", "run/1/use#1")
    assert "bad luck" in group["tail"]
    why = ana.get("/v1/units/run/1/use/why")["why"]
    assert why["state"] == "failed"
    assert "floe logs run/1/use#1" in why["next"]
    assert ana.get("/v1/datasets/run/why")["why"]["state"] == "failed"
    assert ana.get("/v1/pilots")["pilots"][0]["slots"] == 2
    ana.post("/v1/admin/drain", {"drain": True, "pilots": "end"})
