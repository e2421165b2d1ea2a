// line.js: one item of a conversation as an element.

import { bytes, button, count, element, hue, isolated } from "./dom.js";
import { formatted } from "./format.js";
import { later } from "./later.js";

const TOGETHER = 5 * 60_000; // messages of one user within this stand under one name, in ms
const LARGEST = 320; // pixels of a picture's longer side
const saving = later(() => import("./files.js"));

// fill makes what a line shows. Chosen is what happens at a click: {react, quoted}.
export function fill(line, conversation, item, me, chosen) {
	if (item.note) return fillNote(line, item.note);
	const { topic, offset, from = "", to, time } = item.message;
	const { text, raw, file, edited, deleted, reactions } = conversation.look(item);
	const mine = from === me;
	line.className = "message";
	line.tabIndex = -1;
	Object.assign(line.dataset, { offset, topic, from, time });
	line.style.setProperty("--hue", hue(from));
	line.classList.toggle("mine", mine);
	line.classList.toggle("deleted", Boolean(deleted));

	const name = element("span", "from", isolated(from));
	name.title = from;
	const body = element("div", "body");
	const said = element("span", raw ? "raw" : "");
	said.dir = "auto";
	said.append(deleted ? "This message was deleted." : raw ? text : formatted(text));
	body.append(said);
	if (file && !deleted) body.append(file.picture ? picture(file) : download(file));
	body.append(clock(time, edited));

	const parts = [name];
	const reply = !deleted && conversation.repliedTo(item);
	if (reply) parts.push(quote(conversation, reply.item, chosen));
	parts.push(body);
	if (reactions.length > 0) {
		const row = element("div", "reactions");
		for (const { emoji, names } of reactions) {
			const pressed = names.includes(me);
			const b = button("", "", `${emoji} ${names.length}`, () => chosen.react(item, emoji, !pressed));
			b.title = names.join(", ");
			b.setAttribute("aria-pressed", pressed);
			b.setAttribute("aria-label", `${emoji}, ${count(names.length, "person").replace("persons", "people")}: ${names.slice(0, 10).join(", ")}`);
			row.append(b);
		}
		parts.push(row);
	}
	line.replaceChildren(...parts);
}

function fillNote(line, { text, who, kind }) {
	line.className = `quiet ${kind}`;
	line.replaceChildren(...(who ? [isolated(who), ` ${text}`] : [text]));
}

// place tells how a line stands to the one before it: under the same name, or on another day.
export function place(line, item, before, freshAfter) {
	const day = item.message && dayOf(item.message.time);
	const last = before?.message;
	const newDay = day && day !== (last && dayOf(last.time));
	const fresh = Boolean(item.message && freshAfter && item.offset > freshAfter && !(last && last.offset > freshAfter));
	const more = Boolean(item.message && last && !newDay && !fresh && last.from === item.message.from && item.message.time - last.time < TOGETHER);
	line.classList.toggle("more", more);
	const heading = [fresh ? "New" : "", newDay ? day : ""].filter(Boolean).join(" · ");
	if (heading) line.dataset.heading = heading;
	else delete line.dataset.heading;
	line.classList.toggle("fresh", fresh);
}

const dayFormat = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const clockFormat = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const fullFormat = new Intl.DateTimeFormat([], { dateStyle: "full", timeStyle: "medium" });
const days = new Map(); // hour -> day: formatting is slow

function dayOf(time) {
	const hour = Math.floor(time / 900_000); // no zone's midnight is elsewhere
	if (!days.has(hour)) {
		if (days.size > 5000) days.clear();
		days.set(hour, dayFormat.format(time));
	}
	return days.get(hour);
}

function clock(time, edited) {
	const e = element("time", "", `${edited ? "edited · " : ""}${clockFormat.format(time)}`);
	e.dateTime = new Date(time).toISOString();
	e.title = fullFormat.format(time);
	return e;
}

// snippet is how a message is quoted in one line.
export function snippet(conversation, item) {
	const { text, file, deleted } = conversation.look(item);
	if (deleted) return "a deleted message";
	return (text || file?.name || "").replace(/\s+/g, " ").slice(0, 120);
}

function quote(conversation, item, chosen) {
	if (!item) return element("div", "quote", "in reply to an earlier message");
	const b = button("quote", "", "", () => chosen.quoted(item));
	b.append(isolated(item.message.from), `: ${snippet(conversation, item)}`);
	return b;
}

function picture(file) {
	const img = element("img");
	img.alt = file.name;
	img.title = `${file.name} (${bytes(file.size)})`;
	img.decoding = "async";
	// Its place is kept free until it is there: nothing jumps.
	const scale = Math.min(1, LARGEST / Math.max(file.width, file.height, 1));
	img.width = Math.max(1, Math.round((file.width || LARGEST) * scale));
	img.height = Math.max(1, Math.round((file.height || LARGEST / 2) * scale));
	img.src = file.url;
	return img;
}

function download(file) {
	return button("file", "", `⤓ ${file.name} (${bytes(file.size)})`, () => saving(({ save }) => save(file)));
}
