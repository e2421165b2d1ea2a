// rooms.js: which rooms a user is in: one list, for all devices.
//
// It stands in the user's inbox, in messages to oneself. Most say what changed: {add, drop}. Now and then one says
// what came of all that up to an offset, {rooms, upto}, because logs are not endless. So two devices that
// change the list at once both have their way.

const FAR = 500; // messages after which the whole list is written anew

export class Rooms {
	#chat; // {rooms, guessed, inbox, client, enter, go}
	#whole = null; // the newest whole list, {rooms, upto}
	#changes = new Map(); // offset -> {add, drop}
	#mine = new Map(); // what this device has to say: name -> whether the user is in it …
	#sent = new Map(); // … and what it is saying
	#saying = false;

	constructor(chat) {
		this.#chat = chat;
		this.#take();
		const { inbox, rooms, guessed } = chat;
		// What this browser remembers counts where the inbox does not tell, or not any more.
		const known = this.#whole || (this.#changes.size > 0 && inbox.first <= 1);
		const dropped = new Set([...this.#changes.values()].flatMap(({ drop }) => drop));
		const listed = this.#listed();
		for (const name of rooms.keys()) {
			const counts = !guessed.has(name) || !(known || dropped.has(name));
			if (counts && !listed.has(name)) this.#mine.set(name, true);
		}
		this.follow();
	}

	// went takes note that the user, or the server, entered or left a room here.
	went(name, isIn) {
		if (this.#with(this.#listed(), this.#sent).has(name) === isIn) this.#mine.delete(name);
		else this.#mine.set(name, isIn);
		this.#say();
	}

	// follow goes where the list says.
	follow() {
		this.#take();
		const wanted = this.#with(this.#listed(), this.#sent, this.#mine);
		for (const name of wanted) this.#chat.enter(name);
		for (const c of [...this.#chat.rooms.values()]) if (!wanted.has(c.name)) this.#chat.go(c);
		this.#say();
	}

	// restart says all there is once more: the inbox has forgotten it.
	restart() {
		this.#whole = null;
		this.#changes.clear();
		for (const name of this.#chat.rooms.keys()) this.#mine.set(name, true);
		this.#say();
	}

	// #take reads what came into the inbox, in whatever order.
	#take() {
		for (const { offset, rooms, upto, add, drop } of this.#chat.inbox.lists.splice(0)) {
			if (!rooms) this.#changes.set(offset, { add, drop });
			else if (!(this.#whole?.upto > upto)) this.#whole = { rooms, upto };
		}
		for (const offset of this.#changes.keys()) if (offset <= this.#whole?.upto) this.#changes.delete(offset);
	}

	#listed() {
		const names = new Set(this.#whole?.rooms);
		for (const [, { add, drop }] of [...this.#changes].sort(([a], [b]) => a - b)) {
			for (const name of add) names.add(name);
			for (const name of drop) names.delete(name);
		}
		return names;
	}

	#with(names, ...changes) {
		for (const [name, isIn] of changes.flatMap((c) => [...c])) names[isIn ? "add" : "delete"](name);
		return names;
	}

	async #say() {
		if (this.#saying) return;
		this.#saying = true;
		const { inbox, client } = this.#chat;
		let answered = false;
		try {
			for (;;) {
				await null; // what is done at once is one change
				const { life } = inbox;
				const said = this.#next();
				if (!said) break;
				const { offset } = await client.publish(inbox.topic, { kind: "rooms", ...said });
				if (inbox.life === life) inbox.lists.push({ offset, ...said });
				this.#sent.clear();
				this.#take();
				answered = true;
			}
		} catch {
			// Then this browser alone knows, until there is something else to say.
			this.#mine = new Map([...this.#sent, ...this.#mine]);
			this.#sent.clear();
		}
		this.#saying = false;
		if (answered) this.follow(); // another device may have had the last word
	}

	#next() {
		if (this.#mine.size > 0) {
			[this.#sent, this.#mine] = [this.#mine, new Map()];
			const names = (isIn) => [...this.#sent.keys()].filter((name) => this.#sent.get(name) === isIn);
			return { add: names(true), drop: names(false) };
		}
		const { head } = this.#chat.inbox;
		if (head - (this.#whole?.upto ?? 0) < FAR) return null;
		return { rooms: [...this.#listed()].sort(), upto: head };
	}
}
