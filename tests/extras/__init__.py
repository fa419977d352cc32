"""Hedgerow with other software: Ray, HAProxy, Prometheus, LangChain, LlamaIndex, MCP, Node.

Each test needs something that most users do not install.
"""
