// TeX between $…$, $$…$$, \(…\) and \[…\]. "$5 and $6" stays text: no space inside the dollars, no digit after them.

import type MarkdownIt from "markdown-it";

type Md = InstanceType<typeof MarkdownIt>;
type Inline = Parameters<Md["inline"]["ruler"]["before"]>[2];
type Block = Parameters<Md["block"]["ruler"]["before"]>[2];

const inlineMath: Inline = (state, silent) => {
  const { src, pos } = state;
  for (const [open, close, display] of [["\\(", "\\)", false], ["\\[", "\\]", true], ["$$", "$$", true], ["$", "$", false]] as const) {
    if (!src.startsWith(open, pos)) continue;
    const from = pos + open.length;
    const end = endOf(src, from, close);
    if (end < 0) return false;
    const tex = src.slice(from, end);
    if (!tex.trim()) return false;
    if (close === "$" && !tight(tex, src[end + 1])) return false;
    if (!silent) {
      const token = state.push("math", "", 0);
      token.content = tex;
      token.meta = { display };
    }
    state.pos = end + close.length;
    return true;
  }
  return false;
};

function endOf(src: string, from: number, close: string): number {
  for (let i = from; i < src.length; i++) {
    if (src.startsWith(close, i)) return i;
    if (src[i] === "\\") i++;
    else if (src[i] === "\n" && src[i + 1] === "\n") return -1;
  }
  return -1;
}

function tight(tex: string, after: string | undefined): boolean {
  return !/^\s|\s$/.test(tex) && !(after !== undefined && /\d/.test(after));
}

const blockMath: Block = (state, start, end, silent) => {
  const line = (n: number) => state.src.slice((state.bMarks[n] ?? 0) + (state.tShift[n] ?? 0), state.eMarks[n]).trim();
  const first = line(start);
  const open = first.startsWith("$$") ? "$$" : first.startsWith("\\[") ? "\\[" : null;
  if (!open) return false;
  const close = open === "$$" ? "$$" : "\\]";
  const tex: string[] = [];
  let last = -1;
  for (let n = start; n < end; n++) {
    const text = n === start ? first.slice(2) : line(n);
    if (n > start && !text) return false;
    if (text.endsWith(close)) {
      tex.push(text.slice(0, -2));
      last = n;
      break;
    }
    tex.push(text);
  }
  if (last < 0 || !tex.join("").trim()) return false;
  if (silent) return true;
  state.line = last + 1;
  const token = state.push("math", "", 0);
  token.block = true;
  token.content = tex.join("\n").trim();
  token.meta = { display: true };
  token.map = [start, state.line];
  return true;
};

export function math(md: Md): void {
  md.inline.ruler.before("escape", "math", inlineMath);
  md.block.ruler.before("fence", "math", blockMath, { alt: ["paragraph", "blockquote", "list"] });
  md.renderer.rules["math"] = (tokens, i) => {
    const token = tokens[i]!;
    const display = Boolean(token.meta?.display);
    const tag = token.block ? "div" : "span";
    const tex = md.utils.escapeHtml(token.content);
    return `<${tag} class="tex${display ? " display" : ""}" data-tex="${tex}">${tex}</${tag}>`;
  };
}
