"""What every part of the appliance is put into: settings, reactor, what runs, what is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from watchducks.appliance.pace import USUAL, Pace
from watchducks.background import Part, ThreadPool
from watchducks.model.metrics import Measure, Sample
from watchducks.registry.sealing import Sealer
from watchducks.settings import Settings

if TYPE_CHECKING:
    from watchducks.lookups.assembly import Lookups
    from watchducks.lookups.known_names import KnownNames

# Twisted's reactors provide a dozen interfaces, and no one type names them all.
Reactor = Any

# Certificates are read, known sites kept and segments decoded one after another: one thread each is
# enough, and none of them waits for another's slow disk.
ONE_THREAD = 1


class PoolPart:
    """A thread pool as a part, so that it starts before, and stops after, who uses it."""

    def __init__(self, pool: ThreadPool, *, reactor: Reactor) -> None:
        self._pool = pool
        self._reactor = reactor

    async def start(self) -> None:
        self._pool.start()

    async def stop(self) -> None:
        # By another thread: for the last visitors, who are still served, the reactor must not wait
        # for a slow disk's call to return.
        await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._pool.stop)


class House:
    """The parts that run, in the order in which they started.

    :ivar instance: see :mod:`watchducks.instances`; "" for an appliance that is alone.
    :ivar pace: how often parts look that only do so now and then.
    :ivar names: the addresses of host names that sites need; there before any role.
    """

    names: KnownNames

    def __init__(
        self,
        settings: Settings,
        reactor: Reactor,
        instance: str = "",
        *,
        pace: Pace = USUAL,
    ) -> None:
        self.settings = settings
        self.reactor = reactor
        self.instance = instance
        self.pace = pace
        self.sealer = Sealer(settings.key_file)
        self._log = Logger()
        self._lookups: Lookups | None = None
        self._running: list[tuple[str, Part]] = []
        self._checks: dict[str, Callable[[], bool]] = {}
        self._measures: list[Measure] = []
        self._reports: dict[str, Callable[[], Any]] = {}

    async def run(self, name: str, part: Part) -> None:
        """Start ``part``, which :meth:`stop` will stop before everything that runs by now."""
        await part.start()
        self._running.append((name, part))

    async def pool(self, name: str, threads: int = ONE_THREAD) -> ThreadPool:
        """Return a pool of ``threads`` of its own for what blocks."""
        pool = ThreadPool(name, threads, reactor=self.reactor)
        await self.run(f"the threads of {name}", PoolPart(pool, reactor=self.reactor))
        return pool

    async def stop(self) -> None:
        """Stop what runs, the last started first; a part that fails does not keep the others."""
        while self._running:
            name, part = self._running.pop()
            try:
                await part.stop()
            except Exception:
                self._log.failure("{name} did not stop well", name=name)

    def check(self, name: str, works: Callable[[], bool]) -> None:
        """Let ``works`` say for /readyz whether the part ``name`` can work now."""
        self._checks[name] = works

    def checks(self) -> Mapping[str, bool]:
        """Return part -> whether it can work now, for /readyz."""
        return {name: works() for name, works in self._checks.items()}

    def measure(self, measure: Measure) -> None:
        """Show what ``measure`` returns to whoever watches the service, such as Prometheus.

        It is called for each look, on the reactor's thread, so it only reads what was counted; how
        many samples there are must be bounded.
        """
        self._measures.append(measure)

    def samples(self) -> Iterator[Sample]:
        """Return what all parts measure now; a part that fails does not hide the others."""
        for measure in self._measures:
            try:
                yield from list(measure())
            except Exception:
                self._log.failure("a part cannot be measured")

    def report(self, name: str, tell: Callable[[], Any]) -> None:
        """Let ``tell`` say for ``watchducks status`` how the part ``name`` is, as JSON has it.

        It is called for each look, on the reactor's thread, and what it says is bounded.
        """
        self._reports[name] = tell

    def reports(self) -> dict[str, Any]:
        """Return part -> what it says of itself."""
        return {name: tell() for name, tell in self._reports.items()}

    def lookups(self) -> Lookups:
        """Return what asks the public DNS, the same for every part."""
        from watchducks.lookups.assembly import open_lookups

        if self._lookups is None:
            self._lookups = open_lookups(self.settings, reactor=self.reactor)
        return self._lookups
