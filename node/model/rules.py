"""What a description must be beyond the kinds of its keys: names, graph, files, braces, bounds.

Client and node run the same rules; the client knows the rows of a `foreach` file, the node only
its columns. Input is what the kinds left over, so every key may be missing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from node.model import dag
from node.model.after import BadAfter, Wait, parse, source
from node.model.description import CELLS_MAX, ROWS_MAX, UNITS_MAX
from node.model.kinds import HINTS_MAX
from node.model.paths import (
    INPUT_SCHEMES,
    OUTPUT_SCHEMES,
    is_glob,
    scheme,
    wrong_local,
    wrong_url,
)
from node.model.problems import Enough, Path, Report, meant
from pilot.expand import (
    BUILTIN,
    EXPANDED_CHARS_MAX,
    ExpandError,
    ParamCircle,
    Template,
    Tree,
    charge,
    param_order,
)

SAMPLES_MAX: Final = 32
BRACED_CHARS_MAX: Final = 500_000  # bounds what a node spends on one submission to a second
LOCAL_RIGHT: Final = 'write a path below the scratch folder, like "out/x.npz"'
_STREAMS: Final = ("stdin", "stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Foreign:
    """Another dataset that this one waits for, as it was when this one was submitted."""

    id: bytes
    jobs: int
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """What is known beside the description.

    files: local names of the user's files. columns, rows: of `foreach`, rows 1 without one.
    first, last: those rows, None when only the columns are known. foreign: by the name in
    `after`; None while nothing is resolved. thorough: try every value of every axis.
    """

    files: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: int = 1
    first: Mapping[str, Any] | None = None
    last: Mapping[str, Any] | None = None
    foreign: Mapping[str, Foreign] | None = None
    thorough: bool = True


@dataclass(slots=True)
class Outcome:
    """What the rules found out on their way."""

    cells: int = 1
    jobs: int = 1
    uses_jobs: bool = False
    waits: list[list[Wait]] = field(default_factory=list)
    braced_chars: int = 0  # of strings with braces, once for each task that sees them
    shared: dict[Path, _Shared] = field(default_factory=dict)  # compiled once, by place


@dataclass(slots=True)
class _Shared:
    """A value compiled for all tasks that see it; `error` if it cannot be."""

    chars: int  # of its strings with braces
    tree: Tree | None = None
    error: ExpandError | None = None
    constant: Any = None


def check(description: Mapping[str, Any], context: Context, report: Report) -> Outcome:
    """Report everything that is wrong; the outcome is sound only if nothing was."""
    outcome = Outcome()
    _check_names(description, context, report)
    _check_size(description, context, report, outcome)
    tasks = description.get("task", [])
    _check_task_names(tasks, report)
    for index in range(len(tasks)):
        outcome.waits.append(_check_after(index, tasks, context, outcome.jobs, report))
    _check_circles(tasks, outcome.waits, report)
    for index, task in enumerate(tasks):
        _check_modules(index, task, report)
        _check_inputs(index, tasks, outcome.waits[index], context, report)
        _check_outputs(index, task, report)
        _check_local_names(index, task, report)
        _Braces(description, index, context, report, outcome).check()
    if outcome.uses_jobs and description.get("extend") is True:
        right = "leave extend out, or do not use {jobs}"
        report.add(("extend",), "a dataset that uses {jobs} cannot be extended", right)
    return outcome


# --- names and numbers ----------------------------------------------------------------------


def _check_names(description: Mapping[str, Any], context: Context, report: Report) -> None:
    """Every name in braces means one thing."""
    axes, columns = set(description.get("matrix", {})), set(context.columns)
    for axis in sorted(axes):
        _check_free(("matrix", axis), axis, {"foreach": columns}, report)
    for column in sorted(columns):
        _check_free(("foreach",), column, {}, report)
    others = {"matrix": axes, "foreach": columns}
    for name in description.get("params", {}):
        _check_free(("params", name), name, others, report)
    for index, task in enumerate(description.get("task", [])):
        for name in task.get("params", {}):
            _check_free(("task", index, "params", name), name, others, report)


def _check_free(path: Path, name: str, others: Mapping[str, set[str]], report: Report) -> None:
    if name in BUILTIN:
        what = f'"{name}" is built in'
        report.add(path, what, "choose another name than " + ", ".join(BUILTIN))
    for where, names in others.items():
        if name in names:
            report.add(path, f'"{name}" is also in {where}', "rename one of them")


def _check_size(
    description: Mapping[str, Any], context: Context, report: Report, outcome: Outcome
) -> None:
    matrix = 1
    for axis, values in description.get("matrix", {}).items():
        matrix *= max(len(values), 1)
        if len({(type(value), value) for value in values}) < len(values):
            report.warn(("matrix", axis), "has a value twice", "each becomes cells of its own")
    if matrix > CELLS_MAX:
        report.add(("matrix",), f"{matrix:,} cells are too many", f"at most {CELLS_MAX:,}")
    if context.rows > ROWS_MAX:
        report.add(("foreach",), f"{context.rows:,} rows are too many", f"at most {ROWS_MAX:,}")
    outcome.cells = matrix * context.rows
    outcome.jobs = description.get("jobs", 1) * outcome.cells
    units = outcome.jobs * len(description.get("task", []))
    if units > UNITS_MAX:
        report.add(("jobs",), f"{units:,} units are too many", f"at most {UNITS_MAX:,}")


# --- the graph ------------------------------------------------------------------------------


def _check_task_names(tasks: list[Any], report: Report) -> None:
    seen: dict[str, int] = {}
    for index, task in enumerate(tasks):
        name = task.get("name")
        if name in seen:
            what = f'"{name}" is also the name of task {seen[name] + 1}'
            report.add(("task", index, "name"), what, "rename one of them")
        elif name is not None:
            seen[name] = index


def _check_after(
    index: int, tasks: list[Any], context: Context, jobs: int, report: Report
) -> list[Wait]:
    task, path = tasks[index], ("task", index, "after")
    names = [other.get("name", "") for other in tasks]
    waits: list[Wait] = []
    for number, text in enumerate(task.get("after", [])):
        here = (*path, number)
        try:
            wait = parse(text)
        except BadAfter as error:
            report.add(here, error.args[0], error.args[1])
            continue
        if wait in waits:
            report.add(here, f'"{text}" stands here twice', "leave one out")
        elif wait.dataset:
            _check_foreign(wait, here, context.foreign, jobs, report)
        elif wait.task == task.get("name"):
            report.add(here, f'task "{text}" after itself', "leave it out")
        elif wait.task not in names:
            report.add(here, f'no task "{wait.task}"', meant(wait.task, names) or _listed(names))
        waits.append(wait)
    return waits


def _listed(names: Iterable[str]) -> str:
    return "tasks: " + ", ".join(name for name in names if name)


def _check_foreign(
    wait: Wait, path: Path, foreign: Mapping[str, Foreign] | None, jobs: int, report: Report
) -> None:
    if foreign is None or wait.dataset not in foreign:
        return  # not resolved yet, or reported where it was looked up
    other = foreign[wait.dataset]
    if wait.task not in other.tasks:
        right = meant(wait.task, other.tasks) or _listed(other.tasks)
        report.add(path, f'{wait.dataset} has no task "{wait.task}"', right)
    elif not wait.all_jobs and jobs > other.jobs:
        what = f"{wait.dataset} has {other.jobs:,} jobs, this dataset {jobs:,}"
        report.add(path, what, f'use at most as many, or wait for all: "{wait.text}:*"')


def parents(tasks: list[Any], waits: list[list[Wait]]) -> list[list[int]]:
    """For each task the indices of those that it waits for in its own dataset."""
    numbers = {task.get("name"): index for index, task in reversed(list(enumerate(tasks)))}
    return [[numbers[w.task] for w in own if not w.dataset and w.task in numbers] for own in waits]


def _check_circles(tasks: list[Any], waits: list[list[Wait]], report: Report) -> None:
    edges = [[p for p in above if p != own] for own, above in enumerate(parents(tasks, waits))]
    try:
        dag.order(edges)
    except dag.Circle as circle:
        names = " -> ".join(str(tasks[index].get("name", "?")) for index in circle.tasks)
        path = ("task", circle.tasks[0], "after")
        report.add(path, f"tasks wait for each other: {names}", "take one of them out of after")


# --- modules, inputs, outputs ---------------------------------------------------------------


def _check_modules(index: int, task: Mapping[str, Any], report: Report) -> None:
    seen: set[str] = set()
    for number, module in enumerate(task.get("module", [])):
        path = ("task", index, "module", number)
        name = module.get("name", f"m{number}")
        if name in seen:
            report.add((*path, "name"), f'"{name}" is the name of another module', "rename one")
        seen.add(name)
        if ("run" in module) == ("script" in module) and not report.below(path):
            what = "has both run and script" if "run" in module else "has neither run nor script"
            report.add(path, what, "write exactly one of them")
        if module.get("run") and module["run"][0] == "":
            report.add((*path, "run"), "the command is empty", 'write ["program", ...]')
        _check_exit(module.get("exit", {}), (*path, "exit"), report)


def _check_exit(exits: Mapping[str, Any], path: Path, report: Report) -> None:
    seen: dict[int, str] = {}
    for kind in ("ok", "retry", "fail"):
        for code in dict.fromkeys(exits.get(kind, [])):
            if code in seen:
                report.add((*path, kind), f"{code} is also in {seen[code]}", "keep it in one")
            seen[code] = kind


def _check_inputs(
    index: int, tasks: list[Any], waits: list[Wait], context: Context, report: Report
) -> None:
    for local, value in tasks[index].get("inputs", {}).items():
        path = ("task", index, "inputs", local)
        origin = value if isinstance(value, str) else value.get("from", "")
        if report.below(path):
            continue
        if local in context.files:
            report.add(path, f'"{local}" is also in files', "rename one of them")
        found = None if scheme(origin) else source(origin, waits)
        if found is None:
            _check_url_input(origin, local, path, waits, report)
        else:
            _check_task_input(found, local, path, tasks, report)


def _check_url_input(
    origin: str, local: str, path: Path, waits: list[Wait], report: Report
) -> None:
    if local.endswith("/"):
        report.add(path, "a folder is filled by all jobs of a task", 'write "dataset/task:*/file"')
    if scheme(origin):
        what, right = wrong_url(origin, INPUT_SCHEMES)
        if what:
            report.add(path, what, right)
    elif not origin.startswith("{"):  # a name in braces may hold a whole URL
        known = ", ".join(f'"{wait.text}/..."' for wait in waits)
        right = f"known: {known}" if known else "name the task in after, or write a URL"
        report.add(path, f'"{origin[:60]}" is neither a URL nor a file of a task in after', right)


def _check_task_input(
    found: tuple[Wait, str], local: str, path: Path, tasks: list[Any], report: Report
) -> None:
    wait, name = found
    if wait.all_jobs != local.endswith("/"):
        right = f'write "{local}/" = ...' if wait.all_jobs else f'write "{local.rstrip("/")}" = ...'
        what = "all jobs need a folder" if wait.all_jobs else "one job's file needs no folder"
        report.add(path, what, right)
    if wait.all_jobs and "{" in name:
        report.add(path, "no braces in a file of all jobs", "write the name itself")
    if wrong_local(name):
        report.add(path, f'"{name}" {wrong_local(name)}', "write the file's name as in outputs")
    producers = [task for task in tasks if not wait.dataset and task.get("name") == wait.task]
    for task in producers[:1]:
        outputs = list(task.get("outputs", []))
        if not any(_may_be(name, output) for output in outputs):
            right = meant(name, outputs)
            right = right or ("it has: " + ", ".join(outputs) if outputs else "give it outputs")
            report.add(path, f'task "{wait.task}" has no output "{name}"', right)


def _may_be(name: str, output: str) -> bool:
    """Whether an output may turn out to be the file `name`."""
    if name == output or "{" in name or "{" in output:
        return True
    from fnmatch import fnmatchcase  # rarely needed

    return fnmatchcase(name, output)


def _check_outputs(index: int, task: Mapping[str, Any], report: Report) -> None:
    outputs = task.get("outputs", {})
    if isinstance(outputs, list):
        if len(set(outputs)) < len(outputs):
            report.add(("task", index, "outputs"), "has a name twice", "leave one out")
        return
    for name, value in outputs.items():
        for number, url in enumerate(value.get("to", []) if isinstance(value, dict) else []):
            path = ("task", index, "outputs", name, "to", number)
            if "{" not in url or scheme(url):
                what, right = wrong_url(url, OUTPUT_SCHEMES)
                if what:
                    report.add(path, what, right)
            if is_glob(name) and not url.endswith("/"):
                report.add(path, "several files need a folder", f'write "{url}/"')


# --- braces ---------------------------------------------------------------------------------


class _Braces:
    """All strings of one task that are expanded: known names, and a trial with some jobs."""

    def __init__(
        self,
        description: Mapping[str, Any],
        index: int,
        context: Context,
        report: Report,
        outcome: Outcome,
    ) -> None:
        self.description, self.context, self.report = description, context, report
        self.task: Mapping[str, Any] = description["task"][index]
        self.index, self.outcome = index, outcome
        self.axes: dict[str, list[Any]] = description.get("matrix", {})
        self.params: dict[str, tuple[Path, Tree]] = {}
        self.strings: list[tuple[Path, Template]] = []
        self.trees: list[tuple[Path, Tree]] = []
        self.locals: list[tuple[Path, Template, bool]] = []

    def check(self) -> None:
        params = dict(param_values(self.description, self.index))
        names = (*self.axes, *self.context.columns, *sorted(params))
        self.known = (*BUILTIN, *dict.fromkeys(names))
        for name, (path, value) in params.items():
            tree = self._tree(path, value)
            if tree is not None:
                self.params[name] = (path, tree)
        whole = len(self.params) == len(params)
        for path, text in texts(self.description, self.index):
            template = self._template(path, text)
            if template is not None:
                self.strings.append((path, template))
        for path, name, folder in _local_names(self.task, self.index):
            template = self._template(path, name)
            if template is not None:
                self.locals.append((path, template, folder))
        for path, value in values(self.description, self.index):
            tree = self._tree(path, value)
            if tree is not None:
                self.trees.append((path, tree))
        if whole:
            self._try_jobs()

    def _template(self, path: Path, text: str) -> Template | None:
        if "{" not in text and "}" not in text:
            return None
        self._spend(len(text))
        try:
            template = Template(text)
        except ExpandError as error:
            self._wrong(path, error)
            return None
        return template if self._fits(path, template) else None

    def _tree(self, path: Path, value: Any) -> Tree | None:
        shared = self.outcome.shared.get(path)
        if shared is None:
            shared = self.outcome.shared[path] = _Shared(_braced_chars(value))
            self._spend(shared.chars)
            try:
                shared.tree = Tree(value)
                shared.constant = shared.tree.value({}) if shared.tree.constant else None
            except ExpandError as error:
                shared.error = error
        else:
            self._spend(shared.chars)
        if shared.error is not None or shared.tree is None:
            if shared.error is not None:
                self._wrong(path, shared.error)
            return None
        fits = [self._fits(path, template) for template in shared.tree.templates]
        return shared.tree if all(fits) else None

    def _spend(self, chars: int) -> None:
        self.outcome.braced_chars += chars
        if self.outcome.braced_chars > BRACED_CHARS_MAX:
            what = f"more than {BRACED_CHARS_MAX:,} characters in strings with braces"
            self.report.add((), what, "use fewer (they count for each task that sees them)")
            raise Enough

    def _fits(self, path: Path, template: Template) -> bool:
        if "jobs" in template.names:
            self.outcome.uses_jobs = True
        mistakes = template.mistakes(self.known)
        for error in mistakes:
            self._wrong(path, error)
        return not mistakes

    def _wrong(self, path: Path, error: ExpandError) -> None:
        right = error.right
        name = getattr(error, "name", "")
        if name:
            few = len(self.report.problems) < HINTS_MAX
            close = meant(name, self.known) if few else ""
            known = "known: " + ", ".join(self.known)
            right = f"{close + ' ' if close else ''}{known}; {right}"
        self.report.add(path, error.what, right)

    # --- a trial with some jobs

    def _try_jobs(self) -> None:
        try:
            order = param_order({name: tree for name, (_, tree) in self.params.items()})
        except ExpandError as error:
            first = error.params[0] if isinstance(error, ParamCircle) else ""
            path = self.params[first][0] if first else ("params",)
            self.report.add(path, error.what, error.right)
            return
        for job in self._samples():
            names = self._names(job)
            if names is None:
                return
            room = EXPANDED_CHARS_MAX
            for name in order:
                path, tree = self.params[name]
                try:
                    if tree.constant:
                        names[name] = self.outcome.shared[path].constant
                        continue
                    names[name] = made = tree.value(names)
                    room = charge(made, room)
                except ExpandError as error:
                    self.report.add(path, _for_job(error, job, tree.constant), error.right)
                    return
            if not self._try(job, names):
                return

    def _try(self, job: int, names: dict[str, Any]) -> bool:
        good = True
        for path, template in self.strings:
            try:
                template.expand(names)
            except ExpandError as error:
                self.report.add(path, _for_job(error, job, template.constant), error.right)
                good = False
        room = EXPANDED_CHARS_MAX
        for path, tree in self.trees:
            try:
                if not tree.constant:
                    room = charge(tree.value(names), room)
            except ExpandError as error:
                self.report.add(path, _for_job(error, job, tree.constant), error.right)
                good = False
        for path, template, folder in self.locals:
            try:
                name = template.expand(names)
            except ExpandError:
                continue  # reported above
            wrong = wrong_local(name, folder=folder)
            if wrong:
                self.report.add(path, f'job {job}: "{name}" {wrong}', LOCAL_RIGHT)
                good = False
        return good

    def _samples(self) -> list[int]:
        """Job 0, the last one and, when thorough, jobs that show each value of each axis."""
        if self.context.columns and self.context.first is None:
            return []
        last = max(self.outcome.jobs - 1, 0)
        jobs = [0, last] if last else [0]
        step = 1
        for values in reversed(self.axes.values() if self.context.thorough else ()):
            jobs += [step * index for index in range(1, min(len(values), SAMPLES_MAX))]
            step *= len(values)
        return list(dict.fromkeys(jobs))[:SAMPLES_MAX]

    def _names(self, job: int) -> dict[str, Any] | None:
        cells = self.outcome.cells
        names: dict[str, Any] = {"job": job, "jobs": self.outcome.jobs, "cell": job % cells}
        names |= {"rep": job // cells, "task": self.task.get("name", "")}
        names["name"] = self.description.get("name", "")
        rest = job % cells
        for axis, values in reversed(self.axes.items()):
            if not values:
                return None
            rest, index = divmod(rest, len(values))
            names[axis] = values[index]
        row = self.context.first if rest == 0 else self.context.last
        return names | dict(row or {})


def _check_local_names(index: int, task: Mapping[str, Any], report: Report) -> None:
    """Names of files, as far as they stand fast before a job is known."""
    for path, name, folder in _local_names(task, index):
        wrong = "" if "{" in name or "}" in name else wrong_local(name, folder=folder)
        if wrong:
            report.add(path, f'"{name}" {wrong}', LOCAL_RIGHT)


def _braced_chars(value: Any) -> int:
    """Characters of all strings with braces inside a value."""
    total, stack = 0, [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            total += len(item) if "{" in item or "}" in item else 0
        elif isinstance(item, list | dict):
            stack.extend(item.values() if isinstance(item, dict) else item)
    return total


def _for_job(error: ExpandError, job: int, constant: bool) -> str:
    return error.what if constant else f"job {job}: {error.what}"


def param_values(
    description: Mapping[str, Any], index: int
) -> Iterator[tuple[str, tuple[Path, Any]]]:
    """(name, (path, value)) of a task's parameters; a later name shadows an earlier one."""
    for name, value in description.get("params", {}).items():
        yield name, (("params", name), value)
    for name, value in description["task"][index].get("params", {}).items():
        yield name, (("task", index, "params", name), value)


