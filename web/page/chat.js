// chat.js: one user's conversations, over rookery.js. It knows nothing of the page, and tells
// it what happened by calling tell(what, detail):
//
//   message {conversation, item}   something was said
//   change {conversation}          anything about one is different now
//   people                         who is online
//   connected {resumed, missed, whole, renamed} · lost {code} · missing text   the connection
//   entered · gone · removed {conversation, error}   a room; left elsewhere; not in it any more
//   over {code, error}             there is no coming back

import { connect } from "../rookery.js";
import { Conversation } from "./conversation.js";
import { Inbox, isNews } from "./inbox.js";

const RECENT = 50; // messages shown on entering
const PAGE = 100; // messages loaded by scrolling up
const INBOX_PAGE = 256;
const INBOX_PAGES = 40; // read at most, to find all that is unread
const FEW = 20; // messages of one person that are worth a page

export class Chat {
	rooms = new Map(); // name -> Conversation
	everyone = new Conversation("*");
	#tell;
	#loading = new Map(); // conversation or inbox -> promise
	reading = null; // of reading.js, when that is here
	guessed = new Set(); // rooms that this browser remembers, until the inbox tells which they are
	#list = null; // the user's list of rooms, once the inbox is loaded
	#settled = false;
	#closed = false;

	constructor(user, token, tell) {
		this.user = user;
		this.inbox = new Inbox(user);
		this.#tell = tell;
		const client = (this.client = connect("/ws", token ? { token } : { user }));
		const on = (type, f) => client.addEventListener(type, (e) => f(e.detail));
		on("connected", (e) => this.#connected(e));
		on("disconnected", ({ reconnect, code, error }) => tell(reconnect ? "lost" : "over", { code, error }));
		on("message", (m) => this.#message(m));
		on("skip", ({ topic, offset }) => this.#moved(topic, offset));
		on("reset", (e) => this.#reset(e));
		on("read", (e) => this.#read(e));
		on("presence", (e) => this.#presence(e));
		on("joined", ({ topic }) => this.enter(topic)); // by the server API
		on("left", ({ topic, error }) => this.#removed(topic, error));
		client.join("*", { presence: true }).then(() => tell("people"), () => {});
	}

	close() {
		this.#closed = true;
		this.#tell = () => {};
		this.client.close();
	}

	// find returns the conversation of a name, making that of a person.
	find(name) {
		if (name === "*") return this.everyone;
		return name.startsWith("@") ? this.inbox.person(name.slice(1)) : this.rooms.get(name);
	}

	enter(name, guessed = false) {
		let c = this.find(name);
		if (!guessed) this.guessed.delete(name);
		if (c) return c;
		if (guessed) this.guessed.add(name);
		this.rooms.set(name, (c = new Conversation(name)));
		this.client.join(name, { recent: RECENT, presence: true }).then(
			({ offset, after, read }) => {
				if (this.rooms.get(name) !== c) return;
				this.#at(c, { offset, after, read });
				c.past = offset;
				this.#tell("entered", { conversation: c });
				this.#tell("people");
			},
			(error) => this.rooms.get(name) === c && this.#removed(name, error),
		);
		this.#list?.went(name, true);
		return c;
	}

	leave(c) {
		this.rooms.delete(c.name);
		this.#list?.went(c.name, false);
		return this.client.leave(c.name);
	}

	// go leaves a room that was left on another device.
	go(c) {
		this.leave(c).catch(() => {});
		this.#tell("gone", { conversation: c });
	}

	changed(conversation) {
		this.#tell("change", { conversation });
	}

	// --- Saying something.

	say(c, data) {
		const refers = data.kind && data.kind !== "reply";
		return this.client.publish(c.name, c.direct && !refers ? { ...data, id: randomId() } : data);
	}

	unread(c) {
		return c.direct ? this.inbox.unread(c).length : Math.max(0, c.head - c.read);
	}

	readUpTo(c) {
		return c.direct ? this.inbox.readUpTo(c) : c.read;
	}

	// --- Older messages.

	hasOlder(c) {
		return c.direct ? this.inbox.more : c.more;
	}

	older(c) {
		const log = c.direct ? this.inbox : c;
		if (!this.#loading.has(log)) {
			const done = () => this.#loading.delete(log);
			this.#loading.set(log, (c.direct ? this.#olderOf(c) : this.#page(c, c.name, PAGE)).finally(done));
		}
		return this.#loading.get(log);
	}

	async #olderOf(c) {
		const before = c.items.length;
		while (this.inbox.more && c.items.length < before + FEW) await this.#page(this.inbox, this.inbox.topic, INBOX_PAGE);
	}

	async #page(log, topic, limit) {
		const { first } = log;
		const { messages, more } = await this.client.history(topic, { before: first, limit });
		if (log.first !== first) return; // a new life of the log
		// The newest first: each goes before what there is.
		for (const m of messages.reverse()) log.take(m);
		log.first = messages.at(-1)?.offset ?? Math.max(1, first - limit);
		log.more = Boolean(more) && log.first > 1;
	}

	// --- What the client tells.

	#connected({ resumed, topics, user }) {
		const renamed = user !== this.user; // beside tokens, chosen names get a mark
		this.user = this.inbox.me = user;
		let missed = 0;
		for (const [topic, answer] of Object.entries(topics)) {
			const log = topic === this.inbox.topic ? this.inbox : this.find(topic);
			if (answer.error || !log) continue;
			if (resumed) log.read = Math.max(log.read, answer.read);
			else this.#at(log, answer);
			if (resumed && answer.recovered) missed += Math.max(0, answer.offset - answer.after);
		}
		this.#tell("connected", { resumed, missed, renamed, whole: Object.values(topics).every((a) => a.error || a.recovered) });
	}

	// #at takes the answer to a first join.
	#at(log, { offset, after, read }) {
		log.head = Math.max(log.head, offset);
		log.read = Math.max(log.read, read);
		log.first = after + 1;
		log.more = after > 0;
	}

	// settle loads what the first messages did not need: the inbox, and which rooms the user is in.
	async settle() {
		if (this.#settled) return;
		this.#settled = true;
		const { inbox } = this;
		try {
			for (let pages = 0; inbox.more && pages < INBOX_PAGES; pages++) {
				await this.#page(inbox, inbox.topic, INBOX_PAGE);
				this.changed(null);
				if (inbox.first <= Math.min(inbox.read, inbox.listed) + 1) break;
			}
			const [{ Rooms }, { Reading }] = await Promise.all([import("./rooms.js"), import("./reading.js")]);
			if (this.#closed) return;
			this.reading = new Reading(this);
			this.#list = new Rooms(this);
			this.changed(null);
		} catch {
			this.#settled = false; // the next time
		}
	}

	#message(message) {
		const { topic, from = "" } = message;
		let c = topic === this.inbox.topic ? null : this.find(topic);
		let item;
		if (c) item = c.take(message);
		else if (topic === this.inbox.topic) ({ conversation: c, item } = this.inbox.take(message));
		if (!c) return this.#list?.follow();
		if (from === this.user && !c.direct && c.read === message.offset - 1) this.reading?.seen(c); // who wrote it has read it
		const news = item && item.message === message && message.offset > c.past && isNews(message, c.direct);
		this.#tell(news ? "message" : "change", { conversation: c, item });
	}

	#moved(topic, offset) {
		const log = topic === this.inbox.topic ? this.inbox : this.find(topic);
		if (log) log.head = Math.max(log.head, offset);
	}

	#reset(e) {
		const own = e.topic === this.inbox.topic;
		const log = own ? this.inbox : this.find(e.topic);
		if (!log || e.recovered) return;
		const missing = e.reason === "trimmed" ? e.after - log.head : 0; // 0: nobody knows
		if (e.reason === "epoch") log.restart(e.after);
		const text = (where) => `${missing > 0 ? missing : "Some"} messages are missing ${where}: the server does not have them any more.`;
		for (const c of own ? this.inbox.people.values() : [log]) if (c.items.length > 0) c.note(text("here"), { kind: "missing" });
		log.head = Math.max(log.head, e.offset); // after the notes, which stand before what comes now
		if (own && e.reason === "epoch") this.#list?.restart();
		this.#tell("missing", text(own ? "among your direct messages" : `in ${log.name}`));
	}

	#read({ topic, from, offset }) {
		const log = topic === this.inbox.topic ? this.inbox : this.find(topic);
		if (!log) return;
		if (from === this.user) log.read = Math.max(log.read, offset);
		this.changed(own(log));
	}

	#presence({ topic, joined, left }) {
		const c = this.rooms.get(topic);
		if (c) {
			announce(c, joined.filter((name) => name !== this.user), "joined");
			announce(c, left.filter((name) => name !== this.user), "left");
			this.changed(c);
		}
		this.#tell("people");
	}

	#removed(topic, error) {
		const c = this.rooms.get(topic);
		if (!c) return;
		this.rooms.delete(topic);
		this.#list?.went(topic, false);
		this.#tell("removed", { conversation: c, error });
	}
}

const own = (log) => (log instanceof Conversation ? log : null);

function announce(c, names, what) {
	if (names.length > 3) c.note(`${names.length} people ${what}`);
	else for (const who of names) c.note(what, { who });
}

function randomId() {
	return Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, "0")).join("");
}
