#include "report/page_style.h"

namespace molora {

namespace {

// s0 to s5: the palette of lines, told apart by people with any colour vision and each against its
// background; q0 to q8: below to above the even share; t: text on it.
constexpr char kLight[] = R"css(
  --page: #f6f6f3; --card: #ffffff; --ink: #1c1f24; --muted: #565d69; --hair: #dfe0e3;
  --grid: #e8e9ec; --accent: #0b5ea8; --track: #eceef1;
  --s0: #0b5ea8; --s1: #c2470a; --s2: #00795f; --s3: #8b3a96; --s4: #806000; --s5: #4a4f58;
  --q0: #1f4e79; --q1: #4d86b4; --q2: #93bbd8; --q3: #d3e4ef; --q4: #f1f0ec;
  --q5: #fae3c8; --q6: #f2b777; --q7: #d07a24; --q8: #8f4300;
  --t0: #ffffff; --t1: #10141a; --t2: #10141a; --t3: #10141a; --t4: #10141a;
  --t5: #10141a; --t6: #10141a; --t7: #10141a; --t8: #ffffff;
  --good: #00694f; --good-back: #dff3ea; --bad: #a4261d; --bad-back: #fbe6e3;
  --wait: #0b5ea8; --wait-back: #e2eef9; --notice: #fdf3dc; --notice-edge: #d9a521;
)css";
constexpr char kDark[] = R"css(
  --page: #131519; --card: #1b1e24; --ink: #e9ebef; --muted: #a4abb8; --hair: #30343d;
  --grid: #2a2e36; --accent: #7ab8f5; --track: #272b33;
  --s0: #62aef0; --s1: #f59562; --s2: #45c7a1; --s3: #d592df; --s4: #d9b441; --s5: #c3c8d1;
  --q0: #a9d3f7; --q1: #6ba3d0; --q2: #3f729c; --q3: #2b4459; --q4: #2b2d31;
  --q5: #4d3a26; --q6: #8a5a24; --q7: #c98230; --q8: #ffc784;
  --t0: #10141a; --t1: #10141a; --t2: #ffffff; --t3: #ffffff; --t4: #e9ebef;
  --t5: #ffffff; --t6: #ffffff; --t7: #10141a; --t8: #10141a;
  --good: #6fd6b2; --good-back: #17382f; --bad: #ff9d92; --bad-back: #432220;
  --wait: #8cc4fa; --wait-back: #1b3450; --notice: #372e17; --notice-edge: #b98a1a;
)css";

constexpr char kFrame[] = R"css(
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    sans-serif; }
main, .top, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0; font-weight: 650; letter-spacing: -0.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 44px 0 14px; font-weight: 650; letter-spacing: -0.005em; }
h3 { font-size: 15px; margin: 22px 0 10px; font-weight: 600; overflow-wrap: anywhere; }
p { margin: 0; }
a { color: var(--accent); text-underline-offset: 3px; }
code { font: 13px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 3px; }
.top { display: flex; flex-wrap: wrap; gap: 6px 24px; align-items: baseline;
  justify-content: space-between; padding-top: 16px; padding-bottom: 10px; font-size: 13px; }
.top nav { display: flex; flex-wrap: wrap; gap: 2px 16px; }
.top nav a { text-decoration: none; }
.top nav a:hover { text-decoration: underline; }
.theme { border: 0; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 12px;
  color: var(--muted); }
.theme legend { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); }
.theme label { display: inline-flex; gap: 5px; align-items: center; }
.theme input { margin: 0; accent-color: var(--accent); }
.head { padding-top: 18px; }
.folder { color: var(--muted); font-size: 13px; margin-top: 4px; overflow-wrap: anywhere; }
.badge { display: inline-block; vertical-align: 4px; font-size: 12px; line-height: 1;
  font-weight: 600; letter-spacing: 0; padding: 5px 9px; border-radius: 999px;
  color: var(--ink); background: var(--track); margin-left: 4px; }
td .badge { vertical-align: baseline; margin: 0; }
.badge.done { color: var(--good); background: var(--good-back); }
.badge.failed { color: var(--bad); background: var(--bad-back); }
.badge.running { color: var(--wait); background: var(--wait-back); }
.notice { background: var(--notice); border-left: 4px solid var(--notice-edge);
  padding: 10px 14px; border-radius: 4px; margin: 16px 0 0; overflow-wrap: anywhere; }
