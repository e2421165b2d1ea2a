// What the page makes of messages, whatever order they come in and whoever wrote them. The
// modules here need no page.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "./page/conversation.js";
import { contentOf, fileOf, kindOf } from "./page/data.js";
import { parse } from "./page/format.js";
import { Inbox } from "./page/inbox.js";
import { seen } from "./page/reading.js";
import { Rooms } from "./page/rooms.js";

const message = (offset, from, data, fields = {}) => ({ topic: "lobby", offset, from, time: 1767225600000 + offset, data, ...fields });

// shown is what a conversation says, as lines.
const shown = (c) =>
	c.items.filter((item) => item.message).map((item) => {
		const { text, deleted, edited, reactions } = c.look(item);
		const marks = reactions.map(({ emoji, names }) => `${emoji}${names}`).join(" ");
		return `${item.message.from}: ${deleted ? "-" : text}${edited ? "*" : ""}${marks && ` [${marks}]`}`;
	});

// shuffled gives every order of a few things.
function* orders(all) {
	if (all.length <= 1) return yield all;
	for (let i = 0; i < all.length; i++) for (const rest of orders(all.toSpliced(i, 1))) yield [all[i], ...rest];
}

test("the order of arrival does not matter", () => {
	const all = [
		message(1, "ann", "one"),
		message(2, "bob", { text: "two" }),
		message(3, "ann", { kind: "edit", of: 1, text: "uno" }),
		message(4, "ann", { kind: "edit", of: 1, text: "ein" }),
		message(5, "bob", { kind: "reaction", of: 1, emoji: "+" }),
		message(6, "bob", { kind: "reaction", of: 1, emoji: "+", on: false }),
		message(7, "cat", { kind: "reaction", of: 1, emoji: "+" }),
	];
	for (const order of orders(all)) {
		const c = new Conversation("lobby");
		for (const m of [...order, ...order]) c.take(m);
		assert.deepEqual(shown(c), ["ann: ein* [+cat]", "bob: two"]);
	}
});

test("only authors change their messages", () => {
	const c = new Conversation("lobby");
	c.take(message(1, "ann", "one"));
	c.take(message(2, "bob", { kind: "edit", of: 1, text: "forged" }));
	c.take(message(3, "bob", { kind: "delete", of: 1 }));
	assert.deepEqual(shown(c), ["ann: one"]);
	c.take(message(4, "ann", { kind: "delete", of: 1 }));
	c.take(message(5, "ann", { kind: "edit", of: 1, text: "back" }));
	assert.deepEqual(shown(c), ["ann: -"]);
});

test("between two people, ids name messages, and authors are part of the name", () => {
	const c = new Conversation("@bob");
	c.take(message(10, "ann", { text: "hi", id: "x" }));
	c.take(message(11, "bob", { kind: "edit", of: "x", text: "forged" }));
	c.take(message(12, "bob", { text: "me too", id: "x" })); // the same id, by another
	c.take(message(13, "bob", { kind: "reaction", of: "x", by: "ann", emoji: "+" }));
	c.take(message(14, "bob", { kind: "edit", of: "x", text: "me three" }));
	assert.deepEqual(shown(c), ["ann: hi [+bob]", "bob: me three*"]);
	assert.equal(c.refer(c.items[0]).by, "ann");
	c.take(message(15, "bob", "of another program"));
	assert.equal(c.refer(c.items[2]), null);
});

test("another life of the log is not touched by the first", () => {
	const c = new Conversation("lobby");
	c.take(message(1, "ann", "old"));
	c.restart(0);
	c.note("Messages are missing here", { kind: "missing" });
	c.take(message(1, "ann", "new"));
	c.take(message(2, "ann", { kind: "edit", of: 1, text: "newer" }));
	assert.deepEqual(shown(c), ["ann: old", "ann: newer*"]);
	assert.equal(c.items[1].note.kind, "missing");
	assert.equal(c.refer(c.items[0]), null);
	assert.deepEqual(c.refer(c.items[2]), { of: 1 });
});

