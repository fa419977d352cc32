"""How many replicas each worker, host and zone should have. Pure.

Workers, hosts and zones are a tree. The replicas of a shard go to as many zones as there are, and
within a zone to as many hosts: this bounds how many replicas of one shard a zone or host may have.
Within these bounds, each worker gets a share in proportion to its capacity.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from hedgerow.common.placement.members import Member

Host = tuple[str, str]  # zone and host, since a host's name may occur in two zones
_Place = TypeVar("_Place", str, Host)


class Shares(NamedTuple):
    """What each worker should have.

    Attributes:
        zones: worker → its zone.
        hosts: worker → its host.
        most_in_zone: zone → replicas of one shard that it may have.
        most_on_host: host → replicas of one shard that it may have.
        of_worker: worker → replicas that it should have, a fraction.
    """

    zones: list[str]
    hosts: list[Host]
    most_in_zone: dict[str, int]
    most_on_host: dict[Host, int]
    of_worker: list[float]


def shares_of(members: Sequence[Member], replicas: int, num_shards: int, total: int) -> Shares:
    """Divide `total` replicas of `num_shards` shards; workers are numbered as in `members`.

    Args:
        members: the workers that can have some; at least one.
        replicas: replicas of a shard; at most as many as members.
        num_shards: shards that have some.
        total: replicas of all shards.
    """
    zones = [member.zone for member in members]
    hosts = [(member.zone, member.host) for member in members]
    tree: dict[str, dict[Host, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, (zone, host) in enumerate(zip(zones, hosts, strict=True)):
        tree[zone][host].append(number)
    in_zone = {zone: sum(map(len, by_host.values())) for zone, by_host in tree.items()}
    most_in_zone = _even(in_zone, replicas)
    most_on_host: dict[Host, int] = {}
    for zone, by_host in tree.items():
        on_host = {host: len(numbers) for host, numbers in by_host.items()}
        most_on_host |= _even(on_host, most_in_zone[zone])

    def capacity(numbers: Sequence[int]) -> float:
        return sum(members[number].capacity for number in numbers)

    of_worker = [0.0] * len(members)
    of_zone = divide(
        total,
        [sum(map(capacity, by_host.values())) for by_host in tree.values()],
        [num_shards * most_in_zone[zone] for zone in tree],
    )
    for by_host, zone_total in zip(tree.values(), of_zone, strict=True):
        of_host = divide(
            zone_total,
            [capacity(numbers) for numbers in by_host.values()],
            [num_shards * most_on_host[host] for host in by_host],
        )
        for numbers, host_total in zip(by_host.values(), of_host, strict=True):
            weights = [members[number].capacity for number in numbers]
            parts = divide(host_total, weights, [num_shards] * len(numbers))
            for number, part in zip(numbers, parts, strict=True):
                of_worker[number] = part
    return Shares(zones, hosts, most_in_zone, most_on_host, of_worker)


def divide(total: float, weights: Sequence[float], most: Sequence[int]) -> list[float]:
    """Divide `total` in proportion to `weights`, where no part is greater than its `most`.

    What a part cannot take goes to the others. If all are full, the rest is given to none.
    """
    parts = [0.0] * len(weights)
    is_open = set(range(len(weights)))
    while is_open:
        rate = total / sum(weights[number] for number in is_open)
        full = [number for number in is_open if weights[number] * rate >= most[number]]
        for number in full or is_open:
            parts[number] = float(most[number]) if full else weights[number] * rate
        if not full:
            break
        total = max(0.0, total - sum(most[number] for number in full))
        is_open.difference_update(full)
    return parts


def _even(sizes: dict[_Place, int], wanted: int) -> dict[_Place, int]:
    """How many of `wanted` each place may have, if they are spread as evenly as sizes permit."""
    level = 1
    while sum(min(level, size) for size in sizes.values()) < wanted:
        level += 1
    return {place: min(level, size) for place, size in sizes.items()}