.notice ul { margin: 4px 0 0; padding-left: 20px; }
.summary { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr));
  gap: 10px 24px; margin: 20px 0 0; }
.summary dt { color: var(--muted); font-size: 12px; }
.summary dd { margin: 0; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 1px;
  margin: 22px 0 0; background: var(--card); border: 1px solid var(--hair); border-radius: 10px;
  overflow: hidden; }
.tile { box-shadow: 0 0 0 1px var(--hair); padding: 12px 16px 13px; }
.tile-name { color: var(--muted); font-size: 12px; }
.tile-value { font-size: 22px; font-weight: 620; line-height: 1.3;
  font-variant-numeric: tabular-nums; }
.tile-detail { color: var(--muted); font-size: 12px; min-height: 1.5em; }
footer { color: var(--muted); font-size: 12px; padding-top: 40px; padding-bottom: 40px; }
)css";

constexpr char kCards[] = R"css(
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr));
  gap: 16px; }
.cards.maps { grid-template-columns: repeat(auto-fill, minmax(min(310px, 100%), 1fr)); }
.card { background: var(--card); border: 1px solid var(--hair); border-radius: 10px; margin: 0;
  padding: 15px 18px 16px; min-width: 0; }
.card.wide, .cards + .cards { margin-top: 16px; }
figcaption { font-weight: 620; overflow-wrap: anywhere; }
.note, .hint, .nothing { color: var(--muted); font-size: 13px; line-height: 1.45; }
.hint { font-size: 12px; }
.nothing { padding: 26px 0 18px; }
.legend { display: flex; flex-wrap: wrap; gap: 3px 14px; font-size: 12px; color: var(--muted);
  margin-top: 8px; }
.legend span { display: inline-flex; align-items: center; gap: 6px; overflow-wrap: anywhere;
  min-width: 0; }
.heat-legend { margin: 18px 0 12px; }
.sample { flex: none; vertical-align: middle; overflow: visible; }
h3 .sample, th .sample { margin-right: 8px; }
.scroll { overflow-x: auto; margin: 8px -18px -8px; padding: 0 18px 8px; }
table { border-collapse: collapse; font-size: 13px; width: 100%; }
th, td { text-align: left; padding: 6px 14px 6px 0; border-top: 1px solid var(--hair);
  vertical-align: top; }
thead th { border-top: 0; color: var(--muted); font-weight: 500; font-size: 12px;
  vertical-align: bottom; }
tbody th { font-weight: 500; }
td:last-child, th:last-child { padding-right: 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
thead .number { white-space: normal; }
.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
.sentence { min-width: 280px; overflow-wrap: anywhere; }
.runs tbody th { white-space: nowrap; }
td.share { width: 30%; min-width: 90px; vertical-align: middle; }
details summary { cursor: pointer; font-weight: 620; overflow-wrap: anywhere; }
)css";

// Axes are drawn in px and per cent, so that text keeps its size; only the lines are stretched.
constexpr char kCharts[] = R"css(
.plot { position: relative; margin-top: 26px; }
.plot svg[role=img] { display: block; overflow: visible; margin-left: 48px;
  width: calc(100% - 54px); }
.plot svg.long-labels { margin-left: 104px; width: calc(100% - 112px); }
.tick { fill: var(--muted); font-size: 11.5px; font-variant-numeric: tabular-nums; }
.unit { fill: var(--muted); font-size: 11.5px; }
.grid { stroke: var(--grid); stroke-width: 1; shape-rendering: crispEdges; }
.grid-tick { stroke: var(--hair); stroke-width: 1; shape-rendering: crispEdges; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round;
  vector-effect: non-scaling-stroke; }
.band { stroke-width: 1; vector-effect: non-scaling-stroke; fill-opacity: 0.16;
  stroke-opacity: 0.3; stroke-linejoin: round; }
