"""The MCP server of `gateway mcp`: search, get and status as tools of a language model's agent.

The Model Context Protocol is spoken by the official SDK (the extra `mcp`); what is here is what the
tools return, and within which limits. All tools only read. It asks a gateway through the Python
client, so it can run on another machine than the cluster. Imports the client and the shapes. Open
`tools` first, then `server`.
"""
