// view.js: the log of one conversation on the screen. The page holds a window of its items,
// never all: lines come and go at both ends as the reader scrolls.

import { $, element, soon } from "./dom.js";
import { fill, place } from "./line.js";

const MOST = 240; // lines on the page
const STEP = 60; // lines that come at once
const NEAR = 700; // pixels from an end at which more come

export class View {
	conversation = null;
	following = true; // the reader is at the newest line, and wants to stay
	#me = "";
	#log = $("log");
	#lines = new Map(); // item -> {line, version}
	#items = new WeakMap(); // line -> item
	#lo = 0; // the window of items, by their indexes
	#hi = 0;
	#freshAfter = 0;
	#on; // {hasOlder, older, failed, read, react, shown}
	#put = -1; // where we scrolled to: what comes to another place, the reader scrolled
	#loading = false;
	#marked = false; // the time of the first message is told

	constructor(on) {
		this.#on = on;
		const log = this.#log;
		log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
		new ResizeObserver(() => this.following && this.#toEnd()).observe(log);
		$("newest").addEventListener("click", () => this.toNewest());
	}

	// show begins with a conversation, at its newest line.
	show(conversation, me) {
		this.conversation = conversation;
		this.#me = me;
		this.#lines.clear();
		this.#log.replaceChildren();
		this.#freshAfter = 0;
		this.following = true;
		this.#hi = conversation.end;
		this.#lo = Math.max(conversation.base, this.#hi - STEP);
		this.render();
	}

	// divide shows where the unread messages begin.
	divide(after) {
		this.#freshAfter = after;
		soon(this.render);
	}

	// place tells where the reader is: the offset of the topmost line; 0 at the newest.
	get place() {
		if (this.following) return 0;
		return Number(this.#topmost()?.dataset.offset ?? 0);
	}

	toNewest() {
		const { conversation: c } = this;
		this.following = true;
		this.#hi = c.end;
		this.#lo = Math.max(c.base, this.#hi - STEP);
		this.render();
	}

	// goTo brings a message to the reader, loading what is older until it is there.
	async goTo(offset, focus = true) {
		const { conversation: c } = this;
		for (let pages = 0; pages < 10 && this.#on.hasOlder(c) && !(c.items[0]?.offset <= offset); pages++) await this.#on.older(c);
		if (this.conversation === c) this.#jump(offset, focus);
	}

	#jump(offset, focus) {
		const { conversation: c } = this;
		const i = c.items.findIndex((item) => item.message && item.life === c.life && item.offset >= offset);
		if (i < 0) return;
		this.following = false;
		this.#lo = Math.max(c.base, c.base + i - STEP);
		this.#hi = Math.min(c.end, this.#lo + 2 * STEP);
		this.render();
		const { line } = this.#lines.get(c.items[i]);
		line.scrollIntoView({ block: focus ? "center" : "start" });
		if (focus) line.focus({ preventScroll: true });
	}

	// render makes the page's lines those of the window. It is an arrow, for soon.
	render = () => {
		const { conversation: c } = this;
		if (!c) return;
		const log = this.#log;
		if (this.following) {
			c.trim();
			this.#hi = c.end;
			this.#lo = Math.max(this.#lo, c.base, c.end - MOST);
			if (this.#hi - this.#lo < STEP) this.#lo = Math.max(c.base, this.#hi - STEP);
		} else {
			this.#lo = Math.max(this.#lo, c.base);
			if (c.end > this.#hi && this.#hi - this.#lo < MOST) this.#hi = Math.min(c.end, this.#lo + MOST);
		}
		const anchor = this.following ? null : this.#topmost();
		const top = anchor?.getBoundingClientRect().top;

		const stay = new Set();
		let next = log.firstElementChild;
		let before = c.at(this.#lo - 1) ?? null;
		for (let i = this.#lo; i < this.#hi; i++) {
			const item = c.at(i);
			let known = this.#lines.get(item);
			if (!known) {
				known = { line: element(item.note ? "p" : "article"), version: -1, before: undefined };
				this.#lines.set(item, known);
				this.#items.set(known.line, item);
			}
			const { line } = known;
			if (known.version !== item.version) this.#refill(known, item);
			if (known.before !== before || known.fresh !== this.#freshAfter) {
				place(line, item, before, this.#freshAfter);
				known.before = before;
				known.fresh = this.#freshAfter;
			}
			if (line === next) next = next.nextElementSibling;
			else log.insertBefore(line, next);
			stay.add(item);
			if (item.message) before = item;
		}
		for (const [item, { line }] of this.#lines) {
			if (stay.has(item)) continue;
			line.remove();
			this.#lines.delete(item);
		}
		if (stay.size > 0 && !this.#marked) {
			performance.mark("first-message");
			this.#marked = true;
			this.#on.shown();
		}
		$("newest").hidden = this.following || this.#atBottom();
		if (this.following) this.#toEnd();
		else if (anchor?.isConnected) this.#scrollBy(anchor.getBoundingClientRect().top - top);
		if (log.scrollHeight <= log.clientHeight + NEAR) this.#more();
	};

	#refill(known, item) {
		const { line } = known;
		const focused = line.contains(document.activeElement) && line !== document.activeElement;
		const bar = line.querySelector("#actions");
		fill(line, this.conversation, item, this.#me, {
			react: (i, emoji, on) => this.#on.react(i, emoji, on),
			quoted: (i) => this.goTo(i.offset),
		});
		known.version = item.version;
		known.before = undefined;
		if (bar) line.append(bar);
		if (focused) line.focus({ preventScroll: true });
	}

	#scrolled() {
		if (!this.conversation) return;
		const bottom = this.#atBottom();
		if (Math.abs(this.#log.scrollTop - this.#put) > 1) this.following = bottom && this.#hi === this.conversation.end;
		if (bottom) $("newest").hidden = true;
		if (this.following) this.#on.read(this.conversation);
		this.#more();
	}

	// #more brings lines at the end that the reader comes near to.
	#more() {
		const { conversation: c } = this;
		const log = this.#log;
		if (log.scrollTop < NEAR && !(this.following && log.scrollHeight > log.clientHeight + NEAR)) {
			if (this.#lo > c.base) {
				this.#lo = Math.max(c.base, this.#lo - STEP);
				if (!this.following) this.#hi = Math.min(this.#hi, this.#lo + MOST);
				soon(this.render);
			} else if (this.#on.hasOlder(c) && !this.#loading) {
				this.#load(c);
			}
		}
		if (!this.following && this.#hi < c.end && log.scrollHeight - log.scrollTop - log.clientHeight < NEAR) {
			this.#hi = Math.min(c.end, this.#hi + STEP);
			this.#lo = Math.max(this.#lo, this.#hi - MOST);
			soon(this.render);
		}
	}

	async #load(c) {
		this.#loading = true;
		this.#log.setAttribute("aria-busy", "true");
		try {
			await this.#on.older(c);
			if (this.conversation === c) this.#lo = Math.max(c.base, this.#lo - STEP);
		} catch (err) {
			this.#on.failed(err);
			return;
		} finally {
			this.#loading = false;
			this.#log.setAttribute("aria-busy", "false");
		}
		if (this.conversation === c) soon(this.render);
	}

	// #topmost is the first line that can be seen.
	#topmost() {
		const { top } = this.#log.getBoundingClientRect();
		for (const line of this.#log.children) {
			if (line.getBoundingClientRect().bottom > top && line.dataset.offset) return line;
		}
		return null;
	}

	#atBottom() {
		const log = this.#log;
		return log.scrollHeight - log.scrollTop - log.clientHeight < 40;
	}

	#toEnd() {
		const log = this.#log;
		log.scrollTop = log.scrollHeight;
		this.#put = log.scrollTop;
	}

	#scrollBy(pixels) {
		if (Math.abs(pixels) < 1) return;
		this.#log.scrollTop += pixels;
		this.#put = this.#log.scrollTop;
	}

	itemOf(line) {
		return this.#items.get(line);
	}
}