def texts(description: Mapping[str, Any], index: int) -> Iterator[tuple[Path, str]]:
    """Strings of a task that are expanded and stay text."""
    task, top = description["task"][index], ("task", index)
    yield from _env_texts(description.get("env", {}), ("env",))
    yield from _env_texts(task.get("env", {}), (*top, "env"))
    for local, value in task.get("inputs", {}).items():
        path = (*top, "inputs", local)
        yield path, local
        yield path, value if isinstance(value, str) else value.get("from", "")
    outputs = task.get("outputs", {})
    for name in outputs:
        yield (*top, "outputs", name), name
        value = outputs[name] if isinstance(outputs, dict) else True
        for number, url in enumerate(value.get("to", []) if isinstance(value, dict) else []):
            yield (*top, "outputs", name, "to", number), url
    for number, module in enumerate(task.get("module", [])):
        if module.get("expand", True):
            yield from _module_texts(module, (*top, "module", number))


def values(description: Mapping[str, Any], index: int) -> Iterator[tuple[Path, Any]]:
    """Values of a task that are expanded and keep their type."""
    for number, module in enumerate(description["task"][index].get("module", [])):
        if module.get("expand", True):
            for name, value in module.get("write", {}).items():
                yield ("task", index, "module", number, "write", name), value


def _env_texts(env: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, str]]:
    for number, word in enumerate(env.get("wrap", [])):
        yield (*path, "wrap", number), word
    for name, text in env.get("vars", {}).items():
        yield (*path, "vars", name), text


def _module_texts(module: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, str]]:
    for number, word in enumerate(module.get("run", [])):
        yield (*path, "run", number), word
    for key in ("cwd", *_STREAMS):
        if key in module:
            yield (*path, key), module[key]
    for name in module.get("write", {}):
        yield (*path, "write", name), name
    yield from _env_texts(module.get("env", {}), (*path, "env"))


def _local_names(task: Mapping[str, Any], index: int) -> Iterator[tuple[Path, str, bool]]:
    """(path, name, may be a folder) of everything below the scratch folder."""
    top = ("task", index)
    for local in task.get("inputs", {}):
        yield (*top, "inputs", local), local, local.endswith("/")
    for name in task.get("outputs", {}):
        yield (*top, "outputs", name), name, False
    for number, module in enumerate(task.get("module", [])):
        path = (*top, "module", number)
        if not module.get("expand", True):
            continue
        for key in ("cwd", *_STREAMS):
            if key in module:
                yield (*path, key), module[key], key == "cwd"
        for name in module.get("write", {}):
            yield (*path, "write", name), name, False
