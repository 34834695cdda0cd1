"""What comes from outside is shown, never obeyed; numbers are for people."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from node.cli import output, summary

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u200b\u2028\x00\x7f"


def test_control_and_hidden_characters_are_written_out() -> None:
    shown = output.harmless(HOSTILE)
    assert shown.isprintable()
    assert r"\x1b]0;owned\x07" in shown
    assert r"\u202egnp.exe" in shown


def test_a_log_keeps_lines_and_loses_colours() -> None:
    text = "\x1b[1;31mred\x1b[0m\r\n10 %\r20 %\n\ttab \x1b[2J"
    assert output.harmless(text, lines=True) == "red\n10 %\n20 %\n\ttab \\x1b[2J"


@given(st.text())
def test_nothing_but_printable_characters_remains(text: str) -> None:
    assert output.harmless(text).isprintable() or not text


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"])))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert output.harmless(text) == text


def test_lines_are_wrapped_between_words_and_a_command_at_the_end_is_kept_whole() -> None:
    text = "! desy: not heard for 4 m. Nobody has taken over its shard yet. floe mesh why desy"
    assert output.wrapped(text, 74, "  ") == [
        "! desy: not heard for 4 m. Nobody has taken over its shard yet.",
        "  floe mesh why desy",
    ]
    assert output.wrapped(text, 200, "  ") == [text]
    assert output.wrapped("  ok     a link", 80, " " * 9) == ["  ok     a link"]


def test_a_number_and_its_unit_stay_on_one_line() -> None:
    text = "cleaned up  job 6: its pilot left  12 s"
    assert output.wrapped(text, 38, "    ") == ["cleaned up  job 6: its pilot left", "    12 s"]


def test_what_comes_after_a_mark_is_folded_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {}
    for width in (50, 24):
        file = io.StringIO()
        terminal = Console(file=file, width=width, force_terminal=True, color_system=None)
        monkeypatch.setattr(output, "console", lambda terminal=terminal: terminal)
        monkeypatch.setattr("sys.stdout", file)
        output.say_marked(
            output.styled("  wait   "), "maui: two pilots wait for room in the queue", 9
        )
        shown[width] = file.getvalue().splitlines()
    assert shown[50] == ["  wait   maui: two pilots wait for room in the", " " * 9 + "queue"]
    assert len(shown[24]) == 1, "too narrow to be folded"


def test_markup_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["A", ">B"], [["[bold red]x[/]", ":smile:"], ["[link=file:///]y[/link]", 1]])
    shown = capsys.readouterr().out
    assert "[bold red]x[/]" in shown
    assert ":smile:" in shown
    assert "[link=file:///]" in shown


def test_json_is_ascii_and_versioned(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"name": HOSTILE})
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert '"schema": 1' in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.42, "0.4 s"),
        (45, "45 s"),
        (59.6, "1m00s"),
        (7860, "2h11m"),
        (200_000, "2d7h"),
        (None, "-"),
    ],
)
def test_durations(seconds: object, shown: str) -> None:
    assert output.duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (2100, "2.1 kB"), (999_600, "1 MB"), (16e9, "16 GB"), ("x", "-")],
)
def test_sizes(count: object, shown: str) -> None:
    assert output.size(count) == shown


def test_a_bar_is_full_only_at_the_end() -> None:
    assert output.bar(0.0, 4) == "····"
    assert output.bar(0.5, 4) == "██··"
    assert output.bar(1.0, 4) == "████"


def test_a_dataset_says_how_much_its_council_has_not_settled_yet() -> None:
    written = io.StringIO()
    console = Console(width=100, file=written)
    reply = {"dataset": {"name": "d"}, "counts": {"units": 9, "settled": 5}, "unsettled": 1_234}
    console.print(summary.view(reply))
    console.print(summary.view({**reply, "unsettled": 0}))
    assert written.getvalue().count("not settled by the council yet") == 1
    assert "1,234 of them" in written.getvalue()


def test_what_failed_attempts_used_counts_too() -> None:
    task = {"name": "sim", "cpu_s": 0.0, "lost_cpu_s": 45.0, "memory_max": 0}
    file = io.StringIO()
    view = summary.view({"dataset": {}, "tasks": [task | {"memory_max_failed": 1_700_000_000}]})
    Console(file=file, width=200).print(view)
    assert "45 s" in file.getvalue()
    assert "1.7 GB" in file.getvalue()
