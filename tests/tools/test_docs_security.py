"""docs/security.md against the settings.

`python -m tests.tools.test_docs_security` writes the table of limits again after one has changed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from tests.hostile import report
from tests.hostile.everything import EVERYTHING
from tests.support import doc_blocks
from tests.tools.test_docs_configuration import default_of, groups, unit_of

PAGE = Path(__file__).parents[2] / "docs" / "security.md"

# Sections that bound no caller: the others' settings are limits unless they are named below.
OTHER_SECTIONS = {
    "",
    "redis",
    "breaker",
    "hedging",
    "coverage",
    "probation",
    "snapshots",
    "placement",
    "rank_profiles.NAME",
}
NO_LIMITS = {
    "gateway.host",
    "gateway.port",
    "gateway.default_deadline_ms",
    "gateway.default_k",
    "gateway.membership_poll_s",
    "gateway.drain_delay_s",
    "gateway.drain_timeout_s",
    "gateway.process_port",
    "gateway.processes",
    "gateway.slow_ms",
    "embed.processes",
    "worker.join",
    "worker.capacity",
    "worker.zone",
    "worker.scorers",
    "worker.workers_on_host",
    "worker.threads",
    "worker.process_nice",
    "worker.indexer_nice",
    "worker.process_pool",
    "worker.max_batch",
    "worker.batch_window_ms",
    "worker.metrics_host",
    "worker.metrics_port",
    "worker.heartbeat_interval_s",
    "worker.heartbeat_expiry_s",
    "worker.loop_lag_threshold_ms",
    "worker.drain_timeout_s",
    "worker.statistics_interval_s",
    "tracing.enabled",
    "tracing.endpoint",
    "tracing.service_name",
    "tracing.sample_rate",
    "tracing.timeout_s",
    "admission.initial_limit",
    "admission.min_limit",
    "admission.wait_share",
}
# Whatever else changes, these protect, and must be in the table.
MUST_BE_THERE = {
    "gateway.token",
    "gateway.allowed_hosts",
    "gateway.cors_origins",
    "gateway.max_head_bytes",
    "gateway.max_headers",
    "gateway.max_connections",
    "gateway.max_connections_per_peer",
    "gateway.head_timeout_s",
    "gateway.body_timeout_s",
    "gateway.max_body_bytes",
    "gateway.max_query_chars",
    "gateway.max_k",
    "gateway.max_batch_searches",
    "gateway.max_deadline_ms",
    "limits.max_document_bytes",
    "limits.max_id_bytes",
    "limits.max_log_entries",
    "limits.max_message_bytes",
    "worker.kill_grace_ms",
    "worker.quarantine_after",
    "admission.enabled",
    "admission.max_limit",
    "gateway.keys_file",
    "gateway.max_loads",
    "gateway.max_answer_bytes",
    "gateway.max_held_bytes",
    "limits.max_document_values",
    "limits.max_collections",
    "limits.max_aliases",
    "limits.max_synonyms",
    "limits.max_synonym_group",
    "limits.max_synonym_words",
    "limits.max_fetch_bytes",
    "query.max_clauses",
    "query.max_fuzzy_edits",
    "query.max_prefix_terms",
    "query.max_scans",
    "query.max_sloppy_words",
}


def limits() -> Iterator[tuple[str, FieldInfo]]:
    """Each setting that bounds a caller."""
    for section, _, _, fields in groups():
        for name, field in fields.items():
            setting = f"{section}.{name}"
            if section not in OTHER_SECTIONS and setting not in NO_LIMITS:
                yield setting, field


def render() -> str:
    """The table, as the page must hold it."""
    rows = [
        (f"`{setting}`", default_of(field), unit_of(setting), field.description or "")
        for setting, field in limits()
    ]
    return doc_blocks.table(("setting", "default", "unit", "meaning"), rows)


def test_each_limit_has_its_row_with_its_default() -> None:
    """The table names every limit with the default, unit and meaning that the code gives it."""
    found = doc_blocks.blocks(PAGE)["limits"]
    assert found == render(), f"write it again: python -m {__name__}"


def test_what_protects_is_a_limit() -> None:
    """No setting that protects is left out of the table."""
    assert {name for name, _ in limits()} >= MUST_BE_THERE


def test_what_is_said_to_be_no_limit_exists() -> None:
    """The names left out are real settings, so that none is left out by a slip."""
    every = {f"{section}.{name}" for section, _, _, fields in groups() for name in fields}
    assert every >= NO_LIMITS
    assert {section for section, _, _, _ in groups()} >= OTHER_SECTIONS


def test_settings_in_the_text_exist() -> None:
    """A setting that the page speaks of is one that the code has."""
    every = {f"{section}.{name}" for section, _, _, fields in groups() for name in fields}
    sections = "|".join(section for section, _, _, _ in groups() if "." not in section and section)
    named = re.findall(rf"`((?:{sections})\.[a-z_]+)`", PAGE.read_text(encoding="utf-8"))
    assert named
    assert set(named) <= every


def test_the_measured_table_is_of_attacks_that_there_are() -> None:
    """Each row of the measured table is an attack, and none is shown that does not hold."""
    table = doc_blocks.blocks(PAGE)[report.BLOCK]
    rows = re.findall(r"^\| `([a-z-]+)`(.*?) \|", table, re.MULTILINE)
    assert {name for name, _ in rows} == {attack.name for attack in EVERYTHING}
    assert not [name for name, note in rows if note]


if __name__ == "__main__":
    doc_blocks.write(PAGE, {"limits": render()})
