// KaTeX, loaded when the first formula is met. Its output is sanitised like everything else.

import DOMPurify from "dompurify";

const MOST_CHARS = 10_000;
const purify = DOMPurify(window);

export async function drawTex(element: HTMLElement): Promise<void> {
  const tex = element.dataset["tex"] ?? "";
  if (element.dataset["drawn"] || !tex || tex.length > MOST_CHARS) return;
  element.dataset["drawn"] = "yes";
  const [{ default: katex }] = await Promise.all([import("katex"), import("katex/dist/katex.min.css")]);
  const html = katex.renderToString(tex, {
    displayMode: element.classList.contains("display"),
    throwOnError: false,
    trust: false,
    strict: "ignore",
    maxSize: 20,
    maxExpand: 200,
    output: "htmlAndMathml",
  });
  element.innerHTML = purify.sanitize(html, {
    USE_PROFILES: { html: true, svg: true, mathMl: true },
    ADD_TAGS: ["semantics", "annotation"],
    ADD_ATTR: ["encoding"],
    FORBID_TAGS: ["a", "img", "form", "input", "button", "style", "video", "audio"],
  });
}
