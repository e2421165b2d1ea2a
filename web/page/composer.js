// composer.js: writing: texts, replies, edits, files; and the draft of each conversation.

import { banner } from "./banner.js";
import { $, element, isolated } from "./dom.js";
import { lasting } from "./keep.js";
import { later } from "./later.js";
import { snippet } from "./line.js";

const emoji = later(() => import("./emoji.js"));
const files = later(() => import("./files.js"));

export class Composer {
	chat = null;
	conversation = null;
	#context = null; // {kind: "reply" | "edit", item}
	#text = $("text");
	#shift = false; // with the newest key
	#on; // {sending(change), sent(), typing(conversation), editLast()}

	constructor(on) {
		this.#on = on;
		const text = this.#text;
		$("say").addEventListener("submit", (e) => {
			e.preventDefault();
			this.#say();
			text.focus();
		});
		text.addEventListener("keydown", (e) => this.#key(e));
		text.addEventListener("beforeinput", (e) => {
			// Keyboards of phones tell of their Enter key in this way only.
			if (e.inputType !== "insertLineBreak" || this.#shift) return;
			e.preventDefault();
			this.#say();
		});
		text.addEventListener("input", () => {
			this.#keepDraft();
			if (text.value && this.#context?.kind !== "edit") this.#on.typing(this.conversation);
		});
		text.addEventListener("paste", (e) => this.#files(e, e.clipboardData.files));
		document.addEventListener("dragover", (e) => this.chat && e.preventDefault());
		document.addEventListener("drop", (e) => this.#files(e, e.dataTransfer.files));
		$("attach").addEventListener("click", () => $("file").click());
		$("file").addEventListener("change", (e) => {
			this.#files(e, $("file").files);
			$("file").value = "";
		});
		$("emoji").addEventListener("click", () => this.pick($("emoji"), (emoji) => this.#insert(emoji)));
		$("context-close").addEventListener("click", () => this.about(null));
	}

	// pick offers emoji beside an element.
	pick(beside, chosen) {
		emoji(({ open }) => open(beside, chosen));
	}

	// show begins with a conversation's draft.
	show(chat, conversation) {
		this.chat = chat;
		this.conversation = conversation;
		this.#context = null;
		this.#showContext();
		this.#text.value = conversation ? lasting.get(this.#draftKey()) : "";
	}

	// about makes what is written a reply to an item, or the edit of one; or neither.
	about(kind, item) {
		const wasEdit = this.#context?.kind === "edit";
		this.#context = kind ? { kind, item } : null;
		if (kind === "edit") this.#text.value = this.conversation.look(item).text;
		else if (wasEdit) this.#text.value = lasting.get(this.#draftKey());
		this.#showContext();
		this.#text.focus();
	}

	#showContext() {
		const c = this.#context;
		$("context").hidden = !c;
		if (!c) return;
		const what = c.kind === "edit" ? ["Editing your message"] : ["Replying to ", isolated(c.item.message.from)];
		$("context-text").replaceChildren(element("strong", "", ...what), ` ${snippet(this.conversation, c.item)}`);
	}

	#draftKey() {
		return `draft:${this.chat.user}:${this.conversation.name}`;
	}

	#keepDraft() {
		if (this.conversation && this.#context?.kind !== "edit") lasting.set(this.#draftKey(), this.#text.value);
	}

	#key(e) {
		this.#shift = e.shiftKey;
		if (e.isComposing) return;
		if (e.key === "Enter" && !e.shiftKey) {
			e.preventDefault();
			this.#say();
		} else if (e.key === "Escape" && this.#context) {
			e.preventDefault();
			this.about(null);
		} else if (e.key === "ArrowUp" && !this.#text.value) {
			e.preventDefault();
			this.#on.editLast();
		}
	}

	#insert(text) {
		const t = this.#text;
		t.setRangeText(text, t.selectionStart, t.selectionEnd, "end");
		t.focus();
		this.#keepDraft();
	}

	#say() {
		const typed = this.#text.value.trim();
		const text = typed.toWellFormed?.() ?? typed; // nodes refuse half a character
		if (!text || !this.chat) return;
		const context = this.#context;
		const data = { text };
		if (context) {
			const refers = this.conversation.refer(context.item);
			if (!refers) return banner("That message can no longer be referred to.", "failed");
			Object.assign(data, { kind: context.kind, ...refers });
		}
		this.about(null);
		if (context?.kind !== "edit") {
			this.#text.value = "";
			this.#keepDraft();
		}
		this.publish(data, text);
	}

	// publish says something in the conversation that is shown.
	async publish(data, text = "") {
		const { chat, conversation } = this;
		const key = this.#draftKey();
		this.#on.sending(1);
		try {
			const published = chat.say(conversation, data);
			this.#on.sent();
			await published;
		} catch (err) {
			if (!data.kind && !lasting.get(key)) lasting.set(key, text); // it is a draft again
			if (chat !== this.chat) return;
			banner(`Not sent: “${(text || data.file?.name || "").slice(0, 80)}”: ${err.message}`, "failed");
			if (conversation === this.conversation && !this.#context) this.#text.value = lasting.get(key);
		} finally {
			if (chat === this.chat) this.#on.sending(-1);
		}
	}

	#files(e, list) {
		if (!list?.length || !this.chat) return;
		e.preventDefault();
		const all = [...list];
		files(({ send }) => send(this, all));
	}
}