.dot { stroke: var(--card); stroke-width: 1.5; }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); } .s2 { --c: var(--s2); }
.s3 { --c: var(--s3); } .s4 { --c: var(--s4); } .s5 { --c: var(--s5); }
.line, .band { stroke: var(--c); }
.band, .dot, .fill { fill: var(--c); }
.line.s1 { stroke-dasharray: 8 4; } .line.s2 { stroke-dasharray: 1.5 4.5; stroke-width: 2.6; }
.line.s3 { stroke-dasharray: 10 4 2 4; } .line.s4 { stroke-dasharray: 4 4; }
.line.s5 { stroke-dasharray: 14 5; } .line.again { stroke-dasharray: 10 3 2 3 2 3; }
.cross-hair { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 3 3; }
.tip { position: absolute; top: 0; z-index: 2; pointer-events: none; background: var(--card);
  border: 1px solid var(--hair); border-radius: 6px; padding: 5px 9px; font-size: 12px;
  line-height: 1.45; box-shadow: 0 3px 12px rgb(0 0 0 / 0.18); max-width: 240px;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.tip b { font-weight: 600; }
.bars .group { margin-top: 12px; }
.bars .label { font-size: 13px; font-weight: 500; overflow-wrap: anywhere; }
small { color: var(--muted); font-size: 12px; font-weight: 400; }
.bar-row { display: grid; grid-template-columns: 1fr 118px; gap: 12px; align-items: center;
  margin-top: 3px; }
.bar { display: block; width: 100%; overflow: visible; }
.bar-value { font-size: 13px; font-variant-numeric: tabular-nums; white-space: nowrap; }
.track { fill: var(--track); } .rest { fill: var(--c); fill-opacity: 0.32; }
.whisker { stroke: var(--ink); stroke-width: 1.5; }
.whisker-under { stroke: var(--card); stroke-width: 4; stroke-opacity: 0.85; }
.chance { stroke: var(--ink); stroke-width: 2; stroke-dasharray: 3 2; }
.before { fill: var(--card); stroke: var(--ink); stroke-width: 1.8; }
.heat { display: block; overflow: visible; margin: 10px 0 0 30px; width: calc(100% - 30px); }
.heat.long-labels { margin-left: 104px; width: calc(100% - 104px); }
.heat rect { stroke: var(--card); stroke-width: 1; }
rect.q0 { fill: var(--q0); } rect.q1 { fill: var(--q1); } rect.q2 { fill: var(--q2); }
rect.q3 { fill: var(--q3); } rect.q4 { fill: var(--q4); } rect.q5 { fill: var(--q5); }
rect.q6 { fill: var(--q6); } rect.q7 { fill: var(--q7); } rect.q8 { fill: var(--q8); }
.heat text { font-size: 11px; font-variant-numeric: tabular-nums; }
text.q0 { fill: var(--t0); } text.q1 { fill: var(--t1); } text.q2 { fill: var(--t2); }
text.q3 { fill: var(--t3); } text.q4 { fill: var(--t4); } text.q5 { fill: var(--t5); }
text.q6 { fill: var(--t6); } text.q7 { fill: var(--t7); } text.q8 { fill: var(--t8); }
.heat g:hover rect { stroke: var(--ink); stroke-width: 2; }
.dead { stroke: var(--t0); stroke-width: 1.2; fill: none; }
.mark { stroke-width: 2; stroke: var(--card); }
.mark.cross { stroke: var(--bad); stroke-width: 2.6; fill: none; }
.mark.square { fill: var(--s0); } .mark.circle { fill: var(--s2); }
.mark.triangle { fill: var(--s1); }
)css";

constexpr char kNarrow[] = R"css(
@media (max-width: 560px) {
  main, .top, footer { padding-left: 14px; padding-right: 14px; }
  h1 { font-size: 23px; } h2 { margin-top: 34px; }
  .card { padding: 13px 13px 14px; }
  .scroll { margin-left: -13px; margin-right: -13px; padding-left: 13px; padding-right: 13px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tile { padding: 10px 12px; } .tile-value { font-size: 19px; }
  .wide-only { display: none; }
  .bar-row { grid-template-columns: 1fr 112px; gap: 8px; }
  .bar-value, .bar-value small { font-size: 11.5px; }
  .plot svg.long-labels { margin-left: 92px; width: calc(100% - 98px); }
}
)css";

