"""Writes text to paste: settings for a hook, some lines of asyncio for a function. Pure."""

import json

from hedgerow.gateway.advise.figures import Figures, Kind, Lane, Machine
from hedgerow.gateway.advise.judgement import Verdict

_ONE_WORKER = "for one worker: divide them if this machine has several"


def language(figures: Figures) -> str:
    """Return the language of the text: toml or python."""
    return "python" if figures.subject.kind is Kind.FUNCTION else "toml"


def settings_text(figures: Figures, verdict: Verdict, machine: Machine) -> str:
    """Write what to paste into `hedgerow.toml`, or around a call."""
    if figures.subject.kind is Kind.FUNCTION:
        return _python(figures, verdict, machine)
    return _toml(figures, verdict, machine)


def _toml(figures: Figures, verdict: Verdict, machine: Machine) -> str:
    subject = figures.subject
    reference = json.dumps(subject.reference)  # of printable ASCII, TOML's strings are JSON's
    is_home = verdict.lane is (Lane.PROCESS if subject.kind is Kind.SECOND_PHASE else Lane.THREAD)
    if subject.is_async or not is_home:
        return _elsewhere(figures)
    lines = ["[rank_profiles.mine]", f"{subject.kind} = {reference}"]
    if subject.kind is Kind.SECOND_PHASE:
        lines.append(f"candidates = {subject.num_documents}")
        is_default = verdict.workers == machine.cores
        number = "0" if is_default else str(verdict.workers)
        note = f"{verdict.workers} on this machine, shared among its workers"
        lines += ["", "[worker]", f"scorers = {number}  # {note if is_default else _ONE_WORKER}"]
    else:
        lines += ["", "[worker]", f"threads = {verdict.workers}  # {_ONE_WORKER}"]
    return "\n".join([*_native(figures), *lines])


def _elsewhere(figures: Figures) -> str:
    """Say what to do with a function that cannot be a hook as it is."""
    if figures.subject.is_async:
        return "# Hooks are not async: declare it `def`, and let it block in its thread or process."
    if figures.subject.kind is Kind.SECOND_PHASE:
        return (
            "# A second phase runs in a scorer process, which would be idle while it waits.\n"
            "# Move look-ups for the winners to a function for `enrich`, and data that it needs\n"
            "# for every candidate into the documents."
        )
    return (
        "# `enrich` runs in a thread beside all other work of its worker. Move what it\n"
        "# computes to a function for `second_phase`, or into the documents."
    )


def _python(figures: Figures, verdict: Verdict, machine: Machine) -> str:
    subject = figures.subject
    module, _, function = subject.reference.partition(":")
    imported = f"from {module} import {function.partition('.')[0]}"
    if verdict.lane is Lane.LOOP and not subject.is_async:
        return f"{imported}\n\nresult = {function}(...)"
    if verdict.lane is Lane.LOOP:
        pool: list[str] = []
        call = f"{function}(*arguments)"
        imports = ["import asyncio"]
    else:
        imports, pool = _pool(verdict)
        called = function
        if subject.is_async:  # in name only: it gets its own loop, which it may block
            called = "blocking"
            pool += ["", "", f"def {called}(*arguments):"]
            pool += [f"    return asyncio.run({function}(*arguments))"]
        call = f"asyncio.get_running_loop().run_in_executor(pool, {called}, *arguments)"
    return "\n".join(
        [
            *imports,
            imported,
            "",
            *_native(figures),
            *pool,
            "",
            "",
            "async def call(*arguments):",
            f"    async with asyncio.timeout({machine.deadline_s:g}):",
            f"        return await {call}",
        ]
    ).replace("\n\n\n\n", "\n\n\n")


def _pool(verdict: Verdict) -> tuple[list[str], list[str]]:
    if verdict.lane is Lane.THREAD:
        imports = ["import asyncio", "from concurrent.futures import ThreadPoolExecutor"]
        return imports, [f"pool = ThreadPoolExecutor({verdict.workers})"]
    imports = [
        "import asyncio",
        "from concurrent.futures import ProcessPoolExecutor",
        "from multiprocessing import get_context",
    ]
    context = 'get_context("forkserver")'
    return imports, [f"pool = ProcessPoolExecutor({verdict.workers}, {context})"]


def _native(figures: Figures) -> list[str]:
    if figures.alone is None or not figures.alone.has_native_threads:
        return []
    return [
        "# OMP_NUM_THREADS=1 in the environment: each worker would bring native threads of its own"
    ]
