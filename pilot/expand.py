"""Braces in a dataset's strings: compile once, expand for every unit.

One scan from left to right; text that was inserted is never scanned again. The rules:

1. `{{` gives `{`. `}}` gives `}`, unless it stands inside an open literal brace.
2. `${` is literal, with its `}`.
3. `{body}` is an expression if the body has no braces, and what stands before an optional
   `:format` has a letter or `_` and only `A-Za-z0-9_ + - * / % ( ) [ ] .` and spaces.
4. Any other `{` is literal and pairs with its `}`.
5. A `}` that closes nothing is refused, and so is a `{` that nothing closes.

A known name directly after the `{` of rule 2 or 4 is refused (`Template.mistakes`): there it
looks like an expression but is none. The node validates every description with this very code,
so pilots only expand. Python 3.6, standard library.
"""

import json
import re
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

EXPRESSION_CHARS_MAX = 256
INTEGER_BITS_MAX = 128
EXPANDED_CHARS_MAX = 1 << 20  # of one text, of all params together, of all written files together
NESTING_MAX = 20  # tables within tables, and parameters that use parameters
BUILTIN = ("job", "jobs", "cell", "rep", "task", "name")

Names = Mapping[str, Any]
Evaluate = Callable[[Names], Any]

_BRACE = re.compile(r"[{}]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BODY = re.compile(r"([A-Za-z0-9_+\-*/%()\[\]. ]*)(?::([^{}]*))?\}")
_LETTER = re.compile(r"[A-Za-z_]")
_TOKEN = re.compile(r" *(?:([A-Za-z_][A-Za-z0-9_]*)|([0-9]+)|(//|[+\-*/%()\[\].])|$)")
_NUMBER_FORMAT = re.compile(r"0?[0-9]{0,2}[dxXo]\Z")
_TEXT_FORMAT = re.compile(r"[0-9]{0,2}s\Z")
LITERAL_HINT = 'a literal brace is written "{{"'


class ExpandError(ValueError):
    """Text that cannot be expanded: `what` is wrong, `right` says what to write instead."""

    def __init__(self, what: str, right: str = LITERAL_HINT) -> None:
        super(ExpandError, self).__init__(what)
        self.what = what
        self.right = right


class UnknownName(ExpandError):
    """A name in braces that this task does not have."""

    def __init__(self, name: str) -> None:
        super(UnknownName, self).__init__("{%s} is unknown here" % name)
        self.name = name


# --- values ---------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    """What a value looks like inside a string. Lists and tables have no such look: ExpandError."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is int:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is float:
        return repr(value)
    raise ExpandError(
        "%s cannot stand inside a string" % _kind(value), "pick an item: x[0] or x.key"
    )


def shell_text(value: Any) -> str:
    """The same for an environment variable, where lists and tables become JSON."""
    if isinstance(value, (list, dict)):
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text_of(value)


def weight(value: Any, most: int) -> int:
    """Characters and items of a value; stops counting above `most`, since items may be shared."""
    total, stack = 0, [value]
    while stack and total <= most:
        item = stack.pop()
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, list):
            total += len(item)
            stack.extend(item)
        elif isinstance(item, dict):
            total += len(item) + sum(map(len, item))
            stack.extend(item.values())
    return total


def charge(value: Any, room: int) -> int:
    """What is left of `room` characters after `value`. ExpandError if that is less than none.

    Values that use each other ten times over twenty steps would fill any memory.
    """
    kind = type(value)
    if kind is str:
        room -= len(value)
    elif kind is list or kind is dict:
        room -= weight(value, room)
    if room < 0:
        raise _too_large()
    return room


def _too_large() -> ExpandError:
    what = "expands to more than %d characters" % EXPANDED_CHARS_MAX
    return ExpandError(what, "let the program make it")


def written(value: Any) -> str:
    """The content of a `write` file: JSON for a list or table, otherwise the value as text."""
    if isinstance(value, (list, dict)):
        return json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n"
    return text_of(value)


def shell_values(names: Names) -> Dict[str, str]:
    """FLOE_JOB, FLOE_JOBS, ... and FLOE_P_<name> for everything that is not built in."""
    result = {}
    for name, value in names.items():
        key = "FLOE_" + name.upper() if name in BUILTIN else "FLOE_P_" + name
        result[key] = shell_text(value)
    return result


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = ((int, "an integer"), (float, "a float"), (str, "text"), (list, "a list"))
    for kind, name in kinds:
        if isinstance(value, kind):
            return name
    return "a table"


