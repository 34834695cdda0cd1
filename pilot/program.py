"""From an expanded module to the program to start: argv, environment, where to find it."""

import os
from fnmatch import fnmatchcase
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

SHELL = "/bin/sh"
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_KEPT = ("HOME", "PATH", "LANG")
_SETUP = '%s\nexec "$@"'


class NotFound(Exception):
    """No such program, or none that may be executed; `status` is what a shell would exit with."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what)
        self.status = status


Program = NamedTuple("Program", [("path", str), ("argv", List[str]), ("env", Dict[str, str])])


class Programs:
    """Builds programs for modules; remembers what a PATH resolved to.

    environ: the pilot's own environment, from which little is passed on.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._base = {name: environ[name] for name in _KEPT if name in environ}
        self._base.setdefault("PATH", DEFAULT_PATH)
        self._found: Dict[Tuple[str, str], str] = {}

    def environment(
        self, env: Mapping[str, Any], own: Mapping[str, str], devices: Mapping[str, str]
    ) -> Dict[str, str]:
        """The variables of a module.

        env: the module's merged `env`; own: FLOE_* and TMPDIR; devices: what of CUDA and its kin
        this unit may see.
        """
        if env.get("clear", True):
            result = self._base.copy()
            for pattern in env.get("keep") or ():
                for name, value in self._environ.items():
                    if fnmatchcase(name, pattern):
                        result[name] = value
        else:
            result = self._environ.copy()
        result.update(devices)
        result.update(env.get("vars") or {})
        result.update(own)
        return result

    def program(self, module: Mapping[str, Any], env: Dict[str, str]) -> Program:
        """What to start for a module, from its working directory. Raises NotFound."""
        setup, wrap = module["env"].get("setup") or "", module["env"].get("wrap") or []
        script = module.get("script")
        argv = list(module["run"]) if script is None else [SHELL, "-eu", "-c", script]
        argv = list(wrap) + argv
        if setup:
            argv = [SHELL, "-c", _SETUP % setup, SHELL, *argv]
        return Program(self._resolve(argv[0], env.get("PATH", DEFAULT_PATH)), argv, env)

    def _resolve(self, name: str, path: str) -> str:
        if "/" in name:
            return name
        key = (name, path)
        found = self._found.get(key)
        if found is None:
            found = _search(name, path)
            if found.startswith("/"):
                self._found[key] = found
        return found


def _search(name: str, path: str) -> str:
    for folder in path.split(":"):
        candidate = os.path.join(folder or ".", name)
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise NotFound("no program %r in PATH" % name, 127)


def shown(argv: Sequence[str], most: int = 200) -> str:
    """An argv for messages, shortened."""
    text = " ".join(argv)
    return text if len(text) <= most else text[: most - 3] + "..."
