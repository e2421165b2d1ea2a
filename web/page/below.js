// below.js: what stands under the log: who is typing, and who has read the newest message.

import { $, soon } from "./dom.js";

const TYPING = 6000; // a signal of typing holds so long, in ms …
const AGAIN = 3000; // … and is repeated after this
const LONG = 20; // characters of a name
const CROWD = 100; // people of a room of whom we ask how far they have read …
const ASK_AGAIN = 1000; // … when somebody came, so much later at least, in ms

export class Below {
	#chat;
	#current = null; // the conversation that is shown
	#of = new WeakMap(); // conversation -> what is known of its people
	#typed = { name: "", at: 0 }; // our own newest signal

	constructor(chat) {
		this.#chat = chat;
		const on = (type, f) => chat.client.addEventListener(type, (e) => f(e.detail));
		on("message", ({ topic, from = "", to }) => this.#stopped(this.#find(topic, to ?? from), from));
		on("signal", (e) => this.#signal(e));
		on("read", ({ topic, from, offset }) => topic !== chat.inbox.topic && this.#hasRead(chat.find(topic), { [from]: offset }));
		on("presence", (e) => this.#presence(e));
		for (const c of chat.rooms.values()) this.ask(c);
	}

	// show is for a conversation.
	show(current) {
		this.#current = current;
		this.#draw();
	}

	// typing tells the others that the user writes.
	typing(c) {
		const now = Date.now();
		if (c.name === "*" || (this.#typed.name === c.name && now - this.#typed.at < AGAIN)) return;
		if (this.#chat.client.signal(c.name, { typing: true })) this.#typed = { name: c.name, at: now };
	}

	// said lets the next letter be told at once.
	said() {
		this.#typed.at = 0;
	}

	// ask asks how far those who are in a room have read. Events tell what they read later.
	async ask(c) {
		const { client, rooms } = this.#chat;
		this.#people(c).asking = false;
		if (rooms.get(c.name) !== c || client.roster(c.name)?.online > CROWD) return;
		const { life } = c;
		const { reads = {} } = await client.members(c.name, { reads: true }).catch(() => ({}));
		if (c.life === life) this.#hasRead(c, reads);
	}

	#people(c) {
		let known = this.#of.get(c);
		if (known?.life !== c.life) this.#of.set(c, (known = { life: c.life, readers: new Map(), typing: known?.typing ?? new Map(), asking: false }));
		return known;
	}

	#find(topic, person) {
		const { inbox } = this.#chat;
		return topic === inbox.topic ? inbox.people.get(person) : this.#chat.find(topic);
	}

	#signal({ topic, from, data }) {
		const c = this.#find(topic, from);
		if (!c || !from || from === this.#chat.user || typeof data?.typing !== "boolean") return;
		if (!data.typing) return this.#stopped(c, from);
		this.#people(c).typing.set(from, Date.now() + TYPING);
		setTimeout(this.#draw, TYPING);
		soon(this.#draw);
	}

	#stopped(c, from) {
		if (c && this.#people(c).typing.delete(from)) soon(this.#draw);
	}

	#hasRead(c, reads) {
		if (!c) return;
		const { readers } = this.#people(c);
		for (const [user, offset] of Object.entries(reads)) readers.set(user, Math.max(offset, readers.get(user) ?? 0));
		soon(this.#draw);
	}

	#presence({ topic, joined, left }) {
		const c = this.#chat.rooms.get(topic);
		if (!c) return;
		for (const name of left) this.#stopped(c, name);
		const people = this.#people(c);
		if (joined.length === 0 || people.asking) return;
		people.asking = true;
		setTimeout(() => this.ask(c), ASK_AGAIN * (1 + Math.random()));
	}

	// #draw is an arrow, for soon.
	#draw = () => {
		const c = this.#current;
		if (!c) return;
		const { typing, readers } = this.#people(c);
		const now = Date.now();
		const writers = [...typing].filter(([, until]) => until > now).map(([name]) => name);
		put("typing", writers.length > 0 ? `${names(writers)} ${writers.length === 1 ? "is" : "are"} typing…` : "");
		const last = c.newest;
		const others = last && !c.direct && last.life === c.life ? [...readers] : [];
		const seen = others.filter(([name, at]) => at >= last.offset && name !== this.#chat.user && name !== last.message.from);
		put("seen", seen.length > 0 ? `Seen by ${names(seen.map(([name]) => name))}` : "");
	};
}

const short = (name) => ([...name].length > LONG ? `${[...name].slice(0, LONG).join("")}…` : name);
const names = (all) => all.slice(0, 3).map(short).join(", ") + (all.length > 3 ? ` and ${all.length - 3} more` : "");
const put = (id, text) => $(id).textContent !== text && ($(id).textContent = text);
