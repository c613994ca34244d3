"use strict";
// Everything that comes from a run is put into the page as text, never as HTML.
const token = document.querySelector("meta[name=token]").content;
const byId = (id) => document.getElementById(id);
const marked = new Set();
let shown = "", node = null, source = null, charts = {}, last = {};

// As in the report, in the order in which they are stacked.
const COLOURS = { startup: "#c3cad2", input: "#009e73", host_to_device: "#66c6a8", forward: "#0072b2", backward: "#56a8dc",
  communication: "#d55e00", optimiser: "#7fc4ee", other: "#7d7d7d", bare_steps: "#a67c00", evaluation: "#8e63b5",
  between_epochs: "#b8a3cf", finish: "#d9d2e3" };
const BLUE = "#2a84c4", ORANGE = "#d55e00", GREEN = "#009e73";

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

async function ask(method, path, body) {
  const answer = await fetch(path, { method, headers: { "x-mlb-token": token, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body) });
  const said = await answer.json();
  byId("said").textContent = answer.ok ? "" : [said.what, said.why, said.fix].filter(Boolean).join("\n");
  return answer.ok ? said : null;
}

function listen() {
  if (source) source.close();
  const asked = new URLSearchParams(shown ? { run: shown, ...(node === null ? {} : { node }) } : {});
  source = new EventSource("/api/events?" + asked);
  source.onopen = () => { byId("link").textContent = "live"; byId("link").className = ""; };
  source.onerror = () => { byId("link").textContent = "no word from mlb dashboard"; byId("link").className = "gone"; };
  source.addEventListener("overview", (event) => overview(JSON.parse(event.data)));
  source.addEventListener("run", (event) => run(JSON.parse(event.data)));
  source.addEventListener("nodes", (event) => nodes(JSON.parse(event.data)));
  source.addEventListener("output", () => { if (!byId("output").hidden) output(); });
  source.addEventListener("gone", (event) => { byId("doing").textContent = JSON.parse(event.data).why; });
}

function overview(data) {
  const list = byId("fleet-list");
  list.replaceChildren();
  list.className = "fleets";
  if (!data.fleets.length) list.append(element("p", "No fleet is applied: runs use this machine."));
  for (const fleet of data.fleets) {
    const card = element("div", undefined, { class: "card" });
    const nodes = fleet.nodes ? fleet.nodes.length + " nodes" : "";
    card.append(element("strong", fleet.name), element("p", [fleet.cloud, fleet.zone, nodes, fleet.status].filter(Boolean).join(", ")));
    if (fleet.machine) card.append(element("p", fleet.machine));
    if (fleet.usd_per_hour != null) {
      const rate = (fleet.usd_per_hour_is_ceiling ? "at most $" : "$") + fleet.usd_per_hour.toFixed(2) + " per hour";
      const spent = fleet.usd_so_far == null ? "" : (fleet.usd_so_far_is_ceiling ? ", at most $" : ", about $") + fleet.usd_so_far.toFixed(2) + " so far";
      card.append(element("p", rate + spent));
    }
    if (fleet.minutes_left != null) {
      const late = fleet.minutes_left < 0;
      card.append(element("p", late ? "past its deadline by " + -fleet.minutes_left + " min: mlb infra destroy --name " + fleet.name : "ends in " + fleet.minutes_left + " min", late ? { class: "late" } : {}));
    }
    list.append(card);
  }
  const body = document.querySelector("#run-table tbody");
  const focused = focusedKey();
  body.replaceChildren(...data.runs.map(row));
  refocus(body, focused);
  byId("more").textContent = data.more ? data.more + " older runs are not shown; mlb runs lists them." : "";
  const now = data.runs.find((one) => one.run === shown);
  if (now) byId("stop").disabled = !now.live;
}

// What is drawn anew keeps the keyboard's place.
function focusedKey() { return document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.key : ""; }

function refocus(place, key) {
  const again = key && place.querySelector('[data-key="' + CSS.escape(key) + '"]');
  if (again) again.focus({ preventScroll: true });
}

function row(one) {
  const line = element("tr", undefined, { "aria-selected": String(one.run === shown), "data-run": one.run });
  const box = element("input", undefined, { type: "checkbox", "aria-label": "Mark " + one.run, "data-key": "mark " + one.run });
  box.checked = marked.has(one.run);
  box.addEventListener("change", () => { box.checked ? marked.add(one.run) : marked.delete(one.run); byId("compare").disabled = marked.size < 2; });
  const name = element("button", one.run, { class: "link", type: "button", "data-key": "open " + one.run });
  name.addEventListener("click", () => open(one.run));
  const cells = [box, name].map((inner) => { const cell = element("td"); cell.append(inner); return cell; });
  cells.push(element("td", one.state, { class: one.live ? "live" : one.state }));
  const goal = one.task ? one.task + " " + one.goal + " (" + one.kind + ")" : "";
  for (const text of [one.result, goal, one.ranks, one.fleet, one.seed]) cells.push(element("td", text === undefined ? "" : text));
  line.append(...cells);
  return line;
}

