"""The submit loop against a simulated cluster: every file ends once, whatever dies, and a bounded number is in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.compute import Handlers, Loss
from dicomflow.compute.submit import MIN_IN_FLIGHT, TASKS_AHEAD, run_tasks
from dicomflow.errors import ComputeError, OutOfMemory
from dicomflow.plan import cut_slice
from tests.cluster.simulation import Simulation

Task = tuple[int, int]
"""Files from the first to before the second."""


class Driver:
    """Books what comes back, as a run does."""

    def __init__(
        self, files: int, per_task: int, poison: set[int], hungry: frozenset[int] = frozenset(), **options: float
    ) -> None:
        self.files = files
        self.per_task = per_task
        self.done: Counter[int] = Counter()
        self.killed: Counter[int] = Counter()
        self.starved: Counter[int] = Counter()
        self.drawn = self.ended = self.ahead = 0
        self.cluster = Simulation(
            run=lambda task: task,
            is_poison=lambda task: any(file in poison for file in range(*task)),
            is_hungry=lambda task: any(file in hungry for file in range(*task)),
            **options,
        )

    def run(self) -> None:
        handlers = Handlers(done=self._book, split=lambda task: cut_slice(*task, 8), give_up=self._give_up)
        run_tasks(self._tasks(), self.cluster, handlers)

    def _tasks(self) -> Iterator[Task]:
        for start in range(0, self.files, self.per_task):
            self.drawn += 1
            self.ahead = max(self.ahead, self.drawn - self.ended)
            yield start, min(start + self.per_task, self.files)

    def _book(self, task: Task) -> None:
        self.ended += task[1] - task[0] == self.per_task
        self.done.update(range(*task))

    def _give_up(self, task: Task, loss: Loss) -> None:
        assert task[1] - task[0] == 1
        (self.starved if isinstance(loss, OutOfMemory) else self.killed).update(range(*task))


def check(driver: Driver, poison: set[int]) -> None:
    assert driver.killed == Counter(poison)
    assert driver.done == Counter(file for file in range(driver.files) if file not in poison)
    assert driver.cluster.most_in_flight <= max(MIN_IN_FLIGHT, driver.cluster.workers * TASKS_AHEAD)


def test_a_thousand_workers() -> None:
    """A million files, workers that die of themselves, files that kill: each file ends exactly once."""
    poison = set(range(77_777, 1_000_000, 77_777))
    driver = Driver(1_000_000, 100, poison, workers=1000, death=0.02, seed=1)
    driver.run()
    check(driver, poison)
    print(f"{driver.cluster.deaths:,} deaths, at most {driver.cluster.most_in_flight:,} tasks in flight of 10,000")


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 3000),
    st.integers(1, 300),
    st.integers(1, 40),
    st.floats(0, 0.3),
    st.sets(st.integers(0, 2999), max_size=6),
    st.integers(0, 2**32),
)
def test_every_file_ends_once(files: int, per_task: int, workers: int, death: float, bad: set[int], seed: int) -> None:
    """Of whatever size and fortune: poison is found out, nobody else is blamed, nothing is lost."""
    poison = {file for file in bad if file < files}
    driver = Driver(files, per_task, poison, workers=workers, death=death if workers > 1 else 0.0, seed=seed)
    driver.run()
    innocent = set(driver.killed) - poison  # may die by chance, alone, twice in a row: then it is blamed
    assert driver.done.keys() | driver.killed.keys() == set(range(files)) and poison <= driver.killed.keys()
    assert (
        set(driver.done.values()) | set(driver.killed.values()) <= {1} and not driver.done.keys() & driver.killed.keys()
    )
    assert not innocent or death > 0
    assert driver.cluster.most_in_flight <= max(MIN_IN_FLIGHT, workers * TASKS_AHEAD)


def test_files_that_get_no_memory() -> None:
    """They are found out as those are that kill, and told from them."""
    poison, hungry = {77, 4444}, frozenset({78, 9999})
    driver = Driver(10_000, 100, poison, hungry, workers=20, death=0.0)
    driver.run()
    assert (driver.killed, driver.starved) == (Counter(poison), Counter(hungry))
    assert driver.done == Counter(file for file in range(10_000) if file not in poison | hungry)


def test_tasks_that_all_get_no_memory() -> None:
    """What the first of them said is what the run says."""
    driver = Driver(1000, 100, set(), frozenset(range(1000)), workers=10, death=0.0)
    with pytest.raises(OutOfMemory, match="no more"):
        driver.run()


def test_tasks_are_drawn_no_sooner_than_needed() -> None:
    """What is not in flight is not planned yet."""
    driver = Driver(1_000_000, 100, set(), workers=50, death=0.0)
    driver.run()
    assert driver.ahead <= 50 * TASKS_AHEAD + 1


def test_workers_that_die_where_nothing_can_be_split() -> None:
    """Without somebody who divides tasks, the run ends with a clear error."""
    cluster = Simulation(run=lambda task: task, is_poison=lambda task: True, workers=2)
    with pytest.raises(ComputeError, match="workers died again and again"):
        run_tasks(iter([(0, 1)]), cluster, Handlers(done=print))


def test_tasks_that_all_kill_their_workers() -> None:
    """Of a thousand files each kills: then it is not the files, and nobody waits for all of them to be found out."""
    driver = Driver(1000, 100, set(range(1000)), workers=10, death=0.0)
    with pytest.raises(ComputeError, match="too little memory"):
        driver.run()
    assert not driver.done
