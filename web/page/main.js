// main.js: the chat page, put together: coming and going, which conversation is shown, keys.

import { banner } from "./banner.js";
import { Chat } from "./chat.js";
import { Composer, pickEmoji } from "./composer.js";
import { forget, take, visitor } from "./door.js";
import { $, count } from "./dom.js";
import { soon } from "./frame.js";
import { lasting, list, passing } from "./keep.js";
import { snippet } from "./line.js";
import { Nav } from "./nav.js";
import { notify, setTitle } from "./notify.js";
import { View } from "./view.js";

const main = document.querySelector("main");
let chat = null;
let current = null; // the conversation that is shown
let waiting = 0; // our messages that are not stored yet
let heard = []; // what a screen reader is still to say

const nav = new Nav((name) => open(name));
const view = new View({
	hasOlder: (c) => chat.hasOlder(c),
	older: (c) => chat.older(c),
	failed: (err) => banner(`Earlier messages could not be loaded: ${err.message}`, "failed"),
	read,
	may,
	act,
	react,
});
const composer = new Composer({
	sending(change) {
		waiting += change;
		if (!chat?.client.connected && waiting > 0) showLost();
	},
	sent: () => view.toNewest(),
	last: () => current?.items.findLast((item) => item.message && may("edit", item)),
});

// --- Coming and going.

function enter() {
	const { user, token } = visitor();
	const wanted = $("room").value.trim().normalize("NFC");
	if (!user || !wanted) return;
	end();
	if (!token) lasting.set("name", user);
	passing.set("in", "yes");
	banner("");
	const mine = (chat = new Chat(user, token, (what, detail) => chat === mine && told[what](detail)));
	main.hidden = false;
	$("door").hidden = true;
	const others = list(lasting.get(`rooms:${user}`)); // before open writes the list
	open(wanted);
	for (const name of others) mine.enter(name, true);
	keepRooms();
	soon(refresh);
	$("text").focus();
}

function end() {
	if (current) keepPlace();
	const old = chat;
	chat = current = null; // first: what comes now is not for this page any more
	old?.close();
	waiting = 0;
	composer.show(null, null);
}

function door(why = "") {
	end();
	passing.set("in", "");
	main.hidden = true;
	$("door").hidden = false;
	setTitle("Rookery");
	banner(why, why ? "failed" : "");
	$($("name-label").hidden ? "token" : $("name").value ? "enter" : "name").focus();
}

function signOut() {
	forget();
	door();
}

// open shows a conversation: a room that is entered, a person, or everyone.
function open(name) {
	if (!chat || !name) return;
	if (current) keepPlace();
	if (name !== "*" && !name.startsWith("@")) chat.enter(name);
	current = chat.find(name);
	if (addressed() !== name) history.replaceState(null, "", `#${encodeURIComponent(name)}`);
	$("title").textContent = current.direct ? current.person || "The server" : name === "*" ? "Everyone" : name;
	main.dataset.kind = current.direct ? "person" : name === "*" ? "everyone" : "room";
	$("leave").hidden = main.dataset.kind !== "room";
	drawer(false);
	setTitle(`${$("title").textContent} · Rookery`);
	composer.show(chat, current);
	$("say").hidden = current.direct && !current.person;
	view.show(current, chat.user);
	if (chat.unread(current) > 0) view.divide(chat.readUpTo(current));
	if (current.items.length > 0) toPlace();
	keepRooms();
	soon(refresh);
}

function leaveRoom(c) {
	chat.leave(c).catch((err) => banner(`${c.name}: ${err.message}`, "failed"));
	passing.set(placeKey(c), "");
	next(c);
}

// next shows another conversation after one is gone.
function next(gone) {
	keepRooms();
	soon(refresh);
	if (gone !== current) return;
	current = null;
	const other = [...chat.rooms.keys()].sort()[0] ?? chat.inbox.shown[0]?.name;
	if (other) open(other);
	else door();
}

// toPlace goes to where the reader was before.
function toPlace() {
	const at = Number(passing.get(placeKey()));
	if (at) view.goTo(at, false).catch(() => {}); // then the reader is at the newest
}