def _bounded(value: int) -> int:
    if value.bit_length() > INTEGER_BITS_MAX:
        raise ExpandError(
            "the result has more than %d bits" % INTEGER_BITS_MAX, "use smaller numbers"
        )
    return value


# --- expressions: a recursive descent over at most 256 characters into closures ---------------


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ExpandError("arithmetic needs integers, this is %s" % _kind(value), "use an integer")
    return int(value)


def _add(a: Any, b: Any) -> int:
    return _bounded(_integer(a) + _integer(b))


def _subtract(a: Any, b: Any) -> int:
    return _bounded(_integer(a) - _integer(b))


def _multiply(a: Any, b: Any) -> int:
    return _bounded(_integer(a) * _integer(b))


def _divide(a: Any, b: Any) -> int:
    if _integer(b) == 0:
        raise ExpandError("division by zero", "make sure that the divisor is never 0")
    return _integer(a) // _integer(b)


def _modulo(a: Any, b: Any) -> int:
    if _integer(b) == 0:
        raise ExpandError("division by zero", "make sure that the divisor is never 0")
    return _integer(a) % _integer(b)


def _item(value: Any, index: Any) -> Any:
    if not isinstance(value, list):
        raise ExpandError("[...] needs a list, this is %s" % _kind(value), "use a list")
    if not 0 <= _integer(index) < len(value):
        right = "use 0 to %d" % (len(value) - 1) if value else "the list is empty"
        raise ExpandError("item %d of a list of %d" % (index, len(value)), right)
    return value[index]


def _member(value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        raise ExpandError(".%s needs a table, this is %s" % (key, _kind(value)), "use a table")
    if key not in value:
        raise ExpandError("the table has no %s" % key, "it has: " + ", ".join(sorted(value)))
    return value[key]


_OPERATORS = {"+": _add, "-": _subtract, "*": _multiply, "//": _divide, "%": _modulo}


class _Parser(object):
    """expr: term (+|- term)*; term: unary (*|//|% unary)*; unary: - unary | item [..] .key"""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: List[str] = []
        self.tokens: List[Tuple[str, str]] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.wrong()
            position = match.end()
            if match.lastindex:
                self.tokens.append(("nio"[match.lastindex - 1], match.group(match.lastindex)))
        self.at = 0

    def wrong(self) -> ExpandError:
        return ExpandError("{%s} is no expression" % self.text)

    def peek(self) -> str:
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "o":
            return self.tokens[self.at][1]
        return ""

    def take(self, kind: str) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] != kind:
            raise self.wrong()
        self.at += 1
        return self.tokens[self.at - 1][1]

    def expect(self, operator: str) -> None:
        if self.take("o") != operator:
            raise self.wrong()

    def whole(self) -> Evaluate:
        result = self.expression()
        if self.at < len(self.tokens):
            raise self.wrong()
        return result

    def expression(self) -> Evaluate:
        return self.chain(self.term, ("+", "-"))

    def term(self) -> Evaluate:
        return self.chain(self.unary, ("*", "//", "%"))

    def chain(self, operand: Callable[[], Evaluate], operators: Tuple[str, ...]) -> Evaluate:
        left = operand()
        while self.peek() in operators:
            left = _binary(_OPERATORS[self.take("o")], left, operand())
        if self.peek() == "/":
            raise ExpandError(
                "{%s}: there is no /" % self.text, 'write "//", division without rest'
            )
        return left

    def unary(self) -> Evaluate:
        if self.peek() != "-":
            return self.postfix()
        self.take("o")
        return _negated(self.unary())

    def postfix(self) -> Evaluate:
        value = self.atom()
        while True:
            if self.peek() == "[":
                self.take("o")
                index = self.expression()
                self.expect("]")
                value = _indexed(value, index)
            elif self.peek() == ".":
                self.take("o")
                value = _membered(value, self.take("n"))
            else:
                return value

    def atom(self) -> Evaluate:
        if self.at >= len(self.tokens):
            raise self.wrong()
        kind, text = self.tokens[self.at]
        if kind == "n":
            self.at += 1
            self.names.append(text)
            return _looked_up(text)
        if kind == "i":
            self.at += 1
            if text[0] == "0" and len(text) > 1:
                raise ExpandError("{%s}: number with a leading 0" % self.text, "write it without")
            number = _bounded(int(text))
            return lambda names: number
        self.expect("(")
        value = self.expression()
        self.expect(")")
        return value


