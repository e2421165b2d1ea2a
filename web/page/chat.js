// chat.js: one user's conversations, over rookery.js. It knows nothing of the page, and tells
// it what happened by calling tell(what, detail):
//
//   message {conversation, item}   something was said
//   change {conversation}          anything about one is different now
//   people                         who is online
//   connected {missed} · lost · missing {conversation, missing}   the connection
//   removed {conversation, error}  we are not in a room any more
//   over {code, error}             there is no coming back

import { connect } from "../rookery.js";
import { Conversation } from "./conversation.js";
import { Inbox, isNews } from "./inbox.js";

const RECENT = 50; // messages shown on entering
const PAGE = 100; // messages loaded by scrolling up
const INBOX_PAGE = 256;
const INBOX_PAGES = 40; // read at most, to find all that is unread
const FAR = 500; // messages after which the list of rooms is written anew: logs are not endless
const FEW = 20; // messages of one person that are worth a page
const TYPING = 6000; // a signal of typing holds so long, in ms …
const TYPING_AGAIN = 3000; // … and is repeated after this
const SEEN = 500; // how often we say how far we have read, in ms
const CROWD = 100; // people of a room of whom we ask how far they have read …
const ASK_AGAIN = 1000; // … when somebody came, so much later at least, in ms

export class Chat {
	rooms = new Map(); // name -> Conversation
	everyone = new Conversation("*");
	#tell;
	#seeing = new Map(); // conversation -> {upTo, timer}
	#typed = { name: "", at: 0 };
	#loading = new Map(); // conversation or inbox -> promise
	#guessed = new Set(); // rooms that this browser remembers, until the inbox tells which they are
	#listed = false; // it has told
	#keeping = false; // the list in the inbox is being written …
	#changed = false; // … and is another one meanwhile

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
		on("signal", (e) => this.#signal(e));
		on("presence", (e) => this.#presence(e));
		on("joined", ({ topic }) => this.enter(topic)); // by the server API
		on("left", ({ topic, error }) => this.#removed(topic, error));
		client.join("*", { presence: true }).then(() => tell("people"), () => {});
	}

	close() {
		this.#tell = () => {};
		for (const { timer } of this.#seeing.values()) clearTimeout(timer);
		this.client.close();
	}

	// find returns the conversation of a name, making that of a person.
	find(name) {
		if (name === "*") return this.everyone;
		return name.startsWith("@") ? this.inbox.person(name.slice(1)) : this.rooms.get(name);
	}

	get all() {
		return [...this.rooms.values(), this.everyone, ...this.inbox.people.values()];
	}

	enter(name, guessed = false) {
		let c = this.find(name);
		if (!guessed) this.#guessed.delete(name);
		if (c) return c;
		if (guessed) this.#guessed.add(name);
		this.rooms.set(name, (c = new Conversation(name)));
		this.client.join(name, { recent: RECENT, presence: true }).then(
			({ offset, after, read }) => {
				if (this.rooms.get(name) !== c) return;
				this.#at(c, { offset, after, read });
				c.past = offset;
				this.#askReads(c);
				this.#tell("entered", { conversation: c });
				this.#tell("people");
			},
			(error) => this.rooms.get(name) === c && this.#removed(name, error),
		);
		this.#keepRooms();
		return c;
	}

	leave(c) {
		this.rooms.delete(c.name);
		this.#keepRooms();
		return this.client.leave(c.name);
	}

	// --- Which rooms there are: one list for all of the user's devices, in the inbox.

	// #followRooms goes where the list says.
	#followRooms(rooms = this.inbox.rooms?.names) {
		if (!rooms || !this.#listed || this.#keeping) return;
		for (const name of rooms) this.enter(name);
		for (const c of [...this.rooms.values()].filter((c) => !rooms.includes(c.name))) {
			this.leave(c).catch(() => {});
			this.#tell("gone", { conversation: c });
		}
	}

	async #keepRooms() {
		this.#changed = true;
		if (this.#keeping || !this.#listed) return;
		this.#keeping = true;
		const { inbox } = this;
		try {
			while (this.#changed) {
				await null; // what is entered at once is one change
				this.#changed = false;
				const rooms = [...this.rooms.keys()].sort();
				if (inbox.rooms?.names.join(" ") === rooms.join(" ") && inbox.head - inbox.rooms.offset < FAR) continue;
				const { offset } = await this.client.publish(inbox.topic, { kind: "rooms", rooms });
				inbox.list(rooms, offset);
			}
			this.#keeping = false;
			this.#followRooms(); // another device may have had the last word
		} catch {
			this.#keeping = false; // then this browser alone knows
		}
	}

	// --- Saying something.

	say(c, data) {
		this.#typed.at = 0;
		const refers = data.kind && data.kind !== "reply";
		return this.client.publish(c.name, c.direct && !refers ? { ...data, id: randomId() } : data);
	}

	typing(c) {
		const now = Date.now();
		if (c.name === "*" || (this.#typed.name === c.name && now - this.#typed.at < TYPING_AGAIN)) return;
		if (this.client.signal(c.name, { typing: true })) this.#typed = { name: c.name, at: now };
	}

	// seen tells, some time soon, that what there is of a conversation has been read.
	seen(c) {
		if (this.unread(c) === 0) return;
		const known = this.#seeing.get(c);
		if (known) known.upTo = c.head;
		else this.#seeing.set(c, { upTo: c.head, timer: setTimeout(() => this.#tellSeen(c), SEEN) });
	}

	#tellSeen(c) {
		const { upTo } = this.#seeing.get(c);
		this.#seeing.delete(c);
		const { read, mark } = c.direct ? this.inbox.seen(c, upTo) : { read: upTo, mark: null };
		const topic = c.direct ? this.inbox.topic : c.name;
		if (!c.direct) c.read = Math.max(c.read, upTo);
		const ignore = () => {}; // then it is unread once more, at the next visit
		if (read) this.client.read(topic, read).catch(ignore);
		if (mark) this.client.publish(topic, mark).catch(ignore);
		this.#tell("change", { conversation: c });
	}

	// #askReads asks how far those who are there have read. Read events tell what they read later.
	async #askReads(c) {
		c.asking = false;
		if (this.rooms.get(c.name) !== c || this.client.roster(c.name)?.online > CROWD) return;
		const { life } = c;
		const { reads = {} } = await this.client.members(c.name, { reads: true }).catch(() => ({}));
		if (c.life !== life) return;
		for (const [user, offset] of Object.entries(reads)) c.readers.set(user, Math.max(offset, c.readers.get(user) ?? 0));
		this.#tell("change", { conversation: c });
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
		if (!resumed) this.#loadInbox();
		this.#tell("connected", { resumed, missed, renamed, whole: Object.values(topics).every((a) => a.error || a.recovered) });
	}

	// #at takes the answer to a first join.
	#at(log, { offset, after, read }) {
		log.head = Math.max(log.head, offset);
		log.read = Math.max(log.read, read);
		log.first = after + 1;
		log.more = after > 0;
	}

	async #loadInbox() {
		const { inbox } = this;
		try {
			for (let pages = 0; inbox.more && pages < INBOX_PAGES; pages++) {
				await this.#page(inbox, inbox.topic, INBOX_PAGE);
				this.#tell("change", { conversation: null });
				if (inbox.first <= inbox.read + 1 && inbox.rooms) break;
			}
			this.#listed = true;
			const rooms = inbox.rooms?.names;
			if (rooms) this.#followRooms([...rooms, ...[...this.rooms.keys()].filter((name) => !this.#guessed.has(name))]);
			this.#keepRooms();
		} catch {
			// Scrolling up tries again.
		}
	}

	#message(message) {
		const { topic, from = "" } = message;
		let c = topic === this.inbox.topic ? null : this.find(topic);
		let item;
		if (c) item = c.take(message);
		else if (topic === this.inbox.topic) ({ conversation: c, item } = this.inbox.take(message));
		if (!c) return this.#followRooms();
		c.typing.delete(from);
		if (from === this.user && !c.direct && c.read === message.offset - 1) this.seen(c); // who wrote it has read it
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
		const many = missing > 0 ? `${missing} messages are` : "Messages are";
		const text = `${many} missing here: the server does not have them any more.`;
		for (const c of own ? this.inbox.people.values() : [log]) if (c.items.length > 0) c.note(text, { kind: "missing" });
		log.head = Math.max(log.head, e.offset); // after the notes, which stand before what comes now
		if (own) this.#keepRooms();
		this.#tell("missing", { conversation: own ? null : log, missing });
	}

