// What rookery.js does, frame by frame: the node is played by the test, and time too.

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, RookeryError } from "./rookery.js";
import { at, Fake, message, settle } from "./testing/fake.js";

// outcome catches what a promise came to, so that it can be looked at any time.
function outcome(promise) {
	const o = { done: false };
	promise.then(
		(value) => Object.assign(o, { done: true, value }),
		(error) => Object.assign(o, { done: true, error }),
	);
	return o;
}

test("says who it is, and where it was", async () => {
	const f = new Fake({ resume: { lobby: { epoch: "e", offset: 7 } } });
	assert.equal(f.socket.url, "ws://node/ws");
	assert.equal(f.socket.protocol, "rookery.v1");
	f.socket.open();
	const hello = f.socket.last;
	assert.deepEqual(hello, { type: "hello", id: hello.id, user: "alice", resume: { lobby: { epoch: "e", offset: 7 } } });
	assert.ok(hello.id >= 1);
	assert.equal(f.client.connected, false);
	assert.equal(f.client.maxFrame, 16384);

	await f.welcome({ lobby: at("e", 7) }, { session: "s-1" });
	assert.equal(f.client.connected, true);
	assert.deepEqual([f.client.session, f.client.user, f.client.node], ["s-1", "alice", "node"]);
	assert.equal(f.client.maxFrame, 65536);
	assert.equal(f.last.type, "connected");
	assert.equal(f.last.resumed, false);
	assert.equal(f.last.topics.lobby.offset, 7);

	const socket = await f.reconnect();
	socket.open();
	assert.equal(socket.last.was, "s-1");
	assert.deepEqual(Object.keys(socket.last.resume).sort(), ["*", "@alice", "lobby"]);
});

test("asks for a token anew for each connection", async () => {
	let asked = 0;
	const token = async () => {
		if (++asked === 2) throw new Error("no token today");
		return `token-${asked}`;
	};
	const f = new Fake({ user: undefined, token });
	await settle();
	await f.welcome();
	assert.equal(f.socket.of("hello")[0].token, "token-1");
	assert.equal(f.socket.of("hello")[0].user, undefined);

	f.socket.end(4002, "token expired");
	await f.clock.advance(250);
	assert.equal(f.last.type, "disconnected");
	assert.equal(f.last.error.message, "no token today");
	assert.equal(f.last.reconnect, true);
	await f.clock.advance(500);
	await f.welcome();
	assert.equal(f.socket.of("hello")[0].token, "token-3");
});

test("does not come back with an expired token that it cannot renew", async () => {
	const f = new Fake({ token: "old" });
	await f.welcome();
	assert.equal(f.socket.of("hello")[0].token, "old");
	f.socket.end(4002, "token expired");
	assert.equal(f.last.reconnect, false);
});

test("refuses arguments that cannot work", () => {
	assert.throws(() => connect("ws://node/ws", {}), /user .* or a token/);
	assert.throws(() => connect("ftp://node/ws", { user: "a", WebSocket: class {} }), /should look like wss:/);
	assert.throws(() => connect("nonsense", { user: "a", WebSocket: class {} }), TypeError);
});

test("takes http addresses for what they mean", () => {
	const f = new Fake();
	const { WebSocket } = { WebSocket: f.socket.constructor };
	connect("https://node/ws", { user: "a", WebSocket, clock: f.clock });
	assert.equal(f.socket.url, "wss://node/ws");
});

test("goes on with exponential backoff and full jitter", async () => {
	const f = new Fake();
	f.clock.chance = 0.999;
	for (const limit of [250, 500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]) {
		f.socket.fail();
		assert.equal(f.last.delay, limit * 0.999);
		const tries = f.sockets.length;
		await f.clock.advance(f.last.delay - 1);
		assert.equal(f.sockets.length, tries, "it came too early");
		await f.clock.advance(1);
		assert.equal(f.sockets.length, tries + 1);
	}
	f.clock.chance = 0;
	f.socket.fail();
	assert.equal(f.last.delay, 0, "full jitter begins at nothing");
});

test("forgives failures once a connection stood", async () => {
	const f = new Fake();
	f.clock.chance = 0.5;
	for (let i = 0; i < 4; i++) {
		f.socket.fail();
		await f.retry();
	}
	await f.welcome();
	f.socket.end();
	assert.equal(f.last.delay, 0.5 * 250 * 2 ** 4, "a connection that fell at once forgives nothing");
	await f.retry();
	await f.welcome();
	await f.clock.advance(6000);
	f.socket.end();
	assert.equal(f.last.delay, 0.5 * 250);
});

test("stays away as long as a goodbye says", async () => {
	const f = new Fake();
	await f.welcome();
	f.clock.chance = 0;
	f.socket.frame({ type: "goodbye", code: "draining", reconnect: true, after: 1830 });
	f.socket.end(1001, "draining");
	assert.equal(f.last.delay, 1830);
	await f.clock.advance(1829);
	assert.equal(f.sockets.length, 1);
	await f.clock.advance(1);
	assert.equal(f.sockets.length, 2);

	await f.welcome();
	f.clock.chance = 0.999;
	f.socket.frame({ type: "goodbye", code: "draining", reconnect: true, after: 1000 });
	f.socket.end(1001, "draining");
	assert.ok(f.last.delay > 1000 && f.last.delay < 2000, "it is spread");
});

