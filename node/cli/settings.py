"""The verb config: show, check, reload."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from node.cli.command import Floe, json_option, pass_floe, verb_group
from node.cli.failures import ERROR, OK, Failed
from node.cli.output import harmless, print_json, say
from node.config import API, LOCAL, MESH, STORE, Config, ConfigError, load
from node.model.units import show_size, show_time
from node.provisioning.plugins import PLUGINS
from node.provisioning.settings import FACTORY, MAIN, SHAPE, SSH, SYSTEM, SystemConfig


@verb_group("config", examples=["floe config show", "floe config check", "floe config reload"])
def config_verb() -> None:
    """Show, check or reload the settings of this site, config.toml in its home."""


@config_verb.command("show", examples=["floe config show --json"])
@json_option
@pass_floe
def config_show(floe: Floe) -> None:
    """Show every setting with the value in use, as config.toml writes it; defaults are marked."""
    config = _load(floe)
    bare = tuple(SystemConfig(each.name, each.kind) for each in config.systems)
    found, defaults = written(config), written(Config(systems=bare))
    if floe.as_json:
        print_json({"file": str(floe.home.config), "settings": found})
        return
    say(f"# {floe.home.config}")
    say(f"name = {json.dumps(found['name'])}")
    for section, values in found.items():
        if not isinstance(values, dict):
            continue
        say(f"\n[{section}]")
        for name, value in values.items():
            words = ["all of it"] if name in ("memory", "disk") and value == "0B" else []
            words += _origin(name, value, defaults[section])
            if (section, name, value) == ("site.local", "pilots_max", 0) and config.systems:
                words = ["no pilots on this machine"]
            if value is None:
                say(f"# {name}: as the units ask")
                continue
            say(f"{name} = {_toml(value)}" + (f"  # {', '.join(words)}" if words else ""))


def _origin(name: str, value: Any, defaults: Mapping[str, Any]) -> list[str]:
    """Whether nobody needs to write it. A kind has no default."""
    return ["default"] if name != "kind" and value == defaults.get(name) else []


def _toml(value: Any) -> str:
    """A value as TOML writes it; what is not said in a table of a list is left out."""
    if isinstance(value, dict):
        said = (f"{name} = {_toml(each)}" for name, each in value.items() if each is not None)
        return f"{{{', '.join(said)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def written(config: Config) -> dict[str, Any]:
    """Every setting under its key in the file, in the file's own way of writing it."""
    settings: dict[str, Any] = {"name": config.name}
    sections: dict[str, tuple[object, Mapping[str, tuple[str, Any]]]] = {
        "api": (config.api, API),
        "store": (config.store, STORE),
        "site.local": (config.local, LOCAL),
        "mesh": (config.mesh, MESH),
    }
    for section, (values, known) in sections.items():
        settings[section] = _written(values, known)
    for system in config.systems:
        settings[f"site.{system.name}"] = _batch_system(system)
    return settings


def _written(values: object, known: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    return {key: _value(field, getattr(values, field)) for key, (field, _) in known.items()}


def _batch_system(system: SystemConfig) -> dict[str, Any]:
    """One shape stands in the section itself, several in tables of their own."""
    found = _written(system, SYSTEM)
    names = {**SSH, **PLUGINS[system.kind].keys}
    given = {**system.ssh, **system.more}
    found |= {key: given[field] for key, (field, _) in names.items() if field in given}
    if [each.name for each in system.factories] == [MAIN]:
        return found | _written(system.factories[0], SHAPE)
    pilots = [{"name": each.name} | _written(each, FACTORY) for each in system.factories]
    return found | {"pilot": pilots}


def _value(field: str, value: Any) -> Any:
    if field == "tunnel":
        return {None: False, 0: True}.get(value, value)
    if value is not None and field == "times_s":
        return [show_time(each).replace(" ", "") for each in value]
    if value is not None and "_bytes" in field:
        return show_size(value).replace(" ", "")
    if field.endswith("_s"):
        return show_time(value).replace(" ", "")
    return list(value) if isinstance(value, tuple) else value


@config_verb.command(
    "check", examples=["floe config check && floe up --detach", "floe config check --offline"]
)
@click.option("--offline", is_flag=True, help="Ask no batch system, only read the file.")
@json_option
@pass_floe
def config_check(floe: Floe, offline: bool) -> int:
    """Say everything that is wrong in config.toml; exit status 1 if anything is.

    Each batch system is asked what it would say of a pilot; nothing is submitted.
    """
    try:
        config = load(floe.home.config)
    except ConfigError as error:
        if not floe.as_json:
            raise Failed(str(error)) from None
        print_json({"ok": False, "problems": str(error).split("\n  "), "findings": []})
        return ERROR
    from node.cli import trying
    from node.provisioning.findings import asked_later, refused

    found = [] if offline or not config.systems else trying.ask_systems(floe.home)
    bad = refused(found)
    if floe.as_json:
        problems = [each.line() for each in bad]
        shown = [each.shown() for each in found]
        print_json({"ok": not bad, "problems": problems, "findings": shown})
        return ERROR if bad else OK
    missing = "" if floe.home.config.exists() else " (there is none: every default)"
    trying.show(found)
    later = ", as far as it can be told now" if asked_later(found) else ""
    say(f"{floe.home.config} {'is refused' if bad else f'is fine{missing}{later}'}")
    return ERROR if bad else OK


@config_verb.command("reload", examples=["floe config reload", "floe config reload --anyway"])
@click.option(
    "--anyway",
    is_flag=True,
    help="Do not ask batch systems whether they take pilots; give up those of one left out.",
)
@json_option
@pass_floe
def config_reload(floe: Floe, anyway: bool) -> None:
    """Have the node that runs go on with what config.toml says now.

    Everything below [site] counts at once, batch systems that are new or left out as well; other
    sections count from the next start. Batch systems are asked anew even if nothing has changed.
    Nothing is changed where a batch system refuses its settings, as for `floe config check`, or
    where one with pilots is left out.
    """
    config = _load(floe)
    if not anyway:
        from node.cli.trying import before

        before(floe.home, config, "nothing was changed", "floe config reload --anyway")
    reply = floe.client().post("/v1/admin/reload", {"anyway": anyway})
    if floe.as_json:
        print_json(reply)
        return
    changed = [harmless(each) for each in reply.get("changed") or []]
    say("changed" if changed else "nothing has changed below [site]; batch systems are asked anew")
    for words in changed:
        say(f"  {words}")
    if later := reply.get("later"):
        names = ", ".join(map(harmless, later))
        say(f"from the next start of the node: {names}")


def _load(floe: Floe) -> Config:
    try:
        return load(floe.home.config)
    except ConfigError as error:
        raise Failed(str(error), "floe config check") from None
