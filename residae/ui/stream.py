"""The stream of updates of an event, of which a busy browser loses none.

Gradio sends what a step of a generator changes as edits of what the step before gave, and its script makes these edits
within the very values that wait to be shown: a value that the next step does not repeat is deleted where the browser
did not come to show it in time. Here each step replaces the values of the one before.
"""

from typing import Any

import gradio as gr


class Blocks(gr.Blocks):
    """A page whose generators send whole values."""

    def handle_streaming_diffs(
        self,
        block_fn: Any,
        data: list[Any],
        session_hash: str | None,
        run: str | None,
        final: bool,
        simple_format: bool = False,
    ) -> list[Any]:
        """What Gradio sends of one step of a generator.

        Args:
            block_fn: The event.
            data: The value of each output.
            session_hash: Name of the session; None outside of one.
            run: Name of the stream; None if there is none, and values are sent as they are.
            final: Whether the steps are over; the last values are then sent again.
            simple_format: Whether values are sent as they are, as to programs.

        Returns:
            For each output its value, or, after the first step, the edits that make it.
        """
        streams = self.pending_diff_streams[session_hash] if session_hash else {}
        before = None if final or simple_format else streams.get(run)
        before = before and [*before]  # Gradio writes the new values into the list
        values = super().handle_streaming_diffs(block_fn, data, session_hash, run, final, simple_format=True)
        if before is None:
            return values
        return [[] if new == old else [["replace", [], new]] for old, new in zip(before, values, strict=True)]
