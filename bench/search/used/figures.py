"""The targets of search as it is used; pure."""

from collections.abc import Mapping

from bench.harness.report import Verdict
from bench.search.figures import Row, beats

LEAST_PER_S = 2_000.0  # answers a second of the default with fields, on two cores
MOST_LOST = 0.05  # share of the queries up to which the CPU time per answer is judged
MOST_TIMES_FIELDS = 1.25  # CPU time of a search with fields, relative to one without
LEAST_CLIENT_SHARE = 0.6  # of the throughput of bare HTTP


def judge(rows: Mapping[str, Row], cores: int) -> list[Verdict]:
    """The default against the targets, and against what you would write yourself.

    Args:
        rows: name → row; verdicts whose rows are missing are left out.
        cores: of the machine; the number of answers a second is a target on two cores.
    """
    measured = {name: row for name, row in rows.items() if row.together}
    default, bare = measured.get("up http"), measured.get("up http-ids")
    client, yourself = measured.get("up client"), measured.get("yourself http")
    verdicts: list[Verdict] = []
    if not default:
        return verdicts
    if cores == 2:
        text = (
            f"{default.title}: {default.per_s():,.0f} whole answers a second "
            f"(target on two cores: at least {LEAST_PER_S:,.0f})"
        )
        verdicts.append(Verdict(text, default.per_s() >= LEAST_PER_S))
    if yourself:
        verdicts.append(beats(default, yourself))
    # The cost of refusals is included in the CPU time per answer, and would dominate the ratio.
    if bare and max(default.share_lost(), bare.share_lost()) <= MOST_LOST:
        times = sum(default.cpu_us().values()) / sum(bare.cpu_us().values())
        text = (
            f"A search with fields takes {times:.2f} times the CPU of one without "
            f"(target: at most {MOST_TIMES_FIELDS:g})"
        )
        verdicts.append(Verdict(text, times <= MOST_TIMES_FIELDS))
    if client:
        share = client.per_s() / default.per_s()
        text = (
            f"{client.title}: {share:.0%} of the throughput of bare HTTP "
            f"(target: at least {LEAST_CLIENT_SHARE:.0%})"
        )
        verdicts.append(Verdict(text, share >= LEAST_CLIENT_SHARE))
    return verdicts
