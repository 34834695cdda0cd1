"""The node's log: readable, and harmless whatever others put into it."""

import json

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from node.logs import Lines, as_json, as_line, harmless, to_file


def event(text, **fields):
    return {
        "log_level": LogLevel.warn,
        "log_namespace": "node.site",
        "log_time": 0.0,
        "log_format": text,
        **fields,
    }


def test_a_line_says_when_how_bad_where_and_what():
    line = as_line(event("disk {name} is full", name="sda"))
    assert line.startswith(("1970-01-01 ", "1969-12-31 "))
    assert line.endswith(" warn  node.site: disk sda is full\n")


def test_what_others_wrote_can_forge_no_line_and_move_no_cursor():
    line = as_line(event("{host}", host="a\x1b[2J\r2026-01-01 info  node.site: all is well"))
    assert "\x1b" not in line
    assert "\r" not in line
    assert "\\x1b[2J\\x0d" in line
    two = as_line(event("{host}", host="a\n2026-01-01 00:00:00 info  node.site: all is well"))
    assert two.count("\n") == 2
    assert two.splitlines()[1].startswith("    ")  # further lines are indented


def test_harmless_text_is_left_alone():
    assert harmless("nugen-26 ·  ü 中") == "nugen-26 ·  ü 中"


def test_a_failure_brings_its_traceback():
    try:
        raise ValueError("boo")
    except ValueError:
        line = as_line(event("it failed", log_failure=Failure()))
    assert "it failed" in line
    assert "ValueError: boo" in line


def test_json_lines_are_one_object_each():
    value = json.loads(as_json(event("{x}", x="a\nb")))
    assert value == {"time": 0.0, "level": "warn", "from": "node.site", "text": "a\nb"}


def test_lines_are_bounded():
    assert len(as_line(event("{x}", x="y" * 1_000_000))) < 30_000


def test_a_log_that_cannot_be_written_stops_nobody():
    def full(line):
        raise OSError(28, "No space left on device")

    Logger(observer=Lines(full), namespace="test").info("hello")


def test_the_file_is_private(tmp_path):
    write = to_file(tmp_path)
    write("hello\n")
    assert (tmp_path / "node.log").read_text() == "hello\n"
    assert (tmp_path / "node.log").stat().st_mode & 0o777 == 0o600
