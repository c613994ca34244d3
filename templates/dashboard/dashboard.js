"use strict";
// Everything that comes from a run is put into the page as text, never as HTML.
const token = document.querySelector("meta[name=token]").content;
const byId = (id) => document.getElementById(id);
const marked = new Set();
let shown = "", source = null, charts = {};

const COLOURS = { input: "#009e73", host_to_device: "#66c6a8", forward: "#0072b2", backward: "#56a8dc",
  communication: "#d55e00", optimiser: "#7fc4ee", other: "#7d7d7d" };
const SPARE = ["#8e63b5", "#a67c00", "#6a994e", "#a44a3f"];

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
  source = new EventSource("/api/events" + (shown ? "?run=" + encodeURIComponent(shown) : ""));
  source.onopen = () => { byId("link").textContent = "live"; byId("link").className = ""; };
  source.onerror = () => { byId("link").textContent = "no word from mlb dashboard"; byId("link").className = "gone"; };
  source.addEventListener("overview", (event) => overview(JSON.parse(event.data)));
  source.addEventListener("run", (event) => run(JSON.parse(event.data)));
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
    if (fleet.usd_per_hour != null) card.append(element("p", "$" + fleet.usd_per_hour.toFixed(2) + " per hour, about $" + fleet.usd_so_far.toFixed(2) + " so far"));
    if (fleet.minutes_left != null) {
      const late = fleet.minutes_left < 0;
      card.append(element("p", late ? "past its deadline by " + -fleet.minutes_left + " min: mlb infra destroy --name " + fleet.name : "ends in " + fleet.minutes_left + " min", late ? { class: "late" } : {}));
    }
    list.append(card);
  }
  const body = document.querySelector("#run-table tbody");
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.key : "";
  body.replaceChildren(...data.runs.map(row));
  if (focused) { const again = body.querySelector('[data-key="' + CSS.escape(focused) + '"]'); if (again) again.focus(); }
  byId("more").textContent = data.more ? data.more + " older runs are not shown; mlb runs lists them." : "";
  const now = data.runs.find((one) => one.run === shown);
  if (now) byId("stop").disabled = !now.live;
}

function row(one) {
  const line = element("tr", undefined, { "aria-selected": String(one.run === shown) });
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
  for (const chart of Object.values(charts)) chart.destroy();
  charts = {};
  byId("detail").hidden = false;
  byId("output").hidden = true;
  byId("detail-title").textContent = name;
  byId("doing").textContent = "reading…";
  byId("report").href = "/runs/" + encodeURIComponent(name) + "/report";
  byId("archive").href = "/runs/" + encodeURIComponent(name) + "/archive";
  listen();
  byId("detail").focus();
}

function run(data) {
  if (data.run !== shown) return;
  const speed = data.tokens_per_s ? ", " + Math.round(data.tokens_per_s).toLocaleString("en") + " tokens/s now" : "";
  byId("doing").textContent = data.doing + speed + (data.trouble ? " — " + data.trouble : "");
  byId("quality-title").textContent = data.metric + " (target " + data.target + ")";
  const target = data.quality[0].map(() => data.target);
  draw("quality", [data.quality[0], data.quality[1], target], [line(data.metric, "#0072b2", true), line("target", "#d55e00", false)]);
  draw("loss", data.loss, [line("loss", "#0072b2", false)]);
  draw("rate", data.rate, [line("tokens/s", "#0072b2", false)]);
  split(data.split);
  nodes(data.nodes);
}

function nodes(list) {
  const place = byId("resources");
  place.replaceChildren();
  if (!list.length) return;
  const table = element("table"), head = element("tr"), body = element("tbody");
  for (const title of ["Node", "CPU %", "Memory GiB", "Sent MB/s, loopback included", "GPU %"]) head.append(element("th", title, { scope: "col" }));
  for (const node of list) {
    const line = element("tr");
    for (const value of [node.node, node.cpu_percent, node.memory_gib, node.sent_mb_per_s, node.gpu_percent == null ? "-" : node.gpu_percent]) line.append(element("td", value));
    body.append(line);
  }
  const top = element("thead");
  top.append(head);
  table.append(element("caption", "Nodes, over the last seconds of samples"), top, body);
  place.append(table);
}

function line(label, stroke, points) { return { label, stroke, width: 2, points: { show: points } }; }

function draw(id, columns, series) {
  if (charts[id]) { charts[id].setData(columns); return; }
  if (!columns[0].length) return;
  const ink = getComputedStyle(document.body).color;
  const axis = { stroke: ink, grid: { stroke: "#8884", width: 1 }, ticks: { stroke: "#8884" } };
  charts[id] = new uPlot({ width: byId(id).clientWidth || 400, height: 220, scales: { x: { time: false } },
    axes: [{ ...axis, label: "seconds from run_start", labelSize: 18, size: 36 }, { ...axis, size: 64 }],
    series: [{ label: "s" }, ...series] }, columns, byId(id));
}

function split(parts) {
  const bar = byId("split"), legend = byId("split-legend");
  bar.replaceChildren(); legend.replaceChildren();
  const said = [];
  Object.entries(parts).forEach(([part, share], i) => {
    if (share < 0.001) return;
    const colour = COLOURS[part] || SPARE[i % SPARE.length], words = part.replaceAll("_", " ") + " " + (100 * share).toFixed(1) + " %";
    const piece = element("div");
    piece.style.width = 100 * share + "%"; piece.style.background = colour;
    bar.append(piece);
    const item = element("li"), patch = element("span");
    patch.style.background = colour;
    item.append(patch, document.createTextNode(words));
    legend.append(item);
    said.push(words);
  });
  bar.setAttribute("aria-label", "Where the time of the steps went: " + said.join(", "));
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
byId("logs").addEventListener("click", async () => {
  const said = await ask("GET", "/api/runs/" + encodeURIComponent(shown) + "/logs");
  if (!said) return;
  byId("output").hidden = false;
  byId("output").textContent = Object.entries(said.logs).map(([name, text]) => "==> " + name + " <==\n" + text).join("\n\n") || "No output.";
});
byId("compare").addEventListener("click", () => location.assign("/compare?runs=" + [...marked].map(encodeURIComponent).join(",") + (byId("mixed").checked ? "&mixed=1" : "")));
window.addEventListener("resize", () => { for (const [id, chart] of Object.entries(charts)) chart.setSize({ width: byId(id).clientWidth, height: 220 }); });
goals();
listen();