	#read({ topic, from, offset }) {
		const log = topic === this.inbox.topic ? this.inbox : this.find(topic);
		if (!log) return;
		if (from === this.user) log.read = Math.max(log.read, offset);
		else log.readers?.set(from, Math.max(offset, log.readers.get(from) ?? 0));
		this.#tell("change", { conversation: own(log) });
	}

	#signal({ topic, from, data }) {
		const c = topic === this.inbox.topic ? this.inbox.people.get(from) : this.find(topic);
		if (!c || !from || from === this.user || typeof data?.typing !== "boolean") return;
		if (data.typing) c.typing.set(from, Date.now() + TYPING);
		else c.typing.delete(from);
		setTimeout(() => this.#tell("change", { conversation: c }), TYPING);
		this.#tell("change", { conversation: c });
	}

	#presence({ topic, joined, left }) {
		const c = this.rooms.get(topic);
		if (c) {
			announce(c, joined.filter((name) => name !== this.user), "joined");
			announce(c, left.filter((name) => name !== this.user), "left");
			for (const name of left) c.typing.delete(name);
			if (joined.length > 0 && !c.asking) {
				c.asking = true;
				setTimeout(() => this.#askReads(c), ASK_AGAIN * (1 + Math.random()));
			}
			this.#tell("change", { conversation: c });
		}
		this.#tell("people");
	}

	#removed(topic, error) {
		const c = this.rooms.get(topic);
		if (!c) return;
		this.rooms.delete(topic);
		this.#keepRooms();
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