function open(name) {
  shown = name;
  node = null;
  clear(Object.keys(charts));
  last = {};
  byId("detail").hidden = false;
  byId("output").hidden = true;
  byId("hardware").hidden = true;
  byId("detail-title").textContent = name;
  byId("doing").textContent = "reading…";
  byId("report").href = "/runs/" + encodeURIComponent(name) + "/report";
  byId("archive").href = "/runs/" + encodeURIComponent(name) + "/archive";
  for (const line of document.querySelectorAll("#run-table tbody tr")) line.setAttribute("aria-selected", String(line.dataset.run === name));
  listen();
  byId("detail").focus();
}

function run(data) {
  if (data.run !== shown) return;
  last.run = data;
  const speed = data.tokens_per_s ? ", " + Math.round(data.tokens_per_s).toLocaleString("en") + " " + data.unit + "/s now" : "";
  byId("doing").textContent = data.doing + speed + (data.trouble ? " — " + data.trouble : "");
  byId("quality-title").textContent = data.metric + " (target " + data.target + ")";
  const target = data.quality[0].map(() => data.target);
  draw("quality", [data.quality[0], data.quality[1], target], [line(data.metric, BLUE, true), line("target", ORANGE, false)]);
  draw("loss", data.loss, [line("loss", BLUE, false)]);
  draw("rate", data.rate, [line(data.unit + "/s", BLUE, false)]);
  const parts = Object.keys(COLOURS).filter((part) => data.split[part]);
  split(parts, data.split);
  stack("split-time", data.split_over_time, parts);
}

function nodes(data) {
  if (data.run !== shown) return;
  last.nodes = data;
  byId("hardware").hidden = !data.rows.length;
  if (!data.rows.length) return;
  byId("hardware-title").textContent = data.node === null ? (data.rows.length > 1 ? data.rows.length + " nodes: mean, least and most" : "Node " + data.rows[0].node) : "Node " + data.node;
  byId("all-nodes").hidden = data.rows.length < 2;
  byId("all-nodes").setAttribute("aria-pressed", String(data.node === null));
  between("busy", data, { cpu_percent: ["CPU %", BLUE], gpu_percent: ["GPU %", GREEN] });
  between("memory", data, { memory_gib: ["GiB", BLUE] });
  between("network", data, { sent_mb_per_s: ["sent", BLUE], received_mb_per_s: ["received", ORANGE] });
  table(data.rows);
}

function table(rows) {
  const place = byId("resources"), made = element("table"), head = element("tr"), body = element("tbody"), focused = focusedKey();
  for (const title of ["Node", "CPU %", "Memory GiB", "Sent MB/s", "Received MB/s", "GPU %"]) head.append(element("th", title, { scope: "col" }));
  for (const one of rows) {
    const line = element("tr", undefined, { "aria-selected": String(one.node === node) }), name = element("td");
    const choose = element("button", one.node + (one.name ? " " + one.name : ""), { class: "link", type: "button", "data-key": "node " + one.node });
    choose.addEventListener("click", () => look(one.node));
    name.append(choose);
    line.append(name);
    for (const value of [one.cpu_percent, one.memory_gib, one.sent_mb_per_s, one.received_mb_per_s, one.gpu_percent]) line.append(element("td", value == null ? "-" : value.toFixed(1)));
    body.append(line);
  }
  const top = element("thead");
  top.append(head);
  made.append(element("caption", "Over the last seconds of samples", { class: "unseen" }), top, body);
  place.replaceChildren(made);
  refocus(place, focused);
}

function look(number) {
  node = number;
  clear(["busy", "memory", "network"]);
  listen();
}

function clear(ids) {
  for (const id of ids) if (charts[id]) { charts[id].plot.destroy(); delete charts[id]; }
}

function line(label, stroke, points) { return { label, stroke, width: 2, points: { show: points } }; }

// Columns of one node, or the mean of all with the least and the most around it.
function between(id, data, named) {
  const columns = [data.at], series = [], bands = [];
  for (const [name, [label, colour]] of Object.entries(named)) {
    const lines = data.series[name] || [];
    lines.forEach((column, i) => {
      columns.push(column);
      series.push(i ? { label: label + (i === 1 ? " least" : " most"), stroke: colour + "66", width: 1, class: "bound", points: { show: false } } : line(label, colour, false));
    });
    if (lines.length === 3) bands.push({ series: [columns.length - 1, columns.length - 2], fill: colour + "22" });
  }
  if (series.length) draw(id, columns, series, { bands, scales: { x: { time: false }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.05 : 1] } } });
}