def _binary(operator: Callable[[Any, Any], int], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda names: operator(left(names), right(names))


def _negated(value: Evaluate) -> Evaluate:
    return lambda names: _bounded(-_integer(value(names)))


def _indexed(value: Evaluate, index: Evaluate) -> Evaluate:
    return lambda names: _item(value(names), index(names))


def _membered(value: Evaluate, key: str) -> Evaluate:
    return lambda names: _member(value(names), key)


def _looked_up(name: str) -> Evaluate:
    def look_up(names: Names) -> Any:
        try:
            return names[name]
        except KeyError:
            raise UnknownName(name) from None

    return look_up


def _formatted(value: Evaluate, spec: str, body: str) -> Evaluate:
    """`value` under a format; ExpandError if it is none of ours."""
    if _NUMBER_FORMAT.match(spec):
        return lambda names: format(_integer(value(names)), spec)
    if _TEXT_FORMAT.match(spec):
        width = int(spec[:-1] or "0")
        return lambda names: text_of(value(names)).ljust(width)
    right = 'formats are like "6d", "06d", "x", "X", "o" and "12s"; ' + LITERAL_HINT
    raise ExpandError("{%s} has no format that we know" % body, right)


# --- templates ------------------------------------------------------------------------------


class Template(object):
    """A scanned string.

    names: names that its expressions use. literals, collapsed: offsets of literal `{` (and `${`)
    and of `{{`. constant: nothing depends on names. lone: it is one `{expression}` without a
    format, so its value keeps its type.
    """

    __slots__ = (
        "_one",
        "_parts",
        "collapsed",
        "constant",
        "literals",
        "lone",
        "names",
        "suspects",
        "text",
    )

    def __init__(self, text: str) -> None:
        self.text = text
        self.literals: List[int] = []
        self.collapsed: List[int] = []
        self.suspects: List[Tuple[str, int]] = []
        self._parts: List[Any] = []
        names: List[str] = []
        self.lone = False
        self._scan(names)
        self.names: FrozenSet[str] = frozenset(names)
        self._parts = _joined(self._parts)
        self.constant = not any(callable(part) for part in self._parts)
        self._one = self._parts[0] if self.lone else None

    def _scan(self, names: List[str]) -> None:
        text, parts, at = self.text, self._parts, 0
        opened: List[int] = []
        while True:
            match = _BRACE.search(text, at)
            if match is None:
                break
            here = match.start()
            parts.append(text[at:here])
            if text[here] == "}":
                at = self._close(here, opened)
                parts.append("}")
            elif text.startswith("{{", here):
                self.collapsed.append(here)
                parts.append("{")
                at = here + 2
            else:
                at = self._open(here, opened, names)
        parts.append(text[at:])
        if opened:
            where = text[opened[-1] : opened[-1] + 12]
            raise ExpandError('the { of "%s" is never closed' % where)

    def _close(self, here: int, opened: List[int]) -> int:
        if opened:
            opened.pop()
            return here + 1
        if self.text.startswith("}}", here):
            return here + 2
        where = self.text[max(0, here - 12) : here + 1]
        raise ExpandError('the } of "%s" closes nothing' % where, 'a literal brace is written "}}"')

    def _open(self, here: int, opened: List[int], names: List[str]) -> int:
        text = self.text
        if here == 0 or text[here - 1] != "$":
            match = _BODY.match(text, here + 1)
            if match is not None and _LETTER.search(match.group(1)):
                self._parts.append(_compiled(match.group(1), match.group(2), names))
                self.lone = here == 0 and match.end() == len(text) and match.group(2) is None
                return match.end()
        name = _NAME.match(text, here + 1)
        if name is not None:
            self.suspects.append((name.group(), here))
        self.literals.append(here)
        opened.append(here)
        self._parts.append("{")
        return here + 1

    def mistakes(self, known: Iterable[str]) -> List[ExpandError]:
        """What is wrong when the task has exactly the `known` names."""
        known = frozenset(known)
        found: List[ExpandError] = [UnknownName(name) for name in sorted(self.names - known)]
        for name, here in self.suspects:
            if name not in known:
                continue
            if here and self.text[here - 1] == "$":
                what = "${%s} is no expression" % name
                found.append(ExpandError(what, 'write "{%s}" or "${{%s}}"' % (name, name)))
            else:
                what = '"%s" is no expression' % self.text[here : here + 20]
                found.append(ExpandError(what, 'write "{%s}", or "{{" for a literal brace' % name))
        return found

    def value(self, names: Names) -> Any:
        """The expansion; a lone `{expression}` keeps the type of its value."""
        if self._one is not None:
            return self._one(names)
        return self.expand(names)

    def expand(self, names: Names) -> str:
        """The expansion as text. Raises ExpandError: unknown name, wrong type, bad arithmetic."""
        parts = self._parts
        if len(parts) == 1 and type(parts[0]) is str:
            return str(parts[0])
        out = []
        size = 0
        for part in parts:
            if type(part) is not str:
                part = part(names)
                if type(part) is not str:
                    part = self._text_of(part)
            out.append(part)
            size += len(part)
        if size > EXPANDED_CHARS_MAX:
            raise _too_large()
        return "".join(out)

    def _text_of(self, value: Any) -> str:
        try:
            return text_of(value)
        except ExpandError as error:
            raise ExpandError('"%s": %s' % (self.text[:60], error.what), error.right) from None


def _joined(parts: Sequence[Any]) -> List[Any]:
    """Neighbouring pieces of text made one; never empty."""
    result: List[Any] = []
    for part in parts:
        if type(part) is not str:
            result.append(part)
        elif result and type(result[-1]) is str:
            result[-1] += part
        elif part:
            result.append(part)
    return result or [""]


def _compiled(expression: str, spec: Optional[str], names: List[str]) -> Evaluate:
    body = expression if spec is None else "%s:%s" % (expression, spec)
    if len(body) > EXPRESSION_CHARS_MAX:
        what = "{%s...} is longer than %d characters" % (body[:20], EXPRESSION_CHARS_MAX)
        raise ExpandError(what, "compute it in steps, through [params]")
    parser = _Parser(expression)
    value = parser.whole()
    names.extend(parser.names)
    if spec is not None:
        value = _formatted(value, spec, body)
    elif len(parser.tokens) == 1:
        return value
    return _placed(value, body)


def _placed(value: Evaluate, body: str) -> Evaluate:
    """`value` with its expression named in errors."""

    def evaluate(names: Names) -> Any:
        try:
            return value(names)
        except UnknownName:
            raise
        except ExpandError as error:
            raise ExpandError("{%s}: %s" % (body, error.what), error.right) from None

    return evaluate


def compile(text: str) -> Template:
    """Scan `text`. Raises ExpandError when it can be expanded for no job at all."""
    return Template(text)


# --- values with strings inside -----------------------------------------------------------------


class Tree(object):
    """A scalar, list or table whose strings (not keys) are templates.

    names: what they use; constant: whether it is the same for every job.
    """

    __slots__ = ("_build", "_seen", "constant", "names", "templates")

    def __init__(self, value: Any) -> None:
        self.templates: List[Template] = []
        self._seen: Dict[str, Template] = {}
        self._build = self._compile(value, 0)
        self.names: FrozenSet[str] = frozenset().union(*[t.names for t in self.templates])
        self.constant = all(t.constant for t in self.templates)

    def _compile(self, value: Any, depth: int) -> Evaluate:
        if depth > NESTING_MAX:
            raise ExpandError("nested deeper than %d" % NESTING_MAX, "make it flatter")
        if isinstance(value, str) and ("{" in value or "}" in value):
            template = self._seen.get(value)
            if template is None:
                template = self._seen[value] = Template(value)
                self.templates.append(template)
            return template.value
        if isinstance(value, list):
            items = [self._compile(item, depth + 1) for item in value]
            return lambda names: [item(names) for item in items]
        if isinstance(value, dict):
            pairs = [(key, self._compile(item, depth + 1)) for key, item in value.items()]
            return lambda names: {key: item(names) for key, item in pairs}
        return lambda names: value

    def value(self, names: Names) -> Any:
        """The value for one job. Raises ExpandError."""
        return self._build(names)


class ParamCircle(ExpandError):
    """Parameters that use each other; `params` begins and ends with the same one."""

    def __init__(self, params: Sequence[str]) -> None:
        what = "params use each other in a circle: " + " -> ".join(params)
        super(ParamCircle, self).__init__(what, "break the circle")
        self.params = tuple(params)


def param_order(trees: Mapping[str, Tree]) -> List[str]:
    """Parameters so that each follows those it uses. ExpandError for a circle or a long chain."""
    order: List[str] = []
    depth: Dict[str, int] = {}
    for name in sorted(trees):
        _visit(name, trees, [], depth, order)
    return order


def _visit(
    name: str, trees: Mapping[str, Tree], path: List[str], depth: Dict[str, int], order: List[str]
) -> int:
    """How many steps lie below a parameter, which joins `order` after those it uses."""
    if name in path:
        raise ParamCircle([*path[path.index(name) :], name])
    if name in depth:
        return depth[name]
    used = [other for other in sorted(trees[name].names) if other in trees]
    below = [_visit(other, trees, [*path, name], depth, order) for other in used]
    depth[name] = 1 + max(below) if below else 0
    if depth[name] > NESTING_MAX:
        what = "params use each other more than %d deep" % NESTING_MAX
        raise ExpandError(what, "use fewer steps")
    order.append(name)
    return depth[name]


# --- what one job of a task sees ------------------------------------------------------------------


class JobNames(object):
    """The names of a task, compiled once: call it for a job.

    spec: the task's JSON as the node sends it; it reads name, task_name, jobs, cells, matrix
    (a list of [axis, values], the last axis fastest), params, and foreach_rows (only for rows
    that stand in the description; rows of a file are passed in the call).
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._cells = int(spec["cells"])
        self._axes = [(str(name), list(values)) for name, values in reversed(spec["matrix"])]
        self._matrix_cells = 1
        for _, values in self._axes:
            self._matrix_cells *= len(values)
        self._rows = spec.get("foreach_rows")
        trees = {name: Tree(value) for name, value in spec["params"].items()}
        self._base = {"jobs": spec["jobs"], "task": spec["task_name"], "name": spec["name"]}
        self._varying: List[Tuple[str, Evaluate]] = []
        for name in param_order(trees):
            if trees[name].constant:
                self._base[name] = trees[name].value(self._base)
            else:
                self._varying.append((name, trees[name].value))

    def row_number(self, job: int) -> int:
        """Which foreach row, from 0, belongs to a job."""
        return job % self._cells // self._matrix_cells

    def __call__(self, job: int, row: Optional[Mapping[str, Any]] = None) -> Dict[str, Any]:
        """Every name and its value for one job. Raises ExpandError."""
        names = self._base.copy()
        cell = job % self._cells
        names["job"] = job
        names["cell"] = cell
        names["rep"] = job // self._cells
        rest = cell
        for axis, values in self._axes:
            rest, index = divmod(rest, len(values))
            names[axis] = values[index]
        if row is None and self._rows is not None:
            row = self._rows[rest]
        if row is not None:
            names.update(row)
        room = EXPANDED_CHARS_MAX
        for name, value in self._varying:
            names[name] = made = value(names)
            room = charge(made, room)
        return names


def job_names(
    spec: Mapping[str, Any], job: int, row: Optional[Mapping[str, Any]] = None
) -> Dict[str, Any]:
    """Every name and its value for one job; for many jobs of a task keep a JobNames."""
    return JobNames(spec)(job, row)


class TaskTemplate(object):
    """A task of the node's JSON, compiled once; `unit` gives what one job of it runs.

    Strings of a module with `expand = false` stay as they are; so do scripts and `env.setup`
    always. Everything else that a description may write in braces is expanded.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.names = JobNames(spec)
        self.env = spec["env"]
        self._modules = [_Parts(_module_parts(spec, module)) for module in spec["modules"]]
        self._inputs = [_Parts(dict(entry)) for entry in spec["inputs"]]
        self._outputs = [_Parts(dict(entry)) for entry in spec["outputs"]]

    def inputs(self, job: int, row: Optional[Mapping[str, Any]] = None) -> List[Dict[str, Any]]:
        """The inputs of one job alone. Raises ExpandError."""
        constant = all(part.constant for part in self._inputs)
        names = {} if constant else self.names(job, row)
        return [part.expand(names) for part in self._inputs]

    def unit(self, job: int, row: Optional[Mapping[str, Any]] = None) -> Dict[str, Any]:
        """{"names", "modules", "inputs", "outputs"} of one job, in the shape of the task's JSON.

        Every module has its whole environment: `env` is merged, `vars` hold text. A `write` that
        was a string is text, everything else is a value to be written as JSON. Raises ExpandError.
        """
        names = self.names(job, row)
        return {
            "names": names,
            "modules": [part.expand(names) for part in self._modules],
            "inputs": [part.expand(names) for part in self._inputs],
            "outputs": [part.expand(names) for part in self._outputs],
        }


def merged_env(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> Dict[str, Any]:
    """Variables merge; every other key of the inner one replaces the outer one's."""
    result = dict(outer)
    result.update(inner)
    result["vars"] = dict(outer.get("vars", {}), **inner.get("vars", {}))
    return result


class _Literal(object):
    """Marks a value that is not expanded."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Text(object):
    """Marks a string that stays text even if it is one lone expression."""

    def __init__(self, value: str) -> None:
        self.value = value


class _Files(object):
    """Marks a `write` table: the names of its files are text, their contents values."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.table = table


def _module_parts(spec: Mapping[str, Any], module: Mapping[str, Any]) -> Dict[str, Any]:
    """A module as the keys to expand: text where the result must be text."""
    parts: Dict[str, Any] = dict(module)
    own = module.get("env", {})
    literal = not module.get("expand", True)
    env = merged_env(spec["env"], own)
    strings: Callable[[Any], Any] = _Literal if literal else _Text
    env["setup"] = _Literal(env.get("setup", ""))
    wrap = env.get("wrap", [])
    env["wrap"] = [strings(word) if "wrap" in own else _Text(word) for word in wrap]
    env["keep"] = _Literal(env.get("keep", []))
    env["vars"] = {
        name: strings(value) if name in own.get("vars", {}) else _Text(value)
        for name, value in env["vars"].items()
    }
    parts["env"] = env
    for key in ("name", "script", "exit"):
        if key in parts:
            parts[key] = _Literal(parts[key])
    for key in ("cwd", "stdin", "stdout", "stderr"):
        if parts.get(key) is not None:
            parts[key] = strings(parts[key])
    if "run" in parts:
        parts["run"] = [strings(word) for word in parts["run"]]
    write = parts.get("write", {})
    parts["write"] = _Literal(write) if literal else _Files(write)
    return parts


class _Parts(object):
    """A table of which only some keys depend on the job: those are expanded, others shared."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._constant: Dict[str, Any] = {}
        self._varying: List[Tuple[str, Evaluate]] = []
        for key, value in table.items():
            constant, build = _built(value)
            if constant:
                self._constant[key] = build({})
            else:
                self._varying.append((key, build))

    @property
    def constant(self) -> bool:
        return not self._varying

    def expand(self, names: Names) -> Dict[str, Any]:
        result = self._constant.copy()
        for key, build in self._varying:
            result[key] = build(names)
        return result


def _built(value: Any) -> Tuple[bool, Evaluate]:
    """(is it the same for every job, how to make it)."""
    if isinstance(value, _Literal):
        literal = value.value
        return True, lambda names: literal
    if isinstance(value, (_Text, str)):
        template = Template(value.value if isinstance(value, _Text) else value)
        return template.constant, template.expand if isinstance(value, _Text) else template.value
    if isinstance(value, _Files):
        names = _built_list([_built(_Text(name)) for name in value.table])
        contents = _built_list([_built(item) for item in value.table.values()])
        constant = names[0] and contents[0]

        def build(known: Names) -> Any:
            files = dict(zip(names[1](known), contents[1](known)))
            charge(files, EXPANDED_CHARS_MAX)
            return files

        return constant, build
    if isinstance(value, list):
        return _built_list([_built(item) for item in value])
    if isinstance(value, dict):
        return _built_dict({key: _built(item) for key, item in value.items()})
    return True, lambda names: value


def _built_list(items: Sequence[Tuple[bool, Evaluate]]) -> Tuple[bool, Evaluate]:
    constant = all(item[0] for item in items)
    fixed = [item[1]({}) if item[0] else None for item in items]
    varying = [(index, item[1]) for index, item in enumerate(items) if not item[0]]

    def build(names: Names) -> Any:
        result = fixed[:]
        size = 0
        for index, make in varying:
            result[index] = made = make(names)
            if type(made) is str:
                size += len(made)
        if size > EXPANDED_CHARS_MAX:
            raise _too_large()
        return result

    return constant, build


def _built_dict(items: Mapping[str, Tuple[bool, Evaluate]]) -> Tuple[bool, Evaluate]:
    constant = all(item[0] for item in items.values())
    fixed = {key: item[1]({}) if item[0] else None for key, item in items.items()}
    varying = [(key, item[1]) for key, item in items.items() if not item[0]]

    def build(names: Names) -> Any:
        result = fixed.copy()
        size = 0
        for key, make in varying:
            result[key] = made = make(names)
            if type(made) is str:
                size += len(made)
        if size > EXPANDED_CHARS_MAX:
            raise _too_large()
        return result

    return constant, build
