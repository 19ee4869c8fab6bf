"""Small directed acyclic graphs: all of them, d-separation, and Markov equivalence classes.

A graph over variables 0..k-1 is a frozenset of edges (cause, effect). Two graphs are equivalent where exactly the same
(conditional) independences follow from them: no data on those variables can tell them apart. That is so exactly where
they have the same links and the same v-structures a -> c <- b without a link between a and b (Verma and Pearl, 1990).
There are 25 graphs in 11 classes for three variables, and 543 in 185 for four.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import combinations, product

Graph = frozenset[tuple[int, int]]
Independence = tuple[int, int, frozenset[int]]
"""(i, j, S) with i < j: i is independent of j given S."""


@cache
def graphs(k: int) -> tuple[Graph, ...]:
    """Every directed acyclic graph over k variables, in a fixed order."""
    pairs = list(combinations(range(k), 2))
    found = []
    for choice in product((None, False, True), repeat=len(pairs)):
        edges = frozenset(
            (b, a) if turned else (a, b)
            for (a, b), turned in zip(pairs, choice, strict=True)
            if turned is not None
        )
        if _acyclic(edges, k):
            found.append(edges)
    return tuple(found)


def _acyclic(edges: Graph, k: int) -> bool:
    left = set(range(k))
    while left:
        roots = {v for v in left if not any(b == v and a in left for a, b in edges)}
        if not roots:
            return False
        left -= roots
    return True


@cache
def parents(graph: Graph, v: int) -> frozenset[int]:
    return frozenset(a for a, b in graph if b == v)


@cache
def ancestors(graph: Graph, v: int) -> frozenset[int]:
    """Without v itself."""
    before = parents(graph, v)
    return before.union(*(ancestors(graph, a) for a in before))


def separated(graph: Graph, i: int, j: int, given: frozenset[int]) -> bool:
    """Whether i and j are d-separated by `given`: apart in the moral graph of their ancestors without `given`
    (Lauritzen et al., 1990)."""
    kept = {i, j, *given}
    for v in tuple(kept):
        kept |= ancestors(graph, v)
    joined: dict[int, set[int]] = defaultdict(set)
    for v in kept:
        before = parents(graph, v)
        links = [(a, v) for a in before] + list(combinations(before, 2))
        for a, b in links:
            joined[a].add(b)
            joined[b].add(a)
    seen, waiting = {i}, [i]
    while waiting:
        for v in joined[waiting.pop()] - seen - given:
            seen.add(v)
            waiting.append(v)
    return j not in seen


def statements(k: int) -> Iterator[Independence]:
    """Every (i, j, S) over k variables, small S first."""
    for i, j in combinations(range(k), 2):
        rest = [v for v in range(k) if v not in (i, j)]
        for size in range(len(rest) + 1):
            for given in combinations(rest, size):
                yield i, j, frozenset(given)


@cache
def independences(graph: Graph, k: int) -> frozenset[Independence]:
    """All independences that follow from a graph."""
    return frozenset(one for one in statements(k) if separated(graph, *one))


@cache
def classes(k: int) -> tuple[tuple[Graph, ...], ...]:
    """The Markov equivalence classes of graphs over k variables."""
    found: dict[object, list[Graph]] = defaultdict(list)
    for graph in graphs(k):
        links = frozenset(frozenset(edge) for edge in graph)
        joins = frozenset(
            (c, a, b)
            for c in range(k)
            for a, b in combinations(sorted(parents(graph, c)), 2)
            if frozenset((a, b)) not in links
        )
        found[links, joins].append(graph)
    return tuple(tuple(members) for members in found.values())
