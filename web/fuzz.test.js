// Whatever a node sends, frame after frame: the client takes it or drops the connection, throws
// nothing, and hands its program offsets that only rise by one.

import assert from "node:assert/strict";
import { test } from "node:test";

import { at, Fake, settle } from "./testing/fake.js";

// rng is mulberry32: the same frames for the same seed.
function rng(seed) {
	return () => {
		seed = (seed + 0x6d2b79f5) | 0;
		let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
		return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
	};
}

const types = ["welcome", "ok", "message", "signal", "presence", "read", "skip", "reset", "error", "goodbye", "history", "members", "dance"];
const names = ["lobby", "@alice", "*", "elsewhere", "", "__proto__", "constructor"];
const fields = ["id", "topic", "epoch", "offset", "after", "recovered", "read", "online", "version", "members", "joined", "left", "more", "messages", "data",
	"from", "session", "user", "node", "heartbeat", "max_frame", "topics", "code", "message", "retry", "reconnect", "reason", "time", "to", "next", "duplicate", "reached"];

// A maker makes frames at random: most of them nearly right, because what is quite wrong ends the connection.
class Maker {
	constructor(random, offsets) {
		this.random = random;
		this.offsets = offsets;
	}
	pick(list) {
		return list[Math.floor(this.random() * list.length)];
	}
	value(depth = 0) {
		const simple = [0, 1, -1, 1.5, 2 ** 53, 1e308, "", "e", "k3", "x".repeat(300), "\ud800", true, false, null, this.pick(names), Math.floor(this.random() * 12)];
		const kind = this.random();
		if (depth > 2 || kind < 0.8) return this.pick(simple);
		if (kind < 0.9) return Array.from({ length: Math.floor(this.random() * 4) }, () => this.value(depth + 1));
		return Object.fromEntries(Array.from({ length: 3 }, () => [this.pick([...fields, ...names]), this.value(depth + 1)]));
	}
	right() {
		const topic = this.pick(["lobby", "lobby", "@alice"]);
		const offset = this.offsets[topic] + 1;
		const version = Math.floor(this.random() * 9) + 1;
		return this.pick([
			{ type: "message", topic, offset, from: "bob", session: "b-1", time: 1, data: this.value() },
			{ type: "skip", topic, offset },
			{ type: "signal", topic, from: "bob", session: "b-1", data: this.value() },
			{ type: "presence", topic, version, online: 1, joined: ["bob"], left: ["carol"] },
			{ type: "reset", topic, ...at("e", offset + 5), after: offset + 5, reason: "trimmed", recovered: false },
			{ type: "read", topic, from: "bob", offset },
			{ type: "ok", id: Math.floor(this.random() * 9), topic, ...at("e", offset) },
			{ type: "error", id: Math.floor(this.random() * 9), code: "forbidden", message: "no", retry: this.random() < 0.5 },
		]);
	}
	frame() {
		const frame = this.right();
		const kind = this.random();
		if (kind < 0.6) return JSON.stringify(frame);
		if (kind < 0.75) frame[this.pick(fields)] = this.value();
		else if (kind < 0.85) delete frame[this.pick(Object.keys(frame))];
		else if (kind < 0.95) return JSON.stringify({ type: this.pick(types), [this.pick(fields)]: this.value(), [this.pick(fields)]: this.value() });
		const text = JSON.stringify(frame);
		return kind < 0.98 ? text : text.slice(0, Math.floor(this.random() * text.length));
	}
}

// The seeds of every run are the same; FUZZSEED tries others.
const first = Number(process.env.FUZZSEED ?? 1);

test("lives through random frames", async () => {
	let taken = 0;
	let dropped = 0;
	for (let seed = first; seed < first + 300; seed++) {
		const random = rng(seed);
		const f = new Fake();
		const after = {};
		for (const type of ["message", "skip", "reset", "joined"]) {
			f.client.addEventListener(type, ({ detail: { topic, offset, after: to } }) => {
				if (type === "message" || type === "skip") {
					if (topic in after) assert.equal(offset, after[topic] + 1, `seed ${seed}: ${type} of ${topic}`);
					after[topic] = offset;
				} else if (type === "reset") after[topic] = to;
				else delete after[topic];
			});
		}
		f.client.addEventListener("connected", () => Object.keys(after).forEach((topic) => delete after[topic]));
		await f.welcome();
		f.client.join("lobby", { presence: true }).catch(() => {});
		f.client.history("lobby").catch(() => {});
		f.client.publish("lobby", 1).catch(() => {});
		await settle();
		const offsets = { lobby: 0, "@alice": 0 };
		f.socket.frame({ type: "ok", id: f.socket.of("join")[0].id, topic: "lobby", ...at("e", 0, { version: 1, online: 1, members: ["alice"] }) });
		const maker = new Maker(random, offsets);
		for (let n = 0; n < 60 && f.client.connected; n++) {
			const text = maker.frame();
			f.socket.frame(text);
			taken++;
			const at = f.client.cursors();
			for (const topic in offsets) offsets[topic] = at[topic]?.offset ?? 0;
		}
		await settle();
		if (!f.client.connected) dropped++;
		f.client.close();
		await settle();
		assert.equal(f.clock.pending, 0, `seed ${seed}: a timer is left after close`);
	}
	assert.ok(taken > 3000, `of 300 connections only ${taken} frames were taken`);
	assert.ok(dropped > 0, "no frame was found wrong");
});
