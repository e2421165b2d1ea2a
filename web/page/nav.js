// nav.js: the lists beside the log: rooms, people with whom something was said, who is online.

import { $, button, count, element, hue, isolated } from "./dom.js";

const LISTED = 200; // names in a list

export class Nav {
	#open; // called with a conversation's name
	#drawn = new Map(); // list -> what it shows, so that only what changed is made anew

	constructor(open) {
		this.#open = open;
		for (const id of ["rooms", "directs", "present"]) {
			$(id).addEventListener("click", (e) => {
				const b = e.target.closest("button");
				if (b) this.#open(b.dataset.name);
			});
		}
	}

	// show draws the lists as they are now.
	show(chat, current) {
		const online = chat.client.roster("*");
		const rooms = [...chat.rooms.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
		if (chat.everyone.head > 0 || current === chat.everyone) rooms.push(chat.everyone);
		this.#list("rooms", rooms.map((c) => entry(chat, c, current, c === chat.everyone ? "Everyone" : c.name)));

		const people = chat.inbox.shown;
		if (current?.direct && !people.includes(current)) people.unshift(current);
		this.#list("directs", people.slice(0, LISTED).map((c) => ({ ...entry(chat, c, current, c.person || "The server"), here: isHere(online, c.person) })));

		const others = (online?.members ?? []).filter((name) => name !== chat.user);
		const present = others.slice(0, LISTED).map((name) => ({ name: `@${name}`, label: name, here: true, unread: 0, current: false }));
		this.#list("present", present);
		const more = (online?.online ?? 1) - 1 - present.length;
		$("present-more").textContent = more > 0 ? `and ${more} more` : present.length === 0 ? "Nobody else, for now." : "";
		$("present-count").textContent = online ? online.online : "";
		this.#me(chat);
	}

	#me(chat) {
		$("me").replaceChildren(isolated(chat.user));
		const { node, connected } = chat.client;
		$("node").textContent = connected ? `on node ${node}` : "not connected";
		$("node").title = connected ? `Session ${chat.client.session}` : "";
	}

	#list(id, entries) {
		const key = JSON.stringify(entries);
		if (this.#drawn.get(id) === key) return;
		this.#drawn.set(id, key);
		const list = $(id);
		const focused = list.contains(document.activeElement) ? document.activeElement.dataset.name : null;
		// Items stay what they are, and where they can: one that went while the mouse is down on it would not be clicked.
		const had = new Map([...list.children].map((li) => [li.firstChild.dataset.name, li]));
		const items = entries.map((e) => fill(had.get(e.name) ?? element("li", "", button("", "", "")), e));
		for (const li of list.querySelectorAll(":scope > li")) if (!items.includes(li)) li.remove();
		items.forEach((li, i) => list.children[i] === li || list.insertBefore(li, list.children[i]));
		if (focused !== null) items.find((li) => li.firstChild.dataset.name === focused)?.firstChild.focus();
	}

	// head tells beside the title how many are in a room, or whether a person is there.
	head(chat, c) {
		const roster = chat.client.roster(c.direct ? "*" : c.name);
		const online = c.direct ? whether(isHere(roster, c.person)) : roster ? `${roster.online} online` : "";
		if ($("online").textContent !== online) $("online").textContent = online;
	}
}

// isHere tells whether a person is online; undefined where so many are that the roster has some of their names only.
function isHere(roster, person) {
	return roster?.members.includes(person) || (roster?.more ? undefined : false);
}

const whether = (here) => (here === undefined ? "" : here ? "online" : "not online");

function entry(chat, c, current, label) {
	return { name: c.name, label, unread: c === current && !document.hidden ? 0 : chat.unread(c), current: c === current };
}

// fill makes an item of a list show an entry.
function fill(li, { name, label, unread, current, here }) {
	const b = li.firstChild;
	b.className = here ? "here" : name.startsWith("@") ? "away" : "room";
	b.dataset.name = name;
	b.title = label;
	b.style.setProperty("--hue", hue(label));
	if (current) b.setAttribute("aria-current", "page");
	else b.removeAttribute("aria-current");
	b.replaceChildren(isolated(label));
	if (here !== undefined) b.append(element("span", "unseen", ` (${whether(here)})`));
	if (unread > 0) {
		const badge = element("span", "count", unread > 999 ? "999+" : String(unread));
		badge.setAttribute("role", "img");
		badge.setAttribute("aria-label", `${count(unread, "message")} unread`);
		b.append(badge);
	}
	return li;
}
