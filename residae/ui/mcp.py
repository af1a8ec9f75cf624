"""The server of MCP tools, which takes files as `data:` URLs alone, and says so.

Gradio's tells clients to send the address of a file on another server. The guard refuses it, and its sentence does not
reach them.
"""

from typing import Any

from gradio import mcp

DATA_URL = "a data: URL, such as data:image/png;base64,..."


class DataUrlServer(mcp.GradioMCPServer):
    """Gradio's server, for tools whose files are parameters of their own and are never fetched."""

    @property
    def _file_data_tool_description(self) -> str:
        return f" Give a file as {DATA_URL}"

    def simplify_filedata_schema(self, schema: dict[str, Any]) -> tuple[dict[str, Any], list[list[str | int]]]:
        """Describe the files among the parameters of a tool as the text that clients send.

        Args:
            schema: Of the parameters.

        Returns:
            The schema as clients see it, and which parameters are files.
        """
        simplified, files = super().simplify_filedata_schema(schema)
        for (name,) in files:
            simplified["properties"][name]["format"] = DATA_URL
        return simplified, files

    def convert_strings_to_filedata(self, value: dict[str, Any], filedata_positions: list[list[str | int]]) -> Any:
        """Make files of the texts that a client sent.

        Args:
            value: The arguments of a call.
            filedata_positions: Which of them are files.

        Returns:
            The arguments, with files.

        Raises:
            ValueError: A file is given in another way.
        """
        for (name,) in filedata_positions:
            if not str(value.get(str(name)) or "data:").startswith("data:"):
                raise ValueError(f"{name} is {DATA_URL}: files are not fetched from other servers.")
        return super().convert_strings_to_filedata(value, filedata_positions)


def take_data_urls_alone() -> None:
    """Let Gradio make such a server from now on."""
    vars(mcp)["GradioMCPServer"] = DataUrlServer
