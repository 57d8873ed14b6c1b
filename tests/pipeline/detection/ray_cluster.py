"""A Ray cluster of a head and two nodes with one CPU each, for tests; run as a script, it lives as long as its stdin.

It prints its address. For each line "node" on stdin it kills all processes of a node, as a power cut would, and for any
other line an actor of this class; it prints their ids.
"""

import json
import os
import signal
import sys
from pathlib import Path

from ray.cluster_utils import Cluster

COMMON = {
    "node_ip_address": "127.0.0.2",  # Ray replaces 127.0.0.1 by the machine's own address
    "object_store_memory": 80 << 20,  # the tests send nothing through it
}


def family(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(descendant for child in children for descendant in family(int(child)))]


def say(**values):
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **COMMON})
    nodes = [cluster.add_node(num_cpus=1, **COMMON) for _ in range(2)]
    say(address=cluster.address)
    for line in sys.stdin:
        if line.strip() == "node":
            killed = family(nodes.pop(0).all_processes["raylet"][0].process.pid)
        else:
            everyone = [pid for node in nodes for pid in family(node.all_processes["raylet"][0].process.pid)]
            names = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in everyone}
            killed = [pid for pid, name in names.items() if name.startswith(f"ray::{line.strip()}")][:1]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        say(killed=killed)
    cluster.shutdown()
