// Which words of a text are not in another, by the longest common subsequence of words: what differs is marked.

export interface Run {
  text: string;
  differs: boolean;
}

const MOST_WORDS = 1200;

export function pieces(text: string): string[] {
  return text.match(/\p{Script=Han}|[^\s\p{Script=Han}]+|\s+/gu) ?? [];
}

/** The text in runs; those that the other one has not are marked. Texts beyond MOST_WORDS words are not compared. */
export function against(text: string, other: string): Run[] {
  const ours = pieces(text);
  const theirs = pieces(other);
  if (ours.length > MOST_WORDS || theirs.length > MOST_WORDS) return [{ text, differs: false }];
  const kept = common(ours, theirs);
  const runs: Run[] = [];
  ours.forEach((piece, i) => {
    const differs = !kept.has(i) && piece.trim() !== "";
    const last = runs.at(-1);
    if (last?.differs === differs) last.text += piece;
    else runs.push({ text: piece, differs });
  });
  return runs;
}

/** Places in `a` that belong to a longest common subsequence with `b`. */
function common(a: string[], b: string[]): Set<number> {
  const wide = b.length + 1;
  const table = new Uint16Array((a.length + 1) * wide);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      table[i * wide + j] = a[i] === b[j] ? table[(i + 1) * wide + j + 1]! + 1 : Math.max(table[(i + 1) * wide + j]!, table[i * wide + j + 1]!);
    }
  }
  const kept = new Set<number>();
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) {
      kept.add(i++);
      j++;
    } else if (table[(i + 1) * wide + j]! >= table[i * wide + j + 1]!) i++;
    else j++;
  }
  return kept;
}
