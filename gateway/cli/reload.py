"""`gateway reload`: has a running cluster read its rank profiles again."""

import sys
import time

from hedgerow.common.observability.printable import printable
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Token, Url
from hedgerow.gateway.cli.render import counted


def reload(url: Url = DEFAULT_URL, token: Token = None, ca_file: CaFile = None) -> None:
    """Have a running cluster read its rank profiles again, once every worker has checked them."""
    started = time.monotonic()
    with options.connect(url, token, verify=ca_file or True) as client:
        answer = client.reload()
    names = printable(", ".join(answer.rank_profiles))
    sys.stdout.write(
        f"reloaded {counted(len(answer.rank_profiles), 'rank profile')} ({names}) "
        f"in {counted(len(answer.workers), 'worker')}, {time.monotonic() - started:.1f} s\n"
    )
