// rookery.js: the JavaScript client of the protocol rookery.v1, for browsers and Node.
//
// A client keeps one connection to a cluster, makes it anew when it is lost, and goes on in every
// topic where it was. rookery.d.ts describes every call and event, README.md shows them.

const PROTOCOL = "rookery.v1";

// Times in milliseconds.
const BACKOFF_BASE = 250;
const BACKOFF_CAP = 20_000;
const HINT_CAP = 300_000; // the longest delay that a node can ask for
const SETTLED = 5_000; // a connection that stood this long forgives the failures before it
const OPENING = 15_000; // from the first try to the welcome
const GRACE = 15_000; // for a sign of life, beyond the heartbeat
const WAKING = 1_000; // the most that a browser waits to connect when it came online
const KEY_LIFE = 100_000; // a publish is repeated for so long: nodes know its key for 2 minutes

const BACKLOG = 10_000; // events that may wait in one iterator
const HELLO_TOPICS = 1000; // resumed by one hello …
const HELLO_BYTES = 16_384; // … which is no longer than this; the others are joined after it

// Close codes after which another try would end in the same way (wire/codes.go).
const FINAL = new Set([1000, 1003, 1007, 1008, 1009, 4001, 4003, 4005]);
const EXPIRED = 4002; // another token will do
const LOST = 4004; // our own code when nothing is heard, or not what should be

// The frames that a node sends.
const TYPES = new Set("welcome ok message skip reset signal presence read history members error goodbye".split(" "));

const clock = {
	now: () => Date.now(), // not a monotonic clock: it has to go on while the machine sleeps
	setTimeout: (f, ms) => setTimeout(f, ms),
	clearTimeout: (t) => clearTimeout(t),
	random: Math.random,
};

/** An error frame of the node, or the reason why a call could not be made. */
export class RookeryError extends Error {
	constructor({ code, message, topic = "", retry = false }) {
		super(message || code);
		this.name = "RookeryError";
		this.code = code;
		this.topic = topic;
		this.retry = retry;
	}
}

const failure = (code, message, topic) => new RookeryError({ code, message, topic });

/** Returns a client of the cluster at url, which begins to connect. */
export function connect(url, options) {
	return new Client(url, options);
}

export class Client extends EventTarget {
	#url;
	#options;
	#clock;
	#WebSocket;
	#topics = new Map(); // topic -> what we know of one that we are in
	#calls = new Map(); // id -> what waits for a reply, in the order in which it was asked
	#joins = new Set(); // those that are joins: other calls on their topics wait for them
	#streams = new Set();
	#conn = null; // the connection, from the try to make it to its loss
	#retry = null; // the timer of the next try
	#retryAt = 0;
	#tries = 0;
	#parked = false; // not connected because an iterator is full
	#closed = null; // once we are: why
	#session = "";
	#user = "";
	#node = "";
	#maxFrame = HELLO_BYTES;
	#lastId = 0;
	#keys; // what the keys of our publishes begin with
	#lastKey = 0;