const placeKey = (c = current) => `place:${chat.user}:${c.name}`;
const keepPlace = () => passing.set(placeKey(), view.place ? String(view.place) : "");
const keepRooms = () => lasting.set(`rooms:${chat.user}`, JSON.stringify([...chat.rooms.keys()]));

// --- What the chat tells.

const told = {
	message({ conversation: c, item }) {
		const { message } = item;
		soon(refresh);
		if (message.from === chat.user) return;
		const text = snippet(c, item);
		const where = c.direct ? "" : c === chat.everyone ? "Everyone" : c.name;
		notify({ from: message.from || "The server", where, text, tag: c.name }, () => open(c.name));
		if (c === current) heard.push(`${message.from || "The server"}: ${text}`);
	},
	change: () => soon(refresh),
	people: () => soon(refresh),
	entered({ conversation: c }) {
		if (c === current && c.read > 0 && c.head > c.read) view.divide(c.read);
		if (c === current) toPlace();
		keepRooms();
		soon(refresh);
	},
	connected({ resumed, missed, whole, renamed }) {
		if (renamed) open(current.name);
		soon(refresh);
		if (!resumed) return banner("");
		if (!whole) return; // missing tells
		const news = missed > 0 ? `${count(missed, "message")} came meanwhile` : "no message came meanwhile";
		banner(`Connected again: ${news}, and none is missing.`, "recovered");
	},
	lost({ code }) {
		if (code === 4002) forget(); // the token has expired: the client asks for the next one
		else showLost();
		soon(refresh);
	},
	gone({ conversation: c }) {
		next(c);
	},
	missing({ conversation: c, missing }) {
		const where = c ? `in ${c.name}` : "among your direct messages";
		banner(`${missing ? count(missing, "message") : "Messages"} ${missing === 1 ? "is" : "are"} missing ${where}: the server does not have them any more.`, "missing");
		soon(refresh);
	},
	removed({ conversation: c, error }) {
		const others = chat.rooms.size > 0;
		const why = `You are not in ${c.name}: ${error.message}`;
		if (others) next(c);
		else door();
		banner(why, "failed");
	},
	over({ code, error }) {
		const why = {
			4001: "The server does not let you in",
			4003: "You were removed",
			4005: "You are here too often: close the page in another window",
		}[code] ?? "The server ended the connection";
		if (code === 4001) forget();
		door(error?.code && error.code !== "disconnected" ? `${why}: ${error.message}` : `${why}.`);
	},
};

function showLost() {
	const later = waiting > 0 ? ` ${count(waiting, "message")} will be sent then.` : "";
	banner(`The connection is lost. Trying to get it back…${later}`, "lost");
}

// refresh draws what changed, once a frame.
function refresh() {
	if (!chat || !current) return;
	view.render();
	nav.show(chat, current);
	nav.people(chat, current);
	below();
	if (view.following) read(current);
	if (heard.length > 0) {
		$("live").textContent = heard.length > 3 ? `${heard.length} new messages` : heard.join(". ");
		heard = [];
	}
}

// below tells under the log who is typing, and who has seen the newest message.
function below() {
	const now = Date.now();
	const typing = [...current.typing].filter(([, until]) => until > now).map(([name]) => name);
	const seen = current.direct ? [] : current.seenBy(chat.user);
	const names = (all) => (all.length > 3 ? `${all.slice(0, 3).join(", ")} and ${all.length - 3} more` : all.join(", "));
	const put = (id, text) => $(id).textContent !== text && ($(id).textContent = text);
	put("typing", typing.length > 0 ? `${names(typing)} ${typing.length === 1 ? "is" : "are"} typing…` : "");
	put("seen", seen.length > 0 ? `Seen by ${names(seen)}` : "");
}

function read(c) {
	if (!document.hidden && c === current) chat.seen(c);
}

// --- What is done with messages.

function may(what, item) {
	if (item.message.topic === "*" || !current.refer(item)) return false;
	const { deleted, raw, file } = current.look(item);
	if (deleted) return false;
	if (what === "delete") return item.message.from === chat.user;
	if (what === "edit") return item.message.from === chat.user && !raw && !file;
	return true;
}