test("ends when a goodbye says so", async () => {
	const f = new Fake();
	await f.welcome();
	f.socket.frame({ type: "goodbye", code: "kicked", reconnect: false, after: 0 });
	f.socket.end(1001);
	assert.equal(f.last.reconnect, false);
});

test("knows which close codes are final", async (t) => {
	for (const code of [1000, 1003, 1007, 1008, 1009, 4001, 4003, 4005]) {
		await t.test(String(code), async () => {
			const f = new Fake();
			await f.welcome();
			const publish = outcome(f.client.publish("@bob", 1));
			const events = f.client.events();
			f.socket.end(code, "why");
			await settle();
			assert.equal(f.last.type, "disconnected");
			assert.deepEqual([f.last.code, f.last.reason, f.last.reconnect], [code, "why", false]);
			assert.equal(f.clock.pending, 0, "nothing is planned any more");
			assert.ok(publish.error instanceof RookeryError);
			assert.equal((await events.next()).value.type, "disconnected");
			await assert.rejects(events.next(), RookeryError);
			assert.equal((await events.next()).done, true);
			await assert.rejects(f.client.join("lobby"), RookeryError);
		});
	}
	for (const code of [1001, 1002, 1005, 1006, 1011, 1012, 4004, 4999]) {
		await t.test(String(code), async () => {
			const f = new Fake();
			await f.welcome();
			f.socket.end(code);
			assert.equal(f.last.reconnect, true);
			await f.clock.advance(250);
			assert.equal(f.sockets.length, 2);
		});
	}
});

test("tells why its hello was refused", async () => {
	const f = new Fake();
	const join = outcome(f.client.join("lobby"));
	f.socket.open();
	f.socket.frame({ type: "error", id: f.socket.last.id, code: "unauthorized", message: "give a token", retry: false });
	f.socket.end(4001, "unauthorized");
	await settle();
	assert.equal(f.last.error.code, "unauthorized");
	assert.equal(join.error.message, "give a token");
	assert.equal(f.of("error").length, 0, "it is told once");
});

test("gives up a connection that never becomes one", async () => {
	const f = new Fake();
	f.socket.open();
	await f.clock.advance(15_000);
	assert.equal(f.of("disconnected").length, 1);
	await f.clock.advance(250);
	assert.equal(f.sockets.length, 2);
	await f.clock.advance(15_000);
	assert.equal(f.of("disconnected").length, 2);
});

test("joins, and resumes from what it received, not from the head", async () => {
	const f = new Fake();
	const joined = outcome(f.client.join("lobby", { recent: 3 }));
	await f.welcome();
	assert.deepEqual({ ...f.socket.last, id: 0 }, { type: "join", id: 0, topic: "lobby", recent: 3 });
	await f.answer("join", at("e", 41, { after: 38, read: 30 }));
	assert.deepEqual(joined.value, { topic: "lobby", epoch: "e", offset: 41, after: 38, recovered: true, read: 30 });
	f.socket.frame(message(39), message(40));
	assert.deepEqual(f.of("message").map((m) => [m.epoch, m.offset, m.data]), [["e", 39, "m39"], ["e", 40, "m40"]]);
	assert.deepEqual(f.client.cursors().lobby, { epoch: "e", offset: 40 });

	const socket = await f.reconnect();
	socket.open();
	assert.deepEqual(socket.last.resume.lobby, { epoch: "e", offset: 40 });
	await f.welcome({ lobby: at("e", 42, { after: 40 }) });
	assert.equal(f.last.type, "connected");
	assert.equal(f.last.resumed, true);
	socket.frame(message(40), message(41), message(41), message(39), message(42));
	assert.deepEqual(f.of("message").map((m) => m.offset), [39, 40, 41, 42]);
	assert.equal(f.of("reset").length, 0);
});

test("joins behind its hello, without waiting for the welcome", async () => {
	const f = new Fake();
	const joined = outcome(f.client.join("lobby", { recent: 3 }));
	const published = outcome(f.client.publish("lobby", "hi"));
	f.socket.open();
	const types = () => f.socket.sent.map(({ type }) => type);
	assert.deepEqual(types(), ["hello", "join"]); // a publish needs the room
	await f.welcome();
	assert.deepEqual(types(), ["hello", "join"]);
	await f.answer("join", at("e", 0));
	assert.equal(joined.done, true);
	assert.deepEqual(types(), ["hello", "join", "publish"]);
	await f.answer("publish", { epoch: "e", offset: 1 });
	assert.equal(published.done, true);

	// What could not be answered is asked again; a room that is known is in the hello.
	const again = outcome(f.client.join("attic"));
	const socket = await f.reconnect();
	outcome(f.client.join("lobby", { presence: true }));
	socket.open();
	assert.deepEqual(socket.sent.map(({ type, topic }) => [type, topic]), [["hello", undefined], ["join", "attic"]]);
	assert.equal(again.done, false);
	await f.welcome({ lobby: at("e", 1) });
	assert.deepEqual(socket.sent.map(({ type, topic }) => [type, topic]).slice(2), [["join", "lobby"]]);

	// What is left meanwhile is left there, too.
	const g = new Fake();
	const gone = outcome(g.client.join("lobby"));
	g.socket.open();
	outcome(g.client.leave("lobby"));
	await settle();
	assert.equal(gone.error.code, "left");
	await g.welcome();
	assert.equal(g.socket.last.type, "leave");
});

