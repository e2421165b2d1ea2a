// inbox.js: the own inbox, which holds all direct messages, parted by person.
//
// How far the user has read is one offset for the whole inbox. Who reads bob while carol waits
// cannot move it: then the page writes a mark into the inbox, a message to oneself, which says up
// to where bob is read. All of the user's devices have the same marks. The list of the user's
// rooms stands here in the same way.

import { Conversation } from "./conversation.js";
import { kindOf, markOf, roomsOf } from "./data.js";

export class Inbox {
	people = new Map(); // person -> Conversation
	head = 0;
	read = 0;
	first = 0; // the smallest offset that was loaded
	more = false; // the log has older ones
	life = 0; // of the log
	lists = []; // what was said of the user's rooms, until rooms.js takes it: {offset, …}
	listed = 0; // the whole list of them that was loaded holds what was said up to here
	marks = new Map(); // person -> offset

	constructor(me) {
		this.me = me;
	}

	get topic() {
		return `@${this.me}`;
	}

	person(name) {
		if (!this.people.has(name)) this.people.set(name, new Conversation(`@${name}`));
		return this.people.get(name);
	}

	// take adds a message of the inbox; it returns what take of the conversation does, and that.
	take(message) {
		const { from = "", to, offset, data } = message;
		this.head = Math.max(this.head, offset);
		const own = from === this.me && !to ? data : null; // to oneself: what this page keeps here
		const mark = markOf(own);
		const rooms = roomsOf(own, offset);
		if (mark) this.marks.set(mark.with, Math.max(mark.offset, this.marks.get(mark.with) ?? 0));
		if (rooms) this.lists.push({ offset, ...rooms });
		if (rooms?.rooms) this.listed = Math.max(this.listed, rooms.upto);
		if (mark || rooms) return { conversation: null, item: null };
		const conversation = this.person(to ?? from);
		return { conversation, item: conversation.take(message) };
	}

	readUpTo({ person }) {
		return Math.max(this.read, this.marks.get(person) ?? 0);
	}

	// unread lists what a person wrote that was not read, newest first.
	unread(conversation) {
		const from = this.readUpTo(conversation);
		const found = [];
		for (let i = conversation.items.length - 1; i >= 0; i--) {
			const { message, offset, life } = conversation.items[i];
			if (offset <= from || life !== conversation.life) break;
			if (message && (message.from ?? "") === conversation.person && conversation.person !== this.me) found.push(offset);
		}
		return found;
	}

	// restart begins a new life of the log.
	restart(after) {
		this.head = after;
		this.read = 0;
		this.first = after + 1;
		this.more = false;
		this.life++;
		this.lists = [];
		this.listed = 0;
		this.marks.clear();
		for (const c of this.people.values()) c.restart(after);
	}

	// shown are the people to list: those with whom something was said, the latest first.
	get shown() {
		const said = [...this.people.values()].filter((c) => c.items.length > 0);
		return said.sort((a, b) => b.newest?.offset - a.newest?.offset);
	}
}

// isNews tells whether a message is one to be told of, not a change to another one.
export function isNews(message, direct) {
	return ["", "reply"].includes(kindOf(message.data, direct));
}
