// A node played by the test: fake sockets, and a clock that moves when told.

import { setImmediate as nextTask } from "node:timers/promises";

import { connect } from "../rookery.js";

/** Lets everything run that waits for no timer. */
export async function settle() {
	for (let i = 0; i < 4; i++) await nextTask();
}

export class FakeClock {
	time = 1_000_000;
	chance = 0.5;
	#timers = new Map();
	#last = 0;

	now = () => this.time;
	random = () => this.chance;
	setTimeout = (f, ms) => {
		this.#timers.set(++this.#last, { f, at: this.time + ms });
		return this.#last;
	};
	clearTimeout = (id) => this.#timers.delete(id);

	/** How many timers are set. */
	get pending() {
		return this.#timers.size;
	}

	/** Goes on by ms and runs what became due, in order. */
	async advance(ms) {
		const end = this.time + ms;
		for (;;) {
			const due = [...this.#timers].filter(([, t]) => t.at <= end).sort((a, b) => a[1].at - b[1].at)[0];
			if (!due) break;
			this.#timers.delete(due[0]);
			this.time = Math.max(this.time, due[1].at);
			due[1].f();
			await settle();
		}
		this.time = end;
		await settle();
	}

	/** Goes on by ms as a sleeping machine does: timers fire late, at the end. */
	async sleep(ms) {
		this.time += ms;
		await this.advance(0);
	}
}

// A socket's frames, as the client sent them, are in sent.
class FakeSocket {
	readyState = 0;
	sent = [];
	closedWith = null;

	constructor(url, protocol) {
		this.url = url;
		this.protocol = protocol;
	}
	send(text) {
		if (this.readyState !== 1) throw new Error("not open");
		this.sent.push(JSON.parse(text));
	}
	close(code) {
		this.closedWith = code;
		this.readyState = 2;
	}

	// What the node does.
	open() {
		if (this.readyState === 1) return;
		this.readyState = 1;
		this.onopen?.({});
	}
	frame(...frames) {
		for (const frame of frames) this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
	}
	end(code = 1006, reason = "") {
		this.readyState = 3;
		this.onclose?.({ code, reason });
	}
	fail() {
		this.readyState = 3;
		this.onerror?.({});
	}

	/** The frames of one type that were sent. */
	of(type) {
		return this.sent.filter((frame) => frame.type === type);
	}
	get last() {
		return this.sent.at(-1);
	}
}

/** A client whose node is the test. */
export class Fake {
	clock = new FakeClock();
	sockets = [];
	events = [];

	constructor(options = {}) {
		const { sockets } = this;
		const WebSocket = class extends FakeSocket {
			constructor(...args) {
				super(...args);
				sockets.push(this);
			}
		};
		this.client = connect("ws://node/ws", { user: "alice", WebSocket, clock: this.clock, ...options });
		const types = ["message", "signal", "presence", "read", "skip", "reset", "connected", "disconnected", "joined", "left", "error"];
		for (const type of types) this.client.addEventListener(type, (e) => this.events.push(e.detail));
	}

	get socket() {
		return this.sockets.at(-1);
	}
	of(type) {
		return this.events.filter((event) => event.type === type);
	}
	get last() {
		return this.events.at(-1);
	}

	/** Opens the newest connection and welcomes the client there. */
	async welcome(topics = {}, fields = {}) {
		const { socket } = this;
		socket.open();
		const session = `node-${this.sockets.length}`;
		const { id } = socket.of("hello")[0];
		const own = { "*": at("e", 0), "@alice": at("e", 0) };
		const defaults = { session, user: "alice", node: "node", heartbeat: 25, max_frame: 65536 };
		socket.frame({ type: "welcome", id, ...defaults, topics: { ...own, ...topics }, ...fields });
		await settle();
		return socket;
	}

	/** Answers the newest frame of a type. */
	async answer(type, fields = {}) {
		const { id, topic } = this.socket.of(type).at(-1);
		this.socket.frame({ type: "ok", id, topic, ...fields });
		await settle();
	}

	/** Joins lobby at an offset. */
	async join(options, offset = 0) {
		const joined = this.client.join("lobby", options);
		await settle();
		await this.answer("join", at("e", offset));
		return joined;
	}

	/** Loses the connection, and comes to the next try. */
	async reconnect() {
		this.socket.end();
		await this.retry();
		return this.socket;
	}

	/** Waits as long as the client said it would. */
	async retry() {
		await this.clock.advance(this.of("disconnected").at(-1).delay);
	}
}

/** What a node answers to a join or resume at offset. */
export function at(epoch, offset, fields = {}) {
	return { epoch, offset, after: offset, recovered: true, read: 0, ...fields };
}

export function message(offset, data = `m${offset}`, topic = "lobby") {
	return { type: "message", topic, offset, from: "bob", session: "b-1", time: 1767225600000 + offset, data };
}