test("steps over skips", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	f.socket.frame(message(1), { type: "skip", topic: "lobby", offset: 2 }, message(3));
	assert.deepEqual(f.events.slice(-3).map((e) => [e.type, e.offset]), [["message", 1], ["skip", 2], ["message", 3]]);
	assert.equal(f.client.cursors().lobby.offset, 3);
});

test("does not take a hole for an answer", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	const { socket } = f;
	socket.frame(message(1), message(3), message(4));
	assert.equal(socket.closedWith, 4004);
	assert.deepEqual(f.of("message").map((m) => m.offset), [1]);
	await f.clock.advance(250);
	f.socket.open();
	assert.deepEqual(f.socket.last.resume.lobby, { epoch: "e", offset: 1 });
});

test("tells what could not be resumed, and goes on behind it", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	await f.reconnect();
	await f.welcome({ lobby: at("e", 20, { after: 9, recovered: false }) });
	const reset = { type: "reset", topic: "lobby", epoch: "e", offset: 20, after: 9, reason: "trimmed", recovered: false };
	assert.deepEqual(f.last, reset);
	f.socket.frame(message(10));
	assert.equal(f.last.offset, 10);

	await f.reconnect();
	await f.welcome({ lobby: at("e2", 0) });
	assert.deepEqual(f.last, { ...reset, epoch: "e2", offset: 0, after: 0, reason: "epoch", recovered: true });
	f.socket.frame(message(1));
	assert.deepEqual([f.last.epoch, f.last.offset], ["e2", 1]);
});

test("follows a reset in mid-stream", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	const reset = { type: "reset", topic: "lobby", epoch: "q", offset: 7, after: 5, reason: "epoch", recovered: false };
	f.socket.frame(message(1), reset, message(6), message(7));
	assert.deepEqual(f.of("message").map((m) => [m.epoch, m.offset]), [["e", 1], ["q", 6], ["q", 7]]);
	assert.deepEqual(f.of("reset"), [reset]);
	f.socket.frame({ ...reset, after: 7 });
	assert.equal(f.of("reset").length, 1, "what is known already is no news");
});

test("publishes once what was typed while offline", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	f.socket.end();
	const publish = outcome(f.client.publish("lobby", { text: "hi" }));
	await f.clock.advance(250);
	await f.welcome({ lobby: at("e", 0) });
	const sent = f.socket.of("publish");
	assert.equal(sent.length, 1);
	assert.deepEqual({ ...sent[0], id: 0, key: "" }, { type: "publish", id: 0, topic: "lobby", data: { text: "hi" }, key: "" });
	await f.answer("publish", { epoch: "e", offset: 1 });
	assert.deepEqual(publish.value, { topic: "lobby", epoch: "e", offset: 1 });

	await f.reconnect();
	await f.welcome({ lobby: at("e", 0) });
	assert.equal(f.socket.of("publish").length, 0);
});

test("repeats a publish whose answer was lost, under its key and in order", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	const first = outcome(f.client.publish("lobby", 1));
	const second = outcome(f.client.publish("lobby", 2, { key: "mine", echo: false }));
	const keys = f.socket.of("publish").map((p) => p.key);
	assert.equal(keys[1], "mine");
	assert.ok(keys[0].length > 20);
	await f.reconnect();
	assert.equal(first.done || second.done, false);
	await f.welcome({ lobby: at("e", 1) });
	const again = f.socket.of("publish");
	assert.deepEqual(again.map((p) => [p.data, p.key, p.echo]), [[1, keys[0], undefined], [2, "mine", false]]);
	for (const [i, { id, topic }] of again.entries()) {
		f.socket.frame({ type: "ok", id, topic, epoch: "e", offset: i + 1, duplicate: i === 0 });
	}
	await settle();
	assert.equal(first.value.duplicate, true);
	assert.equal(second.value.offset, 2);
});

test("does not repeat a publish whose key may be forgotten", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	const sent = outcome(f.client.publish("lobby", "sent"));
	f.socket.end();
	const typed = outcome(f.client.publish("lobby", "typed"));
	await f.clock.sleep(100_000);
	assert.equal(sent.error.code, "unknown");
	await f.welcome({ lobby: at("e", 0) });
	assert.deepEqual(f.socket.of("publish").map((p) => p.data), ["typed"]);
	assert.equal(typed.done, false);
});

test("keeps the data as it was", async () => {
	const f = new Fake();
	const data = { n: 1 };
	f.client.publish("@bob", data).catch(() => {});
	data.n = 2;
	await f.welcome();
	assert.deepEqual(f.socket.last.data, { n: 1 });
	await assert.rejects(f.client.publish("@bob", undefined), TypeError);
	await assert.rejects(f.client.publish("@bob", () => {}), TypeError);
});