function stack(id, data, parts) {
  const columns = [data.at], series = [], bands = [];
  let below = data.at.map(() => 0);
  parts.filter((part) => data.parts[part]).forEach((part, i) => {
    below = below.map((value, at) => value + data.parts[part][at]);
    columns.push(below);
    series.push({ label: part.replaceAll("_", " "), stroke: COLOURS[part], width: 0.5, points: { show: false }, ...(i ? {} : { fill: COLOURS[part] }) });
    if (i) bands.push({ series: [i + 1, i], fill: COLOURS[part] });
  });
  draw(id, columns, series, { bands, legend: { show: false }, scales: { x: { time: false }, y: { range: [0, 100] } } });
  const now = parts.filter((part) => data.parts[part]).map((part) => part.replaceAll("_", " ") + " " + data.parts[part].at(-1).toFixed(0) + " %");
  byId(id).setAttribute("aria-label", "Where the time went, over time; of late: " + now.join(", "));
}

function draw(id, columns, series, more = {}) {
  const place = byId(id), names = series.map((one) => one.label).join("|");
  if (charts[id] && charts[id].names !== names) clear([id]);
  if (charts[id]) charts[id].plot.setData(columns);
  else if (columns[0].length && window.uPlot) charts[id] = { names, plot: plot(place, columns, series, more) };
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", series.map((one, i) => one.label + " " + (columns[i + 1].findLast((value) => value != null) ?? "none yet")).join(", "));
}

function plot(place, columns, series, more) {
  const ink = getComputedStyle(document.body).color;
  const axis = { stroke: ink, grid: { stroke: "#8884", width: 1 }, ticks: { stroke: "#8884" } };
  return new uPlot({ width: place.clientWidth || 400, height: 220, scales: { x: { time: false } },
    axes: [{ ...axis, label: "seconds from run_start", labelSize: 18, size: 36 }, { ...axis, size: 64 }],
    series: [{ label: "s" }, ...series], ...more }, columns, place);
}

function split(parts, shares) {
  const bar = byId("split"), legend = byId("split-legend"), said = [];
  bar.replaceChildren(); legend.replaceChildren();
  for (const part of parts.filter((one) => shares[one] >= 0.001)) {
    const words = part.replaceAll("_", " ") + " " + (100 * shares[part]).toFixed(1) + " %";
    const piece = element("div"), item = element("li"), patch = element("span");
    piece.style.width = 100 * shares[part] + "%";
    piece.style.background = patch.style.background = COLOURS[part];
    bar.append(piece);
    item.append(patch, document.createTextNode(words));
    legend.append(item);
    said.push(words);
  }
  bar.setAttribute("aria-label", "Where the time of rank 0 went since run_start: " + said.join(", "));
}

async function output() {
  const said = await ask("GET", "/api/runs/" + encodeURIComponent(shown) + "/logs"), place = byId("output");
  if (!said) return;
  const atEnd = place.hidden || place.scrollTop + place.clientHeight >= place.scrollHeight - 8;
  place.hidden = false;
  place.textContent = Object.entries(said.logs).map(([name, text]) => "==> " + name + " <==\n" + text).join("\n\n") || "No output.";
  if (atEnd) place.scrollTop = place.scrollHeight;
}

function goals() {
  const task = document.querySelector("#start [name=task]").value;
  const list = document.querySelector("#start [name=goal]");
  for (const option of list.options) option.hidden = option.disabled = option.dataset.task !== task;
  const smoke = [...list.options].find((option) => !option.disabled && option.value === "smoke") || [...list.options].find((option) => !option.disabled);
  if (smoke) smoke.selected = true;
}

byId("start").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  const asked = Object.fromEntries([...new FormData(event.target)].filter(([, value]) => value !== ""));
  const said = await ask("POST", "/api/runs", asked);
  button.disabled = false;
  if (said) open(said.run);
});
byId("start").querySelector("[name=task]").addEventListener("change", goals);
byId("stop").addEventListener("click", async () => { byId("stop").disabled = true; await ask("POST", "/api/runs/" + encodeURIComponent(shown) + "/stop", {}); });
byId("logs").addEventListener("click", output);
byId("all-nodes").addEventListener("click", () => look(null));
byId("compare").addEventListener("click", () => location.assign("/compare?runs=" + [...marked].map(encodeURIComponent).join(",") + (byId("mixed").checked ? "&mixed=1" : "")));
window.addEventListener("resize", () => { for (const [id, chart] of Object.entries(charts)) chart.plot.setSize({ width: byId(id).clientWidth, height: 220 }); });
// The charts' library may come after the first event: the list of runs does not wait for it.
byId("plots").addEventListener("load", () => { if (last.run) run(last.run); if (last.nodes) nodes(last.nodes); });
goals();
listen();
