// rookery.js against real nodes, over connections that break.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

import { connect } from "./rookery.js";
import { build, startNode, startProxy } from "./testing/cluster.js";

let binary, node, proxy;
const clients = [];

before(async () => {
	binary = await build();
	node = await startNode(binary.path, "--log-length", "2000");
	proxy = await startProxy(node.port);
});

after(async () => {
	for (const client of clients) client.close();
	await proxy?.stop();
	await node?.stop();
	await binary?.remove();
});

function open(user, options = {}) {
	const clock = { random: () => Math.random() / 100 }; // cut often, it would wait for long
	const client = connect(options.url ?? proxy.url, { user, clock, ...options });
	clients.push(client);
	return client;
}

// until waits for an event of which wanted is true.
function until(client, type, wanted = () => true) {
	return new Promise((resolve) => {
		client.addEventListener(type, function listen(e) {
			if (!wanted(e.detail)) return;
			client.removeEventListener(type, listen);
			resolve(e.detail);
		});
	});
}

// take reads n messages of an iterator.
async function take(messages, n) {
	const list = [];
	while (list.length < n) list.push((await messages.next()).value);
	return list;
}

test("joins, publishes, receives", async () => {
	const alice = open("alice");
	const bob = open("bob");
	const came = until(alice, "presence", (p) => p.joined.includes("bob"));
	const joined = await alice.join("talk", { presence: true });
	assert.deepEqual([joined.offset, joined.after, joined.recovered, joined.members], [0, 0, true, ["alice"]]);
	await bob.join("talk");
	assert.equal((await came).online, 2);
	assert.deepEqual(alice.roster("talk").members, ["alice", "bob"]);

	const heard = bob.messages("talk");
	assert.equal((await alice.publish("talk", { text: "hi" })).offset, 1);
	assert.equal((await alice.publish("talk", "not for me", { echo: false })).offset, 2);
	const [first, second] = await take(heard, 2);
	assert.deepEqual([first.from, first.data, first.offset, first.epoch], ["alice", { text: "hi" }, 1, joined.epoch]);
	assert.equal(second.data, "not for me");

	const typing = until(bob, "signal");
	assert.equal(alice.signal("talk", { typing: true }), true);
	assert.deepEqual((await typing).data, { typing: true });

	const inbox = bob.messages("@bob");
	const copy = alice.messages("@alice");
	assert.equal((await alice.publish("@bob", "psst")).reached, 1);
	assert.equal((await take(inbox, 1))[0].from, "alice");
	assert.equal((await take(copy, 1))[0].to, "bob");
	assert.equal((await alice.publish("@nobody", "psst")).reached, 0);

	const page = await bob.history("talk", { limit: 1 });
	assert.deepEqual([page.messages.map((m) => m.offset), page.more], [[2], true]);
	const seen = until(alice, "read");
	await bob.read("talk", 2);
	assert.deepEqual(await seen, { type: "read", topic: "talk", from: "bob", offset: 2 });
	assert.deepEqual((await bob.members("talk")).members, ["alice", "bob"]);

	const left = until(alice, "presence", (p) => p.left.includes("bob"));
	await bob.leave("talk");
	assert.equal((await left).online, 1);
	await assert.rejects(bob.publish("talk", "from outside"), { code: "forbidden", topic: "talk" });
	await assert.rejects(bob.join("not a name"), { code: "bad_request" });
	await assert.rejects(bob.publish("@alice", "x".repeat(70_000)), { code: "too_large" });
	assert.equal(bob.connected, true);
});

test("begins with recent messages, or where it was told", async () => {
	const alice = open("alice");
	await alice.join("past");
	for (let i = 1; i <= 5; i++) await alice.publish("past", i);
	const bob = open("bob");
	const { after, offset, epoch } = await bob.join("past", { recent: 2 });
	assert.deepEqual([after, offset], [3, 5]);
	assert.deepEqual((await take(bob.messages("past"), 2)).map((m) => m.data), [4, 5]);

	const carol = open("carol", { resume: { past: { epoch, offset: 1 } } });
	assert.deepEqual((await take(carol.messages("past"), 4)).map((m) => m.data), [2, 3, 4, 5]);
	const dave = open("dave");
	const lost = await dave.join("past", { after: { epoch: "another", offset: 1 } });
	assert.equal(lost.recovered, false);
});