test("tries again what the node put off, and holds back what follows", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	const { socket } = f;
	const first = outcome(f.client.publish("lobby", 1));
	const [{ id, key }] = socket.of("publish");
	socket.frame({ type: "error", id, topic: "lobby", code: "unavailable", message: "later", retry: true });
	const second = outcome(f.client.publish("lobby", 2));
	assert.equal(socket.of("publish").length, 1);
	await f.clock.advance(124);
	assert.equal(socket.of("publish").length, 1);
	await f.clock.advance(1);
	assert.deepEqual(socket.of("publish").map((p) => [p.data, p.key === key]), [[1, true], [1, true], [2, false]]);

	// Put off once more, it waits for longer.
	socket.frame({ type: "error", id, topic: "lobby", code: "unavailable", message: "later", retry: true });
	await f.clock.advance(249);
	assert.equal(socket.of("publish").length, 3);
	await f.clock.advance(1);
	assert.equal(socket.of("publish").length, 4);
	await f.clock.sleep(100_000);
	socket.frame({ type: "error", id, topic: "lobby", code: "rate_limited", message: "too many", retry: true });
	await settle();
	assert.equal(first.error.code, "rate_limited");
	assert.equal(second.done, false);
});

test("knows how long a key is known, however often it was put off or cut", async () => {
	const f = new Fake();
	f.clock.chance = 0.999;
	await f.welcome();
	const cut = outcome(f.client.publish("@bob", "cut"));
	await f.clock.sleep(60_000);
	await f.reconnect();
	await f.welcome();
	assert.equal(f.socket.of("publish").length, 1);
	await f.clock.sleep(50_000);
	await f.reconnect();
	assert.equal(cut.error.code, "unknown");

	await f.welcome();
	const put = outcome(f.client.publish("@bob", "put off"));
	const { id } = f.socket.last;
	await f.clock.sleep(99_900);
	f.socket.frame({ type: "error", id, topic: "@bob", code: "unavailable", message: "later", retry: true });
	await f.clock.advance(250);
	assert.equal(put.error.code, "unknown");
	assert.equal(f.socket.of("publish").length, 1);
});

test("pauses once for all that is put off, and for a short time after an answer", async () => {
	const f = new Fake();
	await f.welcome();
	const { socket } = f;
	const putOff = (id) => socket.frame({ type: "error", id, topic: "@bob", code: "rate_limited", message: "slowly", retry: true });
	for (const data of [1, 2, 3]) outcome(f.client.publish("@bob", data));
	for (const { id } of socket.of("publish")) putOff(id);
	await f.clock.advance(125);
	assert.deepEqual(socket.of("publish").map((p) => p.data), [1, 2, 3, 1, 2, 3]);
	putOff(socket.last.id);
	await f.clock.advance(249);
	assert.equal(socket.of("publish").length, 6, "the second pause is the longer one");
	await f.clock.advance(1);
	assert.equal(socket.of("publish").length, 7);
	const [first] = socket.of("publish");
	socket.frame({ type: "ok", id: first.id, topic: "@bob", epoch: "e", offset: 1 });
	putOff(socket.last.id);
	await f.clock.advance(125);
	assert.equal(socket.of("publish").length, 8);
});

test("rejects what the node refused", async () => {
	const f = new Fake();
	await f.welcome();
	const history = outcome(f.client.history("lobby", { before: 42, limit: 50 }));
	const { id } = f.socket.last;
	assert.deepEqual(f.socket.last, { type: "history", id, topic: "lobby", before: 42, limit: 50 });
	f.socket.frame({ type: "error", id, topic: "lobby", code: "forbidden", message: "join the topic first", retry: false });
	await settle();
	assert.ok(history.error instanceof RookeryError);
	const { code, message: text, topic, retry } = history.error;
	assert.deepEqual([code, text, topic, retry], ["forbidden", "join the topic first", "lobby", false]);
	assert.equal(f.of("error").length, 0);

	f.client.signal("lobby", 1);
	const refusal = { type: "error", topic: "lobby", code: "forbidden", message: "join the room first", retry: false };
	f.socket.frame({ ...refusal, id: f.socket.last.id });
	assert.deepEqual([f.last.type, f.last.error.code], ["error", "forbidden"]);
});

test("does not send what the node would close the connection for", async () => {
	const f = new Fake();
	const big = outcome(f.client.publish("@bob", "ä".repeat(500)));
	await f.welcome({}, { max_frame: 1000 });
	await settle();
	assert.equal(big.error.code, "too_large");
	assert.equal(f.socket.of("publish").length, 0);
	f.client.publish("@bob", "a".repeat(500)).catch(() => {});
	assert.equal(f.socket.of("publish").length, 1);
});

test("does not keep signals", async () => {
	const f = new Fake();
	assert.equal(f.client.signal("lobby", { typing: true }), false);
	await f.welcome();
	assert.equal(f.socket.of("signal").length, 0);
	assert.equal(f.client.signal("lobby", { typing: true }), true);
	assert.deepEqual({ ...f.socket.last, id: 0 }, { type: "signal", id: 0, topic: "lobby", data: { typing: true } });
});

