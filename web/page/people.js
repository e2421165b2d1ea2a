// people.js: who is in a room, beside its log, when that is asked for.

import { $, element, hue, isolated } from "./dom.js";

const LISTED = 200; // names that are shown

const main = document.querySelector("main");
let wanted = false;
let drawn = "";

export function people(chat, c) {
	const isRoom = !c.direct && c.name !== "*";
	const roster = isRoom ? chat.client.roster(c.name) : null;
	main.classList.toggle("people", isRoom && wanted);
	$("side").hidden = !(isRoom && wanted);
	$("online").setAttribute("aria-expanded", isRoom && wanted);
	const names = roster?.members.slice(0, LISTED) ?? [];
	const more = roster ? roster.online - names.length : 0;
	const key = JSON.stringify([c.name, names, more]);
	if (drawn === key) return;
	drawn = key;
	const items = names.map((name) => {
		const li = element("li", "", isolated(name), name === chat.user ? " (you)" : "");
		li.dataset.user = li.title = name;
		li.style.setProperty("--hue", hue(name));
		return li;
	});
	if (more > 0) items.push(element("li", "", `and ${more} more`));
	$("people").replaceChildren(...items);
}

// toggle shows them, or does not any more.
export function toggle() {
	wanted = !wanted;
}
