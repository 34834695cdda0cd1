"""What batch systems say of their settings, shown to people: `floe config check`, `floe up`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from node.cli.failures import Failed
from node.cli.output import harmless, note, say_marked, say_wrapped, styled
from node.config import Config, ConfigError, load
from node.home import Home
from node.provisioning.findings import Finding, Verdict, refused

_STYLES = {
    Verdict.FINE: "green", Verdict.NOTE: "yellow", Verdict.LATER: "yellow",
    Verdict.REFUSED: "bold red",
}  # fmt: skip


def ask_systems(home: Home) -> list[Finding]:
    """Raises Failed if they could not be asked at all."""
    from node.trial import TrialError, findings

    try:
        return findings(home)
    except TrialError as error:
        raise Failed(str(error)) from None


def show(found: Sequence[Finding]) -> None:
    """Each on a line; what to do on one of its own."""
    for each in found:
        line = styled(f"  {harmless(each.place)}  {each.step}  ")
        line.append(each.verdict.value, style=_STYLES[each.verdict])
        line.append("  ")
        say_marked(line, each.words, 4)
        if each.right:
            say_wrapped(f"    → {harmless(each.right)}", " " * 6)


def before(home: Home, config: Config, kept: str, anyway: str) -> None:
    """Raises Failed with the words of batch systems that refuse their settings.

    kept: what is not done then; anyway: the command that does it.
    """
    if not config.systems:
        return
    found = ask_systems(home)
    if bad := refused(found):
        many = f"{len(bad)} problem{'s' if len(bad) > 1 else ''}"
        lines = [f"{home.config}: {many}, {kept}", *(each.line() for each in bad)]
        raise Failed("\n  ".join(lines), f"without asking them: {anyway}")
    for each in found:
        if each.verdict is not Verdict.FINE:
            note(f"floe: {each.verdict.value}: {harmless(each.line())}")


def before_start(home: Home) -> None:
    """Raises Failed where a batch system refuses its settings."""
    with suppress(ConfigError):  # the node says so itself
        before(home, load(home.config), "the node was not started", "floe up --anyway")