test("asks for history, members and marks as read", async () => {
	const f = new Fake();
	await f.welcome();
	const members = outcome(f.client.members("lobby", { cursor: "c9" }));
	const { id } = f.socket.last;
	assert.deepEqual(f.socket.last, { type: "members", id, topic: "lobby", cursor: "c9" });
	f.socket.frame({ type: "members", id, topic: "lobby", version: 3, online: 1, members: ["bob"] });
	const read = outcome(f.client.read("lobby", 42));
	assert.deepEqual({ ...f.socket.last, id: 0 }, { type: "read", id: 0, topic: "lobby", offset: 42 });
	await f.answer("read");
	assert.deepEqual(members.value, { topic: "lobby", version: 3, online: 1, members: ["bob"] });
	assert.ok(read.done && !read.error);
	const seen = { type: "read", topic: "lobby", from: "bob", offset: 41 };
	const typing = { type: "signal", topic: "lobby", from: "bob", session: "b-1", data: { typing: true } };
	f.socket.frame(seen, typing);
	assert.deepEqual(f.events.slice(-2), [seen, typing]);
});

test("pings when it was silent for a heartbeat, and only then", async () => {
	const f = new Fake();
	const socket = await f.welcome();
	await f.clock.advance(24_999);
	assert.equal(socket.of("ping").length, 0);
	await f.clock.advance(1);
	assert.equal(socket.of("ping").length, 1);
	await f.answer("ping");
	await f.clock.advance(20_000);
	f.client.publish("@bob", 1).catch(() => {});
	await f.answer("publish", { epoch: "e", offset: 1 });
	await f.clock.advance(24_999);
	assert.equal(socket.of("ping").length, 1);
	await f.clock.advance(1);
	assert.equal(socket.of("ping").length, 2);
	assert.equal(f.of("disconnected").length, 0);
});

test("pings although it hears enough", async () => {
	const f = new Fake();
	const socket = await f.welcome();
	await f.join();
	for (let i = 1; i <= 10; i++) {
		await f.clock.advance(5000);
		socket.frame(message(i));
	}
	assert.equal(socket.of("ping").length, 2);
});

test("knows a dead connection by its silence", async () => {
	const f = new Fake();
	const socket = await f.welcome();
	await f.clock.advance(25_000 + 14_999);
	assert.equal(f.of("disconnected").length, 0);
	await f.clock.advance(1);
	assert.equal(f.of("disconnected").length, 1);
	assert.equal(f.last.reconnect, true);
	assert.equal(socket.closedWith, 4004);
	socket.frame(message(1, "late", "@alice"));
	socket.end(1000);
	assert.equal(f.of("message").length + f.of("disconnected").length, 1, "the dead are not heard");
});

test("knows a dead connection although it sends signals", async () => {
	const f = new Fake();
	await f.welcome();
	for (let i = 0; i < 10 && f.client.connected; i++) {
		f.client.signal("lobby", i);
		await f.clock.advance(4000);
	}
	assert.equal(f.of("disconnected").length, 1);
});

test("asks before it judges after a sleep", async () => {
	const f = new Fake();
	const socket = await f.welcome();
	await f.clock.sleep(3_600_000);
	assert.equal(f.of("disconnected").length, 0);
	assert.equal(socket.of("ping").length, 1);
	await f.answer("ping");
	await f.clock.advance(15_000);
	assert.equal(f.of("disconnected").length, 0);
});

test("looks at once when the browser comes online or to the front", async () => {
	const listeners = {};
	globalThis.addEventListener = (type, f) => (listeners[type] = f);
	globalThis.removeEventListener = (type, f) => listeners[type] === f && delete listeners[type];
	const { addEventListener, removeEventListener } = globalThis;
	globalThis.document = { addEventListener, removeEventListener, visibilityState: "hidden" };
	try {
		const f = new Fake();
		await f.welcome();
		listeners.visibilitychange();
		assert.equal(f.socket.of("ping").length, 0, "nobody looks");
		document.visibilityState = "visible";
		listeners.online();
		assert.equal(f.socket.of("ping").length, 1, "a connection that seems to stand is asked");
		listeners.online();
		assert.equal(f.socket.of("ping").length, 1);

		for (let i = 0; i < 8; i++) {
			f.socket.fail();
			f.socket.end();
			if (i < 7) await f.retry();
		}
		assert.equal(f.last.delay, 10_000);
		listeners.online();
		const tries = f.sockets.length;
		await f.clock.advance(500);
		assert.equal(f.sockets.length, tries + 1, "it does not wait out a long delay");
		f.client.close();
		assert.deepEqual(listeners, {});
	} finally {
		delete globalThis.addEventListener;
		delete globalThis.removeEventListener;
		delete globalThis.document;
	}
});

test("leaves for good what it may not come back to", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	await f.reconnect();
	await f.welcome({ lobby: { error: { code: "forbidden", message: "banned", retry: false } } });
	assert.equal(f.last.type, "left");
	assert.equal(f.last.topic, "lobby");
	assert.equal(f.last.error.code, "forbidden");
	assert.equal(f.socket.of("join").length, 0);
	assert.equal(f.client.cursors().lobby, undefined);

	// Nor to what it was told to try again, in vain.
	await f.join();
	await f.reconnect();
	await f.welcome({ lobby: { error: { code: "unavailable", message: "later", retry: true } } });
	const { id } = f.socket.of("join")[0];
	f.socket.frame({ type: "error", id, topic: "lobby", code: "forbidden", message: "banned", retry: false });
	assert.deepEqual([f.last.type, f.last.error.message], ["left", "banned"]);
	assert.equal(f.client.cursors().lobby, undefined);
});

