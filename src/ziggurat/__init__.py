"""Ziggurat: a whole ChatGPT that you own, from corpus to conversation, in one package.

Importing the package costs nothing: it holds the version, and one setting of the environment. The rooms are imported by
name (`from ziggurat.dialogue.chat import Chat`), and each imports only rooms below it (docs: the design, section 3).
"""

import os as _os

IDLE_THREADS = {"GOMP_SPINCOUNT": "2000", "KMP_BLOCKTIME": "1"}
"""How long an idle OpenMP thread spins before it sleeps: some 50 us (libgomp, Linux), 1 ms (libomp, macOS). By default
it spins for milliseconds, so that beside another busy process the threads of torch and numba take the processor from
one another: 16,000 tokens a second become a few hundred (benchmarks/busy_neighbour.py). OpenMP reads this when torch is
imported, so it has no effect where torch is imported first; what the user has set is kept."""

if not {"OMP_WAIT_POLICY", *IDLE_THREADS} & _os.environ.keys():
    _os.environ.update(IDLE_THREADS)

__version__ = "0.1.0"
