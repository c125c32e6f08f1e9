"""Processes of tests, forked from a server process that has imported what they need.

The server has one thread. A fork of the test process itself lacks the threads of that process, and may wait
for ever for a lock that one of them held, or find the thread pool of torch damaged.
"""

import multiprocessing

from benchmarks.forked_toolkit import MODULES

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload([*MODULES, "infer.runs.run", "tests.sft_work", "evaluation.__main__"])
