// conversation.js: what one entry of the list holds: a room, a person ("@bob"), or everyone
// ("*"). Its items are messages in the order of the log, with notes of ours between them.

import { contentOf, kindOf, refOf, targetOf } from "./data.js";

const KEPT = 10_000; // items in memory; older ones are in the log
const CHANGED = 20_000; // messages whose changes are remembered, also of such that are not loaded
const EMOJI = 20; // kinds of reactions shown on one message

export class Conversation {
	items = []; // each {life, offset, step, message | note, version}
	base = 0; // the index of items[0]: the index of an item stays, whatever comes before it
	head = 0; // the newest offset
	past = 0; // what is no news: the head when the user came
	read = 0; // how far the user has read
	first = 0; // the smallest offset that was loaded
	more = false; // the log has older ones
	#life = 0; // of the log: offsets of different epochs have nothing to do with each other
	#step = 0;
	#byRef = new Map(); // ref -> item, of this life
	#changes = new Map(); // ref -> {edits: from -> …, deletes: from, reactions: emoji -> from -> …}

	constructor(name) {
		this.name = name;
		this.direct = name.startsWith("@");
		this.person = this.direct ? name.slice(1) : null;
	}

	get life() {
		return this.#life;
	}
	get end() {
		return this.base + this.items.length;
	}
	at(index) {
		return this.items[index - this.base];
	}
	get newest() {
		return this.items.findLast((item) => item.message);
	}

	// take adds a message, in any order and any number of times. It returns the item that is
	// new or changed, if that is loaded.
	take(message) {
		this.head = Math.max(this.head, message.offset);
		const kind = kindOf(message.data, this.direct);
		if (kind && kind !== "reply") return this.#change(kind, message);
		const item = { life: this.#life, offset: message.offset, step: 0, message, version: 0 };
		if (!this.#insert(item)) return null;
		const ref = refOf(message, this.direct);
		if (ref && !this.#byRef.has(ref)) this.#byRef.set(ref, item);
		return item;
	}

	// note adds a line of our own at the end.
	note(text, { who = "", kind = "" } = {}) {
		const last = this.items.at(-1);
		const offset = Math.max(this.head, last?.life === this.#life ? last.offset : 0);
		this.#insert({ life: this.#life, offset, step: ++this.#step, note: { text, who, kind }, version: 0 });
	}

	#insert(item) {
		const { items } = this;
		// What comes from the log goes before all there is, what comes live behind it, or nearly so.
		let i = items.length > 0 && order(items[0], item) > 0 ? 0 : items.length;
		while (i > 0 && order(items[i - 1], item) > 0) i--;
		if (i > 0 && order(items[i - 1], item) === 0) return false;
		items.splice(i, 0, item);
		if (i === 0 && items.length > 1) this.base--;
		return true;
	}

	// trim forgets the oldest items beyond what is kept.
	trim() {
		if (this.items.length <= KEPT) return;
		const gone = this.items.splice(0, this.items.length - KEPT + KEPT / 10);
		this.base += gone.length;
		for (const { message } of gone) if (message) this.#byRef.delete(refOf(message, this.direct));
		const oldest = this.items.find((item) => item.message);
		if (!oldest || this.direct) return; // the inbox knows what is loaded of it
		this.first = oldest.offset;
		this.more = true;
	}

	// restart begins a new life of the log: what is loaded stays, and nothing can refer to it.
	restart(after) {
		this.#life++;
		this.#byRef.clear();
		this.#changes.clear();
		this.head = after;
		this.past = this.read = 0;
		this.first = after + 1;
		this.more = false;
	}

	// --- Changes: kept by who made them and asked for by who wrote the message, so that neither
	// the order of arrival nor a forger matters.

	#change(kind, message) {
		const { from = "", offset, data } = message;
		const ref = targetOf(message, this.direct);
		let c = this.#changes.get(ref);
		if (!c) {
			this.#changes.set(ref, (c = { edits: new Map(), deletes: new Set(), reactions: new Map() }));
			if (this.#changes.size > CHANGED) this.#changes.delete(this.#changes.keys().next().value);
		}
		if (kind === "delete") c.deletes.add(from);
		if (kind === "edit" && !(c.edits.get(from)?.offset > offset)) c.edits.set(from, { offset, text: data.text });
		if (kind === "reaction") {
			if (!c.reactions.has(data.emoji)) c.reactions.set(data.emoji, new Map());
			const by = c.reactions.get(data.emoji);
			if (!(by.get(from)?.offset > offset)) by.set(from, { offset, on: data.on !== false });
		}
		const item = this.#byRef.get(ref);
		if (item) item.version++;
		return item ?? null;
	}

	// look tells what a message says now.
	look({ message, life }) {
		const { from = "", data } = message;
		const c = life === this.#life ? this.#changes.get(refOf(message, this.direct)) : undefined;
		const said = contentOf(data);
		if (c?.deletes.has(from)) return { text: "", deleted: true, reactions: [] };
		const edit = c?.edits.get(from);
		const reactions = [];
		for (const [emoji, by] of c?.reactions ?? []) {
			const names = [...by].filter(([, r]) => r.on).map(([name]) => name);
			if (names.length > 0 && reactions.length < EMOJI) reactions.push({ emoji, names });
		}
		return { ...said, ...(edit && { text: edit.text, raw: false, edited: true }), reactions };
	}

	// repliedTo tells which message one answers: {item} when that is loaded; null when none.
	repliedTo({ message, life }) {
		if (kindOf(message.data, this.direct) !== "reply") return null;
		return { item: life === this.#life ? this.#byRef.get(targetOf(message, this.direct)) : undefined };
	}

	// refer returns what a kind's data needs to refer to an item; null when nothing can.
	refer(item) {
		if (item.life !== this.#life) return null;
		const { from = "", offset, data } = item.message;
		const ref = refOf(item.message, this.direct);
		if (!ref || this.#byRef.get(ref) !== item) return null;
		return this.direct ? { of: data.id, by: from } : { of: offset };
	}
}

const order = (a, b) => a.life - b.life || a.offset - b.offset || a.step - b.step;