test("joins again what could not be resumed yet, and what follows waits", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	f.socket.frame(message(1));
	f.socket.end();
	const publish = outcome(f.client.publish("lobby", "patient"));
	const direct = outcome(f.client.publish("@bob", "not waiting"));
	await f.clock.advance(250);
	const socket = await f.welcome({ lobby: { error: { code: "unavailable", message: "later", retry: true } } });
	assert.deepEqual({ ...socket.of("join")[0], id: 0 }, { type: "join", id: 0, topic: "lobby", after: { epoch: "e", offset: 1 } });
	assert.deepEqual(socket.of("publish").map((p) => p.topic), ["@bob"]);
	const { id } = socket.of("join")[0];
	socket.frame({ type: "error", id, topic: "lobby", code: "unavailable", message: "later", retry: true });
	await f.clock.advance(20_000);
	assert.equal(socket.of("join").length, 2);
	await f.answer("join", at("e", 1));
	assert.deepEqual(socket.of("publish").map((p) => p.topic), ["@bob", "lobby"]);
	await f.answer("publish", { epoch: "e", offset: 2 });
	assert.equal(publish.value.offset, 2);
	assert.equal(direct.done, false);
});

test("joins one by one what does not fit into a hello", async () => {
	const resume = {};
	for (let i = 0; i < 1500; i++) resume[`room-${i}`] = { epoch: "e".repeat(13), offset: i };
	const f = new Fake({ resume });
	f.socket.open();
	const hello = f.socket.last;
	assert.ok(JSON.stringify(hello).length <= 16_384);
	const fit = Object.keys(hello.resume);
	assert.ok(fit.length > 100);
	await f.welcome(Object.fromEntries(fit.map((topic) => [topic, at(resume[topic].epoch, resume[topic].offset)])));
	const joins = f.socket.of("join");
	assert.equal(fit.length + joins.length, 1500);
	for (const { topic, after } of joins) assert.deepEqual(after, resume[topic]);
	const socket = await f.reconnect();
	socket.open();
	const own = Object.keys(socket.last.resume).slice(0, 2);
	assert.deepEqual(own.sort(), ["*", "@alice"], "they can be resumed by a hello only");
});

test("does not go back in a topic that is joined once more", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	f.socket.frame(message(1), message(2));
	const again = outcome(f.client.join("lobby", { recent: 50, presence: true }));
	const { id } = f.socket.last;
	const after = { epoch: "e", offset: 2 };
	assert.deepEqual(f.socket.last, { type: "join", id, topic: "lobby", after, presence: true });
	f.socket.frame(message(3));
	await f.answer("join", { ...at("e", 3, { after: 2 }), version: 1, online: 1, members: ["alice"] });
	f.socket.frame(message(3), message(4));
	assert.deepEqual(f.of("message").map((m) => m.offset), [1, 2, 3, 4]);
	assert.equal(again.value.online, 1);
	assert.equal(f.of("reset").length, 0);
});

test("follows who is there, over connections too", async () => {
	const f = new Fake();
	await f.welcome();
	assert.equal(f.client.roster("lobby"), null);
	const roster = { version: 5, online: 2, members: ["alice", "bob"] };
	const joined = outcome(f.client.join("lobby", { presence: true }));
	await f.answer("join", { ...at("e", 0), ...roster });
	assert.deepEqual(joined.value.members, ["alice", "bob"]);
	f.client.roster("lobby").members.push("who changes the answer changes nothing else");
	assert.deepEqual(f.client.roster("lobby"), { online: 2, members: ["alice", "bob"], more: false });

	f.socket.frame({ type: "presence", topic: "lobby", version: 7, online: 2, joined: ["carol"], left: ["bob"] });
	assert.deepEqual(f.last, { type: "presence", topic: "lobby", version: 7, online: 2, joined: ["carol"], left: ["bob"] });
	assert.deepEqual(f.client.roster("lobby").members, ["alice", "carol"]);

	await f.reconnect();
	await f.welcome({ lobby: at("e", 0) });
	const { id, ...join } = f.socket.last;
	assert.deepEqual(join, { type: "join", topic: "lobby", after: { epoch: "e", offset: 0 }, presence: true });
	await f.answer("join", { ...at("e", 0), version: 2, online: 3, members: ["alice", "bob", "dave"] });
	assert.deepEqual([f.last.joined, f.last.left, f.last.online], [["bob", "dave"], ["carol"], 3]);
	assert.deepEqual(f.client.roster("lobby").members, ["alice", "bob", "dave"]);
});

