/** How the page looks, in light and dark, on paper and on small screens. */

export const pageStyle = `
:root {
  color-scheme: light dark;
  --paper: #fbfbfa; --card: #ffffff; --ink: #1c1f23; --soft: #5b636d; --line: #dfe2e6;
  --direct: #7d8894; --ours: #2563eb; --haproxy: #d97706; --envoy: #a21caf; --external: #0f766e;
  --met: #15803d; --missed: #b91c1c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --card: #1c2024; --ink: #e8eaed; --soft: #a3abb5; --line: #343a41;
    --direct: #78828d; --ours: #6ea0ff; --haproxy: #f2a33c; --envoy: #e06bec; --external: #35c4b4;
    --met: #4ade80; --missed: #f98080;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 74rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.02em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .75rem; }
p { max-width: 46rem; margin: .25rem 0; }
.soft { color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; padding: 0; margin: 1rem 0 0; list-style: none; }
.legend svg { width: .8rem; height: .8rem; margin-right: .4rem; vertical-align: -.05rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
figure { margin: 0; padding: 1rem 1.1rem .6rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
figcaption { font-weight: 600; margin-bottom: .5rem; }
figcaption span { font-weight: 400; color: var(--soft); }
figure svg { display: block; width: 100%; height: auto; }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); dominant-baseline: central; }
svg text.value { font-variant-numeric: tabular-nums; paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
svg .side-ours text, svg text.side-ours { font-weight: 700; }
svg text.target-text { fill: var(--soft); font-size: 11px; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg text.tick { fill: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
svg .curve { fill: none; stroke: var(--ours); stroke-width: 2.5; }
svg .dot { fill: var(--ours); }
svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .target { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .whisker { stroke: var(--ink); stroke-width: 1.25; opacity: .65; }
.side-direct .bar { fill: var(--direct); }
.side-ours .bar { fill: var(--ours); }
.side-haproxy .bar { fill: var(--haproxy); }
.side-envoy .bar { fill: var(--envoy); }
.side-external .bar { fill: var(--external); }
details { margin-top: .75rem; }
summary { cursor: pointer; color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; min-width: 36rem; width: 100%; font-size: .92rem; }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.met { color: var(--met); font-weight: 600; white-space: nowrap; }
.missed { color: var(--missed); font-weight: 600; white-space: nowrap; }
@media print { main { padding: 0; } figure { break-inside: avoid; } details { display: none; } }
`;