test("an item's index stays, whatever comes before it or goes", () => {
	const c = new Conversation("lobby");
	c.take(message(100, "ann", "m"));
	const at = c.end - 1;
	const item = c.at(at);
	for (let offset = 99; offset > 50; offset--) c.take(message(offset, "ann", "m"));
	assert.equal(c.at(at), item);
	for (let offset = 101; offset < 20_000; offset++) c.take(message(offset, "ann", "m"));
	assert.equal(c.at(at), item);
	const last = c.at(c.end - 1);
	const end = c.end;
	c.trim();
	assert.ok(c.items.length <= 10_000 && c.more && c.first === c.items[0].offset);
	assert.equal(c.end, end);
	assert.equal(c.at(end - 1), last);
});

test("what refers to nothing is shown for what it is", () => {
	for (const data of [
		{ kind: "edit", of: "1", text: "x" },
		{ kind: "edit", of: 1 },
		{ kind: "edit", of: -1, text: "x" },
		{ kind: "reaction", of: 1, emoji: "two words" },
		{ kind: "reaction", of: 1, emoji: "x".repeat(17) },
		{ kind: "nonsense", of: 1 },
		{ kind: "reply", of: 1, text: {} },
		"edit",
		null,
		[],
		7,
	]) assert.equal(kindOf(data, false), "", JSON.stringify(data));
	assert.equal(kindOf({ kind: "reaction", of: "x", emoji: "+" }, true), ""); // by whom?
	assert.deepEqual(contentOf("hi"), { text: "hi" });
	assert.equal(contentOf({ text: "hi" }).text, "hi");
	assert.deepEqual(contentOf(7), { text: "7", raw: true });
	assert.deepEqual(contentOf(null), { text: "null", raw: true });
	assert.deepEqual(contentOf({ percent: "88%" }), { text: '{"percent":"88%"}', raw: true });
});

test("a file is data of base64, and only some types are pictures", () => {
	const url = (type, content = "aGk=") => ({ name: "f", url: `data:${type};base64,${content}` });
	assert.equal(fileOf(url("image/png")).picture, true);
	assert.equal(fileOf(url("image/png")).size, 2);
	assert.equal(fileOf(url("image/svg+xml")).picture, false);
	assert.equal(fileOf(url("text/html")).picture, false);
	for (const bad of [null, "x", {}, { name: "f" }, { name: 7, url: "data:,x" }, { name: "f", url: "javascript:alert(1)" }, { name: "f", url: "https://x/y.png" }, url("text/html", "<b>"), url("image/png;x=y")]) {
		assert.equal(fileOf(bad), null, JSON.stringify(bad));
	}
	assert.equal(fileOf({ ...url("image/png"), width: 1e9, height: 4 }).width, 0);
	assert.equal(fileOf({ ...url("image/png"), width: 8, height: "4" }).width, 0);
});

