// A session of one user: what is clicked is stored, what is recommended next is asked for, and both are timed.

const LATER = [
  [0, "right after the last click"], [60, "a minute later"], [600, "10 minutes later"], [3600, "an hour later"],
  [6 * 3600, "6 hours later"], [86400, "a day later"], [3 * 86400, "3 days later"], [7 * 86400, "a week later"],
  [30 * 86400, "a month later"], [90 * 86400, "3 months later"], [365 * 86400, "a year later"],
];
const BEST = 10, FOUND = 8, LOGGED = 50;

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const shown = new Map(); // item id, as text -> its columns
let user = "", last = null, bytes = 0, events = 0, readsTime = true, key = "";
let places = new Map(); // of the answer before
let log = [];
let asked = 0, searched = 0; // answers that come late are left

class Problem extends Error {}

async function call(method, path, body) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Problem("The server cannot be reached.");
  }
  const found = answer.status === 204 ? null : await answer.json();
  if (answer.ok) return found;
  $("key-form").hidden = answer.status !== 401;
  if (answer.status === 401) $("key").focus();
  const problem = new Problem(found.detail);
  problem.status = answer.status;
  throw problem;
}

/** Run what a person asked for, and show what went wrong. */
function doing(work) {
  return async (event) => {
    event?.preventDefault();
    try {
      await work(event);
      $("problem").hidden = true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      $("problem").textContent = error.message;
      $("problem").hidden = false;
    }
  };
}

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const pathOf = (name) => `users/${encodeURIComponent(name)}`;
const title = (item) => shown.get(String(item))?.title || String(item);
const milliseconds = (time) => `${time < 10 ? time.toFixed(1) : Math.round(time)} ms`;
const now = () => Math.floor(Date.now() / 1000);
const requestTime = () => (last === null ? now() : last + LATER[$("later").value][0]);

function about(item) {
  const { item: id, title: _, ...others } = shown.get(String(item)) ?? {};
  return [id, ...Object.values(others)].filter((value) => value !== null && value !== undefined && value !== "").join(" · ");
}

/** Know the columns of these items. */
async function learn(items) {
  const unknown = [...new Set(items.map(String))].filter((item) => !shown.has(item));
  if (!unknown.length) return;
  const found = await call("GET", `items?${new URLSearchParams(unknown.map((item) => ["id", item]))}`);
  for (const each of found.items) shown.set(String(each.item), each);
}

/** A button that is a click on an item. */
function choice(item) {
  const button = make("button");
  button.type = "button";
  button.dataset.item = item;
  const text = make("span", "", title(item));
  text.append(make("span", "about", about(item)));
  button.append(text);
  button.addEventListener("click", doing(() => click(item)));
  return button;
}

function inList(list, buttons) {
  const had = list.contains(document.activeElement) ? document.activeElement.dataset.item : null;
  list.replaceChildren(...buttons.map((button) => {
    const entry = make("li");
    entry.append(button);
    return entry;
  }));
  if (had === null) return;
  const again = buttons.find((button) => button.dataset.item === had) ?? buttons[0];
  again?.focus(); // the list is another; who moves by keyboard stays in it
}

async function search() {
  const mine = ++searched;
  const query = new URLSearchParams({ query: $("query").value, limit: FOUND });
  const { items } = await call("GET", `items?${query}`);
  if (mine !== searched) return;
  for (const each of items) shown.set(String(each.item), each);
  inList($("found"), items.map((each) => choice(each.item)));
  $("found-none").hidden = items.length > 0;
}

async function open(name) {
  user = name;
  $("user").value = name;
  places = new Map();
  log = [];
  $("later").value = 0;
  last = null;
  await recommend();
}

/** What the server keeps of the user. */
async function readState(mine) {
  const state = await call("GET", `${pathOf(user)}/state`);
  await learn(state.latest.map((each) => each.item));
  if (mine !== asked) return;
  ({ events, last, bytes, reads_time: readsTime } = state);
  $("history").replaceChildren(...state.latest.map((each) => make("li", "", title(each.item))));
  $("no-history").hidden = state.latest.length > 0;
  $("later-note").hidden = readsTime;
  $("events").textContent = number.format(events);
  $("bytes").textContent = bytes ? `${number.format(bytes)} bytes` : "none";
  showTime();
}

function showTime() {
  const [, words] = LATER[$("later").value];
  const moment = new Date(requestTime() * 1000);
  const date = moment.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  $("later-text").textContent = last === null ? "now" : `${words}, ${date}`;
  $("later").setAttribute("aria-valuetext", $("later-text").textContent);
  $("later").disabled = last === null;
}

async function click(item) {
  const began = performance.now();
  const id = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join("-");
  await call("POST", "events", { events: [{ user, item, time: requestTime(), id }] });
  const stored = performance.now() - began;
  $("later").value = 0;
  last = null; // until the server says, which has its own rule for late events
  await recommend(stored);
}