test("takes the roster anew when a frame brings it", async () => {
	const f = new Fake();
	await f.welcome();
	outcome(f.client.join("lobby", { presence: true }));
	await f.answer("join", { ...at("e", 0), version: 1, online: 2, members: ["alice", "bob"] });
	f.socket.frame({ type: "presence", topic: "lobby", version: 9, online: 2, members: ["alice", "carol"] });
	assert.deepEqual(f.last, { type: "presence", topic: "lobby", version: 9, online: 2, members: ["alice", "carol"], joined: ["carol"], left: ["bob"] });
	assert.deepEqual(f.client.roster("lobby"), { online: 2, members: ["alice", "carol"], more: false });
	// Frames count in their order, whatever their versions.
	f.socket.frame({ type: "presence", topic: "lobby", version: 1, online: 3, joined: ["dave"] });
	assert.deepEqual(f.client.roster("lobby"), { online: 3, members: ["alice", "carol", "dave"], more: false });
	// Who is not in a part may be there all the same.
	f.socket.frame({ type: "presence", topic: "lobby", version: 2, online: 2000, members: ["aaron", "abel"], more: true, next: "nabel" });
	assert.deepEqual([f.last.online, f.last.joined, f.last.left], [2000, [], []]);
	assert.deepEqual(f.client.roster("lobby"), { online: 2000, members: ["aaron", "abel"], more: true });
	f.socket.frame({ type: "presence", topic: "lobby", version: 3, online: 20000, members: [], more: true, next: "c" });
	assert.deepEqual(f.client.roster("lobby"), { online: 20000, members: [], more: true });
	f.socket.frame({ type: "presence", topic: "lobby", version: 4, online: 1, members: ["zoe"] });
	assert.deepEqual(f.client.roster("lobby"), { online: 1, members: ["zoe"], more: false });
	assert.equal(f.socket.of("members").length, 0);
});

test("leaves", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	const left = outcome(f.client.leave("lobby"));
	f.socket.frame(message(1));
	assert.equal(f.of("message").length, 0);
	await f.answer("leave");
	assert.ok(left.done && !left.error);
	const again = outcome(f.client.leave("lobby"));
	const { id } = f.socket.last;
	f.socket.frame({ type: "error", id, topic: "lobby", code: "not_found", message: "not joined: nothing to leave", retry: false });
	await settle();
	assert.ok(again.done && !again.error, "where it is not, it need not leave");
	await f.reconnect();
	await f.welcome();
	assert.equal(f.socket.of("hello")[0].resume.lobby, undefined);
	await assert.rejects(f.client.leave("@alice"), /stays in its inbox/);

	// The connection is lost before the answer: there is nothing to leave any more.
	await f.join();
	const second = outcome(f.client.leave("lobby"));
	f.socket.end();
	await settle();
	assert.ok(second.done && !second.error);
});

test("leaves what is being joined", async () => {
	const f = new Fake();
	await f.welcome();
	const join = outcome(f.client.join("lobby"));
	const leave = outcome(f.client.leave("lobby"));
	await settle();
	assert.equal(join.error.code, "left");
	assert.deepEqual(f.socket.sent.slice(-2).map((s) => s.type), ["join", "leave"]);
	await f.answer("join", at("e", 0));
	f.socket.frame(message(1));
	await f.answer("leave");
	assert.equal(f.of("message").length, 0);
	assert.ok(leave.done && !leave.error);
});

test("leaves between its hello and the welcome", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	const socket = await f.reconnect();
	socket.open();
	await f.client.leave("lobby");
	socket.frame({ type: "welcome", id: socket.last.id, session: "s", user: "alice", node: "n", topics: { lobby: at("e", 3) } });
	assert.deepEqual(socket.of("leave"), [{ type: "leave", topic: "lobby" }]);
	socket.frame(message(1));
	assert.equal(f.of("message").length, 0);
});

test("is taken out by the server", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	f.client.signal("lobby", 1);
	const refusal = { type: "error", topic: "lobby", code: "forbidden", message: "you are muted", retry: false };
	f.socket.frame({ ...refusal, id: f.socket.last.id });
	assert.equal(f.of("left").length, 0, "a refused command is no removal");
	f.socket.frame({ ...refusal, message: "you were removed" }, message(1));
	assert.deepEqual([f.last.type, f.last.topic, f.last.error.message], ["left", "lobby", "you were removed"]);
	await f.reconnect();
	f.socket.open();
	assert.equal(f.socket.last.resume.lobby, undefined);
});

test("is joined by the server", async () => {
	const f = new Fake();
	await f.welcome();
	f.socket.frame({ type: "ok", topic: "team", ...at("e", 3) }, message(4, "hi", "team"));
	assert.deepEqual(f.events.slice(-2).map((e) => [e.type, e.topic]), [["joined", "team"], ["message", "team"]]);
	assert.deepEqual(f.client.cursors().team, { epoch: "e", offset: 4 });
});

test("lets a program that awaits its join go on before the messages", async () => {
	const f = new Fake();
	await f.welcome();
	const heard = [];
	const program = (async () => {
		await f.client.join("lobby", { recent: 2 });
		for await (const m of f.client.messages("lobby")) {
			heard.push(m.offset);
			if (m.offset === 3) break;
		}
	})();
	const { id } = f.socket.last;
	f.socket.frame({ type: "ok", id, topic: "lobby", ...at("e", 2, { after: 0 }) }, message(1), message(2), message(3));
	f.socket.end(); // what came before the end is not lost either
	await program;
	assert.deepEqual(heard, [1, 2, 3]);
});

