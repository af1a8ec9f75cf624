"""Sessions that take little memory, and that others cannot push out.

Gradio copies the configuration of the whole page for each session, 0.26 MB and 80 ms of processor time, so that a deep
link can show it again. This page has links of its own, and each request of a program is a session that Gradio keeps.

Gradio forgets the session that was used longest ago, whoever makes new ones: a stranger who invents names of sessions,
or a script, would empty every open page.
"""

from collections import Counter
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio import routes, state_holder

from residae.ui.turns import Visitor

OWNER: ContextVar[Visitor | None] = ContextVar("OWNER", default=None)  # of a session that the page asks for


class SmallSession(state_holder.SessionState):
    """A session that holds the configuration of those components alone that changed.

    Args:
        blocks: The page.

    Attributes:
        owner: Whose page it is; None of a call by name, which remembers nothing.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        page: Any = SimpleNamespace(default_config=blocks.default_config, blocks={})
        super().__init__(page)
        self.owner = OWNER.get()


class FairStateHolder(state_holder.StateHolder):
    """Sessions, of which the visitor with the most, at the address with the most, loses the one used longest ago.

    Those of calls by name go first. So nobody's second session takes the place of another address's first, and one
    address alone may have as many as there is room for.
    """

    def update(self, session_id: str) -> None:
        """Note that a session is used, and forget another one if there are too many.

        Args:
            session_id: The one that is used.
        """
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            if len(self.session_data) > self.capacity:
                forgotten = self._first_to_forget(session_id)
                self.session_data.pop(forgotten)
                self.time_last_used.pop(forgotten, None)

    def _first_to_forget(self, used: str) -> str:
        owners = {
            name: getattr(session, "owner", None) for name, session in list(self.session_data.items())
        }  # latest last
        addresses = Counter(owner.address for owner in owners.values() if owner)
        visitors = Counter(owners.values())

        def excess(name: str) -> tuple[float, int]:
            owner = owners[name]
            return (addresses[owner.address] if owner else float("inf")), visitors[owner]

        return max((name for name in owners if name != used), key=excess)  # the first of several


def keep_sessions_small() -> None:
    """Let Gradio make such sessions from now on, and forget them in this order."""
    vars(state_holder)["SessionState"] = SmallSession
    vars(routes)["StateHolder"] = FairStateHolder