function act(what, item, beside) {
	if (what === "reply" || what === "edit") composer.about(what, item);
	if (what === "react") pickEmoji(beside, (emoji) => react(item, emoji, true));
	if (what !== "delete") return;
	const sure = $("sure");
	$("sure-text").textContent = snippet(current, item);
	sure.returnValue = "";
	sure.onclose = () => sure.returnValue === "yes" && change(item, { kind: "delete" });
	sure.showModal();
}

function react(item, emoji, on) {
	change(item, { kind: "reaction", emoji, on });
}

function change(item, data) {
	const refers = current.refer(item);
	if (!refers) return;
	chat.say(current, { ...data, ...refers }).catch((err) => banner(`Not sent: ${err.message}`, "failed"));
}

// --- The page's own controls.

// drawer opens and closes the lists where they have no place beside the log.
function drawer(open) {
	main.classList.toggle("open", open);
	$("menu").setAttribute("aria-expanded", open);
}

function addressed() {
	try {
		return decodeURIComponent(location.hash.slice(1)).normalize("NFC");
	} catch {
		return "";
	}
}

// step opens the conversation above or below the current one; with news only, where there are any.
function step(by, newsOnly) {
	const names = [...$("nav").querySelectorAll("#rooms button, #directs button")].filter((b) => !newsOnly || b.querySelector(".count") || b.dataset.name === current.name);
	const i = names.findIndex((b) => b.dataset.name === current.name);
	const to = names[(i + by + names.length) % names.length];
	if (to) open(to.dataset.name);
}

const keys = {
	"Alt+ArrowUp": () => step(-1),
	"Alt+ArrowDown": () => step(1),
	"Alt+Shift+ArrowUp": () => step(-1, true),
	"Alt+Shift+ArrowDown": () => step(1, true),
	"Ctrl+k": () => (drawer(true), $("to").focus()),
	"Ctrl+/": () => $("help").showModal(),
};

document.addEventListener("keydown", (e) => {
	if (!chat || document.querySelector("dialog[open]")) return;
	const name = `${e.ctrlKey || e.metaKey ? "Ctrl+" : ""}${e.altKey ? "Alt+" : ""}${e.shiftKey && e.altKey ? "Shift+" : ""}${e.key}`;
	const typing = /^(INPUT|TEXTAREA)$/.test(e.target.tagName);
	const f = keys[name] ?? (e.key === "?" && !typing ? keys["Ctrl+/"] : null);
	if (f) {
		e.preventDefault();
		f();
	} else if (e.key === "Escape" && !e.defaultPrevented) {
		if (main.classList.contains("open")) {
			drawer(false);
			$("menu").focus();
		} else {
			$("text").focus();
		}
	}
});

$("door").addEventListener("submit", (e) => {
	e.preventDefault();
	const wrong = take();
	if (wrong) banner(wrong, "failed");
	else enter();
});
$("out").addEventListener("click", signOut);
$("renew").addEventListener("close", () => $("renew").returnValue === "out" && signOut());
$("leave").addEventListener("click", () => leaveRoom(current));
$("menu").addEventListener("click", () => {
	drawer(!main.classList.contains("open"));
	if (main.classList.contains("open")) $("rooms").querySelector("button")?.focus();
});
$("online").addEventListener("click", () => {
	const shown = main.classList.toggle("people");
	$("online").setAttribute("aria-expanded", shown);
});
$("shortcuts").addEventListener("click", () => $("help").showModal());
$("go").addEventListener("submit", (e) => {
	e.preventDefault();
	const name = $("to").value.trim().normalize("NFC").replace(/^#/, "");
	if (!name) return;
	$("to").value = "";
	open(name);
	setTimeout(() => $("text").focus()); // not before the key has done its work here
});
document.addEventListener("visibilitychange", () => {
	if (document.hidden && current) keepPlace();
	soon(refresh);
});
addEventListener("pagehide", () => current && keepPlace());
addEventListener("hashchange", () => {
	const wanted = addressed() || "lobby";
	$("room").value = wanted;
	if (chat && wanted !== current?.name) open(wanted);
});

$("loading").remove();
$("room").value = addressed() || "lobby";
if (passing.get("in") && visitor().user) enter();
else door();