test("gets each message once and in order, however often it is cut", async () => {
	const total = 600;
	const writer = open("writer", { url: `ws://127.0.0.1:${node.port}/ws` });
	const reader = open("reader");
	const trouble = [];
	reader.addEventListener("reset", (e) => trouble.push(e.detail));
	const skips = [];
	reader.addEventListener("skip", (e) => skips.push(e.detail.offset));
	await writer.join("cuts");
	await reader.join("cuts");
	const heard = reader.messages("cuts");

	const sending = (async () => {
		for (let i = 0; i < total; i += 20) {
			await Promise.all(Array.from({ length: 20 }, (_, k) => writer.publish("cuts", i + k, { echo: false })));
		}
	})();
	for (let i = 0; i < 12; i++) {
		if (!reader.connected) await until(reader, "connected");
		let cut = false;
		const lost = until(reader, "disconnected").then(() => (cut = true));
		// Now, or in the midst of one of the next frames. A publish of the reader's own goes over it.
		proxy.cut(i % 3 === 0 ? undefined : 1 + i * 97);
		const own = reader.publish("cuts", `reader-${i}`);
		while (!cut) await writer.publish("cuts", "filler");
		await Promise.all([lost, own]);
	}
	await sending;
	await writer.publish("cuts", "end");

	const messages = [];
	for await (const m of heard) {
		messages.push(m);
		if (m.data === "end") break;
	}
	assert.deepEqual(messages.map((m) => m.offset), Array.from(messages, (_, i) => i + 1));
	assert.deepEqual(messages.map((m) => m.data).filter(Number.isInteger), Array.from({ length: total }, (_, i) => i));
	const own = messages.map((m) => String(m.data)).filter((data) => data.startsWith("reader-"));
	assert.deepEqual(own, Array.from({ length: 12 }, (_, i) => `reader-${i}`));
	assert.deepEqual(trouble, []);
	assert.deepEqual(skips, []);
});

test("sends once what was typed while it was away, and nothing it said comes back", async () => {
	const bob = open("bob", { url: `ws://127.0.0.1:${node.port}/ws` });
	const alice = open("alice");
	await bob.join("away");
	await alice.join("away");
	const heard = bob.messages("away");
	const own = alice.events();
	proxy.up = false;
	await until(alice, "disconnected");
	const typed = [1, 2, 3].map((i) => alice.publish("away", i, { echo: false }));
	assert.equal(alice.signal("away", "lost"), false);
	await bob.publish("away", "meanwhile");
	proxy.up = true;
	await Promise.all(typed);
	proxy.cut();
	await until(alice, "connected");
	await bob.publish("away", "end");

	assert.deepEqual((await take(heard, 5)).map((m) => m.data), ["meanwhile", 1, 2, 3, "end"]);
	const offsets = [];
	for await (const e of own) {
		if (e.topic === "away") offsets.push(`${e.type} ${e.offset}`);
		if (e.data === "end") break;
	}
	assert.deepEqual(offsets, ["message 1", "skip 2", "skip 3", "skip 4", "message 5"]);
});

test("says when messages are missing", async () => {
	const alice = open("alice");
	const writer = open("writer", { url: `ws://127.0.0.1:${node.port}/ws` });
	await alice.join("trim");
	await writer.join("trim");
	await writer.publish("trim", 0);
	proxy.up = false;
	await until(alice, "disconnected");
	await Promise.all(Array.from({ length: 2500 }, (_, i) => writer.publish("trim", i + 1, { echo: false })));
	const reset = until(alice, "reset", (r) => r.topic === "trim");
	const heard = alice.messages("trim");
	proxy.up = true;
	const { reason, recovered, after } = await reset;
	assert.deepEqual([reason, recovered], ["trimmed", false]);
	const [first] = await take(heard, 1);
	assert.equal(first.offset, after + 1);
	assert.equal(first.data, first.offset - 1);
});

