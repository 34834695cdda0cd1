"""Which units of this site can run: pure bookkeeping over ranges, never over single units.

For each task five sets of jobs are kept, all as ranges:

    owned   granted to this site
    done    succeeded: by this site's own report, accepted or not, or settled from anywhere
    shut    not to be run: cancelled, or failed for good
    held    reported as not successful, waiting for the log's verdict (run again, or failed)
    leased  out at a pilot

and `queues`, derived from them: a unit is ready when it is owned, in none of the other four, and
all that it waits for is done. `refresh` computes that anew for any ranges and may be called at any
time with any of them; everything that changes a set ends with it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence

from federation import limits
from node.model.dataset import Needs
from node.model.share import Account, Shares
from node.ranges import Flat, JobRanges, ranges_of, size
from node.unitstate import DatasetFacts, DatasetState, Most, TaskFacts, TaskState, Tries, Wait


class Ready:
    """All datasets that this site can still do something for."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self.most = Most()
        self.datasets: dict[int, DatasetState] = {}
        self.tasks: dict[int, TaskState] = {}
        # Accounts with ready units, their datasets in dispatch order.
        self.active: dict[Account, list[DatasetState]] = {}

    # -- from the tables

    def load(self, facts: DatasetFacts) -> None:
        """Take in a dataset, new or changed. Leases, holds and own results stay."""
        state = self.datasets.get(facts.dataset)
        account = self.shares.account(facts.person, facts.group)
        if state is None:
            state = DatasetState(facts.dataset, account, 0, 0, 0, False)
            self.datasets[facts.dataset] = state
        self._deactivate(state)
        state.account, state.priority, state.age = account, facts.priority, facts.age
        state.jobs, state.paused, state.withheld = facts.jobs, facts.paused, False
        for task_no, done in facts.sources.items():
            self._source(task_no, done)
        state.tasks = [self._load_task(state, task) for task in facts.tasks]
        state.ready = 0
        for task in state.tasks:
            self._wire(task)
        for task in state.tasks:
            self.refresh(task, [0, state.jobs])
        self._activate(state)

    def _source(self, task_no: int, done: Flat) -> None:
        source = self.tasks.get(task_no)
        if source is None:
            source = self.tasks[task_no] = TaskState(task_no, 0, Needs(), None)
        source.done.add_all(done)

    def _load_task(self, state: DatasetState, facts: TaskFacts) -> TaskState:
        task = self.tasks.get(facts.task)
        if task is None:
            task = self.tasks[facts.task] = TaskState(facts.task, facts.index, facts.needs, state)
        task.dataset, task.index = state, facts.index
        task.needs, task.waits = facts.needs, facts.waits
        task.owned = JobRanges(facts.owned)
        task.shut = JobRanges(facts.shut)
        if facts.done is not None:
            task.done.add_all(facts.done)
        if facts.tries is not None:
            task.tries = dict(facts.tries)
        task.queues = {}
        task.ready = 0
        return task

    def _wire(self, task: TaskState) -> None:
        for wait in task.waits:
            source = self.tasks.get(wait.task)
            if source is None:
                source = self.tasks[wait.task] = TaskState(wait.task, 0, Needs(), None)
            if task not in source.children:
                source.children.append(task)

    def forget(self, dataset: int) -> bool:
        """Drop a dataset that has nothing left to do here. False: it has, or is not known."""
        state = self.datasets.get(dataset)
        if state is None or not all(self._over(task) for task in state.tasks):
            return False
        self._deactivate(state)
        del self.datasets[dataset]
        for task in state.tasks:
            for wait in task.waits:
                self._unwire(wait.task, task)
        for task in state.tasks:
            task.dataset = None
            if not task.children:
                self.tasks.pop(task.no, None)
        return True

    def withhold(self, dataset: int) -> None:
        """No unit of a dataset counts as owned, done or held until it is loaded again, or what is
        done of it where others wait for it (`settle`).

        What is out stays out.
        """
        if (state := self.datasets.get(dataset)) is not None:
            state.withheld = True
        tasks = self.tasks_of(dataset)
        for task in tasks:
            task.owned, task.done, task.held = JobRanges(), JobRanges(), JobRanges()
        for task in tasks:
            for each in (task, *task.children):
                if each.dataset is not None:
                    self.refresh(each, [0, each.dataset.jobs])

    def tasks_of(self, dataset: int) -> list[TaskState]:
        """What is known of a dataset's tasks, if only because others wait for them."""
        first = dataset * limits.TASKS_MAX
        numbers = range(first, first + limits.TASKS_MAX)
        return [self.tasks[no] for no in numbers if no in self.tasks]

    def _over(self, task: TaskState) -> bool:
        assert task.dataset is not None
        ended = task.done.count + size(task.done.lacking(task.shut.flat))
        return ended >= task.dataset.jobs and not task.leased and not task.held

    def _unwire(self, source_no: int, child: TaskState) -> None:
        source = self.tasks.get(source_no)
        if source is None:
            return
        if child in source.children:
            source.children.remove(child)
        if not source.children and source.dataset is None:
            del self.tasks[source_no]

    def grant(self, tasks: Sequence[int], flat: Flat) -> None:
        """These units are this site's now."""
        for no in tasks:
            if (task := self.tasks.get(no)) is not None:
                task.owned.add_all(flat)
                self.refresh(task, flat)

    def release(self, tasks: Sequence[int], flat: Flat) -> None:
        """These units are no longer this site's."""
        for no in tasks:
            if (task := self.tasks.get(no)) is not None:
                task.owned.remove_all(flat)
                self.refresh(task, flat)

    # -- from pilots

    def take(self, task: TaskState, needs: Needs, units_max: int) -> list[int]:
        """Lease up to so many units of one queue, lowest jobs first."""
        queue = task.queues[needs]
        flat = queue.take(units_max)
        if not queue.count and needs != task.needs:
            del task.queues[needs]
        task.leased.add_all(flat)
        self._count(task)
        return flat

    def lease(self, task: TaskState, flat: Flat) -> None:
        """These very units are out at a pilot."""
        task.leased.add_all(flat)
        self.refresh(task, flat)

    def unlease(self, task: TaskState, flat: Flat) -> None:
        """Units came back without having been tried, or their lease is void."""
        task.leased.remove_all(flat)
        self.refresh(task, flat)

    def succeed(self, task: TaskState, flat: Flat) -> None:
        """This site ran these units well; what waits for them may start before the accept."""
        task.leased.remove_all(flat)
        if task.held:
            task.held.remove_all(flat)
        self._done(task, flat)

    def fail(self, task: TaskState, rows: Iterable[tuple[int, int, str]]) -> None:
        """Attempts (job, outcome, error class) ended badly: held until the log has judged."""
        jobs = []
        for job, outcome, error in rows:
            jobs.append(job)
            task.tries.setdefault(job, Tries()).add(outcome, error)
        flat = ranges_of(jobs)
        task.leased.remove_all(flat)
        task.held.add_all(task.done.lacking(flat))
        self.refresh(task, flat)

    # -- from the log

    def settle(self, task: TaskState, flat: Flat) -> None:
        """The log took successes of these units, from whichever site."""
        new = task.done.lacking(flat)
        if task.held:
            task.held.remove_all(flat)
        if new:
            self._done(task, new)

    def judge(self, task: TaskState, jobs: Sequence[int]) -> None:
        """The log took failed attempts: those units may run again, unless `close` follows."""
        for job in jobs:
            if job not in task.held and job not in task.done:
                task.tries.setdefault(job, Tries()).attempts += 1
        flat = ranges_of(set(jobs))
        task.held.remove_all(flat)
        self.refresh(task, flat)

    def free(self, task: TaskState, jobs: Sequence[int]) -> None:
        """Units that waited after their verdict may run."""
        flat = ranges_of(set(jobs))
        task.held.remove_all(flat)
        self.refresh(task, flat)

    def close(self, task: TaskState, jobs: Sequence[int]) -> None:
        """The log calls these units failed."""
        flat = ranges_of(set(jobs))
        task.held.remove_all(flat)
        task.shut.add_all(flat)
        self.refresh(task, flat)

    def offered(self, memory_bytes: int, disk_bytes: int, time_s: int | None) -> None:
        """A pilot with so much came up; time_s None: without an end."""
        known, before = self.most, self.most
        if known.memory_bytes is None:
            known = Most(memory_bytes, disk_bytes, time_s)
        else:
            endless = time_s is None or known.time_s is None
            known = Most(
                max(memory_bytes, known.memory_bytes),
                max(disk_bytes, known.disk_bytes or 0),
                None if endless else max(time_s or 0, known.time_s or 0),
            )
        if known == before:
            return
        self.most = known
        for task in self.tasks.values():
            if task.tries:
                self.refresh(task, ranges_of(task.tries))

    # -- derived

    def _done(self, task: TaskState, flat: Flat) -> None:
        task.done.add_all(flat)
        if task.ready:
            self.refresh(task, flat)
        if task.tries:
            self._forget_tries(task, flat)
        for child in task.children:
            for wait in child.waits:
                if wait.task != task.no:
                    continue
                if not wait.whole:
                    self.refresh(child, flat)
                elif child.dataset is not None and _holds_all(task.done, wait.whole):
                    self.refresh(child, [0, child.dataset.jobs])

    def _forget_tries(self, task: TaskState, flat: Flat) -> None:
        # The number of the attempt is of no use any more; the log has them all.
        done = JobRanges(flat)
        for job in [job for job in task.tries if job in done]:
            del task.tries[job]

    def refresh(self, task: TaskState, flat: Flat) -> None:
        """Compute anew which of these jobs are ready."""
        if task.dataset is None:
            return
        can = self._eligible(task, flat)
        for queue in task.queues.values():
            queue.remove_all(flat)
        if can:
            if task.tries:
                can = self._queue_boosted(task, can)
            self._queue(task, task.needs).add_all(can)
        self._count(task)

    def _eligible(self, task: TaskState, flat: Flat) -> list[int]:
        can = task.owned.common(flat)
        for barred in (task.done, task.shut, task.held, task.leased):
            if can and barred.count:
                can = barred.lacking(can)
        for wait in task.waits:
            if not can:
                break
            done = self.tasks[wait.task].done
            if not wait.whole:
                can = done.common(can)
            elif not _holds_all(done, wait.whole):
                can = []
        return can

    def met(self, wait: Wait, job: int) -> bool:
        """Whether what a unit waits for is done."""
        source = self.tasks.get(wait.task)
        if source is None:
            return False
        return _holds_all(source.done, wait.whole) if wait.whole else job in source.done

    def _queue_boosted(self, task: TaskState, can: list[int]) -> list[int]:
        """Put units that ask for more than their task into queues of their own."""
        members = JobRanges(can)
        for job in task.tries:
            if job in members and (needs := task.needs_of(job, self.most)) != task.needs:
                members.remove(job, job + 1)
                self._queue(task, needs).add(job, job + 1)
        return members.flat

    def _queue(self, task: TaskState, needs: Needs) -> JobRanges:
        queue = task.queues.get(needs)
        if queue is None:
            queue = task.queues[needs] = JobRanges()
        return queue

    def _count(self, task: TaskState) -> None:
        state = task.dataset
        assert state is not None
        ready = sum(queue.count for queue in task.queues.values())
        state.ready += ready - task.ready
        task.ready = ready
        if bool(state.ready) != state.active:
            self._activate(state) if state.ready else self._deactivate(state)

    def _activate(self, state: DatasetState) -> None:
        state.ready = sum(task.ready for task in state.tasks)
        if state.active or not state.ready or state.paused:
            return
        state.active = True
        insort(self.active.setdefault(state.account, []), state, key=DatasetState.order)

    def _deactivate(self, state: DatasetState) -> None:
        if not state.active:
            return
        state.active = False
        waiting = self.active[state.account]
        waiting.remove(state)
        if not waiting:
            del self.active[state.account]


def _holds_all(done: JobRanges, jobs: int) -> bool:
    return bool(done.flat) and done.flat[0] == 0 and done.flat[1] >= jobs