test("text has links and code in it", () => {
	const parts = (text) => parse(text).map(({ kind, text: t }) => `${kind}:${t}`);
	assert.deepEqual(parts("see https://a.example/x(y). ok"), ["text:see ", "link:https://a.example/x(y)", "text:. ok"]);
	assert.deepEqual(parts("(http://a.example/)"), ["text:(", "link:http://a.example/", "text:)"]);
	assert.deepEqual(parts("run `x < y` now"), ["text:run ", "code:x < y", "text: now"]);
	assert.deepEqual(parts("```js\nlet x;\n```"), ["block:let x;"]);
	assert.deepEqual(parts("`https://a.example`"), ["code:https://a.example"]);
	assert.deepEqual(parts("javascript:alert(1) data:text/html,x ftp://x https:// `"), ["text:javascript:alert(1) data:text/html,x ftp://x https:// `"]);
	for (const text of ["", "```", "``", "a`b`c", "``` `` `", "https://[", "<b>https://x\"onclick=y</b>"]) {
		const marks = /[`\n]/g;
		assert.equal(parse(text).map((p) => p.text).join("").replace(marks, ""), text.replace(marks, ""));
	}
});

test("unread messages are counted by person, and marks are written only where one offset cannot tell", () => {
	const inbox = new Inbox("me");
	const take = (offset, from, data = "x", to) => inbox.take(message(offset, from, data, { topic: "@me", to }));
	take(1, "carol");
	take(2, "bob");
	take(3, "me", "to bob", "bob");
	take(4, "bob");
	const [bob, carol] = [inbox.person("bob"), inbox.person("carol")];
	const counts = () => [inbox.unread(bob).length, inbox.unread(carol).length];
	assert.deepEqual(counts(), [2, 1]);
	assert.deepEqual(shown(bob), ["bob: x", "me: to bob", "bob: x"]);

	// Carol waits before bob: the one offset cannot move, so there is a mark.
	assert.deepEqual(seen(inbox, bob, 4), { read: 0, mark: { kind: "mark", with: "bob", offset: 4 } });
	assert.deepEqual(counts(), [0, 1]);
	take(5, "me", { kind: "mark", with: "bob", offset: 4 });
	assert.equal(inbox.people.has("me"), false);
	take(6, "bob");
	assert.deepEqual(counts(), [1, 1]);
	// When carol is read, the offset moves to before what bob wrote since.
	assert.deepEqual(seen(inbox, carol, 1), { read: 5, mark: null });
	assert.deepEqual(seen(inbox, bob, 6), { read: 6, mark: null });
	assert.deepEqual(counts(), [0, 0]);

	// Another device has only the log: the same counts.
	const other = new Inbox("me");
	other.take(message(5, "me", { kind: "mark", with: "bob", offset: 4 }));
	other.take(message(4, "bob", "x"));
	other.take(message(1, "carol", "x"));
	assert.deepEqual([other.unread(other.person("bob")).length, other.unread(other.person("carol")).length], [0, 1]);
	// A mark that bob writes is only bob's words.
	other.take(message(7, "carol", { kind: "mark", with: "carol", offset: 9 }));
	assert.equal(other.unread(other.person("carol")).length, 2);
});

test("lists of rooms count from the user only", () => {
	const inbox = new Inbox("me");
	const take = (offset, from, data, to) => inbox.take(message(offset, from, data, { topic: "@me", to }));
	take(5, "me", { kind: "rooms", rooms: ["b"] });
	take(6, "me", { kind: "rooms", add: ["c"] });
	take(7, "bob", { kind: "rooms", rooms: ["forged"] });
	take(8, "me", { kind: "rooms", rooms: ["to", "bob"] }, "bob");
	take(9, "me", { kind: "rooms", rooms: [1] });
	take(10, "me", { kind: "rooms", rooms: ["x"], upto: 11 });
	assert.deepEqual(inbox.lists, [{ offset: 5, rooms: ["b"], upto: 5 }, { offset: 6, add: ["c"], drop: [] }]);
	assert.deepEqual([...inbox.people.keys()].sort(), ["bob", "me"]); // what is no list is shown for what it is
	inbox.restart(0);
	assert.deepEqual(inbox.lists, []);
});

// A log is an inbox that devices of one user share. What they publish is stored at once, and each hears of
// it, and of the answer to what it published, when it pleases the test.
class Log {
	stored = [];
	devices = [];

	// device is one that has loaded the inbox, down to its message first, and remembers rooms.
	device(remembered = [], first = 1) {
		const d = { inbox: new Inbox("me"), rooms: new Map(), guessed: new Set(), heard: this.stored.length, answers: [] };
		d.client = { publish: (topic, data) => new Promise((resolve) => {
			const offset = this.stored.push(message(this.stored.length + 1, "me", data, { topic }));
			d.answers.push(() => resolve({ offset }));
		}) };
		d.enter = (name) => {
			d.guessed.delete(name);
			if (d.rooms.has(name)) return;
			d.rooms.set(name, { name });
			d.list?.went(name, true);
		};
		d.leave = (name) => d.rooms.delete(name) && d.list?.went(name, false);
		d.go = (c) => d.leave(c.name);
		d.inbox.first = first;
		for (const m of this.stored.slice(first - 1).reverse()) d.inbox.take(m);
		for (const name of remembered) {
			d.enter(name);
			d.guessed.add(name);
		}
		d.list = new Rooms(d);
		this.devices.push(d);
		return d;
	}

	hear(d) {
		if (d.heard === this.stored.length) return false;
		d.inbox.take(this.stored[d.heard++]);
		d.list.follow();
		return true;
	}

	// settle lets all be heard and answered.
	async settle() {
		for (let busy = true; busy; ) {
			await new Promise(setImmediate);
			busy = false;
			for (const d of this.devices) {
				while (this.hear(d)) busy = true;
				for (const answer of d.answers.splice(0)) answer(busy = true);
			}
		}
	}
}

const roomsOf = (d) => [...d.rooms.keys()].sort().join();

test("two devices that change the list of rooms at once both have their way", async () => {
	const log = new Log();
	const [desk, phone] = [log.device(["lobby", "den"]), log.device()];
	await log.settle();
	assert.equal(roomsOf(phone), "den,lobby");
	desk.enter("attic");
	desk.leave("den");
	phone.enter("cellar");
	phone.enter("attic");
	await log.settle();
	for (const d of [desk, phone]) assert.equal(roomsOf(d), "attic,cellar,lobby");
	// Of one room, who came last counts, on both.
	desk.leave("attic");
	phone.leave("attic");
	phone.enter("attic");
	await log.settle();
	assert.equal(roomsOf(desk), roomsOf(phone));
	// A room that is left again before the node has answered stays left.
	desk.enter("brief");
	await new Promise(setImmediate);
	desk.leave("brief");
	await log.settle();
	for (const d of [desk, phone]) assert.equal(d.rooms.has("brief"), false);
});

test("the list is what the inbox tells; what a browser remembers counts where it does not", async () => {
	const log = new Log();
	const desk = log.device(["attic", "lobby"]);
	await log.settle();
	desk.leave("attic");
	await log.settle();
	const phone = log.device(["attic", "old"]);
	assert.equal(roomsOf(phone), "lobby");
	// The log has lost its beginning.
	const late = log.device(["attic", "old"], 2);
	await log.settle();
	for (const d of [desk, phone]) assert.equal(roomsOf(d), "lobby,old");
	assert.equal(roomsOf(late), "old"); // attic was seen to be left
});

test("the list is written anew before its log forgets it, and loses nothing that is said at once", async () => {
	const log = new Log();
	const [desk, phone] = [log.device(["lobby", "den"]), log.device()];
	await log.settle();
	for (let i = 0; i < 499; i++) log.stored.push(message(log.stored.length + 1, "bob", { text: "hi" }, { topic: "@me" }));
	const writes = () => log.stored.filter((m) => m.data.rooms).length;
	while (log.hear(desk));
	await new Promise(setImmediate); // desk writes all of it, and does not know yet
	phone.leave("den");
	await new Promise(setImmediate);
	await log.settle();
	assert.ok(writes() >= 1 && writes() <= 2);
	assert.equal(roomsOf(desk), "lobby");
	assert.equal(roomsOf(log.device([], 500)), "lobby"); // the beginning is gone
});

test("whatever happens in whatever order, devices agree in the end", async () => {
	let seed = 7;
	const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
	for (let round = 0; round < 200; round++) {
		const log = new Log();
		const devices = [log.device(["a"]), log.device(["b"]), log.device()];
		for (let i = 0; i < 40; i++) {
			const d = devices[random(3)];
			const name = "abcdef"[random(6)];
			const what = random(5);
			if (what === 0) d.enter(name);
			if (what === 1) d.leave(name);
			if (what === 2) log.hear(d);
			if (what === 3) d.answers.shift()?.();
			if (what === 4) await new Promise(setImmediate);
			if (random(60) === 0) for (let n = 0; n < 500; n++) log.stored.push(message(log.stored.length + 1, "bob", "hi", { topic: "@me" }));
		}
		await log.settle();
		const [first, ...others] = [...devices, log.device()].map(roomsOf);
		for (const other of others) assert.equal(other, first, `round ${round}`);
	}
});
