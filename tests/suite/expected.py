"""Tests that fail because of what the run attaches to the server: replicas, and clients that compare. No faults.

Those of EXPECTED run all the same, and their writes are replicated and compared. Those of LEFT_OUT would spoil the
tests behind them by the configuration that they leave when they fail.
"""

REPLICAS = "two replicas are attached, the worker and the judge; the test expects none"
CLIENTS = "it counts clients or commands, and those of the comparison come on top"

EXPECTED = {
    "CLIENT KILL SKIPME YES/NO will kill all clients": CLIENTS,
    "MONITOR can log commands issued by functions": CLIENTS,
    "MONITOR can log commands issued by the scripting engine": CLIENTS,
    "SLOWLOG - Certain commands are omitted that contain sensitive information": CLIENTS,
    "LATENCY HISTOGRAM with empty histogram": CLIENTS,
    "SCRIPTING FLUSH ASYNC": "it counts cached scripts, and those of the comparison come on top",
    "EVAL - Scripts do not block on wait": REPLICAS,
    "EVAL - Scripts do not block on waitaof": REPLICAS,
    "UNLINK can reclaim memory in background": "the buffers of the replicas hold what it expects to be free",
}

MINIMUM = "it fails with two replicas attached, and leaves min-replicas-to-write behind"

LEFT_OUT = {"exec with write commands and state change": MINIMUM, "not enough good replicas": MINIMUM}
