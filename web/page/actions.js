// actions.js: what can be done with a message: by a toolbar, which goes to where it is asked for, and by keys.

import { banner } from "./banner.js";
import { $, button, element } from "./dom.js";
import { snippet } from "./line.js";

const ACTS = ["React", "Reply", "Edit", "Delete"];
const KEYS = { r: "reply", e: "edit", Delete: "delete", "+": "react" };

export class Actions {
	#view;
	#composer; // knows the chat, too
	#bar = element("div");

	constructor(view, composer) {
		this.#view = view;
		this.#composer = composer;
		const bar = this.#bar;
		bar.id = "actions";
		bar.setAttribute("role", "toolbar");
		bar.setAttribute("aria-label", "Message");
		for (const name of ACTS) {
			const b = button("", "", name, () => this.#act(b.dataset.act, view.itemOf(bar.parentElement), b));
			b.dataset.act = name.toLowerCase();
			bar.append(b);
		}
		// The message under the pointer, else the one with the focus.
		const log = $("log");
		const messageOf = (e) => e?.closest?.("#log .message");
		const focused = () => messageOf(document.activeElement);
		log.addEventListener("pointerover", (e) => this.#offer(messageOf(e.target) ?? focused()));
		log.addEventListener("pointerleave", () => this.#offer(focused()));
		log.addEventListener("focusin", (e) => this.#offer(messageOf(e.target)));
		log.addEventListener("keydown", (e) => !(e.altKey || e.ctrlKey || e.metaKey) && this.#key(e));
		this.#offer(focused());
	}

	// editLast begins to edit what the user said last.
	editLast() {
		const item = this.#view.conversation?.items.findLast((i) => this.#may("edit", i));
		if (item) this.#composer.about("edit", item);
	}

	react(item, emoji, on) {
		this.#change(item, { kind: "reaction", emoji, on });
	}

	#may(what, item) {
		const c = this.#view.conversation;
		if (!item?.message || item.message.topic === "*" || !c.refer(item)) return false;
		const { deleted, raw, file } = c.look(item);
		const mine = item.message.from === this.#composer.chat.user;
		if (deleted || (what === "edit" && (raw || file))) return false;
		return mine || what === "react" || what === "reply";
	}

	#offer(line) {
		const item = line && this.#view.itemOf(line);
		const bar = this.#bar;
		if (!this.#may("reply", item)) return bar.remove();
		for (const b of bar.children) b.hidden = !this.#may(b.dataset.act, item);
		if (bar.parentElement !== line) line.append(bar);
	}

	#act(what, item, beside) {
		if (!this.#may(what, item)) return;
		if (what === "delete") this.#sure(item);
		else if (what === "react") this.#composer.pick(beside, (emoji) => this.react(item, emoji, true));
		else this.#composer.about(what, item);
	}

	#change(item, data) {
		const c = this.#view.conversation;
		const refers = c.refer(item);
		if (!refers) return;
		this.#composer.chat.say(c, { ...data, ...refers }).catch((err) => banner(`Not sent: ${err.message}`, "failed"));
	}

	#sure(item) {
		const dialog = $("sure");
		const title = element("h2", "", "Delete this message?");
		title.id = "sure-title";
		const no = Object.assign(element("button", "", "Keep"), { value: "no" });
		const yes = Object.assign(element("button", "danger", "Delete"), { value: "yes" });
		const form = element("form", "", title, element("p", "", snippet(this.#view.conversation, item)), no, " ", yes);
		form.method = "dialog";
		dialog.replaceChildren(form);
		dialog.returnValue = "";
		dialog.onclose = () => dialog.returnValue === "yes" && this.#change(item, { kind: "delete" });
		dialog.showModal();
	}

	// #key goes from one message to the next, or does something with one.
	#key(e) {
		const log = $("log");
		const line = e.target.closest("#log > *");
		if (e.target !== log && e.target !== line) return;
		const step = { ArrowUp: "previousElementSibling", ArrowDown: "nextElementSibling" }[e.key];
		const what = KEYS[e.key];
		const item = this.#view.itemOf(line);
		if (step) {
			let to = line ? line[step] : log[e.key === "ArrowUp" ? "lastElementChild" : "firstElementChild"];
			while (to?.classList.contains("quiet")) to = to[step];
			to?.focus({ preventScroll: true });
			to?.scrollIntoView({ block: "nearest" });
		} else if (what && this.#may(what, item)) {
			this.#act(what, item, line);
		} else {
			return;
		}
		e.preventDefault();
	}
}