	constructor(url, options = {}) {
		super();
		const { user, token, resume = {} } = options;
		if (typeof user !== "string" && typeof token !== "string" && typeof token !== "function") {
			throw new TypeError("connect needs a user (a name) or a token (a string, or a function that returns one)");
		}
		this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
		if (!this.#WebSocket) {
			throw new TypeError("no WebSocket here: give one as an option, or start Node 20 with --experimental-websocket");
		}
		this.#url = address(url);
		this.#options = options;
		this.#clock = { ...clock, ...options.clock };
		const random = globalThis.crypto.getRandomValues(new Uint8Array(12));
		this.#keys = Array.from(random, (b) => b.toString(16).padStart(2, "0")).join("");
		for (const [topic, at] of Object.entries(resume)) {
			this.#topics.set(normal(topic), { epoch: at.epoch, offset: at.offset, in: false });
		}
		globalThis.addEventListener?.("online", this.#wake);
		globalThis.document?.addEventListener("visibilitychange", this.#wake);
		this.#open();
	}

	get connected() {
		return Boolean(this.#conn?.welcomed);
	}
	get session() {
		return this.#session;
	}
	get user() {
		return this.#user;
	}
	get node() {
		return this.#node;
	}
	get maxFrame() {
		return this.#maxFrame;
	}

	// --- What a program asks for, repeated when the connection is lost before the reply came.

	join(topic, { after, recent, presence } = {}) {
		return this.#call({ type: "join", topic, after, recent: recent || undefined, presence: presence || undefined });
	}

	async leave(topic) {
		topic = normal(topic);
		if (topic === "*" || topic.startsWith("@")) {
			throw failure("bad_request", "every session stays in its inbox and in *", topic);
		}
		this.#topics.delete(topic);
		let sent = this.connected;
		for (const call of this.#joins) {
			if (call.frame.topic !== topic) continue;
			sent ||= call.conn !== null; // behind the hello
			this.#settle(call, failure("left", "the topic was left before it was joined", topic));
		}
		if (sent) await this.#call({ type: "leave", topic }, { once: true });
	}

	publish(topic, data, { key, echo } = {}) {
		if (JSON.stringify(data) === undefined) {
			return Promise.reject(new TypeError("publish needs data that JSON can hold"));
		}
		key ??= `${this.#keys}-${++this.#lastKey}`;
		return this.#call({ type: "publish", topic, data, key, echo });
	}

	signal(topic, data) {
		if (!this.connected) return false;
		// The id tells its error from the one that takes us out of a topic.
		this.#send(this.#conn, JSON.stringify({ type: "signal", id: ++this.#lastId, topic: normal(topic), data }));
		return true;
	}

	history(topic, { before, limit } = {}) {
		return this.#call({ type: "history", topic, before, limit });
	}

	read(topic, offset) {
		return this.#call({ type: "read", topic, offset });
	}

	members(topic, { cursor, reads } = {}) {
		return this.#call({ type: "members", topic, cursor, reads: reads || undefined });
	}

	roster(topic) {
		const roster = this.#topics.get(normal(topic))?.roster;
		if (!roster) return null;
		roster.sorted ??= [...roster.names].sort(); // of thousands it takes a while, and a page asks often
		return { online: roster.online, members: roster.sorted.slice(), more: roster.more };
	}

	cursors() {
		return Object.fromEntries(Array.from(this.#topics, ([topic, { epoch, offset }]) => [topic, { epoch, offset }]));
	}

	events() {
		return this.#stream(() => true);
	}

	messages(topic) {
		topic = normal(topic);
		return this.#stream((event) => event.type === "message" && event.topic === topic);
	}

	close() {
		this.#end(1000, "", null);
	}

	// --- Connections.

	async #open() {
		this.#retry = null;
		for (const call of this.#calls.values()) this.#stillKnown(call);
		const now = this.#clock.now();
		const conn = {
			socket: null,
			opened: false,
			welcomed: 0, // when; 0 before
			maxFrame: HELLO_BYTES,
			heartbeat: 0,
			sent: now, // when we last sent anything
			heard: now, // when we last heard anything
			asked: 0, // when we sent the ping after which nothing was heard; 0 for none
			beat: null, // the timer that watches over all this
			pause: null, // the timer after which calls go on that the node put off
			putOff: 0, // how often it did, since it last answered
			goodbye: null,
			refused: null, // the node's complaint about our hello
			inbox: [], // what to do about frames, and the end, that came
			held: false, // and have to wait
		};
		this.#conn = conn;
		try {
			let token = this.#options.token;
			if (typeof token === "function") token = await token(); // a person may have to look for one
			if (this.#conn !== conn) return;
			conn.beat = this.#clock.setTimeout(() => this.#lost(conn, LOST, "the node does not answer"), OPENING);
			const socket = (conn.socket = new this.#WebSocket(this.#url, PROTOCOL));
			socket.onopen = () => {
				conn.opened = true;
				this.#send(conn, this.#hello(token));
				this.#transmitAll(); // what need not wait for the welcome
			};
			socket.onmessage = (e) => this.#receive(conn, e.data);
			socket.onerror = () => {
				if (!conn.opened) this.#lost(conn, 1006, "no connection"); // Node 20 sends no close after this
			};
			socket.onclose = (e) => {
				conn.inbox.push(() => this.#lost(conn, e.code, e.reason));
				this.#drain(conn);
			};
		} catch (err) {
			this.#lost(conn, 1006, "no connection", err);
		}
	}

	#hello(token) {
		const hello = { type: "hello", id: ++this.#lastId, was: this.#session || undefined };
		if (token === undefined) hello.user = this.#options.user;
		else hello.token = token;
		const resume = [];
		let room = HELLO_BYTES - bytes(JSON.stringify(hello));
		const isRoom = ([topic]) => topic !== "*" && !topic.startsWith("@");
		for (const [topic, { epoch, offset }] of [...this.#topics].sort((a, b) => isRoom(a) - isRoom(b))) {
			room -= bytes(JSON.stringify(topic)) + bytes(epoch) + 64;
			if (room < 0 || resume.length === HELLO_TOPICS) break;
			resume.push([topic, { epoch, offset }]);
		}
		if (resume.length > 0) hello.resume = Object.fromEntries(resume);
		return JSON.stringify(hello);
	}

	#send(conn, text) {
		conn.sent = this.#clock.now();
		conn.socket.send(text);
	}

	// #beat sends a ping when nothing was sent, or heard, for a heartbeat, and gives the connection
	// up when nothing is heard after it: timers of hidden pages and sleeping machines come late.
	#beat(conn) {
		const now = this.#clock.now();
		const due = () => (conn.asked ? conn.asked + GRACE : Math.min(conn.sent, conn.heard) + conn.heartbeat);
		if (now >= due()) {
			if (conn.asked) return this.#lost(conn, LOST, "nothing was heard for too long");
			this.#ping(conn);
		}
		this.#clock.clearTimeout(conn.beat);
		conn.beat = this.#clock.setTimeout(() => this.#beat(conn), due() - now);
	}

	#ping(conn) {
		this.#send(conn, JSON.stringify({ type: "ping", id: ++this.#lastId }));
		conn.asked = this.#clock.now();
	}

	// #wake runs when the browser came online or the page came to the front.
	#wake = () => {
		if (globalThis.document?.visibilityState === "hidden") return;
		if (this.#retry !== null) {
			const delay = this.#clock.random() * WAKING;
			if (this.#clock.now() + delay < this.#retryAt) this.#schedule(delay);
		} else if (this.connected && !this.#conn.asked) {
			this.#ping(this.#conn);
			this.#beat(this.#conn);
		}
	};

	#schedule(delay) {
		this.#clock.clearTimeout(this.#retry);
		this.#retryAt = this.#clock.now() + delay;
		this.#retry = this.#clock.setTimeout(() => this.#open(), delay);
	}

	#lost(conn, code, reason, cause) {
		if (this.#conn !== conn) return;
		this.#drop(conn, LOST);
		const { goodbye, refused } = conn;
		const error = refused ?? cause ?? failure("disconnected", `the connection was lost (${code} ${reason})`);
		const final = FINAL.has(code) || (code === EXPIRED && typeof this.#options.token !== "function");
		if (goodbye ? !goodbye.reconnect : final) return this.#end(code, reason, error);

		if (conn.welcomed && this.#clock.now() - conn.welcomed >= SETTLED) this.#tries = 0;
		for (const call of this.#calls.values()) {
			if (call.conn !== conn) continue;
			call.conn = null;
			if (call.once) this.#settle(call, null);
		}
		let delay = null;
		this.#parked = this.#crowded();
		if (!this.#parked) this.#schedule((delay = this.#backoff(goodbye?.after)));
		this.#emit({ type: "disconnected", code, reason, error, reconnect: true, delay });
	}

	// #drop ends what belongs to the connection.
	#drop(conn, code) {
		this.#conn = null;
		this.#clock.clearTimeout(conn.beat);
		this.#clock.clearTimeout(conn.pause);
		for (const m of this.#topics.values()) m.in = false;
		const { socket } = conn;
		if (!socket) return;
		socket.onopen = socket.onmessage = socket.onclose = null;
		socket.onerror = () => {};
		if (socket.readyState < 2) socket.close(conn.opened ? code : undefined); // may take long: nobody waits
	}

	// #backoff has full jitter: who lost the same node must not come back as one wave. The delay is
	// not shorter than what the node asked for.
	#backoff(hint = 0) {
		const { random } = this.#clock;
		const delay = random() * Math.min(BACKOFF_CAP, BACKOFF_BASE * 2 ** this.#tries++);
		if (!(hint > 0)) return delay;
		hint = Math.min(hint, HINT_CAP);
		return Math.max(delay, hint + random() * (hint / 2 + BACKOFF_BASE));
	}

	#end(code, reason, error) {
		if (this.#closed) return;
		this.#closed = error ?? failure("closed", "the client was closed");
		if (this.#conn) this.#drop(this.#conn, code);
		this.#clock.clearTimeout(this.#retry);
		this.#retry = null;
		globalThis.removeEventListener?.("online", this.#wake);
		globalThis.document?.removeEventListener("visibilitychange", this.#wake);
		for (const call of this.#calls.values()) this.#settle(call, this.#closed);
		this.#emit({ type: "disconnected", code, reason, error, reconnect: false, delay: null });
		for (const stream of this.#streams) stream.end(error);
		this.#streams.clear();
	}

	// --- Calls.

	#call(frame, { once = false, own = false } = {}) {
		frame.topic = normal(frame.topic);
		frame.id = ++this.#lastId;
		return new Promise((resolve, reject) => {
			if (this.#closed) return reject(this.#closed);
			const call = {
				frame,
				text: JSON.stringify(frame), // now: the program may change its data later
				once, // only on this connection
				own, // made by ourselves; it is put off without end
				conn: null, // where it waits for a reply
				until: 0, // when it is no longer repeated; 0 while it was not sent
				resolve,
				reject,
			};
			this.#calls.set(frame.id, call);
			if (frame.type === "join") this.#joins.add(call);
			if (this.#parked) this.#unpark();
			this.#transmit(call);
		});
	}

	// #transmit sends a call as soon as that may be.
	#transmit(call) {
		const conn = this.#conn;
		const { frame } = call;
		if (!conn?.opened || conn.pause !== null || call.conn) return;
		// A room that is new to us can be joined behind the hello. All else needs its answer.
		if (!conn.welcomed && (frame.type !== "join" || this.#topics.has(frame.topic))) return;
		if (frame.type !== "join" && frame.type !== "leave") {
			for (const join of this.#joins) if (join.frame.topic === frame.topic) return;
		}
		if (!this.#stillKnown(call)) return;
		let text = call.text;
		const m = frame.type === "join" && this.#topics.get(frame.topic);
		if (m) {
			// Of a topic that we are in nothing comes twice.
			const after = { epoch: m.epoch, offset: m.offset };
			text = JSON.stringify({ ...frame, after, recent: undefined, presence: frame.presence || m.presence || undefined });
		}
		if (bytes(text) > conn.maxFrame) {
			const size = `the frame would have ${bytes(text)} bytes, and the node takes ${conn.maxFrame}`;
			return this.#settle(call, failure("too_large", size, frame.topic));
		}
		call.conn = conn;
		call.until ||= this.#clock.now() + KEY_LIFE;
		this.#send(conn, text);
	}

	#transmitAll() {
		for (const call of this.#calls.values()) this.#transmit(call);
	}

	// #stillKnown gives up a publish whose key the node may have forgotten.
	#stillKnown(call) {
		if (!call.frame.key || !call.until || this.#clock.now() < call.until) return true;
		this.#settle(call, failure("unknown", "whether the message is stored is not known", call.frame.topic));
		return false;
	}

	#settle(call, error, result) {
		this.#calls.delete(call.frame.id);
		const joined = this.#joins.delete(call);
		if (error) call.reject(error);
		else call.resolve(result);
		if (joined && !this.#closed) this.#transmitAll();
	}

	#answer(conn, frame) {
		const call = this.#calls.get(frame.id);
		if (frame.type === "error") return this.#refused(conn, frame, call);
		conn.putOff = 0;
		if (frame.type === "ok" && frame.after !== undefined) this.#joined(conn, frame, call);
		if (!call) return;
		const { type, id, ...result } = frame;
		this.#settle(call, null, result);
	}

	#refused(conn, frame, call) {
		const error = new RookeryError(frame);
		if (!conn.welcomed) {
			conn.refused = error;
		} else if (!call) {
			const removed = frame.id === undefined && frame.code === "forbidden" && this.#topics.has(frame.topic);
			if (removed) this.#left(frame.topic, error);
			else this.#emit({ type: "error", error });
		} else if (frame.retry && (call.own || this.#clock.now() < call.until)) {
			call.conn = null;
			if (conn.pause !== null) return;
			const delay = this.#clock.random() * Math.min(BACKOFF_CAP, BACKOFF_BASE * 2 ** conn.putOff++);
			conn.pause = this.#clock.setTimeout(() => {
				conn.pause = null;
				this.#transmitAll();
			}, delay);
		} else if (call.frame.type === "leave" && frame.code === "not_found") {
			this.#settle(call, null);
		} else {
			if (call.own) this.#left(call.frame.topic, error);
			this.#settle(call, error);
		}
	}

	// --- Frames.

	#receive(conn, text) {
		if (this.#conn !== conn) return;
		conn.heard = this.#clock.now();
		conn.asked = 0;
		conn.inbox.push(() => this.#take(conn, text));
		this.#drain(conn);
	}

	#drain(conn) {
		while (conn.inbox.length > 0 && !conn.held && this.#conn === conn) conn.inbox.shift()();
	}

	#take(conn, text) {
		let frame;
		try {
			frame = parse(text);
		} catch (err) {
			return this.#lost(conn, LOST, "the node sent what is not a frame", err);
		}
		switch (frame.type) {
			case "welcome":
				return this.#welcome(conn, frame);
			case "message":
			case "skip":
				return this.#step(conn, frame);
			case "reset":
				return this.#reset(frame);
			case "presence":
				return this.#presence(frame);
			case "signal":
			case "read":
				return this.#emit(frame);
			case "ok":
			case "history":
			case "members":
			case "error":
				return this.#answer(conn, frame);
			case "goodbye":
				conn.goodbye = frame;
		}
	}

	#welcome(conn, frame) {
		const { session, user, node, topics = {} } = frame;
		const resumed = this.#session !== "";
		conn.welcomed = this.#clock.now();
		conn.maxFrame = frame.max_frame ?? Infinity;
		conn.heartbeat = (frame.heartbeat || 25) * 1000;
		this.#session = session;
		this.#user = user;
		this.#node = node;
		if (frame.max_frame) this.#maxFrame = frame.max_frame;
		this.#beat(conn);
		this.#emit({ type: "connected", session, user, node, resumed, topics });
		for (const [topic, answer] of Object.entries(topics)) {
			if (this.#conn !== conn) return;
			const known = this.#topics.has(topic);
			if (answer.error) {
				if (known && !answer.error.retry) this.#left(topic, new RookeryError(answer.error));
			} else if (known || topic === "*" || topic === `@${user}`) {
				this.#enter(topic, answer);
			} else {
				this.#send(conn, JSON.stringify({ type: "leave", topic })); // left since the hello
			}
		}
		if (this.#conn !== conn) return;
		for (const [topic, m] of this.#topics) {
			// What the hello could not resume, and rosters: a hello brings none.
			if (!m.in || (m.presence && topics[topic]?.members === undefined)) {
				this.#call({ type: "join", topic }, { once: true, own: true }).catch(() => {});
			}
		}
		this.#transmitAll();
	}

	// #joined takes the answer to a join: ours, or one that the server API made.
	#joined(conn, frame, call) {
		const { topic } = frame;
		if (frame.id !== undefined && !call) return; // left since
		this.#enter(topic, frame);
		if (call?.frame.presence) this.#topics.get(topic).presence = true;
		if (frame.id === undefined) this.#emit({ ...frame, type: "joined" });
		if (call && globalThis.setImmediate) {
			// Node brings many frames in one task: who awaits this join has to go on before the
			// messages that follow, so that it can ask for them.
			conn.held = true;
			setImmediate(() => {
				conn.held = false;
				this.#drain(conn);
			});
		}
	}

	// #enter applies the node's answer to a join or a resume, which may be a reset.
	#enter(topic, { epoch, offset, after, recovered, members, ...roster }) {
		let m = this.#topics.get(topic);
		const before = m && { ...m };
		if (!m) this.#topics.set(topic, (m = { epoch, offset: after, presence: false, roster: null }));
		m.in = true;
		if (members) {
			const known = m.roster;
			const { joined, left } = setRoster(m, { members, ...roster });
			const { version, online } = roster;
			if (known && (joined.length || left.length || online !== known.online)) this.#emit({ type: "presence", topic, version, online, joined, left });
		}
		if (!before) return;
		if (epoch === before.epoch && after <= before.offset) return;
		m.epoch = epoch;
		m.offset = after;
		const reason = epoch === before.epoch ? "trimmed" : "epoch";
		this.#emit({ type: "reset", topic, epoch, offset, after, reason, recovered });
	}

	#left(topic, error) {
		this.#topics.delete(topic);
		this.#emit({ type: "left", topic, error });
	}

	// #step moves a cursor over one message.
	#step(conn, frame) {
		const m = this.#topics.get(frame.topic);
		if (!m?.in || frame.offset <= m.offset) return;
		if (frame.offset > m.offset + 1) return this.#lost(conn, LOST, "the node left out a message");
		m.offset = frame.offset;
		frame.epoch = m.epoch;
		this.#emit(frame);
	}

	#reset(frame) {
		const m = this.#topics.get(frame.topic);
		if (!m?.in || (m.epoch === frame.epoch && m.offset === frame.after)) return;
		m.epoch = frame.epoch;
		m.offset = frame.after;
		this.#emit(frame);
	}

	// --- Rosters.

	#presence({ joined = [], left = [], ...frame }) {
		const m = this.#topics.get(frame.topic);
		if (!m?.in) return;
		if (frame.members) {
			({ joined, left } = setRoster(m, frame));
		} else if (m.roster) {
			m.roster.online = frame.online;
			m.roster.sorted = null;
			for (const name of joined) m.roster.names.add(name);
			for (const name of left) m.roster.names.delete(name);
		}
		this.#emit({ ...frame, joined, left });
	}

	// --- Events.

	#emit(event) {
		for (const stream of this.#streams) stream.push(event);
		this.dispatchEvent(new CustomEvent(event.type, { detail: event }));
		// The log keeps for us what an iterator that is read too slowly cannot: we go away until there
		// is room, unless a call waits for a reply, which its reader may wait for.
		if (this.#conn?.welcomed && this.#crowded()) this.#lost(this.#conn, LOST, "the program reads its events too slowly");
	}

	#crowded(most = BACKLOG) {
		if (this.#calls.size > 0) return false;
		for (const stream of this.#streams) if (stream.size >= most) return true;
		return false;
	}

	#unpark() {
		if (!this.#parked || this.#crowded(BACKLOG / 2)) return;
		this.#parked = false;
		this.#schedule(0);
	}

	#stream(wanted) {
		const stream = new Stream(wanted, (over) => {
			if (over) this.#streams.delete(stream);
			this.#unpark();
		});
		if (this.#closed) stream.end(null);
		else this.#streams.add(stream);
		return stream;
	}
}

// A Stream is an async iterator over events, from the moment when it was made.
class Stream {
	#wanted;
	#taken; // called when an event was taken; with true when no more will be
	#events = [];
	#readers = []; // who waits for an event
	#ended = false;
	#error = null;

	constructor(wanted, taken) {
		this.#wanted = wanted;
		this.#taken = taken;
	}

	get size() {
		return this.#events.length;
	}

	push(event) {
		if (!this.#wanted(event)) return;
		if (this.#readers.length > 0) this.#readers.shift().resolve({ value: event, done: false });
		else this.#events.push(event);
	}

	end(error) {
		this.#ended = true;
		this.#error = error;
		for (const reader of this.#readers.splice(0)) this.#last(reader);
	}

	#last({ resolve, reject }) {
		if (this.#error) reject(this.#error);
		else resolve({ value: undefined, done: true });
		this.#error = null;
	}

	next() {
		return new Promise((resolve, reject) => {
			if (this.#events.length > 0) {
				resolve({ value: this.#events.shift(), done: false });
				this.#taken(false);
			} else if (this.#ended) {
				this.#last({ resolve, reject });
			} else {
				this.#readers.push({ resolve, reject });
			}
		});
	}

	async return(value) {
		this.#events = [];
		this.end(null);
		this.#taken(true);
		return { value, done: true };
	}

	[Symbol.asyncIterator]() {
		return this;
	}
}

// address makes a ws or wss URL of url, which may be relative to the page.
function address(url) {
	const u = new URL(url, globalThis.location?.href);
	u.protocol = u.protocol.replace(/^http/, "ws");
	u.hash = "";
	if (!/^wss?:$/.test(u.protocol)) throw new TypeError(`the address ${url} should look like wss://host/ws`);
	return u.href;
}

function normal(topic) {
	if (typeof topic !== "string") throw new TypeError("a topic is a string");
	return topic.normalize("NFC");
}

const NEEDED = { message: ["topic", "offset"], skip: ["topic", "offset"], reset: ["topic", "epoch", "offset", "after"] };

// parse reads a frame. It throws at what a node cannot have meant.
function parse(text) {
	const frame = JSON.parse(text);
	if (typeof frame !== "object" || frame === null || Array.isArray(frame)) throw new TypeError("not an object");
	if (!TYPES.has(frame.type)) return {}; // a newer node may send what this client does not know
	for (const name of ["id", "offset", "after", "version", "online", "time"]) {
		if (name in frame && !(Number.isSafeInteger(frame[name]) && frame[name] >= 0)) throw new TypeError(`${name} is not a number`);
	}
	for (const name of NEEDED[frame.type] ?? []) {
		if (!(name in frame)) throw new TypeError(`${frame.type} without ${name}`); // a cursor must not come to stand nowhere
	}
	if (!Object.values(frame.reads ?? {}).every(Number.isSafeInteger)) throw new TypeError("reads are not numbers");
	for (const name of ["members", "joined", "left"]) {
		if (name in frame && !frame[name]?.every?.((x) => typeof x === "string")) throw new TypeError(`${name} are not names`);
	}
	return frame;
}

// setRoster gives a topic its roster anew, and tells how it differs from the one before: by names where
// both are whole, for who is not in a part may well be there.
function setRoster(m, { online, members, more = false }) {
	const before = m.roster;
	const names = new Set(members);
	m.roster = { online, names, more, sorted: null };
	if (!before || before.more || more) return { joined: [], left: [] };
	return { joined: members.filter((name) => !before.names.has(name)), left: [...before.names].filter((name) => !names.has(name)) };
}

const bytes = (text) => new TextEncoder().encode(text).length;
