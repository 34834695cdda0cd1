"""The verb config: show, check."""

from __future__ import annotations

from node.cli.command import Floe, json_option, pass_floe, verb_group
from node.cli.failures import ERROR, Failed
from node.cli.output import print_json, say
from node.config import Config, ConfigError, as_tables, load


@verb_group("config", examples=["floe config show", "floe config check"])
def config_verb() -> None:
    """Show or check the settings of this site, config.toml in its home."""


@config_verb.command("show", examples=["floe config show --json"])
@json_option
@pass_floe
def config_show(floe: Floe) -> None:
    """Show every setting with the value in use; defaults are marked."""
    found, defaults = as_tables(_load(floe)), as_tables(Config())
    if floe.as_json:
        print_json({"file": str(floe.home.config), "settings": found})
        return
    say(f"# {floe.home.config}")
    for section, values in found.items():
        if not isinstance(values, dict):
            say(f"{section} = {_toml(values)}")
            continue
        say(f"\n[{section}]")
        for name, value in values.items():
            mark = "  # default" if value == defaults[section][name] else ""
            say(f"{name} = {_toml(value)}{mark}")


@config_verb.command("check", examples=["floe config check && floe up --detach"])
@json_option
@pass_floe
def config_check(floe: Floe) -> int:
    """Say everything that is wrong in config.toml; exit status 1 if anything is."""
    try:
        load(floe.home.config)
    except ConfigError as error:
        if not floe.as_json:
            raise Failed(str(error)) from None
        print_json({"ok": False, "problems": str(error).split("\n  ")})
        return ERROR
    if floe.as_json:
        print_json({"ok": True, "problems": []})
    else:
        missing = "" if floe.home.config.exists() else " (there is none: every default)"
        say(f"{floe.home.config} is fine{missing}")
    return 0


def _load(floe: Floe) -> Config:
    try:
        return load(floe.home.config)
    except ConfigError as error:
        raise Failed(str(error), "floe config check") from None


def _toml(value: object) -> str:
    import json

    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value)
