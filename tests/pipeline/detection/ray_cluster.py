"""A Ray cluster of a head and two nodes with one CPU each, for tests; run as a script, it lives as long as its stdin.

It tells its address. For each line on stdin it kills a node and everything on it, as a power cut would, and says so.
"""

import json
import os
import signal
import sys
from pathlib import Path

from ray.cluster_utils import Cluster

COMMON = {
    "node_ip_address": "127.0.0.2",  # Ray replaces 127.0.0.1 by the machine's own address
    "object_store_memory": 80 << 20,  # nothing of ours goes through it
}


def family(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def say(**told):
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **COMMON})
    nodes = [cluster.add_node(num_cpus=1, **COMMON) for _ in range(2)]
    say(address=cluster.address)
    for _ in sys.stdin:
        killed = family(nodes.pop(0).all_processes["raylet"][0].process.pid)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        say(killed=killed)
    cluster.shutdown()
