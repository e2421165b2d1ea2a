// main.js: the chat page, put together: coming and going, which conversation is shown, keys.

import { banner } from "./banner.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { $, count, soon } from "./dom.js";
import { lasting, list, passing } from "./keep.js";
import { later, prefetch } from "./later.js";
import { snippet } from "./line.js";
import { Nav } from "./nav.js";
import { View } from "./view.js";

const MESSAGES = 3000; // at most, from entering a room to its first message, in ms

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
	react: (...what) => acting((actions) => actions.react(...what)),
	shown: settle,
});
const composer = new Composer({
	sending(change) {
		waiting += change;
		if (!chat?.client.connected && waiting > 0) showLost();
	},
	sent() {
		below?.said();
		view.toNewest();
	},
	typing: (c) => below?.typing(c),
	editLast: () => acting((actions) => actions.editLast()),
});

// --- What comes later.

const notifying = later(() => import("./notify.js"));
const helping = later(() => import("./help.js"));
const help = () => helping(({ open }) => open());
later(async () => (await import("./keys.js")).keys({ current: () => current?.name, open, drawer, help }));
const acting = later(async () => new (await import("./actions.js")).Actions(view, composer));
let side = null;
const beside = later(async () => (side = await import("./people.js")) && refresh());
let Below = null;
let below = null; // of this chat
later(async () => ({ Below } = await import("./below.js")) && refresh());

// settle is for when the first messages are there, or there are none: it is time for the rest.
function settle() {
	prefetch();
	chat?.settle();
}

// --- Coming and going.

// Who comes in: by a name, unless the node wants to see a token.
$("name").value = lasting.get("name");
const named = {
	visitor: () => ({ user: $("name").value.trim().normalize("NFC") }),
	take: () => (named.visitor().user ? "" : "Who are you?"),
	forget() {},
};
const { visitor, take, forget } = document.body.dataset.tokens ? await import("./token.js") : named;

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
	below = below?.show(null);
	waiting = 0;
	composer.show(null, null);
}

function door(why = "") {
	end();
	passing.set("in", "");
	main.hidden = true;
	$("door").hidden = false;
	document.title = "Rookery";
	banner(why, why ? "failed" : "");
	[...$("door").querySelectorAll("input, button")].find((e) => !e.value && e.checkVisibility()).focus();
}

function signOut() {
	forget();
	door();
}

// open shows a conversation: a room that is entered, a person, or everyone.
function open(name) {
	if (!chat || !name) return;
	if (current) keepPlace();
	if (addressed() !== name) history[current ? "pushState" : "replaceState"](true, "", `#${encodeURIComponent(name)}`);
	if (name !== "*" && !name.startsWith("@")) chat.enter(name);
	current = chat.find(name);
	$("title").textContent = current.direct ? current.person || "The server" : name === "*" ? "Everyone" : name;
	main.dataset.kind = current.direct ? "person" : name === "*" ? "everyone" : "room";
	$("leave").hidden = main.dataset.kind !== "room";
	drawer(false);
	document.title = `${$("title").textContent} · Rookery`;
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
		const from = message.from || "The server";
		if (document.hidden) notifying(({ notify }) => notify(from, c, text, () => open(c.name)));
		if (c === current) heard.push(`${from}: ${text}`);
	},
	change: () => soon(refresh),
	people: () => soon(refresh),
	entered({ conversation: c }) {
		below?.ask(c);
		if (c === current && c.read > 0 && c.head > c.read) view.divide(c.read);
		if (c === current) toPlace();
		setTimeout(settle, c.head > 0 ? MESSAGES : 0);
		keepRooms();
		soon(refresh);
	},
	connected({ resumed, missed, whole, renamed }) {
		if (renamed) open(current.name);
		if (main.dataset.kind !== "room") settle();
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
	missing(text) {
		banner(text, "missing");
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
	nav.head(chat, current);
	side?.people(chat, current);
	if (Below) (below ??= new Below(chat)).show(current);
	if (view.following) read(current);
	if (heard.length > 0) {
		$("live").textContent = heard.length > 3 ? `${heard.length} new messages` : heard.join(". ");
		heard = [];
	}
}

function read(c) {
	if (!document.hidden && c === current) chat.reading?.seen(c);
}

// --- The page's own controls.

// drawer opens and closes the lists where they have no place beside the log. It tells whether they were open.
function drawer(open) {
	const was = main.classList.contains("open");
	main.classList.toggle("open", open);
	$("menu").setAttribute("aria-expanded", open);
	return was;
}

function addressed() {
	try {
		return decodeURIComponent(location.hash.slice(1)).normalize("NFC");
	} catch {
		return "";
	}
}

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
	if (drawer(!main.classList.contains("open"))) return;
	$("rooms").querySelector("button")?.focus();
});
$("online").addEventListener("click", () => beside(() => (side.toggle(), refresh())));
$("shortcuts").addEventListener("click", help);
$("go").addEventListener("submit", (e) => {
	e.preventDefault();
	const name = $("to").value.trim().normalize("NFC").replace(/^#/, "");
	if (!name) return;
	$("to").value = "";
	open(name);
	setTimeout(() => {
		// Not before the key has done its work here, and not if the user went on to something else.
		if ([$("to"), document.body].includes(document.activeElement)) $("text").focus();
	});
});
document.addEventListener("visibilitychange", () => {
	if (document.hidden && current) keepPlace();
	soon(refresh);
});
addEventListener("pagehide", () => current && keepPlace());
addEventListener("hashchange", () => {
	const wanted = addressed() || "lobby";
	$("room").value = wanted;
	if (!chat || wanted === current.name) return;
	if (history.state && !chat.find(wanted)) history.back(); // to before a room that was left
	else open(wanted);
});

$("loading").remove();
$("room").value = addressed() || "lobby";
if (passing.get("in") && visitor().user) enter();
else door();
