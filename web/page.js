// page.js: the chat page. A message's data is {"text": "…"} or a plain string; any other
// JSON is shown as it is. Everything that others wrote reaches the page as text only.

import { connect } from "./rookery.js";

const RECENT = 50; // messages shown on entering
const KEEP = 1000; // lines kept on the page
const TOGETHER = 5 * 60_000; // messages of one user within this stand under one name, in ms
const BRIEF = 15_000; // how long good news stay in the banner, in ms

const $ = (id) => document.getElementById(id);
const main = document.querySelector("main");
const log = $("log");

let client = null;
let room = "";
let waiting = 0; // our messages that are not stored yet
let unseen = 0; // messages that came while the page was hidden
let first = 0; // the offset of the first message on the page
let following = true; // the reader is at the newest line
let bannerTimer = 0;

// --- Coming and going.

function enter() {
  const user = $("name").value.trim();
  room = $("room").value.trim().normalize("NFC");
  if (!user || !room) return;
  leave();
  remember("localStorage", "rookery.name", user);
  remember("sessionStorage", "rookery.in", "yes");
  if (roomOfAddress() !== room) history.replaceState(null, "", "#" + encodeURIComponent(room));
  show(true);
  banner("");

  const mine = (client = connect("/ws", { user }));
  const on = (type, f) => mine.addEventListener(type, (e) => client === mine && f(e.detail));
  on("message", onMessage);
  on("presence", onPresence);
  on("reset", onReset);
  on("connected", onConnected);
  on("disconnected", onDisconnected);
  on("left", (e) => e.topic === room && thrownOut(`You are no longer in ${room}: ${e.error.message}`));
  mine.join(room, { recent: RECENT, presence: true }).then(
    (joined) => {
      if (client !== mine) return;
      first = joined.after + 1;
      $("earlier").hidden = joined.after === 0;
      showPeople();
    },
    (err) => client === mine && thrownOut(`${room} could not be entered: ${err.message}`),
  );
}

function leave() {
  const old = client;
  client = null; // first: what comes now is not for this page any more
  old?.close();
  waiting = 0;
}

function show(inside) {
  $("door").hidden = inside;
  main.hidden = !inside;
  document.title = inside ? `${room} · Rookery` : "Rookery";
  if (!inside) return $($("name").value ? "enter" : "name").focus();
  $("title").textContent = room;
  $("online").textContent = "";
  $("people").replaceChildren();
  log.replaceChildren($("earlier"));
  $("earlier").hidden = $("newest").hidden = true;
  $("text").focus();
}

function thrownOut(why) {
  leave();
  remember("sessionStorage", "rookery.in", "");
  show(false);
  banner(why, "failed");
}

// --- What the client tells.

function onConnected({ resumed, topics }) {
  const answer = topics[room];
  if (!resumed || !answer || answer.error) return banner("");
  if (!answer.recovered) return; // onReset tells
  const missed = answer.offset - answer.after;
  const news = missed > 0 ? `${count(missed, "message")} came meanwhile` : "no message came meanwhile";
  banner(`Connected again: ${news}, and none is missing.`, "recovered");
}

function onDisconnected({ reconnect, code, error }) {
  if (reconnect) return showLost();
  const why = {
    4001: "The server does not let you in",
    4003: "You were removed",
    4005: "You are here too often: close the page in another window",
  }[code] ?? "The server ended the connection";
  thrownOut(error?.code && error.code !== "disconnected" ? `${why}: ${error.message}` : `${why}.`);
}

function showLost() {
  const later = waiting > 0 ? ` ${count(waiting, "message")} will be sent then.` : "";
  banner(`The connection is lost. Trying to get it back…${later}`, "lost");
}

function onReset({ topic, recovered }) {
  if (topic !== room || recovered) return;
  quiet("Some messages are missing here: the server does not have them any more.", "missing");
  banner("Messages are missing: the server does not have them any more.", "missing");
  $("earlier").hidden = true; // offsets before this are of another log
}

function onPresence({ topic, joined, left }) {
  if (topic !== room) return;
  announce(joined, "joined");
  announce(left, "left");
  showPeople();
}

function announce(names, what) {
  names = names.filter((name) => name !== client.user);
  if (names.length > 3) quiet(`${names.length} people ${what}`);
  else for (const name of names) quiet("").append(isolated(name), ` ${what}`);
}

function showPeople() {
  const roster = client.roster(room);
  if (!roster) return;
  $("online").textContent = `${roster.online} online`;
  const names = roster.members.slice(0, 500);
  const items = names.map((name) => {
    const li = element("li");
    li.append(isolated(name), name === client.user ? " (you)" : "");
    li.dataset.user = li.title = name;
    li.style.setProperty("--hue", hue(name));
    return li;
  });
  const more = roster.online - names.length;
  if (more > 0) items.push(element("li", "", `and ${more} more`));
  $("people").replaceChildren(...items);
}

function onMessage(message) {
  addLine(messageLine(message, log.lastElementChild));
  if (document.hidden && message.from !== client.user) {
    document.title = `(${++unseen}) ${room} · Rookery`;
  }
}

// --- The log.