constexpr char kPrint[] = R"css(
  body { background: #fff; font-size: 11pt; }
  .top, .tip { display: none; }
  main { max-width: none; padding: 0; }
  .card, .tile, h2, h3 { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
  svg, .tile, .badge, .notice { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .cards { grid-template-columns: 1fr 1fr; }
)css";

constexpr char kScript[] = R"js(
(function () {
  "use strict";
  var units = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };
  function scaled(v) {
    var name = Math.abs(v) >= 1e12 ? "T" : Math.abs(v) >= 1e9 ? "G"
      : Math.abs(v) >= 1e6 ? "M" : Math.abs(v) >= 1e4 ? "k" : "";
    return name ? (v / units[name]).toPrecision(3) + " " + name : String(+v.toPrecision(4));
  }
  function text(v, quantity) {
    if (v === null) return "-";
    if (quantity === "share") return (100 * v).toFixed(1) + " %";
    if (quantity === "seconds") return v < 1e-3 ? (1e6 * v).toPrecision(3) + " us"
      : v < 1 ? (1e3 * v).toPrecision(3) + " ms" : v.toPrecision(4) + " s";
    if (quantity === "count" || quantity === "rate") return scaled(v);
    return String(+v.toPrecision(5));
  }
  function nearest(points, x) {
    var low = 0, high = points.length - 1;
    while (high - low > 1) {
      var middle = (low + high) >> 1;
      if (points[middle][0] < x) low = middle; else high = middle;
    }
    return x - points[low][0] < points[high][0] - x ? points[low] : points[high];
  }
  function follow(figure) {
    var plot = figure.querySelector(".plot"), svg = plot.querySelector("svg");
    var data = JSON.parse(figure.querySelector("script.values").textContent);
    var line = null, tip = null, at = null;
    function hide() {
      if (tip) { tip.remove(); line.remove(); tip = line = null; }
    }
    function show(x) {
      at = Math.min(data.high, Math.max(data.low, x));
      hide();
      tip = document.createElement("div");
      tip.className = "tip";
      tip.setAttribute("role", "status");
      var first = null;
      data.lines.forEach(function (one) {
        if (!one.points.length) return;
        var point = nearest(one.points, at);
        if (first === null || Math.abs(point[0] - at) < Math.abs(first - at)) first = point[0];
        var row = document.createElement("div"), value = document.createElement("b");
        row.textContent = (data.lines.length > 1 ? one.name + " " : "");
        value.textContent = text(point[1], data.quantity);
        row.appendChild(value);
        if (data.lines.length > 1) row.append(" at " + Math.round(point[0]));
        tip.appendChild(row);
      });
      var head = document.createElement("div");
      head.textContent = "step " + Math.round(first === null ? at : first);
      tip.prepend(head);
      var part = ((first === null ? at : first) - data.low) / (data.high - data.low);
      line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      line.setAttribute("class", "cross-hair");
      line.setAttribute("x1", 100 * part + "%");
      line.setAttribute("x2", 100 * part + "%");
      line.setAttribute("y1", "0");
      line.setAttribute("y2", "220");
      svg.appendChild(line);
      plot.appendChild(tip);
      var box = svg.getBoundingClientRect(), around = plot.getBoundingClientRect();
      var left = box.left - around.left + part * box.width;
      var fits = left + 14 + tip.offsetWidth < around.width;
      tip.style.left = Math.max(0, fits ? left + 12 : left - 12 - tip.offsetWidth) + "px";
    }
    svg.addEventListener("pointermove", function (event) {
      var box = svg.getBoundingClientRect();
      show(data.low + (event.clientX - box.left) / box.width * (data.high - data.low));
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", function (event) {
      var by = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
      if (event.key === "Escape") hide();
      if (!by) return;
      event.preventDefault();
      show((at === null ? data.high : at) + by * (data.high - data.low) / 50);
    });
  }
  document.querySelectorAll("figure.chart").forEach(function (figure) {
    if (figure.querySelector("script.values")) follow(figure);
  });
})();
)js";

}  // namespace

std::string page_style() {
  const std::string light = std::string(":root {") + kLight + "color-scheme: light; }\n";
  const std::string dark = std::string(kDark) + "color-scheme: dark; }\n";
  return light + "@media (prefers-color-scheme: dark) { :root {" + dark + "}\n" +
         ":root:has(#theme-light:checked) {" + kLight + "color-scheme: light; }\n" +
         ":root:has(#theme-dark:checked) {" + dark + kFrame + kCards + kCharts + kNarrow +
         "@media print {\n  :root, :root:has(#theme-dark:checked) {" + kLight +
         "color-scheme: light; }" + kPrint + "}\n";
}

std::string page_script() { return kScript; }

}  // namespace molora
