// reading.js: tells the node how far the user has read.

const EVERY = 500; // ms

export class Reading {
	#chat;
	#due = new Map(); // conversation -> up to where

	constructor(chat) {
		this.#chat = chat;
	}

	// seen tells, some time soon, that what there is of a conversation has been read.
	seen(c) {
		if (this.#chat.unread(c) === 0) return;
		if (!this.#due.has(c)) setTimeout(() => this.#tell(c), EVERY);
		this.#due.set(c, c.head);
	}

	#tell(c) {
		const { inbox, client } = this.#chat;
		const upTo = this.#due.get(c);
		this.#due.delete(c);
		const { read, mark } = c.direct ? seen(inbox, c, upTo) : { read: upTo, mark: null };
		const topic = c.direct ? inbox.topic : c.name;
		if (!c.direct) c.read = Math.max(c.read, upTo);
		const ignore = () => {}; // then it is unread once more, at the next visit
		if (read) client.read(topic, read).catch(ignore);
		if (mark) client.publish(topic, mark).catch(ignore);
		this.#chat.changed(c);
	}
}

// seen marks a person of the inbox as read up to an offset. It returns what to tell the node: how far the
// inbox is read now, and the mark to write; 0 and null where there is no need.
export function seen(inbox, conversation, offset) {
	const { person } = conversation;
	inbox.marks.set(person, Math.max(offset, inbox.marks.get(person) ?? 0));
	let upTo = inbox.head;
	for (const other of inbox.people.values()) {
		const oldest = inbox.unread(other).at(-1);
		if (oldest) upTo = Math.min(upTo, oldest - 1);
	}
	const mark = upTo < offset ? { kind: "mark", with: person, offset } : null;
	const read = upTo > inbox.read ? upTo : 0;
	inbox.read = Math.max(inbox.read, upTo);
	return { read, mark };
}