function messageLine({ topic, offset, from = "", to, time, data }, before) {
  const line = element("article", "message");
  line.dataset.offset = offset;
  line.dataset.topic = topic;
  line.dataset.from = from;
  line.dataset.time = time;
  line.style.setProperty("--hue", hue(from));
  const mine = from === client.user;
  line.classList.toggle("mine", mine);
  line.classList.toggle("aside", topic !== room);
  line.classList.toggle("more", topic === room && follows(before, from, time));

  const name = element("span", "from");
  name.append(isolated(from));
  const where = topic === room ? "" : topic === "*" ? " to everyone" : mine ? ` to ${to ?? "yourself"}` : " to you alone";
  if (where) name.append(element("small", "", where));

  const text = typeof data === "string" ? data : typeof data?.text === "string" ? data.text : JSON.stringify(data);
  const body = element("span", "body", text);
  const at = new Date(time);
  const clock = element("time", "", at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  if (at.toDateString() !== new Date().toDateString()) {
    clock.textContent = `${at.toLocaleDateString([], { day: "numeric", month: "short" })} ${clock.textContent}`;
  }
  clock.dateTime = at.toISOString();
  clock.title = at.toLocaleString();
  body.append(clock);
  line.append(name, body);
  return line;
}

// follows tells whether a message stands under the same name as the line before it.
function follows(before, from, time) {
  return before?.dataset.from === from && before.dataset.topic === room && time - before.dataset.time < TOGETHER;
}

function quiet(text, kind = "") {
  const line = element("p", `quiet ${kind}`, text);
  addLine(line);
  return line;
}

function addLine(line) {
  const follow = atBottom();
  log.append(line);
  if (follow) {
    trim();
    log.scrollTop = log.scrollHeight;
  } else if (line.dataset.offset) {
    $("newest").hidden = false;
  }
}

// trim takes the oldest lines away; "Earlier messages" brings them back.
function trim() {
  if (log.childElementCount <= KEEP) return;
  while (log.childElementCount > KEEP) log.children[1].remove();
  const oldest = log.querySelector(".message:not(.aside)");
  if (!oldest) return;
  first = Number(oldest.dataset.offset);
  $("earlier").hidden = false;
}

function atBottom() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 40;
}

async function earlier() {
  $("earlier").disabled = true;
  const mine = client;
  try {
    const { messages, more } = await mine.history(room, { before: first, limit: RECENT });
    if (client !== mine) return;
    const height = log.scrollHeight - log.scrollTop;
    let before = null;
    const lines = messages.map((m) => (before = messageLine(m, before)));
    $("earlier").after(...lines);
    log.scrollTop = log.scrollHeight - height;
    first = messages[0]?.offset ?? first;
    $("earlier").hidden = !more;
  } catch (err) {
    if (client === mine) banner(`Earlier messages could not be loaded: ${err.message}`, "failed");
  } finally {
    $("earlier").disabled = false;
  }
}

// --- Saying something.

async function say() {
  const typed = $("text").value.trim();
  const text = typed.toWellFormed?.() ?? typed; // nodes refuse half a character
  if (!text || !client) return;
  $("text").value = "";
  log.scrollTop = log.scrollHeight;
  const mine = client;
  waiting++;
  if (!mine.connected) showLost();
  try {
    await mine.publish(room, { text });
    if (client === mine) waiting--;
  } catch (err) {
    if (client !== mine) return;
    waiting--;
    banner(`Not sent: “${text.slice(0, 80)}”: ${err.message}`, "failed");
    if (!$("text").value) $("text").value = text;
  }
}

// --- Small things.

function banner(text, state = "") {
  clearTimeout(bannerTimer);
  const b = $("banner");
  b.dataset.state = state;
  b.textContent = text;
  b.hidden = !text;
  if (state === "recovered") bannerTimer = setTimeout(() => banner(""), BRIEF);
}

// isolated is a name that cannot change the direction of what stands around it.
function isolated(name) {
  return element("bdi", "", name);
}

function element(tag, className = "", text = "") {
  const e = document.createElement(tag);
  e.className = className;
  e.textContent = text;
  return e;
}

function count(n, noun) {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

function hue(name) {
  let h = 0;
  for (const c of name) h = (h * 31 + c.codePointAt(0)) % 360;
  return h;
}

// remember keeps a value where the browser allows it.
function remember(storage, key, value) {
  try {
    window[storage].setItem(key, value);
  } catch {
    // Then it is asked for again.
  }
}

function recall(storage, key) {
  try {
    return window[storage].getItem(key) ?? "";
  } catch {
    return "";
  }
}

function roomOfAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

$("door").addEventListener("submit", (e) => {
  e.preventDefault();
  enter();
});
$("leave").addEventListener("click", () => {
  leave();
  remember("sessionStorage", "rookery.in", "");
  show(false);
  banner("");
});
$("say").addEventListener("submit", (e) => {
  e.preventDefault();
  say();
  $("text").focus();
});
$("text").addEventListener("keydown", (e) => {
  if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
  e.preventDefault();
  say();
});
$("earlier").addEventListener("click", earlier);
$("newest").addEventListener("click", () => (log.scrollTop = log.scrollHeight));
log.addEventListener("scroll", () => {
  following = atBottom();
  if (following) $("newest").hidden = true;
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !client) return;
  unseen = 0;
  document.title = `${room} · Rookery`;
});
new ResizeObserver(() => {
  if (following) log.scrollTop = log.scrollHeight; // the banner or a phone's keyboard came up
}).observe(log);
addEventListener("hashchange", () => {
  const wanted = roomOfAddress() || "lobby";
  $("room").value = wanted;
  if (client && wanted !== room) enter();
});

$("name").value = recall("localStorage", "rookery.name");
$("room").value = roomOfAddress() || "lobby";
if (recall("sessionStorage", "rookery.in") && $("name").value) enter();
else show(false);
