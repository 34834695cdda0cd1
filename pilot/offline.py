"""Run one job of a dataset here, without a node: what `floe test` does, by the pilot's runner."""

import base64
import json
import os
import shutil
import tempfile
from typing import Any, Callable, Dict, List, Mapping, Optional

from pilot import nursery as nursery_module
from pilot.expand import ExpandError, TaskTemplate
from pilot.loop import DEFAULT_NEEDS
from pilot.messages import ROW, Deframer, frame
from pilot.staging import inside

Event = Dict[str, Any]
OnEvent = Callable[[Event], None]


def run_job(
    plan: Mapping[str, Any], job: int, files_dir: str, out_dir: str, on_event: OnEvent
) -> int:
    """Run the tasks of one job, parents first; 0 if all of them succeeded, else 1.

    plan: {"tasks": [task, ...], "row"?: {...}}: the JSON that pilots get, in an order in which
    each task follows those that it waits for, and the job's row of a `foreach` file. files_dir:
    the user's files, named by digest (hex). Outputs go to out_dir/JOB/TASK/FILE, what a task
    printed to out_dir/JOB/TASK.log. A task whose inputs were not made is skipped.

    Events: {"event": "started" | "finished" | "skipped", "task", "text"}; a finished one has all
    columns of the attempt's row.
    """
    work_dir = tempfile.mkdtemp(prefix="floe-run-")
    nursery = nursery_module.start()
    try:
        nursery.settle(work_dir, [], "auto", 2.0)
        return _Rehearsal(plan, job, work_dir, files_dir, out_dir, on_event).run(nursery)
    finally:
        nursery.close()
        shutil.rmtree(work_dir, ignore_errors=True)


class _Rehearsal:
    """The state of one run_job."""

    def __init__(
        self,
        plan: Mapping[str, Any],
        job: int,
        work_dir: str,
        files_dir: str,
        out_dir: str,
        on_event: OnEvent,
    ) -> None:
        self._tasks = list(plan["tasks"])
        self._row = plan.get("row")
        self._job = job
        self._slot_out = os.path.join(work_dir, "slots", "0", "out")
        self._cache = os.path.join(work_dir, "cache")
        self._files_dir = files_dir
        self._out_dir = os.path.join(out_dir, str(job))
        self._on_event = on_event
        self._made: Dict[str, Dict[str, Dict[str, Any]]] = {}  # task -> path -> output

    def run(self, nursery: nursery_module.Nursery) -> int:
        os.makedirs(self._cache, exist_ok=True)
        os.makedirs(self._out_dir, exist_ok=True)
        failed = False
        with nursery.start_runner(0) as runner:
            for task in self._tasks:
                name = task["task_name"]
                try:
                    inputs = self._inputs(task)
                except (ExpandError, LookupError) as fault:
                    self._on_event({"event": "skipped", "task": name, "text": str(fault)})
                    failed = True
                    continue
                self._on_event({"event": "started", "task": name, "text": "started"})
                row = self._run_task(runner, task, inputs)
                failed = failed or bool(row["error"])
                self._on_event({"event": "finished", "task": name, "text": _text(row), **row})
                if row["error"] == "runner-lost":
                    break
        return 1 if failed else 0

    def _inputs(self, task: Mapping[str, Any]) -> List[List[Any]]:
        """[[local, digest, size, mode], ...] of what earlier tasks made. Raises LookupError."""
        for file in task.get("files") or []:
            self._to_cache(file["digest"], os.path.join(self._files_dir, file["digest"]))
        found = []
        for entry in TaskTemplate(task).unit(self._job, self._row)["inputs"]:
            if "task_name" not in entry:
                continue
            if entry.get("dataset"):
                if not entry["optional"]:
                    raise LookupError("input %s: other datasets are not here" % entry["from"])
                continue
            output = self._made.get(entry["task_name"], {}).get(entry["path"])
            if output is not None:
                local = entry["local"]
                if local.endswith("/"):
                    local += "%d/%s" % (self._job, entry["path"])
                found.append([local, output["digest"], output["size"], output["mode"]])
            elif not entry["optional"]:
                raise LookupError("input %s was not made" % entry["from"])
        return found

    def _to_cache(self, digest: str, path: str) -> None:
        target = os.path.join(self._cache, digest)
        if not os.path.exists(target):
            shutil.copyfile(path, target)

    def _run_task(
        self, runner: Any, task: Mapping[str, Any], inputs: List[List[Any]]
    ) -> Dict[str, Any]:
        spec = "%s/%d/0" % (task["dataset"], task["task"])
        message: Dict[str, Any] = {
            "op": "run",
            "chunk": 1,
            "lease": 1,
            "spec": spec,
            "jobs": [self._job],
            "needs": {**DEFAULT_NEEDS, **(task.get("needs") or {})},
        }
        if inputs:
            message["inputs"] = {str(self._job): inputs}
        if self._row is not None:
            message["rows"] = {str(self._job): self._row}
        answer = None
        try:
            runner.sendall(frame({"op": "spec", "id": spec, "spec": task}) + frame(message))
            answer = _rows_of(runner)
        except OSError:
            pass
        if answer is None:
            return {"error": "runner-lost", "exit": 0, "wall_ms": 0, "tail": ""}
        row = dict(zip(ROW, answer["rows"][0][2]))
        self._keep(task["task_name"], row, answer["blobs"])
        return row

    def _keep(self, task_name: str, row: Mapping[str, Any], blobs: List[List[Any]]) -> None:
        """Outputs and log to where the user looks for them; outputs also for later tasks."""
        content = {}
        for digest, _, text, file in blobs:
            path = os.path.join(self._cache, digest)
            if text is None:
                os.replace(os.path.join(self._slot_out, file), path)
            else:
                with open(path, "wb") as target:
                    target.write(base64.b64decode(text))
            content[digest] = path
        if row["log"] in content:
            shutil.copyfile(content[row["log"]], os.path.join(self._out_dir, task_name + ".log"))
        if row["outputs"] not in content:
            return
        with open(content[row["outputs"]], "rb") as listing:
            outputs = json.loads(listing.read().decode())
        self._made[task_name] = {output["path"]: output for output in outputs}
        folder = os.path.join(self._out_dir, task_name)
        for output in outputs:
            if output["digest"] in content:
                target_path = inside(folder, output["path"])
                os.makedirs(os.path.dirname(target_path), exist_ok=True)
                shutil.copyfile(content[output["digest"]], target_path)
                os.chmod(target_path, output["mode"] | 0o600)


def _rows_of(runner: Any) -> Optional[Dict[str, Any]]:
    """The runner's message with the row of the unit that it just ran; None if it died."""
    deframer = Deframer()
    while True:
        data = runner.recv(1 << 16)
        if not data:
            return None
        for message in deframer.feed(data):
            if message.get("rows"):
                found: Dict[str, Any] = message
                return found


def _text(row: Mapping[str, Any]) -> str:
    seconds = "%.1f s" % (row["wall_ms"] / 1000.0)
    if not row["error"]:
        return "succeeded in %s" % seconds
    what = "failed: %s" % row["error"]
    if row["exit"]:
        known = "exit %d" % row["exit"] if row["exit"] > 0 else "signal %d" % -row["exit"]
        what = "failed: %s" % known if row["error"] in known else "%s, %s" % (what, known)
    last = row["tail"].rstrip("\n").rpartition("\n")[2]
    return "%s after %s" % (what, seconds) + (": " + last if last else "")
