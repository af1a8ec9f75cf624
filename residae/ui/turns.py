"""Turns in front of the model: one piece of work runs at a time, and visitors take turns."""

import itertools
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from residae.errors import ResidaeError

POLL_SECONDS = 0.1  # between two looks at whether whoever waits has left
MAX_WAITING = 60  # pieces of work in all; each occupies a thread
MAX_WAITING_EACH = 12  # of one visitor, so that nobody fills the queue alone
REMEMBERED = 10_000  # visitors whose last turn is known


@dataclass(frozen=True)
class Visitor:
    """Who asks: a browser by the guard's cookie, and the address that it comes from.

    Attributes:
        address: Of the client, or of the last proxy that the owner did not name.
        cookie: Empty for a program that keeps no cookies.
    """

    address: str
    cookie: str = ""


class CrowdedError(ResidaeError):
    """Too much work waits already."""


@dataclass(eq=False)
class _Ticket:
    """A place in the queue."""

    visitor: Visitor
    number: int  # in the order of arrival
    begun: bool = False  # it has had a turn, and waits for the next one
    dropped: bool = False  # in favor of another address


class Turns:
    """A lock that is fair between visitors.

    The next turn goes to the address that has waited longest since its last turn, there to the visitor of whom the same
    is true, and of one visitor's work to the oldest. Where more than MAX_WAITING would wait, the newest work of the
    visitor with the most, at the address with the most, is refused. So nobody's tenth request goes before another's
    first or takes its place, and inventing cookies does not help against other addresses.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Ticket] = []
        self._holder: _Ticket | None = None
        self._numbers, self._turns = itertools.count(), 0
        self._last_turn: OrderedDict[Visitor | str, int] = OrderedDict()  # of visitors and addresses, latest last

    @contextmanager
    def turn(self, visitor: Visitor, check: Callable[[int], None]) -> Iterator[Callable[[], None]]:
        """Wait for a turn and hold it while the block runs.

        Args:
            visitor: Whose turn it is to be.
            check: Called while waiting, with the number of turns that come first; it may raise to give up the place.

        Yields:
            A function that lets other visitors who wait go first, and returns when it is this one's turn again.

        Raises:
            CrowdedError: Too much work waits already: of this visitor, or in all.
        """
        ticket = _Ticket(visitor, next(self._numbers))

        def give_way() -> None:
            with self._changed:
                ticket.begun = True
                if any(other.visitor != visitor for other in self._waiting):
                    self._release()
                    self._take(ticket, check)

        with self._changed:
            own = sum(other.visitor == visitor for other in self._waiting)
            if own >= MAX_WAITING_EACH:
                raise CrowdedError(f"{own} requests wait already: try again when one is done.")
            self._take(ticket, check)
        try:
            yield give_way
        finally:
            with self._changed:
                if self._holder is ticket:  # not where waiting for the next turn was given up
                    self._release()

    def _take(self, ticket: _Ticket, check: Callable[[int], None]) -> None:
        self._waiting.append(ticket)
        if len(self._waiting) > MAX_WAITING and not ticket.begun:
            self._drop_one()
        try:
            while not ticket.dropped and (self._holder or self._order()[0] is not ticket):
                check(self._order().index(ticket) + 1)
                self._changed.wait(POLL_SECONDS)
            if ticket.dropped:
                raise CrowdedError("Too many requests wait already: try again later.")
            self._holder = ticket
        finally:
            self._waiting.remove(ticket)
            self._changed.notify_all()
        self._turns += 1
        for key in (ticket.visitor, ticket.visitor.address):
            self._last_turn[key] = self._turns
            self._last_turn.move_to_end(key)
        while len(self._last_turn) > REMEMBERED:
            self._last_turn.popitem(last=False)

    def _drop_one(self) -> None:
        """Drop the newest ticket of the visitor with the most, at the address with the most, but no work that began."""
        addresses = Counter(ticket.visitor.address for ticket in self._waiting)
        visitors = Counter(ticket.visitor for ticket in self._waiting)
        tickets = [ticket for ticket in self._waiting if not ticket.begun]
        max(tickets, key=lambda t: (addresses[t.visitor.address], visitors[t.visitor], t.number)).dropped = True
        self._changed.notify_all()

    def _release(self) -> None:
        self._holder = None
        self._changed.notify_all()

    def _order(self) -> list[_Ticket]:
        """Who waits, the next one first."""
        last = self._last_turn.get
        return sorted(self._waiting, key=lambda t: (last(t.visitor.address, 0), last(t.visitor, 0), t.number))
