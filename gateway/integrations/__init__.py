"""Hedgerow as a retriever of LangChain and of LlamaIndex; each is an extra.

They search through the Python client, and what an answer does not cover travels with every
document of it. Imports the client and the shapes, and no server code, so that `hedgerow-client` has
them too. Open `source` first, which both share; the module of each framework only adapts it.
"""