test("goes to another node when its node says goodbye", async (t) => {
	const first = await startNode(binary.path);
	const second = await startNode(binary.path);
	const own = await startProxy(first.port);
	t.after(() => Promise.all([own.stop(), second.stop()]));
	const alice = open("alice", { url: own.url });
	await alice.join("moving");
	await alice.publish("moving", "said on the first node");
	const lost = until(alice, "disconnected");
	const back = until(alice, "connected");
	const reset = until(alice, "reset", (r) => r.topic === "moving");
	own.target = second.port;
	const asked = Date.now();
	await first.stop("SIGTERM");
	const { code, reason, reconnect, delay } = await lost;
	assert.deepEqual([code, reconnect], [1001, true], reason);
	assert.ok(delay >= 0);
	const { node, resumed } = await back;
	assert.equal(resumed, true);
	assert.ok(node.length > 0 && Date.now() >= asked);
	// These two nodes share no Redis: the log is another.
	assert.deepEqual([(await reset).reason, (await reset).recovered], ["epoch", false]);
	assert.equal((await alice.publish("moving", "said on the second")).offset, 1);
});

test("does what README.md shows", async (t) => {
	const readme = await readFile(new URL("README.md", import.meta.url), "utf8");
	const [, echo] = /```js\n(\/\/ echo\.mjs[^]*?)```/.exec(readme);
	const source = echo.replace("./rookery.js", new URL("rookery.js", import.meta.url)).replace(":8000/", `:${node.port}/`);
	const child = spawn(process.execPath, ["--experimental-websocket", "--input-type=module", "--eval", source]);
	t.after(() => child.kill());
	const exit = once(child, "exit");
	let errors = "";
	child.stderr.on("data", (b) => (errors += b));
	const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
	assert.equal((await lines.next()).value, "listening", errors);

	const alice = open("alice");
	const heard = alice.messages("lobby");
	await alice.join("lobby");
	await alice.publish("lobby", "hello");
	await alice.publish("lobby", "bye");
	const said = (await take(heard, 4)).filter((m) => m.from === "echo").map((m) => m.data.text);
	assert.deepEqual(said, ['alice said "hello"', 'alice said "bye"']);
	assert.match((await lines.next()).value, /^answered with message \d$/);
	assert.equal((await exit)[0], 0);
});

test("does not come back to a node that refused it", async () => {
	const client = open("no such name");
	const join = client.join("lobby");
	await assert.rejects(join, { code: "bad_request" });
	assert.equal(client.connected, false);
	await assert.rejects(client.publish("@bob", 1), { code: "bad_request" });
});

test("says who it is by a token, and by another when that has expired", async (t) => {
	const secret = "a secret of this test, and of it alone";
	const strict = await startNode(binary.path, "--auth-secret", secret);
	t.after(() => strict.stop());
	const url = `ws://127.0.0.1:${strict.port}/ws`;
	const sign = (claims) => {
		const parts = [{ alg: "HS256", typ: "JWT" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"));
		return `${parts.join(".")}.${createHmac("sha256", secret).update(parts.join(".")).digest("base64url")}`;
	};
	const now = Math.floor(Date.now() / 1000);
	const old = sign({ sub: "alice", exp: now - 3600 });
	const good = sign({ sub: "alice", exp: now + 3600 });

	const tokens = [old, good];
	const alice = open(undefined, { url, token: async () => tokens.shift() });
	const expired = until(alice, "disconnected");
	await alice.join("lobby");
	assert.deepEqual([(await expired).code, (await expired).reconnect], [4002, true]);
	assert.equal(alice.user, "alice");

	// Who has no other token does not come back, and neither does one who has none that is valid.
	for (const [token, user, code] of [[old, undefined, 4002], ["no token", undefined, 4001], [undefined, "alice", 4001]]) {
		const client = open(user, { url, token });
		const join = client.join("lobby");
		const events = client.events();
		const { value } = await events.next();
		assert.deepEqual([value.type, value.code, value.reconnect], ["disconnected", code, false]);
		assert.equal(value.error.code, "unauthorized");
		await assert.rejects(join, { code: "unauthorized" });
		await assert.rejects(events.next(), { code: "unauthorized" });
	}
});
