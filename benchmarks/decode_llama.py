"""llama.cpp's side of `benchmarks/decode.py`, in a process and an environment of its own: reads cases, writes seconds.

    python benchmarks/decode_llama.py MODEL.gguf THREADS

Each line of standard input is a case in JSON (streams, prompt, new, prefill); each line of output the seconds of
reading the prompts, the seconds of writing, and the memory's peak in MiB. Sequences stand in one batch, as in
llama.cpp's llama-batched-bench, and go on with the likeliest token.
"""

from __future__ import annotations

import ctypes
import json
import resource
import sys
import time
from typing import Any

import llama_cpp as ll
import numpy as np

CELLS = 16 * 640
BATCH = 512


class Model:
    def __init__(self, path: str, threads: int) -> None:
        ll.llama_backend_init()
        quiet = ll.llama_log_callback(lambda *_: None)
        self.quiet = quiet
        ll.llama_log_set(quiet, ctypes.c_void_p(0))
        self.model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
        self.vocabulary = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self.model))
        self.threads = threads
        self.context: Any = None
        self.streams = 0
        self.batch = ll.llama_batch_init(BATCH, 0, 1)

    def open(self, streams: int, cells: int) -> None:
        """A context for so many sequences; one that fits is kept."""
        if self.context is not None and (self.streams, self.cells) == (streams, cells):
            ll.llama_memory_clear(ll.llama_get_memory(self.context), True)
            return
        if self.context is not None:
            ll.llama_free(self.context)
        params = ll.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = (
            cells * streams,
            BATCH,
            BATCH,
            streams,
        )
        params.n_threads = params.n_threads_batch = self.threads
        self.context = ll.llama_init_from_model(self.model, params)
        self.streams, self.cells = streams, cells

    def decode(self, rows: list[tuple[int, int, int, bool]]) -> None:
        """(token, position, sequence, whether its logits are wanted)."""
        self.batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            self.batch.token[i], self.batch.pos[i], self.batch.n_seq_id[i] = token, position, 1
            self.batch.seq_id[i][0], self.batch.logits[i] = sequence, wanted
        if ll.llama_decode(self.context, self.batch):
            raise SystemExit("llama_decode failed")

    def likeliest(self, row: int) -> int:
        logits = np.ctypeslib.as_array(ll.llama_get_logits_ith(self.context, row), (self.vocabulary,))
        return int(logits.argmax())

    def run(self, streams: int, prompt: int, new: int) -> tuple[float, float]:
        """Seconds of the prompts, and of all further tokens but each sequence's first."""
        self.open(streams, prompt + new + 8)
        ids = np.random.default_rng(0).integers(10, self.vocabulary, (streams, prompt)).tolist()
        began = time.perf_counter()
        last = []
        for s in range(streams):
            for start in range(0, prompt, BATCH):
                piece = ids[s][start : start + BATCH]
                ends = start + len(piece) == prompt
                self.decode(
                    [(token, start + i, s, ends and i == len(piece) - 1) for i, token in enumerate(piece)]
                )
            last.append(self.likeliest(-1))
        read = time.perf_counter() - began
        began = time.perf_counter()
        for step in range(new - 1):
            self.decode([(token, prompt + step, s, True) for s, token in enumerate(last)])
            last = [self.likeliest(row) for row in range(streams)]
        return read, time.perf_counter() - began


def main() -> None:
    model = Model(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        case = json.loads(line)
        read, wrote = model.run(case["streams"], case["prompt"], case["new"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([read, wrote, peak]), flush=True)


if __name__ == "__main__":
    main()
