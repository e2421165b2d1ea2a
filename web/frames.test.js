// The frames of wire/testdata/frames.json, over which the nodes' own parsers are tested too:
// the client takes what nodes send, and sends only what they take.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { at, Fake, message, settle } from "./testing/fake.js";

const frames = JSON.parse(readFileSync(new URL("../wire/testdata/frames.json", import.meta.url), "utf8"));

// textOf makes a case's frame: written as JSON, as text, or as parts to repeat.
function textOf({ frame, raw, repeat }) {
	if (raw !== undefined) return raw;
	if (repeat) return repeat.map((part) => (typeof part === "string" ? part : part[0].repeat(part[1]))).join("");
	return JSON.stringify(frame);
}

// ready returns a client for which the frame may come next.
async function ready({ type, topic = "lobby", offset = 1 }) {
	const f = new Fake();
	await f.welcome();
	const after = type === "message" || type === "skip" ? offset - 1 : offset + 1;
	f.socket.frame({ type: "ok", topic, ...at("k3", offset, { after }) }); // put there by the server API
	return f;
}

// Not for a JavaScript client to judge: WebSockets check UTF-8, and its parser knows no depth.
const others = (c) => c.hex !== undefined || c.name === "server's frame 10,000 deep";

test("takes what nodes send", async (t) => {
	const cases = frames.filter((c) => c.side === "server" && !others(c));
	assert.ok(cases.length > 40);
	for (const c of cases) {
		await t.test(c.name, async () => {
			const f = await ready(c.valid && c.frame && !c.ignored ? c.frame : {});
			const before = f.events.length;
			f.socket.frame(textOf(c));
			await settle();
			assert.equal(f.client.connected, c.valid);
			if (c.ignored) assert.equal(f.events.length, before);
		});
	}
});

test("hands them to the program", async () => {
	const events = ["message", "signal", "presence", "read", "skip", "reset"];
	const cases = frames.filter((c) => c.side === "server" && c.valid && events.includes(c.frame?.type));
	assert.ok(cases.length > 10);
	for (const { name, frame } of cases) {
		const f = await ready(frame);
		f.socket.frame(frame);
		const got = f.last;
		for (const [field, value] of Object.entries(frame)) assert.deepEqual(got[field], value, `${name}: ${field}`);
	}
});

// A shape names a type's fields and their JSON types, two levels deep.
function* shape(frame) {
	const kind = (v) => (v === null ? "null" : Array.isArray(v) ? "array" : typeof v);
	for (const [name, value] of Object.entries(frame)) {
		if (name === "id") continue; // may be in every frame
		if (name === "data") yield `${frame.type}.data`;
		else yield `${frame.type}.${name}: ${kind(value)}`;
		if (name === "resume") for (const at of Object.values(value)) for (const k in at) yield `resume.${k}: ${kind(at[k])}`;
		if (name === "after") for (const k in value) yield `after.${k}: ${kind(value[k])}`;
	}
}

test("sends what nodes take", async () => {
	const known = new Set();
	for (const c of frames) if (c.side === "client" && c.valid && c.frame) for (const s of shape(c.frame)) known.add(s);

	const f = new Fake();
	const { client } = f;
	await f.welcome();
	client.join("a").catch(() => {});
	client.join("b", { recent: 5, presence: true }).catch(() => {});
	client.join("c", { after: { epoch: "e", offset: 3 } }).catch(() => {});
	client.publish("@bob", { text: "hi" }, { key: "k", echo: false }).catch(() => {});
	client.publish("@bob", null).catch(() => {});
	client.signal("d", { typing: true });
	client.history("@alice").catch(() => {});
	client.history("@alice", { before: 4, limit: 9 }).catch(() => {});
	client.members("*").catch(() => {});
	client.members("*", { cursor: "x" }).catch(() => {});
	client.read("@alice", 0).catch(() => {});
	client.leave("d").catch(() => {});
	await f.clock.advance(25_000);
	for (const { id, topic } of f.socket.of("join")) {
		const roster = topic === "b" ? { version: 1, online: 1, members: ["alice"] } : {};
		f.socket.frame({ type: "ok", id, topic, ...at("e", 9), ...roster });
		await settle();
	}
	f.socket.frame(message(10, 1, "b"), { type: "presence", topic: "b", version: 3, online: 9, members: ["bob"], more: true });
	client.join("b").catch(() => {});
	await f.reconnect();
	await f.welcome({ a: at("e", 9), b: at("e", 10) });

	const g = new Fake({ token: "a.b.c", resume: { lobby: { epoch: "e", offset: 1 } } });
	await g.welcome();

	const sent = [...f.sockets, ...g.sockets].flatMap((s) => s.sent);
	const types = new Set(sent.map((frame) => frame.type));
	assert.deepEqual([...types].sort(), ["hello", "history", "join", "leave", "members", "ping", "publish", "read", "signal"]);
	for (const frame of sent) {
		for (const s of shape(frame)) assert.ok(known.has(s), `${s} in ${JSON.stringify(frame)}`);
		assert.ok(Number.isSafeInteger(frame.id) && frame.id >= 1, JSON.stringify(frame));
	}
});
