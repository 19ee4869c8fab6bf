"""The look of every report: one style sheet, for desktop and phone, light, dark and print."""

STYLE = """
:root { --paper:#fcfbf8; --card:#fff; --ink:#1d2126; --soft:#5c6570; --line:#dfdcd4; --grid:#ece9e2;
  --good:#1a7f4b; --bad:#b3362b; --s0:#2563a8; --s1:#c2571a; --s2:#2e8b57; --s3:#8a4fb0; --s4:#b8860b;
  --s5:#4a5a6a; }
@media (prefers-color-scheme: dark) { :root { --paper:#14171b; --card:#1c2026; --ink:#e8e6e1; --soft:#9aa4af;
  --line:#333a43; --grid:#282e36; --good:#58c98c; --bad:#f08074; --s0:#74aef0; --s1:#f0a06a; --s2:#74d09c;
  --s3:#c79be8; --s4:#e0bc5a; --s5:#a5b4c3; } }
* { box-sizing:border-box; }
body { margin:0; background:var(--paper); color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC","PingFang SC",
  "Microsoft YaHei",sans-serif; }
main { max-width:75rem; margin:0 auto; padding:1.5rem clamp(0.9rem,3vw,2.5rem) 4rem; }
header { border-bottom:1px solid var(--line); margin-bottom:1.2rem; }
h1 { font-size:1.6rem; margin:0; overflow-wrap:anywhere; } header p { margin:.2rem 0 .9rem;
  color:var(--soft); }
h2 { font-size:1.15rem; margin:2.2rem 0 .7rem; } small { color:var(--soft); }
.summary { font-size:1.08rem; max-width:46rem; }
.cards { display:flex; flex-wrap:wrap; gap:.7rem; }
.card { background:var(--card); border:1px solid var(--line); border-radius:.6rem; padding:.6rem .9rem;
  min-width:7.5rem; }
.card b { display:block; font-size:1.25rem; font-variant-numeric:tabular-nums; }
  .card span { color:var(--soft); font-size:.85rem; }
.plots { display:grid; grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr)); gap:1rem; }
.plot { margin:0; background:var(--card); border:1px solid var(--line); border-radius:.6rem; padding:.6rem
  .7rem; }
.plot figcaption { font-size:.85rem; color:var(--soft); margin-bottom:.2rem; }
.plot svg { width:100%; height:auto; display:block; } .plot svg text { font-size:11px; fill:var(--soft); }
.legend { display:flex; flex-wrap:wrap; gap:.2rem 1rem; font-size:.82rem; color:var(--soft); }
.key i { display:inline-block; width:.8rem; height:.8rem; border-radius:.2rem; margin-right:.35rem;
  vertical-align:-.08rem; }
.verdicts { list-style:none; margin:0; padding:0; }
.verdicts li { display:flex; gap:.6rem; padding:.45rem 0; border-bottom:1px solid var(--line); }
.verdicts p { margin:.1rem 0 0; color:var(--soft); } .verdicts i { font-style:normal; font-weight:700; }
.pass i { color:var(--good); } .fail i { color:var(--bad); }
.sample { background:var(--card); border:1px solid var(--line); border-radius:.6rem; padding:.7rem .9rem;
  margin:.6rem 0; }
.sample > div { white-space:pre-wrap; overflow-wrap:anywhere; } .prompt { color:var(--soft);
  font-size:.92rem; }
.said { margin-top:.25rem; } .expected { margin-top:.35rem; font-size:.92rem; }
.scroll { overflow-x:auto; } table { border-collapse:collapse; font-size:.93rem; width:100%; }
th,td { text-align:left; padding:.35rem .9rem .35rem 0; border-bottom:1px solid var(--line);
  vertical-align:top; overflow-wrap:break-word; }
th { color:var(--soft); font-weight:600; } .num { font-variant-numeric:tabular-nums; white-space:nowrap; }
details summary { cursor:pointer; color:var(--soft); }
pre { overflow-x:auto; background:var(--card); border:1px solid var(--line); border-radius:.6rem;
  padding:.8rem; font-size:.82rem; }
@media (max-width:40rem) { .plot svg text { font-size:16px; } }
@media print { .plot,.sample { break-inside:avoid; } }
"""