test("iterates over what it was asked for, until closed", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	const messages = f.client.messages("lobby");
	const events = f.client.events();
	const early = messages.next();
	f.socket.frame(message(1), message(1, "other", "@alice"), message(2));
	assert.equal((await early).value.data, "m1");
	f.client.close();
	const seen = [];
	for await (const m of messages) seen.push(m.data);
	assert.deepEqual(seen, ["m2"]);
	const types = [];
	for await (const e of events) types.push([e.type, e.topic]);
	const l = ["message", "lobby"];
	assert.deepEqual(types, [l, ["message", "@alice"], l, ["disconnected", undefined]]);
	assert.equal((await f.client.events().next()).done, true);
});

test("goes away while an iterator is full, and comes back for the rest", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	const messages = f.client.messages("lobby");
	const { socket } = f;
	for (let i = 1; i <= 12_000; i++) socket.frame(message(i, i));
	assert.equal(f.client.connected, false);
	assert.equal(f.last.type, "disconnected");
	assert.equal(f.last.delay, null);
	await f.clock.advance(600_000);
	assert.equal(f.sockets.length, 1, "nothing is tried while it is full");

	let expected = 1;
	const take = async (n) => {
		for (; n > 0; n--) assert.equal((await messages.next()).value.data, expected++);
	};
	await take(4999);
	await f.clock.advance(0);
	assert.equal(f.sockets.length, 1);
	await take(2);
	await f.clock.advance(0);
	assert.equal(f.sockets.length, 2);
	f.socket.open();
	assert.deepEqual(f.socket.last.resume.lobby, { epoch: "e", offset: 10_000 });
	await f.welcome({ lobby: at("e", 12_000, { after: 10_000 }) });
	for (let i = 10_001; i <= 12_000; i++) f.socket.frame(message(i, i));
	await take(6999);
	assert.equal(expected, 12_001);
});

test("stays while a full iterator's reader waits for an answer", async () => {
	const f = new Fake();
	await f.welcome();
	await f.join();
	const messages = f.client.messages("lobby");
	const publish = outcome(f.client.publish("lobby", "from within the loop"));
	for (let i = 1; i <= 10_001; i++) f.socket.frame(message(i));
	assert.equal(f.client.connected, true);
	await f.answer("publish", { epoch: "e", offset: 10_002 });
	assert.ok(publish.value);
	f.socket.frame(message(10_002));
	assert.equal(f.client.connected, false);

	// And comes back for one, however full it is.
	const second = outcome(f.client.publish("lobby", "again"));
	await f.clock.advance(0);
	await f.welcome({ lobby: at("e", 10_002) });
	await f.answer("publish", { epoch: "e", offset: 10_003 });
	assert.ok(second.value);

	// Whoever breaks off takes no room.
	await messages.return();
	await f.clock.advance(20_000);
	await f.welcome({ lobby: at("e", 10_002) });
	for (let i = 10_003; i <= 20_010; i++) f.socket.frame(message(i));
	assert.equal(f.client.connected, true);
});

test("is closed", async () => {
	const f = new Fake();
	await f.welcome();
	const { socket } = f;
	const publish = outcome(f.client.publish("@bob", 1));
	f.client.close();
	f.client.close();
	await settle();
	assert.equal(socket.closedWith, 1000);
	assert.equal(publish.error.code, "closed");
	assert.equal(f.of("disconnected").length, 1);
	assert.deepEqual([f.last.reconnect, f.last.error], [false, null]);
	assert.equal(f.clock.pending, 0);
	await assert.rejects(f.client.publish("@bob", 1), { code: "closed" });
});

test("may be closed from within its events, and while it waits", async () => {
	const f = new Fake();
	f.client.addEventListener("connected", () => f.client.close());
	const join = outcome(f.client.join("lobby"));
	await f.welcome();
	assert.equal(join.error.code, "closed");
	assert.equal(f.socket.of("join").length, 1); // behind the hello; and nothing since
	assert.equal(f.clock.pending, 0);

	const g = new Fake();
	g.socket.fail();
	g.client.close();
	await g.clock.advance(60_000);
	assert.equal(g.sockets.length, 1);

	let give;
	const h = new Fake({ token: () => new Promise((resolve) => (give = resolve)) });
	h.client.close();
	give("late");
	await settle();
	assert.equal(h.sockets.length, 0);
	assert.equal(h.clock.pending, 0);
});

test("ignores what it does not know, and ends what is no frame", async () => {
	const f = new Fake();
	await f.welcome();
	const before = f.events.length;
	f.socket.frame({ type: "novelty" }, message(1, "x", "unjoined"), { type: "ok", id: 999 });
	assert.equal(f.events.length, before);
	assert.equal(f.client.connected, true);
	f.socket.frame("{");
	assert.equal(f.client.connected, false);
	assert.equal(f.last.reconnect, true);
});

test("normalises names", async () => {
	const f = new Fake();
	await f.welcome();
	outcome(f.client.join("cafe\u0301"));
	assert.equal(f.socket.last.topic, "caf\u00e9");
	await f.answer("join", at("e", 0));
	f.socket.frame(message(1, "x", "caf\u00e9"));
	assert.equal(f.of("message").length, 1);
	await assert.rejects(async () => f.client.join(7), TypeError);
});