async function recommend(stored = null) {
  const mine = ++asked;
  if (last === null) await readState(mine);
  if (mine !== asked) return;
  if (!events) {
    inList($("best"), []);
    $("no-best").hidden = false;
    showCost(null);
    return;
  }
  const query = new URLSearchParams({ k: BEST, at: requestTime(), exclude_seen: $("unseen").checked });
  const began = performance.now();
  const answer = await call("GET", `${pathOf(user)}/recommendations?${query}`);
  const took = performance.now() - began;
  await learn(answer.recommendations.map((each) => each.item));
  if (mine !== asked) return;
  showBest(answer.recommendations);
  log = [{ events: answer.events, stored, took, bytes }, ...log].slice(0, LOGGED);
  showCost(took);
  $("said").textContent = `${answer.recommendations.length} recommendations after ${answer.events} events, ` +
    `in ${milliseconds(took)}. The first: ${answer.recommendations.length ? title(answer.recommendations[0].item) : "none"}.`;
}

function showBest(recommendations) {
  const scores = recommendations.map((each) => each.score);
  const low = Math.min(...scores), spread = Math.max(...scores) - low || 1;
  const buttons = recommendations.map(({ item, score }, place) => {
    const button = choice(item);
    const bar = make("span", "bar");
    bar.style.width = `${20 + 80 * (score - low) / spread}%`;
    const figure = make("span", "score", score.toFixed(2));
    figure.append(bar);
    button.prepend(make("span", "place", String(place + 1)));
    button.append(moved(String(item), place), figure);
    return button;
  });
  inList($("best"), buttons);
  $("no-best").hidden = true;
  places = new Map(recommendations.map(({ item }, place) => [String(item), place]));
}

/** How an item's place has changed since the answer before. */
function moved(item, place) {
  if (!places.size) return make("span", "moved");
  const before = places.get(item);
  if (before === undefined) return make("span", "moved up", "new");
  if (before === place) return make("span", "moved");
  const made = make("span", before > place ? "moved up" : "moved down", `${before > place ? "▲" : "▼"} ${Math.abs(before - place)}`);
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", `${before > place ? "up" : "down"} ${Math.abs(before - place)}`);
  return made;
}

function showCost(took) {
  $("latency").textContent = took === null ? "none" : milliseconds(took);
  $("log").hidden = $("chart").hidden = log.length === 0;
  $("log").tBodies[0].replaceChildren(...log.slice(0, 8).map((each) => {
    const row = make("tr");
    const stored = each.stored === null ? "" : each.stored.toFixed(1);
    const cells = [number.format(each.events), stored, each.took.toFixed(1), number.format(each.bytes)];
    row.append(...cells.map((cell) => make("td", "", cell)));
    return row;
  }));
  draw();
}

/** Answers from the left to the right: bars are their times, the line is the size of the state. */
function draw() {
  const rows = [...log].reverse();
  const slowest = Math.max(...rows.map((each) => each.took), 1), largest = Math.max(...rows.map((each) => each.bytes), 1);
  const step = 300 / Math.max(rows.length, 12);
  const part = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const height = (each) => Math.max(1, 50 * each.took / slowest);
  const bars = rows.map((each, i) => part("rect", {
    x: i * step, y: 70 - height(each), width: step * 0.7, height: height(each), fill: "currentColor", opacity: 0.55,
  }));
  const level = (each) => 70 - 65 * each.bytes / largest;
  const line = rows.map((each, i) => `${i * step},${level(each)} ${(i + 0.7) * step},${level(each)}`).join(" ");
  const levels = part("polyline", { points: line, fill: "none", stroke: "currentColor", "stroke-width": 2 });
  $("chart").querySelector("svg").replaceChildren(...bars, levels);
  $("slowest").textContent = milliseconds(slowest);
}

$("user-form").addEventListener("submit", doing(() => open($("user").value)));
$("new-user").addEventListener("click", doing(() => {
  const [part] = crypto.getRandomValues(new Uint32Array(1));
  return open(`visitor-${part.toString(36)}`);
}));
$("forget").addEventListener("click", doing(async () => {
  if (!confirm(`Forget ${user}: all events and the state?`)) return;
  await call("DELETE", pathOf(user));
  last = null;
  await open(user);
}));
$("search-form").addEventListener("submit", doing(search));
$("query").addEventListener("input", doing(search));
$("later").addEventListener("input", doing(() => {
  showTime();
  return recommend();
}));
$("unseen").addEventListener("change", doing(() => recommend()));
$("key-form").addEventListener("submit", doing(async () => {
  key = $("key").value.trim();
  await open(user);
  $("key-form").hidden = true;
  $("user").focus();
}));

showTime();
await doing(search)();
$("new-user").click();
